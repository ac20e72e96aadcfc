/* Heads of requests: in whatever pieces they come they are read alike, and what is sent on to the function is read again as the same request. */
#include "fuzz_http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sent_on(const struct head *h, const char *data, const struct request *rq, struct buffer *out)
{
    const struct told told = {.scheme = rq->is_head ? TOLD_HTTP : TOLD_HTTPS,
                              .nhops = 1,
                              .host = "t.example",
                              .host_len = 9,
                              .port = "8443",
                              .port_len = 4,
                              .prefix = "/x",
                              .prefix_len = 2};
    const struct forwarded fw = {.prefix = "",
                                 .client = "192.0.2.1",
                                 .secure = rq->is_head,
                                 .told = rq->http10 ? NULL : &told,
                                 .request_id = "0123",
                                 .request_id_len = 4,
                                 .hide_authorization = rq->wants_json};
    struct head *again = malloc(sizeof(*again));
    struct request same;
    unsigned te = 0;

    if (!again)
        abort();
    out->start = out->end = 0;
    assert(rewrite_request(h, data, rq, &fw, out) == 0);
    assert_plain(out);
    head_init(again, HEAD_REQUEST);
    if (head_parse(again, out->data, out->end) == HEAD_DONE) { /* larger by what the gateway says: it may be too large for us now */
        assert(again->len == out->end);
        if (!rq->http10 || rq->host_len)
            assert(request_check(again, out->data, &same) == 0);
        else
            assert(request_check(again, out->data, &same) == 0 || same.host_len == 0);
        assert(same.body == rq->body && same.length == rq->length && same.upgrade == rq->upgrade && same.is_head == rq->is_head);
        assert(!same.expects_continue || rq->expects_continue);
        assert(same.path_len == rq->path_len && memcmp(out->data + same.path, data + rq->path, rq->path_len) == 0);
        assert(same.host_len == rq->host_len && memcmp(out->data + same.host, data + rq->host, rq->host_len) == 0);
        for (unsigned i = 0; i < again->nfields; i++) {
            assert(again->fields[i].id != FIELD_LOOKALIKE && again->fields[i].id != FIELD_PROXY);
            te += again->fields[i].id == FIELD_TE;
        }
        assert(te <= 1 && same.names_fields == 0); /* "Connection: TE", which is ours, names no other field */
    } else {
        assert(again->refused == 431 || again->refused == 414);
    }
    free(again);
}

/* Smaller bounds refuse more, and change nothing about what they let through. */
static void bounded(const struct head *whole, const char *data, size_t len)
{
    struct head *h = malloc(sizeof(*h));

    if (!h)
        abort();
    head_init(h, HEAD_REQUEST);
    head_bound(h, 512, 64, 5);
    if (head_parse(h, data, len) == HEAD_DONE)
        assert(h->len == whole->len && h->len <= 512 && h->target_len <= 64 && h->nfields <= 5 && h->nfields == whole->nfields);
    else
        assert(h->refused == 431 || h->refused == 414);
    free(h);
}

static void found_by_id(const struct head *h)
{
    unsigned all = 0;

    for (enum field_id id = FIELD_OTHER; id < FIELD_COUNT; id++) {
        unsigned count;
        const struct field *f = head_field(h, id, &count);

        assert(!f == !count && (!f || f->id == id));
        all += count;
    }
    assert(all == h->nfields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buffer *out;
    static struct head *h;
    struct request rq;
    char *text;

    if (!out) {
        out = malloc(sizeof(*out));
        h = malloc(sizeof(*h));
        if (!out || !h)
            abort();
    }
    text = exact_copy(data, size);
    if (parse_both_ways(h, HEAD_REQUEST, text, size, size / 7 + 1) == HEAD_DONE) {
        unsigned status;

        bounded(h, text, size);
        found_by_id(h);
        status = request_check(h, text, &rq);
        if (status)
            assert(status == h->refused && status >= 400 && status < 500 && h->why);
        else if (!rq.server)
            sent_on(h, text, &rq, out);
    }
    free(text);
    return 0;
}
