/* flow.c: what both directions share: bytes that were read become pieces to send, framed anew. */
#include "http.h"

#include "../worker.h"
#include "sockmap.h"
#include "trailer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define LAST_CHUNK "0\r\n\r\n"
#define CHUNK_END  "\r\n"

static const char chunk_end_and_last[] = CHUNK_END LAST_CHUNK;

/* The hexadecimal length of a chunk and CRLF; snprintf would be most of the cost of a small chunk. */
static size_t format_size_line(char *out, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    unsigned shift = 0;
    size_t n = 0;

    while (shift < 60 && len >> (shift + 4))
        shift += 4;
    for (;; shift -= 4) {
        out[n++] = digits[len >> shift & 15];
        if (shift == 0)
            break;
    }
    out[n++] = '\r';
    out[n++] = '\n';
    return n;
}

/* The last chunk, with what is kept of the trailers; behind data also the end of its chunk. */
static void put_end(struct flow *f, bool behind_data)
{
    size_t len = sizeof(chunk_end_and_last) - 1;
    const char *text = trailer_end(f->body.chunked.trailer, &len);

    if (!text)
        text = chunk_end_and_last;
    if (!behind_data) {
        text += sizeof(CHUNK_END) - 1;
        len -= sizeof(CHUNK_END) - 1;
    }
    outq_add(&f->out, text, len);
}

void flow_put(struct flow *f, const char *payload, size_t len)
{
    bool last = f->body.done;

    if (last)
        f->ended = true;
    if (!f->chunked) {
        outq_add(&f->out, payload, len);
        return;
    }
    if (len > 0) {
        outq_add(&f->out, f->size_line, format_size_line(f->size_line, len));
        outq_add(&f->out, payload, len);
        if (!last)
            outq_add(&f->out, CHUNK_END, sizeof(CHUNK_END) - 1);
    }
    if (last)
        put_end(f, len > 0);
}

/* ---- through a pipe ---- */

/* A read of that size came before: what a sockmap had of the answer, which splice(2) would not see, is behind us. */
static_assert(FLOW_BULK >= SOCKMAP_BYTES, "nothing is spliced before the answer's beginning has been read");

ssize_t flow_fill_pipe(struct worker *w, struct flow *f, struct sock *from, const struct sock *to, uint64_t max)
{
    struct pipe_pair *p;
    ssize_t n;

    assert(!flow_waits(f));
    if (!f->bulk || max < FLOW_SPLICE_MIN || from->ops || to->ops)
        return -ENOBUFS;
    if (!from->readable)
        return -EAGAIN;
    p = pipe_pool_take(&w->pipes, loop_now_ns(w->loop));
    if (!p)
        return -ENOBUFS;
    n = sock_splice_in(from, p->in, max < p->room ? (size_t)max : p->room);
    if (n <= 0) {
        pipe_pool_give(&w->pipes, p);
        return n == -EINVAL ? -ENOBUFS : n;
    }
    f->bulk = (size_t)n >= FLOW_BULK;
    p->bytes = (uint32_t)n;
    f->pipe = p;
    return n;
}

void flow_put_pipe(struct flow *f)
{
    f->ended = f->body.done;
    f->pipe_in_chunk = f->chunked;
    if (f->chunked)
        outq_add(&f->out, f->size_line, format_size_line(f->size_line, f->pipe->bytes));
}

static ssize_t drain_pipe(struct worker *w, struct flow *f, struct sock *to)
{
    struct pipe_pair *p = f->pipe;
    ssize_t n = sock_splice_out(to, p->out, p->bytes, f->pipe_in_chunk);

    if (n <= 0)
        return n ? n : -EPIPE;
    p->bytes -= (uint32_t)n;
    if (p->bytes > 0)
        return n;
    f->pipe = NULL;
    pipe_pool_give(&w->pipes, p);
    worker_trim_soon(w);
    if (!f->pipe_in_chunk)
        return n;
    f->pipe_in_chunk = false;
    if (f->ended)
        put_end(f, true);
    else
        outq_add(&f->out, CHUNK_END, sizeof(CHUNK_END) - 1);
    return n;
}

ssize_t flow_send(struct worker *w, struct flow *f, struct sock *to)
{
    ssize_t sent = 0;

    while (flow_waits(f)) {
        ssize_t n = -EAGAIN;

        if (to->writable)
            n = outq_empty(&f->out) ? drain_pipe(w, f, to) : sock_send(to, &f->out);
        if (n == -EAGAIN)
            return sent > 0 ? sent : -EAGAIN;
        if (n < 0)
            return n;
        sent += n;
    }
    return sent;
}

void flow_clear(struct worker *w, struct flow *f)
{
    outq_clear(&f->out);
    pipe_pool_give(&w->pipes, f->pipe);
    f->pipe = NULL;
    body_free(&f->body);
    buffer_give(&w->buffers, f->head);
    f->head = NULL;
}
