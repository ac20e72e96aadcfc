/*
 * confine.c: the small root, and the loss of every privilege.
 *
 * Order: every mount is copied from the host first (open_tree(2)), then the tmpfs is mounted over the socket's directory, the one directory that is there for certain and is ours; nobody else sees that, in a mount
 * namespace of our own. Then the copies are attached below it, it becomes read-only, and pivot_root(2) makes it the root; the old root hangs below it for one call more and is detached.
 */
#include "confine.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct shown {
    const char *path;
    bool writable;
    bool optional;
    int fd; /* detached copy of the mount, -1: the host has none */
};

#define SHOWN_MAX 12

static int copy_mount(struct shown *s, struct diag *d)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (s->writable ? 0 : MOUNT_ATTR_RDONLY)};

    s->fd = (int)syscall(SYS_open_tree, AT_FDCWD, s->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (s->fd < 0 && s->optional && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
        return 0;
    if (s->fd < 0)
        return diag_errno(d, errno, "%s: cannot be shown in the gateway's root", s->path);
    if (syscall(SYS_mount_setattr, s->fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return diag_errno(d, errno, "%s: cannot be made read-only", s->path);
    return 0;
}

/* An empty file or directory to mount on, with its parents. */
static int make_place(int root, const struct shown *s, struct diag *d)
{
    const char *path = s->path + 1;
    char parent[PATH_MAX];
    struct stat st;
    char *slash;
    int r;

    if (fstat(s->fd, &st) < 0)
        return diag_errno(d, errno, "%s", s->path);
    if (S_ISDIR(st.st_mode)) {
        r = fd_mkdir_p(root, path, 0755);
    } else {
        cleanup_fd int file = -1;

        snprintf(parent, sizeof(parent), "%s", path);
        slash = strrchr(parent, '/');
        r = 0;
        if (slash) {
            *slash = '\0';
            r = fd_mkdir_p(root, parent, 0755);
        }
        if (r == 0) {
            file = openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
            r = file < 0 ? -errno : 0;
        }
    }
    return r < 0 ? diag_errno(d, -r, "%s: no place for it in the gateway's root", s->path) : 0;
}

static int attach(int root, const struct shown *s, struct diag *d)
{
    int r;

    if (s->fd < 0)
        return 0;
    r = make_place(root, s, d);
    if (r < 0)
        return r;
    if (syscall(SYS_move_mount, s->fd, "", root, s->path + 1, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return diag_errno(d, errno, "%s: cannot be attached to the gateway's root", s->path);
    return 0;
}

static int open_new_root(const char *place, struct diag *d)
{
    int fd;

    if (mount("fnd-gateway", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=256k,nr_inodes=256") < 0)
        return diag_errno(d, errno, "%s: cannot mount the gateway's root", place);
    fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? diag_errno(d, errno, "%s", place) : fd;
}

static int enter(int root, struct diag *d)
{
    const struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};

    if (syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)) < 0)
        return diag_errno(d, errno, "the gateway's root cannot be made read-only");
    if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return diag_errno(d, errno, "the gateway's root cannot be entered");
    return 0;
}

int confine_root(const char *socket_dir, struct diag *d)
{
    struct shown all[SHOWN_MAX] = {
        {"/usr/share/zoneinfo", false, true, -1},
        {"/etc/localtime", false, true, -1},
        {"/etc/ssl/certs/ca-certificates.crt", false, true, -1},
        {"/etc/resolv.conf", false, true, -1},
        {"/etc/hosts", false, true, -1},
        {"/etc/nsswitch.conf", false, true, -1},
        {socket_dir, true, false, -1},
    };
    cleanup_fd int root = -1;
    int r = 0;

    if (socket_dir[0] != '/' || socket_dir[1] == '\0')
        return diag_set(d, EINVAL, "%s: the runner's socket must have an absolute path, below /", socket_dir);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return diag_errno(d, errno, "no mount namespace of its own for the gateway");
    for (unsigned i = 0; r == 0 && i < SHOWN_MAX && all[i].path; i++)
        r = copy_mount(&all[i], d);
    if (r == 0) {
        root = open_new_root(socket_dir, d);
        r = root < 0 ? root : 0;
    }
    for (unsigned i = 0; r == 0 && i < SHOWN_MAX && all[i].path; i++)
        r = attach(root, &all[i], d);
    if (r == 0)
        r = enter(root, d);
    for (unsigned i = 0; i < SHOWN_MAX && all[i].path; i++)
        fd_close(all[i].fd);
    return r;
}

int confine_ids(uid_t uid, gid_t gid, struct diag *d)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};

    for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
            return diag_errno(d, errno, "capability %d cannot be dropped", c);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return diag_errno(d, errno, "user %u, group %u cannot be taken on", uid, gid);
    if (syscall(SYS_capset, &head, none) < 0)
        return diag_errno(d, errno, "capabilities cannot be dropped");
    if (setuid(0) == 0)
        return diag_set(d, EPERM, "root could be taken back");
    return 0;
}
