/* https.c: what a request gets for coming, or not coming, by TLS: the way to https, Strict-Transport-Security; and the ACME challenges that certificates come by, which are asked for without TLS. */
#include "http.h"

#include "../tls/acme.h"
#include "../tls/tls.h"
#include "../worker.h"

#include <string.h>

/* By TLS to us, or to a proxy whose word counts. */
static bool is_secure(const struct exchange *ex)
{
    if (ex->told_by_proxy && ex->told.scheme)
        return ex->told.scheme == TOLD_HTTPS;
    return ex->conn->secure || ex->conn->proxied_tls;
}

/* RFC 6797: sent by TLS only. A function that says it itself is believed: the first one counts. */
void https_begin(struct exchange *ex)
{
    const struct conn *c = ex->conn;
    uint32_t seconds = ex->worker->picture.settings.hsts_s;

    if (seconds && c->secure && c->listener == LISTENER_PUBLIC)
        exchange_add_reply_field(ex, "Strict-Transport-Security: max-age=%u", seconds);
}

/* "example.org:8888" -> "example.org" */
static size_t without_port(const char *host, size_t len)
{
    for (size_t i = len; i > 0 && host[i - 1] != ']'; i--)
        if (host[i - 1] == ':')
            return i - 1;
    return len;
}

/* To the same path by TLS. Host and path are made of the characters of a checked target. */
bool https_redirect(struct exchange *ex, const char *data)
{
    const struct settings *s = &ex->worker->picture.settings;
    const struct conn *c = ex->conn;
    const struct request *rq = &ex->rq;
    const bool told = ex->told_by_proxy && ex->told.host_len;
    const char *host = told ? ex->told.host : data + rq->host;
    const size_t host_len = told ? ex->told.host_len : rq->host_len;
    cleanup_strbuf struct strbuf location = {0};

    if (!s->https_redirect || !s->https_port || c->listener != LISTENER_PUBLIC || c->inner || !host_len || is_secure(ex) ||
        acme_is_path(data + rq->path, rq->path_len))
        return false;
    strbuf_puts(&location, "Location: https://");
    strbuf_add(&location, host, without_port(host, host_len));
    if (s->https_port != 443)
        strbuf_printf(&location, ":%u", s->https_port);
    strbuf_add(&location, data + rq->path, rq->path_len);
    if (rq->has_query)
        strbuf_add(&location, data + rq->query - 1, (size_t)rq->query_len + 1);
    strbuf_puts(&location, "\r\n");
    if (location.failed)
        return false;
    exchange_become_local(ex);
    exchange_reply(ex, 308, "text/plain; charset=utf-8", location.data, "use https\n", 10);
    return true;
}

/* What an ACME client has put there is served to whoever asks, whatever host a function claims; where there is nothing, a function may have its own. */
bool https_acme(struct exchange *ex, const char *data)
{
    const struct conn *c = ex->conn;
    const struct request *rq = &ex->rq;
    char text[ACME_TEXT_MAX];
    ssize_t n;

    if (c->listener != LISTENER_PUBLIC || c->inner || !acme_is_path(data + rq->path, rq->path_len) ||
        !(rq->is_head || (ex->head.method_len == 3 && memcmp(data + ex->head.method, "GET", 3) == 0)))
        return false;
    n = tls_acme_read(ex->worker->picture.gateway->tls, data + rq->path, rq->path_len, text);
    if (n < 0)
        return false;
    exchange_become_local(ex);
    exchange_reply(ex, 200, "application/octet-stream", NULL, text, (size_t)n);
    return true;
}
