/*
 * image_index.c: which image of an archive is meant, what its configuration is and its layers are.
 *
 * index.json of an OCI layout names manifests and further indexes, each by its digest; the machine's own architecture is chosen, and more than one of it is refused rather than guessed. docker save has a list
 * instead, manifest.json. A cycle would need a collision of SHA-256; depth and number are bounded nevertheless, since one index may name another a thousand times.
 */
#include "image.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define INDEX_DEPTH_MAX 4U
#define DESCRIPTORS_MAX 1000U
#define COUNT(a)        (sizeof(a) / sizeof((a)[0]))
#define OCI(kind)       "application/vnd.oci.image." kind
#define DOCKER(kind)    "application/vnd.docker." kind
#define ATTESTATION     "vnd.docker.reference.type"
#define REF_NAME        "org.opencontainers.image.ref.name"

enum media { MEDIA_UNKNOWN, MEDIA_INDEX, MEDIA_MANIFEST, MEDIA_CONFIG, MEDIA_LAYER, MEDIA_FOREIGN };

static const struct {
    const char *type;
    enum media media;
} medias[] = {
    {OCI("index.v1+json"), MEDIA_INDEX},
    {DOCKER("distribution.manifest.list.v2+json"), MEDIA_INDEX},
    {OCI("manifest.v1+json"), MEDIA_MANIFEST},
    {DOCKER("distribution.manifest.v2+json"), MEDIA_MANIFEST},
    {OCI("config.v1+json"), MEDIA_CONFIG},
    {DOCKER("container.image.v1+json"), MEDIA_CONFIG},
    {OCI("layer.v1.tar"), MEDIA_LAYER},
    {OCI("layer.v1.tar+gzip"), MEDIA_LAYER},
    {OCI("layer.v1.tar+zstd"), MEDIA_LAYER},
    {DOCKER("image.rootfs.diff.tar"), MEDIA_LAYER},
    {DOCKER("image.rootfs.diff.tar.gzip"), MEDIA_LAYER},
    {DOCKER("image.rootfs.diff.tar.zstd"), MEDIA_LAYER},
    {OCI("layer.nondistributable.v1.tar"), MEDIA_FOREIGN},
    {OCI("layer.nondistributable.v1.tar+gzip"), MEDIA_FOREIGN},
    {OCI("layer.nondistributable.v1.tar+zstd"), MEDIA_FOREIGN},
    {DOCKER("image.rootfs.foreign.diff.tar"), MEDIA_FOREIGN},
    {DOCKER("image.rootfs.foreign.diff.tar.gzip"), MEDIA_FOREIGN},
};

static enum media media_of(const char *type)
{
    for (size_t i = 0; type && i < COUNT(medias); i++)
        if (strcasecmp(type, medias[i].type) == 0)
            return medias[i].media;
    return MEDIA_UNKNOWN;
}

/* ---- which manifest ---- */

struct choice {
    int dir_fd;
    unsigned seen;
    struct image_blob fitting, unknown; /* for this machine; for no machine that is named */
    unsigned nfitting, nunknown;
    struct strbuf others, names;
};

static void add_word(struct strbuf *list, const char *word)
{
    if (word && list->len < 160 && (!list->data || !strstr(list->data, word)))
        strbuf_printf(list, "%s%.60s", list->len ? ", " : "", word);
}

static void take(struct image_blob *place, unsigned *count, const struct image_blob *b)
{
    if (*count > 0 && strcmp(place->sha256, b->sha256) == 0) /* the same one, under two names */
        return;
    if ((*count)++ == 0)
        *place = *b;
}

static int consider_manifest(struct choice *c, const json_t *descriptor, const struct image_blob *b)
{
    const json_t *platform = json_object_get(descriptor, "platform"), *notes = json_object_get(descriptor, "annotations");
    const char *arch = image_json_text(platform, "architecture"), *os = image_json_text(platform, "os");

    if (image_json_text(notes, ATTESTATION)) /* says how an image was built; is none */
        return 0;
    add_word(&c->names, image_json_text(notes, REF_NAME));
    if (!arch || strcmp(arch, "unknown") == 0)
        take(&c->unknown, &c->nunknown, b);
    else if (strcmp(arch, IMAGE_ARCH) == 0 && (!os || strcmp(os, "linux") == 0))
        take(&c->fitting, &c->nfitting, b);
    else
        add_word(&c->others, os && strcmp(os, "linux") != 0 ? os : arch);
    return 0;
}

static int consider_all(struct choice *c, const char *what, const json_t *index, unsigned depth, struct diag *d);

static int consider(struct choice *c, const json_t *descriptor, unsigned depth, struct diag *d)
{
    const char *type = image_json_text(descriptor, "mediaType");
    struct image_blob b = {0};
    json_t *index;
    int r = image_blob_of_digest(image_json_text(descriptor, "digest"), &b, d);

    if (r < 0)
        return r;
    if (++c->seen > DESCRIPTORS_MAX)
        return diag_set(d, EINVAL, "the image's indexes name more than %u manifests", DESCRIPTORS_MAX);
    switch (media_of(type)) {
    case MEDIA_MANIFEST:
        return consider_manifest(c, descriptor, &b);
    case MEDIA_INDEX:
        break;
    default:
        return diag_set(d, EINVAL, "the image's index names a \"%.100s\", which is neither a manifest nor an index", type ? type : "");
    }
    if (depth == INDEX_DEPTH_MAX)
        return diag_set(d, EINVAL, "the image's indexes are nested more than %u deep", INDEX_DEPTH_MAX);
    index = image_blob_json(c->dir_fd, &b, d);
    if (!index)
        return -EINVAL;
    r = consider_all(c, b.path, index, depth + 1, d);
    json_decref(index);
    return r;
}

static int consider_all(struct choice *c, const char *what, const json_t *index, unsigned depth, struct diag *d)
{
    const json_t *list = json_object_get(index, "manifests"), *descriptor;
    int r = 0;
    size_t i;

    if (!json_is_array(list))
        return diag_set(d, EINVAL, "the image's %.100s has no list of manifests", what);
    json_array_foreach(list, i, descriptor)
    {
        r = consider(c, descriptor, depth, d);
        if (r < 0)
            break;
    }
    return r;
}

static int refuse_several(const struct strbuf *names, struct diag *d)
{
    return diag_set(d, EINVAL, "the archive holds several images%s%.180s: save one alone (skopeo copy oci-archive:FILE:NAME oci-archive:ONE)",
                    names->len ? ": " : "", names->data ? names->data : "");
}

static int choose(const struct choice *c, struct image_blob *ret, struct diag *d)
{
    if (c->nfitting > 1 || (c->nfitting == 0 && c->nunknown > 1))
        return refuse_several(&c->names, d);
    if (c->nfitting + c->nunknown == 0 && c->others.len > 0)
        return diag_set(d, EINVAL,
                        "the image is for %.180s, this host is " IMAGE_ARCH_TEXT ": save the one for linux/" IMAGE_ARCH
                        " (skopeo copy --override-arch " IMAGE_ARCH " docker://REF oci-archive:FILE)",
                        c->others.data);
    if (c->nfitting + c->nunknown == 0)
        return diag_set(d, EINVAL, "the archive's index names no image");
    *ret = c->nfitting ? c->fitting : c->unknown;
    return 0;
}

/* ---- the manifest ---- */

static int layers_room(struct image_manifest *m, size_t count, struct diag *d)
{
    if (count == 0)
        return diag_set(d, EINVAL, "the image has no layers");
    if (count > IMAGE_LAYERS_MAX)
        return diag_set(d, E2BIG, "the image has %zu layers, at most %u are taken", count, IMAGE_LAYERS_MAX);
    m->layers = calloc(count, sizeof(*m->layers));
    return m->layers ? 0 : diag_set(d, ENOMEM, "out of memory");
}

static int take_layer(struct image_manifest *m, const json_t *descriptor, struct diag *d)
{
    const char *type = image_json_text(descriptor, "mediaType");
    enum media media = media_of(type);

    if (media == MEDIA_FOREIGN)
        return diag_set(d, EINVAL, "layer %u of the image is kept elsewhere by its maker (%.100s): it cannot be imported", m->nlayers + 1, type);
    if (media != MEDIA_LAYER)
        return diag_set(d, EINVAL, "layer %u of the image is a \"%.100s\": known are tar, tar+gzip and tar+zstd", m->nlayers + 1, type ? type : "");
    return image_blob_of_digest(image_json_text(descriptor, "digest"), &m->layers[m->nlayers++], d);
}

static int read_manifest(const json_t *manifest, struct image_manifest *m, struct diag *d)
{
    const json_t *config = json_object_get(manifest, "config"), *layers = json_object_get(manifest, "layers"), *descriptor;
    const char *type = image_json_text(config, "mediaType");
    size_t i;
    int r;

    if (media_of(type) != MEDIA_CONFIG)
        return diag_set(d, EINVAL, "the manifest's configuration is a \"%.100s\": this is no image of programs", type ? type : "");
    r = image_blob_of_digest(image_json_text(config, "digest"), &m->config, d);
    if (r == 0)
        r = layers_room(m, json_array_size(layers), d);
    if (r < 0)
        return r;
    json_array_foreach(layers, i, descriptor)
    {
        r = take_layer(m, descriptor, d);
        if (r < 0)
            return r;
    }
    return 0;
}

int image_index_oci(int dir_fd, struct image_manifest *ret, struct diag *d)
{
    const struct image_blob place = {.path = "index.json"};
    json_t *index = image_blob_json(dir_fd, &place, d), *manifest = NULL;
    struct choice c = {.dir_fd = dir_fd};
    struct image_manifest m = {0};
    struct image_blob b = {0};
    int r = index ? consider_all(&c, place.path, index, 0, d) : -EINVAL;

    if (r == 0)
        r = choose(&c, &b, d);
    if (r == 0) {
        manifest = image_blob_json(dir_fd, &b, d);
        r = manifest ? read_manifest(manifest, &m, d) : -EINVAL;
    }
    json_decref(manifest);
    json_decref(index);
    strbuf_done(&c.others);
    strbuf_done(&c.names);
    if (r < 0)
        image_manifest_done(&m);
    else
        *ret = m;
    return r;
}

/* ---- docker save ---- */

static bool is_docker_list(const json_t *list)
{
    const json_t *first = json_array_get(list, 0);

    return image_json_text(first, "Config") && json_is_array(json_object_get(first, "Layers"));
}

bool image_index_is_docker(int dir_fd)
{
    const struct image_blob place = {.path = "manifest.json"};
    struct stat st;
    json_t *list;
    bool is;

    if (fstatat(dir_fd, place.path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return false;
    list = image_blob_json(dir_fd, &place, NULL);
    is = is_docker_list(list);
    json_decref(list);
    return is;
}

/* "localhost:5000/shop/web:1.2" is called web. */
static void take_name(const char *tag, struct image_manifest *m)
{
    const char *base = tag ? strrchr(tag, '/') : NULL;
    size_t len;

    base = base ? base + 1 : tag ? tag : "";
    len = strcspn(base, ":@");
    if (len >= sizeof(m->name))
        return;
    memcpy(m->name, base, len);
    m->name[len] = '\0';
    if (!name_valid(m->name))
        m->name[0] = '\0';
}

static int read_docker(const json_t *entry, struct image_manifest *m, struct diag *d)
{
    const json_t *layers = json_object_get(entry, "Layers"), *layer;
    size_t i;
    int r = image_blob_of_path(image_json_text(entry, "Config"), &m->config, d);

    take_name(json_string_value(json_array_get(json_object_get(entry, "RepoTags"), 0)), m);
    if (r == 0)
        r = layers_room(m, json_array_size(layers), d);
    if (r < 0)
        return r;
    json_array_foreach(layers, i, layer)
    {
        if (!json_is_string(layer))
            return diag_set(d, EINVAL, "manifest.json: a layer that is no path");
        r = image_blob_of_path(json_string_value(layer), &m->layers[m->nlayers++], d);
        if (r < 0)
            return r;
    }
    return 0;
}

int image_index_docker(int dir_fd, struct image_manifest *ret, struct diag *d)
{
    const struct image_blob place = {.path = "manifest.json"};
    json_t *list = image_blob_json(dir_fd, &place, d);
    struct image_manifest m = {.docker = true};
    cleanup_strbuf struct strbuf names = {0};
    int r;

    if (!list)
        return -EINVAL;
    for (size_t i = 0; i < json_array_size(list); i++)
        add_word(&names, json_string_value(json_array_get(json_object_get(json_array_get(list, i), "RepoTags"), 0)));
    if (json_array_size(list) > 1)
        r = refuse_several(&names, d);
    else
        r = is_docker_list(list) ? read_docker(json_array_get(list, 0), &m, d) : diag_set(d, EINVAL, "manifest.json names no image");
    json_decref(list);
    if (r < 0)
        image_manifest_done(&m);
    else
        *ret = m;
    return r;
}

void image_manifest_done(struct image_manifest *m)
{
    free(m->layers);
    *m = (struct image_manifest){0};
}
