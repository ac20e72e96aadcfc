/* response.c: the meaning of a function's response head (RFC 9112 section 6.3). As strict as with requests: a function may be hostile, or merely broken. */
#include "message.h"

#include <errno.h>
#include <string.h>

static int refuse(struct head *h, const char *why)
{
    h->refused = 502;
    h->why = why;
    return -EPROTO;
}

static int on_length(struct head *h, const char *v, size_t len, struct response *rs)
{
    if (rs->has_length)
        return refuse(h, "Content-Length comes twice");
    if (len == 0 || len > 18)
        return refuse(h, "Content-Length is empty or too large");
    for (size_t i = 0; i < len; i++) {
        if (v[i] < '0' || v[i] > '9')
            return refuse(h, "Content-Length is not a number");
        rs->length = rs->length * 10 + (uint64_t)(v[i] - '0');
    }
    rs->has_length = true;
    return 0;
}

static int on_coding(struct head *h, const char *v, size_t len, struct response *rs)
{
    if (h->minor == 0)
        return refuse(h, "Transfer-Encoding in HTTP/1.0");
    if (rs->body == BODY_CHUNKED)
        return refuse(h, "Transfer-Encoding comes twice");
    if (!text_is(v, len, "chunked"))
        return refuse(h, "a Transfer-Encoding other than chunked");
    rs->body = BODY_CHUNKED;
    return 0;
}

static void on_connection(const char *v, size_t len, struct response *rs)
{
    size_t pos = 0, n;
    const char *token;

    while ((token = list_next(v, len, &pos, &n))) {
        if (text_is(token, n, "close"))
            rs->keep_alive = false;
        else if (text_is(token, n, "keep-alive"))
            rs->keep_alive = true;
        else if (!text_is(token, n, "upgrade"))
            rs->names_fields++;
    }
}

/* Which framing applies, in the order of RFC 9112 section 6.3. */
static int choose_body(struct head *h, const struct request *to, struct response *rs)
{
    if (rs->body == BODY_CHUNKED && rs->has_length)
        return refuse(h, "Content-Length beside Transfer-Encoding");
    if (rs->status < 200 || rs->status == 204) {
        if (rs->body == BODY_CHUNKED || (rs->has_length && rs->length > 0))
            return refuse(h, "a body where the status allows none");
        rs->has_length = false;
        rs->body = BODY_NONE;
    } else if (to->is_head || rs->status == 304) {
        rs->body = BODY_NONE;
    } else if (rs->body != BODY_CHUNKED) {
        rs->body = rs->has_length ? BODY_LENGTH : BODY_CLOSE;
    }
    if (rs->body == BODY_CLOSE)
        rs->keep_alive = false;
    return 0;
}

int response_check(struct head *h, const char *data, const struct request *to, struct response *ret)
{
    struct response rs = {.status = h->status, .keep_alive = h->minor > 0, .body = BODY_NONE};
    bool upgrade = false;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < h->nfields; i++) {
        const struct field *f = &h->fields[i];
        const char *v = data + f->value;

        if (f->id == FIELD_CONTENT_LENGTH)
            r = on_length(h, v, f->value_len, &rs);
        else if (f->id == FIELD_TRANSFER_ENCODING)
            r = on_coding(h, v, f->value_len, &rs);
        else if (f->id == FIELD_CONNECTION)
            on_connection(v, f->value_len, &rs);
        else if (f->id == FIELD_DATE)
            rs.has_date = true;
        else if (f->id == FIELD_UPGRADE)
            upgrade = true;
    }
    if (r == 0 && rs.names_fields > HEAD_NAMED_MAX)
        r = refuse(h, "Connection names too many fields");
    if (r == 0 && rs.status == 101 && !to->upgrade)
        r = refuse(h, "101 without a request for it");
    if (r == 0 && rs.status == 101 && !upgrade)
        r = refuse(h, "101 without Upgrade");
    if (r == 0)
        r = choose_body(h, to, &rs);
    *ret = rs;
    return r;
}
