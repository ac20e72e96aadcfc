/*
 * Images of the container world, as the jail reads them: index, manifest, docker save's list, configuration, a layer's stream, also as a file of the archive while that comes, and the labels of an export, which are what function.ini is.
 *
 * The first byte says what the rest is. A manifest is given by an index of its own, since nobody guesses a SHA-256. Nothing is unpacked here: outside of the jail a layer's names would be the host's.
 */
#include "../../runner/unpack/function_format.h"
#include "../../runner/unpack/image.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum kind { KIND_CONFIG, KIND_INDEX, KIND_MANIFEST, KIND_DOCKER, KIND_LAYER, KIND_LABELS, KIND_NESTED, KIND_COUNT };

#define OUT_MAX (8U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int scratch(void)
{
    char path[] = "/tmp/fuzz-image-XXXXXX", *made = NULL;
    const char *tmp = getenv("TMPDIR");
    char own[300];
    int fd;

    if (tmp && snprintf(own, sizeof(own), "%s/image-XXXXXX", tmp) < (int)sizeof(own))
        made = mkdtemp(own);
    if (!made)
        made = mkdtemp(path);
    fd = made ? open(made, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0 || mkdirat(fd, "blobs", 0700) < 0 || mkdirat(fd, "blobs/sha256", 0700) < 0)
        abort();
    return fd;
}

static void put(int dir, const char *name, const void *data, size_t len)
{
    cleanup_fd int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || fd_write_all(fd, data, len) < 0)
        abort();
}

/* Its name is its digest; the index names it. Returns the blob's path. */
static void put_manifest(int dir, const uint8_t *data, size_t size, char path[96])
{
    struct digest *g = NULL;
    char sha256[65], index[256];

    if (digest_new(&g, NULL) < 0)
        abort();
    digest_data(g, data, size);
    if (digest_finish(g, sha256, NULL) < 0)
        abort();
    digest_free(g);
    snprintf(path, 96, "blobs/sha256/%s", sha256);
    put(dir, path, data, size);
    snprintf(index, sizeof(index), "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:%s\",\"size\":%zu}]}", sha256, size);
    put(dir, "index.json", index, strlen(index));
}

static void read_index(enum kind kind, const uint8_t *data, size_t size)
{
    static int dir = -1; /* made once, in a directory that run.py removes */
    struct image_manifest m = {0};
    char path[96] = "";
    int r;

    if (dir < 0)
        dir = scratch();
    if (kind == KIND_MANIFEST)
        put_manifest(dir, data, size, path);
    else
        put(dir, kind == KIND_INDEX ? "index.json" : "manifest.json", data, size);
    if (kind == KIND_DOCKER)
        r = image_index_is_docker(dir) ? image_index_docker(dir, &m, NULL) : 0;
    else
        r = image_index_oci(dir, &m, NULL);
    for (unsigned i = 0; r == 0 && i < m.nlayers; i++)
        if (!memchr(m.layers[i].path, '\0', sizeof(m.layers[i].path)) || m.nlayers > IMAGE_LAYERS_MAX)
            abort();
    image_manifest_done(&m);
    if (*path)
        unlinkat(dir, path, 0);
}

static void read_config(const uint8_t *data, size_t size)
{
    struct image_config c;

    if (image_config_parse((const char *)data, size, &c, NULL) == 0)
        image_config_done(&c);
}

/* Each entry's data, or (nested) what they are as an archive of their own, with both digests. */
static void read_stream(const struct stream_start *start, bool nested)
{
    struct archive_entry *entry;
    struct stream *s = NULL;
    const void *piece;
    size_t len;
    uint64_t at;

    if (stream_open(start, &s, NULL) < 0)
        return;
    for (unsigned n = 0; n < 1000 && stream_next(s, &entry, NULL) > 0; n++) {
        struct stream_start layer = {.fd = -1, .from = s, .may_lack_end = n % 2, .max_out = OUT_MAX};

        if (nested) {
            if (digest_new(&layer.in, NULL) < 0 || digest_new(&layer.out, NULL) < 0)
                abort();
            read_stream(&layer, false);
            digest_free(layer.in);
            digest_free(layer.out);
            continue;
        }
        while (stream_data(s, &piece, &len, &at, NULL) > 0)
            if (len > OUT_MAX)
                abort();
    }
    stream_close(s);
}

static void read_layer(const uint8_t *data, size_t size, bool nested)
{
    cleanup_fd int fd = memfd_create("layer", MFD_CLOEXEC);
    const struct stream_start start = {.fd = fd, .may_lack_end = !nested, .may_be_zip = false, .max_out = OUT_MAX};

    if (fd < 0 || fd_write_all(fd, data, size) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    read_stream(&start, nested);
}

/* What a label said is what its export says again. */
static void way_back(const struct spec *said)
{
    cleanup_strbuf struct strbuf ini = {0}, sets = {0};
    struct function_ini f;
    struct diag d = {0};

    if (function_ini_format(said, &ini, &sets, &d) < 0)
        return;
    function_ini_init(&f);
    if (function_ini_parse(ini.data ? ini.data : "", ini.len, &f, &d) < 0 || (sets.data && function_sets_label(&f, sets.data, &d) < 0)) {
        fprintf(stderr, "%s\n%s%s", d.text, ini.data, sets.data ? sets.data : "");
        abort();
    }
    function_ini_done(&f);
}

static void read_labels(const uint8_t *data, size_t size)
{
    cleanup_free char *text = calloc(1, size + 1);
    struct function_ini f;
    size_t len;
    int r;

    if (!text)
        return;
    memcpy(text, data, size);
    len = strlen(text);
    function_ini_init(&f);
    r = function_ini_parse(text, len, &f, NULL);
    if (r == 0 && len < size)
        r = function_sets_label(&f, text + len + 1, NULL);
    if (r == 0 && spec_check_limits(&f.spec, NULL) == 0 && spec_network_check(&f.spec, NULL) == 0 && spec_http_check(&f.spec.http, NULL) == 0 &&
        f.spec.scale_min <= f.spec.scale_max)
        way_back(&f.spec);
    function_ini_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum kind kind;

    if (size == 0)
        return 0;
    kind = (enum kind)(*data++ % KIND_COUNT);
    size--;
    if (kind == KIND_CONFIG)
        read_config(data, size);
    else if (kind == KIND_LAYER || kind == KIND_NESTED)
        read_layer(data, size, kind == KIND_NESTED);
    else if (kind == KIND_LABELS)
        read_labels(data, size);
    else
        read_index(kind, data, size);
    return 0;
}
