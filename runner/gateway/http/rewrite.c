/*
 * rewrite.c: the heads that are sent on. A field's line was checked byte by byte, so it is copied as it came; everything that says where a message ends, whom it is for, and where it came from is written anew.
 */
#include "buffer.h"
#include "message.h"

#include <errno.h>
#include <string.h>

enum { DROP_REQUEST = 1, DROP_RESPONSE = 2, DROP_BOTH = 3 };

static const uint8_t drops[FIELD_COUNT] = {
    [FIELD_LOOKALIKE] = DROP_BOTH,
    [FIELD_CONNECTION] = DROP_BOTH,
    [FIELD_CONTENT_LENGTH] = DROP_BOTH,
    [FIELD_EXPECT] = DROP_REQUEST,
    [FIELD_FORWARDED] = DROP_REQUEST,
    [FIELD_HOST] = DROP_REQUEST,
    [FIELD_KEEP_ALIVE] = DROP_BOTH,
    [FIELD_PROXY] = DROP_REQUEST, /* becomes HTTP_PROXY in the environment of CGI programs */
    [FIELD_PROXY_AUTHENTICATE] = DROP_BOTH,
    [FIELD_PROXY_AUTHORIZATION] = DROP_BOTH,
    [FIELD_PROXY_CONNECTION] = DROP_BOTH,
    [FIELD_TE] = DROP_BOTH,
    [FIELD_TRAILER] = DROP_BOTH,
    [FIELD_TRANSFER_ENCODING] = DROP_BOTH,
    [FIELD_UPGRADE] = DROP_BOTH,
    [FIELD_X_FORWARDED_FOR] = DROP_REQUEST,
    [FIELD_X_FORWARDED_HOST] = DROP_REQUEST,
    [FIELD_X_FORWARDED_PORT] = DROP_REQUEST,
    [FIELD_X_FORWARDED_PREFIX] = DROP_REQUEST,
    [FIELD_X_FORWARDED_PROTO] = DROP_REQUEST,
};

/* Too long is noticed once, at the end. */
struct writer {
    char *at, *end;
    bool full;
};

static void put(struct writer *w, const void *data, size_t len)
{
    if ((size_t)(w->end - w->at) < len) {
        w->full = true;
        return;
    }
    memcpy(w->at, data, len);
    w->at += len;
}

#define PUT(w, text) put(w, text, sizeof(text) - 1)

static void put_uint(struct writer *w, uint64_t v)
{
    char digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    put(w, digits + i, sizeof(digits) - i);
}

static struct writer writer_of(struct buffer *out)
{
    return (struct writer){.at = out->data, .end = out->data + sizeof(out->data)};
}

static int writer_done(const struct writer *w, struct buffer *out)
{
    if (w->full)
        return -E2BIG;
    out->start = 0;
    out->end = (uint32_t)(w->at - out->data);
    return 0;
}

/* Is the field named by one of the message's Connection fields? */
static bool named_by_connection(const struct head *h, const char *data, const struct field *f)
{
    for (unsigned i = 0; i < h->nfields; i++) {
        const struct field *c = &h->fields[i];
        size_t pos = 0, n;
        const char *token;

        if (c->id != FIELD_CONNECTION)
            continue;
        while ((token = list_next(data + c->value, c->value_len, &pos, &n)))
            if (n == f->name_len && strncasecmp(token, data + f->name, n) == 0)
                return true;
    }
    return false;
}

/* Does the name begin with `without` (lower case)? NULL: nothing does. */
static bool is_without(const char *without, const char *data, const struct field *f)
{
    size_t n = without ? strlen(without) : 0;

    return n > 0 && f->name_len >= n && strncasecmp(data + f->name, without, n) == 0;
}

static void put_fields(struct writer *w, const struct head *h, const char *data, unsigned drop, unsigned names_fields, const char *without)
{
    for (unsigned i = 0; i < h->nfields; i++) {
        const struct field *f = &h->fields[i];

        if (!(drops[f->id] & drop) && !(names_fields && named_by_connection(h, data, f)) && !is_without(without, data, f))
            put(w, data + f->name, f->line_len);
    }
}

static void put_upgrade(struct writer *w, const struct head *h, const char *data)
{
    PUT(w, "Connection: upgrade\r\n");
    for (unsigned i = 0; i < h->nfields; i++)
        if (h->fields[i].id == FIELD_UPGRADE)
            put(w, data + h->fields[i].name, h->fields[i].line_len);
}

static void put_forwarded(struct writer *w, const char *data, const struct request *rq, const struct forwarded *f)
{
    if (f->client[0]) {
        PUT(w, "X-Forwarded-For: ");
        put(w, f->client, strlen(f->client));
        PUT(w, "\r\n");
    }
    if (rq->host_len) {
        PUT(w, "X-Forwarded-Host: ");
        put(w, data + rq->host, rq->host_len);
        PUT(w, "\r\n");
    }
    PUT(w, "X-Forwarded-Proto: http\r\n");
    if (f->prefix_len) {
        PUT(w, "X-Forwarded-Prefix: ");
        put(w, f->prefix, f->prefix_len);
        PUT(w, "\r\n");
    }
}

int rewrite_request(const struct head *h, const char *data, const struct request *rq, const struct forwarded *f, struct buffer *out)
{
    struct writer w = writer_of(out);

    put(&w, data + h->method, h->method_len);
    PUT(&w, " ");
    put(&w, data + rq->path + f->prefix_len, rq->path_len - f->prefix_len);
    if (rq->has_query)
        put(&w, data + rq->query - 1, (size_t)rq->query_len + 1);
    PUT(&w, " HTTP/1.1\r\nHost: ");
    put(&w, data + rq->host, rq->host_len);
    PUT(&w, "\r\n");
    put_fields(&w, h, data, DROP_REQUEST, rq->names_fields, f->hide_authorization ? "authorization" : NULL);
    put_forwarded(&w, data, rq, f);
    if (rq->upgrade)
        put_upgrade(&w, h, data);
    if (rq->body == BODY_LENGTH) {
        PUT(&w, "Content-Length: ");
        put_uint(&w, rq->length);
        PUT(&w, "\r\n");
    } else if (rq->body == BODY_CHUNKED) {
        PUT(&w, "Transfer-Encoding: chunked\r\n");
    }
    PUT(&w, "\r\n");
    return writer_done(&w, out);
}

static void put_status_line(struct writer *w, const struct head *h, const char *data)
{
    size_t line = h->nfields ? h->fields[0].name : h->len - 2;

    PUT(w, "HTTP/1.1");
    if (line == 14) { /* no reason: the blank before it is not optional */
        put(w, data + 8, 4);
        PUT(w, " \r\n");
    } else {
        put(w, data + 8, line - 8);
    }
}

int rewrite_response(const struct head *h, const char *data, const struct response *rs, const struct framing *f, struct buffer *out)
{
    struct writer w = writer_of(out);

    put_status_line(&w, h, data);
    put_fields(&w, h, data, DROP_RESPONSE, rs->names_fields, f->own_cors ? "access-control-" : NULL);
    if (f->added)
        put(&w, f->added, strlen(f->added));
    if (!rs->has_date && rs->status >= 200)
        put(&w, f->date, strlen(f->date));
    if (rs->has_length) {
        PUT(&w, "Content-Length: ");
        put_uint(&w, rs->length);
        PUT(&w, "\r\n");
    }
    if (f->chunked)
        PUT(&w, "Transfer-Encoding: chunked\r\n");
    if (f->upgrade)
        put_upgrade(&w, h, data);
    else if (f->close)
        PUT(&w, "Connection: close\r\n");
    else if (f->keep_alive_http10)
        PUT(&w, "Connection: keep-alive\r\n");
    PUT(&w, "\r\n");
    return writer_done(&w, out);
}
