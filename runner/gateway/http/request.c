/* request.c: the meaning of a request's head, and what must be refused about it as a whole (RFC 9112 sections 3 and 6, RFC 9110 section 7.2). */
#include "message.h"

#include "execframe.h"

#include <string.h>

#define LENGTH_DIGITS_MAX 18U

static unsigned refuse(struct head *h, unsigned status, const char *why)
{
    h->refused = (uint16_t)status;
    h->why = why;
    return status;
}

static unsigned on_length(struct head *h, const char *v, size_t len, struct request *rq)
{
    if (rq->body == BODY_LENGTH)
        return refuse(h, 400, "Content-Length comes twice");
    if (len == 0 || len > LENGTH_DIGITS_MAX)
        return refuse(h, len ? 413 : 400, "Content-Length is empty or too large");
    for (size_t i = 0; i < len; i++) {
        if (v[i] < '0' || v[i] > '9')
            return refuse(h, 400, "Content-Length is not a number");
        rq->length = rq->length * 10 + (uint64_t)(v[i] - '0');
    }
    if (rq->body == BODY_CHUNKED)
        return refuse(h, 400, "Content-Length beside Transfer-Encoding");
    rq->body = BODY_LENGTH;
    return 0;
}

static unsigned on_coding(struct head *h, const char *v, size_t len, struct request *rq)
{
    if (rq->http10)
        return refuse(h, 400, "Transfer-Encoding in HTTP/1.0");
    if (rq->body != BODY_NONE)
        return refuse(h, 400, rq->body == BODY_LENGTH ? "Content-Length beside Transfer-Encoding" : "Transfer-Encoding comes twice");
    if (!text_is(v, len, "chunked"))
        return refuse(h, 400, "a Transfer-Encoding other than chunked");
    rq->body = BODY_CHUNKED;
    return 0;
}

static unsigned on_host(struct head *h, const struct field *f, const char *v, struct request *rq, bool *seen)
{
    if (*seen)
        return refuse(h, 400, "Host comes twice");
    *seen = true;
    if (f->value_len > AUTHORITY_MAX)
        return refuse(h, 400, "Host is too long");
    if (!authority_ok(v, f->value_len))
        return refuse(h, 400, "Host is no host name or address, or its port no number");
    rq->host = f->value;
    rq->host_len = f->value_len;
    return 0;
}

static void on_connection(const char *v, size_t len, struct request *rq, bool *upgrade)
{
    size_t pos = 0, n;
    const char *token;

    while ((token = list_next(v, len, &pos, &n))) {
        if (text_is(token, n, "close"))
            rq->wants_keep_alive = false;
        else if (text_is(token, n, "keep-alive"))
            rq->wants_keep_alive = true;
        else if (text_is(token, n, "upgrade"))
            *upgrade = true;
        else if (!text_is(token, n, "te")) /* is never sent on as it is */
            rq->names_fields++;
    }
}

/* h2c would carry requests past everything that is decided here. */
static bool names_h2c(const char *v, size_t len)
{
    size_t pos = 0, n;
    const char *token;

    while ((token = list_next(v, len, &pos, &n)))
        if (n >= 3 && text_is(token, 3, "h2c"))
            return true;
    return false;
}

static bool names_json(const char *v, size_t len)
{
    size_t pos = 0, n;
    const char *range;

    while ((range = list_next(v, len, &pos, &n))) {
        const char *end = memchr(range, ';', n);
        size_t type = end ? (size_t)(end - range) : n;

        while (type > 0 && range[type - 1] == ' ')
            type--;
        if (text_is(range, type, "application/json"))
            return true;
    }
    return false;
}

/*
 * absolute-form: the authority must be what Host says, and is the host where HTTP/1.0 says none; what follows it is the path. An empty path is "/" (RFC 9110 section 4.2.3), and "*" for OPTIONS (RFC 9112
 * section 3.2.4): the former is found in the "//" of the scheme, as nothing here makes text.
 */
static unsigned absolute_target(struct head *h, const char *data, bool has_host, struct request *rq, size_t *at)
{
    const char *t = data + h->target;
    size_t authority, i;

    if (h->target_len > 7 && text_is(t, 7, "http://"))
        authority = 7;
    else if (h->target_len > 8 && text_is(t, 8, "https://"))
        authority = 8;
    else
        return refuse(h, 400, "the request target is no path");
    for (i = authority; i < h->target_len && t[i] != '/' && t[i] != '?'; i++)
        ;
    if (i == authority || !authority_ok(t + authority, i - authority))
        return refuse(h, 400, "the request target names no host, or more than a host and a port");
    if (!has_host) {
        rq->host = (uint16_t)(h->target + authority);
        rq->host_len = (uint16_t)(i - authority);
    } else if (i - authority != rq->host_len || strncasecmp(t + authority, data + rq->host, rq->host_len) != 0) {
        return refuse(h, 400, "Host differs from the request target");
    }
    *at = h->target + i;
    if (i < h->target_len && t[i] == '/')
        return 0;
    rq->path = (uint16_t)(h->target + authority - 1);
    rq->path_len = 1;
    return 0;
}

static unsigned find_path(struct head *h, const char *data, bool has_host, struct request *rq)
{
    size_t at = h->target, end = (size_t)h->target + h->target_len;
    const bool options = h->method_len == 7 && memcmp(data + h->method, "OPTIONS", 7) == 0;
    const char *mark;

    if (data[at] != '/' && !(options && h->target_len == 1 && data[at] == '*')) {
        unsigned r = absolute_target(h, data, has_host, rq, &at);

        if (r)
            return r;
    }
    mark = memchr(data + at, '?', end - at);
    rq->server = options && (data[h->target] == '*' || (rq->path_len > 0 && !mark));
    if (rq->path_len == 0) {
        rq->path = (uint16_t)at;
        rq->path_len = (uint16_t)((mark ? (size_t)(mark - data) : end) - at);
    }
    if (mark) {
        rq->has_query = true;
        rq->query = (uint16_t)(mark + 1 - data);
        rq->query_len = (uint16_t)(end - rq->query);
    }
    return 0;
}

static unsigned check_method(struct head *h, const char *data, struct request *rq)
{
    const char *m = data + h->method;

    switch (h->method_len) {
    case 3:
        rq->idempotent = memcmp(m, "GET", 3) == 0 || memcmp(m, "PUT", 3) == 0;
        return 0;
    case 4:
        rq->idempotent = rq->is_head = memcmp(m, "HEAD", 4) == 0;
        return 0;
    case 5:
        return memcmp(m, "TRACE", 5) == 0 ? refuse(h, 405, "this method is not served") : 0;
    case 6:
        rq->idempotent = memcmp(m, "DELETE", 6) == 0;
        return 0;
    case 7:
        rq->idempotent = memcmp(m, "OPTIONS", 7) == 0;
        return memcmp(m, "CONNECT", 7) == 0 ? refuse(h, 405, "this method is not served") : 0;
    default:
        return 0;
    }
}

static unsigned check_field(struct head *h, const char *data, const struct field *f, struct request *rq, bool *host, bool *connection_upgrade, bool *upgrade)
{
    const char *v = data + f->value;

    switch (f->id) {
    case FIELD_HOST:
        return on_host(h, f, v, rq, host);
    case FIELD_CONTENT_LENGTH:
        return on_length(h, v, f->value_len, rq);
    case FIELD_TRANSFER_ENCODING:
        return on_coding(h, v, f->value_len, rq);
    case FIELD_CONNECTION:
        on_connection(v, f->value_len, rq, connection_upgrade);
        return rq->names_fields > HEAD_NAMED_MAX ? refuse(h, 431, "Connection names too many fields") : 0;
    case FIELD_UPGRADE:
        *upgrade = *upgrade || f->value_len > 0;
        rq->names_h2c = rq->names_h2c || names_h2c(v, f->value_len);
        rq->exec = text_is(v, f->value_len, EXEC_PROTOCOL);
        return 0;
    case FIELD_TE:
        rq->takes_trailers = rq->takes_trailers || (!rq->http10 && list_names(v, f->value_len, "trailers"));
        return 0;
    case FIELD_EXPECT:
        if (!text_is(v, f->value_len, "100-continue"))
            return refuse(h, 417, "an expectation other than 100-continue");
        rq->expects_continue = !rq->http10;
        return 0;
    case FIELD_ACCEPT:
        rq->wants_json = rq->wants_json || names_json(v, f->value_len);
        return 0;
    default:
        return 0;
    }
}

unsigned request_check(struct head *h, const char *data, struct request *ret)
{
    struct request rq = {.http10 = h->minor == 0, .wants_keep_alive = h->minor > 0, .body = BODY_NONE};
    bool host = false, connection_upgrade = false, upgrade = false;
    unsigned r = 0;

    for (unsigned i = 0; r == 0 && i < h->nfields; i++)
        r = check_field(h, data, &h->fields[i], &rq, &host, &connection_upgrade, &upgrade);
    if (r == 0 && !host && !rq.http10)
        r = refuse(h, 400, "Host is missing");
    if (r == 0)
        r = check_method(h, data, &rq);
    if (r == 0)
        r = find_path(h, data, host, &rq);
    rq.upgrade = upgrade && !rq.names_h2c && connection_upgrade && !rq.http10 && rq.body == BODY_NONE;
    rq.exec = rq.exec && rq.upgrade;
    rq.expects_continue = rq.expects_continue && (rq.body == BODY_CHUNKED || rq.length > 0);
    *ret = rq;
    return r;
}
