/*
 * proxy.c: one request to a function: admission, an instance, two flows, the end.
 *
 * A request is sent a second time only where that cannot do a thing twice: nothing of it went out, or the connection was a reused one that died before the first byte of an answer, the method is idempotent, and
 * no body is lost. An instance that refuses a connection is passed over once.
 */
#include "http.h"

#include "../worker.h"
#include "clock.h"

#include <errno.h>
#include <string.h>

#define ATTEMPTS_MAX 3U

/* A function that says neither 100 nor anything else does not know the expectation: then the body is to come. Clients that wait at all wait for a second or more. */
#define CONTINUE_NS (300 * NS_PER_MS)

static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";

/* ---- instance and connection ---- */

void proxy_release(struct exchange *ex, bool keep)
{
    struct upconn *u = ex->up;

    if (ex->waiter.queued)
        upstream_wait_leave(ex->function, &ex->waiter);
    ex->up = NULL;
    if (u)
        upconn_release(u, keep);
}

/* From the first byte again; what nothing was sent of may stay as it is. */
static void rewind_request(struct exchange *ex)
{
    struct flow *f = &ex->up_flow;

    ex->up_lost = false;
    head_init(&ex->head, HEAD_RESPONSE);
    if (!ex->up_sent && f->begun)
        return;
    outq_clear(&f->out);
    outq_add(&f->out, f->head->data, f->head->end);
    f->begun = true;
    f->ended = f->body.done;
    ex->up_sent = false;
}

void proxy_on_connection(struct exchange *ex, struct upconn *u)
{
    struct conn *c = ex->conn;
    bool again = ex->state == EXCHANGE_PROXY; /* conn_run sees a change of state only */

    ex->up = u;
    account_instance(ex, u->instance);
    ex->state = EXCHANGE_PROXY;
    ex->up_progress_ns = loop_now_ns(ex->worker->loop);
    rewind_request(ex);
    if (!c->running || again)
        conn_schedule(c);
}

static void refuse_now(struct exchange *ex, int status, const char *code, unsigned retry_after, const char *text)
{
    exchange_refuse(ex, ex->function, status, code, retry_after, text);
    if (!ex->conn->running)
        conn_schedule(ex->conn);
}

static const char *why_hopeless(const struct gw_function *f)
{
    if (f->rec.state == FUNCTION_STOPPED)
        return "the function is stopped";
    if (f->rec.state != FUNCTION_ACTIVE)
        return "the function has been removed";
    if (f->rec.crash_loop)
        return "its instances fail one after the other; `fnctl status` says why";
    return "no instance can answer";
}

void proxy_wait_failed(struct exchange *ex)
{
    const struct gw_function *f = ex->function;

    refuse_now(ex, 503, f->rec.state == FUNCTION_STOPPED ? "stopped" : "unavailable", 1, why_hopeless(f));
}

/* Until an instance is READY, or has a place. */
static uint64_t wait_ns(const struct exchange *ex)
{
    uint64_t timeout = ex->function->rec.timeout_ns, start = ex->worker->picture.welcome.start_timeout_ms * NS_PER_MS;

    if (ex->function->rec.queue_timeout_ns)
        return ex->function->rec.queue_timeout_ns;

    return start && start < timeout ? start : timeout;
}

static const char *no_connection(int err)
{
    return err == -ETIMEDOUT ? "the instance did not accept a connection in time" : "no connection to an instance";
}

/* avoid: the instance that has just failed it, with err; else NULL and 0. */
static void dispatch(struct exchange *ex, const struct gw_instance *avoid, int why)
{
    struct gw_function *f = ex->function;
    struct upconn *u = NULL;
    int err = 0;

    if (avoid || !upstream_must_queue(f)) /* those who wait come first */
        u = upstream_take(ex->worker, f, avoid, ex, &err);
    if (u) {
        proxy_on_connection(ex, u);
        return;
    }
    if (err < 0 || avoid) {
        bool late = err == 0 && why == -ETIMEDOUT;

        refuse_now(ex, late ? 504 : 502, late ? "timeout" : "bad_gateway", 0, no_connection(err ? err : why));
        return;
    }
    switch (upstream_wait(f, &ex->waiter)) {
    case WAIT_QUEUED:
        ex->state = EXCHANGE_WAIT;
        conn_set_deadline(ex->conn, loop_now_ns(ex->worker->loop) + wait_ns(ex));
        upstream_look_again(ex->worker, f);
        if (ex->state != EXCHANGE_WAIT) /* conn_run, which may be on the stack, saw it wait */
            conn_schedule(ex->conn);
        break;
    case WAIT_FULL:
        refuse_now(ex, 503, "queue_full", 1, "too many requests wait for this function");
        break;
    case WAIT_HOPELESS:
        proxy_wait_failed(ex);
        break;
    }
}

void proxy_start(struct exchange *ex, const char *data, size_t prefix_len)
{
    const struct conn *c = ex->conn;
    const struct forwarded fw = {
        .prefix = data + ex->rq.path,
        .prefix_len = prefix_len,
        .client = c->client,
        .secure = c->secure || c->proxied_tls,
        .told = ex->told_by_proxy ? &ex->told : NULL,
        .request_id = ex->request_id,
        .request_id_len = ex->request_id_len,
        .hide_authorization = ex->hide_authorization,
    };
    struct flow *up = &ex->up_flow;

    if (ex->function->rec.state != FUNCTION_ACTIVE) {
        proxy_wait_failed(ex);
        return;
    }
    if (ex->rq.body == BODY_LENGTH && ex->rq.length > ex->max_body_bytes) {
        refuse_now(ex, 413, "too_large", 0, "the request's body is larger than is allowed here");
        return;
    }
    up->chunked = ex->rq.body == BODY_CHUNKED;
    if (!ex->rq.names_fields) /* Connection may name trailers too: then none is sent on */
        body_keep_trailer(&up->body);
    up->head = buffer_take(&ex->worker->buffers);
    if (!up->head) {
        refuse_now(ex, 503, "no_memory", 1, "not enough memory");
        return;
    }
    if (rewrite_request(&ex->head, data, &ex->rq, &fw, up->head) < 0) {
        refuse_now(ex, 431, "bad_request", 0, "the head is too large");
        return;
    }
    ex->waiter.ex = ex;
    dispatch(ex, NULL, 0);
}

/* ---- failures ---- */

void proxy_fail(struct exchange *ex, int status, const char *code, const char *text)
{
    proxy_release(ex, false);
    if (ex->sent_any || ex->interim_cut)
        exchange_abort(ex);
    else
        refuse_now(ex, status, code, status == 503 ? 1 : 0, text);
}

static void fail_for_good(struct exchange *ex, int err)
{
    if (err == -ETIMEDOUT && !ex->up_sent)
        proxy_fail(ex, 504, "timeout", no_connection(err));
    else
        proxy_fail(ex, 502, "bad_gateway", err < 0 && !ex->up_sent ? no_connection(err) : "the instance closed the connection before it answered");
}

void proxy_up_failed(struct exchange *ex, int err)
{
    struct upconn *u = ex->up;
    bool answered = ex->rs.status || (u && u->in && buffer_len(u->in) > 0); /* if only by a 1xx */
    bool fresh = u && !u->reused;
    struct gw_instance *inst = u ? u->instance : NULL;

    if (u && (fresh || answered)) /* a kept connection may end at any time */
        upstream_failed(u);
    if (!u || answered || ex->attempts >= ATTEMPTS_MAX || inst->rec.state == INSTANCE_GONE ||
        (ex->up_sent && (fresh || !ex->rq.idempotent || ex->up_bytes_lost))) {
        fail_for_good(ex, err);
        return;
    }
    ex->attempts++;
    if (!fresh)
        upstream_flush_idle(inst); /* where one kept connection has died, its siblings have as well */
    proxy_release(ex, false);
    dispatch(ex, fresh ? inst : NULL, err);
}

static uint64_t waited_ns(const struct exchange *ex)
{
    return loop_now_ns(ex->worker->loop) - ex->up_progress_ns;
}

void proxy_broken(struct exchange *ex, const char *text)
{
    ex->no_reuse = true;
    upstream_failed(ex->up);
    proxy_fail(ex, 502, "bad_gateway", text);
}

/* ---- 100 (RFC 9110 section 10.1.1) ---- */

/* The head has gone out, and the client may be waiting for a word before it sends more. */
static bool client_waits(const struct exchange *ex)
{
    return ex->rq.expects_continue && !ex->continue_sent && ex->up_flow.body.total == 0 && !ex->up_flow.body.done && !ex->up_lost &&
           !flow_waits(&ex->up_flow) && !ex->down_flow.begun;
}

void proxy_continue(struct exchange *ex)
{
    if (!client_waits(ex))
        return;
    ex->continue_sent = true;
    ex->up_progress_ns = loop_now_ns(ex->worker->loop);
    outq_add(&ex->down_flow.out, continue_line, sizeof(continue_line) - 1);
}

/* ---- time, and instances that go ---- */

void proxy_on_timeout(struct exchange *ex)
{
    if (ex->state == EXCHANGE_WAIT) {
        upstream_wait_leave(ex->function, &ex->waiter);
        refuse_now(ex, 503, "unavailable", 1, "no instance was ready in time");
    } else if (ex->up && ex->up->connecting && waited_ns(ex) < ex->function->rec.timeout_ns) {
        proxy_up_failed(ex, -ETIMEDOUT);
    } else if (client_waits(ex)) {
        proxy_continue(ex);
    } else if (!ex->up_lost && !ex->up_flow.ended && !flow_waits(&ex->up_flow)) {
        ex->keep_alive = false;
        proxy_fail(ex, 408, "timeout", "the body of the request did not come in time");
    } else {
        if (ex->up)
            upstream_failed(ex->up);
        proxy_fail(ex, 504, "timeout", "the function did not answer in time");
    }
}

void proxy_instance_gone(struct exchange *ex)
{
    proxy_fail(ex, 502, "bad_gateway", "the instance ended before it answered");
}

void proxy_cut(struct exchange *ex)
{
    proxy_fail(ex, 503, "unavailable", "the instance was stopped before it answered");
}

/* ---- running ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Until something must have moved on a stream: of a function, or an upgraded connection. */
static uint64_t idle_deadline(const struct exchange *ex)
{
    uint64_t idle = ex->function->rec.stream_idle_ns;

    if (idle == SPEC_AS_CONFIGURED)
        idle = ex->worker->picture.settings.stream_idle_ns;
    return idle ? ex->moved_ns + idle : NEVER;
}

void proxy_stream_deadline(struct exchange *ex)
{
    uint64_t deadline = idle_deadline(ex);

    if (flow_waits(&ex->down_flow))
        deadline = least(deadline, loop_now_ns(ex->worker->loop) + ex->worker->picture.settings.stall_timeout_ns);
    conn_set_deadline(ex->conn, deadline);
}

static void set_deadline(struct exchange *ex)
{
    const struct settings *s = &ex->worker->picture.settings;
    uint64_t limit = ex->function->rec.timeout_ns;

    if (ex->down_flow.begun) {
        proxy_stream_deadline(ex);
        return;
    }
    if (ex->up->connecting)
        limit = least(limit, s->connect_timeout_ns);
    else if (client_waits(ex))
        limit = CONTINUE_NS;
    else if (!ex->up_lost && !ex->up_flow.ended && !flow_waits(&ex->up_flow)) /* the client's turn */
        limit = s->stall_timeout_ns;
    conn_set_deadline(ex->conn, ex->up_progress_ns + limit);
}

/* Functions that send a body where there can be none (HEAD, 204, 304) do so behind an answer that has ended: its bytes may come when the connection is idle already, or carries the next request. */
static bool may_be_followed(const struct exchange *ex)
{
    return ex->rq.is_head || ((ex->rs.status == 204 || ex->rs.status == 304) && ex->rs.has_length && ex->rs.length > 0);
}

static bool may_keep_upstream(const struct exchange *ex)
{
    return !may_be_followed(ex) && ex->rs.keep_alive && !ex->no_reuse && !ex->up_lost && ex->up_flow.ended && !flow_waits(&ex->up_flow);
}

void proxy_run(struct exchange *ex)
{
    enum flow_result up = flow_up(ex), down;

    if (up == FLOW_GONE)
        return;
    down = flow_down(ex);
    if (down == FLOW_GONE)
        return;
    if (down == FLOW_DONE) {
        upstream_worked(ex->up);
        ex->keep_alive = ex->keep_alive && ex->up_flow.ended;
        proxy_release(ex, may_keep_upstream(ex));
        ex->state = EXCHANGE_OVER;
        return;
    }
    set_deadline(ex);
    if (up == FLOW_YIELD || down == FLOW_YIELD)
        conn_yield(ex->conn);
}
