/* cg_internal.h: what the files of this room share. Theory of operation: cg_tree.c. */
#pragma once

#include "cgroup.h"

#include <stddef.h>
#include <sys/types.h>

#define CG_PATH_MAX 1024
#define CG_WAIT_MS  2000 /* for killed processes to go */

/* ---- cg_mounts.c: where the hierarchies are ---- */

struct cg_mount {
    bool found, read_only;
    dev_t dev;               /* of the hierarchy: co-mounted controllers have the same */
    char point[CG_PATH_MAX]; /* where it is mounted */
    char root[CG_PATH_MAX];  /* which directory of the hierarchy is mounted there */
};

struct cg_host {
    struct cg_mount v2, v1[CG_CONTROLLER_COUNT];
    char own_v2[CG_PATH_MAX], own_v1[CG_CONTROLLER_COUNT][CG_PATH_MAX]; /* this process's group in each hierarchy; empty where it cannot be named from here */
};

/* Pure. mountinfo and own: the texts of /proc/self/mountinfo and /proc/self/cgroup. What does not parse is skipped. */
void cg_host_parse(const char *mountinfo, const char *own, struct cg_host *ret);
int cg_host_read(struct cg_host *ret, struct diag *d);

/* The part of group's path that is below the mount, without a leading slash ("." for the mount itself); NULL if the mount does not show that group. */
const char *cg_mount_below(const struct cg_mount *m, const char *group);

/* Opens the mount's directory, having seen that it is what mountinfo says (a later mount may cover it). */
int cg_mount_open(const struct cg_mount *m, const char *what, struct diag *d);

/* ---- the tree ---- */

struct cg_v1 {
    int dir_fd;  /* NAME in the controller's hierarchy, -1 where it is not v1 */
    bool shared; /* an earlier controller's hierarchy holds this one as well: every directory is made, left and removed through that one */
};

struct cg_root {
    char name[CG_NAME_MAX + 1];
    char path[2 * CG_PATH_MAX + CG_NAME_MAX + 3]; /* of the tree, absolute */
    char base[CG_PATH_MAX];                       /* the directory that holds the tree, below the mount; "." is the mount itself */
    size_t kept;                                  /* base's first bytes name what was there before us */
    int mount_fd, base_fd, dir_fd;
    unsigned enabled; /* controllers that were enabled here for base's children, bits */
    bool divided;     /* this process was moved to NAME.daemon below base */
    enum cg_where where[CG_ALL_COUNT];
    char disk[24];    /* MAJ:MIN of what io_bytes limits; empty: nothing */
    char no_disk[96]; /* why */
    struct cg_v1 v1[CG_CONTROLLER_COUNT];
};

bool cg_name_valid(const char *name);
int cg_open_dir(int dirfd, const char *path);

/* cg_place.c: chooses and makes base, and enables its controllers. On failure what it made is undone by cg_place_undo(). */
int cg_place(struct cg_root *r, const struct cg_host *h, const char *path, struct diag *d);
int cg_place_undo(struct cg_root *r, struct diag *d);

/* Enables for the children of dirfd what it could and does not yet; *ret_enabled (may be NULL) gets the bits of those. label: its path, for messages. */
int cg_enable(int dirfd, const char *label, unsigned *ret_enabled, struct diag *d);

/* Does a file of words (cgroup.controllers, cgroup.subtree_control) hold this one? */
bool cg_file_has(int dirfd, const char *file, const char *word);

/* cg_limit.c: the tree itself in the shape of a group, its descriptors borrowed. */
struct cg_group cg_root_group(struct cg_root *r);

/* cg_disk.c: MAJ:MIN of the disk below a device number, from sysfs (the directory sys_fd is /sys/dev/block). */
int cg_disk_find(int sys_fd, unsigned major, unsigned minor, char *ret, size_t size, struct diag *d);

/* ---- cg_sweep.c ---- */

/* Removes all groups below dirfd, deepest first; -EBUSY if one of them holds processes. */
int cg_remove_below(int dirfd);
