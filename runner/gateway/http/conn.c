/* conn.c: a client's connection: its buffer, its deadline, its end, and what runs next on it. */
#include "http.h"

#include "../h2/h2.h"
#include "../worker.h"
#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* ---- reading ---- */

ssize_t conn_fill(struct conn *c)
{
    struct buffer *b = c->in;
    ssize_t n;

    if (!b) {
        b = c->in = buffer_take(&c->worker->buffers);
        if (!b)
            return -ENOMEM;
    }
    if (b->start == b->end)
        b->start = b->end = 0;
    else if (b->end == sizeof(b->data))
        buffer_compact(b);
    if (b->end == sizeof(b->data))
        return -ENOBUFS;
    n = sock_recv(&c->sock, b->data + b->end, sizeof(b->data) - b->end);
    if (n > 0)
        b->end += (uint32_t)n;
    return n;
}

void conn_drop_buffer(struct conn *c)
{
    if (!c->in || buffer_len(c->in) > 0)
        return;
    buffer_give(&c->worker->buffers, c->in);
    c->in = NULL;
}

/* ---- deadlines ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void conn_set_deadline(struct conn *c, uint64_t deadline_ns)
{
    c->deadline_ns = deadline_ns;
    if (deadline_ns != NEVER && (!c->timer.loop || deadline_ns < c->timer.deadline_ns))
        loop_arm(c->worker->loop, &c->timer, deadline_ns);
}

/* Does the client still take what waits in the kernel, if slowly? The first time it is only looked at. */
bool conn_drains(struct conn *c)
{
    uint32_t before = c->queued_bytes;
    ssize_t left = sock_queued(&c->sock);

    if (left < 0)
        return false;
    c->queued_bytes = (uint32_t)left + 1;
    return c->queued_bytes != before;
}

static bool output_waits(const struct exchange *ex)
{
    return ex->state == EXCHANGE_LOCAL ? ex->local.sent < ex->local.out.len : flow_waits(&ex->down_flow);
}

/* Nothing has moved for as long as it may, but perhaps what the kernel still holds for a slow client. */
static void on_stalled(struct conn *c)
{
    struct exchange *ex = c->ex;

    if (conn_drains(c) && (output_waits(ex) || c->queued_bytes > 1)) {
        ex->moved_ns = loop_now_ns(c->worker->loop);
        if (ex->state == EXCHANGE_LOCAL)
            conn_set_deadline(c, ex->moved_ns + c->worker->picture.settings.stall_timeout_ns);
        else
            proxy_stream_deadline(ex);
    } else if (ex->state == EXCHANGE_TUNNEL && !output_waits(ex)) {
        conn_close(c);
    } else {
        exchange_abort(ex);
    }
}

static void on_timeout(struct conn *c)
{
    struct exchange *ex = c->ex;

    if (c->session) {
        h2_on_timeout(c);
        return;
    }
    if (c->state == CONN_LINGERING || !ex) {
        preface_on_timeout(c);
        conn_close(c);
        return;
    }
    switch (ex->state) {
    case EXCHANGE_HEAD:
        exchange_refuse(ex, NULL, 408, "timeout", 0, "the head of the request did not come in time");
        conn_run(c);
        return;
    case EXCHANGE_WAIT:
        proxy_on_timeout(ex);
        conn_run(c);
        return;
    case EXCHANGE_PROXY:
        if (!ex->down_flow.begun) {
            proxy_on_timeout(ex);
            conn_run(c);
            return;
        }
        break;
    default:
        break;
    }
    on_stalled(c);
}

static void on_timer(struct timer *t)
{
    struct conn *c = t->owner;

    if (c->state == CONN_DEAD || c->deadline_ns == NEVER)
        return;
    if (loop_now_ns(c->worker->loop) < c->deadline_ns)
        conn_set_deadline(c, c->deadline_ns);
    else
        on_timeout(c);
}

/* ---- scheduling ---- */

static void on_deferred(void *arg)
{
    struct conn *c = arg;

    c->scheduled = false;
    if (c->state == CONN_DEAD)
        free(c);
    else
        conn_run(c);
}

void conn_schedule(struct conn *c)
{
    if (c->scheduled)
        return;
    c->scheduled = loop_defer(c->worker->loop, on_deferred, c) == 0;
}

void conn_yield(struct conn *c)
{
    struct worker *w = c->worker;

    if (c->again)
        return;
    c->again = true;
    c->next_again = w->again;
    w->again = c;
    loop_arm(w->loop, &w->again_timer, loop_now_ns(w->loop) + 1); /* behind this turn's expiry: descriptors come first */
}

static void leave_again(struct conn *c)
{
    struct conn **lists[] = {&c->worker->again, &c->worker->again_now};

    for (unsigned i = 0; c->again && i < 2; i++) {
        struct conn **at = lists[i];

        while (*at && *at != c)
            at = &(*at)->next_again;
        if (*at) {
            *at = c->next_again;
            c->again = false;
        }
    }
}

/* ---- the end ---- */

/* Streams do not count: their connection does. */
static void leave_worker(struct conn *c)
{
    struct worker *w = c->worker;

    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    clients_give(w->picture.gateway->clients, c->peer);
    shared_connection_gone(w->picture.gateway, w->picture.worker);
    worker_over(w);
}

void conn_close(struct conn *c)
{
    struct worker *w = c->worker;

    if (c->state == CONN_DEAD)
        return;
    c->state = CONN_DEAD;
    h2_end(c);
    if (c->ex)
        exchange_finish(c->ex);
    sock_close(&c->sock);
    loop_disarm(&c->timer);
    leave_again(c);
    buffer_give(&w->buffers, c->in);
    c->in = NULL;
    if (!c->of)
        leave_worker(c);
    c->peer = NULL;
    if (!w->over)
        conn_schedule(c); /* frees it */
    else if (!c->scheduled)
        free(c);
}

void conn_abort(struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    sock_reset(&c->sock);
    conn_close(c);
}

/*
 * The answer is out, but bytes of the client are or may be still on their way: a close now would answer them with a reset, and the reset may destroy the answer before the client reads it (RFC 9112 section 9.6).
 */
void conn_linger(struct conn *c)
{
    sock_shut(&c->sock);
    c->state = CONN_LINGERING;
    c->linger_left = CONN_LINGER_BYTES;
    c->linger_end_ns = loop_now_ns(c->worker->loop) + CONN_LINGER_ALL_NS;
    conn_set_deadline(c, loop_now_ns(c->worker->loop) + CONN_LINGER_NS);
}

/*
 * Who is in the middle of a large body when the answer comes, and reads only when all of it is sent, must get rid of it first: a close before would reset the connection, with what of the answer is not there yet.
 */
static void linger(struct conn *c)
{
    size_t budget = CONN_TURN_BYTES;

    while (c->sock.readable) {
        ssize_t n;

        if (budget == 0) {
            conn_yield(c);
            return;
        }
        if (c->in)
            c->in->start = c->in->end = 0;
        n = conn_fill(c);
        if (n == -EAGAIN)
            break;
        if (n <= 0 || (uint32_t)n > c->linger_left) {
            conn_close(c);
            return;
        }
        c->linger_left -= (uint32_t)n;
        budget -= (size_t)n < budget ? (size_t)n : budget;
        conn_set_deadline(c, least(loop_now_ns(c->worker->loop) + CONN_LINGER_NS, c->linger_end_ns));
    }
    if (c->in)
        c->in->start = c->in->end = 0;
    conn_drop_buffer(c);
}

/* ---- running ---- */

/* Do the first bytes of a connection begin HTTP/2? H2_PREFACE_MORE: perhaps. */
static enum h2_preface look_for_frames(struct conn *c)
{
    if (c->begun || c->of || c->sock.ops || c->listener != LISTENER_PUBLIC || !c->worker->picture.settings.h2c)
        return H2_PREFACE_NO;
    return h2_preface(buffer_at(c->in), buffer_len(c->in));
}

/* Bytes of the next head are there, or the connection is idle. Returns whether there is more to do at once. */
static bool read_head(struct conn *c)
{
    for (;;) {
        size_t have = c->in ? buffer_len(c->in) : 0;
        ssize_t n;

        enum h2_preface frames = have > 0 ? look_for_frames(c) : H2_PREFACE_NO;

        if (frames == H2_PREFACE_YES) {
            if (h2_start(c) < 0)
                conn_close(c);
            return c->state == CONN_OPEN;
        }
        if (have > 0 && frames == H2_PREFACE_NO) {
            enum head_result r;

            if (!c->ex && !exchange_new(c)) {
                conn_close(c);
                return false;
            }
            r = head_parse(&c->ex->head, buffer_at(c->in), have);
            if (r != HEAD_MORE) {
                exchange_start(c->ex);
                return true;
            }
        }
        n = c->sock.readable ? conn_fill(c) : -EAGAIN;
        if (n == -EAGAIN) {
            conn_drop_buffer(c);
            return false;
        }
        if (n <= 0) {
            conn_close(c);
            return false;
        }
    }
}

/* Of a body whose length is known: how it stands with what has come of it, before and behind. */
enum rest { REST_LACKS, REST_ENDS, REST_GOES_ON };

static enum rest rest_of(struct conn *c)
{
    const struct body *b = &c->ex->up_flow.body;
    ssize_t unread = sock_unread(&c->sock);
    uint64_t have = (c->in ? buffer_len(c->in) : 0) + (uint64_t)(unread > 0 ? unread : 0);
    uint64_t want = b->done ? 0 : b->left;

    if (!b->done && unread < 0)
        return REST_GOES_ON; /* nothing is known: a read will tell */
    if (!b->done && b->kind != BODY_LENGTH)
        return have > 0 ? REST_GOES_ON : REST_LACKS;
    return have < want ? REST_LACKS : have == want ? REST_ENDS : REST_GOES_ON;
}

/*
 * The client has closed its end. A whole close and a half-close look the same in TCP: who announced that no further request comes may have closed its half only, and gets its answer; so does who has sent further
 * requests; others are gone.
 */
static bool client_is_gone(struct conn *c)
{
    const struct exchange *ex = c->ex;

    if (!c->sock.ended || ex->state == EXCHANGE_TUNNEL || ex->state == EXCHANGE_OVER || ex->local.complete)
        return false;
    if (c->sock.hung)
        return true;
    switch (rest_of(c)) {
    case REST_LACKS:
        return true;
    case REST_ENDS:
        return c->listener != LISTENER_API && ex->rq.wants_keep_alive;
    default:
        return false;
    }
}

/* The next request, or the end. */
static bool exchange_over(struct conn *c)
{
    struct exchange *ex = c->ex;
    bool keep = ex->keep_alive && ex->up_flow.body.done && !c->worker->stopping;
    bool rest = !ex->up_flow.body.done;

    if (ex->handed_over) { /* no byte is read and nothing is shut down */
        conn_close(c);
        return false;
    }
    exchange_finish(ex);
    if (c->of) { /* what is left of its body is the session's */
        conn_close(c);
        return false;
    }
    if (keep) {
        conn_set_deadline(c, loop_now_ns(c->worker->loop) + c->worker->picture.settings.idle_timeout_ns);
        return true;
    }
    if (rest || (c->in && buffer_len(c->in) > 0) || c->sock.readable) {
        conn_linger(c);
        return true;
    }
    conn_close(c);
    return false;
}

static bool step(struct conn *c)
{
    struct exchange *ex = c->ex;
    enum exchange_state before;

    if (c->state == CONN_LINGERING)
        linger(c);
    if (c->state != CONN_OPEN)
        return false;
    if (c->proxy_header_due)
        return preface_run(c);
    if (c->tls_due)
        return handshake_run(c);
    if (c->session) {
        h2_run(c);
        return false;
    }
    if (!ex || ex->state == EXCHANGE_HEAD)
        return read_head(c);
    if (client_is_gone(c)) {
        exchange_abort(ex);
        return false;
    }
    before = ex->state;
    switch (ex->state) {
    case EXCHANGE_PROXY:
        proxy_run(ex);
        if (c->ex == ex && c->sock.ended && ex->state == EXCHANGE_PROXY &&
            client_is_gone(c)) { /* what has just been read was the last, and no edge will say so again */
            exchange_abort(ex);
            return false;
        }
        break;
    case EXCHANGE_TUNNEL:
        tunnel_run(ex);
        break;
    case EXCHANGE_LOCAL:
        local_run(ex);
        break;
    case EXCHANGE_OVER:
        return exchange_over(c);
    default:
        break;
    }
    return c->state == CONN_OPEN && c->ex == ex && ex->state != before;
}

void conn_run(struct conn *c)
{
    unsigned steps = 0;

    if (c->running || c->state == CONN_DEAD)
        return;
    c->running = true;
    while (steps < CONN_TURN_STEPS && step(c))
        steps++;
    c->running = false;
    if (steps == CONN_TURN_STEPS && c->state != CONN_DEAD)
        conn_yield(c);
}

static void on_event(struct watch *w, uint32_t events)
{
    struct conn *c = w->owner;

    sock_note(&c->sock, events);
    conn_run(c);
}

void conn_stop(struct conn *c, bool late)
{
    if (c->session)
        h2_stop(c);
    else if (c->state == CONN_OPEN && !c->ex && (c->begun || late))
        conn_close(c);
}

/* ---- the beginning ---- */

static void note_credentials(struct conn *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    c->uid = (uid_t)-1;
    if (c->listener == LISTENER_API && getsockopt(c->sock.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
        c->uid = cred.uid;
        c->pid = cred.pid;
    }
}

/* A client that has its share is told so by a reset, which costs nothing to remember; waiting it would take a place that others need. */
static int refuse_client(struct conn *c, int fd, int err)
{
    const struct linger now = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    fd_close(fd);
    free(c);
    return err;
}

static void enter_list(struct conn *c)
{
    struct worker *w = c->worker;

    c->link = &w->conns;
    c->next = w->conns;
    if (c->next)
        c->next->link = &c->next;
    w->conns = c;
}

int conn_new(struct worker *w, int fd, struct listener_type type, const struct sockaddr_storage *peer)
{
    struct conn *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        fd_close(fd);
        return -ENOMEM;
    }
    c->worker = w;
    c->listener = type.kind;
    c->inner = type.inner;
    c->tls_due = type.tls;
    c->timer = (struct timer){.on_expire = on_timer, .owner = c};
    r = preface_begin(c, type, peer);
    if (r < 0)
        return refuse_client(c, fd, r);
    r = sock_init(&c->sock, w->loop, fd, on_event, c);
    if (r < 0) {
        clients_give(w->picture.gateway->clients, c->peer);
        fd_close(fd);
        free(c);
        return r;
    }
    note_credentials(c);
    enter_list(c);
    conn_set_deadline(c, loop_now_ns(w->loop) + c->deadline_ns);
    return 0;
}

struct conn *conn_new_stream(struct conn *of, const struct sock_ops *ops, void *carrier)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->worker = of->worker;
    c->of = of;
    c->sock = (struct sock){.fd = -1, .ops = ops, .carrier = carrier, .writable = true};
    c->timer = (struct timer){.on_expire = on_timer, .owner = c};
    c->deadline_ns = NEVER;
    c->peer = of->peer;
    c->listener = of->listener;
    c->inner = of->inner;
    c->uid = of->uid;
    c->pid = of->pid;
    c->secure = of->secure;
    c->proxied_tls = of->proxied_tls;
    c->has_address = of->has_address;
    c->address = of->address;
    memcpy(c->client, of->client, sizeof(c->client));
    return c;
}
