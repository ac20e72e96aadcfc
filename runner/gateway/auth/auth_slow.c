/*
 * auth_slow.c: who guesses passwords waits. After SLOW_FREE mistakes an address waits a second, then twice as long each time. The table has a fixed size: an address that is not in it takes the place of the
 * one that was wrong longest ago, so who has many addresses is slowed down by the runner's own bound alone. An IPv6 client is its /64.
 */
#include "auth_private.h"

#include "clock.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/random.h>

void slow_init(struct slow *s)
{
    memset(s, 0, sizeof(*s));
    if (getrandom(&s->seed, sizeof(s->seed), GRND_NONBLOCK) != (ssize_t)sizeof(s->seed))
        s->seed = (uint64_t)(uintptr_t)s;
}

/* The finaliser of SplitMix64 over the address and the seed; never 0. */
static uint64_t key_of(const struct slow *s, const char *client)
{
    struct in6_addr six;
    struct in_addr four;
    uint64_t h = s->seed, part = 0;

    if (inet_pton(AF_INET, client, &four) == 1)
        part = four.s_addr;
    else if (inet_pton(AF_INET6, client, &six) == 1)
        memcpy(&part, &six, sizeof(part));
    h ^= part;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
    h ^= h >> 31;
    return h ? h : 1;
}

static struct slow_entry *find(const struct slow *s, uint64_t key)
{
    const struct slow_entry *set = s->entries[key % SLOW_SETS];

    for (unsigned i = 0; i < SLOW_WAYS; i++)
        if (set[i].key == key)
            return (struct slow_entry *)&set[i];
    return NULL;
}

unsigned slow_wait_s(const struct slow *s, const char *client, uint64_t now_ns)
{
    const struct slow_entry *e = find(s, key_of(s, client));

    return e && e->until_ns > now_ns ? (unsigned)((e->until_ns - now_ns + NS_PER_SEC - 1) / NS_PER_SEC) : 0;
}

void slow_failed(struct slow *s, const char *client, uint64_t now_ns)
{
    uint64_t key = key_of(s, client);
    struct slow_entry *set = s->entries[key % SLOW_SETS], *e = find(s, key);
    unsigned wait = 0;

    for (unsigned i = 0; !e && i < SLOW_WAYS; i++)
        if (set[i].key == 0)
            e = &set[i];
    if (!e) {
        e = &set[0];
        for (unsigned i = 1; i < SLOW_WAYS; i++)
            if (set[i].last_ns < e->last_ns)
                e = &set[i];
    }
    if (e->key != key || now_ns - e->last_ns > SLOW_KEEP_S * NS_PER_SEC)
        *e = (struct slow_entry){.key = key};
    e->failures++;
    e->last_ns = now_ns;
    if (e->failures >= SLOW_FREE)
        wait = e->failures - SLOW_FREE < 6 ? 1U << (e->failures - SLOW_FREE) : SLOW_MAX_S;
    e->until_ns = now_ns + (wait < SLOW_MAX_S ? wait : SLOW_MAX_S) * NS_PER_SEC;
}

void slow_forget(struct slow *s, const char *client)
{
    struct slow_entry *e = find(s, key_of(s, client));

    if (e)
        *e = (struct slow_entry){0};
}
