/*
 * opened.c: opening destinations for slots.
 *
 * An opened destination is an element in two places, the host's set and the slot's own. The slot's lives longer, by OPEN_GRACE_S: it is the second means, and the first decides about the time; without
 * connection tracking in the slot, what it refuses is refused in the middle of a conversation too.
 */
#include "nft_internal.h"

#include "clock.h"
#include "diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_GRACE_S 600U
#define OPENS_MAX    1024U /* of one slot */

static void opens_expire(struct net_slot *s, uint64_t now_ns)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->nopens; i++)
        if (known_open_holds(&s->opens[i], now_ns))
            s->opens[kept++] = s->opens[i];
    s->nopens = kept;
}

static int opens_set(struct net_slot *s, const struct net_open *open, struct net_open **ret)
{
    for (size_t i = 0; i < s->nopens; i++)
        if (memcmp(&s->opens[i].dest.addr, &open->dest.addr, sizeof(open->dest.addr)) == 0 && s->opens[i].dest.port == open->dest.port) {
            if (s->opens[i].until_ns != 0) /* what was opened for good stays */
                s->opens[i].until_ns = open->until_ns;
            *ret = &s->opens[i];
            return 0;
        }
    if (s->nopens == OPENS_MAX)
        return -ENOSPC;
    if (s->nopens == s->opens_room) {
        size_t room = s->opens_room ? s->opens_room * 2 : 8;
        struct net_open *grown = reallocarray(s->opens, room, sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        s->opens = grown;
        s->opens_room = room;
    }
    s->opens[s->nopens] = *open;
    *ret = &s->opens[s->nopens++];
    return 0;
}

/* ---- elements ---- */

static uint64_t open_timeout_ms(const struct net_open *o, uint64_t now_ns, uint64_t more_ms)
{
    return o->until_ns ? (o->until_ns - now_ns) / NS_PER_MS + 1 + more_ms : 0;
}

static void open_dest_key(struct nft_elem *e, const struct net_dest *dest, bool four)
{
    const uint16_t port = htons(dest->port);

    nft_key(e, dest->addr.s6_addr + (four ? 12 : 0), four ? 4 : 16);
    nft_key(e, &port, sizeof(port));
}

void open_host_elem(const struct net *n, const struct net_slot *s, const struct net_open *o, uint64_t now_ns, struct nft_elem *ret)
{
    const bool four = IN6_IS_ADDR_V4MAPPED(&o->dest.addr);
    struct net_slot_names names;

    (void)net_slot_names(&n->o, s->number, &names);
    *ret = (struct nft_elem){.family = NFPROTO_INET, .set = four ? "open4" : "open6", .timeout_ms = open_timeout_ms(o, now_ns, 0)};
    if (four)
        nft_key(ret, &names.addr, sizeof(names.addr));
    else
        nft_key(ret, &names.addr6, sizeof(names.addr6));
    open_dest_key(ret, &o->dest, four);
}

static void open_slot_elem(const struct net_open *o, uint64_t now_ns, struct nft_elem *ret)
{
    const bool four = IN6_IS_ADDR_V4MAPPED(&o->dest.addr);

    *ret = (struct nft_elem){.family = NFPROTO_INET, .set = four ? "open4" : "open6", .timeout_ms = open_timeout_ms(o, now_ns, OPEN_GRACE_S * 1000ULL)};
    open_dest_key(ret, &o->dest, four);
}

/* An element that is there keeps its time when it is added again (before 6.12): so away with it first, and before that add it, since deleting what is not there, or has just expired, is an error. */
static void open_put(struct nft_batch *b, const char *table, const struct nft_elem *e)
{
    nft_put_elem_gone(b, table, e);
    nft_put_elem(b, table, e, true);
}

struct open_pair {
    struct net_slot *slot;
    struct net_open open;
};

struct open_pairs {
    struct open_pair *all;
    size_t n;
};

static int open_in_host(struct net *n, const struct open_pairs *p, uint64_t now_ns)
{
    cleanup_nft struct nft_batch b = {0};
    int r = 0;

    for (size_t i = 0; i < p->n && r == 0;) {
        nft_begin(&b);
        for (size_t k = 0; k < NFT_CHUNK && i < p->n; k++, i++) {
            struct nft_elem e;

            open_host_elem(n, p->all[i].slot, &p->all[i].open, now_ns, &e);
            open_put(&b, n->o.bridge, &e);
        }
        r = nft_send(&b, n->nft_fd);
    }
    return r;
}

/* The pairs of one slot lie side by side. */
static int open_in_slots(const struct open_pairs *p, uint64_t now_ns)
{
    cleanup_nft struct nft_batch b = {0};
    int r = 0;

    for (size_t i = 0; i < p->n && r == 0;) {
        const struct net_slot *s = p->all[i].slot;

        nft_begin(&b);
        for (size_t k = 0; k < NFT_CHUNK && i < p->n && p->all[i].slot == s; k++, i++) {
            struct nft_elem e;

            open_slot_elem(&p->all[i].open, now_ns, &e);
            open_put(&b, RULES_SLOT_TABLE, &e);
        }
        if (s->nft_fd >= 0)
            r = nft_send(&b, s->nft_fd);
    }
    return r;
}

static int open_collect(struct net *n, unsigned slot, const struct net_dest *dests, size_t ndests, uint64_t now_ns, uint64_t until_ns, struct open_pairs *p)
{
    struct net_slot *s = known_find(n, slot);

    if (!s)
        return 0;
    opens_expire(s, now_ns);
    for (size_t i = 0; i < ndests; i++) {
        struct net_open *o = NULL;
        int r;

        if (net_dest_refused(&n->o, &dests[i]) || (!s->policy.ipv6 && !IN6_IS_ADDR_V4MAPPED(&dests[i].addr)))
            continue;
        r = opens_set(s, &(struct net_open){dests[i], until_ns}, &o);
        if (r < 0)
            return r;
        p->all[p->n++] = (struct open_pair){s, *o};
    }
    return 0;
}

int net_slots_open(struct net *n, const unsigned *slots, size_t nslots, const struct net_dest *dests, size_t ndests, uint32_t ttl_s, struct diag *d)
{
    const uint64_t now_ns = clock_mono_ns();
    struct open_pairs p = {.all = calloc(nslots * ndests + 1, sizeof(*p.all))};
    int r = p.all ? 0 : -ENOMEM;

    for (size_t i = 0; i < nslots && r == 0; i++)
        r = open_collect(n, slots[i], dests, ndests, now_ns, ttl_s ? now_ns + ttl_s * NS_PER_SEC : 0, &p);
    if (r == 0 && p.n)
        r = net_forward(n, true, d);
    if (r == 0)
        r = open_in_slots(&p, now_ns);
    if (r == 0)
        r = open_in_host(n, &p, now_ns);
    if (r == -ENOENT) /* somebody removed the table: it comes back with these */
        r = rules_install(n, d);
    free(p.all);
    if (r == -ENOSPC)
        return diag_set(d, ENOSPC, "more than %u destinations would be open for an instance", OPENS_MAX);
    return r < 0 ? diag_errno(d, -r, "open destinations") : (int)p.n;
}
