/* flow_down.c: the response on its way to the client. */
#include "http.h"

#include "../worker.h"

#include <errno.h>
#include <string.h>

/* A body up to this size is copied behind its head: one plain send costs less than a send of several pieces. */
#define COPY_MAX 4096U

/* Reads into up->in: as conn_fill. */
static ssize_t fill(struct exchange *ex)
{
    struct upconn *u = ex->up;
    struct buffer *b = u->in;
    ssize_t n;

    if (!u->sock.readable)
        return -EAGAIN;
    if (!b) {
        b = u->in = buffer_take(&ex->worker->buffers);
        if (!b)
            return -ENOMEM;
    }
    if (b->start == b->end)
        b->start = b->end = 0;
    else if (b->end == sizeof(b->data))
        buffer_compact(b);
    n = sock_recv(&u->sock, b->data + b->end, sizeof(b->data) - b->end);
    if (n > 0)
        b->end += (uint32_t)n;
    return n;
}

static void drop_buffer(struct exchange *ex)
{
    struct upconn *u = ex->up;

    if (!u->in || buffer_len(u->in) > 0)
        return;
    buffer_give(&ex->worker->buffers, u->in);
    u->in = NULL;
}

/* The function's connection came to an end. */
static enum flow_result on_end(struct exchange *ex, ssize_t n)
{
    struct flow *f = &ex->down_flow;

    if (!f->begun) {
        proxy_up_failed(ex, (int)n);
        return FLOW_GONE;
    }
    if (f->body.kind == BODY_CLOSE && n == 0) {
        f->body.done = true;
        flow_put(f, NULL, 0);
        return FLOW_DONE;
    }
    upstream_failed(ex->up);
    exchange_abort(ex);
    return FLOW_GONE;
}

/* How the body goes out, and whether the client's connection outlives it. */
static struct framing choose_framing(struct exchange *ex)
{
    const struct response *rs = &ex->rs;
    const bool open_end = rs->body == BODY_CHUNKED || rs->body == BODY_CLOSE;
    struct framing fr = {.date = worker_date(ex->worker),
                         .upgrade = rs->status == 101,
                         .added = ex->reply_fields,
                         .own_cors = ex->own_cors,
                         .request_id = ex->request_id,
                         .request_id_len = ex->request_id_len};

    fr.chunked = open_end && !ex->rq.http10;
    if ((open_end && ex->rq.http10) || !ex->up_flow.ended || ex->worker->stopping)
        ex->keep_alive = false;
    fr.close = !ex->keep_alive;
    fr.keep_alive_http10 = ex->keep_alive && ex->rq.http10;
    return fr;
}

static bool write_head(struct exchange *ex, const char *data, const struct framing *fr)
{
    struct flow *f = &ex->down_flow;

    if (!f->head)
        f->head = buffer_take(&ex->worker->buffers);
    if (!f->head) {
        proxy_fail(ex, 503, "no_memory", "not enough memory");
        return false;
    }
    if (rewrite_response(&ex->head, data, &ex->rs, fr, f->head) < 0) {
        proxy_broken(ex, "the function's response has too large a head");
        return false;
    }
    outq_add(&f->out, f->head->data, f->head->end);
    return true;
}

/* 1xx: another head follows. A 100 goes on where the client waits for one, and only once. */
static enum flow_result on_interim(struct exchange *ex, char *data)
{
    const struct framing none = {.date = ""};

    if (ex->rs.status == 100)
        proxy_continue(ex);
    else if (!ex->rq.http10 && !write_head(ex, data, &none))
        return FLOW_GONE;
    ex->up->in->start += ex->head.len;
    head_init(&ex->head, HEAD_RESPONSE);
    return FLOW_DONE;
}

static void copy_small(struct flow *f, const char *payload, size_t len)
{
    struct buffer *h = f->head;

    if (len == 0 || len > COPY_MAX || f->chunked || sizeof(h->data) - h->end < len) {
        flow_put(f, payload, len);
        return;
    }
    memcpy(h->data + h->end, payload, len);
    h->end += (uint32_t)len;
    outq_clear(&f->out);
    outq_add(&f->out, h->data, h->end);
    f->ended = f->body.done;
}

static enum flow_result broken_body(struct exchange *ex)
{
    proxy_broken(ex, "the chunked coding of the function's response is broken");
    return FLOW_GONE;
}

static enum flow_result on_final(struct exchange *ex, char *data)
{
    struct flow *f = &ex->down_flow;
    struct buffer *in = ex->up->in;
    struct framing fr = choose_framing(ex);
    size_t payload;
    char *at;
    ssize_t n;

    if (!write_head(ex, data, &fr))
        return FLOW_GONE;
    ex->status = ex->rs.status;
    f->begun = true;
    ex->moved_ns = loop_now_ns(ex->worker->loop);
    if (ex->up->trial || ex->rs.status == 101)
        upstream_worked(ex->up);
    f->chunked = fr.chunked;
    body_init(&f->body, ex->rs.body, ex->rs.length);
    if (fr.chunked && !ex->rs.names_fields)
        body_keep_trailer(&f->body);
    in->start += ex->head.len;
    if (!flow_waits(&ex->up_flow)) { /* no second attempt any more */
        buffer_give(&ex->worker->buffers, ex->up_flow.head);
        ex->up_flow.head = NULL;
    }
    if (ex->rs.status == 101) { /* what ended as a request goes on as a stream */
        ex->up_flow.ended = false;
        ex->keep_alive = false;
        ex->sent_any = true;
        ex->state = EXCHANGE_TUNNEL;
        return FLOW_GONE;
    }
    at = buffer_at(in);
    n = body_take(&f->body, at, buffer_len(in), &payload);
    if (n < 0)
        return broken_body(ex);
    in->start += (uint32_t)n;
    copy_small(f, at, payload);
    return FLOW_DONE;
}

/* FLOW_WAIT: more bytes are needed. */
static enum flow_result read_head(struct exchange *ex)
{
    struct buffer *in = ex->up->in;
    char *data = buffer_at(in);

    switch (head_parse(&ex->head, data, buffer_len(in))) {
    case HEAD_MORE:
        return FLOW_WAIT;
    case HEAD_REFUSED:
        proxy_broken(ex, ex->head.why);
        return FLOW_GONE;
    default:
        break;
    }
    if (response_check(&ex->head, data, &ex->rq, &ex->rs) < 0) {
        proxy_broken(ex, ex->head.why);
        return FLOW_GONE;
    }
    return ex->rs.status < 200 && ex->rs.status != 101 ? on_interim(ex, data) : on_final(ex, data);
}

static enum flow_result read_body(struct exchange *ex)
{
    struct flow *f = &ex->down_flow;
    struct buffer *in = ex->up->in;
    char *at = buffer_at(in);
    size_t payload;
    ssize_t n = body_take(&f->body, at, buffer_len(in), &payload);

    if (n < 0)
        return broken_body(ex);
    in->start += (uint32_t)n;
    flow_put(f, at, payload);
    return FLOW_DONE;
}

/* As fill, past the buffer: bytes that the body's framing says nothing about. */
static ssize_t fill_pipe(struct exchange *ex)
{
    struct flow *f = &ex->down_flow;
    ssize_t n;

    if (!f->begun || (ex->up->in && buffer_len(ex->up->in) > 0))
        return -ENOBUFS;
    n = flow_fill_pipe(ex->worker, f, &ex->up->sock, &ex->conn->sock, body_plain(&f->body));
    if (n <= 0)
        return n;
    drop_buffer(ex);
    body_moved(&f->body, (uint64_t)n);
    flow_put_pipe(f);
    return n;
}

/* Nothing waits: makes something wait, or says why not. Interim heads and the framing of chunks make nothing to send, so what counts for the turn is what was read. */
static enum flow_result read_more(struct exchange *ex, size_t *budget)
{
    bool want = !ex->up->in || buffer_len(ex->up->in) == 0;

    for (;;) {
        enum flow_result r;
        bool spliced;
        ssize_t n;

        if (!want) {
            r = ex->down_flow.begun ? read_body(ex) : read_head(ex);
            if (r != FLOW_WAIT)
                return r;
        }
        if (*budget == 0)
            return FLOW_YIELD;
        n = fill_pipe(ex);
        spliced = n != -ENOBUFS;
        if (!spliced)
            n = fill(ex);
        if (n == -EAGAIN) {
            drop_buffer(ex);
            return FLOW_WAIT;
        }
        if (n <= 0)
            return on_end(ex, n);
        *budget -= (size_t)n < *budget ? (size_t)n : *budget;
        if (spliced)
            return FLOW_DONE;
        ex->down_flow.bulk = (size_t)n >= FLOW_BULK;
        want = false;
    }
}

static void head_is_out(struct exchange *ex)
{
    buffer_give(&ex->worker->buffers, ex->down_flow.head);
    ex->down_flow.head = NULL;
}

enum flow_result flow_down(struct exchange *ex)
{
    struct flow *f = &ex->down_flow;
    struct sock *to = &ex->conn->sock;
    size_t budget = CONN_TURN_BYTES;

    for (;;) {
        ssize_t n;

        if (!flow_waits(f)) {
            enum flow_result r;

            head_is_out(ex);
            if (f->ended)
                return FLOW_DONE;
            r = read_more(ex, &budget);
            if (r != FLOW_DONE)
                return r;
            continue;
        }
        n = flow_send(ex->worker, f, to);
        if (n == -EAGAIN)
            return FLOW_WAIT;
        if (n < 0) {
            exchange_abort(ex);
            return FLOW_GONE;
        }
        ex->sent_any = ex->sent_any || f->begun;
        ex->moved_ns = loop_now_ns(ex->worker->loop);
        ex->interim_cut = !f->begun && flow_waits(f);
        if (flow_waits(f))
            return FLOW_WAIT;
    }
}
