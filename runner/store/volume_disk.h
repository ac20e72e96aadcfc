/* volume_disk.h: one volume: a sparse file with an ext4 in it, its loop device, its mount. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct diag;

struct volume_owner { /* ids on the volume */
    uid_t user;
    gid_t group;
};

/* Is mke2fs(8) there? -ENOENT with the remedy. */
int volume_disk_can_make(struct diag *d);
/* -EFBIG: they do not shrink. */
int volume_disk_too_large(const char *name, uint64_t has, struct diag *d);

/* Opens dir/name, making it (mke2fs) where it is not there; a smaller one grows. *ret_fd is locked; -EBUSY when somebody has it for longer than patience_ms, for which this blocks. */
int volume_disk_open(int dir, const char *name, uint64_t bytes, unsigned patience_ms, int *ret_fd, struct diag *d);

/* Attaches the file to a free loop device, which goes when it is unmounted, and mounts it. */
int volume_disk_mount(int file_fd, const char *path, struct diag *d);

/* The top directory: the function's user's, 0755; lost+found goes, which would be in the way of programs that want an empty directory. */
int volume_disk_own(int root_fd, const struct volume_owner *o, struct diag *d);
