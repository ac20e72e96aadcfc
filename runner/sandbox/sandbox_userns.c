/* sandbox_userns.c: user namespaces that hold no process, and what is made with them in the parent: the image's mount. */
#include "sandbox_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A child that does nothing but be in a new user namespace, until it is killed. */
static pid_t idle_child(void)
{
    struct clone_args args = {.flags = CLONE_NEWUSER | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    const pid_t parent = getpid();
    long pid = syscall(SYS_clone3, &args, sizeof(args));

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close_range(0, ~0U, 0);
        while (getppid() == parent) /* it may have died before it could be signalled */
            pause();
        _exit(0);
    }
    return pid < 0 ? -errno : (pid_t)pid;
}

static int write_maps(pid_t pid, uint32_t inner, uint32_t outer, int *ret_fd, struct diag *d)
{
    static const char *const maps[] = {"uid_map", "gid_map"};
    cleanup_fd int dir = -1;
    char text[48];
    int r;

    snprintf(text, sizeof(text), "/proc/%d", pid);
    dir = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return diag_errno(d, errno, "sandbox: user namespace: %s", text);
    snprintf(text, sizeof(text), "%u %u %u\n", inner, outer, SANDBOX_IDS);
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        r = fd_write_kernel(dir, maps[i], text);
        if (r < 0)
            return diag_errno(d, -r, "sandbox: user namespace: %s %u-%u", maps[i], outer, outer + SANDBOX_IDS - 1);
    }
    *ret_fd = openat(dir, "ns/user", O_RDONLY | O_CLOEXEC);
    return *ret_fd < 0 ? diag_errno(d, errno, "sandbox: user namespace") : 0;
}

int sandbox_userns_new(uint32_t inner, uint32_t outer, struct diag *d)
{
    int fd = -1, r;
    pid_t pid = idle_child();

    if (pid < 0)
        return diag_errno(d, -pid, "sandbox: user namespace (see user.max_user_namespaces and kernel.unprivileged_userns_clone)");
    r = write_maps(pid, inner, outer, &fd, d);
    kill(pid, SIGKILL); /* ours until it is reaped, so the number is good */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return r < 0 ? r : fd;
}

int sandbox_image_mount(int image_dir_fd, int idmap_fd, struct diag *d)
{
    struct mount_attr attr = {
        .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        .userns_fd = (uint64_t)idmap_fd,
    };
    cleanup_fd int fd = open_tree(image_dir_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_EMPTY_PATH);

    if (fd < 0)
        return diag_errno(d, errno, "sandbox: open_tree of the image");
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
        return take_fd(&fd);
    if (errno == EINVAL)
        return diag_errno(d, EINVAL, "sandbox: the file system of the images has no idmapped mounts: put the state directory on ext4, xfs or btrfs");
    return diag_errno(d, errno, "sandbox: idmapped mount of the image");
}
