/*
 * h2_out.c: frames on their way to the client: one buffer a session, sent at the end of the turn or when it is full. While the client takes nothing, nothing is put into it but what nghttp2 has to say by itself
 * (which h2_frames.c bounds), so streams wait in a queue, each with its answer where it is.
 */
#include "h2_private.h"

#include <errno.h>

#define WAKE_MAX 2U /* a frame of each fills the buffer */

bool h2_out_empty(const struct h2_session *s)
{
    return !s->out || s->out->start == s->out->end;
}

void h2_out_flush(struct h2_session *s)
{
    struct sock *to = &s->conn->sock;

    while (!h2_out_empty(s) && to->writable && !s->broken) {
        struct outq q = {.count = 0};
        ssize_t n;

        outq_add(&q, buffer_at(s->out), buffer_len(s->out));
        n = sock_send(to, &q);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            s->broken = true;
            conn_schedule(s->conn);
            return;
        }
        s->out->start += (uint32_t)n;
        s->out_bytes += (uint64_t)n;
        s->turn_bytes += (uint64_t)n;
        s->out_moved_ns = loop_now_ns(s->conn->worker->loop);
    }
}

bool h2_out_turn_over(struct h2_session *s)
{
    uint64_t now = loop_now_ns(s->conn->worker->loop);

    if (s->turn_ns != now) {
        s->turn_ns = now;
        s->turn_bytes = 0;
    }
    return s->turn_bytes >= CONN_TURN_BYTES;
}

size_t h2_out_room(struct h2_session *s, size_t wanted)
{
    struct buffer *b = s->out;

    if (!b) {
        b = s->out = buffer_take(&s->conn->worker->buffers);
        if (!b)
            return 0;
    }
    if (sizeof(b->data) - b->end >= wanted)
        return sizeof(b->data) - b->end;
    if (!h2_out_turn_over(s))
        h2_out_flush(s);
    if (b->start == b->end)
        b->start = b->end = 0;
    else if (sizeof(b->data) - b->end < wanted)
        buffer_compact(b);
    return sizeof(b->data) - b->end;
}

void h2_out_added(struct h2_session *s, size_t len)
{
    if (h2_out_empty(s))
        s->out_moved_ns = loop_now_ns(s->conn->worker->loop);
    s->out->end += (uint32_t)len;
}

void h2_out_block(struct h2_session *s, struct h2_stream *st)
{
    if (st->blocked)
        return;
    st->blocked = true;
    st->next_blocked = NULL;
    if (s->blocked_last)
        s->blocked_last->next_blocked = st;
    else
        s->blocked_first = st;
    s->blocked_last = st;
}

/* In the order in which they came to wait, so that each has its frame in turn. */
void h2_out_wake(struct h2_session *s)
{
    bool over = h2_out_turn_over(s);

    for (unsigned i = 0; !over && i < WAKE_MAX && s->blocked_first && h2_out_empty(s); i++) {
        struct h2_stream *st = s->blocked_first;

        s->blocked_first = st->next_blocked;
        if (!s->blocked_first)
            s->blocked_last = NULL;
        st->blocked = false;
        h2_stream_wake(st);
    }
    if (s->blocked_first && s->conn->sock.writable)
        conn_yield(s->conn);
}
