/*
 * h2_conn.c: see h2.h. A connection with a session: bytes in, frames out, its deadlines and its end.
 *
 * Streams have deadlines of their own, those of any conn: for the head, the body, the function, a client that takes nothing. The connection's are for what no stream stands for: no stream at all, a header block
 * that does not end, and a buffer that the client does not take.
 */
#include "h2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char preface[] = NGHTTP2_CLIENT_MAGIC;

enum h2_preface h2_preface(const char *data, size_t len)
{
    size_t n = len < sizeof(preface) - 1 ? len : sizeof(preface) - 1;

    if (memcmp(data, preface, n) != 0)
        return H2_PREFACE_NO;
    return n == sizeof(preface) - 1 ? H2_PREFACE_YES : H2_PREFACE_MORE;
}

int h2_start(struct conn *c)
{
    struct h2_session *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->conn = c;
    s->rest_since_ns = loop_now_ns(c->worker->loop);
    r = h2_frames_new(s);
    if (r < 0) {
        nghttp2_session_del(s->ng);
        free(s);
        return r;
    }
    c->session = s;
    return 0;
}

void h2_end(struct conn *c)
{
    struct h2_session *s = c->session;

    if (!s)
        return;
    s->ending = true;
    c->session = NULL;
    for (struct h2_stream *st = s->streams, *next; st; st = next) {
        next = st->next;
        st->closed = true;
        if (st->conn)
            conn_abort(st->conn); /* frees st */
        else
            h2_stream_free(st);
    }
    buffer_give(&c->worker->buffers, s->block.buf);
    buffer_give(&c->worker->buffers, s->out);
    nghttp2_session_del(s->ng);
    free(s);
}

/* ---- the end of a session ---- */

/* What was said goes out; what comes is not looked at any more. */
static void finish(struct conn *c)
{
    struct h2_session *s = c->session;
    bool rest;

    h2_pump(s);
    h2_out_flush(s);
    rest = s->flooded || c->sock.readable || sock_unread(&c->sock) > 0;
    h2_end(c);
    if (rest)
        conn_linger(c);
    else
        conn_close(c);
}

static void give_up(struct conn *c, uint32_t code)
{
    struct h2_session *s = c->session;

    nghttp2_session_terminate_session2(s->ng, nghttp2_session_get_last_proc_stream_id(s->ng), code);
    finish(c);
}

/* RFC 9113 section 6.8: first it is announced, and requests that are on their way are still served; the answer to the PING says that there are no more of them. */
void h2_drain(struct h2_session *s)
{
    static const uint8_t mark[8] = "draining";

    if (s->draining)
        return;
    s->draining = true;
    nghttp2_submit_shutdown_notice(s->ng);
    nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, mark);
    conn_schedule(s->conn);
}

void h2_drain_end(struct h2_session *s)
{
    if (s->drained)
        return;
    s->drained = true;
    nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(s->ng), NGHTTP2_NO_ERROR, NULL, 0);
    conn_schedule(s->conn);
}

void h2_stop(struct conn *c)
{
    struct h2_session *s = c->session;

    if (s->nopen > 0) {
        h2_drain(s);
        return;
    }
    give_up(c, NGHTTP2_NO_ERROR);
}

/* ---- running ---- */

static void set_deadline(struct conn *c)
{
    const struct settings *set = &c->worker->picture.settings;
    struct h2_session *s = c->session;
    uint64_t at = NEVER;

    if (!h2_out_empty(s))
        at = s->out_moved_ns + set->stall_timeout_ns;
    else if (s->head_since_ns)
        at = s->head_since_ns + set->head_timeout_ns;
    else if (s->nopen == 0)
        at = s->rest_since_ns + (s->settled ? set->idle_timeout_ns : set->head_timeout_ns);
    conn_set_deadline(c, at);
}

void h2_on_timeout(struct conn *c)
{
    struct h2_session *s = c->session;

    if (h2_out_empty(s)) {
        give_up(c, s->head_since_ns || !s->settled ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_NO_ERROR);
        return;
    }
    if (!conn_drains(c)) {
        conn_abort(c);
        return;
    }
    s->out_moved_ns = loop_now_ns(c->worker->loop);
    set_deadline(c);
}

static void refuse_flood(struct conn *c)
{
    c->session->flooded = true;
    shared_add(&picture_slot(&c->worker->picture)->refused[REFUSED_FLOOD], 1);
    give_up(c, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* What is in the buffer. Returns whether c is still to be read from. */
static bool take_frames(struct conn *c)
{
    struct h2_session *s = c->session;
    struct buffer *b = c->in;
    ssize_t n;

    if (!b || b->start == b->end)
        return true;
    n = nghttp2_session_mem_recv(s->ng, (const uint8_t *)buffer_at(b), buffer_len(b));
    b->start = b->end = 0;
    if (s->flooded || n == NGHTTP2_ERR_FLOODED || n == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
        refuse_flood(c);
        return false;
    }
    if (n == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
        conn_close(c);
        return false;
    }
    if (n < 0) {
        give_up(c, NGHTTP2_INTERNAL_ERROR);
        return false;
    }
    return true;
}

static bool read_frames(struct conn *c)
{
    size_t budget = CONN_TURN_BYTES;

    while (take_frames(c)) {
        ssize_t n;

        if (c->sock.readable && budget == 0) {
            conn_yield(c);
            return true;
        }
        n = c->sock.readable ? conn_fill(c) : -EAGAIN;
        if (n == -EAGAIN) {
            conn_drop_buffer(c);
            return true;
        }
        if (n == 0)
            conn_close(c);
        else if (n < 0)
            conn_abort(c);
        if (n <= 0)
            return false;
        budget -= (size_t)n < budget ? (size_t)n : budget;
    }
    return false;
}

static void drop_out(struct h2_session *s)
{
    if (!h2_out_empty(s))
        return;
    buffer_give(&s->conn->worker->buffers, s->out);
    s->out = NULL;
}

void h2_run(struct conn *c)
{
    struct h2_session *s = c->session;

    if (s->broken) {
        conn_abort(c);
        return;
    }
    if (!read_frames(c))
        return;
    if (s->draining && s->nopen == 0)
        h2_drain_end(s);
    h2_pump(s);
    h2_out_flush(s);
    if (s->broken) {
        conn_abort(c);
        return;
    }
    if (!nghttp2_session_want_read(s->ng) && !nghttp2_session_want_write(s->ng)) {
        finish(c);
        return;
    }
    h2_out_wake(s);
    if (h2_out_turn_over(s) && nghttp2_session_want_write(s->ng)) /* it was stopped for that, and no edge comes */
        conn_yield(c);
    drop_out(s);
    set_deadline(c);
}
