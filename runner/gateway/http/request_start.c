/* request_start.c: a head is whole, or refused: who answers it? */
#include "http.h"

#include "../worker.h"
#include "version.h"

#include <string.h>

#define TEXT_TYPE "text/plain; charset=utf-8"

static const char about[] = "fnd-gateway " FND_VERSION ": functions are at /fn/NAME/\n";
static const char healthy[] = "ok";

/* The path with a slash behind it. Only characters of a checked target get into the field. */
static void redirect(struct exchange *ex)
{
    const struct exchange_request *r = &ex->local.request;
    cleanup_strbuf struct strbuf headers = {0};

    strbuf_printf(&headers, "Location: %s/%s%s\r\n", r->path, ex->rq.has_query ? "?" : "", r->query);
    exchange_reply(ex, 308, TEXT_TYPE, headers.data, "see Location\n", 13);
}

static void reply_text(struct exchange *ex, const char *text)
{
    const char *m = ex->local.request.method;

    if (strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0)
        exchange_reply(ex, 200, TEXT_TYPE, NULL, text, strlen(text));
    else
        exchange_reply(ex, 405, TEXT_TYPE, "Allow: GET, HEAD\r\n", "use GET\n", 8);
}

static void serve_here(struct exchange *ex, const char *data, enum route_kind kind)
{
    exchange_become_local(ex);
    if (exchange_take_texts(ex, data) < 0) {
        exchange_refuse(ex, NULL, 503, "no_memory", 1, "not enough memory");
        return;
    }
    switch (kind) {
    case ROUTE_REDIRECT:
        redirect(ex);
        break;
    case ROUTE_HEALTHZ:
        reply_text(ex, healthy);
        break;
    case ROUTE_METRICS:
        metrics_serve(ex);
        break;
    case ROUTE_API:
        api_serve(ex);
        break;
    case ROUTE_SERVER:
        exchange_reply(ex, 200, NULL, NULL, "", 0);
        break;
    default:
        reply_text(ex, about);
        break;
    }
}

static struct gw_function *find_function(struct exchange *ex, const struct route *r)
{
    const struct picture *p = &ex->worker->picture;
    struct gw_function *f = picture_function(p, &r->id);

    if (f && up_function(f))
        return f;
    if (!p->synced)
        exchange_refuse(ex, NULL, 503, "starting", 1, "fnd is starting; try again in a moment");
    else
        exchange_refuse(ex, NULL, 404, "not_found", 0, "no such function");
    return NULL;
}

/* A function that is slow, or never answers, holds the connections of all who ask for it: it may not hold all there are. */
static bool may_enter(struct exchange *ex, struct gw_function *f)
{
    struct worker *w = ex->worker;

    if (function_enter(f, w->function_requests_max))
        return true;
    shared_add(&picture_slot(&w->picture)->refused[REFUSED_FUNCTION], 1);
    exchange_refuse(ex, NULL, 503, "overloaded", 1, "too many requests for this function are under way");
    return false;
}

/* A path that was claimed is forwarded whole; dot segments must not lead out of it. */
static bool stays_inside(const struct exchange *ex, const char *data, size_t claimed)
{
    return !route_climbs(data + ex->rq.path + claimed, ex->rq.path_len - claimed);
}

static void start_function(struct exchange *ex, const char *data, struct gw_function *f, size_t prefix_len)
{
    if (https_redirect(ex, data) || !may_enter(ex, f))
        return;
    ex->function = f;
    if (gate_admit(ex, f, data))
        proxy_start(ex, data, prefix_len);
}

static void refuse_method(struct exchange *ex, uint32_t methods)
{
    if (exchange_add_reply_methods(ex, "Allow", methods) < 0)
        ex->keep_alive = false;
    exchange_refuse(ex, NULL, 405, "method_not_allowed", 0, "the function that has this path does not take this method");
}

/*
 * On no host a function's, whatever it claims: it would be given the credentials of whoever administers fnd under that name, and certificates for it.
 */
static bool is_reserved(const char *path, size_t len)
{
    static const char *const reserved[] = {"/admin", "/.well-known/acme-challenge"};

    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        size_t n = strlen(reserved[i]);

        if (len >= n && memcmp(path, reserved[i], n) == 0 && (len == n || path[n] == '/'))
            return true;
    }
    return false;
}

/* Hosts and paths that functions claim. False: nobody claims this one. */
static bool start_claimed(struct exchange *ex, const char *data)
{
    struct worker *w = ex->worker;
    const struct request *rq = &ex->rq;
    uint32_t methods = 0, method;
    struct gw_function *f = NULL;
    size_t claimed = 0;

    if (ex->conn->listener != LISTENER_PUBLIC || (w->picture.hosts.nclaims == 0 && !w->picture.hosts.stale))
        return false;
    if (data[rq->path] != '/' || is_reserved(data + rq->path, rq->path_len))
        return false;
    method = spec_method_bit(data + ex->head.method, ex->head.method_len);
    switch (host_routes_find(&w->picture.hosts, &w->picture, data + rq->host, rq->host_len, data + rq->path, rq->path_len, method, &f, &claimed, &methods)) {
    case HOST_UNKNOWN:
        return false;
    case HOST_NO_MEMORY:
        exchange_refuse(ex, NULL, 503, "no_memory", 1, "not enough memory");
        break;
    case HOST_NO_PATH:
        exchange_refuse(ex, NULL, 404, "not_found", 0, "this host has no such path");
        break;
    case HOST_NO_METHOD:
        refuse_method(ex, methods);
        break;
    case HOST_FUNCTION:
        if (!up_function(f))
            exchange_refuse(ex, f, 503, "no_memory", 1, "not enough memory");
        else if (!stays_inside(ex, data, claimed))
            exchange_refuse(ex, f, 400, "bad_request", 0, "the path leads out of the function with dot segments");
        else
            start_function(ex, data, f, 0);
        break;
    }
    return true;
}

static void start_route(struct exchange *ex, const char *data)
{
    struct route r;
    struct gw_function *f;

    if (ex->rq.server) {
        serve_here(ex, data, ROUTE_SERVER);
        return;
    }
    if (https_acme(ex, data) || start_claimed(ex, data))
        return;
    route_find(data + ex->rq.path, ex->rq.path_len, ex->conn->listener, ex->worker->picture.welcome.metrics_public, &r);
    switch (r.kind) {
    case ROUTE_REFUSED:
        exchange_refuse(ex, NULL, (int)r.status, r.code, 0, r.text);
        return;
    case ROUTE_FUNCTION:
        f = find_function(ex, &r);
        if (f)
            start_function(ex, data, f, r.prefix_len);
        return;
    case ROUTE_REDIRECT:
        if (!find_function(ex, &r) || https_redirect(ex, data))
            return;
        break;
    default:
        break;
    }
    serve_here(ex, data, r.kind);
}

/* Where its end is nobody knows: the connection ends with the answer. */
static void refuse_head(struct exchange *ex, unsigned status)
{
    ex->rq.body = BODY_NONE;
    ex->up_flow.body.done = false;
    ex->keep_alive = false;
    exchange_refuse(ex, NULL, (int)status, "bad_request", 0, ex->head.why);
}

void conn_refuse(struct conn *c, unsigned status, const char *why)
{
    struct exchange *ex = exchange_new(c);

    if (!ex) {
        conn_close(c);
        return;
    }
    ex->head.why = why;
    refuse_head(ex, status);
}

/* Whose request it is, and what everybody is to call it. */
static void find_client(struct exchange *ex, const char *data)
{
    struct worker *w = ex->worker;

    ex->request_id_len = (uint8_t)request_id_choose(&w->request_ids, &ex->head, data, ex->request_id);
    ex->told_by_proxy = conn_from_proxy(ex->conn);
    if (!ex->told_by_proxy)
        return;
    told_read(&ex->head, data, &w->picture.settings.trusted_proxies, &ex->told);
    if (ex->told.nhops > 0) {
        ip_format(&ex->told.hops[ex->told.nhops - 1], ex->told_client);
        ex->client = ex->told_client;
    }
}

void exchange_start(struct exchange *ex)
{
    const char *data = buffer_at(ex->conn->in);
    unsigned status = ex->head.refused;

    if (!status)
        status = request_check(&ex->head, data, &ex->rq);
    if (!status)
        find_client(ex, data);
    account_begin(ex, data);
    if (status) {
        refuse_head(ex, status);
        return;
    }
    ex->keep_alive = ex->rq.wants_keep_alive;
    https_begin(ex);
    body_init(&ex->up_flow.body, ex->rq.body, ex->rq.length);
    ex->conn->in->start += ex->head.len; /* its bytes stay where they are until something is read */
    start_route(ex, data);
}
