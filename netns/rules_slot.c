/*
 * rules_slot.c: the nftables rules inside a slot: they hold whatever happens to the host's tables, and a refused connection fails at once instead of hanging.
 *
 *   table inet fnd { chain output { type filter hook output priority 0; policy drop;
 *       oif 1 accept                                                                          # lo
 *       ip saddr ADDR ip daddr BRIDGE tcp flags & (syn | ack) != syn accept                   # answers
 *       ip daddr BRIDGE tcp dport GATEWAY accept                                              # if there is one
 *       ip daddr BRIDGE udp dport 53 limit rate 1000/second accept, with tcp unlimited        # egress is not `no`
 *       ip daddr @host4 goto refuse
 *       ip daddr & 0.0.3.255 == 1 ip daddr SUBNET goto refuse, ip daddr SUBNET accept         # mesh: siblings, not their bridges
 *       ip daddr @never4 goto refuse
 *       meta nfproto ipv6 goto refuse                                                         # without ipv6; else host6, mesh, never6 as above
 *       tcp flags & (syn | ack) != syn accept
 *       ip daddr . th dport @open4 accept
 *       ip daddr @closed4 goto refuse, accept                                                 # internet, lan
 *       goto refuse }
 *     chain refuse { meta l4proto tcp reject with tcp reset; reject with icmpx admin-prohibited }
 *     chain input { type filter hook input priority 0; policy accept;
 *       ip saddr BRIDGE accept; iif 1 accept
 *       ip saddr SUBNET accept                                                                # mesh; without: drop
 *       tcp flags & (syn | ack) == syn drop } }                                               # IPv6 the same
 *
 * No connection tracking, which would cost every packet of every request: without raw sockets (and nobody has power over this namespace) a segment other than a first SYN only leaves for a connection that
 * exists. Input is for the time in which somebody has removed the host's tables: new connections come from the bridge and, with mesh, from siblings. libnftnl, in one transaction; of it only host4, host6, open4 and open6 change later.
 */
#include "nft_internal.h"

#include "diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/tcp.h>
#include <string.h>

#define CHAIN            "output"
#define INPUT            "input"
#define REFUSE           "refuse"
#define IP_SADDR_OFFSET  12
#define IP_DADDR_OFFSET  16
#define IP6_SADDR_OFFSET 8
#define IP6_DADDR_OFFSET 24
#define TH_DPORT_OFFSET  2
#define TCP_FLAGS_OFFSET 13
#define LOOPBACK_INDEX   1U
#define DNS_PORT         53
#define DNS_RATE         1000U /* queries a second: all slots of a bridge share one socket's buffer; what is beyond is refused */
#define BRIDGE_LOW_BITS  1023U /* of an address: its place on its bridge; 1 is the bridge */

struct slot_view {
    const struct net_options *o;
    const struct net_slot_names *names;
    const struct net_policy *policy;
};

/* ---- matches ---- */

static void match_family(struct nft_rule *r, uint8_t family)
{
    ex_meta(r, NFT_META_NFPROTO);
    ex_cmp(r, NFT_CMP_EQ, &family, sizeof(family));
}

static void match_l4(struct nft_rule *r, uint8_t protocol)
{
    ex_meta(r, NFT_META_L4PROTO);
    ex_cmp(r, NFT_CMP_EQ, &protocol, sizeof(protocol));
}

static void match_segments(struct nft_rule *r, bool first)
{
    const uint8_t syn = TH_SYN, mask = TH_SYN | TH_ACK;

    match_l4(r, IPPROTO_TCP);
    ex_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1, NFT_REG_1);
    ex_mask(r, &mask, sizeof(mask));
    ex_cmp(r, first ? NFT_CMP_EQ : NFT_CMP_NEQ, &syn, sizeof(syn));
}

static void match_bridge(struct nft_rule *r, const struct slot_view *v)
{
    const struct in_addr pair[2] = {v->names->addr, v->names->bridge_addr}; /* source and destination are side by side in the header */

    match_family(r, NFPROTO_IPV4);
    ex_payload(r, NFT_PAYLOAD_NETWORK_HEADER, IP_SADDR_OFFSET, sizeof(pair), NFT_REG_1);
    ex_cmp(r, NFT_CMP_EQ, pair, sizeof(pair));
}

static void match_port(struct nft_rule *r, uint8_t protocol, uint16_t port)
{
    const uint16_t wire = htons(port);

    match_l4(r, protocol);
    ex_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, TH_DPORT_OFFSET, sizeof(wire), NFT_REG_1);
    ex_cmp(r, NFT_CMP_EQ, &wire, sizeof(wire));
}

static void match_daddr(struct nft_rule *r, bool four)
{
    match_family(r, four ? NFPROTO_IPV4 : NFPROTO_IPV6);
    ex_payload(r, NFT_PAYLOAD_NETWORK_HEADER, four ? IP_DADDR_OFFSET : IP6_DADDR_OFFSET, four ? 4 : 16, NFT_REG_1);
}

static void match_addr_bits(struct nft_rule *r, uint32_t offset, uint32_t mask, uint32_t value)
{
    const uint32_t m = htonl(mask), v = htonl(value);

    match_family(r, NFPROTO_IPV4);
    ex_payload(r, NFT_PAYLOAD_NETWORK_HEADER, offset, sizeof(m), NFT_REG_1);
    ex_mask(r, &m, sizeof(m));
    ex_cmp(r, NFT_CMP_EQ, &v, sizeof(v));
}

static void match_subnet(struct nft_rule *r, uint32_t offset, const struct slot_view *v)
{
    match_addr_bits(r, offset, ~(UINT32_MAX >> v->o->prefix_len), ntohl(v->o->subnet.s_addr));
}

static void match_prefix6(struct nft_rule *r, uint32_t offset, const struct slot_view *v)
{
    struct in6_addr prefix;

    net_prefix6(v->o, &prefix);
    match_family(r, NFPROTO_IPV6);
    ex_payload(r, NFT_PAYLOAD_NETWORK_HEADER, offset, NET_PREFIX6_BYTES, NFT_REG_1);
    ex_cmp(r, NFT_CMP_EQ, &prefix, NET_PREFIX6_BYTES);
}

/* ---- rules ---- */

static void rule_loopback(struct nft_rule *r, const struct slot_view *v)
{
    const uint32_t lo = LOOPBACK_INDEX;

    ex_meta(r, NFT_META_OIF);
    ex_cmp(r, NFT_CMP_EQ, &lo, sizeof(lo));
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_answers(struct nft_rule *r, const struct slot_view *v)
{
    match_bridge(r, v);
    match_segments(r, false);
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_gateway(struct nft_rule *r, const struct slot_view *v)
{
    match_bridge(r, v);
    match_port(r, IPPROTO_TCP, v->o->gateway_port);
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_dns_udp(struct nft_rule *r, const struct slot_view *v)
{
    match_bridge(r, v);
    match_port(r, IPPROTO_UDP, DNS_PORT);
    ex_limit(r, DNS_RATE);
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_dns_tcp(struct nft_rule *r, const struct slot_view *v)
{
    match_bridge(r, v);
    match_port(r, IPPROTO_TCP, DNS_PORT);
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_host4(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, true);
    ex_lookup(r, "host4");
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_host6(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, false);
    ex_lookup(r, "host6");
    ex_verdict(r, NFT_GOTO, REFUSE);
}

/* Also the bridges that are made after this slot. */
static void rule_bridges4(struct nft_rule *r, const struct slot_view *v)
{
    match_addr_bits(r, IP_DADDR_OFFSET, BRIDGE_LOW_BITS, 1);
    match_subnet(r, IP_DADDR_OFFSET, v);
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_mesh4(struct nft_rule *r, const struct slot_view *v)
{
    match_subnet(r, IP_DADDR_OFFSET, v);
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_bridges6(struct nft_rule *r, const struct slot_view *v)
{
    const uint8_t bridge[8] = {0, 0, 0, 0, 0, 0, 0, 1};

    match_prefix6(r, IP6_DADDR_OFFSET, v);
    ex_payload(r, NFT_PAYLOAD_NETWORK_HEADER, IP6_DADDR_OFFSET + 8, sizeof(bridge), NFT_REG_1);
    ex_cmp(r, NFT_CMP_EQ, bridge, sizeof(bridge));
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_mesh6(struct nft_rule *r, const struct slot_view *v)
{
    match_prefix6(r, IP6_DADDR_OFFSET, v);
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_never4(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, true);
    ex_lookup(r, "never4");
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_never6(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, false);
    ex_lookup(r, "never6");
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_no_ipv6(struct nft_rule *r, const struct slot_view *v)
{
    match_family(r, NFPROTO_IPV6);
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_later(struct nft_rule *r, const struct slot_view *v)
{
    match_segments(r, false);
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_open4(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, true);
    ex_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, TH_DPORT_OFFSET, 2, NFT_REG32_01);
    ex_lookup(r, "open4");
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_open6(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, false);
    ex_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, TH_DPORT_OFFSET, 2, NFT_REG32_04);
    ex_lookup(r, "open6");
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_closed4(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, true);
    ex_lookup(r, "closed4");
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_closed6(struct nft_rule *r, const struct slot_view *v)
{
    match_daddr(r, false);
    ex_lookup(r, "closed6");
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_accept(struct nft_rule *r, const struct slot_view *v)
{
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_refuse(struct nft_rule *r, const struct slot_view *v)
{
    ex_verdict(r, NFT_GOTO, REFUSE);
}

static void rule_reject_tcp(struct nft_rule *r, const struct slot_view *v)
{
    match_l4(r, IPPROTO_TCP);
    ex_reject(r, NFT_REJECT_TCP_RST, 0);
}

static void rule_reject_rest(struct nft_rule *r, const struct slot_view *v)
{
    ex_reject(r, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
}

static void rule_in_bridge(struct nft_rule *r, const struct slot_view *v)
{
    match_family(r, NFPROTO_IPV4);
    ex_payload(r, NFT_PAYLOAD_NETWORK_HEADER, IP_SADDR_OFFSET, sizeof(v->names->bridge_addr), NFT_REG_1);
    ex_cmp(r, NFT_CMP_EQ, &v->names->bridge_addr, sizeof(v->names->bridge_addr));
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_in_loopback(struct nft_rule *r, const struct slot_view *v)
{
    const uint32_t lo = LOOPBACK_INDEX;

    ex_meta(r, NFT_META_IIF);
    ex_cmp(r, NFT_CMP_EQ, &lo, sizeof(lo));
    ex_verdict(r, NF_ACCEPT, NULL);
}

static void rule_in_siblings4(struct nft_rule *r, const struct slot_view *v)
{
    match_subnet(r, IP_SADDR_OFFSET, v);
    ex_verdict(r, v->policy->mesh ? NF_ACCEPT : NF_DROP, NULL);
}

static void rule_in_siblings6(struct nft_rule *r, const struct slot_view *v)
{
    match_prefix6(r, IP6_SADDR_OFFSET, v);
    ex_verdict(r, v->policy->mesh ? NF_ACCEPT : NF_DROP, NULL);
}

static void rule_in_first(struct nft_rule *r, const struct slot_view *v)
{
    match_segments(r, true);
    ex_verdict(r, NF_DROP, NULL);
}

/* ---- when a rule is there ---- */

enum slot_need { NEED_GATEWAY = 1, NEED_DNS = 2, NEED_MESH = 4, NEED_IPV6 = 8, NEED_NO_IPV6 = 16, NEED_WIDE = 32 };

static unsigned slot_has(const struct slot_view *v)
{
    const uint32_t egress = v->policy->egress;

    return (v->o->gateway_port ? NEED_GATEWAY : 0U) | (v->o->dns && (egress != NET_EGRESS_NO || v->policy->mesh) ? NEED_DNS : 0U) |
           (v->policy->mesh ? NEED_MESH : 0U) | (v->policy->ipv6 ? NEED_IPV6 : NEED_NO_IPV6) |
           (egress == NET_EGRESS_INTERNET || egress == NET_EGRESS_LAN ? NEED_WIDE : 0U);
}

static const struct {
    const char *chain;
    unsigned need;
    void (*fill)(struct nft_rule *r, const struct slot_view *v);
} slot_rules[] = {
    {CHAIN, 0, rule_loopback},
    {CHAIN, 0, rule_answers},
    {CHAIN, NEED_GATEWAY, rule_gateway},
    {CHAIN, NEED_DNS, rule_dns_udp},
    {CHAIN, NEED_DNS, rule_dns_tcp},
    {CHAIN, NEED_NO_IPV6, rule_no_ipv6},
    {CHAIN, 0, rule_host4},
    {CHAIN, NEED_MESH, rule_bridges4},
    {CHAIN, NEED_MESH, rule_mesh4},
    {CHAIN, 0, rule_never4},
    {CHAIN, NEED_IPV6, rule_host6},
    {CHAIN, NEED_IPV6 | NEED_MESH, rule_bridges6},
    {CHAIN, NEED_IPV6 | NEED_MESH, rule_mesh6},
    {CHAIN, NEED_IPV6, rule_never6},
    {CHAIN, 0, rule_later},
    {CHAIN, 0, rule_open4},
    {CHAIN, NEED_IPV6, rule_open6},
    {CHAIN, NEED_WIDE, rule_closed4},
    {CHAIN, NEED_WIDE | NEED_IPV6, rule_closed6},
    {CHAIN, NEED_WIDE, rule_accept},
    {CHAIN, 0, rule_refuse},
    {REFUSE, 0, rule_reject_tcp},
    {REFUSE, 0, rule_reject_rest},
    {INPUT, 0, rule_in_bridge},
    {INPUT, 0, rule_in_loopback},
    {INPUT, 0, rule_in_siblings4},
    {INPUT, NEED_IPV6, rule_in_siblings6},
    {INPUT, 0, rule_in_first},
};

static const struct {
    const char *name;
    unsigned need;
    uint32_t flags, key_len;
    int family;         /* of an interval set's ranges */
    bool never, closed; /* which */
} slot_sets[] = {
    {"host4", 0, 0, 4, 0, false, false},
    {"host6", NEED_IPV6, 0, 16, 0, false, false},
    {"open4", 0, NFT_SET_TIMEOUT, 8, 0, false, false},
    {"open6", NEED_IPV6, NFT_SET_TIMEOUT, 20, 0, false, false},
    {"never4", 0, NFT_SET_INTERVAL | NFT_SET_CONSTANT, 4, AF_INET, true, false},
    {"never6", NEED_IPV6, NFT_SET_INTERVAL | NFT_SET_CONSTANT, 16, AF_INET6, true, false},
    {"closed4", NEED_WIDE, NFT_SET_INTERVAL | NFT_SET_CONSTANT, 4, AF_INET, false, true},
    {"closed6", NEED_WIDE | NEED_IPV6, NFT_SET_INTERVAL | NFT_SET_CONSTANT, 16, AF_INET6, false, true},
};

/* ---- putting them into a transaction ---- */

static void put_table(struct nft_batch *b)
{
    struct nlmsghdr *h = nft_message(b, NFT_MSG_NEWTABLE, NFPROTO_INET, NLM_F_CREATE | NLM_F_EXCL);
    struct nftnl_table *t = nftnl_table_alloc();

    if (!t || nftnl_table_set_str(t, NFTNL_TABLE_NAME, RULES_SLOT_TABLE) < 0)
        b->err = ENOMEM;
    if (h && !b->err) {
        nftnl_table_nlmsg_build_payload(h, t);
        nft_message_end(b, h);
    }
    nftnl_table_free(t);
}

/* `hook` -1: no base chain. */
static void put_chain(struct nft_batch *b, const char *name, int hook, uint32_t policy)
{
    struct nlmsghdr *h = nft_message(b, NFT_MSG_NEWCHAIN, NFPROTO_INET, NLM_F_CREATE | NLM_F_EXCL);
    struct nftnl_chain *c = nftnl_chain_alloc();

    if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, RULES_SLOT_TABLE) < 0 || nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name) < 0 ||
        (hook >= 0 && nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter") < 0))
        b->err = ENOMEM;
    if (h && !b->err) {
        if (hook >= 0) {
            nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, (uint32_t)hook);
            nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, 0);
            nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, policy);
        }
        nftnl_chain_nlmsg_build_payload(h, c);
        nft_message_end(b, h);
    }
    nftnl_chain_free(c);
}

static void put_set(struct nft_batch *b, size_t i)
{
    struct nlmsghdr *h = nft_message(b, NFT_MSG_NEWSET, NFPROTO_INET, NLM_F_CREATE | NLM_F_EXCL);
    struct nftnl_set *s = nftnl_set_alloc();

    if (!s || nftnl_set_set_str(s, NFTNL_SET_TABLE, RULES_SLOT_TABLE) < 0 || nftnl_set_set_str(s, NFTNL_SET_NAME, slot_sets[i].name) < 0)
        b->err = ENOMEM;
    if (h && !b->err) {
        nftnl_set_set_u32(s, NFTNL_SET_ID, (uint32_t)i + 1);
        nftnl_set_set_u32(s, NFTNL_SET_FLAGS, slot_sets[i].flags);
        nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, slot_sets[i].key_len);
        nftnl_set_nlmsg_build_payload(h, s);
        nft_message_end(b, h);
    }
    if (s)
        nftnl_set_free(s);
}

static bool put_bound(struct nftnl_set *s, const uint8_t *addr, size_t len, bool end)
{
    struct nftnl_set_elem *e = nftnl_set_elem_alloc();

    if (!e)
        return false;
    nftnl_set_elem_add(s, e);
    if (end)
        nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    return nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, addr, (uint32_t)len) == 0;
}

/* An interval ends before the address after its last; one that ends with the last address of all has no end. */
static bool put_range(struct nftnl_set *s, const struct special_range *range, size_t len)
{
    uint8_t after[16];
    size_t i = len;

    memcpy(after, range->last, sizeof(after));
    while (i > 0 && ++after[i - 1] == 0)
        i--;
    return put_bound(s, range->first, len, false) && (i == 0 || put_bound(s, after, len, true));
}

static void put_ranges(struct nft_batch *b, size_t i, const struct slot_view *v)
{
    struct nlmsghdr *h = nft_message(b, NFT_MSG_NEWSETELEM, NFPROTO_INET, NLM_F_CREATE);
    struct special_range ranges[SPECIAL_MAX];
    size_t n = special_ranges(v->o, slot_sets[i].family, ranges);
    const bool private = v->policy->egress == NET_EGRESS_INTERNET;
    struct nftnl_set *s = nftnl_set_alloc();
    bool good = s && nftnl_set_set_str(s, NFTNL_SET_TABLE, RULES_SLOT_TABLE) == 0 && nftnl_set_set_str(s, NFTNL_SET_NAME, slot_sets[i].name) == 0;

    for (size_t k = 0; k < n && good; k++)
        if (slot_sets[i].never ? ranges[k].class == SPECIAL_NEVER : ranges[k].class == SPECIAL_RESERVED || (private && ranges[k].class == SPECIAL_PRIVATE))
            good = put_range(s, &ranges[k], slot_sets[i].key_len);
    if (!good)
        b->err = ENOMEM;
    if (h && good) {
        nftnl_set_elems_nlmsg_build_payload(h, s);
        nft_message_end(b, h);
    }
    if (s)
        nftnl_set_free(s);
}

static void put_rule(struct nft_batch *b, size_t i, const struct slot_view *v)
{
    struct nlmsghdr *h = nft_message(b, NFT_MSG_NEWRULE, NFPROTO_INET, NLM_F_CREATE | NLM_F_APPEND);
    struct nft_rule r = {.r = nftnl_rule_alloc()};

    r.failed = !r.r || nftnl_rule_set_str(r.r, NFTNL_RULE_TABLE, RULES_SLOT_TABLE) < 0 || nftnl_rule_set_str(r.r, NFTNL_RULE_CHAIN, slot_rules[i].chain) < 0;
    if (!r.failed)
        slot_rules[i].fill(&r, v);
    if (r.failed)
        b->err = ENOMEM;
    if (h && !r.failed) {
        nftnl_rule_nlmsg_build_payload(h, r.r);
        nft_message_end(b, h);
    }
    if (r.r)
        nftnl_rule_free(r.r);
}

void rules_slot_host_elem(struct nft_batch *b, const struct net_policy *p, const struct in6_addr *addr, bool add)
{
    const bool four = IN6_IS_ADDR_V4MAPPED(addr);
    struct nft_elem e = {.family = NFPROTO_INET, .set = four ? "host4" : "host6"};

    if (!four && !p->ipv6)
        return;
    nft_key(&e, addr->s6_addr + (four ? 12 : 0), four ? 4 : 16);
    if (add)
        nft_put_elem(b, RULES_SLOT_TABLE, &e, true);
    else
        nft_put_elem_gone(b, RULES_SLOT_TABLE, &e);
}

int rules_slot_install(int sock, const struct net *n, const struct net_slot_names *names, const struct net_policy *policy, struct diag *d)
{
    const struct slot_view v = {.o = &n->o, .names = names, .policy = policy};
    const unsigned has = slot_has(&v);
    cleanup_nft struct nft_batch b = {0};
    int r;

    nft_begin(&b);
    put_table(&b);
    put_chain(&b, REFUSE, -1, 0);
    put_chain(&b, CHAIN, NF_INET_LOCAL_OUT, NF_DROP);
    put_chain(&b, INPUT, NF_INET_LOCAL_IN, NF_ACCEPT);
    for (size_t i = 0; i < sizeof(slot_sets) / sizeof(slot_sets[0]); i++)
        if ((slot_sets[i].need & ~has) == 0) {
            put_set(&b, i);
            if (slot_sets[i].never || slot_sets[i].closed)
                put_ranges(&b, i, &v);
        }
    for (size_t i = 0; i < n->addrs.n; i++)
        rules_slot_host_elem(&b, policy, &n->addrs.all[i], true);
    for (size_t i = 0; i < sizeof(slot_rules) / sizeof(slot_rules[0]); i++)
        if ((slot_rules[i].need & ~has) == 0)
            put_rule(&b, i, &v);
    r = nft_send(&b, sock);
    if (r == -EOPNOTSUPP || r == -ENOENT || r == -EPROTONOSUPPORT)
        return diag_set(d, EOPNOTSUPP,
                        "nftables rules of the slot: the kernel has no nftables with reject: load the modules nf_tables and nft_reject_inet, or enable "
                        "CONFIG_NFT_REJECT and CONFIG_NF_TABLES_INET");
    return r < 0 ? diag_errno(d, -r, "nftables rules of the slot") : 0;
}
