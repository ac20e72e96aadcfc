/* store_internal.h: shared by the files of runner/store only. */
#pragma once

#include "store.h"

#include <limits.h>

#define STORE_IMAGES "images"

struct store {
    int state_fd, functions_fd, images_fd, logs_fd, lock_fd;
    bool own_images;   /* nobody else uses IMAGES: what no version names may go */
    bool usual_images; /* IMAGES is STATE/images */
    uint32_t image_uid_base;
    char images[PATH_MAX];
    struct remover *remover; /* borrowed; NULL: trees are removed here and now */
};

/* Removes an entry of the images' directory whose name begins with ".staging-": at once, or in the background where there is a remover. */
void store_remove_tree(struct store *s, const char *name);

/* Opens STATE/functions/ENV/NAME; -ENOENT without a message for a function that is not there. */
int store_function_dir(struct store *s, const struct fn_id *id, bool make, struct diag *d);

/* Removes images that no version uses. */
int store_collect_images(struct store *s, struct diag *d);
