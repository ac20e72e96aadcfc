/* Header blocks of HTTP/2: what is taken becomes one head of HTTP/1.1 text with the fields that were there, and no more. An input is a flag byte, then pairs of name and value, each with its length in front. */
#include "fuzz_http.h"

#include "../../runner/gateway/h2/h2_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned feed(struct h2_block *b, const uint8_t *data, size_t size)
{
    unsigned regular = 0;

    while (size > 0) {
        char *text[2];
        size_t len[2];

        for (unsigned i = 0; i < 2; i++) {
            size_t want = size > 0 ? data[0] : 0;

            data += size > 0;
            size -= size > 0;
            len[i] = want < size ? want : size;
            text[i] = exact_copy(data, len[i]);
            data += len[i];
            size -= len[i];
        }
        if (len[0] > 0)
            h2_block_field(b, text[0], len[0], text[1], len[1], 8192);
        regular += len[0] > 0 && text[0][0] != ':';
        free(text[0]);
        free(text[1]);
    }
    return regular;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buffer *buf, *out;
    static struct head *h;
    struct h2_block b;
    bool chunked = false, ends;
    unsigned regular;
    struct request rq;

    if (!buf) {
        buf = malloc(sizeof(*buf));
        out = malloc(sizeof(*out));
        h = malloc(sizeof(*h));
        if (!buf || !out || !h)
            abort();
    }
    if (size == 0)
        return 0;
    ends = data[0] & 1;
    out->start = out->end = 0;
    h2_block_begin(&b, data[0] & 2 ? H2_BLOCK_TRAILERS : H2_BLOCK_REQUEST, buf);
    regular = feed(&b, data + 1, size - 1);
    if (b.kind == H2_BLOCK_TRAILERS)
        return 0;
    if (h2_block_request(&b, ends, out, &chunked) != H2_GOOD) {
        assert(b.why);
        return 0;
    }
    assert_plain(out);
    head_init(h, HEAD_REQUEST);
    if (head_parse(h, out->data, out->end) != HEAD_DONE) {
        assert(h->refused == 431 || h->refused == 414);
        return 0;
    }
    assert(h->len == out->end && h->nfields <= regular + 3); /* Host, the coding, Connection */
    if (request_check(h, out->data, &rq) == 0) {
        assert(rq.body == (chunked ? BODY_CHUNKED : b.has_length ? BODY_LENGTH : BODY_NONE));
        assert(!b.has_length || rq.length == b.length);
        assert(!rq.upgrade && !rq.wants_keep_alive);
    }
    return 0;
}
