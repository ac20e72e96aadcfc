/*
 * sock.h: a non-blocking stream socket, watched edge-triggered for everything, once, for its whole life: no epoll_ctl(2) on the path of a request.
 *
 * What an edge said is remembered (`readable`, `writable`) until a call answers EAGAIN. A read that was shorter than its room has emptied the socket (epoll(7), question 9), unless the peer's end is behind it
 * (`ended`): then one more read is due.
 */
#pragma once

#include "loop.h"

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct sock;

/*
 * What carries the bytes of a sock that is no bare socket: TLS over a descriptor, a stream of an HTTP/2 connection. recv and send try once; unread and queued may be NULL: nothing is known. Behind an -EAGAIN of send the same bytes come first again, with more behind them or not.
 * `readable` and `writable` mean the same as for a bare socket: an edge for the carrier is one for the sock (sock_note), and the carrier sets them again itself where it could go on without one.
 */
struct sock_ops {
    ssize_t (*recv)(struct sock *s, void *data, size_t size);                  /* bytes, 0 at the end, -EAGAIN, -errno */
    ssize_t (*send)(struct sock *s, const struct iovec *iov, unsigned pieces); /* bytes, -EAGAIN, -errno */
    void (*shut)(struct sock *s);                                              /* nothing more will be sent */
    void (*close)(struct sock *s, bool reset);                                 /* and frees s->carrier; s->fd and s->watch are the sock's, closed behind it */
    void (*note)(struct sock *s, uint32_t events);                             /* an edge has come and is noted; NULL: nothing is to be done then */
    ssize_t (*unread)(struct sock *s);                                         /* bytes that have come and were not read; 0 is exact, more may be too many */
    ssize_t (*queued)(struct sock *s);                                         /* bytes that were sent and that the peer has not taken */
};

struct sock {
    struct watch watch;
    int fd;                     /* -1: closed, or no descriptor of its own (ops) */
    const struct sock_ops *ops; /* NULL: a bare socket, which alone may be spliced */
    void *carrier;              /* of ops */
    bool readable, writable;
    bool mapped; /* sockmap.h: bytes come on two ways, so that only -EAGAIN says that none are left */
    bool ended;  /* EPOLLRDHUP, EPOLLHUP or EPOLLERR was seen: a read will come to an end */
    bool hung;   /* EPOLLHUP or EPOLLERR: both directions are over */
};

/* Takes fd on success. The socket counts as writable and not as readable until the first edge. */
int sock_init(struct sock *s, struct loop *l, int fd, watch_fn *on_event, void *owner);
void sock_close(struct sock *s); /* can be repeated */
void sock_reset(struct sock *s); /* the same, but the peer sees a reset: what was sent so far is not a whole message */
void sock_note(struct sock *s, uint32_t events);
void sock_shut(struct sock *s);      /* sends no more; the peer reads to the end */
ssize_t sock_unread(struct sock *s); /* bytes that wait to be read; -errno */
ssize_t sock_queued(struct sock *s); /* bytes that the peer has not taken yet; -errno */

/* Bytes read, 0 at the end, -EAGAIN, -errno. */
ssize_t sock_recv(struct sock *s, void *data, size_t size);

/*
 * Of a bare socket: into an EMPTY pipe (so that -EAGAIN speaks of the socket), and out of one. Bytes moved, 0 at the socket's end, -EAGAIN, -errno. A short move says nothing about what is left in the socket: the
 * pipe's slots are pages, however little of each is used. more: something follows at once; without it the last packet would wait for 200 ms (tcp(7), TCP_CORK).
 */
ssize_t sock_splice_in(struct sock *s, int pipe_fd, size_t size);
ssize_t sock_splice_out(struct sock *s, int pipe_fd, size_t len, bool more);

/* Pieces that wait to be sent, in order; what they point to must stay until they are gone. */
#define OUTQ_MAX 5
struct outq {
    struct iovec iov[OUTQ_MAX];
    uint8_t first, count; /* [first, count) */
};

static inline bool outq_empty(const struct outq *q)
{
    return q->first == q->count;
}

static inline void outq_clear(struct outq *q)
{
    q->first = q->count = 0;
}

void outq_add(struct outq *q, const void *data, size_t len);

/* Bytes sent (the queue is shortened), -EAGAIN, -errno. Sends until the queue is empty or the socket is full. */
ssize_t sock_send(struct sock *s, struct outq *q);
