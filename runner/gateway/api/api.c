/*
 * api.c: the table of routes, its dispatcher, and how calls end. Owns struct api_call.
 *
 * Who may (over the network: api_access.c): the socket RUN/fnd.sock is root:fnd 0660, so the kernel has already decided, with all supplementary groups, that a peer which could connect
 * is root or a member of group fnd. Asking again by SO_PEERCRED would be wrong: that shows the primary group alone, and would refuse exactly those
 * members who got in through a supplementary one. So whoever speaks on that listener may do everything. Each changing call leaves a line in the log and
 * in audit.log.
 */
#include "api_private.h"

#include "diag.h"
#include "fd.h"
#include "log.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define JSON_TYPE   "application/json"
#define TEXT_TYPE   "text/plain; charset=utf-8"
#define RETRY_AFTER 1

static const struct api_route routes[] = {
    {"GET", "/version", api_get_version, API_READ, true, "", "version"},
    {"GET", "/config", api_get_config, API_READ, true, "", "config"},
    {"POST", "/reload", api_reload, API_CHANGE, false, "", "reload"},
    {"GET", "/host", api_get_host, API_READ, false, "", "host"},
    {"GET", "/functions", api_get_functions, API_READ, false, "application", "list"},
    {"POST", "/functions", api_deploy, API_CHANGE, false, "name environment replicas var* set*", "deploy"},
    {"GET", "/functions/*", api_get_function, API_READ, false, "", "show"},
    {"DELETE", "/functions/*", api_remove, API_CHANGE, false, "volumes", "remove"},
    {"PUT", "/functions/*/scale", api_scale, API_CHANGE, false, "", "scale"},
    {"POST", "/functions/*/start", api_start, API_CHANGE, false, "", "start"},
    {"POST", "/functions/*/stop", api_stop, API_CHANGE, false, "", "stop"},
    {"POST", "/functions/*/restart", api_restart, API_CHANGE, false, "", "restart"},
    {"GET", "/functions/*/instances", api_get_instances, API_READ, false, "", "instances"},
    {"GET", "/functions/*/logs", api_logs, API_READ, false, "lines follow instance", "logs"},
    {"POST", "/functions/*/exec", api_exec, API_CHANGE, false, "instance terminal term arg*", "exec"},
    {"GET", "/functions/*/export", api_export, API_READ, false, "version", "export"},
    {"GET", "/functions/*/plan", api_get_plan, API_READ, false, "", "plan"},
    {"GET", "/functions/*/secrets", api_get_secrets, API_READ, false, "", "secrets"},
    {"PUT", "/functions/*/secrets", api_set_secret, API_CHANGE, false, "name", "secret-set"},
    {"DELETE", "/functions/*/secrets", api_remove_secret, API_CHANGE, false, "name", "secret-remove"},
    {"GET", "/secrets", api_get_secrets, API_READ, false, "", "secrets"},
    {"GET", "/instances", api_get_all_instances, API_READ, false, "", "instances"},
    {"GET", "/whoami", api_whoami, API_READ, true, "", "whoami"},
    {"GET", "/openapi.json", api_get_openapi, API_READ, true, "", "openapi"},
    {"GET", "/tokens", api_get_tokens, API_READ, false, "", "tokens"},
    {"POST", "/tokens", api_add_token, API_CHANGE, false, "", "token-add"},
    {"DELETE", "/tokens/+", api_remove_token, API_CHANGE, false, "", "token-remove"},
    {"GET", "/runtimes", api_get_runtimes, API_READ, false, "", "runtimes"},
    {"PUT", "/runtimes/+", api_put_runtime, API_CHANGE, false, "", "runtime-put"},
    {"DELETE", "/runtimes/+", api_remove_runtime, API_CHANGE, false, "", "runtime-remove"},
    {"GET", "/images", api_get_images, API_READ, false, "", "images"},
    {"POST", "/prune", api_prune, API_CHANGE, false, "", "prune"},
    {"PUT", "/password", api_set_password, API_CHANGE, false, "", "password"},
};

/* ---- how calls end ---- */

void api_call_free(struct api_call *c)
{
    if (c->free_state)
        c->free_state(c);
    if (c->link_id)
        link_forget(worker_link(c->worker), c->link_id);
    stats_cancel(&c->stats);
    strbuf_done(&c->text);
    query_done(&c->query);
    json_decref(c->json);
    free(c);
}

void api_audit(const struct api_call *c, int status)
{
    const struct exchange_request *req = exchange_request(c->ex);

    struct record_audit rec = {.head = RECORD_INIT(RECORD_AUDIT, 0), .status = (uint32_t)status};

    if (c->route->right != API_CHANGE)
        return;
    snprintf(rec.who, sizeof(rec.who), "%s", c->who);
    snprintf(rec.from, sizeof(rec.from), "%s", req->listener == LISTENER_API ? "unix" : req->client);
    snprintf(rec.what, sizeof(rec.what), "%s", c->route->verb);
    snprintf(rec.target, sizeof(rec.target), "%s", c->name);
    log_msg(LOG_NOTICE, "api call", "verb=%s function=%s who=%s from=%s pid=%d status=%d", rec.what, rec.target, rec.who, rec.from, (int)req->peer_pid, status);
    link_send(worker_link(c->worker), &rec.head);
}

void api_on_abort(struct exchange *ex, void *arg)
{
    struct api_call *c = arg;

    api_audit(c, 499); /* what nginx logs for a client that went away */
    api_call_free(c);
}

void api_reply_json(struct api_call *c, int status, json_t *body)
{
    struct exchange *ex = c->ex;
    cleanup_free char *dump = body ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    size_t len = dump ? strlen(dump) : 0;

    json_decref(body);
    if (!dump) {
        api_fail_set(c, ENOMEM, "not enough memory for the answer");
        return;
    }
    dump[len++] = '\n'; /* in the place of the terminator: the length goes along */
    api_audit(c, status);
    api_call_free(c);
    exchange_reply(ex, status, JSON_TYPE, NULL, dump, len);
}

void api_reply_text(struct api_call *c, const char *text, size_t len)
{
    exchange_reply(c->ex, 200, TEXT_TYPE, NULL, text, len);
    api_call_free(c);
}

void api_fail(struct api_call *c, const struct diag *d)
{
    const struct api_error *e = api_error_find(d->err);
    struct exchange *ex = c->ex;
    cleanup_strbuf struct strbuf clean = {0};
    char name[NAME_FUNCTION_MAX + 1];
    struct diag safe = *d;

    diag_clean(&safe);
    utf8_sanitize(&clean, safe.text, strlen(safe.text));
    memcpy(name, c->name, sizeof(name));
    api_audit(c, e->status);
    api_call_free(c);
    exchange_error(ex, e->status, e->code, *name ? name : NULL, e->status == 503 ? RETRY_AFTER : 0, "%s", clean.data ? clean.data : e->code);
}

void api_fail_set(struct api_call *c, int err, const char *fmt, ...)
{
    struct diag d = {.err = err};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(d.text, sizeof(d.text), fmt, ap);
    va_end(ap);
    api_fail(c, &d);
}

/* ---- requests to the runner ---- */

static void on_reply(void *arg, const struct record_head *rec, int fd)
{
    struct api_call *c = arg;
    const struct record_reply *reply = (const struct record_reply *)rec;

    if (rec->type != RECORD_REPLY)
        return;
    c->link_id = 0;
    if (reply->diag.err) {
        fd_close(fd);
        api_fail(c, &reply->diag);
    } else {
        c->on_ok(c, reply, fd);
    }
}

void api_ask(struct api_call *c, struct record_head *rec, void (*on_ok)(struct api_call *c, const struct record_reply *reply, int fd))
{
    api_ask_with(c, rec, -1, on_ok);
}

void api_ask_with(struct api_call *c, struct record_head *rec, int fd, void (*on_ok)(struct api_call *c, const struct record_reply *reply, int fd))
{
    int r = link_request(worker_link(c->worker), rec, fd, on_reply, c, &c->link_id);

    c->on_ok = on_ok;
    if (r == -ENOTCONN || r == -ECONNRESET)
        api_fail_set(c, ENOTCONN, "the runner is not connected: is fnd running?");
    else if (r < 0)
        api_fail_set(c, -r, "the request could not be sent to the runner: %s", strerror(-r));
}

static void on_empty(struct api_call *c, const struct record_reply *reply, int fd)
{
    fd_close(fd);
    api_reply_json(c, 200, json_object());
}

void api_ask_empty(struct api_call *c, struct record_head *rec)
{
    api_ask(c, rec, on_empty);
}

void api_ask_secret(struct api_call *c, struct record_head *rec, int err, const struct diag *d)
{
    const size_t size = rec->size;

    if (c->text.len)
        OPENSSL_cleanse(c->text.data, c->text.len);
    if (err < 0)
        api_fail(c, d);
    else
        api_ask_empty(c, rec);
    OPENSSL_cleanse(rec, size);
}

void api_ask_many(struct api_call *c, struct record_head *rec, link_reply_fn *on_record)
{
    if (link_request(worker_link(c->worker), rec, -1, on_record, c, &c->link_id) < 0)
        api_fail_set(c, ENOTCONN, "the runner is not connected: is fnd running?");
}

bool api_replied(struct api_call *c, const struct record_head *rec, int fd)
{
    const struct record_reply *reply = (const struct record_reply *)rec;

    if (rec->type != RECORD_REPLY)
        return false;
    fd_close(fd);
    c->link_id = 0;
    if (reply->diag.err)
        api_fail(c, &reply->diag);
    return reply->diag.err == 0;
}

struct gw_function *api_call_function(struct api_call *c)
{
    struct gw_function *f = picture_function(worker_picture(c->worker), &c->id);

    if (!f)
        api_fail_set(c, ENOENT, "there is no function %s", c->name);
    return f;
}

/* ---- the dispatcher ---- */

#define SEGMENTS_MAX 4

struct api_path {
    char text[1024];
    char *segments[SEGMENTS_MAX];
    unsigned count;
};

/* Splits first and decodes then: a %2F is part of a name, and names have no slash. */
static int split_path(const char *path, struct api_path *ret)
{
    char *at = ret->text;

    ret->count = 0;
    if (*path != '/' || str_copy(ret->text, sizeof(ret->text), path + 1) < 0)
        return -ENOENT;
    while (at) {
        char *next = strchr(at, '/');

        if (next)
            *next++ = '\0';
        if (ret->count == SEGMENTS_MAX)
            return -ENOENT;
        ret->segments[ret->count++] = at;
        if (percent_decode(at, strlen(at), NULL) < 0)
            return -EINVAL;
        at = next;
    }
    return 0;
}

/* Is path formed like pattern? *ret_star is then the segment at "*" or "+", or NULL. */
static bool pattern_matches(const char *pattern, const struct api_path *path, const char **ret_star)
{
    const char *star = NULL;

    for (unsigned i = 0; i < path->count; i++) {
        size_t len;

        if (*pattern++ != '/')
            return false;
        len = strcspn(pattern, "/");
        if (len == 1 && (*pattern == '*' || *pattern == '+'))
            star = path->segments[i];
        else if (strlen(path->segments[i]) != len || memcmp(path->segments[i], pattern, len) != 0)
            return false;
        pattern += len;
    }
    *ret_star = star;
    return *pattern == '\0';
}

static void refuse_method(struct exchange *ex, const char *allow)
{
    static const char *const form = "{\"error\":\"method_not_allowed\",\"message\":\"this resource takes %s\",\"function\":null}\n";
    char headers[128], body[256];
    int n;

    snprintf(headers, sizeof(headers), "Allow: %s\r\n", allow);
    n = snprintf(body, sizeof(body), form, allow);
    exchange_reply(ex, 405, JSON_TYPE, headers, body, (size_t)n);
}

/* The route, with its "*"; NULL after having answered. */
static const struct api_route *find_route(struct exchange *ex, const struct api_path *path, const char **ret_star)
{
    const struct exchange_request *req = exchange_request(ex);
    const char *method = strcmp(req->method, "HEAD") == 0 ? "GET" : req->method; /* http/ leaves the body away */
    const char *method_name;
    char allow[64] = "";
    size_t len = 0;

    for (size_t i = 0; i < COUNT(routes); i++) {
        if (!pattern_matches(routes[i].pattern, path, ret_star))
            continue;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
        method_name = strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method;
        len += (size_t)snprintf(allow + len, sizeof(allow) - len, "%s%s", len ? ", " : "", method_name);
    }
    if (len)
        refuse_method(ex, allow);
    else
        exchange_error(ex, 404, "not_found", NULL, 0, "there is no such resource below " API_PREFIX);
    return NULL;
}

/* The same below /admin. */
static const char *api_path(const char *path)
{
    return strncmp(path, API_PREFIX_NETWORK, strlen(API_PREFIX_NETWORK)) == 0 ? path + strlen(API_PREFIX_NETWORK) - strlen(API_PREFIX) : path;
}

/* Everything that can be refused before the handler runs. */
static int prepare(struct api_call *c, const char *star, struct diag *d)
{
    const struct exchange_request *req = exchange_request(c->ex);
    int r;

    if (star && strchr(c->route->pattern, '+')) {
        if (!name_valid(star) || str_copy(c->name, sizeof(c->name), star) < 0)
            return diag_set(d, EINVAL, "\"%.60s\" is not a name: use letters, digits, '-' and '_', at most %d of them", star, NAME_PART_MAX);
    } else if (star) {
        r = name_parse(star, &c->id, d);
        if (r < 0)
            return r;
        name_format(&c->id, c->name);
    }
    r = query_parse(req->query, &c->query, d);
    if (r == 0)
        r = query_check(&c->query, c->route->params, d);
    if (r == 0 && !c->route->without_runner && !worker_picture(c->worker)->synced)
        r = diag_set(d, ENOTCONN, "the runner is not connected: is fnd running?");
    return r;
}

void api_dispatch(struct exchange *ex, const char *who)
{
    static const struct exchange_handler handler = {.on_abort = api_on_abort};
    const char *path = api_path(exchange_request(ex)->path), *star;
    const struct api_route *route;
    struct api_path split = {.count = 0};
    struct api_call *c;
    struct diag d = {0};
    int r = strncmp(path, API_PREFIX, strlen(API_PREFIX)) == 0 ? split_path(path + strlen(API_PREFIX), &split) : -ENOENT;

    if (r < 0) {
        const struct api_error *e = api_error_find(-r);

        exchange_error(ex, e->status, e->code, NULL, 0, r == -EINVAL ? "the path has a broken percent-escape" : "there is no such resource");
        return;
    }
    route = find_route(ex, &split, &star);
    if (!route)
        return;
    c = calloc(1, sizeof(*c));
    if (!c) {
        exchange_error(ex, 503, "no_memory", NULL, RETRY_AFTER, "not enough memory");
        return;
    }
    c->ex = ex;
    c->worker = exchange_worker(ex);
    c->route = route;
    snprintf(c->who, sizeof(c->who), "%s", who);
    exchange_handle(ex, &handler, c);
    if (prepare(c, star, &d) < 0)
        api_fail(c, &d);
    else
        route->serve(c);
}
