/*
 * api_access.c: who may call. The unix socket has been decided by the kernel (api.c); what comes over the network needs credentials that open the API, before a byte of its body is read.
 *
 * The public listener is where strangers' pages come from, so nothing that a browser does there by itself may reach the API: no answer has a challenge, so none asks for a password in a dialogue, what
 * carries Origin or Sec-Fetch-Site is refused, and nothing allows another origin to read. On the admin listener people log in with their browser, which then sends the password with every request, also with those that
 * a stranger's page makes: there both fields must name this very origin. Functions do not reach it at all.
 */
#include "api_private.h"

#include "../auth/auth.h"
#include "../route/route.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_TYPE "application/json"

struct gate {
    struct exchange *ex;
    struct auth_check check;
};

static void refuse(struct exchange *ex, int status, const char *code, unsigned retry_after, const char *text)
{
    bool admin = exchange_request(ex)->listener == LISTENER_ADMIN;
    cleanup_strbuf struct strbuf body = {0};
    char headers[96] = "";

    if (status == 401 && admin)
        snprintf(headers, sizeof(headers), "WWW-Authenticate: Basic realm=\"fnd\", charset=\"UTF-8\"\r\n");
    else if (retry_after)
        snprintf(headers, sizeof(headers), "Retry-After: %u\r\n", retry_after);
    error_page(&body, true, code, text, NULL);
    exchange_reply(ex, status, JSON_TYPE, headers, body.data ? body.data : "", body.len);
}

/* Does the text of Origin name the host that the request was sent to? */
static bool own_origin(const struct exchange_request *req)
{
    const char *host = strstr(req->origin, "://");

    return host && *req->host && strcasecmp(host + 3, req->host) == 0 && (strncmp(req->origin, "http://", 7) == 0 || strncmp(req->origin, "https://", 8) == 0);
}

static bool from_elsewhere(const struct exchange_request *req)
{
    bool site = strcmp(req->fetch_site, "same-origin") == 0 || strcmp(req->fetch_site, "none") == 0;

    if (req->listener == LISTENER_PUBLIC)
        return *req->origin || *req->fetch_site;
    return (*req->origin && !own_origin(req)) || (*req->fetch_site && !site);
}

static bool is_instance(const struct picture *p, const char *client)
{
    struct in_addr addr;

    if (inet_pton(AF_INET, client, &addr) != 1)
        return false;
    for (const struct gw_instance *i = p->instances; i; i = i->next_any)
        if (i->rec.addr == addr.s_addr)
            return true;
    return false;
}

static void settle(struct gate *g)
{
    struct exchange *ex = g->ex;
    struct auth_check check = g->check;

    free(g);
    if (check.status != 200) {
        refuse(ex, check.status, check.code, check.retry_after, check.text);
        return;
    }
    exchange_resume_body(ex);
    api_dispatch(ex, check.who);
}

static void on_done(struct auth_check *check)
{
    settle(check->arg);
}

static void on_abort(struct exchange *ex, void *arg)
{
    struct gate *g = arg;

    auth_check_cancel(&g->check);
    free(g);
}

static void ask_credentials(struct exchange *ex)
{
    static const struct exchange_handler handler = {.on_abort = on_abort};
    const struct exchange_request *req = exchange_request(ex);
    struct gate *g = calloc(1, sizeof(*g));

    if (!g) {
        refuse(ex, 503, "no_memory", 1, "not enough memory");
        return;
    }
    g->ex = ex;
    g->check.on_done = on_done;
    g->check.arg = g;
    exchange_handle(ex, &handler, g);
    if (auth_check(exchange_worker(ex), &g->check, req->authorization, strlen(req->authorization), req->client))
        settle(g);
}

void api_serve(struct exchange *ex)
{
    const struct exchange_request *req = exchange_request(ex);
    char who[32];

    if (req->listener == LISTENER_API) {
        snprintf(who, sizeof(who), "uid:%u", (unsigned)req->peer_uid);
        api_dispatch(ex, who);
    } else if (req->inner || is_instance(worker_picture(exchange_worker(ex)), req->client)) {
        refuse(ex, 403, "forbidden", 0, "functions do not reach the API");
    } else if (from_elsewhere(req)) {
        refuse(ex, 403, "forbidden", 0,
               req->listener == LISTENER_PUBLIC ? "browsers do not reach the API on this address: it is for command lines; pages are on the admin listener"
                                                : "a page of another origin may not call the API");
    } else {
        ask_credentials(ex);
    }
}
