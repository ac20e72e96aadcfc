/*
 * image.h: between the files that read an image of the container world inside the jail.
 *
 *   image.c            is it one; its archive's files moved out of the root, its layers applied, what its configuration becomes
 *   image_index.c      index.json, or docker save's manifest.json: which image, its configuration, its layers
 *   image_json.c       JSON within bounds, blobs by their digest
 *   image_config.c     the image's configuration as plain data
 *   image_layer.c      what a layer takes away from those below it
 *   image_function.c   from that configuration to the function
 *   image_export.c     and back: a function as an image (image_export.h)
 *
 * Formats: OCI image-spec 1.1 (image-layout.md, image-index.md, manifest.md, config.md, layer.md); the moby image specification 1.2 for docker save.
 */
#pragma once

#include "unpack_internal.h"

#include "spec.h"
#include "str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct diag;
struct digest;
struct function_ini;
struct unpack_limits;
struct unpack_result;

#define IMAGE_JSON_MAX    (4U << 20) /* what registries take for a manifest */
#define IMAGE_JSON_DEPTH  64U
#define IMAGE_LAYERS_MAX  512U
#define IMAGE_NAME_MAX    256
#define IMAGE_INI_LABEL   "fnd.function.ini" /* label of an exported function: its function.ini */
#define IMAGE_SETS_LABEL  "fnd.function.set" /* lines of SECTION.KEY=VALUE, over it */
#define IMAGE_HOME        "/tmp"             /* what plan.c gives where nothing else is said */
#define IMAGE_PATH        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define IMAGE_VOLUMES_MAX 200

#if defined(__x86_64__)
#define IMAGE_ARCH      "amd64"
#define IMAGE_ARCH_TEXT "x86-64"
#elif defined(__aarch64__)
#define IMAGE_ARCH      "arm64"
#define IMAGE_ARCH_TEXT "arm64"
#else
#error "which architecture do images have for this machine? (GOARCH)"
#endif

/* ---- image_json.c ---- */

/* A file of the archive, by its path there. */
struct image_blob {
    char path[IMAGE_NAME_MAX];
    char sha256[65]; /* of its bytes; empty: nothing says */
};

/* NULL with d set. `what` names it in messages. */
json_t *image_json_parse(const char *what, const char *text, size_t len, struct diag *d);
const char *image_json_text(const json_t *object, const char *key); /* NULL where there is no such text */

/* "sha256:HEX" as the blob of an OCI layout. */
int image_blob_of_digest(const char *digest, struct image_blob *ret, struct diag *d);
/* A path of docker save; its digest where the name is one. */
int image_blob_of_path(const char *path, struct image_blob *ret, struct diag *d);
/* Opens a regular file of the archive. Whatever the name leads to, it lies in the jail. */
int image_blob_open(int dir_fd, const struct image_blob *b, struct diag *d);
/* Its text, as its digest says; the caller's (free). */
int image_blob_read(int dir_fd, const struct image_blob *b, char **ret, size_t *ret_len, struct diag *d);
json_t *image_blob_json(int dir_fd, const struct image_blob *b, struct diag *d);
int image_digest_check(const char *what, const char *want, const char *got, struct diag *d);

/* ---- image_config.c: pure ---- */

struct image_config {
    char architecture[64], os[64];
    struct strbuf words; /* Entrypoint and Cmd, each NUL-terminated */
    uint32_t argc;
    struct env_set env; /* but what fnd sets itself, and names that it does not take */
    unsigned env_dropped;
    char env_dropped_name[64];
    uint32_t env_port; /* PORT of the environment; 0: none */
    char cwd[SPEC_PATH_MAX], user[128], stop_signal[32], volumes[IMAGE_VOLUMES_MAX];
    unsigned ports, nvolumes; /* ports: of TCP */
    uint32_t port;            /* the first of them */
    bool has_health;
    char *ini, *sets; /* IMAGE_INI_LABEL, IMAGE_SETS_LABEL; NULL */
    char (*diff_ids)[65];
    unsigned ndiff_ids;
};
int image_config_parse(const char *text, size_t len, struct image_config *ret, struct diag *d);
void image_config_done(struct image_config *c); /* of a parsed or a zeroed one */

/* ---- image_index.c ---- */

struct image_manifest {
    bool docker;                  /* docker save: the layers have no digests but those of the configuration */
    char name[NAME_PART_MAX + 1]; /* of its first RepoTags; empty: none that is one */
    struct image_blob config;
    struct image_blob *layers;
    unsigned nlayers;
};
/* Reads index.json of dir_fd, and what it names; chooses this machine's. */
int image_index_oci(int dir_fd, struct image_manifest *ret, struct diag *d);
int image_index_docker(int dir_fd, struct image_manifest *ret, struct diag *d);
bool image_index_is_docker(int dir_fd); /* is its manifest.json one of docker save? */
void image_manifest_done(struct image_manifest *m);

/* ---- image_layer.c ---- */

struct image_names; /* what a layer has made */

struct image_layer {
    int fd;
    struct stream *from;       /* it comes as the data of this stream's entry; NULL: from fd */
    struct digest *in, *out;   /* extract.c's stream feeds them; NULL: not wanted */
    struct image_names *names; /* NULL: nothing lies below it */
    uint64_t skipped;          /* device nodes, fifos, sockets */
    char first_skipped[100];
    unsigned max_depth;
};
int image_names_new(struct image_names **ret, struct diag *d);
void image_names_free(struct image_names *n);

/* 1: the entry takes something away, which has been done (or is of another tool's bookkeeping); 0: it is an entry as others. */
int image_layer_whiteout(struct image_layer *l, int root_fd, const char *path, struct diag *d);
int image_layer_made(struct image_layer *l, int dir, const char *name, struct diag *d);
void image_layer_skip(struct image_layer *l, const char *path);

/* ---- image.c ---- */

struct image {
    bool is;                             /* the package was an image: root_fd holds its tree now */
    int root_fd;                         /* of the process */
    struct digest_thread *digest_thread; /* NULL: none */
    int dir_fd;                          /* where the archive's own files are, once that is known; -1 */
    unsigned looks;                      /* whether it is one */
    unsigned applied;                    /* of manifest.layers */
    const struct unpack_limits *limits;
    struct image_manifest manifest;
    struct image_config config;
    uint64_t skipped;
    char first_skipped[100];
};
#define IMAGE_NONE(root, l)                                                                                                                                    \
    {                                                                                                                                                          \
        .root_fd = (root), .dir_fd = -1, .limits = (l)                                                                                                         \
    }

/* A regular file of the archive is about to come. 1: it was a layer, and is unpacked; 0: it is to be stored, in dir_fd where that is not -1. */
int image_entry(struct image *im, struct stream *s, const char *path, uint64_t size, struct unpack_result *res, struct diag *d);
/* The archive is over: what was unpacked may be an image's; then its layers take the archive's place. */
int image_unpack(struct image *im, struct unpack_result *res, struct diag *d);
void image_done(struct image *im);

/* ---- image_export.c ---- */

/* Writes the function whose tree is root_fd to UNPACK_FD_OUTPUT, as an image's archive. */
int image_export(int root_fd, const struct spec *s, const struct unpack_request *req, struct diag *d);

/* ---- image_function.c: what the image says, where neither function.ini nor --set does ---- */

int image_function_ini(const struct image *i, struct function_ini *f, struct diag *d); /* the label of an export, for an image without function.ini */
int image_function_head(int root_fd, const struct image *i, struct function_ini *f, struct unpack_result *res, struct diag *d);
int image_function_env(const struct image *i, struct env_set *env, struct diag *d);
void image_function_user(int root_fd, const struct image *i, struct function_ini *f, struct unpack_result *res);
int image_function_command(int root_fd, const struct image *i, struct function_ini *f, struct strbuf *words, struct diag *d);
