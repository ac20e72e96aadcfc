/*
 * metrics_stats.c: asks the runner for the figures of all instances. They come to every worker's picture, whoever asked, so that counters of instances that are gone agree; who asked waits for the REPLY.
 *
 * The list of those who wait hangs in the worker's picture. Who finds it empty sends the request; its REPLY ends the waiting of all. A waiter that runs
 * out of time leaves alone; when the last one left, the request goes on and its answer finds an empty list, while a newcomer in between sends another
 * one: two answers do no harm.
 */
#include "metrics.h"

#include "clock.h"
#include "fd.h"

#include <string.h>

static void unlink_waiter(struct stats_wait *w)
{
    struct stats_wait **at = &worker_picture(w->worker)->stats_waiters;

    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    w->next = NULL;
    w->waiting = false;
    loop_disarm(&w->timer);
}

/* One by one, as long as there are any: a callback may cancel another waiter. */
static void finish_all(struct worker *worker)
{
    struct picture *p = worker_picture(worker);

    while (p->stats_waiters) {
        struct stats_wait *w = p->stats_waiters;

        unlink_waiter(w);
        w->done(w->arg);
    }
}

void metrics_heard(struct picture *p, const struct record_head *rec)
{
    if (rec->type == RECORD_STATS) {
        const struct record_stats *stats = (const struct record_stats *)rec;
        struct gw_instance *inst = picture_instance(p, stats->instance);

        /* The runner may have found the CPU's counter unreadable this once; a counter of ours never goes back. */
        if (inst) {
            uint64_t cpu_ns = inst->stats.cpu_ns;

            inst->stats = *stats;
            if (inst->stats.cpu_ns < cpu_ns)
                inst->stats.cpu_ns = cpu_ns;
        }
        return;
    }
    if (rec->type == RECORD_HITS) {
        const struct record_hits *hits = (const struct record_hits *)rec;
        struct gw_function *f = picture_function_by_number(p, hits->function);

        if (f)
            memcpy(f->hits, hits->hits, sizeof(f->hits));
        return;
    }
    if (rec->type == RECORD_NETWORK)
        p->network = *(const struct record_network *)rec;
    else if (rec->type == RECORD_HOST)
        p->host = *(const struct record_host *)rec;
}

static void on_stats(void *arg, const struct record_head *rec, int fd)
{
    struct worker *worker = arg;
    struct picture *p = worker_picture(worker);

    fd_close(fd);
    if (rec->type != RECORD_REPLY)
        return;
    if (((const struct record_reply *)rec)->diag.err == 0)
        p->stats_ns = clock_mono_ns();
    finish_all(worker);
}

static void on_late(struct timer *t)
{
    struct stats_wait *w = t->owner;

    unlink_waiter(w);
    w->done(w->arg);
}

void stats_get(struct stats_wait *w, struct worker *worker, void (*done)(void *arg), void *arg)
{
    struct picture *p = worker_picture(worker);
    struct record_empty rec = {.head = RECORD_INIT(RECORD_STATS_GET, 0)};
    bool fresh = p->stats_ns && clock_mono_ns() - p->stats_ns < STATS_FRESH_NS;

    *w = (struct stats_wait){.worker = worker, .done = done, .arg = arg};
    w->timer.on_expire = on_late;
    w->timer.owner = w;
    if (fresh || (!p->stats_waiters && link_request(worker_link(worker), &rec.head, -1, on_stats, worker, NULL) < 0) ||
        loop_arm_in(worker_loop(worker), &w->timer, STATS_WAIT_NS) < 0) {
        done(arg);
        return;
    }
    w->waiting = true;
    w->next = p->stats_waiters;
    p->stats_waiters = w;
}

void stats_cancel(struct stats_wait *w)
{
    if (w->waiting)
        unlink_waiter(w);
}
