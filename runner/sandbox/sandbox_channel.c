/* sandbox_channel.c: the clone of a child, and the channel over which it reports and gets its plan. */
#include "sandbox_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Room for the largest plan in one message, whatever net.core.wmem_default says (the kernel doubles the figure for its own overhead). */
static int channel_make(int ret_ends[2])
{
    const int room = PLAN_MAX;
    int ends[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    r = setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) < 0 ? -errno : fd_set_nonblock(ends[0], 1);
    if (r < 0) {
        fd_close(ends[0]);
        fd_close(ends[1]);
        return r;
    }
    ret_ends[0] = ends[0];
    ret_ends[1] = ends[1];
    return 0;
}

int sandbox_channel_clone(const struct sandbox_kit *k, uint64_t namespaces, int cgroup_fd, sandbox_main *child, const void *arg, struct sandbox_child *ret,
                          struct diag *d)
{
    int ends[2] = {-1, -1}, pid_fd = -1, err = -channel_make(ends);
    struct clone_args args = {.flags = namespaces | CLONE_INTO_CGROUP | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
                              .pidfd = (uintptr_t)&pid_fd,
                              .exit_signal = SIGCHLD,
                              .cgroup = (uint64_t)cgroup_fd};
    sigset_t all, before;
    long pid;

    if (err)
        return diag_errno(d, err, "sandbox: channel");
    /* The child keeps all signals blocked, through exec: fn-init reads them by signalfd, and none that comes before that is lost. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0) {
        child(k, ends[1], arg);
        _exit(125);
    }
    err = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    fd_close(ends[1]);
    if (pid < 0) {
        fd_close(ends[0]);
        return diag_errno(d, err, "sandbox: clone3 into the instance's cgroup%s", namespaces ? " and a new set of namespaces" : "");
    }
    *ret = (struct sandbox_child){.pid = (pid_t)pid, .pid_fd = pid_fd, .channel_fd = ends[0], .netns_fd = -1, .stage = SANDBOX_PARKING};
    return 0;
}
