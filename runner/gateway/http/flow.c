/* flow.c: what both directions share: bytes that were read become pieces to send, framed anew. */
#include "http.h"

#include "../worker.h"

#include <stdio.h>
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
        outq_add(&f->out, chunk_end_and_last, last ? sizeof(chunk_end_and_last) - 1 : sizeof(CHUNK_END) - 1);
    } else if (last) {
        outq_add(&f->out, LAST_CHUNK, sizeof(LAST_CHUNK) - 1);
    }
}

void flow_clear(struct worker *w, struct flow *f)
{
    outq_clear(&f->out);
    buffer_give(&w->buffers, f->head);
    f->head = NULL;
}
