/* pick.c: the instance with the fewest requests in flight. Among many, of two taken at random: nearly as even, and it looks at two. */
#include "upstream.h"

#include "record.h"

#include <errno.h>
#include <stdlib.h>

#define SCAN_ALL 8U

static bool can_take(const struct gw_function *f, const struct gw_instance *inst, const struct gw_instance *avoid)
{
    return inst != avoid && (f->rec.concurrency == 0 || shared_instance_load(inst->shared) < f->rec.concurrency);
}

static unsigned next_random(struct up_function *uf)
{
    uf->seed = uf->seed * 1664525U + 1013904223U;
    return uf->seed >> 16;
}

/* From a different place each time, so that instances with equal load take turns. */
static struct gw_instance *scan(const struct gw_function *f, const struct up_function *uf, unsigned from, const struct gw_instance *avoid)
{
    struct gw_instance *best = NULL;

    for (unsigned i = 0; i < uf->nready; i++) {
        struct gw_instance *inst = uf->ready[(from + i) % uf->nready];

        if (can_take(f, inst, avoid) && (!best || shared_instance_load(inst->shared) < shared_instance_load(best->shared)))
            best = inst;
    }
    return best;
}

static struct gw_instance *choose(struct gw_function *f, const struct gw_instance *avoid)
{
    struct up_function *uf = up_function(f);

    if (uf->nready == 0)
        return NULL;
    if (uf->nready > SCAN_ALL) {
        struct gw_instance *a = uf->ready[next_random(uf) % uf->nready], *b = uf->ready[next_random(uf) % uf->nready];

        if (shared_instance_load(b->shared) < shared_instance_load(a->shared))
            a = b;
        if (can_take(f, a, avoid))
            return a;
    }
    return scan(f, uf, uf->nready == 1 ? 0 : next_random(uf) % uf->nready, avoid);
}

struct gw_instance *upstream_pick(struct gw_function *f, const struct gw_instance *avoid)
{
    struct gw_instance *inst;

    do /* another worker may have been quicker to the last place */
        inst = choose(f, avoid);
    while (inst && !shared_instance_enter(inst->shared, f->rec.concurrency));
    return inst;
}

int upstream_list_ready(struct gw_function *f)
{
    struct up_function *uf = up_function(f);

    uf->nready = 0;
    for (struct gw_instance *i = f->instances; i; i = i->next) {
        if (i->rec.state != INSTANCE_READY || !i->upstream || atomic_load(&i->shared->ejected))
            continue;
        if (uf->nready == uf->room) {
            unsigned room = uf->room ? uf->room * 2 : 4;
            struct gw_instance **grown = realloc(uf->ready, room * sizeof(struct gw_instance *));

            if (!grown)
                return -ENOMEM;
            uf->ready = grown;
            uf->room = room;
        }
        uf->ready[uf->nready++] = i;
    }
    return 0;
}
