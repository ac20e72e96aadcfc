/*
 * exchange.c: the life of a request from its first byte to its account, and requests that the gateway answers itself (gateway.h).
 * What handlers call from here changes state and schedules; it never runs or frees the exchange under them.
 */
#include "http.h"

#include "../worker.h"
#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_EXCHANGES_MAX 64U
#define STATUS_CLIENT_GONE 499
#define REPLY_FIELD_MAX    768

struct exchange *exchange_new(struct conn *c)
{
    struct worker *w = c->worker;
    struct exchange *ex = w->free_exchanges;

    if (ex) {
        w->free_exchanges = ex->next_free;
        w->nfree_exchanges--;
    } else {
        ex = malloc(sizeof(*ex));
        if (!ex)
            return NULL;
    }
    memset(ex, 0, offsetof(struct exchange, head));
    head_init(&ex->head, HEAD_REQUEST);
    head_bound(&ex->head, w->picture.settings.max_head_bytes, w->picture.settings.max_target_bytes, w->picture.settings.max_fields);
    ex->worker = w;
    ex->conn = c;
    ex->client = c->client;
    ex->start_ns = loop_now_ns(w->loop);
    ex->up_flow.body.done = true;
    c->ex = ex;
    c->begun = true;
    c->queued_bytes = 0;
    conn_set_deadline(c, ex->start_ns + w->picture.settings.head_timeout_ns);
    return ex;
}

static void tell_abort(struct exchange *ex)
{
    const struct exchange_handler *h = ex->local.handler;

    ex->local.handler = NULL;
    if (ex->state == EXCHANGE_LOCAL && h && h->on_abort && !ex->local.complete)
        h->on_abort(ex, ex->local.arg);
}

void exchange_finish(struct exchange *ex)
{
    struct worker *w = ex->worker;

    tell_abort(ex);
    proxy_release(ex, false);
    flow_clear(w, &ex->up_flow);
    flow_clear(w, &ex->down_flow);
    if (ex->account)
        account_end(ex, ex->status ? ex->status : STATUS_CLIENT_GONE);
    if (ex->function) {
        metrics_request(ex->function->counters, ex->status ? ex->status : STATUS_CLIENT_GONE, loop_now_ns(w->loop) - ex->start_ns);
        function_leave(ex->function);
    }
    if (ex->local.text) {
        explicit_bzero(ex->local.text, ex->local.text_size); /* a password may be in it */
        free(ex->local.text);
    }
    if (ex->reply_fields)
        free(ex->reply_fields);
    if (ex->local.out.data)
        strbuf_done(&ex->local.out);
    ex->conn->ex = NULL;
    worker_trim_soon(w);
    if (w->nfree_exchanges >= FREE_EXCHANGES_MAX) {
        free(ex);
        return;
    }
    ex->next_free = w->free_exchanges;
    w->free_exchanges = ex;
    w->nfree_exchanges++;
}

void exchange_abort(struct exchange *ex)
{
    conn_abort(ex->conn);
}

int exchange_add_reply_field(struct exchange *ex, const char *fmt, ...)
{
    cleanup_strbuf struct strbuf all = {0};
    char line[REPLY_FIELD_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    strbuf_printf(&all, "%s%s\r\n", ex->reply_fields ? ex->reply_fields : "", line);
    if (all.failed)
        return -ENOMEM;
    free(ex->reply_fields);
    ex->reply_fields = take_ptr(all.data);
    return 0;
}

int exchange_add_reply_methods(struct exchange *ex, const char *name, uint32_t methods)
{
    cleanup_strbuf struct strbuf list = {0};

    for (unsigned i = 0; i < SPEC_METHOD_COUNT; i++)
        if (methods & 1U << i)
            strbuf_printf(&list, "%s%s", list.len ? ", " : "", spec_method_name(i));
    return list.failed ? -ENOMEM : exchange_add_reply_field(ex, "%s: %s", name, list.data ? list.data : "");
}

/* ---- a request that the gateway answers itself ---- */

static char *copy_text(char **at, const char *text, size_t len)
{
    char *to = *at;

    memcpy(to, text, len);
    to[len] = '\0';
    *at += len + 1;
    return to;
}

/* One that is there twice says nothing, but for Origin and its like, where any is enough. */
static const struct field *only_field(const struct exchange *ex, enum field_id id)
{
    unsigned count;
    const struct field *f = head_field(&ex->head, id, &count);

    return count == 1 || id != FIELD_AUTHORIZATION ? f : NULL;
}

int exchange_take_texts(struct exchange *ex, const char *data)
{
    const struct request *rq = &ex->rq;
    struct exchange_request *r = &ex->local.request;
    const struct field *fields[] = {only_field(ex, FIELD_AUTHORIZATION), only_field(ex, FIELD_ORIGIN), only_field(ex, FIELD_SEC_FETCH_SITE),
                                    only_field(ex, FIELD_HOST)};
    const char **texts[] = {&r->authorization, &r->origin, &r->fetch_site, &r->host};
    size_t size = (size_t)ex->head.method_len + rq->path_len + rq->query_len + 3;
    char *at;

    for (unsigned i = 0; i < 4; i++)
        size += fields[i] ? fields[i]->value_len + 1U : 0;
    at = malloc(size);
    if (!at)
        return -ENOMEM;
    ex->local.text = at;
    ex->local.text_size = size;
    for (unsigned i = 0; i < 4; i++)
        if (fields[i])
            *texts[i] = copy_text(&at, data + fields[i]->value, fields[i]->value_len);
    r->method = copy_text(&at, data + ex->head.method, ex->head.method_len);
    r->path = copy_text(&at, data + rq->path, rq->path_len);
    r->query = copy_text(&at, data + rq->query, rq->query_len);
    return 0;
}

void exchange_become_local(struct exchange *ex)
{
    struct conn *c = ex->conn;
    struct exchange_request *r = &ex->local.request;

    ex->state = EXCHANGE_LOCAL;
    *r = (struct exchange_request){.method = "", .path = "", .query = "", .wants_json = ex->rq.wants_json, .listener = c->listener};
    r->authorization = r->origin = r->fetch_site = r->host = "";
    r->client = ex->client;
    r->inner = c->inner;
    r->peer_uid = c->uid;
    r->peer_pid = c->pid;
    r->exec = ex->rq.exec;
    r->body_bytes = ex->rq.body == BODY_CHUNKED ? -1 : (int64_t)ex->rq.length;
}

const struct exchange_request *exchange_request(const struct exchange *ex)
{
    return &ex->local.request;
}

struct worker *exchange_worker(const struct exchange *ex)
{
    return ex->worker;
}

void exchange_handle(struct exchange *ex, const struct exchange_handler *h, void *arg)
{
    ex->local.handler = h;
    ex->local.arg = arg;
    ex->local.body_told = false; /* who takes over in the middle hears of the end, too */
}

void exchange_resume_body(struct exchange *ex)
{
    ex->local.paused = false;
    conn_schedule(ex->conn);
}

/* What is left of the request's body and already here is dropped, so that most connections outlive an error. */
static void skip_body(struct exchange *ex)
{
    struct conn *c = ex->conn;
    struct body *b = &ex->up_flow.body;
    size_t payload;

    while (!ex->local.feeding && !b->done && c->in && buffer_len(c->in) > 0) {
        ssize_t n = body_take(b, buffer_at(c->in), buffer_len(c->in), &payload);

        if (n <= 0)
            break;
        c->in->start += (uint32_t)n;
    }
    if (!b->done)
        ex->keep_alive = false;
}

static void put_head(struct exchange *ex, int status, const char *content_type, const char *headers)
{
    struct strbuf *out = &ex->local.out;

    skip_body(ex);
    if (ex->worker->stopping)
        ex->keep_alive = false;
    ex->status = (uint16_t)status;
    ex->local.begun = true;
    strbuf_printf(out, "HTTP/1.1 %d %s\r\n%s", status, status_text((unsigned)status), worker_date(ex->worker));
    if (content_type)
        strbuf_printf(out, "Content-Type: %s\r\n", content_type);
    if (headers)
        strbuf_puts(out, headers);
    if (ex->reply_fields)
        strbuf_puts(out, ex->reply_fields);
    if (ex->request_id_len)
        strbuf_printf(out, "X-Request-Id: %.*s\r\n", ex->request_id_len, ex->request_id);
    if (!ex->keep_alive)
        strbuf_puts(out, "Connection: close\r\n");
    else if (ex->rq.http10)
        strbuf_puts(out, "Connection: keep-alive\r\n");
}

void exchange_reply(struct exchange *ex, int status, const char *content_type, const char *headers, const void *body, size_t len)
{
    struct strbuf *out = &ex->local.out;

    put_head(ex, status, content_type, headers);
    if (status != 204 && status != 304)
        strbuf_printf(out, "Content-Length: %zu\r\n", len);
    strbuf_puts(out, "\r\n");
    if (len > 0 && !ex->rq.is_head && status != 204 && status != 304)
        strbuf_add(out, body, len);
    ex->local.payload_bytes = len;
    ex->local.complete = true;
    conn_schedule(ex->conn);
}

void exchange_begin(struct exchange *ex, int status, const char *content_type)
{
    ex->local.chunked = !ex->rq.http10;
    if (!ex->local.chunked)
        ex->keep_alive = false;
    put_head(ex, status, content_type, ex->local.chunked ? "Transfer-Encoding: chunked\r\n" : NULL);
    strbuf_puts(&ex->local.out, "\r\n");
    conn_schedule(ex->conn);
}

bool exchange_write(struct exchange *ex, const void *data, size_t len)
{
    struct local *l = &ex->local;

    l->payload_bytes += len;
    if (l->sent > LOCAL_WAITING_MAX) { /* a client that never takes all of it */
        memmove(l->out.data, l->out.data + l->sent, l->out.len - l->sent);
        l->out.len -= l->sent;
        l->sent = 0;
    }
    if (len > 0 && !ex->rq.is_head) {
        if (l->chunked)
            strbuf_printf(&l->out, "%zx\r\n", len);
        strbuf_add(&l->out, data, len);
        if (l->chunked)
            strbuf_puts(&l->out, "\r\n");
    }
    l->full = l->out.len - l->sent > LOCAL_WAITING_MAX;
    conn_schedule(ex->conn);
    return !l->full;
}

void exchange_cut(struct exchange *ex)
{
    exchange_abort(ex);
}

void exchange_end(struct exchange *ex)
{
    if (ex->local.chunked && !ex->rq.is_head)
        strbuf_puts(&ex->local.out, "0\r\n\r\n");
    ex->local.complete = true;
    conn_schedule(ex->conn);
}

int exchange_connection(const struct exchange *ex)
{
    const struct conn *c = ex->conn;

    return c->in && buffer_len(c->in) > 0 ? -EBUSY : c->sock.fd;
}

void exchange_hand_over(struct exchange *ex, const char *protocol, const char *headers)
{
    ex->status = 101;
    ex->keep_alive = false;
    ex->handed_over = true;
    strbuf_printf(&ex->local.out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s\r\n", protocol, headers);
    ex->local.begun = ex->local.complete = true;
    conn_schedule(ex->conn);
}

static void reply_error(struct exchange *ex, int status, const char *code, const char *function, unsigned retry_after, const char *message)
{
    const char *path = ex->local.request.path;
    bool json = ex->rq.wants_json || strncmp(path, "/api/", 5) == 0 || strncmp(path, "/admin/", 7) == 0;
    cleanup_strbuf struct strbuf body = {0};
    char headers[64] = "";

    error_page(&body, json, code, message, function);
    if (retry_after)
        snprintf(headers, sizeof(headers), "Retry-After: %u\r\n", retry_after);
    exchange_reply(ex, status, json ? "application/json" : "text/plain; charset=utf-8", headers, body.data, body.len);
}

void exchange_error(struct exchange *ex, int status, const char *code, const char *function, unsigned retry_after, const char *fmt, ...)
{
    char message[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    reply_error(ex, status, code, function, retry_after, message);
}

/* An error in place of whatever the exchange was about to become. Nothing of an answer has been sent. */
void exchange_refuse(struct exchange *ex, const struct gw_function *f, int status, const char *code, unsigned retry_after, const char *text)
{
    char name[NAME_FUNCTION_MAX + 1];

    flow_clear(ex->worker, &ex->up_flow);
    flow_clear(ex->worker, &ex->down_flow);
    exchange_become_local(ex);
    reply_error(ex, status, code, f ? name_format(&f->rec.fn, name) : NULL, retry_after, text);
}
