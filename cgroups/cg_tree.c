/*
 * cg_tree.c: the tree: opening it, its v1 halves, removing it.
 *
 * Theory of operation
 *
 *   <v2>/BASE/NAME/GROUP          every group: clone3 puts processes here, cgroup.kill ends them, cgroup.events says when the last has gone
 *   <v1 of memory>/OWN/NAME/GROUP only where a v1 hierarchy holds the controller: a directory more, for the limit and the figures
 *
 * cg_place.c chooses BASE. Nobody but this room makes anything in NAME, so all that is found there is ours: after a daemon was killed the next one kills and removes it (cg_sweep.c). Two daemons with one name
 * would sweep each other; the tree's directory is therefore locked (flock(2)), and the kernel drops the lock with its holder. Children inherit the descriptor and with it the lock until they exec or close it,
 * hence the short wait in taking it.
 *
 * No internal processes (cgroup-v2.rst): a group other than the root of the hierarchy that holds processes cannot have domain controllers enabled for its children. BASE and NAME have them, so neither may hold a
 * process: the daemon lives elsewhere, or is moved to a leaf beside NAME when its own group was delegated to it. A controller is CG_V2 if NAME could pass it to groups, CG_V1 if a v1 hierarchy holds it. The
 * kernel refuses to take a controller from a parent while a child passes it on, so nobody (systemd tidying its slices) can take the limits from under running groups.
 *
 * v1: OWN is this process's group there. A later daemon may be started from another one: NAME remembers OWN's path in an attribute, and a recorded directory that is still there is used again. v1 directories are
 * removed before NAME, so the record outlives them.
 *
 * Order of opening: mount, BASE, NAME, lock, controllers, v1. Whatever fails, what was made is removed (rmdir only: groups of a killed daemon stay until somebody sweeps). Removing: groups, v1, NAME, controllers
 * of BASE, this process back from its leaf, BASE's parts as far as they were made here and are empty.
 */
#include "cg_internal.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

#define LOCK_WAIT_NS  NS_PER_SEC
#define LOCK_PAUSE_NS (2 * NS_PER_MS)

static int lock_tree(struct cg_root *r, struct diag *d)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    uint64_t deadline_ns = clock_mono_ns() + LOCK_WAIT_NS;

    while (flock(r->dir_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return diag_errno(d, errno, "locking %s", r->path);
        if (clock_mono_ns() > deadline_ns)
            return diag_set(d, EBUSY, "%s is in use by another daemon: stop that one, or give this one another name (runner.name)", r->path);
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* The directory may have been removed between opening and locking it, by a daemon that was just ending. */
static bool still_there(const struct cg_root *r)
{
    struct stat a, b;

    return fstat(r->dir_fd, &a) == 0 && fstatat(r->base_fd, r->name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino;
}

static int open_tree_dir(struct cg_root *r, struct diag *d)
{
    for (int tries = 0; tries < 8; tries++) {
        int x;

        if (mkdirat(r->base_fd, r->name, 0755) < 0 && errno != EEXIST)
            return diag_errno(d, errno, "making %s", r->path);
        r->dir_fd = cg_open_dir(r->base_fd, r->name);
        if (r->dir_fd == -ENOENT)
            continue;
        if (r->dir_fd < 0)
            return diag_errno(d, -r->dir_fd, "%s", r->path);
        x = lock_tree(r, d);
        if (x == 0 && still_there(r))
            return 0;
        r->dir_fd = fd_close(r->dir_fd);
        if (x < 0)
            return x;
    }
    return diag_set(d, EBUSY, "%s is being removed by another daemon again and again", r->path);
}

/* ---- v1 ---- */

static void record_name(enum cg_controller c, char buf[64])
{
    snprintf(buf, 64, "trusted.fnd.v1.%s", cg_controller_name(c));
}

/* Where a previous daemon made its half, if that is still there. */
static int open_recorded(struct cg_root *r, const struct cg_mount *m, int mount_fd, enum cg_controller c)
{
    char path[CG_PATH_MAX], record[64];
    const char *below, *base;
    ssize_t n;

    record_name(c, record);
    n = fgetxattr(r->dir_fd, record, path, sizeof(path) - 1);
    if (n <= 0)
        return -ENOENT;
    path[n] = '\0';
    below = cg_mount_below(m, path);
    base = strrchr(path, '/');
    if (!below || !base || strcmp(base + 1, r->name) != 0)
        return -ENOENT;
    return cg_open_dir(mount_fd, below);
}

static int make_recorded(struct cg_root *r, const struct cg_mount *m, int mount_fd, enum cg_controller c, const char *own, struct diag *d)
{
    char path[CG_PATH_MAX + CG_NAME_MAX + 2], record[64];
    const char *below;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", strcmp(own, "/") == 0 ? "" : own, r->name);
    below = own[0] ? cg_mount_below(m, path) : NULL;
    if (!below)
        return diag_set(d, ENOENT, "this process's group in the v1 hierarchy of %s is not shown by the mount at %s", cg_controller_name(c), m->point);
    record_name(c, record);
    fsetxattr(r->dir_fd, record, path, strlen(path), 0); /* before mkdir: a kill between them leaves no directory without a record */
    if (mkdirat(mount_fd, below, 0755) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "making %s/%s", m->point, below);
    fd = cg_open_dir(mount_fd, below);
    return fd < 0 ? diag_errno(d, -fd, "%s/%s", m->point, below) : fd;
}

/* A hierarchy that holds cpuset beside our controller takes no process into a group without CPUs and memory nodes (cgroup-v1/cpusets.rst): NAME gets its parent's, groups get NAME's. */
static int inherit_cpuset(int dir_fd, struct diag *d)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    cleanup_fd int parent = -1;
    char value[4096];

    if (faccessat(dir_fd, files[0], F_OK, 0) < 0)
        return 0;
    parent = cg_open_dir(dir_fd, "..");
    if (parent < 0)
        return diag_errno(d, -parent, "cpuset");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        ssize_t n = fd_read_file(parent, files[i], value, sizeof(value));
        int x = n < 0 ? (int)n : fd_write_kernel(dir_fd, files[i], value);

        if (x < 0)
            return diag_errno(d, -x, "%s", files[i]);
    }
    return fd_write_kernel(dir_fd, "cgroup.clone_children", "1");
}

static int open_v1(struct cg_root *r, const struct cg_host *h, enum cg_controller c, struct diag *d)
{
    const struct cg_mount *m = &h->v1[c];
    char what[32];
    cleanup_fd int mount_fd = -1;

    snprintf(what, sizeof(what), "cgroup v1 (%s)", cg_controller_name(c));
    for (int before = 0; before < (int)c; before++)
        if (r->where[before] == CG_V1 && h->v1[before].dev == m->dev)
            r->v1[c].shared = true;
    mount_fd = cg_mount_open(m, what, d);
    if (mount_fd < 0)
        return mount_fd;
    r->v1[c].dir_fd = open_recorded(r, m, mount_fd, c);
    if (r->v1[c].dir_fd < 0)
        r->v1[c].dir_fd = make_recorded(r, m, mount_fd, c, h->own_v1[c], d);
    if (r->v1[c].dir_fd < 0)
        return r->v1[c].dir_fd;
    return r->v1[c].shared ? 0 : inherit_cpuset(r->v1[c].dir_fd, d);
}

static int open_controllers(struct cg_root *r, const struct cg_host *h, struct diag *d)
{
    int x = cg_enable(r->dir_fd, r->path, NULL, d);

    for (int c = 0; c < CG_ALL_COUNT && x == 0; c++) {
        if (cg_file_has(r->dir_fd, "cgroup.subtree_control", cg_controller_name(c)))
            r->where[c] = CG_V2;
        else if (c < CG_CONTROLLER_COUNT && h->v1[c].found)
            r->where[c] = CG_V1;
        if (r->where[c] == CG_V1)
            x = open_v1(r, h, c, d);
    }
    return x;
}

/* ---- opening and removing ---- */

static int remove_v1(struct cg_root *r, struct diag *d)
{
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++) {
        struct cg_v1 *v = &r->v1[c];
        cleanup_fd int parent = v->dir_fd < 0 || v->shared ? -1 : cg_open_dir(v->dir_fd, "..");

        if (parent >= 0 && unlinkat(parent, r->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
            return diag_errno(d, errno, "removing %s from the v1 hierarchy of %s", r->name, cg_controller_name(c));
        v->dir_fd = fd_close(v->dir_fd);
    }
    return 0;
}

/* rmdir only: fails with -EBUSY where there are groups. */
static int remove_dirs(struct cg_root *r, struct diag *d)
{
    int x = remove_v1(r, d);

    if (x < 0)
        return x;
    if (r->dir_fd >= 0 && unlinkat(r->base_fd, r->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return diag_errno(d, errno, "removing %s", r->path);
    r->dir_fd = fd_close(r->dir_fd);
    return cg_place_undo(r, d);
}

static int open_all(struct cg_root *r, const char *path, struct diag *d)
{
    cleanup_free struct cg_host *h = calloc(1, sizeof(*h));
    int x;

    if (!h)
        return diag_errno(d, ENOMEM, "cgroups");
    x = cg_host_read(h, d);
    if (x < 0)
        return x;
    if (!h->v2.found)
        return diag_set(d, ENOTSUP,
                        "no cgroup v2 hierarchy is mounted: boot with systemd.unified_cgroup_hierarchy=1, or mount one beside v1 (mkdir -p "
                        "/sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 "
                        "/sys/fs/cgroup/unified)");
    r->mount_fd = cg_mount_open(&h->v2, "cgroup v2", d);
    if (r->mount_fd < 0)
        return r->mount_fd;
    x = cg_place(r, h, path, d);
    if (x < 0)
        return x;
    snprintf(r->path, sizeof(r->path), "%s%s%s/%s", h->v2.point, strcmp(r->base, ".") == 0 ? "" : "/", strcmp(r->base, ".") == 0 ? "" : r->base, r->name);
    x = open_tree_dir(r, d);
    if (x < 0)
        return x;
    return open_controllers(r, h, d);
}

int cg_root_open(const struct cg_options *o, struct cg_root **ret, struct diag *d)
{
    struct cg_root *r;
    int x;

    if (!o->name || !cg_name_valid(o->name))
        return diag_set(d, EINVAL, "%s is not a name for a cgroup: 1 to %d of A-Z a-z 0-9 _ . -, not beginning with a dot", o->name ? o->name : "(none)",
                        CG_NAME_MAX);
    r = calloc(1, sizeof(*r));
    if (!r)
        return diag_errno(d, ENOMEM, "cgroups");
    str_copy(r->name, sizeof(r->name), o->name);
    r->mount_fd = r->base_fd = r->dir_fd = -1;
    str_copy(r->no_disk, sizeof(r->no_disk), "nobody named a disk");
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        r->v1[c].dir_fd = -1;
    x = open_all(r, o->path, d);
    if (x < 0) {
        remove_dirs(r, NULL);
        cg_root_free(r);
        return x;
    }
    *ret = r;
    return 0;
}

int cg_root_remove(struct cg_root *r, struct diag *d)
{
    int x = cg_root_sweep(r, d);

    return x < 0 ? x : remove_dirs(r, d);
}

void cg_root_free(struct cg_root *r)
{
    if (!r)
        return;
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        fd_close(r->v1[c].dir_fd);
    fd_close(r->dir_fd);
    fd_close(r->base_fd);
    fd_close(r->mount_fd);
    free(r);
}

enum cg_where cg_root_where(const struct cg_root *r, enum cg_controller c)
{
    return r->where[c];
}

const char *cg_root_path(const struct cg_root *r)
{
    return r->path;
}

int cg_own_open(struct diag *d)
{
    cleanup_free struct cg_host *h = calloc(1, sizeof(*h));
    cleanup_fd int mount_fd = -1;
    const char *below;
    int x;

    if (!h)
        return diag_errno(d, ENOMEM, "cgroups");
    x = cg_host_read(h, d);
    if (x < 0)
        return x;
    below = h->v2.found && h->own_v2[0] ? cg_mount_below(&h->v2, h->own_v2) : NULL;
    if (!below)
        return diag_set(d, ENOTSUP, "this process's cgroup is not in a mounted cgroup v2 hierarchy");
    mount_fd = cg_mount_open(&h->v2, "cgroup v2", d);
    if (mount_fd < 0)
        return mount_fd;
    x = cg_open_dir(mount_fd, below);
    return x < 0 ? diag_errno(d, -x, "cgroup %s", h->own_v2) : x;
}

int cg_root_dir(const struct cg_root *r)
{
    return r->dir_fd;
}

int cg_enter_leaf(const char *leaf, struct diag *d)
{
    cleanup_fd int own_fd = -1, leaf_fd = -1;
    int x;

    if (!cg_name_valid(leaf))
        return diag_set(d, EINVAL, "%s is not a name for a cgroup", leaf);
    own_fd = cg_own_open(d);
    if (own_fd < 0)
        return own_fd;
    if (mkdirat(own_fd, leaf, 0755) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "making cgroup %s", leaf);
    leaf_fd = cg_open_dir(own_fd, leaf);
    x = leaf_fd < 0 ? leaf_fd : fd_write_kernel(leaf_fd, "cgroup.procs", "0");
    return x < 0 ? diag_errno(d, -x, "entering cgroup %s", leaf) : 0;
}
