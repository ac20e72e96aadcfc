/*
 * foreign.c: rules of other owners that meet our traffic. Read only.
 *
 * A verdict of ours ends nothing: a packet passes every chain at its hook, and one drop is enough. So a firewall whose policy is drop needs a rule for our bridges, which is its owner's to write.
 */
#include "nft_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define FOREIGN_MAX 16

struct foreign_chain {
    uint32_t family, hook;
    char table[64], chain[64];
    bool drops, has_rules;
};

struct foreign_search {
    const char *own;
    struct foreign_chain found[FOREIGN_MAX];
    size_t n;
};

static int on_chain(const struct nlmsghdr *h, void *arg)
{
    struct nftnl_chain *c = nftnl_chain_alloc();
    struct foreign_search *q = arg;
    uint32_t family, hook;
    const char *table, *type;

    if (!c || nftnl_chain_nlmsg_parse(h, c) < 0 || !nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM)) {
        nftnl_chain_free(c);
        return MNL_CB_OK;
    }
    family = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);
    hook = nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM);
    table = nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE);
    type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);
    if ((family == NFPROTO_INET || family == NFPROTO_IPV4) && hook >= NF_INET_LOCAL_IN && hook <= NF_INET_LOCAL_OUT && type && strcmp(type, "filter") == 0 &&
        table && strcmp(table, q->own) != 0 && q->n < FOREIGN_MAX) {
        struct foreign_chain *f = &q->found[q->n++];

        *f = (struct foreign_chain){.family = family, .hook = hook};
        snprintf(f->table, sizeof(f->table), "%s", table);
        snprintf(f->chain, sizeof(f->chain), "%s", nftnl_chain_get_str(c, NFTNL_CHAIN_NAME));
        f->drops = nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP;
        f->has_rules = nftnl_chain_get_u32(c, NFTNL_CHAIN_USE) > 0;
    }
    nftnl_chain_free(c);
    return MNL_CB_OK;
}

static int foreign_read(int nft_fd, const char *own, struct foreign_search *q)
{
    int r = -EINTR;

    for (unsigned i = 0; i < NFT_DUMP_TRIES && r == -EINTR; i++) {
        *q = (struct foreign_search){.own = own};
        r = nft_dump(nft_fd, NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, NULL, NULL, on_chain, q);
    }
    return r;
}

/* The tables of the old iptables do not show in nftables. */
static bool legacy_filter(void)
{
    char names[256];

    return fd_read_file(AT_FDCWD, "/proc/self/net/ip_tables_names", names, sizeof(names)) > 0 && strstr(names, "filter");
}

int foreign_filters_input(int nft_fd, const char *own)
{
    struct foreign_search q = {0};
    int r = foreign_read(nft_fd, own, &q);

    for (size_t i = 0; i < q.n && r == 0; i++)
        r = q.found[i].hook != NF_INET_FORWARD && (q.found[i].drops || q.found[i].has_rules);
    return r == 0 ? legacy_filter() : r;
}

/* ---- does the owner know our bridges? ---- */

struct mention_search {
    const char *bridge;
    bool found;
};

static int on_expr(struct nftnl_expr *e, void *arg)
{
    struct mention_search *q = arg;
    uint32_t len = 0;
    const char *data;

    if (strcmp(nftnl_expr_get_str(e, NFTNL_EXPR_NAME), "cmp") != 0)
        return 0;
    data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len);
    if (data && len >= strlen(q->bridge) && memcmp(data, q->bridge, strlen(q->bridge)) == 0)
        q->found = true;
    return 0;
}

static int on_rule(const struct nlmsghdr *h, void *arg)
{
    struct nftnl_rule *r = nftnl_rule_alloc();

    if (r && nftnl_rule_nlmsg_parse(h, r) == 0)
        nftnl_expr_foreach(r, on_expr, arg);
    if (r)
        nftnl_rule_free(r);
    return MNL_CB_OK;
}

static bool foreign_mentions(int nft_fd, const struct foreign_chain *f, const char *bridge)
{
    struct mention_search q = {.bridge = bridge};

    return nft_dump(nft_fd, NFT_MSG_GETRULE, (uint16_t)f->family, f->table, NULL, on_rule, &q) == 0 && q.found;
}

static int foreign_explain(const struct net_options *o, const struct foreign_chain *f, struct diag *d)
{
    const char *b = o->bridge, *family = f->family == NFPROTO_INET ? "inet" : "ip", *what;
    char remedy[320];

    what = f->hook == NF_INET_FORWARD ? "functions reach nothing beyond this host" : "functions reach neither the gateway nor its DNS";
    if (strcmp(f->table, "firewalld") == 0)
        snprintf(remedy, sizeof(remedy), "firewall-cmd --permanent --zone=trusted --add-interface=%s0, and --reload (further bridges: %s1, ...)", b, b);
    else if (f->hook == NF_INET_FORWARD && f->family == NFPROTO_IPV4 && strcmp(f->chain, "FORWARD") == 0)
        snprintf(remedy, sizeof(remedy), "iptables -I FORWARD -i %s+ -j ACCEPT, and iptables -I FORWARD -o %s+ -j ACCEPT (ufw: ufw route allow in on %s0)", b,
                 b, b);
    else if (f->hook == NF_INET_LOCAL_IN && f->family == NFPROTO_IPV4 && strcmp(f->chain, "INPUT") == 0)
        snprintf(remedy, sizeof(remedy), "iptables -I INPUT -i %s+ -j ACCEPT (ufw: ufw allow in on %s0)", b, b);
    else if (f->hook == NF_INET_FORWARD)
        snprintf(remedy, sizeof(remedy), "nft insert rule %s %s %s iifname '\"%s*\"' accept, and the same with oifname", family, f->table, f->chain, b);
    else
        snprintf(remedy, sizeof(remedy), "nft insert rule %s %s %s iifname '\"%s*\"' accept", family, f->table, f->chain, b);
    return diag_set(d, EPERM, "the chain %s %s %s drops what it does not know, so %s: %s (what functions may not reach, our own tables refuse)", family,
                    f->table, f->chain, what, remedy);
}

int net_foreign_policy(const struct net_options *o, struct diag *d)
{
    cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    struct foreign_search q = {0};
    int r = fd < 0 ? -errno : foreign_read(fd, o->bridge, &q);

    if (r < 0)
        return diag_errno(d, -r, "reading the nftables chains of this host");
    for (size_t i = 0; i < q.n; i++) {
        const struct foreign_chain *f = &q.found[i];

        if (f->hook != NF_INET_LOCAL_OUT && (f->drops || (strcmp(f->table, "firewalld") == 0 && f->has_rules)) && !foreign_mentions(fd, f, o->bridge))
            return foreign_explain(o, f, d);
    }
    return 0;
}
