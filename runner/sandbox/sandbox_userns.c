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
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap(pid_t pid)
{
    kill(pid, SIGKILL); /* ours until it is reaped, so the number is good */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/*
 * The namespace's owner is its own first id, not root: what the kernel counts per user (inotify instances and watches, queued signals, message queues) it
 * counts at the owner too, against the host's limits. With one owner for all, one function could use up those of all others and of the host's root.
 * The capabilities stay: hosts may refuse namespaces to those who have none. Returns 0 or a negative errno.
 */
static int enter_owned(uint32_t owner)
{
    int r = sandbox_act_as(owner);

    return r < 0 || unshare(CLONE_NEWUSER) == 0 ? r : -errno;
}

/*
 * No user namespace below this one, whoever gets at clone3 (the filter cannot see its flags, and fn-init of mode stdio has it). The second lock: where /proc/sys is read-only there is the filter alone, which refuses
 * mounts, namespaces and privileged calls whatever capabilities somebody has.
 */
static void forbid_nested(void)
{
    const int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, "0", 1);
        close(fd);
    }
}

/* The namespace goes to the runner by descriptor: to open it through /proc/PID would take CAP_SYS_PTRACE. */
static void __attribute__((noreturn)) idle(uint32_t owner, int tell_fd, pid_t parent)
{
    int r, fd = -1;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range((unsigned)tell_fd + 1, ~0U, 0); /* copies of the runner's locks and listeners */
    if (tell_fd > 0)
        close_range(0, (unsigned)tell_fd - 1, 0);
    r = enter_owned(owner);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* other ids have cleared it */
    if (r == 0) {
        forbid_nested();
        fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
        r = fd < 0 ? -errno : 0;
    }
    if (fd_send(tell_fd, &r, sizeof(r), &fd, fd >= 0, 0) < 0)
        _exit(1);
    close_range(0, ~0U, 0);
    while (getppid() == parent) /* it may have died before it could be signalled */
        pause();
    _exit(0);
}

/* A child that does nothing but be in a new user namespace, until it is killed. */
static pid_t idle_child(uint32_t owner, int *ret_fd)
{
    struct clone_args args = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    const pid_t parent = getpid();
    cleanup_fd int hear_fd = -1, tell_fd = -1;
    int r = -ECHILD, fd = -1, ends[2];
    unsigned nfds = 0;
    long pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    hear_fd = ends[0];
    tell_fd = ends[1];
    pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        idle(owner, tell_fd, parent);
    if (pid < 0)
        return -errno;
    fd_close(take_fd(&tell_fd));
    if (fd_recv(hear_fd, &r, sizeof(r), &fd, 1, &nfds, 0) != (ssize_t)sizeof(r) || (r == 0 && nfds != 1))
        r = -ECHILD;
    if (r < 0) {
        reap((pid_t)pid);
        fd_close(fd);
        return r;
    }
    *ret_fd = fd;
    return (pid_t)pid;
}

static int write_maps(pid_t pid, uint32_t inner, uint32_t outer, struct diag *d)
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
    return 0;
}

int sandbox_userns_new(uint32_t inner, uint32_t outer, struct diag *d)
{
    cleanup_fd int fd = -1;
    pid_t pid = idle_child(outer, &fd);
    int r;

    if (pid < 0)
        return diag_errno(d, -pid, "sandbox: user namespace (see user.max_user_namespaces and kernel.unprivileged_userns_clone)");
    r = write_maps(pid, inner, outer, d);
    reap(pid);
    return r < 0 ? r : take_fd(&fd);
}

static int idmapped_mount(int dir_fd, int idmap_fd, uint64_t attributes, const char *what, struct diag *d)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | attributes, .userns_fd = (uint64_t)idmap_fd};
    cleanup_fd int fd = open_tree(dir_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_EMPTY_PATH);

    if (fd < 0)
        return diag_errno(d, errno, "sandbox: open_tree of the %s", what);
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
        return take_fd(&fd);
    if (errno == EINVAL)
        return diag_errno(d, EINVAL, "sandbox: the file system of the %s has no idmapped mounts: put the state directory on ext4, xfs or btrfs", what);
    return diag_errno(d, errno, "sandbox: idmapped mount of the %s", what);
}

int sandbox_image_mount(int image_dir_fd, int idmap_fd, struct diag *d)
{
    return idmapped_mount(image_dir_fd, idmap_fd, MOUNT_ATTR_RDONLY, "image", d);
}

int sandbox_volume_mount(int volume_dir_fd, int idmap_fd, struct diag *d)
{
    return idmapped_mount(volume_dir_fd, idmap_fd, 0, "volume", d);
}
