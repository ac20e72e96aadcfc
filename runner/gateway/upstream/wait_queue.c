/* wait_queue.c: requests that wait for an instance: first come, first served, bounded in number here and in time by the request's own deadline. */
#include "upstream.h"

#include "../http/http.h"

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
    if (uf->nwaiting >= f->rec.queue)
        return WAIT_FULL;
    wt->queued = true;
    wt->next = NULL;
    wt->prev = uf->last;
    if (uf->last)
        uf->last->next = wt;
    else
        uf->first = wt;
    uf->last = wt;
    uf->nwaiting++;
    return WAIT_QUEUED;
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
    uf->nwaiting--;
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
