/*
 * ctl_wait.c: waiting for one descriptor while others are watched, so that a signal or the end of the private daemon is noticed wherever fnctl happens to
 * be: in a call, reading a body, or writing into a
 * pipe whose reader sleeps. Also messages to people.
 */
#include "ctl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int ctl_fail(int code, const char *fmt, ...)
{
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ctl_text_clean(text);
    fprintf(stderr, "fnctl: %s\n", text);
    return code;
}

int ctl_fail_diag(int code, const struct diag *d)
{
    return ctl_fail(code, "%s", d->text);
}

int ctl_watch(struct ctl *ctl, int fd, int (*on_ready)(void *arg), void *arg)
{
    if (ctl->nwatches == CTL_WATCHES)
        return -ENOSPC;
    ctl->watches[ctl->nwatches++] = (struct watch){fd, on_ready, arg};
    return 0;
}

void ctl_unwatch(struct ctl *ctl, int fd)
{
    for (unsigned i = 0; i < ctl->nwatches; i++)
        if (ctl->watches[i].fd == fd)
            ctl->watches[i--] = ctl->watches[--ctl->nwatches];
}

/* A watch may remove watches, its own included: one is served, then the caller polls again. */
static bool serve_one(struct ctl *ctl, const struct pollfd *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!fds[i].revents)
            continue;
        for (unsigned w = 0; w < ctl->nwatches; w++) {
            if (ctl->watches[w].fd == fds[i].fd) {
                int stop = ctl->watches[w].on_ready(ctl->watches[w].arg);

                if (stop && !ctl->stop)
                    ctl->stop = stop;
                return true;
            }
        }
    }
    return false;
}

int ctl_wait(struct ctl *ctl, int fd, short events, int timeout_ms)
{
    for (;;) {
        struct pollfd fds[CTL_WATCHES + 1] = {{.fd = fd, .events = events}};
        int n;

        for (unsigned i = 0; i < ctl->nwatches; i++)
            fds[i + 1] = (struct pollfd){.fd = ctl->watches[i].fd, .events = POLLIN};
        if (ctl->stop)
            return -ECANCELED;
        n = poll(fds, ctl->nwatches + 1, timeout_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (serve_one(ctl, fds + 1, ctl->nwatches)) {
            if (ctl->stop)
                return -ECANCELED;
            if (!fds[0].revents && timeout_ms >= 0)
                return 0; /* early: callers wait for a condition, with a clock of their own */
        }
        if (n == 0 || fds[0].revents)
            return n > 0;
    }
}

int ctl_write(struct ctl *ctl, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        size_t part = len < PIPE_BUF ? len : PIPE_BUF; /* what a pipe that is ready for writing takes without blocking: pipe(7) */
        int r = ctl_wait(ctl, STDOUT_FILENO, POLLOUT, -1);
        ssize_t n;

        if (r < 0)
            return r;
        n = write(STDOUT_FILENO, p, part);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int ctl_puts(struct ctl *ctl, const char *text)
{
    return ctl_write(ctl, text, strlen(text));
}

int ctl_flush(struct ctl *ctl, const struct strbuf *b)
{
    int r = b->failed ? -ENOMEM : b->len ? ctl_write(ctl, b->data, b->len) : 0;

    if (r == 0 || r == -ECANCELED)
        return r == 0 ? CTL_OK : CTL_FAILED;
    return ctl_fail(CTL_FAILED, "standard output: %s", strerror(-r));
}
