/* image_corpus.h: archives of images made byte by byte: OCI layouts and what docker save writes, right and wrong. */
#pragma once

#include "root/unpack_job.h"

#include <openssl/evp.h>

#define OCI(kind) "application/vnd.oci.image." kind

struct blob {
    char hex[65], digest[72];
    size_t size;
};

static inline struct blob blob_of(const void *data, size_t len)
{
    struct blob b = {.size = len};
    unsigned char sum[32];

    assert_int_equal(EVP_Digest(data, len, sum, NULL, EVP_sha256(), NULL), 1);
    for (size_t i = 0; i < sizeof(sum); i++)
        snprintf(b.hex + 2 * i, 3, "%02x", sum[i]);
    snprintf(b.digest, sizeof(b.digest), "sha256:%s", b.hex);
    return b;
}

static inline void add_file(struct strbuf *tar, const char *name, const void *data, size_t len)
{
    tar_add(tar, &(struct tar_entry){.name = name, .data = data, .size = len});
}

static inline void add_text(struct strbuf *tar, const char *name, const char *text)
{
    add_file(tar, name, text, strlen(text));
}

static inline struct blob add_blob(struct strbuf *tar, const void *data, size_t len)
{
    struct blob b = blob_of(data, len);
    char name[96];

    snprintf(name, sizeof(name), "blobs/sha256/%s", b.hex);
    add_file(tar, name, data, len);
    return b;
}

#define LAYERS_MAX 8

/* An image that is being put together. Texts that are NULL have a default. */
struct image_text {
    struct strbuf layers[LAYERS_MAX]; /* tars, image_layer() */
    unsigned count;
    const char *filter;       /* of the layers: gzip, xz, zstd; NULL: none */
    const char *media;        /* of the layers */
    const char *config;       /* the object "config" */
    const char *architecture; /* of the configuration */
    const char *os;           /* ... */
    const char *platform;     /* of the descriptor in index.json: an object */
    const char *config_media;
    const char *tag;    /* of docker save */
    int extra_diff_ids; /* of the configuration alone */
    int extra_layers;   /* named by the manifest, of the digest of the first */
    bool config_first;
};

static inline void image_layer(struct image_text *im, const struct tar_entry *entries, size_t n)
{
    struct strbuf *tar = &im->layers[im->count++];

    for (size_t i = 0; i < n; i++)
        tar_add(tar, &entries[i]);
    tar_end(tar);
}

#define LAYER(im, ...) image_layer(im, (const struct tar_entry[]){__VA_ARGS__}, COUNT(((const struct tar_entry[]){__VA_ARGS__})))

static inline void image_text_done(struct image_text *im)
{
    for (unsigned i = 0; i < im->count; i++)
        strbuf_done(&im->layers[i]);
}

static inline void config_text(const struct image_text *im, struct strbuf *out)
{
    strbuf_printf(out, "{\"architecture\":\"%s\",\"os\":\"%s\",\"config\":%s,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
                  im->architecture ? im->architecture : "amd64", im->os ? im->os : "linux", im->config ? im->config : "{\"Entrypoint\":[\"/server\"]}");
    for (unsigned i = 0; i < im->count; i++)
        strbuf_printf(out, "%s\"%s\"", i ? "," : "", blob_of(im->layers[i].data, im->layers[i].len).digest);
    for (int i = 0; i < im->extra_layers + im->extra_diff_ids; i++)
        strbuf_printf(out, ",\"%s\"", blob_of(im->layers[0].data, im->layers[0].len).digest);
    strbuf_puts(out, "]}}");
}

/* The blobs; the manifest's own is returned. */
static inline struct blob image_blobs(const struct image_text *im, struct strbuf *tar)
{
    cleanup_strbuf struct strbuf config = {0}, manifest = {0};
    char first[300] = "";
    struct blob b;

    config_text(im, &config);
    b = add_blob(tar, config.data, config.len);
    strbuf_printf(&manifest, "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
                  im->config_media ? im->config_media : OCI("config.v1+json"), b.digest, b.size);
    for (unsigned i = 0; i < im->count; i++) {
        cleanup_strbuf struct strbuf packed = {0};

        if (im->filter)
            tar_compress(&im->layers[i], im->filter, &packed);
        else
            strbuf_add(&packed, im->layers[i].data, im->layers[i].len);
        b = add_blob(tar, packed.data, packed.len);
        strbuf_printf(&manifest, "%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", i ? "," : "", im->media ? im->media : OCI("layer.v1.tar"), b.digest,
                      b.size);
        if (i == 0)
            snprintf(first, sizeof(first), ",{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", im->media ? im->media : OCI("layer.v1.tar"), b.digest,
                     b.size);
    }
    for (int i = 0; i < im->extra_layers; i++)
        strbuf_puts(&manifest, first);
    strbuf_puts(&manifest, "]}");
    return add_blob(tar, manifest.data, manifest.len);
}

static inline void index_text(struct strbuf *out, const struct blob *manifest, const char *platform)
{
    strbuf_printf(out, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu%s%s}", OCI("manifest.v1+json"), manifest->digest, manifest->size,
                  platform ? ",\"platform\":" : "", platform ? platform : "");
}

static inline void image_oci(const struct image_text *im, struct strbuf *tar)
{
    cleanup_strbuf struct strbuf index = {0};
    struct blob manifest = image_blobs(im, tar);

    strbuf_puts(&index, "{\"schemaVersion\":2,\"manifests\":[");
    index_text(&index, &manifest, im->platform);
    strbuf_puts(&index, "]}");
    add_text(tar, "index.json", index.data);
    add_text(tar, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    tar_end(tar);
}

/* As docker save wrote before it wrote OCI layouts too; links: the second layer is a symlink to the first. */
static inline void image_docker(const struct image_text *im, struct strbuf *tar, bool links)
{
    cleanup_strbuf struct strbuf config = {0}, manifest = {0};
    char name[120];
    struct blob b;

    config_text(im, &config);
    b = blob_of(config.data, config.len);
    for (unsigned i = 0; i < im->count; i++) {
        snprintf(name, sizeof(name), "layer%u/layer.tar", i);
        if (i == 1 && links)
            tar_add(tar, &(struct tar_entry){.name = name, .type = '2', .link = "../layer0/layer.tar"});
        else
            add_file(tar, name, im->layers[i].data, im->layers[i].len);
    }
    snprintf(name, sizeof(name), "%s.json", b.hex);
    add_text(tar, name, config.data);
    strbuf_printf(&manifest, "[{\"Config\":\"%s\",\"RepoTags\":[\"%s\"],\"Layers\":[", name, im->tag ? im->tag : "a:1");
    for (unsigned i = 0; i < im->count; i++)
        strbuf_printf(&manifest, "%s\"layer%u/layer.tar\"", i ? "," : "", i);
    strbuf_puts(&manifest, "]}]");
    add_text(tar, "manifest.json", manifest.data);
    tar_end(tar);
}

static inline struct job *image_run(struct host *h, const struct image_text *im)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j = job_new(h);

    image_oci(im, &tar);
    job_run(h, j, tar.data, tar.len);
    return j;
}

#define SERVER                                                                                                                                                 \
    {                                                                                                                                                          \
        .name = "server", .data = "#!", .mode = 0755                                                                                                           \
    }

/* index.json as it is, @ being the manifest's descriptor without its braces. */
static inline struct job *run_index(struct host *h, const char *index, const struct image_text *im)
{
    cleanup_strbuf struct strbuf tar = {0}, text = {0};
    struct blob m = image_blobs(im, &tar);
    struct job *j = job_new(h);

    for (const char *p = index; *p; p++)
        if (*p == '@')
            strbuf_printf(&text, "\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":1", OCI("manifest.v1+json"), m.digest);
        else
            strbuf_add(&text, p, 1);
    add_text(&tar, "index.json", text.data);
    add_text(&tar, "oci-layout", "{}");
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    return j;
}
