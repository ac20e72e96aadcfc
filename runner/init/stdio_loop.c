/* stdio_loop.c: the life of the server: each turn looks at signals first, so that what has ended is seen with all that it wrote, then at standard error, then at every connection once: none keeps the others waiting. */
#include "stdio_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIDY_NS UINT64_C(50000000) /* groups of the dead are looked at this often, should no signal tell */

enum { POLL_SIGNAL, POLL_ERRORS, POLL_LISTEN, POLL_FIRST, PER_CONN = 3, POLL_MAX = POLL_FIRST + PER_CONN * STDIO_CONNS_MAX };

struct turn {
    struct pollfd p[POLL_MAX];
    unsigned n;
    uint64_t next_ns;
    struct stdio_conn *polled[STDIO_CONNS_MAX];
    unsigned npolled;
};

uint64_t stdio_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void watch(struct turn *t, int fd, int events)
{
    t->p[t->n++] = (struct pollfd){.fd = events ? fd : -1, .events = (short)events};
}

static bool wants_input(const struct stdio_conn *c)
{
    if (c->state == STDIO_BODY || c->state == STDIO_RUN)
        return !c->body.done && c->end == STDIO_END_NONE && c->plain_end < sizeof(c->in);
    return c->state == STDIO_HEAD || c->state == STDIO_LINGER;
}

/* A process that has ended is not waited for, only what it has written. */
static bool is_over(const struct stdio_conn *c)
{
    return c->state == STDIO_RUN && c->ended && !stdio_answer_pending(c);
}

static void watch_conn(struct turn *t, const struct stdio_conn *c, uint64_t now)
{
    const bool pending = stdio_answer_pending(c);
    const uint64_t next = c->again || is_over(c) ? now : stdio_conn_next(c);

    watch(t, c->fd, POLLRDHUP | (wants_input(c) ? POLLIN : 0) | (pending ? POLLOUT : 0));
    watch(t, c->in_fd, c->in_fd >= 0 && c->plain_at < c->plain_end ? POLLOUT : 0);
    watch(t, c->out_fd, c->out_fd >= 0 && !pending ? POLLIN : 0);
    t->next_ns = next < t->next_ns ? next : t->next_ns;
}

static int timeout_ms(const struct turn *t, uint64_t now)
{
    uint64_t ms;

    if (t->next_ns == STDIO_NEVER)
        return -1;
    if (t->next_ns <= now)
        return 0;
    ms = (t->next_ns - now) / 1000000 + 1;
    return ms < 60000 ? (int)ms : 60000;
}

static void plan(struct stdio *s, struct turn *t)
{
    const uint64_t said = stdio_log_due(s);

    t->n = 0;
    t->npolled = s->nlive;
    t->next_ns = s->groups.ndying ? s->now_ns + TIDY_NS : STDIO_NEVER;
    t->next_ns = said < t->next_ns ? said : t->next_ns;
    if (s->draining && s->listen_fd >= 0 && s->listen_until_ns < t->next_ns)
        t->next_ns = s->listen_until_ns;
    watch(t, s->in.signal_fd, POLLIN);
    watch(t, s->err_fd, POLLIN);
    watch(t, s->listen_fd, s->listen_fd >= 0 ? POLLIN : 0);
    for (unsigned i = 0; i < s->nlive; i++) {
        t->polled[i] = stdio_live(s, i);
        watch_conn(t, t->polled[i], s->now_ns);
    }
}

/* ---- accepting ---- */

static struct stdio_conn *free_conn(struct stdio *s)
{
    struct stdio_conn *oldest = NULL;

    if (s->nlive < STDIO_CONNS_MAX)
        return stdio_live(s, s->nlive);
    for (unsigned i = 0; i < s->nlive; i++) {
        struct stdio_conn *c = stdio_live(s, i);

        if (c->state == STDIO_HEAD && c->in_len == 0 && (!oldest || c->since_ns < oldest->since_ns))
            oldest = c;
    }
    if (!oldest)
        return NULL;
    stdio_conn_close(s, oldest);
    return stdio_live(s, s->nlive);
}

static void on_listen(struct stdio *s)
{
    for (int i = 0; i < 16; i++) {
        struct stdio_conn *c = free_conn(s);
        const int one = 1;
        int fd;

        if (!c)
            return;
        fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        stdio_conn_open(s, c, fd);
    }
}

/* ---- signals ---- */

static void reap(struct stdio *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0 || (pid < 0 && errno == EINTR))
        if (pid > 0)
            stdio_run_reaped(s, pid, status);
    stdio_groups_tidy(&s->groups);
    stdio_run_waiting(s);
}

/* As in http mode: only what comes from outside the pid namespace is believed. What runs may go on to its end. */
static void drain(struct stdio *s)
{
    if (s->draining)
        return;
    s->draining = true;
    s->listen_until_ns = s->now_ns + s->set.healthcheck_ns;
}

static void on_signals(struct stdio *s)
{
    struct signalfd_siginfo si[8];
    const ssize_t n = read(s->in.signal_fd, si, sizeof(si));

    for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(si[0]); i++)
        if ((si[i].ssi_signo == SIGTERM || si[i].ssi_signo == SIGINT) && si[i].ssi_code == SI_USER && (si[i].ssi_pid == 0 || s->alone))
            drain(s);
    reap(s);
}

static void stop_listening(struct stdio *s)
{
    if (!s->draining || s->now_ns < s->listen_until_ns)
        return;
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    s->listen_fd = -1;
    for (unsigned i = s->nlive; i-- > 0;) /* from behind: the last takes the place of one that goes */
        if (stdio_live(s, i)->state == STDIO_HEAD && stdio_live(s, i)->in_len == 0)
            stdio_conn_close(s, stdio_live(s, i));
}

/* ---- connections ---- */

static void on_conn(struct stdio *s, struct stdio_conn *c, const struct pollfd p[PER_CONN])
{
    const int socket = p[0].revents;

    if (socket & POLLIN)
        stdio_conn_readable(s, c);
    if (c->fd >= 0 && (socket & (POLLERR | POLLHUP | POLLRDHUP)) && !(socket & POLLIN)) {
        stdio_conn_close(s, c);
        return;
    }
    if (p[1].revents && c->in_fd == p[1].fd)
        stdio_body_feed(s, c);
    if ((socket & POLLOUT) && c->fd >= 0 && stdio_answer_pending(c))
        stdio_answer_flush(s, c);
    if (c->state == STDIO_RUN && c->fd >= 0 && (p[2].revents || (socket & POLLOUT) || is_over(c)))
        stdio_run_output(s, c);
    if (c->again)
        stdio_conn_request(s, c);
    if (c->state != STDIO_FREE && s->now_ns >= stdio_conn_next(c))
        stdio_conn_deadline(s, c);
}

static void act(struct stdio *s, struct turn *t)
{
    unsigned at = POLL_FIRST;

    if (t->p[POLL_ERRORS].revents)
        stdio_log_errors(s);
    if (t->p[POLL_SIGNAL].revents)
        on_signals(s);
    else if (s->groups.ndying)
        stdio_groups_tidy(&s->groups);
    for (unsigned i = 0; i < t->npolled; i++, at += PER_CONN)
        if (t->polled[i]->state != STDIO_FREE)
            on_conn(s, t->polled[i], &t->p[at]);
    if (t->p[POLL_LISTEN].revents)
        on_listen(s);
    stop_listening(s);
}

static bool has_work(const struct stdio *s)
{
    return !s->draining || s->listen_fd >= 0 || s->nlive > 0;
}

void stdio_loop(struct stdio *s)
{
    struct turn t;

    while (has_work(s)) {
        stdio_run_prepare(s);
        stdio_conns_trim(s);
        s->now_ns = stdio_now();
        if (s->now_ns >= stdio_log_due(s))
            stdio_log_flush(s);
        plan(s, &t);
        if (poll(t.p, t.n, timeout_ms(&t, s->now_ns)) < 0 && errno != EINTR)
            return;
        s->now_ns = stdio_now();
        act(s, &t);
    }
    stdio_log_errors(s);
    stdio_log_flush(s);
}
