/*
 * h2_frames.c: nghttp2's callbacks, and what a client may do to a session.
 *
 * nghttp2 knows the states of streams, HPACK, windows and most of what is malformed; it answers SETTINGS and PING, refuses streams beyond the bound, and gives up on more than eight CONTINUATION frames a head
 * (CVE-2024-28182). Counted here, because what they cost is ours: streams that are reset (CVE-2023-44487), those that a client makes us reset (CVE-2025-8671), and frames that move nothing (CVE-2019-9512, -9513,
 * -9515, -9518). Whoever exceeds it is told ENHANCE_YOUR_CALM.
 *
 * No callback runs a conn, sends, or frees what nghttp2 still holds: what there is to do is scheduled.
 */
#include "h2_private.h"

#include <errno.h>
#include <string.h>

#define FRAMES_PER_DATA    8U /* small frames that a client may send for each DATA frame that it gets, and for each request */
#define BLOCK_EXCESS       8U /* a head of so many times the allowed size is decoded no further */
#define HEADER_TABLE_BYTES 4096U

static const struct settings *settings_of(const struct h2_session *s)
{
    return &s->conn->worker->picture.settings;
}

static uint64_t now_of(const struct h2_session *s)
{
    return loop_now_ns(s->conn->worker->loop);
}

static void count_idle_frame(struct h2_session *s)
{
    if (!h2_budget_take(&s->idle_frames, now_of(s), settings_of(s)->h2_idle_frames))
        s->flooded = true;
}

static void count_reset(struct h2_session *s)
{
    if (!h2_budget_take(&s->resets, now_of(s), settings_of(s)->h2_resets))
        s->flooded = true;
}

static void earn_frames(struct h2_session *s)
{
    h2_budget_refund(&s->idle_frames, FRAMES_PER_DATA, settings_of(s)->h2_idle_frames);
}

/* ---- heads ---- */

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
    struct h2_session *s = user;

    if (hd->type != NGHTTP2_DATA && hd->type != NGHTTP2_HEADERS && hd->type != NGHTTP2_RST_STREAM)
        count_idle_frame(s);
    return s->flooded ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void block_over(struct h2_session *s)
{
    buffer_give(&s->conn->worker->buffers, s->block.buf);
    s->block.buf = NULL;
    s->collecting = NULL;
    s->head_since_ns = 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    struct buffer *buf = buffer_take(&s->conn->worker->buffers);

    if (!st && buf) {
        st = h2_stream_new(s, frame->hd.stream_id);
        if (st)
            nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, st);
    }
    if (!st || !buf) { /* the stream is reset */
        buffer_give(&s->conn->worker->buffers, buf);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (s->block.buf)
        block_over(s);
    s->collecting = st;
    s->head_since_ns = now_of(s);
    h2_block_begin(&s->block, frame->headers.cat == NGHTTP2_HCAT_REQUEST ? H2_BLOCK_REQUEST : H2_BLOCK_TRAILERS, buf);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
                     uint8_t flags, void *user)
{
    struct h2_session *s = user;
    uint32_t most = (uint32_t)settings_of(s)->h2_head_bytes;

    if (!s->block.buf)
        return 0;
    h2_block_field(&s->block, (const char *)name, name_len, (const char *)value, value_len, most);
    if (s->block.list_bytes / BLOCK_EXCESS > most) /* a few bytes of HPACK may stand for thousands each */
        s->flooded = true;
    return s->flooded ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* nghttp2 would go on without it. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
                             uint8_t flags, void *user)
{
    struct h2_session *s = user;

    h2_block_refuse(&s->block, H2_MALFORMED, "a field that HTTP does not allow");
    return 0;
}

static void reset_by_client(struct h2_session *s, struct h2_stream *st)
{
    count_reset(s);
    h2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR);
}

static void on_request(struct h2_session *s, struct h2_stream *st, bool ends)
{
    static const nghttp2_extpri alike = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
    struct buffer *head = buffer_take(&s->conn->worker->buffers);
    uint32_t most = settings_of(s)->h2_requests;

    if (!head) {
        h2_stream_reset(st, NGHTTP2_REFUSED_STREAM);
        return;
    }
    nghttp2_session_change_extpri_stream_priority(s->ng, st->id, &alike, 1); /* all in turn, whatever the client prefers */
    s->requests++;
    earn_frames(s);
    switch (h2_block_request(&s->block, ends, head, &st->chunked)) {
    case H2_GOOD:
        st->answer.to_head = s->block.pseudo[H2_METHOD].len == 4 && memcmp(head->data, "HEAD", 4) == 0;
        st->in_ended = ends;
        if (h2_stream_start(st, head, 0, NULL) < 0)
            h2_stream_reset(st, NGHTTP2_REFUSED_STREAM);
        break;
    case H2_TOO_LARGE:
        buffer_give(&s->conn->worker->buffers, head);
        st->in_ended = ends;
        if (h2_stream_start(st, NULL, 431, s->block.why) < 0)
            h2_stream_reset(st, NGHTTP2_REFUSED_STREAM);
        break;
    default:
        buffer_give(&s->conn->worker->buffers, head);
        reset_by_client(s, st);
        break;
    }
    if (most > 0 && s->requests >= most)
        h2_drain(s);
}

/* Those of a body whose length was announced have no place in HTTP/1.1. */
static void on_trailers(struct h2_session *s, struct h2_stream *st)
{
    struct h2_block *b = &s->block;

    if (b->verdict != H2_GOOD) {
        reset_by_client(s, st);
        return;
    }
    if (st->conn && st->chunked && b->regular && !st->trailers && sizeof(b->buf->data) - b->buf->end >= 2) {
        memcpy(b->buf->data + b->buf->end, "\r\n", 2);
        b->buf->end += 2;
        b->buf->start = b->lines;
        st->trailers = b->buf;
        b->buf = NULL;
    }
    h2_stream_in_end(st);
}

/* ---- frames ---- */

static void on_headers_frame(struct h2_session *s, const nghttp2_frame *frame)
{
    struct h2_stream *st = s->collecting;
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (!st || !s->block.buf || st->id != frame->hd.stream_id)
        return;
    if (s->block.kind == H2_BLOCK_REQUEST)
        on_request(s, st, ends);
    else
        on_trailers(s, st);
    block_over(s);
}

static void on_data_frame(struct h2_session *s, const nghttp2_frame *frame)
{
    struct h2_stream *st = nghttp2_session_get_stream_user_data(s->ng, frame->hd.stream_id);
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (frame->hd.length == frame->data.padlen && !ends)
        count_idle_frame(s);
    if (st && ends)
        h2_stream_in_end(st);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        on_headers_frame(s, frame);
        break;
    case NGHTTP2_DATA:
        on_data_frame(s, frame);
        break;
    case NGHTTP2_RST_STREAM:
        count_reset(s);
        break;
    case NGHTTP2_SETTINGS:
        s->settled = true;
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK && s->draining)
            h2_drain_end(s);
        break;
    default:
        break;
    }
    return s->flooded ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* The stream is, or the connection will be, reset for it. */
static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user)
{
    struct h2_session *s = user;

    count_reset(s);
    if (s->block.buf && s->collecting && s->collecting->id == frame->hd.stream_id)
        block_over(s);
    return s->flooded ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user)
{
    struct h2_session *s = user;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(ng, id);

    if (!st || !st->conn) { /* nobody reads it */
        nghttp2_session_consume_connection(ng, len);
        return 0;
    }
    if (h2_stream_data(st, data, len) < 0)
        h2_stream_reset(st, NGHTTP2_INTERNAL_ERROR);
    return s->flooded ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t error, void *user)
{
    struct h2_session *s = user;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(ng, id);

    if (!st)
        return 0;
    if (s->collecting == st)
        block_over(s);
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    h2_stream_closed(st);
    return 0;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    struct h2_stream *st;
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (frame->hd.type == NGHTTP2_DATA)
        earn_frames(s);
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    if (!st)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && st->interims > 0 && --st->interims == 0)
        h2_stream_wake(st);
    if (!ends)
        return 0;
    st->end_sent = true;
    if (!st->conn && !st->in_ended)
        h2_stream_reset(st, NGHTTP2_NO_ERROR);
    return 0;
}

/* ---- writing ---- */

static ssize_t put_frames(nghttp2_session *ng, const uint8_t *data, size_t len, int flags, void *user)
{
    struct h2_session *s = user;
    size_t room = h2_out_room(s, len < sizeof(s->out->data) ? len : sizeof(s->out->data));

    if (room == 0)
        return NGHTTP2_ERR_WOULDBLOCK;
    if (len > room)
        len = room;
    memcpy(s->out->data + s->out->end, data, len);
    h2_out_added(s, len);
    return (ssize_t)len;
}

/* The payload is behind the gap already (h2_stream_read). */
static int put_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t len, nghttp2_data_source *source, void *user)
{
    struct h2_session *s = user;

    memcpy(s->out->data + s->out->end, head, H2_FRAME_HEAD);
    h2_out_added(s, H2_FRAME_HEAD + len);
    return 0;
}

void h2_pump(struct h2_session *s)
{
    if (nghttp2_session_send(s->ng) != 0) {
        s->broken = true;
        if (!s->ending)
            conn_schedule(s->conn);
    }
}

/* ---- the session ---- */

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_send_callback(cb, put_frames);
    nghttp2_session_callbacks_set_send_data_callback(cb, put_data);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
}

static int submit_settings(struct h2_session *s)
{
    const struct settings *set = settings_of(s);
    const nghttp2_settings_entry all[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, set->h2_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)set->h2_stream_window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)set->h2_head_bytes},
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, HEADER_TABLE_BYTES},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}, /* no tree of dependencies */
    };

    if (nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, all, sizeof(all) / sizeof(all[0])) != 0)
        return -ENOMEM;
    return nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0, (int32_t)set->h2_window_bytes) == 0 ? 0 : -ENOMEM;
}

int h2_frames_new(struct h2_session *s)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    int r = -ENOMEM;

    if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
        set_callbacks(cb);
        nghttp2_option_set_no_auto_window_update(opt, 1);
        nghttp2_option_set_no_closed_streams(opt, 1);
        nghttp2_option_set_max_deflate_dynamic_table_size(opt, HEADER_TABLE_BYTES);
        nghttp2_option_set_stream_reset_rate_limit(opt, UINT64_MAX / 2, 1); /* ours is stricter, and says so */
        if (nghttp2_session_server_new2(&s->ng, cb, s, opt) == 0)
            r = submit_settings(s);
    }
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    return r;
}
