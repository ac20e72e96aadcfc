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

static void start_route(struct exchange *ex, const char *data)
{
    struct route r;
    struct gw_function *f;

    route_find(data + ex->rq.path, ex->rq.path_len, ex->conn->listener, ex->worker->picture.welcome.metrics_public, &r);
    switch (r.kind) {
    case ROUTE_REFUSED:
        exchange_refuse(ex, NULL, (int)r.status, r.code, 0, r.text);
        return;
    case ROUTE_FUNCTION:
        f = find_function(ex, &r);
        if (!f || !may_enter(ex, f))
            return;
        ex->function = f;
        proxy_start(ex, data, r.prefix_len);
        return;
    case ROUTE_REDIRECT:
        if (!find_function(ex, &r))
            return;
        break;
    default:
        break;
    }
    serve_here(ex, data, r.kind);
}

void exchange_start(struct exchange *ex)
{
    const char *data = buffer_at(ex->conn->in);
    unsigned status = ex->head.refused;

    if (!status)
        status = request_check(&ex->head, data, &ex->rq);
    if (status) { /* where its end is nobody knows: the connection ends with the answer */
        ex->rq.body = BODY_NONE;
        ex->up_flow.body.done = false;
        ex->keep_alive = false;
        exchange_refuse(ex, NULL, (int)status, "bad_request", 0, ex->head.why);
        return;
    }
    ex->keep_alive = ex->rq.wants_keep_alive;
    body_init(&ex->up_flow.body, ex->rq.body, ex->rq.length);
    ex->conn->in->start += ex->head.len; /* its bytes stay where they are until something is read */
    start_route(ex, data);
}
