#include "sock.h"

#include "fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int sock_init(struct sock *s, struct loop *l, int fd, watch_fn *on_event, void *owner)
{
    int r;

    *s = (struct sock){.fd = -1};
    r = loop_watch(l, &s->watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_event, owner);
    if (r < 0)
        return r;
    s->fd = fd;
    s->writable = true;
    return 0;
}

static void end(struct sock *s, bool reset)
{
    const struct sock_ops *ops = s->ops;
    const struct linger now = {.l_onoff = 1};

    s->ops = NULL;
    if (ops)
        ops->close(s, reset);
    s->carrier = NULL;
    if (s->fd < 0)
        return;
    if (reset)
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    loop_unwatch(&s->watch);
    s->fd = fd_close(s->fd);
}

void sock_close(struct sock *s)
{
    end(s, false);
}

void sock_reset(struct sock *s)
{
    end(s, true);
}

void sock_shut(struct sock *s)
{
    if (s->ops)
        s->ops->shut(s);
    else
        shutdown(s->fd, SHUT_WR);
}

static ssize_t ask(const struct sock *s, unsigned long what)
{
    int n = 0;

    return ioctl(s->fd, what, &n) < 0 ? -errno : n;
}

ssize_t sock_unread(struct sock *s)
{
    if (s->ops)
        return s->ops->unread ? s->ops->unread(s) : -ENOTSUP;
    return ask(s, FIONREAD);
}

ssize_t sock_queued(struct sock *s)
{
    if (s->ops)
        return s->ops->queued ? s->ops->queued(s) : -ENOTSUP;
    return ask(s, SIOCOUTQ);
}

void sock_note(struct sock *s, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->ended = true;
    if (events & (EPOLLHUP | EPOLLERR))
        s->hung = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        s->writable = true;
    if (s->ops && s->ops->note)
        s->ops->note(s, events);
}

ssize_t sock_recv(struct sock *s, void *data, size_t size)
{
    ssize_t n;

    if (s->ops) {
        n = s->ops->recv(s, data, size);
        if (n == -EAGAIN)
            s->readable = false;
        return n;
    }
    do
        n = recv(s->fd, data, size, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno == EAGAIN)
            s->readable = false;
        return -errno;
    }
    if ((size_t)n < size && n > 0 && !s->ended && !s->mapped)
        s->readable = false;
    return n;
}

void outq_add(struct outq *q, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (outq_empty(q))
        outq_clear(q);
    assert(q->count < OUTQ_MAX);
    q->iov[q->count++] = (struct iovec){.iov_base = (void *)data, .iov_len = len};
}

static void outq_advance(struct outq *q, size_t n)
{
    while (n > 0) {
        struct iovec *v = &q->iov[q->first];

        if (n < v->iov_len) {
            v->iov_base = (char *)v->iov_base + n;
            v->iov_len -= n;
            return;
        }
        n -= v->iov_len;
        q->first++;
    }
}

static ssize_t send_pieces(struct sock *s, struct outq *q)
{
    struct msghdr msg = {.msg_iov = &q->iov[q->first], .msg_iovlen = (size_t)(q->count - q->first)};
    ssize_t n;

    if (s->ops)
        return s->ops->send(s, msg.msg_iov, (unsigned)msg.msg_iovlen);
    if (msg.msg_iovlen == 1)
        n = send(s->fd, msg.msg_iov->iov_base, msg.msg_iov->iov_len, MSG_NOSIGNAL);
    else
        n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

ssize_t sock_send(struct sock *s, struct outq *q)
{
    ssize_t sent = 0;

    while (!outq_empty(q)) {
        ssize_t n = send_pieces(s, q);

        if (n == -EINTR)
            continue;
        if (n == -EAGAIN) {
            s->writable = false;
            return sent > 0 ? sent : -EAGAIN;
        }
        if (n < 0)
            return n;
        outq_advance(q, (size_t)n);
        sent += n;
    }
    return sent;
}

ssize_t sock_splice_in(struct sock *s, int pipe_fd, size_t size)
{
    ssize_t n;

    do
        n = splice(s->fd, NULL, pipe_fd, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        s->readable = false;
    return n < 0 ? -errno : n;
}

ssize_t sock_splice_out(struct sock *s, int pipe_fd, size_t len, bool more)
{
    ssize_t n;

    do
        n = splice(pipe_fd, NULL, s->fd, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0));
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        s->writable = false;
    return n < 0 ? -errno : n;
}
