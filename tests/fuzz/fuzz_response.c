/* Heads of answers: the function is hostile. What is sent on to the client is read again as the same answer. The first byte says what was asked for. */
#include "fuzz_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sent_on(const struct head *h, const char *data, const struct request *to, const struct response *rs, struct buffer *out)
{
    const struct framing fr = {.date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
                               .chunked = rs->body == BODY_CHUNKED || rs->body == BODY_CLOSE,
                               .upgrade = rs->status == 101,
                               .added = rs->keep_alive ? "X-Added: 1\r\n" : NULL,
                               .own_cors = rs->has_date,
                               .request_id = "0123",
                               .request_id_len = 4};
    struct head *again = malloc(sizeof(*again));
    struct response same;

    if (!again)
        abort();
    out->start = out->end = 0;
    assert(rewrite_response(h, data, rs, &fr, out) == 0);
    assert_plain(out);
    head_init(again, HEAD_RESPONSE);
    if (head_parse(again, out->data, out->end) == HEAD_DONE) { /* larger by what the gateway says: it may be too large for us now */
        assert(again->len == out->end);
        assert(response_check(again, out->data, to, &same) == 0);
        assert(same.status == rs->status && same.has_length == rs->has_length && same.length == rs->length && same.names_fields == 0);
        assert(same.body == (rs->body == BODY_CLOSE ? BODY_CHUNKED : rs->body));
    } else {
        assert(again->refused == 431 || again->refused == 502);
        assert(h->nfields > HEAD_FIELDS_MAX - 4 || h->len > HEAD_BYTES_MAX - 300);
    }
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buffer *out;
    static struct head *h;
    struct request to = {0};
    struct response rs;
    char *text;

    if (!out) {
        out = malloc(sizeof(*out));
        h = malloc(sizeof(*h));
        if (!out || !h)
            abort();
    }
    if (size == 0)
        return 0;
    to.is_head = data[0] & 1;
    to.upgrade = data[0] & 2;
    size--;
    text = exact_copy(data + 1, size);
    if (parse_both_ways(h, HEAD_RESPONSE, text, size, size / 7 + 1) == HEAD_DONE) {
        if (response_check(h, text, &to, &rs) == 0)
            sent_on(h, text, &to, &rs, out);
        else
            assert(h->refused == 502 && h->why);
    }
    free(text);
    return 0;
}
