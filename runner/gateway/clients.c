/* clients.c: see clients.h. */
#include "clients.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CLIENTS_BUCKETS 1024U
#define CLIENTS_LOCKS   64U /* each for CLIENTS_BUCKETS / CLIENTS_LOCKS buckets: two threads seldom meet, and hold one for some ten nanoseconds */

struct client {
    struct client *next;
    uint64_t key[2];
    unsigned bucket, connections;
};

struct clients {
    struct client *buckets[CLIENTS_BUCKETS];
    uint64_t seed; /* so that nobody can choose addresses of one bucket */
    pthread_mutex_t locks[CLIENTS_LOCKS];
};

struct clients *clients_new(void)
{
    struct clients *all = calloc(1, sizeof(*all));

    if (!all)
        return NULL;
    if (getrandom(&all->seed, sizeof(all->seed), GRND_NONBLOCK) != (ssize_t)sizeof(all->seed))
        all->seed = (uint64_t)(uintptr_t)all;
    for (unsigned i = 0; i < CLIENTS_LOCKS; i++)
        pthread_mutex_init(&all->locks[i], NULL);
    return all;
}

bool clients_empty(struct clients *all)
{
    for (unsigned i = 0; i < CLIENTS_BUCKETS; i++)
        if (all->buckets[i])
            return false;
    return true;
}

void clients_free(struct clients *all)
{
    if (!all)
        return;
    for (unsigned i = 0; i < CLIENTS_LOCKS; i++)
        pthread_mutex_destroy(&all->locks[i]);
    free(all);
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

static struct client *take(struct clients *all, const uint64_t key[2], unsigned bucket, unsigned most)
{
    struct client *c;

    for (c = all->buckets[bucket]; c; c = c->next)
        if (c->key[0] == key[0] && c->key[1] == key[1])
            break;
    if (c && most > 0 && c->connections >= most)
        return NULL;
    if (!c) {
        c = calloc(1, sizeof(*c));
        if (!c)
            return NULL;
        memcpy(c->key, key, 2 * sizeof(key[0]));
        c->bucket = bucket;
        c->next = all->buckets[bucket];
        all->buckets[bucket] = c;
    }
    c->connections++;
    return c;
}

struct client *clients_take(struct clients *all, const struct sockaddr_storage *peer, unsigned most)
{
    struct client *c;
    uint64_t key[2];
    unsigned bucket;

    make_key(peer, key);
    bucket = bucket_of(all, key);
    pthread_mutex_lock(&all->locks[bucket % CLIENTS_LOCKS]);
    c = take(all, key, bucket, most);
    pthread_mutex_unlock(&all->locks[bucket % CLIENTS_LOCKS]);
    return c;
}

static void give(struct clients *all, struct client *c)
{
    struct client **at = &all->buckets[c->bucket];

    if (--c->connections > 0)
        return;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    free(c);
}

void clients_give(struct clients *all, struct client *c)
{
    pthread_mutex_t *lock = c ? &all->locks[c->bucket % CLIENTS_LOCKS] : NULL;

    if (!lock)
        return;
    pthread_mutex_lock(lock);
    give(all, c);
    pthread_mutex_unlock(lock);
}
