/* tunnel.c: after 101 the connection belongs to the two ends: bytes both ways, each direction ends by itself. */
#include "http.h"

#include "../worker.h"

#include <errno.h>

/* One side of the tunnel. */
struct side {
    struct sock *sock;
    struct buffer **in;
};

static ssize_t side_fill(struct worker *w, struct side *s)
{
    struct buffer *b = *s->in;
    ssize_t n;

    if (!b && s->sock->readable) {
        b = *s->in = buffer_take(&w->buffers);
        if (!b)
            return -ENOMEM;
    }
    n = s->sock->readable ? sock_recv(s->sock, b->data, sizeof(b->data)) : -EAGAIN;
    if (n > 0) {
        b->start = 0;
        b->end = (uint32_t)n;
    } else if (n == -EAGAIN) {
        buffer_give(&w->buffers, b);
        *s->in = NULL;
    }
    return n;
}

/* Nothing waits: makes something wait. Bytes, 0 at the end, -EAGAIN, -errno. */
static ssize_t take(struct exchange *ex, struct flow *f, struct side *from, const struct sock *to)
{
    struct buffer *b = *from->in;
    ssize_t n = -ENOBUFS;

    if (b && buffer_len(b) > 0) {
        n = (ssize_t)buffer_len(b);
    } else {
        n = flow_fill_pipe(ex->worker, f, from->sock, to, UINT64_MAX);
        if (n != -ENOBUFS) {
            buffer_give(&ex->worker->buffers, b);
            *from->in = NULL;
            return n;
        }
        n = side_fill(ex->worker, from);
        f->bulk = n >= (ssize_t)FLOW_BULK;
        if (n <= 0)
            return n;
        b = *from->in;
    }
    outq_add(&f->out, buffer_at(b), (size_t)n);
    b->start = b->end;
    return n;
}

/* FLOW_GONE: the connection is broken. */
static enum flow_result move(struct exchange *ex, struct flow *f, struct side *from, struct sock *to)
{
    size_t budget = CONN_TURN_BYTES;

    while (!f->ended || flow_waits(f)) {
        ssize_t n;

        if (!flow_waits(f)) {
            n = take(ex, f, from, to);
            if (n == -EAGAIN)
                return FLOW_WAIT;
            if (n < 0)
                return FLOW_GONE;
            if (n == 0) {
                f->ended = true;
                sock_shut(to);
                break;
            }
        }
        n = flow_send(ex->worker, f, to);
        if (n > 0)
            ex->moved_ns = loop_now_ns(ex->worker->loop);
        if (n == -EAGAIN || (n >= 0 && flow_waits(f)))
            return FLOW_WAIT;
        if (n < 0)
            return FLOW_GONE;
        if ((size_t)n > budget)
            return FLOW_YIELD;
        budget -= (size_t)n;
    }
    return FLOW_DONE;
}

void tunnel_run(struct exchange *ex)
{
    struct conn *c = ex->conn;
    struct upconn *u = ex->up;
    struct side client = {&c->sock, &c->in}, function = {&u->sock, &u->in};
    enum flow_result up, down;

    up = move(ex, &ex->up_flow, &client, &u->sock);
    down = up == FLOW_GONE ? FLOW_GONE : move(ex, &ex->down_flow, &function, &c->sock);
    if (down == FLOW_GONE) {
        sock_reset(&u->sock); /* what was cut must not look whole to the function: by TLS we know when it was */
        exchange_abort(ex);
        return;
    }
    if (up == FLOW_DONE && down == FLOW_DONE) {
        proxy_release(ex, false);
        ex->state = EXCHANGE_OVER;
        return;
    }
    proxy_stream_deadline(ex);
    if (up == FLOW_YIELD || down == FLOW_YIELD)
        conn_yield(c);
}
