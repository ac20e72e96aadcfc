/* flow_up.c: the request on its way to the function: the rewritten head, then the body as the client sends it. */
#include "http.h"

#include "../worker.h"

#include <errno.h>

/* What came behind a head that has gone out cannot be sent a second time, whether it was sent or not: nobody has it any more. */
static enum flow_result took(struct exchange *ex, size_t payload)
{
    ex->up_bytes_lost = ex->up_bytes_lost || (ex->up_sent && payload > 0);
    if (ex->up_flow.body.total <= ex->max_body_bytes)
        return FLOW_DONE;
    ex->keep_alive = false;
    proxy_fail(ex, 413, "too_large", "the request's body is larger than is allowed here");
    return FLOW_GONE;
}

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
    if (took(ex, payload) == FLOW_GONE)
        return FLOW_GONE;
    flow_put(f, at, payload);
    return FLOW_DONE;
}

/* Bytes; spliced: they are in the pipe, else in the connection's buffer. */
static ssize_t fill(struct exchange *ex, bool *ret_spliced)
{
    struct conn *c = ex->conn;
    struct flow *f = &ex->up_flow;
    ssize_t n = flow_fill_pipe(ex->worker, f, &c->sock, &ex->up->sock, body_plain(&f->body));

    *ret_spliced = n != -ENOBUFS;
    if (*ret_spliced)
        return n;
    n = c->sock.readable ? conn_fill(c) : -EAGAIN;
    f->bulk = n >= (ssize_t)FLOW_BULK;
    return n;
}

/* What counts for the turn is what was read: chunks of one byte have little to send. */
static enum flow_result read_body(struct exchange *ex, size_t *budget)
{
    struct conn *c = ex->conn;
    bool spliced;
    ssize_t n;

    if (c->in && buffer_len(c->in) > 0)
        return take_body(ex);
    if (*budget == 0)
        return FLOW_YIELD;
    n = fill(ex, &spliced);
    if (n == -EAGAIN) {
        conn_drop_buffer(c);
        return FLOW_WAIT;
    }
    if (n <= 0) {
        exchange_abort(ex);
        return FLOW_GONE;
    }
    *budget -= (size_t)n < *budget ? (size_t)n : *budget;
    if (!spliced)
        return take_body(ex);
    conn_drop_buffer(c);
    body_moved(&ex->up_flow.body, (uint64_t)n);
    if (took(ex, (size_t)n) == FLOW_GONE)
        return FLOW_GONE;
    flow_put_pipe(&ex->up_flow);
    return FLOW_DONE;
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

        if (!flow_waits(f)) {
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
        n = flow_send(ex->worker, f, to);
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
        if (flow_waits(f))
            return FLOW_WAIT;
    }
    return FLOW_DONE;
}
