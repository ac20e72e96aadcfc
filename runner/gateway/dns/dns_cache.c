/* dns_cache.c: a hash of questions and a list by use; see dns_private.h. The least recently used goes first; a function that fills its share drops its own. */
#include "dns_private.h"

#include "clock.h"

#include <stdlib.h>

static struct dns_entry **bucket(struct dns_cache *c, const void *function, const struct dns_question *q)
{
    return &c->buckets[(dns_name_hash(&q->name) ^ q->type * 0x9e3779b1U ^ (uint32_t)((uintptr_t)function >> 4) * 0x85ebca6bU) % DNS_CACHE_ENTRIES];
}

static void list_remove(struct dns_cache *c, struct dns_entry *e)
{
    if (e->newer)
        e->newer->older = e->older;
    else
        c->newest = e->older;
    if (e->older)
        e->older->newer = e->newer;
    else
        c->oldest = e->newer;
}

static void list_add(struct dns_cache *c, struct dns_entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    if (c->newest)
        c->newest->newer = e;
    else
        c->oldest = e;
    c->newest = e;
}

static void entry_drop(struct dns_cache *c, struct dns_entry *e)
{
    struct dns_entry **at = bucket(c, e->function, &e->q);

    while (*at != e)
        at = &(*at)->next_hash;
    *at = e->next_hash;
    list_remove(c, e);
    c->count--;
    c->bytes -= e->size;
    dns_answer_unref(e->answer);
    free(e);
}

static struct dns_entry *find(struct dns_cache *c, const void *function, const struct dns_question *q)
{
    struct dns_entry *e = *bucket(c, function, q);

    while (e && (e->function != function || e->q.type != q->type || !dns_name_equal(&e->q.name, &q->name)))
        e = e->next_hash;
    return e;
}

struct dns_answer *dns_cache_get(struct dns_cache *c, const void *function, const struct dns_question *q, uint64_t now_ns)
{
    struct dns_entry *e = find(c, function, q);

    if (!e)
        return NULL;
    if (e->answer->expires_ns <= now_ns) {
        entry_drop(c, e);
        return NULL;
    }
    list_remove(c, e);
    list_add(c, e);
    return e->answer;
}

static void make_room(struct dns_cache *c, const void *function, size_t size)
{
    struct dns_entry *own = NULL;
    unsigned n = 0;

    for (struct dns_entry *e = c->oldest; e; e = e->newer)
        if (e->function == function && n++ == 0)
            own = e;
    if (n >= DNS_CACHE_OWN)
        entry_drop(c, own);
    while (c->oldest && (c->count >= DNS_CACHE_ENTRIES || c->bytes + size > DNS_CACHE_BYTES))
        entry_drop(c, c->oldest);
}

void dns_cache_put(struct dns_cache *c, const void *function, const struct dns_question *q, struct dns_answer *a, uint64_t now_ns)
{
    struct dns_entry *e = find(c, function, q), **at;
    size_t size = sizeof(*e) + a->size;

    if (e)
        entry_drop(c, e);
    if (a->expires_ns <= now_ns || a->size > DNS_CACHE_ANSWER_BYTES)
        return;
    e = calloc(1, sizeof(*e));
    if (!e)
        return;
    make_room(c, function, size);
    *e = (struct dns_entry){.function = function, .q = *q, .answer = dns_answer_ref(a), .size = size};
    at = bucket(c, function, q);
    e->next_hash = *at;
    *at = e;
    list_add(c, e);
    c->count++;
    c->bytes += size;
}

void dns_cache_drop(struct dns_cache *c, const void *function)
{
    for (struct dns_entry *e = c->oldest, *newer; e; e = newer) {
        newer = e->newer;
        if (e->function == function)
            entry_drop(c, e);
    }
}

void dns_cache_done(struct dns_cache *c)
{
    while (c->oldest)
        entry_drop(c, c->oldest);
}
