/*
 * http_server.c: see http_server.h.
 *
 * One struct conn per connection, in a table indexed by its descriptor; pages of the table that no connection has used cost no memory. A turn for one connection: read once; conn_step() again and again, which
 * consumes input and produces output; write. Several requests that arrive together (pipelining) are answered in their order.
 */
#include "http_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS_MAX  1024
#define OPEN_MAX   (CONNS_MAX - 16) /* some descriptors are no connections */
#define EVENTS_MAX 32
#define TURN_BYTES (1U << 20) /* of a file that one connection sends before the others have their turn */

http_request_fn *http_handler;
volatile sig_atomic_t http_stopping;
static struct conn conns[CONNS_MAX];

/* ---- connections ---- */

static bool has_file(const struct conn *c)
{
    return c->state == SENDFILE && c->file_left > 0;
}

/* False: the connection is broken, or the file shorter than promised. */
static bool flush_file(struct conn *c, int fd)
{
    uint64_t max = c->file_left < TURN_BYTES ? c->file_left : TURN_BYTES;

    while (max > 0) {
        ssize_t n = sendfile(fd, c->file_fd, &c->file_at, max);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        max -= (uint64_t)n;
        c->file_left -= (uint64_t)n;
    }
    return true;
}

/* False: the connection is broken. */
static bool flush(struct conn *c, int fd)
{
    while (c->out_at < c->out_end) {
        ssize_t n = send(fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL | (has_file(c) ? MSG_MORE : 0));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        c->out_at += (size_t)n;
    }
    c->out_at = c->out_end = 0;
    return !has_file(c) || flush_file(c, fd);
}

struct server {
    int epoll_fd, listen_fd;
    unsigned open;
    bool accepting;
};

static void watch(struct server *s, int op, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};

    epoll_ctl(s->epoll_fd, op, fd, &ev);
}

static void set_accepting(struct server *s, bool on)
{
    if (s->accepting != on)
        watch(s, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->listen_fd, EPOLLIN);
    s->accepting = on;
}

static void conn_close(struct server *s, int fd)
{
    if (conns[fd].state == SENDFILE)
        close(conns[fd].file_fd);
    conns[fd].open = false;
    close(fd);
    s->open--;
    if (!http_stopping)
        set_accepting(s, true);
}

/* False: nothing more will come, or the connection is broken. */
static bool conn_read(struct conn *c, int fd)
{
    ssize_t n;

    if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
        c->in_end -= c->in_at;
        c->in_at = 0;
    }
    if (c->in_end == IN_SIZE)
        return true;
    n = recv(fd, c->in + c->in_end, IN_SIZE - c->in_end, 0);
    if (n > 0)
        c->in_end += (size_t)n;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void conn_turn(struct server *s, int fd, uint32_t events)
{
    struct conn *c = &conns[fd];
    bool alive = true, moved, had, out;

    if (!c->watching_out || (events & (EPOLLERR | EPOLLHUP)))
        alive = conn_read(c, fd);
    do {
        for (moved = false; conn_step(c);)
            moved = true;
        had = c->out_end > 0 || has_file(c);
        if (!flush(c, fd)) {
            conn_close(s, fd);
            return;
        }
        out = c->out_end > 0 || has_file(c);
    } while ((moved || had) && !out); /* a flushed buffer is room for more, even where nothing moved before */
    if (!out && c->state == DRAIN)
        shutdown(fd, SHUT_WR);
    if ((!alive && !out) || (!out && c->state == CLOSING) || (!out && http_stopping && c->state == HEAD && c->in_at == c->in_end)) {
        conn_close(s, fd);
        return;
    }
    if (out != c->watching_out)
        watch(s, EPOLL_CTL_MOD, fd, out ? EPOLLOUT : EPOLLIN);
    c->watching_out = out;
}

/* When the table or the limit of descriptors is reached, later connections wait in the kernel's queue until one is closed. */
static void accept_all(struct server *s)
{
    while (s->open < OPEN_MAX) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct conn *c = &conns[fd < 0 || fd >= CONNS_MAX ? 0 : fd];

        if (fd < 0 && (errno != EMFILE || s->open == 0))
            return;
        if (fd < 0)
            break;
        if (fd >= CONNS_MAX) { /* started with descriptors that are not ours */
            close(fd);
            return;
        }
        c->open = true;
        c->watching_out = false;
        c->state = HEAD;
        c->in_at = c->in_end = c->out_at = c->out_end = 0;
        s->open++;
        watch(s, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
    set_accepting(s, false);
}

/* ---- the server ---- */

static void on_signal(int sig)
{
    (void)sig;
    http_stopping = 1;
}

/* Between requests: closed at once. Others finish theirs. */
static void begin_stop(struct server *s)
{
    set_accepting(s, false);
    close(s->listen_fd);
    for (unsigned fd = 0, left = s->open; left > 0 && fd < CONNS_MAX; fd++) {
        struct conn *c = &conns[fd];

        left -= c->open;
        if (c->open && c->state == HEAD && c->out_end == 0 && c->in_at == c->in_end)
            conn_close(s, (int)fd);
    }
}

static void serve(struct server *s, const sigset_t *unblocked)
{
    struct epoll_event events[EVENTS_MAX];
    bool was_stopping = false;

    while (!was_stopping || s->open > 0) {
        int n = epoll_pwait(s->epoll_fd, events, EVENTS_MAX, -1, unblocked);

        if (http_stopping && !was_stopping) {
            was_stopping = true;
            begin_stop(s);
        }
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd != s->listen_fd && conns[fd].open)
                conn_turn(s, fd, events[i].events);
            else if (fd == s->listen_fd && !http_stopping)
                accept_all(s);
        }
    }
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted sockets inherit it */
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0)
        return -1;
    return fd;
}

int http_serve(uint16_t port, http_request_fn *on_request, void (*on_ready)(void))
{
    struct sigaction stop = {.sa_handler = on_signal};
    struct server s = {0};
    sigset_t blocked, unblocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &unblocked); /* they arrive only while epoll_pwait waits */
    sigdelset(&unblocked, SIGTERM);
    sigdelset(&unblocked, SIGINT);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    signal(SIGPIPE, SIG_IGN); /* sendfile has no flag for it */

    http_handler = on_request;
    s.listen_fd = listen_on(port);
    s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s.listen_fd < 0 || s.epoll_fd < 0)
        return -1;
    set_accepting(&s, true);
    on_ready();
    serve(&s, &unblocked);
    return 0;
}
