/* ctl_signals.c: the signals that end `fnctl run` and what is like it: a daemon has to be stopped first. */
#include "ctl_private.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int on_signal(void *arg)
{
    struct signalfd_siginfo info;

    return read(*(int *)arg, &info, sizeof(info)) == (ssize_t)sizeof(info) ? STOP_SIGNAL : 0;
}

/* An ignored signal would be dropped even while blocked: first the disposition, whatever was inherited. */
static int open_signals(void)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < CTL_COUNT(ends); i++)
        sigaddset(&set, ends[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    for (size_t i = 0; i < CTL_COUNT(ends); i++)
        signal(ends[i], SIG_DFL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int ctl_signals_watch(struct ctl *ctl, int *ret_fd)
{
    *ret_fd = open_signals();
    if (*ret_fd < 0)
        return -errno;
    return ctl_watch(ctl, *ret_fd, on_signal, ret_fd);
}
