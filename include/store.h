/*
 * store.h: functions, versions and images on disk (DESIGN section 4). The file system is the truth; this room keeps no copy of it.
 *
 *   STATE/format                          the number of the store's format
 *   STATE/lock                            held with flock(2) by the daemon that uses the store
 *   STATE/functions/ENV/NAME/N/           version N: spec, function.ini, image -> IMAGES/SHA256, meta; immutable once published
 *   STATE/functions/ENV/NAME/current      -> N
 *   STATE/functions/ENV/NAME/scale        "auto" or a number            STATE/functions/ENV/NAME/stopped   exists while stopped
 *   STATE/logs/ENV/NAME/INSTANCE.log      ring logs, the last 8 kept
 *   IMAGES/SHA256/                        trees owned by the image range; IMAGES may be shared by several daemons
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
    int image_fd; /* O_PATH directory of the tree */
    char image[65];
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

int store_set_current(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d);
int store_set_scale(struct store *s, const struct fn_id *id, uint32_t scale, struct diag *d);
int store_set_stopped(struct store *s, const struct fn_id *id, bool stopped, struct diag *d);

/* Removes one version, or all but the newest `keep` and the current one; then images that no version of this store uses (not where images are shared with others: runner.images set). */
int store_drop_version(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d);
int store_prune(struct store *s, const struct fn_id *id, uint32_t current, uint32_t keep, struct diag *d);

/* Bytes that images, ring logs and volumes take when they are full. Reads a small file for each version. */
uint64_t store_usage(struct store *s);

/* Removes a function with its versions and logs: renamed away first, so that a kill leaves all or nothing of it. */
int store_remove(struct store *s, const struct fn_id *id, struct diag *d);

/* The directory of a function's logs (made if missing), the newest log's instance in it, pruning to STORE_LOGS_KEPT dead ones. */
int store_log_dir(struct store *s, const struct fn_id *id, struct diag *d);
int store_log_newest(struct store *s, const struct fn_id *id, char ret_instance[NAME_INSTANCE_MAX + 1]);
typedef bool store_alive_fn(void *arg, const char *instance);
void store_log_prune(struct store *s, const struct fn_id *id, store_alive_fn *alive, void *arg);
