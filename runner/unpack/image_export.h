/*
 * image_export.h: between the files that write a function as an image's archive, inside the jail.
 *
 *   image_export.c     the archive: layers, what describes them, and the order in which they come
 *   image_pack.c       one layer: a tree as a tar
 *   image_describe.c   configuration, manifest, index: JSON from the spec
 *   function_format.c  function.ini from the spec
 */
#pragma once

#include "image.h"

#include "spec.h"

#include <stddef.h>
#include <stdint.h>

struct archive;
struct diag;
struct strbuf;
struct unpack_export;

#define IMAGE_BLOCK         (256U * 1024)
#define IMAGE_EXPORT_LAYERS 3U

enum image_tree_kind { IMAGE_TREE_DIR, IMAGE_TREE_PROGRAM };

struct image_tree {
    enum image_tree_kind kind;
    int fd;
    const char *what; /* for the history */
    char sha256[65];  /* of its layer */
    uint64_t size;
};

/* ---- image_pack.c ---- */

/* The layer of a tree: its digest and size; its bytes to outer, unless that is NULL. */
int image_pack(const struct image_tree *t, const struct unpack_limits *l, struct archive *outer, char ret_hex[65], uint64_t *ret_size, struct diag *d);
int image_archive_failed(struct archive *a, const char *what, struct diag *d);

/* ---- image_describe.c: pure ---- */

struct image_document {
    char *data;
    size_t len;
    char sha256[65];
};
enum image_document_kind { IMAGE_DOC_CONFIG, IMAGE_DOC_MANIFEST, IMAGE_DOC_INDEX, IMAGE_DOC_DOCKER, IMAGE_DOC_COUNT };

int image_describe(const struct spec *s, const struct unpack_request *req, const struct image_tree *trees, unsigned ntrees,
                   struct image_document ret[IMAGE_DOC_COUNT], struct diag *d);
void image_describe_done(struct image_document docs[IMAGE_DOC_COUNT]);
