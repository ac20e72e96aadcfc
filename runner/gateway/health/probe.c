/*
 * probe.c: the probe of one instance.
 *
 *   STARTING  attempt after attempt, every 50 us for 3 ms, then each wait a quarter longer, up to 250 ms: a start is seen within microseconds, and one that takes long costs little. After start_timeout: UNHEALTHY.
 *   READY     an attempt every `interval`; `threshold` failures in a row: UNHEALTHY.
 *
 * An attempt is a connection of its own: connect, GET the health path, 2xx. A READY instance that is merely late while it has requests is not counted as failed: a single-threaded function answers one after the
 * other, and what hangs for good is ended by the requests' own timeout.
 */
#include "health.h"

#include "../http/head.h"
#include "../http/sock.h"
#include "../team.h"
#include "../worker.h"
#include "clock.h"
#include "fd.h"
#include "log.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FAST_NS          (50 * NS_PER_US)
#define FAST_FOR_NS      (3 * NS_PER_MS)
#define SLOWEST_NS       (250 * NS_PER_MS)
#define CONNECT_START_NS (100 * NS_PER_MS) /* a lost SYN is repeated by the kernel after a second only: a new attempt is sooner */
#define ANSWER_NS        (5 * NS_PER_SEC)

enum phase { PROBE_OFF, PROBE_RESTING, PROBE_CONNECTING, PROBE_ASKING };

struct probe {
    struct worker *worker;
    struct gw_instance *inst;
    enum phase phase;
    struct timer timer; /* RESTING: the next attempt; else: this one takes too long */
    struct sock sock;
    struct buffer *in;
    uint64_t begun_ns, delay_ns;
    unsigned failures;
    bool condemned; /* UNHEALTHY has been said */
    char reason[RECORD_REASON_MAX];
    struct head head;
};

static void start_attempt(struct probe *p);

static void close_attempt(struct probe *p)
{
    sock_close(&p->sock);
    buffer_give(&p->worker->buffers, p->in);
    p->in = NULL;
}

static void rest(struct probe *p, uint64_t delay_ns)
{
    p->phase = PROBE_RESTING;
    loop_arm_in(p->worker->loop, &p->timer, delay_ns);
}

static void stop(struct probe *p)
{
    close_attempt(p);
    loop_disarm(&p->timer);
    p->phase = PROBE_OFF;
}

static bool is_starting(const struct probe *p)
{
    return p->inst->rec.state == INSTANCE_STARTING;
}

static uint64_t start_deadline(const struct probe *p)
{
    return p->begun_ns + p->worker->picture.welcome.start_timeout_ms * NS_PER_MS;
}

static void condemn(struct probe *p)
{
    struct gw_instance *inst = p->inst;

    stop(p);
    p->condemned = true;
    log_msg(LOG_NOTICE, "instance unhealthy", "instance=%s reason=\"%s\"", inst->rec.name, p->reason);
    link_report(p->worker->link, RECORD_UNHEALTHY, inst->rec.instance, p->reason);
    worker_eject(p->worker, inst);
}

static void failed_start(struct probe *p, uint64_t now)
{
    if (now >= start_deadline(p)) {
        char last[RECORD_REASON_MAX];

        memcpy(last, p->reason, sizeof(last));
        snprintf(p->reason, sizeof(p->reason), "not ready after %.1f s ([runner] start_timeout): %.200s", p->worker->picture.welcome.start_timeout_ms / 1e3,
                 last);
        condemn(p);
        return;
    }
    if (now - p->begun_ns < FAST_FOR_NS)
        p->delay_ns = FAST_NS;
    else
        p->delay_ns += p->delay_ns / 4;
    if (p->delay_ns > SLOWEST_NS)
        p->delay_ns = SLOWEST_NS;
    rest(p, p->delay_ns);
}

/* p->reason says why. late: no answer within the time, as against a wrong one. */
static void failed(struct probe *p, bool late)
{
    const struct record_function *f = &p->inst->function->rec;

    close_attempt(p);
    if (is_starting(p)) {
        failed_start(p, clock_mono_ns());
        return;
    }
    if (!late || shared_instance_load(p->inst->shared) == 0)
        p->failures++;
    if (p->failures >= (f->health_threshold ? f->health_threshold : 1))
        condemn(p);
    else
        rest(p, f->health_interval_ns);
}

static void succeeded(struct probe *p)
{
    close_attempt(p);
    p->failures = 0;
    if (is_starting(p)) {
        link_report(p->worker->link, RECORD_READY, p->inst->rec.instance, "");
        rest(p, p->inst->function->rec.health_interval_ns);
        worker_set_ready(p->worker, p->inst);
        return;
    }
    rest(p, p->inst->function->rec.health_interval_ns);
}

static void failed_connect(struct probe *p, int err)
{
    snprintf(p->reason, sizeof(p->reason), "port %u: %s", p->inst->rec.port, strerror(err));
    failed(p, err == ETIMEDOUT);
}

static void failed_answer(struct probe *p, const char *why, bool late)
{
    snprintf(p->reason, sizeof(p->reason), "GET %.128s: %.100s", p->inst->rec.health_path, why);
    failed(p, late);
}

/* A time that is no longer than what is left of the start. */
static uint64_t limit_ns(const struct probe *p, uint64_t limit, uint64_t now)
{
    uint64_t end = start_deadline(p);

    if (!is_starting(p) || end > now + limit)
        return now + limit;
    return end > now ? end : now;
}

static void on_connected(struct probe *p)
{
    const char *path = p->inst->rec.health_path;
    char text[SPEC_PATH_MAX + 128];
    struct outq q = {.count = 0};
    int n;

    if (!path[0]) {
        succeeded(p);
        return;
    }
    n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: fnd-health\r\nConnection: close\r\n\r\n", path);
    outq_add(&q, text, (size_t)n);
    head_init(&p->head, HEAD_RESPONSE);
    p->phase = PROBE_ASKING;
    loop_arm(p->worker->loop, &p->timer, limit_ns(p, ANSWER_NS, clock_mono_ns()));
    p->in = buffer_take(&p->worker->buffers);
    if (!p->in || sock_send(&p->sock, &q) < n) /* a fresh socket has room for so little */
        failed_answer(p, "cannot be sent", false);
}

/* FLOW of an answer: only its head is looked at, and it is bounded. */
static void on_answer(struct probe *p)
{
    while (p->sock.readable) {
        ssize_t n = sock_recv(&p->sock, p->in->data + p->in->end, sizeof(p->in->data) - p->in->end);
        enum head_result r;
        char why[64];

        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            failed_answer(p, n ? strerror((int)-n) : "closed before the answer was complete", false);
            return;
        }
        p->in->end += (uint32_t)n;
        r = head_parse(&p->head, p->in->data, p->in->end);
        if (r == HEAD_MORE)
            continue;
        if (r == HEAD_DONE && p->head.status >= 200 && p->head.status < 300) {
            succeeded(p);
            return;
        }
        snprintf(why, sizeof(why), "status %u", p->head.status);
        failed_answer(p, r == HEAD_DONE ? why : p->head.why, false);
        return;
    }
}

static void on_event(struct watch *w, uint32_t events)
{
    struct probe *p = w->owner;

    sock_note(&p->sock, events);
    if (p->phase == PROBE_CONNECTING && p->sock.writable) {
        socklen_t len = sizeof(int);
        int err = 0;

        getsockopt(p->sock.fd, SOL_SOCKET, SO_ERROR, &err, &len);
        if (err) {
            failed_connect(p, err);
            return;
        }
        on_connected(p);
    }
    if (p->phase == PROBE_ASKING)
        on_answer(p);
}

static void start_attempt(struct probe *p)
{
    const struct record_instance *rec = &p->inst->rec;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rec->port), .sin_addr.s_addr = rec->addr};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool pending;
    int r;

    if (fd < 0) {
        failed_connect(p, errno);
        return;
    }
    pending = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0;
    if (pending && errno != EINPROGRESS) {
        failed_connect(p, errno);
        return;
    }
    r = sock_init(&p->sock, p->worker->loop, fd, on_event, p);
    if (r < 0) {
        failed_connect(p, -r);
        return;
    }
    take_fd(&fd);
    p->sock.writable = !pending;
    p->phase = PROBE_CONNECTING;
    loop_arm(p->worker->loop, &p->timer, limit_ns(p, is_starting(p) ? CONNECT_START_NS : ANSWER_NS, clock_mono_ns()));
    if (!pending)
        on_connected(p);
}

static void on_timer(struct timer *t)
{
    struct probe *p = t->owner;

    if (p->phase == PROBE_RESTING)
        start_attempt(p);
    else if (is_starting(p) && p->reason[0] && clock_mono_ns() >= start_deadline(p)) /* cut short: the reason before says more */
        failed(p, true);
    else if (p->phase == PROBE_CONNECTING)
        failed_connect(p, ETIMEDOUT);
    else if (p->phase == PROBE_ASKING)
        failed_answer(p, "no answer in time", true);
}

int health_instance_new(struct worker *w, struct gw_instance *inst)
{
    struct probe *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->worker = w;
    p->inst = inst;
    p->sock.fd = -1;
    p->timer = (struct timer){.on_expire = on_timer, .owner = p};
    inst->health = p;
    return 0;
}

/* The interval, cut at a point of the instance's own, so that those which became READY together are not probed together for ever. */
static uint64_t first_interval_ns(const struct probe *p)
{
    uint64_t interval = p->inst->function->rec.health_interval_ns;

    return interval / 2 + interval / 16 * (p->inst->rec.instance % 8);
}

void health_instance_changed(struct gw_instance *inst, uint32_t old_state, uint32_t heard)
{
    struct probe *p = inst->health;

    switch (inst->rec.state) {
    case INSTANCE_STARTING:
        if (p->condemned) {
            link_report(p->worker->link, RECORD_UNHEALTHY, inst->rec.instance, p->reason);
        } else if (p->phase == PROBE_OFF) {
            p->begun_ns = clock_mono_ns();
            start_attempt(p);
        }
        break;
    case INSTANCE_READY: /* a report that was lost with the link is made again */
        if (p->condemned)
            link_report(p->worker->link, RECORD_UNHEALTHY, inst->rec.instance, p->reason);
        else if (heard == INSTANCE_STARTING)
            link_report(p->worker->link, RECORD_READY, inst->rec.instance, "");
        if (!p->condemned && (p->phase == PROBE_OFF || old_state == INSTANCE_STARTING)) {
            close_attempt(p);
            rest(p, first_interval_ns(p));
        }
        break;
    default:
        stop(p);
        break;
    }
}

void health_instance_gone(struct gw_instance *inst)
{
    struct probe *p = inst->health;

    if (!p)
        return;
    stop(p);
    inst->health = NULL;
    free(p);
}
