/*
 * upconn.c: connections to instances. Idle ones are kept per instance, the last one used first: the others grow old and are closed.
 * A connection goes back only when its response ended where its head said, nothing came behind it, and the whole request went out.
 */
#include "upstream.h"

#include "../http/http.h"
#include "../worker.h"
#include "clock.h"
#include "fd.h"
#include "log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define IDLE_MAX 128U             /* an instance */
#define IDLE_NS  (4 * NS_PER_SEC) /* below the 5 s after which Node's server closes: the fewer races, the better */

static void idle_leave(struct upconn *u)
{
    if (!u->idle)
        return;
    u->idle = false;
    *u->link_idle = u->next_idle;
    if (u->next_idle)
        u->next_idle->link_idle = u->link_idle;
    up_instance(u->instance)->nidle--;
}

static void upconn_close(struct upconn *u)
{
    idle_leave(u);
    *u->link = u->next;
    if (u->next)
        u->next->link = u->link;
    sock_close(&u->sock);
    buffer_give(&u->worker->buffers, u->in);
    free(u);
}

static void on_event(struct watch *w, uint32_t events)
{
    struct upconn *u = w->owner;

    sock_note(&u->sock, events);
    u->connecting = u->connecting && !u->sock.writable;
    if (u->ex)
        conn_run(u->ex->conn);
    else if (u->sock.readable) /* an idle connection ends, or says what nobody asked for */
        upconn_close(u);
}

static int start_connect(struct upconn *u, const struct gw_instance *inst, bool mapped)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)inst->rec.port), .sin_addr.s_addr = inst->rec.addr};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    bool connecting;
    int r;

    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (mapped)
        shortway_ask(fd);
    connecting = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0;
    if (connecting && errno != EINPROGRESS)
        return -errno;
    r = sock_init(&u->sock, u->worker->loop, fd, on_event, u);
    if (r < 0)
        return r;
    take_fd(&fd);
    u->connecting = connecting;
    u->sock.mapped = mapped;
    u->sock.writable = !connecting;
    return 0;
}

static int connect_new(struct worker *w, struct gw_instance *inst, bool mapped, struct upconn **ret)
{
    struct up_instance *ui = up_instance(inst);
    struct upconn *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return -ENOMEM;
    u->worker = w;
    u->instance = inst;
    r = start_connect(u, inst, mapped);
    if (r < 0) {
        free(u);
        return r;
    }
    u->link = &ui->all;
    u->next = ui->all;
    if (u->next)
        u->next->link = &u->next;
    ui->all = u;
    *ret = u;
    return 0;
}

/* Is there nothing at all to read? The flag alone does not say so when the last read filled its buffer. */
static bool is_quiet(struct upconn *u)
{
    char byte;

    if (u->in || u->sock.ended)
        return false;
    return !u->sock.readable || sock_recv(&u->sock, &byte, 1) == -EAGAIN;
}

/*
 * The newest kept connection. One whose end has come in this very turn would still look alive: before a request that must not be sent twice it is asked, for one system call more.
 */
static struct upconn *take_idle(struct up_instance *ui, bool idempotent, bool mapped)
{
    for (struct upconn *u = ui->idle, *next; u; u = next) {
        next = u->next_idle;
        if (u->sock.mapped != mapped)
            continue;
        idle_leave(u);
        u->sock.readable = u->sock.readable || !idempotent;
        if (is_quiet(u)) {
            u->reused = true;
            return u;
        }
        upconn_close(u);
    }
    return NULL;
}

/* ---- instances that fail ---- */

static void on_due_timer(struct timer *t)
{
    struct up_instance *ui = t->owner;
    struct gw_function *f = ui->instance->function;

    upstream_wake(ui->worker, f);
    upstream_offer_others(ui->worker, f); /* the timer is this worker's alone */
}

static void note_failure(struct worker *w, struct gw_instance *inst, bool trial)
{
    uint64_t now = loop_now_ns(w->loop), until;

    if (!eject_failed(&inst->shared->eject, trial, upstream_others_in(inst, now), now))
        return;
    until = atomic_load(&inst->shared->eject.until_ns);
    metrics_ejection(inst->function->counters);
    log_msg(LOG_NOTICE, "instance left out", "instance=%s seconds=%llu", inst->rec.name, (unsigned long long)((until - now) / NS_PER_SEC));
    upstream_flush_idle(inst);
    loop_arm(w->loop, &up_instance(inst)->due_timer, until);
}

void upstream_failed(struct upconn *u)
{
    note_failure(u->worker, u->instance, u->trial);
    u->trial = false;
}

void upstream_worked(struct upconn *u)
{
    struct gw_instance *inst = u->instance;

    if (eject_worked(&inst->shared->eject, u->trial, loop_now_ns(u->worker->loop)))
        log_msg(LOG_NOTICE, "instance is back", "instance=%s", inst->rec.name);
    u->trial = false;
}

/* What we lack ourselves (descriptors, ports, memory) says nothing about the instance. */
static void could_not_connect(struct worker *w, struct gw_instance *inst, bool trial, int err)
{
    shared_instance_leave(inst->shared);
    if (err == -ECONNREFUSED || err == -EHOSTUNREACH || err == -ECONNRESET)
        note_failure(w, inst, trial);
    else if (trial)
        eject_end_trial(&inst->shared->eject);
}

struct upconn *upstream_take(struct worker *w, struct gw_function *f, const struct gw_instance *avoid, struct exchange *ex, int *ret_err)
{
    bool trial, mapped;
    struct gw_instance *inst = upstream_pick(f, avoid, loop_now_ns(w->loop), &trial);
    struct upconn *u;

    *ret_err = 0;
    if (!inst)
        return NULL;
    mapped = shortway_fits(ex);
    u = take_idle(up_instance(inst), ex->rq.idempotent, mapped);
    if (!u) {
        int r = connect_new(w, inst, mapped, &u);

        if (r < 0) {
            could_not_connect(w, inst, trial, r);
            upstream_offer_others(w, f);
            if (!avoid && up_function(f)->nready > 1) /* refused at once: another one may do better */
                return upstream_take(w, f, inst, ex, ret_err);
            *ret_err = r;
            return NULL;
        }
    }
    u->ex = ex;
    u->trial = trial;
    shortway_count(u);
    return u;
}

static void on_idle_timer(struct timer *t)
{
    struct up_instance *ui = t->owner;
    uint64_t now = loop_now_ns(ui->worker->loop), oldest = UINT64_MAX;

    for (struct upconn *u = ui->idle, *next; u; u = next) {
        next = u->next_idle;
        if (u->idle_since_ns + IDLE_NS <= now)
            upconn_close(u);
        else if (u->idle_since_ns < oldest)
            oldest = u->idle_since_ns;
    }
    if (ui->idle)
        loop_arm(ui->worker->loop, &ui->idle_timer, oldest + IDLE_NS);
}

static void keep_idle(struct upconn *u)
{
    struct up_instance *ui = up_instance(u->instance);

    u->idle = true;
    u->idle_since_ns = loop_now_ns(u->worker->loop);
    u->link_idle = &ui->idle;
    u->next_idle = ui->idle;
    if (u->next_idle)
        u->next_idle->link_idle = &u->next_idle;
    ui->idle = u;
    ui->nidle++;
    if (!ui->idle_timer.loop)
        loop_arm(u->worker->loop, &ui->idle_timer, u->idle_since_ns + IDLE_NS);
}

/* Every worker knows that it drains, so nothing new can come, and nobody has a request there: told once, by whoever made the last of these true (and so sees the others: all of it is sequentially consistent). */
static void report_if_idle(struct worker *w, struct gw_instance *inst)
{
    struct shared_instance *s = inst->shared;

    if (!inst->draining_heard || atomic_load(&s->draining_heard) < w->picture.gateway->workers || atomic_load(&s->in_flight) > 0 ||
        atomic_exchange(&s->reported_idle, true))
        return;
    link_report(w->link, RECORD_IDLE, inst->rec.instance, "");
}

void upconn_release(struct upconn *u, bool keep)
{
    struct gw_instance *inst = u->instance;
    struct worker *w = u->worker;

    u->ex = NULL;
    if (u->trial)
        eject_end_trial(&inst->shared->eject);
    u->trial = false;
    shared_instance_leave(inst->shared);
    if (u->in && buffer_len(u->in) == 0) {
        buffer_give(&w->buffers, u->in);
        u->in = NULL;
    }
    if (keep && inst->rec.state == INSTANCE_READY && up_instance(inst)->nidle < IDLE_MAX && !shortway_is_worn(u) && is_quiet(u))
        keep_idle(u);
    else
        upconn_close(u);
    report_if_idle(w, inst);
    upstream_offer(w, inst->function);
}

void upstream_flush_idle(struct gw_instance *inst)
{
    struct up_instance *ui = up_instance(inst);

    while (ui->idle)
        upconn_close(ui->idle);
}

static void on_drain_timer(struct timer *t)
{
    struct up_instance *ui = t->owner;

    for (struct upconn *u = ui->all, *next; u; u = next) {
        next = u->next;
        if (u->ex)
            proxy_cut(u->ex);
    }
}

int upstream_function_new(struct worker *w, struct gw_function *f)
{
    struct up_function *uf = calloc(1, sizeof(*uf));

    if (!uf)
        return -ENOMEM;
    uf->seed = clock_mono_ns() + (uintptr_t)uf; /* another one in each worker */
    uf->worker = w->picture.worker;
    f->queue = uf;
    return 0;
}

void upstream_function_gone(struct worker *w, struct gw_function *f)
{
    struct up_function *uf = up_function(f);

    if (!uf)
        return;
    f->rec.state = FUNCTION_GONE;
    upstream_wake(w, f);
    f->queue = NULL;
    free(uf->ready);
    free(uf);
}

int upstream_instance_new(struct worker *w, struct gw_instance *inst)
{
    struct up_instance *ui = calloc(1, sizeof(*ui));

    if (!ui)
        return -ENOMEM;
    ui->worker = w;
    ui->instance = inst;
    ui->idle_timer = (struct timer){.on_expire = on_idle_timer, .owner = ui};
    ui->drain_timer = (struct timer){.on_expire = on_drain_timer, .owner = ui};
    ui->due_timer = (struct timer){.on_expire = on_due_timer, .owner = ui};
    inst->upstream = ui;
    return 0;
}

void upstream_instance_changed(struct worker *w, struct gw_instance *inst, uint32_t old_state)
{
    struct up_instance *ui = up_instance(inst);

    upstream_list_ready(inst->function);
    if (inst->rec.state == INSTANCE_DRAINING) {
        if (old_state != INSTANCE_DRAINING) {
            upstream_flush_idle(inst);
            loop_arm_in(w->loop, &ui->drain_timer, w->picture.welcome.drain_timeout_ms * NS_PER_MS);
        }
        if (!inst->draining_heard)
            atomic_fetch_add(&inst->shared->draining_heard, 1);
        else
            atomic_store(&inst->shared->reported_idle, false); /* told again by a new snapshot: the report may have been lost */
        inst->draining_heard = true;
        report_if_idle(w, inst);
    }
    upstream_wake(w, inst->function);
}

void upstream_eject(struct worker *w, struct gw_instance *inst)
{
    atomic_store(&inst->shared->ejected, true);
    upstream_flush_idle(inst);
    upstream_list_ready(inst->function);
    upstream_wake(w, inst->function);
}

/* The instance is not in the picture any more, so nothing new comes here while its requests end. */
void upstream_instance_gone(struct worker *w, struct gw_instance *inst)
{
    struct up_instance *ui = up_instance(inst);

    if (!ui)
        return;
    upstream_list_ready(inst->function);
    for (struct upconn *u = ui->all, *next; u; u = next) { /* what it said at last is still in the sockets */
        next = u->next;
        u->sock.readable = true;
        if (u->ex)
            conn_run(u->ex->conn);
    }
    for (struct upconn *u = ui->all, *next; u; u = next) {
        next = u->next;
        if (u->ex)
            proxy_instance_gone(u->ex);
    }
    while (ui->all)
        upconn_close(ui->all);
    loop_disarm(&ui->idle_timer);
    loop_disarm(&ui->drain_timer);
    loop_disarm(&ui->due_timer);
    inst->upstream = NULL;
    upstream_wake(w, inst->function);
    free(ui);
}
