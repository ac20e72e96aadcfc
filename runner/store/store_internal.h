/* store_internal.h: shared by the files of runner/store only. */
#pragma once

#include "store.h"

#include <limits.h>

#define STORE_IMAGES "images"

struct store {
    int state_fd, functions_fd, images_fd, runtimes_fd, logs_fd, lock_fd;
    bool own_images;   /* nobody else uses IMAGES: what no version names may go */
    bool usual_images; /* IMAGES is STATE/images */
    uint32_t image_uid_base;
    char images[PATH_MAX];
    struct remover *remover; /* borrowed; NULL: trees are removed here and now */
};

/* Removes an entry of the images' directory whose name begins with ".staging-": at once, or in the background where there is a remover. */
void store_remove_tree(struct store *s, const char *name);

void store_sweep_staging(struct store *s); /* what nobody owns */

/* Opens STATE/functions/ENV/NAME; -ENOENT without a message for a function that is not there. */
int store_function_dir(struct store *s, const struct fn_id *id, bool make, struct diag *d);

/* ---- store_images.c ---- */

bool store_digest_valid(const char *sha);
int store_link_digest(int dir_fd, const char *link, char ret[65]); /* the last component of where it leads; -EPROTO: it is none */
int store_link_image(const struct store *s, int dir_fd, const char *link, const char *up, const char *digest);
int store_new_link(const struct store *s, int dir_fd, const char *link, const char *up, const char *digest); /* in a directory that has no name yet; not flushed */
int store_publish_image(struct store *s, struct store_staging *st, const struct unpack_result *u, struct diag *d);

struct store_images { /* in the order of their digests */
    struct store_image *list;
    size_t count, room;
};
int store_images_used(struct store *s, struct store_images *ret); /* *ret is zeroed before */
void store_images_done(struct store_images *all);
bool store_images_has(const struct store_images *all, const char *digest);

/* Removes images that nobody uses. */
int store_collect_images(struct store *s, struct diag *d);
