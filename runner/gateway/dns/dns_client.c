/* dns_client.c: which instance asks, by its address alone, and how often it may. The firewall drops packets with another source than the sender's own. */
#include "dns_private.h"

#include "clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define TOKEN_NS (NS_PER_SEC / DNS_CLIENT_RATE)

static struct dns_client **place(struct dns_clients *c, uint32_t addr)
{
    return &c->buckets[ntohl(addr) % DNS_CLIENT_BUCKETS];
}

struct dns_client *dns_client_find(const struct dns_clients *c, uint32_t addr)
{
    struct dns_client *i = c->buckets[ntohl(addr) % DNS_CLIENT_BUCKETS];

    while (i && i->addr != addr)
        i = i->next;
    return i;
}

static struct dns_client *take(struct dns_client **at)
{
    struct dns_client *i = *at;

    if (i) {
        *at = i->next;
        i->next = NULL;
    }
    return i;
}

int dns_client_add(struct dns_clients *c, struct gw_instance *inst, uint64_t now_ns, struct dns_client **ret_old)
{
    struct dns_client *old = dns_client_find(c, inst->rec.addr), *i, **at = place(c, inst->rec.addr);

    *ret_old = NULL;
    if (old && old->inst == inst)
        return 0;
    i = calloc(1, sizeof(*i));
    if (old) { /* also without memory for the new one: what the old one may look up is not the new one's */
        while (*at != old)
            at = &(*at)->next;
        *ret_old = take(at);
    }
    if (!i)
        return -ENOMEM;
    *i = (struct dns_client){.addr = inst->rec.addr, .inst = inst, .allowance_ns = NS_PER_SEC, .filled_ns = now_ns};
    at = place(c, i->addr);
    i->next = *at;
    *at = i;
    return 1;
}

struct dns_client *dns_client_remove(struct dns_clients *c, const struct gw_instance *inst)
{
    struct dns_client **at = place(c, inst->rec.addr);

    while (*at && (*at)->inst != inst)
        at = &(*at)->next;
    return take(at);
}

struct dns_client *dns_client_remove_any(struct dns_clients *c)
{
    for (unsigned i = 0; i < DNS_CLIENT_BUCKETS; i++)
        if (c->buckets[i])
            return take(&c->buckets[i]);
    return NULL;
}

bool dns_client_may_ask(struct dns_client *c, uint64_t now_ns)
{
    c->allowance_ns += now_ns - c->filled_ns;
    c->filled_ns = now_ns;
    if (c->allowance_ns > NS_PER_SEC)
        c->allowance_ns = NS_PER_SEC;
    if (c->allowance_ns < TOKEN_NS)
        return false;
    c->allowance_ns -= TOKEN_NS;
    return true;
}
