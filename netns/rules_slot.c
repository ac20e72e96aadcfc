/*
 * rules_slot.c: the nftables rules inside a slot: they hold whatever happens to the host's table, and a refused connection fails at once instead of hanging.
 *
 *   table inet fnd { chain output { type filter hook output priority 0; policy drop;
 *       oif 1 accept                                                                          # lo
 *       ip saddr ADDR ip daddr BRIDGE tcp flags & (syn | ack) != syn accept                   # answers
 *       meta l4proto tcp reject with tcp reset
 *       reject with icmpx admin-prohibited } }
 *
 * No connection tracking, which would cost every packet of every request: without raw sockets (and nobody has power over this namespace) a segment other than a first SYN only leaves for a connection that
 * exists. Input needs no chain: what arrives was let through by the host. libnftnl, in one transaction.
 */
#include "net_internal.h"

#include "diag.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define TABLE            "fnd"
#define CHAIN            "output"
#define RULES_BYTES      8192 /* the transaction has about 2000 */
#define IP_SADDR_OFFSET  12
#define TCP_FLAGS_OFFSET 13
#define LOOPBACK_INDEX   1U

struct rules_batch {
    char buf[RULES_BYTES] __attribute__((aligned(8)));
    struct mnl_nlmsg_batch *batch;
    struct nlmsghdr *last;
    uint32_t seq;
};

static struct nlmsghdr *batch_message(struct rules_batch *b, uint16_t type, uint16_t flags)
{
    b->last = nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(b->batch), type, NFPROTO_INET, flags, b->seq++);
    return b->last;
}

static void ex_add(struct nftnl_rule *r, struct nftnl_expr *e)
{
    if (e)
        nftnl_rule_add_expr(r, e);
}

static void ex_meta(struct nftnl_rule *r, uint32_t key)
{
    struct nftnl_expr *e = nftnl_expr_alloc("meta");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
    nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
    ex_add(r, e);
}

static void ex_payload(struct nftnl_rule *r, uint32_t base, uint32_t offset, uint32_t len)
{
    struct nftnl_expr *e = nftnl_expr_alloc("payload");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
    nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    ex_add(r, e);
}

static void ex_mask(struct nftnl_rule *r, uint8_t mask)
{
    struct nftnl_expr *e = nftnl_expr_alloc("bitwise");
    const uint8_t zero = 0;

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
    nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, sizeof(mask));
    nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof(mask));
    nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, &zero, sizeof(zero));
    ex_add(r, e);
}

static void ex_cmp(struct nftnl_rule *r, uint32_t op, const void *data, uint32_t len)
{
    struct nftnl_expr *e = nftnl_expr_alloc("cmp");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
    nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len);
    ex_add(r, e);
}

static void ex_accept(struct nftnl_rule *r)
{
    struct nftnl_expr *e = nftnl_expr_alloc("immediate");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, NF_ACCEPT);
    ex_add(r, e);
}

static void ex_reject(struct nftnl_rule *r, uint32_t type, uint8_t code)
{
    struct nftnl_expr *e = nftnl_expr_alloc("reject");

    if (!e)
        return;
    nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE, type);
    nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, code);
    ex_add(r, e);
}

static void rule_loopback(struct nftnl_rule *r, const struct net_slot_names *s)
{
    const uint32_t lo = LOOPBACK_INDEX;

    ex_meta(r, NFT_META_OIF);
    ex_cmp(r, NFT_CMP_EQ, &lo, sizeof(lo));
    ex_accept(r);
}

static void match_tcp(struct nftnl_rule *r)
{
    const uint8_t tcp = IPPROTO_TCP;

    ex_meta(r, NFT_META_L4PROTO);
    ex_cmp(r, NFT_CMP_EQ, &tcp, sizeof(tcp));
}

static void rule_answers(struct nftnl_rule *r, const struct net_slot_names *s)
{
    const struct in_addr pair[2] = {s->addr, s->bridge_addr}; /* source and destination are side by side in the header */
    const uint8_t ipv4 = NFPROTO_IPV4, syn = TH_SYN;

    ex_meta(r, NFT_META_NFPROTO);
    ex_cmp(r, NFT_CMP_EQ, &ipv4, sizeof(ipv4));
    match_tcp(r);
    ex_payload(r, NFT_PAYLOAD_NETWORK_HEADER, IP_SADDR_OFFSET, sizeof(pair));
    ex_cmp(r, NFT_CMP_EQ, pair, sizeof(pair));
    ex_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFFSET, 1);
    ex_mask(r, TH_SYN | TH_ACK);
    ex_cmp(r, NFT_CMP_NEQ, &syn, sizeof(syn));
    ex_accept(r);
}

static void rule_reject_tcp(struct nftnl_rule *r, const struct net_slot_names *s)
{
    match_tcp(r);
    ex_reject(r, NFT_REJECT_TCP_RST, 0);
}

static void rule_reject_rest(struct nftnl_rule *r, const struct net_slot_names *s)
{
    ex_reject(r, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
}

static const struct {
    void (*fill)(struct nftnl_rule *r, const struct net_slot_names *s);
    unsigned expressions; /* a rule that lost one to a failed allocation would mean something else */
} slot_rules[] = {{rule_loopback, 3}, {rule_answers, 10}, {rule_reject_tcp, 3}, {rule_reject_rest, 1}};

static int count_expr(struct nftnl_expr *e, void *arg)
{
    ++*(unsigned *)arg;
    return 0;
}

static int batch_table(struct rules_batch *b)
{
    struct nftnl_table *t = nftnl_table_alloc();

    if (!t || nftnl_table_set_str(t, NFTNL_TABLE_NAME, TABLE) < 0) {
        nftnl_table_free(t);
        return -ENOMEM;
    }
    nftnl_table_nlmsg_build_payload(batch_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL), t);
    mnl_nlmsg_batch_next(b->batch);
    nftnl_table_free(t);
    return 0;
}

static int batch_chain(struct rules_batch *b)
{
    struct nftnl_chain *c = nftnl_chain_alloc();

    if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, TABLE) < 0 || nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, CHAIN) < 0 ||
        nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter") < 0) {
        nftnl_chain_free(c);
        return -ENOMEM;
    }
    nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, NF_INET_LOCAL_OUT);
    nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, 0);
    nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_DROP);
    nftnl_chain_nlmsg_build_payload(batch_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL), c);
    mnl_nlmsg_batch_next(b->batch);
    nftnl_chain_free(c);
    return 0;
}

static int batch_rule(struct rules_batch *b, size_t i, const struct net_slot_names *s)
{
    struct nftnl_rule *r = nftnl_rule_alloc();
    unsigned n = 0;

    if (!r || nftnl_rule_set_str(r, NFTNL_RULE_TABLE, TABLE) < 0 || nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, CHAIN) < 0) {
        nftnl_rule_free(r);
        return -ENOMEM;
    }
    slot_rules[i].fill(r, s);
    nftnl_expr_foreach(r, count_expr, &n);
    if (n == slot_rules[i].expressions) {
        nftnl_rule_nlmsg_build_payload(batch_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND), r);
        mnl_nlmsg_batch_next(b->batch);
    }
    nftnl_rule_free(r);
    return n == slot_rules[i].expressions ? 0 : -ENOMEM;
}

static int batch_fill(struct rules_batch *b, const struct net_slot_names *s)
{
    int r;

    nftnl_batch_begin(mnl_nlmsg_batch_current(b->batch), b->seq++);
    mnl_nlmsg_batch_next(b->batch);
    r = batch_table(b);
    if (r == 0)
        r = batch_chain(b);
    for (size_t i = 0; r == 0 && i < sizeof(slot_rules) / sizeof(slot_rules[0]); i++)
        r = batch_rule(b, i, s);
    if (r < 0)
        return r;
    b->last->nlmsg_flags |= NLM_F_ACK;
    nftnl_batch_end(mnl_nlmsg_batch_current(b->batch), b->seq++);
    mnl_nlmsg_batch_next(b->batch);
    return 0;
}

/* The transaction's outcome: errors come first, of any message or of the whole; then the acknowledgement that the last rule asked for. One datagram each. */
static int batch_outcome(int sock)
{
    char buf[4096] __attribute__((aligned(8)));
    ssize_t got;
    const struct nlmsghdr *h = (const struct nlmsghdr *)buf;
    const struct nlmsgerr *e;

    do
        got = recv(sock, buf, sizeof(buf), 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    if (!mnl_nlmsg_ok(h, (int)got) || h->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(h) < sizeof(*e))
        return -EPROTO;
    e = mnl_nlmsg_get_payload(h);
    return e->error;
}

static int batch_send(int sock, const struct rules_batch *b)
{
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t sent;

    do
        sent = sendto(sock, mnl_nlmsg_batch_head(b->batch), mnl_nlmsg_batch_size(b->batch), 0, (const struct sockaddr *)&kernel, sizeof(kernel));
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : batch_outcome(sock);
}

int rules_slot_install(int sock, const struct net_slot_names *names, struct diag *d)
{
    struct rules_batch b = {.seq = 1};
    int r = -ENOMEM;

    b.batch = mnl_nlmsg_batch_start(b.buf, sizeof(b.buf));
    if (b.batch) {
        r = batch_fill(&b, names);
        if (r == 0)
            r = batch_send(sock, &b);
        mnl_nlmsg_batch_stop(b.batch);
    }
    if (r == -EOPNOTSUPP || r == -ENOENT || r == -EPROTONOSUPPORT)
        return diag_set(d, EOPNOTSUPP,
                        "nftables rules of the slot: the kernel has no nftables with reject: load the modules nf_tables and nft_reject_inet, or enable "
                        "CONFIG_NFT_REJECT and CONFIG_NF_TABLES_INET");
    return r < 0 ? diag_errno(d, -r, "nftables rules of the slot") : 0;
}
