/* rules_sets.c: the elements of a slot in the host's sets, over nfnetlink; and the tables' counters. */
#include "nft_internal.h"

#include "diag.h"

#include <errno.h>
#include <libnftnl/object.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

const char *rules_policy_chain(const struct net_slot *s)
{
    return s->policy.egress == NET_EGRESS_INTERNET ? "internet" : s->policy.egress == NET_EGRESS_LAN ? "lan" : NULL;
}

bool rules_resolves(const struct net_options *o, const struct net_slot *s)
{
    return o->dns && (s->policy.egress != NET_EGRESS_NO || s->policy.mesh);
}

static void put(const struct net *n, struct nft_batch *b, const struct nft_elem *e, bool add)
{
    if (add)
        nft_put_elem(b, n->o.bridge, e, true);
    else
        nft_put_elem_gone(b, n->o.bridge, e);
}

static void put_sender(const struct net *n, struct nft_batch *b, const struct net_slot_names *names, bool four, bool add)
{
    struct nft_elem e = {.family = NFPROTO_BRIDGE, .set = four ? "senders4" : "senders6"};

    nft_key(&e, names->port, sizeof(names->port));
    nft_key(&e, names->mac, sizeof(names->mac));
    if (four)
        nft_key(&e, &names->addr, sizeof(names->addr));
    else
        nft_key(&e, &names->addr6, sizeof(names->addr6));
    put(n, b, &e, add);
}

static void put_addr(const struct net *n, struct nft_batch *b, const char *set, const void *addr, size_t len, const char *jump, bool add)
{
    struct nft_elem e = {.family = NFPROTO_INET, .set = set, .jump = jump};

    nft_key(&e, addr, len);
    put(n, b, &e, add);
}

static void put_slot(const struct net *n, struct nft_batch *b, const struct net_slot *s, bool add)
{
    struct nft_elem port = {.family = NFPROTO_BRIDGE, .set = "ports"};
    const char *chain = rules_policy_chain(s);
    struct net_slot_names names;

    (void)net_slot_names(&n->o, s->number, &names);
    nft_key(&port, names.port, sizeof(names.port));
    put(n, b, &port, add);
    put_sender(n, b, &names, true, add);
    if (chain)
        put_addr(n, b, "policies4", &names.addr, sizeof(names.addr), chain, add);
    if (rules_resolves(&n->o, s))
        put_addr(n, b, "resolvers", &names.addr, sizeof(names.addr), NULL, add);
    if (s->policy.mesh)
        put_addr(n, b, "mesh4", &names.addr, sizeof(names.addr), NULL, add);
    if (!add) /* tracked connections outlive the slot by seconds and are not the next one's; what it began in its last second is, or each instance that dies would be worth a burst */
        put_addr(n, b, "conns4", &names.addr, sizeof(names.addr), NULL, false);
    if (!s->policy.ipv6)
        return;
    if (!add)
        put_addr(n, b, "conns6", &names.addr6, sizeof(names.addr6), NULL, false);
    put_sender(n, b, &names, false, add);
    if (chain)
        put_addr(n, b, "policies6", &names.addr6, sizeof(names.addr6), chain, add);
    if (s->policy.mesh)
        put_addr(n, b, "mesh6", &names.addr6, sizeof(names.addr6), NULL, add);
}

int rules_slot_add(struct net *n, const struct net_slot *s)
{
    cleanup_nft struct nft_batch b = {0};

    nft_begin(&b);
    put_slot(n, &b, s, true);
    return nft_send(&b, n->nft_fd);
}

/* What was opened goes first: should there be so much of it that it takes several transactions, the slot is known until the last. */
int rules_slot_remove(struct net *n, const struct net_slot *s)
{
    cleanup_nft struct nft_batch b = {0};
    int r = 0;

    for (size_t i = 0; i < s->nopens && r == 0;) {
        nft_begin(&b);
        for (size_t k = 0; k < NFT_CHUNK && i < s->nopens; k++, i++) {
            struct nft_elem e;

            open_host_elem(n, s, &s->opens[i], 0, &e);
            e.timeout_ms = 0;
            nft_put_elem_gone(&b, n->o.bridge, &e);
        }
        r = nft_send(&b, n->nft_fd);
    }
    if (r < 0)
        return r;
    nft_begin(&b);
    put_slot(n, &b, s, false);
    return nft_send(&b, n->nft_fd);
}

/* ---- counters ---- */

#define COUNTER(fam, name, field)                                                                                                                              \
    {                                                                                                                                                          \
        fam, name, offsetof(struct net_counters, field)                                                                                                        \
    }

const struct rules_counter rules_counters[] = {
    COUNTER(NFPROTO_BRIDGE, "spoofed_mac_ip", spoofed_mac_ip),
    COUNTER(NFPROTO_BRIDGE, "spoofed_arp", spoofed_arp),
    COUNTER(NFPROTO_BRIDGE, "other_frames", other_frames),
    COUNTER(NFPROTO_INET, "spoofed_mac_ip", spoofed_mac_ip),
    COUNTER(NFPROTO_INET, "to_host", to_host),
    COUNTER(NFPROTO_INET, "egress_refused", egress_refused),
    COUNTER(NFPROTO_INET, "mesh_refused", mesh_refused),
    COUNTER(NFPROTO_INET, "from_outside", from_outside),
    COUNTER(NFPROTO_INET, "conns_refused", conns_refused),
};
const size_t rules_counters_n = sizeof(rules_counters) / sizeof(rules_counters[0]);

static int on_counter(const struct nlmsghdr *h, void *arg)
{
    struct nftnl_obj *o = nftnl_obj_alloc();
    struct net_counters *c = arg;
    const char *name;

    if (!o || nftnl_obj_nlmsg_parse(h, o) < 0) {
        nftnl_obj_free(o);
        return MNL_CB_OK;
    }
    name = nftnl_obj_get_str(o, NFTNL_OBJ_NAME);
    for (size_t i = 0; i < rules_counters_n && name; i++)
        if (rules_counters[i].family == nftnl_obj_get_u32(o, NFTNL_OBJ_FAMILY) && strcmp(rules_counters[i].name, name) == 0)
            *(uint64_t *)((char *)c + rules_counters[i].offset) += nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_PKTS);
    nftnl_obj_free(o);
    return MNL_CB_OK;
}

int rules_counters_read(struct net *n, struct net_counters *ret)
{
    int r = -EINTR;

    for (unsigned i = 0; i < NFT_DUMP_TRIES && r == -EINTR; i++) {
        struct net_counters c = {0};

        r = nft_dump(n->nft_fd, NFT_MSG_GETOBJ, NFPROTO_BRIDGE, n->o.bridge, NULL, on_counter, &c);
        if (r == 0)
            r = nft_dump(n->nft_fd, NFT_MSG_GETOBJ, NFPROTO_INET, n->o.bridge, NULL, on_counter, &c);
        if (r == 0)
            *ret = c;
    }
    return r;
}

int net_counters(struct net *n, struct net_counters *ret, struct diag *d)
{
    struct net_counters now = {0};
    int r = rules_counters_read(n, &now);

    if (r < 0)
        return diag_errno(d, -r, "nftables counters");
    *ret = n->counted; /* by tables that are no more */
    for (size_t i = 0; i < sizeof(now) / sizeof(uint64_t); i++)
        ((uint64_t *)ret)[i] += ((const uint64_t *)&now)[i];
    return 0;
}
