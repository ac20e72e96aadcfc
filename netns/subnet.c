/*
 * subnet.c: is the subnet free on this host? Looked at are the addresses of all interfaces (with the network that each implies) and the routes of all tables, without those of our own bridges.
 *
 * A route to less than a /8 is a default route in disguise (VPN clients split 0.0.0.0/0 into halves and quarters) and takes no network. A route that only refuses (blackhole, unreachable) takes what it
 * names, but one that covers more than our subnet is a filter, before which our longer prefix goes.
 */
#include "net_internal.h"

#include "diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_ROUTE_LEN 8U /* shorter prefixes */

bool subnet_overlaps(uint32_t a, unsigned a_len, uint32_t b, unsigned b_len)
{
    unsigned len = a_len < b_len ? a_len : b_len;

    return len == 0 || ((a ^ b) >> (32 - len)) == 0;
}

struct subnet_search {
    const struct net_options *o;
    const struct link_list *links;
    char found[INET_ADDRSTRLEN + IFNAMSIZ + 48]; /* empty: nothing yet */
};

/* Remembers the first that overlaps, unless it is our own bridge's. ifindex 0: a route over several interfaces, or over none. */
static void subnet_compare(struct subnet_search *q, const char *kind, const struct nlattr *at, unsigned len, int ifindex)
{
    const struct link_row *link = ifindex ? link_list_find(q->links, ifindex) : NULL;
    char text[INET_ADDRSTRLEN];
    struct in_addr addr;

    if (q->found[0] || nla_len(at) != (int)sizeof(addr) || len > 32 || (link && link->owner == LINK_OURS))
        return;
    memcpy(&addr, nla_data(at), sizeof(addr));
    if (!subnet_overlaps(ntohl(addr.s_addr), len, ntohl(q->o->subnet.s_addr), q->o->prefix_len))
        return;
    inet_ntop(AF_INET, &addr, text, sizeof(text));
    snprintf(q->found, sizeof(q->found), "%s %s/%u%s%s", kind, text, len, link ? " of interface " : "", link ? link->name : "");
}

static void on_address(struct nlmsghdr *h, void *arg)
{
    struct nlattr *at[IFA_MAX + 1];
    const struct ifaddrmsg *a = nlmsg_data(h);

    if (h->nlmsg_type != RTM_NEWADDR || nlmsg_parse(h, sizeof(*a), at, IFA_MAX, NULL) < 0 || a->ifa_family != AF_INET)
        return;
    if (at[IFA_LOCAL])
        subnet_compare(arg, "the address", at[IFA_LOCAL], a->ifa_prefixlen, (int)a->ifa_index);
    if (at[IFA_ADDRESS]) /* of a point-to-point link: the other end's */
        subnet_compare(arg, "the address", at[IFA_ADDRESS], a->ifa_prefixlen, (int)a->ifa_index);
}

static void on_route(struct nlmsghdr *h, void *arg)
{
    const struct subnet_search *q = arg;
    struct nlattr *at[RTA_MAX + 1];
    const struct rtmsg *t = nlmsg_data(h);

    if (h->nlmsg_type != RTM_NEWROUTE || nlmsg_parse(h, sizeof(*t), at, RTA_MAX, NULL) < 0 || t->rtm_family != AF_INET || !at[RTA_DST])
        return;
    if (t->rtm_dst_len < DEFAULT_ROUTE_LEN || (t->rtm_type >= RTN_BLACKHOLE && t->rtm_dst_len < q->o->prefix_len))
        return;
    subnet_compare(arg, "the route to", at[RTA_DST], t->rtm_dst_len, at[RTA_OIF] ? (int)nla_get_u32(at[RTA_OIF]) : 0);
}

int subnet_free_in(struct nl_sock *s, const struct net_options *o, const struct link_list *links, struct diag *d)
{
    struct subnet_search q = {.o = o, .links = links};
    char text[INET_ADDRSTRLEN];
    int r = rt_dump(s, RTM_GETADDR, AF_INET, on_address, &q, d);

    if (r < 0)
        return diag_prefix(d, "addresses");
    r = rt_dump(s, RTM_GETROUTE, AF_INET, on_route, &q, d);
    if (r < 0)
        return diag_prefix(d, "routes");
    if (!q.found[0])
        return 0;
    inet_ntop(AF_INET, &o->subnet, text, sizeof(text));
    return diag_set(d, EADDRINUSE, "the subnet %s/%u overlaps %s: " NET_REMEDY_SUBNET, text, o->prefix_len, q.found);
}

int net_subnet_free(const struct net_options *o, struct diag *d)
{
    cleanup_links struct link_list links = {0};
    cleanup_rt struct nl_sock *s = NULL;
    int r = net_options_check(o, d);

    if (r == 0)
        r = rt_open(&s, d);
    if (r == 0)
        r = link_list_read(s, o, &links, d);
    return r < 0 ? r : subnet_free_in(s, o, &links, d);
}
