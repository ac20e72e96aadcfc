/*
 * store.h: functions, versions and images on disk (DESIGN section 4). The file system is the truth; this room keeps no copy of it.
 *
 *   STATE/format                          the number of the store's format
 *   STATE/lock                            held with flock(2) by the daemon that uses the store
 *   STATE/functions/ENV/NAME/N/           version N: spec, function.ini, image -> IMAGES/SHA256, with a runtime runtime -> IMAGES/SHA256, meta; immutable once published
 *   STATE/functions/ENV/NAME/current      -> N
 *   STATE/functions/ENV/NAME/scale        "auto" or a number            STATE/functions/ENV/NAME/stopped   exists while stopped
 *   STATE/logs/ENV/NAME/INSTANCE.log      ring logs, the last 8 kept
 *   STATE/runtimes/NAME                   -> IMAGES/SHA256: what the next deploy that names it lies over
 *   IMAGES/SHA256/                        trees owned by the image range; IMAGES may be shared by several daemons
 *   IMAGES/.about-SHA256                  bytes and entries of one
 *   IMAGES/.staging-*                     being unpacked; locked with flock(2) by its owner, swept by anybody when not
 *
 * Publishing is: write beside, fsync, rename. A kill at any instruction leaves the old or the new state.
 */
#pragma once

#include "names.h"
#include "spec.h"

#include <stdbool.h>
#include <stdint.h>

struct config;
struct diag;
struct remover;
struct store;
struct unpack_result;

#define STORE_FORMAT     1U
#define STORE_SCALE_AUTO UINT32_MAX
#define STORE_LOGS_KEPT  8U

/* Makes what is missing, takes the lock (-EBUSY: another daemon has it), refuses a newer format, sweeps staging directories that nobody owns. */
int store_open(const struct config *c, struct store **ret, struct diag *d);
void store_free(struct store *s);

/* From now on large trees (staging directories, images that nobody uses) are removed by r (remover.h), which must outlive the store's use. */
void store_set_remover(struct store *s, struct remover *r);

struct store_function {
    struct fn_id id;
    uint32_t current; /* version; 0: none was ever published completely, to be ignored */
    uint32_t scale;   /* or STORE_SCALE_AUTO */
    bool stopped;
};

typedef int store_fn(void *arg, const struct store_function *f);
/* Calls fn for each function; a negative return ends it and is returned. */
int store_each(struct store *s, store_fn *fn, void *arg, struct diag *d);

/* One version, opened. */
struct store_version {
    uint32_t number;
    struct spec *spec;
    int image_fd;   /* O_PATH directory of the tree */
    int runtime_fd; /* the same of the runtime that it lies over; -1: none */
    char image[65], runtime[65];
    uint64_t image_bytes;
    uint64_t deployed_real_ns;
};
int store_version_open(struct store *s, const struct fn_id *id, uint32_t number, struct store_version *ret, struct diag *d);
void store_version_done(struct store_version *v);

/* A staging directory owned by the image range, for the unpack jail. */
struct store_staging {
    char name[64];
    int dir_fd;
};
int store_staging_new(struct store *s, struct store_staging *ret, struct diag *d);
void store_staging_drop(struct store *s, struct store_staging *st); /* removes what is left of it; can be repeated */

/* Makes the image (unless one with this digest is there; the tree has been flushed to disk) and version `number` (current + 1 or higher) out of a staging directory; `current` is not changed. */
int store_publish(struct store *s, const struct fn_id *id, struct store_staging *st, const struct unpack_result *u, const struct spec *spec,
                  uint32_t *ret_number, struct diag *d);

/* ---- runtimes and images ---- */

struct store_image {
    char digest[65];
    uint64_t bytes, entries; /* 0: not known */
};

/* Fills in what is known of the image with this digest. */
void store_image_about(struct store *s, struct store_image *image);
/* The image of that name; -ENOENT says how to get one, and which are there. */
int store_runtime_find(struct store *s, const char *name, char ret_digest[65], struct diag *d);
/* Makes the image, and leads the (valid) name there: for later deploys alone. */
int store_runtime_put(struct store *s, const char *name, struct store_staging *st, const struct unpack_result *u, struct diag *d);
/* Takes the name away. Versions keep the image. */
int store_runtime_remove(struct store *s, const char *name, struct diag *d);
typedef int store_runtime_fn(void *arg, const char *name, const struct store_image *image);
int store_each_runtime(struct store *s, store_runtime_fn *fn, void *arg);

enum store_use_kind { STORE_USED_AS_IMAGE, STORE_USED_AS_RUNTIME, STORE_USED_BY_NAME };
struct store_use {
    enum store_use_kind kind;
    struct store_image image; /* bytes: as far as who uses it knows; store_image_about() may know more */
    struct fn_id id;          /* of a version */
    uint32_t version;
    char runtime[NAME_PART_MAX + 1]; /* USED_BY_NAME */
};
typedef int store_use_fn(void *arg, const struct store_use *u);
typedef int store_image_fn(void *arg, const struct store_image *image);
/* Calls fn for each image that nobody uses; for none where images are shared with others, whose use is not known. */
int store_each_unused(struct store *s, store_image_fn *fn, void *arg, struct diag *d);
/* Removes those, and what was left half unpacked by somebody who is gone. *ret: how many, and their bytes as far as they are known. */
int store_sweep(struct store *s, uint32_t *ret_images, uint64_t *ret_bytes, struct diag *d);

/* Calls fn for each link to an image, in no order; a negative return ends it and is returned. */
int store_each_use(struct store *s, store_use_fn *fn, void *arg);

int store_set_current(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d);
int store_set_scale(struct store *s, const struct fn_id *id, uint32_t scale, struct diag *d);
int store_set_stopped(struct store *s, const struct fn_id *id, bool stopped, struct diag *d);

/* What stays: the current version and the newest others, `keep` in all; and those in use, which only go when they are not. */
struct store_keep {
    uint32_t current, keep;
    bool (*in_use)(const void *arg, uint32_t number); /* or NULL */
    const void *arg;
};

/* Removes one version, or all but those that stay (1: more than `keep` are left, since some are in use: to be called again then); then images that nothing in this store uses (not where images are shared with others: runner.images set). */
int store_drop_version(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d);
int store_prune(struct store *s, const struct fn_id *id, const struct store_keep *k, struct diag *d);

/* Bytes that images, ring logs and volumes take when they are full. Reads a small file for each version. */
uint64_t store_usage(struct store *s);

/* Removes a function with its versions and logs: renamed away first, so that a kill leaves all or nothing of it. What is not there is no error: a deploy that was
 * refused may have made only a part. */
int store_remove(struct store *s, const struct fn_id *id, struct diag *d);

/* The directory of a function's logs (made if missing), the newest log's instance in it, pruning to STORE_LOGS_KEPT dead ones. */
int store_log_dir(struct store *s, const struct fn_id *id, struct diag *d);
int store_log_newest(struct store *s, const struct fn_id *id, char ret_instance[NAME_INSTANCE_MAX + 1]);
typedef bool store_alive_fn(void *arg, const char *instance);
void store_log_prune(struct store *s, const struct fn_id *id, store_alive_fn *alive, void *arg);
