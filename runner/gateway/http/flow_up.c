/* flow_up.c: the request on its way to the function: the rewritten head, then the body as the client sends it. */
#include "http.h"

#include "../worker.h"

#include <errno.h>

/* Takes what is in the connection's buffer as body. */
static enum flow_result take_body(struct exchange *ex)
{
    struct flow *f = &ex->up_flow;
    struct buffer *in = ex->conn->in;
    char *at = buffer_at(in);
    size_t payload;
    ssize_t n = body_take(&f->body, at, buffer_len(in), &payload);

    if (n < 0) {
        ex->keep_alive = false;
        proxy_fail(ex, 400, "bad_request", "the chunked coding of the request's body is broken");
        return FLOW_GONE;
    }
    in->start += (uint32_t)n; /* in step with the decoder, which may be asked to skip the rest */
    if (f->body.total > ex->max_body_bytes) {
        ex->keep_alive = false;
        proxy_fail(ex, 413, "too_large", "the request's body is larger than is allowed here");
        return FLOW_GONE;
    }
    flow_put(f, at, payload);
    return FLOW_DONE;
}

/* What counts for the turn is what was read: chunks of one byte have little to send. */
static enum flow_result read_body(struct exchange *ex, size_t *budget)
{
    struct conn *c = ex->conn;
    ssize_t n;

    if (!c->in || buffer_len(c->in) == 0) {
        if (*budget == 0)
            return FLOW_YIELD;
        n = c->sock.readable ? conn_fill(c) : -EAGAIN;
        if (n == -EAGAIN) {
            conn_drop_buffer(c);
            return FLOW_WAIT;
        }
        if (n <= 0) {
            exchange_abort(ex);
            return FLOW_GONE;
        }
        *budget -= (size_t)n < *budget ? (size_t)n : *budget;
    }
    return take_body(ex);
}

enum flow_result flow_up(struct exchange *ex)
{
    struct flow *f = &ex->up_flow;
    struct sock *to = &ex->up->sock;
    size_t budget = CONN_TURN_BYTES;

    if (!ex->up_sent && !ex->up_lost && !f->ended && f->body.total == 0 && ex->conn->in && buffer_len(ex->conn->in) > 0 &&
        take_body(ex) == FLOW_GONE) /* what came with the head goes with the head */
        return FLOW_GONE;
    while (!ex->up_lost) {
        ssize_t n;

        if (outq_empty(&f->out)) {
            enum flow_result r;

            if (f->ended) {
                conn_drop_buffer(ex->conn);
                return FLOW_DONE;
            }
            r = read_body(ex, &budget);
            if (r != FLOW_DONE)
                return r;
            continue;
        }
        n = to->writable ? sock_send(to, &f->out) : -EAGAIN;
        if (n == -EAGAIN)
            return FLOW_WAIT;
        if (n < 0) { /* an answer may have come before the function stopped listening: it is read first */
            ex->up_lost = true;
            to->readable = true;
            break;
        }
        ex->up_sent = true;
        ex->up_bytes_lost = ex->up_bytes_lost || f->body.total > 0;
        ex->up_progress_ns = ex->moved_ns = loop_now_ns(ex->worker->loop);
        if (!outq_empty(&f->out))
            return FLOW_WAIT;
    }
    return FLOW_DONE;
}
