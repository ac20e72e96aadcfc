/*
 * h2_stream.c: what a stream is to its conn: a sock. recv() reads the body that has come, in the chunked coding if its length is not known; what is read opens the windows again. send() takes of the answer what
 * the client's windows and the session's buffer allow, and nothing else is kept of it.
 *
 * Lifetime: a stream outlives its conn until nghttp2 has closed it (frames of it may still come), and its conn outlives what nghttp2 knows where the answer still runs into nothing. Whoever is last frees it.
 */
#include "h2_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* Frames may be due. */
static void kick(struct h2_session *s)
{
    if (!s->ending)
        conn_schedule(s->conn);
}

/* ---- reading ---- */

static bool next_frame_text(struct h2_stream *st)
{
    if (!st->chunked)
        return false;
    if (st->in_bytes > 0) {
        st->frame_len = (uint8_t)snprintf(st->frame, sizeof(st->frame), "%x\r\n", st->in_bytes);
    } else if (st->in_ended && !st->in_told) {
        memcpy(st->frame, "0\r\n", 3);
        st->frame_len = 3;
        if (!st->trailers) {
            memcpy(st->frame + 3, "\r\n", 2);
            st->frame_len = 5;
        }
        st->in_told = true;
    } else {
        return false;
    }
    st->frame_at = 0;
    return true;
}

static size_t take(char *to, size_t room, const char *from, size_t len)
{
    size_t n = len < room ? len : room;

    memcpy(to, from, n);
    return n;
}

/* From the first buffer of the body. */
static size_t take_body(struct h2_stream *st, char *to, size_t room)
{
    struct buffer *b = st->first;
    size_t n = take(to, room < st->piece_left ? room : (size_t)st->piece_left, buffer_at(b), buffer_len(b));

    b->start += (uint32_t)n;
    st->in_bytes -= (uint32_t)n;
    st->piece_left -= n;
    if (st->chunked && st->piece_left == 0) {
        memcpy(st->frame, "\r\n", 2);
        st->frame_at = 0;
        st->frame_len = 2;
    }
    if (b->start == b->end) {
        st->first = b->next;
        if (!st->first)
            st->last = NULL;
        buffer_give(&st->session->conn->worker->buffers, b);
    }
    return n;
}

/* "name: value\r\n" lines and the empty one. */
static size_t take_trailers(struct h2_stream *st, char *to, size_t room)
{
    struct buffer *b = st->trailers;
    size_t n = take(to, room, buffer_at(b), buffer_len(b));

    b->start += (uint32_t)n;
    if (b->start == b->end) {
        buffer_give(&st->session->conn->worker->buffers, b);
        st->trailers = NULL;
    }
    return n;
}

static size_t take_some(struct h2_stream *st, char *to, size_t room)
{
    size_t n;

    if (st->frame_at < st->frame_len) {
        n = take(to, room, st->frame + st->frame_at, (size_t)(st->frame_len - st->frame_at));
        st->frame_at += (uint8_t)n;
        return n;
    }
    if (st->piece_left > 0)
        return take_body(st, to, room);
    if (st->in_told && st->trailers)
        return take_trailers(st, to, room);
    if (!next_frame_text(st) && st->in_bytes == 0)
        return 0;
    st->piece_left = st->in_bytes;
    return take_some(st, to, room);
}

static ssize_t stream_recv(struct sock *sk, void *data, size_t size)
{
    struct h2_stream *st = sk->carrier;
    struct h2_session *s = st->session;
    uint32_t before = st->in_bytes;
    size_t len = 0, n;

    while (len < size && (n = take_some(st, (char *)data + len, size - len)) > 0)
        len += n;
    if (before > st->in_bytes) { /* the windows open by what was read */
        nghttp2_session_consume(s->ng, st->id, before - st->in_bytes);
        kick(s);
    }
    if (len > 0)
        return (ssize_t)len;
    return st->in_ended ? 0 : -EAGAIN;
}

int h2_stream_data(struct h2_stream *st, const uint8_t *data, size_t len)
{
    struct buffer_pool *pool = &st->session->conn->worker->buffers;

    while (len > 0) {
        struct buffer *b = st->last;
        size_t n;

        if (!b || b->end == sizeof(b->data)) {
            b = buffer_take(pool);
            if (!b)
                return -ENOMEM;
            *(st->last ? &st->last->next : &st->first) = b;
            st->last = b;
        }
        n = take(b->data + b->end, sizeof(b->data) - b->end, (const char *)data, len);
        b->end += (uint32_t)n;
        st->in_bytes += (uint32_t)n;
        data += n;
        len -= n;
    }
    st->conn->sock.readable = true;
    conn_schedule(st->conn);
    return 0;
}

void h2_stream_in_end(struct h2_stream *st)
{
    st->in_ended = true;
    if (!st->conn)
        return;
    st->conn->sock.readable = true;
    conn_schedule(st->conn);
}

static void drop_input(struct h2_stream *st)
{
    struct h2_session *s = st->session;
    struct buffer_pool *pool = &s->conn->worker->buffers;

    while (st->first) {
        struct buffer *b = st->first;

        st->first = b->next;
        buffer_give(pool, b);
    }
    st->last = NULL;
    buffer_give(pool, st->trailers);
    st->trailers = NULL;
    if (st->in_bytes > 0 && !s->ending) { /* the connection's window is everybody's */
        nghttp2_session_consume_connection(s->ng, st->in_bytes);
        kick(s);
    }
    st->in_bytes = 0;
}

/* ---- sending ---- */

static ssize_t read_data(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags, nghttp2_data_source *source, void *user)
{
    return h2_stream_read(source->ptr, len, flags);
}

static int submit_head(struct h2_stream *st, const struct h2_fields *f)
{
    const nghttp2_data_provider body = {.source.ptr = st, .read_callback = read_data};
    nghttp2_session *ng = st->session->ng;

    if (st->answer.state == H2_ANSWER_HEAD) {
        st->interims++;
        return nghttp2_submit_headers(ng, NGHTTP2_FLAG_NONE, st->id, NULL, f->nv, f->n, NULL);
    }
    st->begun = true;
    return nghttp2_submit_response(ng, st->id, f->nv, f->n, st->answer.state == H2_ANSWER_DONE ? NULL : &body);
}

/* Heads at the front of the offer: each is within one piece. An interim one waits for the one before it to be written, so that a function that sends no end of them fills no memory. */
static int take_heads(struct h2_stream *st)
{
    while (!st->begun && st->offers > 0) {
        const char *data = (const char *)st->offer->iov_base + st->offer_at;
        struct h2_fields fields;
        ssize_t n;

        if (st->interims > 0)
            return 0;
        n = h2_answer_head(&st->answer, data, st->offer->iov_len - st->offer_at, &fields);
        if (n < 0)
            return (int)n;
        if (submit_head(st, &fields) != 0)
            return -EPIPE;
        st->offer_at += (size_t)n;
        st->offer_used += (size_t)n;
        if (st->offer_at == st->offer->iov_len) {
            st->offer++;
            st->offers--;
            st->offer_at = 0;
        }
    }
    return 0;
}

/* Payload out of the offer. -EPROTO: the answer is broken. */
static ssize_t take_payload(struct h2_stream *st, char *to, size_t room)
{
    size_t len = 0;

    while (st->offers > 0 && st->answer.state != H2_ANSWER_DONE) {
        size_t payload = 0, had = st->offer->iov_len - st->offer_at;
        ssize_t n = h2_answer_body(&st->answer, (const char *)st->offer->iov_base + st->offer_at, had, to + len, room - len, &payload);

        if (n < 0)
            return n;
        len += payload;
        st->offer_used += (size_t)n;
        st->offer_at += (size_t)n;
        if ((size_t)n < had)
            break;
        st->offer++;
        st->offers--;
        st->offer_at = 0;
    }
    return (ssize_t)len;
}

static ssize_t defer(struct h2_stream *st)
{
    st->deferred = true;
    if (!st->offering && !st->blocked) /* the windows are open: it may offer more */
        h2_stream_wake(st);
    return NGHTTP2_ERR_DEFERRED;
}

static int submit_trailers(struct h2_stream *st, uint32_t *flags)
{
    struct h2_fields fields;

    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (h2_answer_trailers(&st->answer, &fields) < 0)
        return -EPROTO;
    if (fields.n == 0)
        return 0;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return nghttp2_submit_trailer(st->session->ng, st->id, fields.nv, fields.n) == 0 ? 0 : -EPIPE;
}

ssize_t h2_stream_read(struct h2_stream *st, size_t max, uint32_t *flags)
{
    struct h2_session *s = st->session;
    size_t room;
    ssize_t n;

    if (!st->conn && st->answer.state != H2_ANSWER_DONE)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!st->offering)
        return defer(st);
    room = h2_out_room(s, H2_FRAME_HEAD + max);
    if (room <= H2_FRAME_HEAD || (room < H2_FRAME_HEAD + max && !h2_out_empty(s) && room < sizeof(s->out->data) / 4)) {
        h2_out_block(s, st);
        return defer(st);
    }
    room -= H2_FRAME_HEAD;
    n = take_payload(st, s->out->data + s->out->end + H2_FRAME_HEAD, room < max ? room : max);
    if (n < 0 || (st->answer.state == H2_ANSWER_DONE && submit_trailers(st, flags) < 0)) {
        st->answer.state = H2_ANSWER_HEAD; /* nothing follows it */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (n == 0 && st->answer.state != H2_ANSWER_DONE)
        return defer(st);
    st->sent_bytes += (uint64_t)n;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return n;
}

void h2_stream_wake(struct h2_stream *st)
{
    if (!st->conn)
        return;
    st->woken = true;
    st->conn->sock.writable = true;
    conn_schedule(st->conn);
}

/* Gives nghttp2 what it takes of the offer. */
static int offer(struct h2_stream *st)
{
    int r = take_heads(st);

    if (r < 0)
        return r;
    st->offering = true;
    if (st->deferred && st->offers > 0) {
        st->deferred = false;
        nghttp2_session_resume_data(st->session->ng, st->id);
    }
    h2_pump(st->session);
    st->offering = false;
    return 0;
}

static ssize_t stream_send(struct sock *sk, const struct iovec *iov, unsigned pieces)
{
    struct h2_stream *st = sk->carrier;
    struct h2_session *s = st->session;
    bool gone = st->closed || st->reset_sent || s->broken;
    int r = gone ? -EPIPE : 0;

    st->offer = iov;
    st->offers = pieces;
    st->offer_at = st->offer_used = 0;
    while (r == 0) {
        st->woken = false;
        r = offer(st);
        gone = st->closed || st->reset_sent || s->broken;
        if (gone || st->offer_used > 0 || !st->woken) /* the edge came while it was looked for: no other will */
            break;
    }
    st->offer = NULL;
    st->offers = 0;
    kick(s);
    if (r == 0 && st->offer_used > 0 && (!gone || st->end_sent))
        return (ssize_t)st->offer_used;
    return r < 0 ? r : gone ? -EPIPE : -EAGAIN;
}

/* ---- the end ---- */

void h2_stream_reset(struct h2_stream *st, uint32_t code)
{
    if (st->reset_sent || st->closed || st->session->ending)
        return;
    st->reset_sent = true;
    nghttp2_submit_rst_stream(st->session->ng, NGHTTP2_FLAG_NONE, st->id, code);
    kick(st->session);
}

static void stream_close(struct sock *sk, bool reset)
{
    struct h2_stream *st = sk->carrier;
    struct h2_session *s = st->session;

    st->conn = NULL;
    if (--s->nopen == 0)
        s->rest_since_ns = loop_now_ns(s->conn->worker->loop);
    drop_input(st);
    if (reset || st->answer.state != H2_ANSWER_DONE)
        h2_stream_reset(st, NGHTTP2_INTERNAL_ERROR);
    else if (st->end_sent && !st->in_ended)
        h2_stream_reset(st, NGHTTP2_NO_ERROR); /* RFC 9113 section 8.1: the rest of the body is not needed */
    kick(s);
    if (st->closed)
        h2_stream_free(st);
}

static void stream_shut(struct sock *sk)
{
}

static ssize_t stream_unread(struct sock *sk)
{
    const struct h2_stream *st = sk->carrier;

    return (ssize_t)st->in_bytes;
}

/* Nobody knows how much of it the client has taken. Who asks wants to know whether it gets less: it does while the stream goes on, or, where it waits for the connection, while that does. */
static ssize_t stream_queued(struct sock *sk)
{
    const struct h2_stream *st = sk->carrier;
    uint64_t gone = st->sent_bytes;

    if (st->blocked) {
        ssize_t waits = sock_queued(&st->session->conn->sock);

        gone += st->session->out_bytes - (uint64_t)(waits > 0 ? waits : 0);
    }
    return (ssize_t)(INT32_MAX - (gone & INT32_MAX));
}

static const struct sock_ops stream_ops = {
    .recv = stream_recv, .send = stream_send, .shut = stream_shut, .close = stream_close, .unread = stream_unread, .queued = stream_queued};

struct h2_stream *h2_stream_new(struct h2_session *s, int32_t id)
{
    struct h2_stream *st = calloc(1, sizeof(*st));

    if (!st)
        return NULL;
    st->session = s;
    st->id = id;
    st->link = &s->streams;
    st->next = s->streams;
    if (st->next)
        st->next->link = &st->next;
    s->streams = st;
    s->nstreams++;
    return st;
}

void h2_stream_free(struct h2_stream *st)
{
    struct h2_session *s = st->session;

    *st->link = st->next;
    if (st->next)
        st->next->link = st->link;
    s->nstreams--;
    if (s->collecting == st)
        s->collecting = NULL;
    for (struct h2_stream **at = &s->blocked_first, *before = NULL; *at; before = *at, at = &(*at)->next_blocked) {
        if (*at != st)
            continue;
        *at = st->next_blocked;
        if (s->blocked_last == st)
            s->blocked_last = before;
        break;
    }
    drop_input(st);
    h2_answer_done(&st->answer);
    free(st);
}

int h2_stream_start(struct h2_stream *st, struct buffer *head, unsigned refused, const char *why)
{
    struct h2_session *s = st->session;
    struct conn *c = conn_new_stream(s->conn, &stream_ops, st);

    if (!c) {
        buffer_give(&s->conn->worker->buffers, head);
        return -ENOMEM;
    }
    st->conn = c;
    s->nopen++;
    c->in = head;
    c->sock.readable = st->in_ended || st->in_bytes > 0;
    if (refused)
        conn_refuse(c, refused, why);
    conn_schedule(c);
    return 0;
}

void h2_stream_closed(struct h2_stream *st)
{
    struct conn *c = st->conn;

    st->closed = true;
    if (!c) {
        h2_stream_free(st);
        return;
    }
    if (st->end_sent && st->in_ended) /* its conn is about to see the end, or has */
        return;
    sock_note(&c->sock, EPOLLHUP);
    if (c->running)
        conn_schedule(c);
    else
        conn_abort(c); /* at once: what was begun and given up in one turn must not pile up until its end */
}
