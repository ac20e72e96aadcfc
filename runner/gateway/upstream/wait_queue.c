/*
 * wait_queue.c: requests that wait for an instance: first come, first served within a worker, in turn between workers; bounded in number (over all workers) here and in time by the request's own deadline.
 *
 * A place that becomes free may be what somebody in another worker waits for. He queues, says so in waiting_workers, and looks once more for a place; who gives a place back reads waiting_workers afterwards. All of these
 * are sequentially consistent, so one of the two sees the other. Who is woken and finds no place stays in the queue: whoever took it gives it back. Who is woken and has nobody waiting any more passes it on.
 */
#include "upstream.h"

#include "../http/http.h"
#include "../team.h"

bool upstream_hopeful(const struct gw_function *f)
{
    if (f->rec.state != FUNCTION_ACTIVE)
        return false;
    for (const struct gw_instance *i = f->instances; i; i = i->next)
        if ((i->rec.state <= INSTANCE_READY) && i->upstream && !atomic_load(&i->shared->ejected))
            return true;
    return f->rec.wanted > 0 && !f->rec.crash_loop; /* the runner replaces what died within 100 ms */
}

enum wait_answer upstream_wait(struct gw_function *f, struct waiter *wt)
{
    struct up_function *uf = up_function(f);

    if (!upstream_hopeful(f))
        return WAIT_HOPELESS;
    if (atomic_fetch_add(&f->shared->waiting, 1) >= f->rec.queue) {
        atomic_fetch_sub(&f->shared->waiting, 1);
        return WAIT_FULL;
    }
    wt->queued = true;
    wt->next = NULL;
    wt->prev = uf->last;
    if (uf->last)
        uf->last->next = wt;
    else
        uf->first = wt;
    uf->last = wt;
    if (uf->first == wt)
        atomic_fetch_or(&f->shared->waiting_workers, 1ULL << uf->worker);
    return WAIT_QUEUED;
}

void upstream_look_again(struct worker *w, struct gw_function *f)
{
    if (w->picture.gateway->workers > 1 && upstream_has_place(f))
        upstream_offer(w, f);
}

bool upstream_must_queue(const struct gw_function *f)
{
    const struct up_function *uf = up_function(f);

    return uf->first || (f->rec.concurrency > 0 && (atomic_load_explicit(&f->shared->waiting_workers, memory_order_relaxed) & ~(1ULL << uf->worker)));
}

/* The first worker behind this one, round about, that has somebody. */
static unsigned next_in_turn(uint64_t waiting, unsigned me)
{
    uint64_t behind = me + 1 < WORKERS_MAX ? waiting >> (me + 1) << (me + 1) : 0;

    return (unsigned)__builtin_ctzll(behind ? behind : waiting);
}

void upstream_offer(struct worker *w, struct gw_function *f)
{
    const struct up_function *uf = up_function(f);
    uint64_t waiting;
    unsigned next;

    if (f->rec.concurrency == 0) { /* they wait for an instance, not for a place: each worker hears of it by itself */
        if (uf->first)
            upstream_wake(w, f);
        return;
    }
    waiting = atomic_load(&f->shared->waiting_workers);
    if (!waiting)
        return;
    next = next_in_turn(waiting, uf->worker);
    if (next == uf->worker)
        upstream_wake(w, f);
    else
        team_wake(w, next, f);
}

void upstream_offer_others(struct worker *w, struct gw_function *f)
{
    const unsigned me = up_function(f)->worker;
    const uint64_t waiting = atomic_load(&f->shared->waiting_workers) & ~(1ULL << me);

    if (waiting && f->rec.concurrency > 0)
        team_wake(w, next_in_turn(waiting, me), f);
}

void upstream_woken(struct worker *w, struct gw_function *f)
{
    upstream_wake(w, f);
    if (!up_function(f)->first && upstream_has_place(f))
        upstream_offer(w, f);
}

void upstream_wait_leave(struct gw_function *f, struct waiter *wt)
{
    struct up_function *uf = up_function(f);

    if (!wt->queued)
        return;
    wt->queued = false;
    if (wt->prev)
        wt->prev->next = wt->next;
    else
        uf->first = wt->next;
    if (wt->next)
        wt->next->prev = wt->prev;
    else
        uf->last = wt->prev;
    atomic_fetch_sub(&f->shared->waiting, 1);
    if (!uf->first)
        atomic_fetch_and(&f->shared->waiting_workers, ~(1ULL << uf->worker));
}

void upstream_wake(struct worker *w, struct gw_function *f)
{
    struct up_function *uf = up_function(f);

    while (uf->first) {
        struct waiter *wt = uf->first;
        struct upconn *u;
        int err = 0;

        if (!upstream_hopeful(f)) {
            upstream_wait_leave(f, wt);
            proxy_wait_failed(wt->ex);
            continue;
        }
        u = upstream_take(w, f, NULL, wt->ex, &err);
        if (!u && err == 0)
            return;
        upstream_wait_leave(f, wt);
        if (u)
            proxy_on_connection(wt->ex, u);
        else
            proxy_up_failed(wt->ex, err);
    }
}
