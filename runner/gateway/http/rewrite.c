/*
 * rewrite.c: the heads that are sent on. A field's line was checked byte by byte, so it is copied as it came; everything that says where a message ends, whom it is for, and where it came from is written anew.
 */
#include "buffer.h"
#include "message.h"
#include "told.h"

#include <errno.h>
#include <string.h>

enum { DROP_REQUEST = 1, DROP_RESPONSE = 2, DROP_BOTH = 3, DROP_TRAILER = 4 /* it announces none that are sent on */ };

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
    [FIELD_TRAILER] = DROP_TRAILER,
    [FIELD_TRANSFER_ENCODING] = DROP_BOTH,
    [FIELD_UPGRADE] = DROP_BOTH,
    [FIELD_X_FORWARDED_FOR] = DROP_REQUEST,
    [FIELD_X_FORWARDED_HOST] = DROP_REQUEST,
    [FIELD_X_FORWARDED_PORT] = DROP_REQUEST,
    [FIELD_X_FORWARDED_PREFIX] = DROP_REQUEST,
    [FIELD_X_FORWARDED_PROTO] = DROP_REQUEST,
    [FIELD_X_REQUEST_ID] = DROP_BOTH,
};

/* Too long is noticed once, at the end. */
struct writer {
    char *at, *end;
    bool full;
};

/* Inline, so that a text of known length is a few moves instead of a call: there are thirty in a head. */
static inline __attribute__((always_inline)) void put(struct writer *w, const void *data, size_t len)
{
    if ((size_t)(w->end - w->at) < len) {
        w->full = true;
        return;
    }
    memcpy(w->at, data, len);
    w->at += len;
}

#define PUT(w, text) put(w, text, sizeof(text) - 1)

static __attribute__((noinline)) void put_text(struct writer *w, const char *text, size_t len)
{
    put(w, text, len);
}

static void put_uint(struct writer *w, uint64_t v)
{
    char digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    put_text(w, digits + i, sizeof(digits) - i);
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
            put_text(w, data + f->name, f->line_len);
    }
}

static void put_upgrade(struct writer *w, const struct head *h, const char *data)
{
    PUT(w, "Connection: upgrade\r\n");
    for (unsigned i = 0; i < h->nfields; i++)
        if (h->fields[i].id == FIELD_UPGRADE)
            put_text(w, data + h->fields[i].name, h->fields[i].line_len);
}

/* ---- where a request came from ---- */

/* A node of RFC 7239 section 6: an address of IPv6 has brackets, and then quotes. */
static void put_node(struct writer *w, const char *address)
{
    const size_t len = strlen(address);
    const bool v6 = memchr(address, ':', len);

    PUT(w, "for=");
    if (v6)
        PUT(w, "\"[");
    if (len > 0)
        put_text(w, address, len);
    else
        PUT(w, "unknown");
    if (v6)
        PUT(w, "]\"");
}

/* The client first, then the proxies on its way to us, the peer last. Texts go to put_one. */
static void put_chain(struct writer *w, const struct forwarded *f, unsigned from, void (*put_one)(struct writer *w, const char *address))
{
    unsigned hops = f->told ? f->told->nhops : 0;

    for (unsigned i = from; i <= hops; i++) {
        char text[INET6_ADDRSTRLEN];

        if (i > 0)
            PUT(w, ", ");
        put_one(w, i < hops ? ip_format(&f->told->hops[hops - 1 - i], text) : f->client);
    }
}

static void put_address(struct writer *w, const char *address)
{
    put_text(w, address, strlen(address));
}

static void put_first(struct writer *w, const struct forwarded *f)
{
    char text[INET6_ADDRSTRLEN];

    put_node(w, f->told && f->told->nhops ? ip_format(&f->told->hops[f->told->nhops - 1], text) : f->client);
}

struct origin {
    const char *host, *port;
    size_t host_len, port_len;
    bool secure;
};

static struct origin find_origin(const char *data, const struct request *rq, const struct forwarded *f)
{
    const struct told *t = f->told;
    bool secure = t && t->scheme ? t->scheme == TOLD_HTTPS : f->secure;
    struct origin o = {.host = data + rq->host, .host_len = rq->host_len, .secure = secure};

    if (t && t->host) {
        o.host = t->host;
        o.host_len = t->host_len;
    }
    if (t && t->port) {
        o.port = t->port;
        o.port_len = t->port_len;
    } else if (o.host_len) { /* the port that the URI has, if only by its scheme */
        o.port = authority_port(o.host, o.host_len, &o.port_len);
        if (!o.port) {
            o.port = secure ? "443" : "80";
            o.port_len = secure ? 3 : 2;
        }
    }
    return o;
}

static void put_prefix(struct writer *w, const struct forwarded *f)
{
    bool outer = f->told && f->told->prefix;

    if (!outer && !f->prefix_len)
        return;
    PUT(w, "X-Forwarded-Prefix: ");
    if (outer)
        put_text(w, f->told->prefix, f->told->prefix_len);
    put_text(w, f->prefix, f->prefix_len);
    PUT(w, "\r\n");
}

static void put_forwarded(struct writer *w, const char *data, const struct request *rq, const struct forwarded *f)
{
    const struct origin o = find_origin(data, rq, f);

    if (f->client[0]) {
        PUT(w, "X-Forwarded-For: ");
        put_chain(w, f, 0, put_address);
        PUT(w, "\r\n");
    }
    if (o.host_len) {
        PUT(w, "X-Forwarded-Host: ");
        put_text(w, o.host, o.host_len);
        PUT(w, "\r\n");
    }
    if (o.port) {
        PUT(w, "X-Forwarded-Port: ");
        put_text(w, o.port, o.port_len);
        PUT(w, "\r\n");
    }
    if (o.secure)
        PUT(w, "X-Forwarded-Proto: https\r\n");
    else
        PUT(w, "X-Forwarded-Proto: http\r\n");
    put_prefix(w, f);
    PUT(w, "Forwarded: ");
    put_first(w, f);
    if (o.host_len) {
        PUT(w, ";host=\"");
        put_text(w, o.host, o.host_len);
        PUT(w, "\"");
    }
    if (o.secure)
        PUT(w, ";proto=https");
    else
        PUT(w, ";proto=http");
    put_chain(w, f, 1, put_node);
    PUT(w, "\r\n");
}

static void put_request_id(struct writer *w, const char *id, size_t len)
{
    if (!len)
        return;
    PUT(w, "X-Request-Id: ");
    put_text(w, id, len);
    PUT(w, "\r\n");
}

int rewrite_request(const struct head *h, const char *data, const struct request *rq, const struct forwarded *f, struct buffer *out)
{
    struct writer w = writer_of(out);

    put_text(&w, data + h->method, h->method_len);
    PUT(&w, " ");
    put_text(&w, data + rq->path + f->prefix_len, rq->path_len - f->prefix_len);
    if (rq->has_query)
        put_text(&w, data + rq->query - 1, (size_t)rq->query_len + 1);
    PUT(&w, " HTTP/1.1\r\nHost: ");
    put_text(&w, data + rq->host, rq->host_len);
    PUT(&w, "\r\n");
    put_fields(&w, h, data, rq->body == BODY_CHUNKED ? DROP_REQUEST : DROP_REQUEST | DROP_TRAILER, rq->names_fields,
               f->hide_authorization ? "authorization" : NULL);
    put_forwarded(&w, data, rq, f);
    put_request_id(&w, f->request_id, f->request_id_len);
    if (rq->expects_continue)
        PUT(&w, "Expect: 100-continue\r\n");
    if (rq->upgrade)
        put_upgrade(&w, h, data);
    else if (rq->takes_trailers)
        PUT(&w, "Connection: TE\r\nTE: trailers\r\n");
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
        put_text(w, data + 8, line - 8);
    }
}

int rewrite_response(const struct head *h, const char *data, const struct response *rs, const struct framing *f, struct buffer *out)
{
    struct writer w = writer_of(out);

    put_status_line(&w, h, data);
    put_fields(&w, h, data, f->chunked ? DROP_RESPONSE : DROP_RESPONSE | DROP_TRAILER, rs->names_fields, f->own_cors ? "access-control-" : NULL);
    if (f->added)
        put_text(&w, f->added, strlen(f->added));
    put_request_id(&w, f->request_id, f->request_id_len);
    if (!rs->has_date && rs->status >= 200)
        put_text(&w, f->date, strlen(f->date));
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
