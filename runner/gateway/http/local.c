/* local.c: moves a request on that the gateway answers itself: its body to the handler, the answer to the client. */
#include "http.h"

#include "../worker.h"
#include "clock.h"

#include <errno.h>

/* Below this, a writer that was told to stop may go on. */
#define DRAINED_MARK (64U * 1024)

static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";

static void ask_for_body(struct exchange *ex)
{
    if (!ex->rq.expects_continue || ex->continue_sent || ex->local.begun)
        return;
    ex->continue_sent = true;
    strbuf_add(&ex->local.out, continue_line, sizeof(continue_line) - 1);
}

/* Decodes what is in the buffer, reading more if it is empty. Returns whether there is something new. */
static bool take_body(struct exchange *ex)
{
    struct conn *c = ex->conn;
    struct local *l = &ex->local;
    char *at;
    ssize_t n;

    if (!c->in || buffer_len(c->in) == 0) {
        ask_for_body(ex);
        n = c->sock.readable ? conn_fill(c) : -EAGAIN;
        if (n == -EAGAIN) {
            conn_drop_buffer(c);
            return false;
        }
        if (n <= 0) {
            exchange_abort(ex);
            return false;
        }
    }
    at = buffer_at(c->in);
    n = body_take(&ex->up_flow.body, at, buffer_len(c->in), &l->payload_len);
    if (n < 0) {
        exchange_abort(ex);
        return false;
    }
    c->in->start += (uint32_t)n;
    l->payload = at;
    return true;
}

static void give_payload(struct exchange *ex)
{
    struct local *l = &ex->local;
    size_t n = l->handler->on_body(ex, l->arg, l->payload, l->payload_len);

    l->payload += n;
    l->payload_len -= n;
    if (l->payload_len > 0)
        l->paused = true;
}

static void feed(struct exchange *ex)
{
    struct conn *c = ex->conn;
    struct local *l = &ex->local;

    l->feeding = true;
    while (c->state == CONN_OPEN && l->handler && !l->complete && !l->paused && !l->body_told) {
        if (l->payload_len > 0) {
            if (l->handler->on_body)
                give_payload(ex);
            else
                l->payload_len = 0;
        } else if (ex->up_flow.body.done) {
            l->body_told = true;
            conn_drop_buffer(c);
            if (l->handler->on_body_end)
                l->handler->on_body_end(ex, l->arg);
        } else if (!l->handler->on_body || !take_body(ex)) {
            break;
        }
    }
    if (c->state == CONN_OPEN)
        l->feeding = false;
}

/* Returns whether all is out. */
static bool send_out(struct exchange *ex)
{
    struct local *l = &ex->local;
    struct sock *to = &ex->conn->sock;

    while (l->sent < l->out.len) {
        struct outq q = {.count = 0};
        ssize_t n;

        outq_add(&q, l->out.data + l->sent, l->out.len - l->sent);
        n = to->writable ? sock_send(to, &q) : -EAGAIN;
        if (n == -EAGAIN)
            return false;
        if (n < 0) {
            exchange_abort(ex);
            return false;
        }
        ex->sent_any = true;
        l->sent += (size_t)n;
    }
    l->out.len = l->sent = 0;
    return true;
}

void local_run(struct exchange *ex)
{
    struct conn *c = ex->conn;
    struct local *l = &ex->local;
    bool all_out;

    feed(ex);
    if (c->state != CONN_OPEN)
        return;
    if (l->out.failed) { /* an answer with a hole in it is none */
        exchange_abort(ex);
        return;
    }
    all_out = send_out(ex);
    if (c->state != CONN_OPEN)
        return;
    if (l->full && l->out.len - l->sent < DRAINED_MARK) {
        l->full = false;
        if (l->handler && l->handler->on_drain && !l->complete) {
            l->handler->on_drain(ex, l->arg); /* what it writes schedules another run */
            all_out = l->out.len == 0;
        }
    }
    if (l->complete && all_out) {
        ex->state = EXCHANGE_OVER;
        return;
    }
    conn_set_deadline(c, !all_out || (!ex->up_flow.body.done && l->handler && !l->paused)
                             ? loop_now_ns(ex->worker->loop) + ex->worker->picture.settings.stall_timeout_ns
                             : NEVER);
}
