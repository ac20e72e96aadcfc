/*
 * image_export.c: a function as an image's archive: an OCI layout with docker save's manifest.json beside it, which docker load read before it knew the other.
 *
 * Layers, from below: the runtime's tree, the package's, and for stdio the program that serves it. An archive names its blobs by their digests before their bytes come, so each tree is packed twice: once to know the
 * digest and the size, once into the output. Nothing is kept meanwhile, on disk or in memory; a tree that has changed in between is found out, and the archive then lacks its end.
 *
 * Layers are not compressed: whoever pushes an image compresses it on the way, gzip would cost ten times what reading and hashing does, and both sides take them so.
 */
#include "image_export.h"

#include "diag.h"
#include "fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int outer_head(struct archive *a, const char *name, mode_t type, uint64_t size, struct diag *d)
{
    struct archive_entry *e = archive_entry_new();
    int r;

    if (!e)
        return diag_set(d, ENOMEM, "out of memory");
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, type == AE_IFDIR ? 0755 : 0644);
    archive_entry_set_mtime(e, 0, 0);
    archive_entry_set_size(e, (la_int64_t)size);
    r = archive_write_header(a, e);
    archive_entry_free(e);
    return r == ARCHIVE_OK ? 0 : image_archive_failed(a, name, d);
}

static int outer_text(struct archive *a, const char *name, const char *data, size_t len, struct diag *d)
{
    int r = outer_head(a, name, AE_IFREG, len, d);

    return r == 0 && archive_write_data(a, data, len) != (la_ssize_t)len ? image_archive_failed(a, name, d) : r;
}

static int outer_blob(struct archive *a, const struct image_document *doc, struct diag *d)
{
    char name[96];

    snprintf(name, sizeof(name), "blobs/sha256/%s", doc->sha256);
    return outer_text(a, name, doc->data, doc->len, d);
}

static int outer_layer(struct archive *a, const struct image_tree *t, const struct unpack_limits *l, struct diag *d)
{
    char name[96], sha256[65];
    uint64_t size = 0;
    int r;

    snprintf(name, sizeof(name), "blobs/sha256/%s", t->sha256);
    r = outer_head(a, name, AE_IFREG, t->size, d);
    if (r == 0)
        r = image_pack(t, l, a, sha256, &size, d);
    return r < 0 ? r : strcmp(sha256, t->sha256) != 0 ? diag_set(d, EIO, "the tree changed while it was exported") : 0;
}

/* Descriptions come last: an archive that was cut off is none. */
static int write_all(struct archive *a, const struct image_tree *trees, unsigned ntrees, const struct image_document *docs, const struct unpack_limits *l,
                     struct diag *d)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    int r = outer_head(a, "blobs/", AE_IFDIR, 0, d);

    if (r == 0)
        r = outer_head(a, "blobs/sha256/", AE_IFDIR, 0, d);
    for (unsigned i = 0; i < ntrees && r == 0; i++)
        r = outer_layer(a, &trees[i], l, d);
    if (r == 0)
        r = outer_blob(a, &docs[IMAGE_DOC_CONFIG], d);
    if (r == 0)
        r = outer_blob(a, &docs[IMAGE_DOC_MANIFEST], d);
    if (r == 0)
        r = outer_text(a, "index.json", docs[IMAGE_DOC_INDEX].data, docs[IMAGE_DOC_INDEX].len, d);
    if (r == 0)
        r = outer_text(a, "manifest.json", docs[IMAGE_DOC_DOCKER].data, docs[IMAGE_DOC_DOCKER].len, d);
    if (r == 0)
        r = outer_text(a, "oci-layout", layout, sizeof(layout) - 1, d);
    return r == 0 && archive_write_close(a) != ARCHIVE_OK ? image_archive_failed(a, "the archive", d) : r;
}

static la_ssize_t on_outer(struct archive *a, void *arg, const void *data, size_t len)
{
    int r = fd_write_all(UNPACK_FD_OUTPUT, data, len);

    if (r < 0)
        archive_set_error(a, -r, "whoever asked for it went away");
    return r < 0 ? -1 : (la_ssize_t)len;
}

static int write_archive(const struct image_tree *trees, unsigned ntrees, const struct image_document *docs, const struct unpack_limits *l, struct diag *d)
{
    struct archive *a = archive_write_new();
    int r;

    if (!a || archive_write_set_format_pax_restricted(a) != ARCHIVE_OK || archive_write_set_bytes_per_block(a, IMAGE_BLOCK) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK || archive_write_open(a, NULL, NULL, on_outer, NULL) != ARCHIVE_OK)
        r = diag_set(d, ENOMEM, "the archive cannot be begun");
    else
        r = write_all(a, trees, ntrees, docs, l, d);
    if (a)
        archive_write_free(a);
    return r;
}

int image_export(int root_fd, const struct spec *s, const struct unpack_request *req, struct diag *d)
{
    struct image_tree trees[IMAGE_EXPORT_LAYERS];
    struct image_document docs[IMAGE_DOC_COUNT] = {0};
    unsigned n = 0;
    int r = 0;

    if (req->exported.has_runtime)
        trees[n++] = (struct image_tree){.kind = IMAGE_TREE_DIR, .fd = UNPACK_FD_RUNTIME, .what = "fnctl export: the runtime"};
    trees[n++] = (struct image_tree){.kind = IMAGE_TREE_DIR, .fd = root_fd, .what = "fnctl export: the function"};
    if (req->exported.has_program)
        trees[n++] = (struct image_tree){.kind = IMAGE_TREE_PROGRAM, .fd = UNPACK_FD_PROGRAM, .what = "fnctl export: what serves mode = stdio"};
    for (unsigned i = 0; i < n && r == 0; i++)
        r = image_pack(&trees[i], &req->limits, NULL, trees[i].sha256, &trees[i].size, d);
    if (r == 0)
        r = image_describe(s, req, trees, n, docs, d);
    if (r == 0)
        r = write_archive(trees, n, docs, &req->limits, d);
    image_describe_done(docs);
    return r < 0 ? diag_prefix(d, "export") : 0;
}
