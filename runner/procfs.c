/*
 * procfs.c: see procfs.h. Root writes what it likes below /proc/sys whatever its capabilities: nothing but a read-only mount keeps a runner that was taken over from core_pattern, modprobe and the like.
 */
#include "procfs.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

static const char *const read_only[] = {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/fs", "/proc/acpi", "/proc/scsi", "/proc/mtrr", "/proc/bus"};

/* A copy of what is there, put over it. */
static int cover(const char *path, uint64_t attributes)
{
    struct mount_attr attr = {.attr_set = attributes};
    cleanup_fd int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (tree < 0)
        return errno == ENOENT ? 0 : -errno; /* not every kernel has all of them */
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return -errno;
    return move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

int procfs_own(struct diag *d)
{
    cleanup_fd int net = -1;

    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return diag_errno(d, errno, "cannot mount a /proc of our own");
    net = open_tree(AT_FDCWD, "/proc/sys/net", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++) {
        int r = cover(read_only[i], MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);

        if (r < 0)
            return diag_errno(d, -r, "%s: cannot make it read-only for us", read_only[i]);
    }
    if (net < 0 || move_mount(net, "", AT_FDCWD, "/proc/sys/net", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return diag_errno(d, errno, "/proc/sys/net: cannot keep it writable");
    return 0;
}
