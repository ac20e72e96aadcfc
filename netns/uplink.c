/*
 * uplink.c: which interfaces forward. Our bridges, from the first slot on that may reach more than the host; and the interfaces over which replies come back: those of the default routes, and of all routes
 * once private networks may be reached (`wide`). The kernel asks the interface that a packet came in by, so net.ipv4.ip_forward, which would switch all of them and say that the host is a router, is not
 * touched. What we switched on is remembered, also in the host's table for the daemon after this one: there nothing but our slots' traffic may use it, and net_remove() switches it off.
 *
 * IPv6 has one switch for the whole host, which also ends router advertisements for it; since 6.17 there is `force_forwarding` per interface. Where neither is there or on, slots with IPv6 are refused.
 */
#include "nft_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>

static const char *const switches[2] = {"ipv4/conf/%s/forwarding", "ipv6/conf/%s/force_forwarding"};
static const char *const set_names[2] = {"uplinks4", "uplinks6"};

static int switch_write(unsigned six, const char *link, const char *value, struct diag *d)
{
    const struct net_sysctl one = {switches[six], value};

    return net_sysctl_write(&one, 1, link, d);
}

/* -1: there is no such switch. */
static int sysctl_read(const char *format, const char *link)
{
    char path[128] = "/proc/sys/net/", text[16];
    const char *mark = strstr(format, "%s");

    snprintf(path + strlen(path), sizeof(path) - strlen(path), "%.*s%s%s", (int)(mark - format), format, link, mark + 2);
    return fd_read_file(AT_FDCWD, path, text, sizeof(text)) < 0 ? -1 : text[0] != '0';
}

static bool uplinks_have(const struct uplinks *u, const char *name)
{
    for (size_t i = 0; i < u->n; i++)
        if (strcmp(u->names[i], name) == 0)
            return true;
    return false;
}

static void uplinks_put(struct uplinks *u, const char *name)
{
    if (u->n < NET_UPLINKS_MAX && !uplinks_have(u, name))
        snprintf(u->names[u->n++], IFNAMSIZ, "%s", name);
}

/* ---- what the routes say ---- */

struct route_search {
    const struct net *n;
    struct uplinks found;
};

static void on_interface(struct route_search *q, unsigned ifindex)
{
    char name[IFNAMSIZ];
    static const uint8_t no_mac[ETH_ALEN];

    if (!if_indextoname(ifindex, name) || strcmp(name, "lo") == 0 || link_owner(&q->n->o, name, "", no_mac) != LINK_FOREIGN)
        return;
    uplinks_put(&q->found, name);
}

static void on_route(struct nlmsghdr *h, void *arg)
{
    struct nlattr *at[RTA_MAX + 1];
    const struct rtmsg *t = nlmsg_data(h);
    struct route_search *q = arg;

    if (h->nlmsg_type != RTM_NEWROUTE || nlmsg_parse(h, sizeof(*t), at, RTA_MAX, NULL) < 0 || t->rtm_type != RTN_UNICAST || t->rtm_flags & RTM_F_CLONED)
        return;
    if (t->rtm_dst_len != 0 && !q->n->wide)
        return;
    if (at[RTA_OIF])
        on_interface(q, nla_get_u32(at[RTA_OIF]));
    if (at[RTA_MULTIPATH]) {
        const struct rtnexthop *hop = nla_data(at[RTA_MULTIPATH]);

        for (int left = nla_len(at[RTA_MULTIPATH]); RTNH_OK(hop, left); left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
            on_interface(q, (unsigned)hop->rtnh_ifindex);
    }
}

/* Adds to n->uplinks what must be switched on. Returns how many came or went. */
static int uplink_look(struct net *n, unsigned six, struct diag *d)
{
    struct route_search q = {.n = n};
    struct uplinks *u = &n->uplinks[six];
    const bool router = sysctl_read(six ? "ipv6/conf/%s/forwarding" : "ipv4/conf/%s/forwarding", "all") == 1;
    int r, changed = 0;

    if (router && !u->router && u->n) { /* the administrator has made this host a router since: then it is one on these interfaces too */
        changed = (int)u->n;
        u->n = 0;
    }
    u->router = router;
    if (six && router)
        return changed;
    r = rt_dump(n->rt, RTM_GETROUTE, six ? AF_INET6 : AF_INET, on_route, &q, d);
    if (r < 0)
        return diag_prefix(d, "routes");
    for (size_t i = 0; i < q.found.n; i++)
        if (!uplinks_have(u, q.found.names[i]) && sysctl_read(switches[six], q.found.names[i]) == 0) {
            uplinks_put(u, q.found.names[i]);
            changed++;
        }
    return changed;
}

/* An interface that has gone since is no error: who came last in the list says so by its events. */
static void uplink_switch(struct net *n, const char *value)
{
    for (unsigned six = 0; six < 2; six++)
        for (size_t i = 0; i < n->uplinks[six].n; i++)
            (void)switch_write(six, n->uplinks[six].names[i], value, NULL);
}

static bool uses_ipv6(const struct net *n)
{
    for (unsigned i = 0; i < NET_BRIDGES_MAX; i++)
        if (n->bridges6[i])
            return true;
    return false;
}

/* First the rule that keeps everybody else from using them, then the switches. */
int uplink_refresh(struct net *n, struct diag *d)
{
    int r = 0, changed;

    if (!n->forwards)
        return 0;
    changed = uplink_look(n, 0, d);
    if (changed >= 0 && uses_ipv6(n)) {
        r = uplink_look(n, 1, d);
        changed = r < 0 ? r : changed + r;
    }
    if (changed > 0)
        r = rules_install(n, d);
    if (changed < 0 || r < 0)
        return changed < 0 ? changed : r;
    uplink_switch(n, "1");
    return changed > 0;
}

int uplink_bridge_forward(struct net *n, unsigned bridge, struct diag *d)
{
    char name[IFNAMSIZ];
    int r;

    net_bridge_name(&n->o, bridge, name);
    r = switch_write(0, name, "1", d);
    if (r < 0 || !n->bridges6[bridge] || sysctl_read("ipv6/conf/%s/forwarding", "all") == 1)
        return r;
    if (sysctl_read(switches[1], name) < 0)
        return diag_set(d, EOPNOTSUPP,
                        "this kernel (before 6.17) forwards IPv6 for the whole host or not at all: for functions with ipv6 = yes set "
                        "net.ipv6.conf.all.forwarding = 1 with sysctl, "
                        "and accept_ra = 2 on an interface that has its address from router advertisements");
    return switch_write(1, name, "1", d);
}

int net_forward(struct net *n, bool wide, struct diag *d)
{
    const bool had = n->forwards, was_wide = n->wide;
    int r;

    if (n->forwards && (n->wide || !wide))
        return 0;
    n->forwards = true;
    n->wide |= wide;
    r = uplink_refresh(n, d);
    if (r == 0 && !had)
        r = rules_install(n, d);
    for (unsigned i = 0; i < NET_BRIDGES_MAX && r >= 0 && !had; i++)
        if (n->bridges[i])
            r = uplink_bridge_forward(n, i, d);
    if (r < 0) {
        n->forwards = had;
        n->wide = was_wide;
        return diag_prefix(d, "forwarding");
    }
    return 0;
}

/* ---- over the daemon's life ---- */

static int on_uplink(struct nftnl_set_elem *e, void *arg)
{
    char name[IFNAMSIZ] = "";
    uint32_t len = 0;
    const void *key = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &len);

    if (key && len == IFNAMSIZ)
        memcpy(name, key, IFNAMSIZ - 1);
    if (name[0] && if_nametoindex(name))
        uplinks_put(arg, name);
    return 0;
}

static int on_uplinks(const struct nlmsghdr *h, void *arg)
{
    struct nftnl_set *s = nftnl_set_alloc();

    if (s && nftnl_set_elems_nlmsg_parse(h, s) == 0)
        nftnl_set_elem_foreach(s, on_uplink, arg);
    if (s)
        nftnl_set_free(s);
    return MNL_CB_OK;
}

void uplink_recall(struct net *n)
{
    for (unsigned six = 0; six < 2; six++) {
        (void)nft_dump(n->nft_fd, NFT_MSG_GETSETELEM, NFPROTO_INET, n->o.bridge, set_names[six], on_uplinks, &n->uplinks[six]);
        n->uplinks[six].router = sysctl_read(six ? "ipv6/conf/%s/forwarding" : "ipv4/conf/%s/forwarding", "all") == 1;
    }
}

void uplink_restore(struct net *n)
{
    uplink_switch(n, "0");
    n->uplinks[0].n = n->uplinks[1].n = 0;
    n->forwards = n->wide = false;
}
