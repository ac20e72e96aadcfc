/*
 * init_loop.c: the life of fn-init while the function runs. Each turn copies at most one buffer of output, then looks at signals: neither a flood of
 * output nor one of signals keeps the other waiting.
 */
#include "fn_init.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOP_BUFFER    16384
#define LOOP_DRAIN_MAX (1024U * 1024) /* what a pipe can hold at most (fs.pipe-max-size), and what the ring does */

/*
 * Returns the bytes copied; 0 when nothing is there or all writers are gone. What the log cannot take (a full disk) is dropped: the function must never
 * wait for it.
 */
static size_t copy_output(struct init *in)
{
    char buffer[LOOP_BUFFER];
    ssize_t n;

    if (in->out_fd < 0)
        return 0;
    do
        n = read(in->out_fd, buffer, sizeof(buffer));
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        (void)ringlog_write(&in->log, buffer, (size_t)n);
        return (size_t)n;
    }
    if (n == 0 || errno != EAGAIN) {
        close(in->out_fd);
        in->out_fd = -1;
    }
    return 0;
}

/* Children of the function that outlived their parents come here as well. Returns whether the function itself has ended. */
static int reap(const struct init *in, int *ret_status)
{
    int status, ended = 0;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0 || (pid < 0 && errno == EINTR)) {
        if (pid == in->function) {
            *ret_status = status;
            ended = 1;
        }
    }
    return ended;
}

/*
 * Only kill(2) gives SI_USER (sigqueue cannot forge it), and a sender that this pid namespace does not know has pid 0. The function can make the same
 * by exhausting its queue of signals, and then ends only itself.
 */
static void forward(const struct init *in, const struct signalfd_siginfo *si)
{
    if (si->ssi_code == SI_USER && si->ssi_pid == 0)
        kill(in->function, (int)si->ssi_signo);
}

static int on_signals(const struct init *in, int *ret_status)
{
    struct signalfd_siginfo si[8];
    ssize_t n = read(in->signal_fd, si, sizeof(si));
    int ended = 0;

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(si[0]); i++) {
        if (si[i].ssi_signo == SIGCHLD)
            ended |= reap(in, ret_status);
        else if (!ended)
            forward(in, &si[i]);
    }
    return ended;
}

/* The status pipe speaks before its writer can be reaped; the end of it is the success of exec. */
static void on_status(struct init *in)
{
    if (in->status_fd < 0)
        return;
    if (read(in->status_fd, &in->failure, sizeof(in->failure)) != (ssize_t)sizeof(in->failure))
        in->failure = (struct init_failure){0};
    close(in->status_fd);
    in->status_fd = -1;
}

int init_loop(struct init *in)
{
    int status = 0, ended = 0;
    size_t left = LOOP_DRAIN_MAX, n;

    while (!ended) {
        struct pollfd p[] = {
            {.fd = in->signal_fd, .events = POLLIN},
            {.fd = in->out_fd, .events = POLLIN},
            {.fd = in->status_fd, .events = POLLIN},
        };

        if (poll(p, sizeof(p) / sizeof(p[0]), -1) < 0 && errno != EINTR)
            break;
        if (p[2].revents)
            on_status(in);
        if (p[1].revents)
            copy_output(in);
        if (p[0].revents)
            ended = on_signals(in, &status);
    }
    on_status(in); /* blocks for nothing: the only writer has ended */
    while (left > 0 && (n = copy_output(in)) > 0)
        left -= n < left ? n : left;
    return status;
}
