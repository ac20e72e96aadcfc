/*
 * rate.c: see rate.h. The table is an array of sets of eight places; an address belongs to one set, by a hash that nobody outside can foretell. When the set is full the bucket that is full for longest (or will
 * be first) is given away: a client that is not under its limit loses nothing by that, one that is over it loses its mark only to eight others of the same set that are all further over theirs.
 * Two threads may take the same place at the same moment; then one request too many passes, no more.
 */
#include "rate.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define WAYS 8U
#define SETS 1024U /* 8192 addresses, 128 KB */

struct place {
    _Atomic uint64_t key; /* 0: free */
    _Atomic uint64_t full_ns;
};

struct rate_table {
    uint64_t seed[2];
    struct place places[SETS][WAYS];
};

bool rate_take(_Atomic uint64_t *full_ns, const struct spec_rate *r, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    const uint64_t room = r->interval_ns * r->burst;
    uint64_t old = atomic_load_explicit(full_ns, memory_order_relaxed), next;

    do {
        next = (old > now_ns ? old : now_ns) + r->interval_ns;
        if (next - now_ns > room) {
            *ret_wait_ns = next - now_ns - room;
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(full_ns, &old, next, memory_order_relaxed, memory_order_relaxed));
    return true;
}

struct rate_table *rate_table_new(void)
{
    struct rate_table *t = calloc(1, sizeof(*t));

    if (t && getrandom(t->seed, sizeof(t->seed), GRND_NONBLOCK) != (ssize_t)sizeof(t->seed))
        t->seed[0] = (uint64_t)(uintptr_t)t;
    return t;
}

void rate_table_free(struct rate_table *t)
{
    free(t);
}

/* The finaliser of SplitMix64, with a seed before each round. Never 0. */
static uint64_t key_of(const struct rate_table *t, const char *client)
{
    struct in6_addr in6;
    struct in_addr in;
    uint64_t h = 0, part = 0;

    if (inet_pton(AF_INET, client, &in) == 1) {
        part = in.s_addr;
    } else if (inet_pton(AF_INET6, client, &in6) == 1) {
        h = 1;
        memcpy(&part, in6.s6_addr, sizeof(part));
    }
    h = (h << 56) ^ part ^ t->seed[0];
    for (unsigned i = 0; i < 2; i++) {
        h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
        h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
        h = (h ^ h >> 31) + t->seed[1];
    }
    return h ? h : 1;
}

bool rate_table_take(struct rate_table *t, const char *client, const struct spec_rate *r, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    const uint64_t key = key_of(t, client);
    struct place *set = t->places[key % SETS], *oldest = &set[0];

    for (unsigned i = 0; i < WAYS; i++) {
        if (atomic_load_explicit(&set[i].key, memory_order_relaxed) == key)
            return rate_take(&set[i].full_ns, r, now_ns, ret_wait_ns);
        if (atomic_load_explicit(&set[i].full_ns, memory_order_relaxed) < atomic_load_explicit(&oldest->full_ns, memory_order_relaxed))
            oldest = &set[i];
    }
    atomic_store_explicit(&oldest->full_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&oldest->key, key, memory_order_relaxed);
    return rate_take(&oldest->full_ns, r, now_ns, ret_wait_ns);
}
