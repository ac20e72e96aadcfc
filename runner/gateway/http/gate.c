/*
 * gate.c: what a function's [http] asks of a request before it may come in: an origin, a token, a rate, a size. In this order: a page of another origin is told so whatever else is wrong with its request, and who
 * has no token uses up nobody's rate.
 */
#include "http.h"

#include "../auth/auth.h"
#include "../picture.h"
#include "../route/rate.h"
#include "../worker.h"

#include <stdlib.h>
#include <string.h>

#define PREFLIGHT_AGE_S 600

/* The value of a field that comes once; NULL: it does not come, or comes twice. */
static const char *find_value(const struct exchange *ex, const char *data, const char *name, size_t *ret_len)
{
    const struct field *found = NULL;

    for (unsigned i = 0; i < ex->head.nfields; i++) {
        const struct field *f = &ex->head.fields[i];

        if (!text_is(data + f->name, f->name_len, name))
            continue;
        if (found)
            return NULL;
        found = f;
    }
    if (!found)
        return NULL;
    *ret_len = found->value_len;
    return data + found->value;
}

/* ---- CORS (Fetch standard, sections 3.2 and 4.8) ---- */

static bool origin_allowed(const struct spec_http *h, const char *origin, size_t len)
{
    if (h->cors_any)
        return true;
    for (uint32_t i = 0; i < h->norigins; i++)
        if (text_is(origin, len, h->origins[i]))
            return true;
    return false;
}

/* Whatever the answer will be, the page may read it. */
static int add_origin(struct exchange *ex, const struct spec_http *h, const char *origin, size_t len)
{
    int r;

    if (h->cors_any)
        return exchange_add_reply_field(ex, "Access-Control-Allow-Origin: *");
    r = exchange_add_reply_field(ex, "Access-Control-Allow-Origin: %.*s", (int)len, origin);
    if (r == 0 && h->cors_credentials)
        r = exchange_add_reply_field(ex, "Access-Control-Allow-Credentials: true");
    return r;
}

static int answer_preflight(struct exchange *ex, const struct spec_http *h)
{
    int r = exchange_add_reply_methods(ex, "Access-Control-Allow-Methods", h->cors_methods);

    if (r == 0)
        r = exchange_add_reply_field(ex, "Access-Control-Allow-Headers: %s", h->cors_headers);
    if (r == 0)
        r = exchange_add_reply_field(ex, "Access-Control-Max-Age: %d", PREFLIGHT_AGE_S);
    if (r < 0)
        return r;
    exchange_become_local(ex);
    exchange_reply(ex, 204, NULL, NULL, NULL, 0);
    return 0;
}

enum gate { GATE_OPEN, GATE_ANSWERED, GATE_NO_MEMORY };

static enum gate check_cors(struct exchange *ex, const struct spec_http *h, const char *data)
{
    size_t len = 0, method_len;
    const char *origin = find_value(ex, data, "origin", &len);
    bool preflight = text_is(data + ex->head.method, ex->head.method_len, "options") && find_value(ex, data, "access-control-request-method", &method_len);

    ex->own_cors = true;
    if (!h->cors_any && exchange_add_reply_field(ex, "Vary: Origin") < 0)
        return GATE_NO_MEMORY;
    if (!origin)
        return GATE_OPEN;
    if (!origin_allowed(h, origin, len)) {
        if (!preflight)
            return GATE_OPEN; /* it is no page of another origin that may read the answer, but it may ask (a form can, too) */
        exchange_refuse(ex, ex->function, 403, "forbidden", 0, "pages of this origin may not use the function (cors)");
        return GATE_ANSWERED;
    }
    if (add_origin(ex, h, origin, len) < 0 || (preflight && answer_preflight(ex, h) < 0))
        return GATE_NO_MEMORY;
    return preflight ? GATE_ANSWERED : GATE_OPEN;
}

/* ---- access = private ---- */

/* Whoever may use the API's socket needs no token: he could read the function's files. The field was for us, and is not sent on: with it the function could act as its caller. */
static enum gate check_token(struct exchange *ex, const struct gw_function *f, const char *data)
{
    size_t len = 0;
    const char *value = find_value(ex, data, "authorization", &len);

    if (ex->conn->listener == LISTENER_API)
        return GATE_OPEN;
    ex->hide_authorization = true;
    if (value && auth_token_allows(ex->worker, value, len, &f->rec.fn))
        return GATE_OPEN;
    if (exchange_add_reply_field(ex, "WWW-Authenticate: Bearer realm=\"fnd\"") < 0)
        return GATE_NO_MEMORY;
    exchange_refuse(ex, f, 401, "unauthorized", 0, value ? "this token does not open the function" : "the function is private: send Authorization: Bearer TOKEN");
    return GATE_ANSWERED;
}

/* ---- rates ---- */

static enum gate refuse_rate(struct exchange *ex, uint64_t wait_ns, const char *text)
{
    shared_add(&picture_slot(&ex->worker->picture)->refused[REFUSED_RATE], 1);
    exchange_refuse(ex, ex->function, 429, "rate_limited", (unsigned)((wait_ns + NS_PER_SEC - 1) / NS_PER_SEC), text);
    return GATE_ANSWERED;
}

/* Of all workers; who makes it a moment too late uses the other's. */
static struct rate_table *clients_of(struct shared_function *s)
{
    struct rate_table *t = atomic_load_explicit(&s->rate_clients, memory_order_acquire), *made;

    if (t)
        return t;
    made = rate_table_new();
    if (!made || atomic_compare_exchange_strong_explicit(&s->rate_clients, &t, made, memory_order_acq_rel, memory_order_acquire))
        return made;
    rate_table_free(made);
    return t;
}

static enum gate check_rates(struct exchange *ex, struct shared_function *s, const struct spec_http *h)
{
    uint64_t now = loop_now_ns(ex->worker->loop), wait_ns = 0;
    struct rate_table *clients = h->rate_client.interval_ns ? clients_of(s) : NULL;

    if (h->rate_client.interval_ns && !clients)
        return GATE_NO_MEMORY;
    if (clients && !rate_table_take(clients, ex->client, &h->rate_client, now, &wait_ns))
        return refuse_rate(ex, wait_ns, "too many requests from this address");
    if (h->rate.interval_ns && !rate_take(&s->rate_full_ns, &h->rate, now, &wait_ns))
        return refuse_rate(ex, wait_ns, "too many requests for this function");
    return GATE_OPEN;
}

static enum gate check(struct exchange *ex, struct gw_function *f, const char *data)
{
    const struct spec_http *h = f->http;
    enum gate answer = GATE_OPEN;

    if (h->max_body_bytes && h->max_body_bytes < ex->max_body_bytes)
        ex->max_body_bytes = h->max_body_bytes;
    if (h->cors_any || h->norigins)
        answer = check_cors(ex, h, data);
    if (answer == GATE_OPEN && h->is_private)
        answer = check_token(ex, f, data);
    if (answer != GATE_OPEN || (!h->rate.interval_ns && !h->rate_client.interval_ns))
        return answer;
    return check_rates(ex, f->shared, h);
}

bool gate_admit(struct exchange *ex, struct gw_function *f, const char *data)
{
    enum gate answer;

    ex->max_body_bytes = ex->worker->picture.welcome.max_body_bytes;
    if (!f->http)
        return true;
    answer = check(ex, f, data);
    if (answer == GATE_NO_MEMORY)
        exchange_refuse(ex, f, 503, "no_memory", 1, "not enough memory");
    return answer == GATE_OPEN;
}
