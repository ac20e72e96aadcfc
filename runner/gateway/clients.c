/* clients.c: see clients.h. */
#include "clients.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct client {
    struct client *next;
    uint64_t key[2];
    unsigned bucket, connections;
};

void clients_init(struct clients *all)
{
    memset(all, 0, sizeof(*all));
    if (getrandom(&all->seed, sizeof(all->seed), GRND_NONBLOCK) != (ssize_t)sizeof(all->seed))
        all->seed = (uint64_t)(uintptr_t)all;
}

static void make_key(const struct sockaddr_storage *peer, uint64_t key[2])
{
    key[0] = peer->ss_family;
    key[1] = 0;
    if (peer->ss_family == AF_INET) {
        key[1] = ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
    } else if (peer->ss_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)peer)->sin6_addr;

        if (IN6_IS_ADDR_V4MAPPED(a)) { /* the same client on a listener for both */
            key[0] = AF_INET;
            memcpy(&key[1], &a->s6_addr[12], 4);
        } else {
            memcpy(&key[1], a->s6_addr, 8);
        }
    }
}

/* The finaliser of SplitMix64: every bit of the address and of the seed decides. */
static unsigned bucket_of(const struct clients *all, const uint64_t key[2])
{
    uint64_t h = key[1] ^ all->seed ^ key[0] << 56;

    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
    return (unsigned)((h ^ h >> 31) % CLIENTS_BUCKETS);
}

struct client *clients_take(struct clients *all, const struct sockaddr_storage *peer, unsigned most)
{
    struct client *c;
    uint64_t key[2];
    unsigned bucket;

    make_key(peer, key);
    bucket = bucket_of(all, key);
    for (c = all->buckets[bucket]; c; c = c->next)
        if (c->key[0] == key[0] && c->key[1] == key[1])
            break;
    if (c && most > 0 && c->connections >= most)
        return NULL;
    if (!c) {
        c = calloc(1, sizeof(*c));
        if (!c)
            return NULL;
        memcpy(c->key, key, sizeof(c->key));
        c->bucket = bucket;
        c->next = all->buckets[bucket];
        all->buckets[bucket] = c;
    }
    c->connections++;
    return c;
}

void clients_give(struct clients *all, struct client *c)
{
    struct client **at;

    if (!c || --c->connections > 0)
        return;
    at = &all->buckets[c->bucket];
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    free(c);
}
