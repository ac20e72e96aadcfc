/* shared.c: see shared.h. */
#include "shared.h"

#include "auth/auth.h"
#include "clients.h"
#include "log/access_log.h"
#include "metrics/metrics.h"
#include "route/rate.h"

#include <stdlib.h>
#include <string.h>

/* Cache lines are what these are about, and calloc does not align to them. */
static void *new_aligned(size_t size)
{
    void *p = aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);

    return p ? memset(p, 0, size) : NULL;
}

struct shared_gateway *shared_gateway_new(unsigned workers)
{
    struct shared_gateway *g = new_aligned(sizeof(*g));

    if (!g)
        return NULL;
    g->workers = workers;
    g->clients = clients_new();
    g->log = access_log_new(WORKERS_MAX); /* how many there will be is not known yet */
    g->auth = auth_common_new();
    if (!g->clients || !g->log || !g->auth) {
        shared_gateway_free(g);
        return NULL;
    }
    return g;
}

void shared_gateway_free(struct shared_gateway *g)
{
    if (!g)
        return;
    access_log_free(g->log);
    auth_common_free(g->auth);
    clients_free(g->clients);
    free(g);
}

uint64_t shared_refused(const struct shared_gateway *g, enum gateway_refusal why)
{
    uint64_t sum = 0;

    for (unsigned i = 0; g && i < g->workers; i++)
        sum += shared_read(&g->slots[i].refused[why]);
    return sum;
}

uint64_t shared_dns_results(const struct shared_gateway *g, unsigned result)
{
    uint64_t sum = 0;

    for (unsigned i = 0; g && i < g->workers; i++)
        sum += shared_read(&g->slots[i].dns_results[result]);
    return sum;
}

bool shared_connection_enter(struct shared_gateway *g, unsigned most)
{
    if (atomic_fetch_add_explicit(&g->connections, 1, memory_order_relaxed) < most)
        return true;
    shared_connection_leave(g);
    return false;
}

void shared_connection_leave(struct shared_gateway *g)
{
    atomic_fetch_sub_explicit(&g->connections, 1, memory_order_relaxed);
}

unsigned shared_connection_place(struct shared_gateway *g, unsigned worker, bool may_be_another)
{
    unsigned least = atomic_load_explicit(&g->slots[worker].conns, memory_order_relaxed);

    may_be_another = may_be_another && !atomic_load_explicit(&g->stopping, memory_order_relaxed); /* the other may be gone already */
    for (unsigned i = 0; may_be_another && i < g->workers; i++) {
        unsigned conns = atomic_load_explicit(&g->slots[i].conns, memory_order_relaxed);

        if (conns < least) {
            least = conns;
            worker = i;
        }
    }
    atomic_fetch_add_explicit(&g->slots[worker].conns, 1, memory_order_relaxed);
    return worker;
}

void shared_connection_gone(struct shared_gateway *g, unsigned worker)
{
    atomic_fetch_sub_explicit(&g->slots[worker].conns, 1, memory_order_relaxed);
    shared_connection_leave(g);
}

struct shared_function *shared_function_new(unsigned workers)
{
    struct shared_function *f = new_aligned(sizeof(*f));

    if (!f)
        return NULL;
    atomic_init(&f->refs, 1);
    f->workers = workers;
    return f;
}

struct shared_function *shared_function_ref(struct shared_function *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void shared_function_unref(struct shared_function *f)
{
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (unsigned i = 0; i < f->workers; i++)
        metrics_counters_free(atomic_load_explicit(&f->counters[i], memory_order_relaxed));
    rate_table_free(atomic_load_explicit(&f->rate_clients, memory_order_relaxed));
    free(f);
}

struct gw_counters *shared_function_counters(struct shared_function *f, unsigned worker)
{
    struct gw_counters *c = atomic_load_explicit(&f->counters[worker], memory_order_relaxed);

    if (!c) {
        c = metrics_counters_new(f->codes);
        atomic_store_explicit(&f->counters[worker], c, memory_order_release); /* readers add it up from now on */
    }
    return c;
}

bool shared_function_enter(struct shared_function *f, unsigned most)
{
    unsigned before = atomic_fetch_add_explicit(&f->requests, 1, memory_order_relaxed);

    if (most == 0 || before < most)
        return true;
    atomic_fetch_sub_explicit(&f->requests, 1, memory_order_relaxed);
    return false;
}

void shared_function_leave(struct shared_function *f)
{
    atomic_fetch_sub_explicit(&f->requests, 1, memory_order_relaxed);
}

struct shared_instance *shared_instance_new(void)
{
    struct shared_instance *i = new_aligned(sizeof(*i));

    if (i)
        atomic_init(&i->refs, 1);
    return i;
}

struct shared_instance *shared_instance_ref(struct shared_instance *i)
{
    atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
    return i;
}

void shared_instance_unref(struct shared_instance *i)
{
    if (i && atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) == 1)
        free(i);
}

/*
 * Sequentially consistent, here and in leave(): who finds no place says that it waits and looks again; who gives a place back looks for such a word afterwards. One of the two sees the other (upstream/wait_queue.c).
 */
bool shared_instance_enter(struct shared_instance *i, unsigned concurrency)
{
    unsigned now;

    if (concurrency == 0) {
        atomic_fetch_add(&i->in_flight, 1);
        return true;
    }
    now = atomic_load(&i->in_flight);
    do {
        if (now >= concurrency)
            return false;
    } while (!atomic_compare_exchange_weak(&i->in_flight, &now, now + 1));
    return true;
}

unsigned shared_instance_leave(struct shared_instance *i)
{
    return atomic_fetch_sub(&i->in_flight, 1) - 1;
}
