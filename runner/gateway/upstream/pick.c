/* pick.c: the instance with the fewest requests in flight. Among many, of two taken at random: nearly as even, and it looks at two. */
#include "upstream.h"

#include "record.h"

#include <errno.h>
#include <stdlib.h>

#define SCAN_ALL 8U

struct choice {
    const struct gw_function *f;
    const struct gw_instance *avoid;
    uint64_t now_ns;
    bool any; /* also who is out of the choice */
};

static bool has_room(const struct choice *c, const struct gw_instance *inst)
{
    return inst != c->avoid && (c->f->rec.concurrency == 0 || shared_instance_load(inst->shared) < c->f->rec.concurrency);
}

/* splitmix64 (public domain, S. Vigna): every state is a good one, and neighbouring outputs have nothing to do with each other. */
static unsigned random_below(struct up_function *uf, unsigned n)
{
    uint64_t z = uf->seed += 0x9e3779b97f4a7c15ULL;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return (unsigned)((z >> 32) * n >> 32);
}

/* Is b the better one? One that is due for its trial comes first: it would never come back else. NULL is worse than any. */
static bool better(const struct choice *c, const struct gw_instance *a, const struct gw_instance *b)
{
    enum eject_view va, vb = eject_view(&b->shared->eject, c->now_ns);

    if (!has_room(c, b) || (vb == EJECT_OUT && !c->any))
        return false;
    if (!a)
        return true;
    va = eject_view(&a->shared->eject, c->now_ns);
    if ((va == EJECT_DUE) != (vb == EJECT_DUE))
        return vb == EJECT_DUE;
    return shared_instance_load(b->shared) < shared_instance_load(a->shared);
}

/* From a different place each time, so that instances with equal load take turns. */
static struct gw_instance *scan(const struct choice *c, struct up_function *uf)
{
    unsigned from = uf->nready == 1 ? 0 : random_below(uf, uf->nready);
    struct gw_instance *best = NULL;

    for (unsigned i = 0; i < uf->nready; i++) {
        struct gw_instance *inst = uf->ready[(from + i) % uf->nready];

        if (better(c, best, inst))
            best = inst;
    }
    return best;
}

static struct gw_instance *of_two(const struct choice *c, struct up_function *uf)
{
    unsigned a = random_below(uf, uf->nready), b = random_below(uf, uf->nready - 1);
    struct gw_instance *best = NULL;

    if (better(c, best, uf->ready[a]))
        best = uf->ready[a];
    b += b >= a; /* another one */
    if (better(c, best, uf->ready[b]))
        best = uf->ready[b];
    return best;
}

static bool anybody_in(const struct up_function *uf, const struct gw_instance *besides, uint64_t now_ns)
{
    for (unsigned i = 0; i < uf->nready; i++)
        if (uf->ready[i] != besides && eject_view(&uf->ready[i]->shared->eject, now_ns) == EJECT_IN)
            return true;
    return false;
}

bool upstream_others_in(const struct gw_instance *inst, uint64_t now_ns)
{
    return anybody_in(up_function(inst->function), inst, now_ns);
}

static struct gw_instance *choose(struct choice *c, struct up_function *uf)
{
    struct gw_instance *inst = NULL;

    if (uf->nready == 0)
        return NULL;
    if (uf->nready > SCAN_ALL)
        inst = of_two(c, uf);
    if (!inst)
        inst = scan(c, uf);
    if (inst || anybody_in(uf, c->avoid, c->now_ns))
        return inst;
    c->any = true; /* all of them fail: that is no reason to try none */
    return scan(c, uf);
}

/* An instance that is out is taken for a trial. false: somebody else's is under way, or the last place is taken. */
static bool enter(const struct choice *c, struct gw_instance *inst, bool *ret_trial)
{
    struct shared_instance *s = inst->shared;

    *ret_trial = eject_view(&s->eject, c->now_ns) != EJECT_IN;
    if (*ret_trial && !eject_begin_trial(&s->eject, c->any))
        return false;
    if (shared_instance_enter(s, c->f->rec.concurrency))
        return true;
    if (*ret_trial)
        eject_end_trial(&s->eject);
    return false;
}

struct gw_instance *upstream_pick(struct gw_function *f, const struct gw_instance *avoid, uint64_t now_ns, bool *ret_trial)
{
    struct choice c = {.f = f, .avoid = avoid, .now_ns = now_ns};
    struct gw_instance *inst;

    *ret_trial = false;
    do /* another worker may have been quicker to the last place */
        inst = choose(&c, up_function(f));
    while (inst && !enter(&c, inst, ret_trial));
    return inst;
}

bool upstream_has_place(const struct gw_function *f)
{
    const struct up_function *uf = up_function(f);

    for (unsigned i = 0; i < uf->nready; i++)
        if (f->rec.concurrency == 0 || atomic_load(&uf->ready[i]->shared->in_flight) < f->rec.concurrency)
            return true;
    return false;
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
