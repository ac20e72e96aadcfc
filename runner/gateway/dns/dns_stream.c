/* dns_stream.c: one question over TCP, and the one answer (RFC 7766: a length of two bytes before each). Knows nothing of what they say. Whoever owns it bounds its time. */
#include "dns_private.h"

#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

void dns_stream_close(struct dns_stream *s)
{
    loop_unwatch(&s->watch);
    s->fd = fd_close(s->fd);
    free(s->msg);
    s->msg = NULL;
}

/* The owner may free the stream in its callback. */
static void finish(struct dns_stream *s, bool whole)
{
    uint8_t *msg = whole ? s->msg : NULL;
    size_t len = s->msg_len;

    if (whole)
        s->msg = NULL;
    dns_stream_close(s);
    s->on_message(s, msg, len);
    free(msg);
}

/* 1: more is needed; 0: the message is whole; negative: it will not be. */
static int stream_read(struct dns_stream *s)
{
    uint8_t *to = s->msg ? s->msg + s->msg_at : s->in + s->in_at;
    size_t want = s->msg ? s->msg_len - s->msg_at : sizeof(s->in) - s->in_at;
    ssize_t n = recv(s->fd, to, want, 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : -errno;
    if (n == 0)
        return -ECONNRESET;
    if (s->msg) {
        s->msg_at += (size_t)n;
        return s->msg_at < s->msg_len;
    }
    s->in_at += (size_t)n;
    if (s->in_at < sizeof(s->in))
        return 1;
    s->msg_len = (size_t)s->in[0] << 8 | s->in[1];
    if (s->msg_len < DNS_HEAD)
        return -EBADMSG;
    s->msg = malloc(s->msg_len);
    return s->msg ? stream_read(s) : -ENOMEM;
}

static int stream_write(struct dns_stream *s)
{
    ssize_t n = send(s->fd, s->out + s->out_at, s->out_len - s->out_at, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    s->out_at += (size_t)n;
    return s->out_at == s->out_len ? loop_modify(&s->watch, EPOLLIN) : 0;
}

static void on_stream(struct watch *w, uint32_t events)
{
    struct dns_stream *s = w->owner;
    int r = 1;

    if (s->out_at < s->out_len) {
        if (stream_write(s) < 0)
            finish(s, false);
        return;
    }
    r = stream_read(s);
    if (r <= 0)
        finish(s, r == 0);
}

int dns_stream_open(struct dns_stream *s, struct loop *loop, const struct dns_resolver_addr *to, const uint8_t *ask, size_t len)
{
    cleanup_fd int fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (fd < 0 || (connect(fd, (const struct sockaddr *)&to->addr, to->len) < 0 && errno != EINPROGRESS))
        return -errno;
    s->out[0] = (uint8_t)(len >> 8);
    s->out[1] = (uint8_t)len;
    memcpy(s->out + 2, ask, len);
    s->out_len = 2 + len;
    s->out_at = s->in_at = s->msg_len = s->msg_at = 0;
    r = loop_watch(loop, &s->watch, fd, EPOLLOUT, on_stream, s);
    if (r == 0)
        s->fd = take_fd(&fd);
    return r;
}
