/*
 * bridge.c: making a bridge, when the first slot on it is made; and writing network sysctls.
 *
 * A bridge has a fixed MAC (otherwise it takes the lowest of its ports', which come and go), no spanning tree and no multicast snooping. The instances' network is one route over it. Settings that survive
 * somebody's `nft flush ruleset` are kept on it beside the host's tables: nothing that comes from it is forwarded before a slot needs it, a source must belong to its network, 127.0.0.0/8 is not routed.
 */
#include "net_internal.h"

#include "diag.h"
#include "fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct net_sysctl bridge_sysctls[] = {
    {"ipv6/conf/%s/disable_ipv6", "1"},        {"ipv4/conf/%s/forwarding", "0"},     {"ipv4/conf/%s/rp_filter", "1"},
    {"ipv4/conf/%s/route_localnet", "0"},      {"ipv4/conf/%s/send_redirects", "0"}, {"ipv4/conf/%s/accept_redirects", "0"},
    {"ipv4/conf/%s/accept_source_route", "0"},
};

/* No address of the kernel's own making, and nobody's advertisements. */
static const struct net_sysctl bridge_sysctls6[] = {
    {"ipv6/conf/%s/addr_gen_mode", "1"},    {"ipv6/conf/%s/accept_ra", "0"},    {"ipv6/conf/%s/accept_dad", "0"},
    {"ipv6/conf/%s/accept_redirects", "0"}, {"ipv6/conf/%s/disable_ipv6", "0"},
};

int net_sysctl_write(const struct net_sysctl *table, size_t n, const char *link, struct diag *d)
{
    for (size_t i = 0; i < n; i++) {
        char name[64], path[96];
        const char *mark = strstr(table[i].name, "%s");
        int r;

        if (mark)
            snprintf(name, sizeof(name), "%.*s%s%s", (int)(mark - table[i].name), table[i].name, link, mark + 2);
        else
            snprintf(name, sizeof(name), "%s", table[i].name);
        snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
        r = fd_write_kernel(AT_FDCWD, path, table[i].value);
        if (r == -ENOENT && strncmp(name, "ipv6/", 5) == 0)
            continue; /* a kernel without IPv6, or booted with ipv6.disable=1 */
        if (r < 0)
            return diag_errno(d, -r, "write %s to %s", table[i].value, path);
    }
    return 0;
}

static int bridge_create(struct net *n, unsigned bridge, const char *name, struct diag *d)
{
    const struct ifinfomsg head = {0};
    cleanup_batch struct rt_batch b = {0};
    struct nlattr *info, *data;
    uint8_t mac[ETH_ALEN];

    net_bridge_mac(bridge, mac);
    rt_request(&b, "create", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof(head));
    rt_put_str(&b, IFLA_IFNAME, name);
    rt_put(&b, IFLA_ADDRESS, mac, sizeof(mac));
    info = rt_nest(&b, IFLA_LINKINFO);
    rt_put_str(&b, IFLA_INFO_KIND, "bridge");
    data = rt_nest(&b, IFLA_INFO_DATA);
    rt_put_u32(&b, IFLA_BR_STP_STATE, 0);
    rt_put_u8(&b, IFLA_BR_MCAST_SNOOPING, 0);
    rt_nest_end(&b, data);
    rt_nest_end(&b, info);
    return rt_send(n->rt, &b, d);
}

static int bridge_configure(struct net *n, unsigned bridge, int ifindex, struct diag *d)
{
    const struct ifinfomsg up = {.ifi_index = ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    const struct ifaddrmsg addr = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_scope = RT_SCOPE_UNIVERSE, .ifa_index = (unsigned)ifindex};
    const struct rtmsg route = {
        .rtm_family = AF_INET, .rtm_dst_len = 22, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC, .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST};
    uint32_t net = htonl(net_bridge_base(&n->o, bridge)), own = htonl(net_bridge_base(&n->o, bridge) + 1);
    cleanup_batch struct rt_batch b = {0};
    char alias[NET_ALIAS_MAX];

    net_alias(&n->o, alias);
    rt_request(&b, "alias and up", RTM_NEWLINK, 0, &up, sizeof(up));
    rt_put_str(&b, IFLA_IFALIAS, alias);
    rt_request(&b, "address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &addr, sizeof(addr));
    rt_put(&b, IFA_LOCAL, &own, sizeof(own));
    rt_put(&b, IFA_ADDRESS, &own, sizeof(own));
    rt_request(&b, "route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof(route));
    rt_put(&b, RTA_DST, &net, sizeof(net));
    rt_put(&b, RTA_PREFSRC, &own, sizeof(own));
    rt_put_u32(&b, RTA_OIF, (uint32_t)ifindex);
    return rt_send(n->rt, &b, d);
}

static void bridge_delete(struct net *n, int ifindex)
{
    const struct ifinfomsg head = {.ifi_index = ifindex};
    cleanup_batch struct rt_batch b = {0};

    rt_request(&b, "remove", RTM_DELLINK, 0, &head, sizeof(head));
    (void)rt_send(n->rt, &b, NULL); /* the error that led here is the one to report */
}

int bridge_ensure(struct net *n, unsigned bridge, struct diag *d)
{
    char name[IFNAMSIZ];
    int r, ifindex;

    if (n->bridges[bridge])
        return n->bridges[bridge];
    net_bridge_name(&n->o, bridge, name);
    r = bridge_create(n, bridge, name, d);
    if (r < 0)
        return diag_prefix(d, "bridge %s", name);
    ifindex = rt_ifindex(n->rt, name);
    if (ifindex < 0)
        return diag_errno(d, -ifindex, "bridge %s: its index", name);
    r = net_sysctl_write(bridge_sysctls, sizeof(bridge_sysctls) / sizeof(bridge_sysctls[0]), name, d);
    if (r == 0)
        r = bridge_configure(n, bridge, ifindex, d);
    if (r == 0 && n->forwards)
        r = uplink_bridge_forward(n, bridge, d);
    if (r < 0) {
        bridge_delete(n, ifindex);
        return diag_prefix(d, "bridge %s", name);
    }
    n->bridges[bridge] = ifindex;
    n->bridges6[bridge] = false;
    return ifindex;
}

static int bridge_configure6(struct net *n, unsigned bridge, struct diag *d)
{
    const int ifindex = n->bridges[bridge];
    const struct ifaddrmsg addr = {.ifa_family = AF_INET6, .ifa_prefixlen = 128, .ifa_scope = RT_SCOPE_UNIVERSE, .ifa_index = (unsigned)ifindex};
    const struct rtmsg route = {.rtm_family = AF_INET6,
                                .rtm_dst_len = 64,
                                .rtm_table = RT_TABLE_MAIN,
                                .rtm_protocol = RTPROT_STATIC,
                                .rtm_scope = RT_SCOPE_UNIVERSE,
                                .rtm_type = RTN_UNICAST};
    cleanup_batch struct rt_batch b = {0};
    struct in6_addr own, net;

    net_bridge_addr6(&n->o, bridge, &own);
    net = own;
    net.s6_addr[15] = 0;
    rt_request(&b, "IPv6 address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &addr, sizeof(addr));
    rt_put(&b, IFA_LOCAL, &own, sizeof(own));
    rt_put(&b, IFA_ADDRESS, &own, sizeof(own));
    rt_put_u32(&b, IFA_FLAGS, IFA_F_NODAD);
    rt_request(&b, "IPv6 route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof(route));
    rt_put(&b, RTA_DST, &net, sizeof(net));
    rt_put_u32(&b, RTA_OIF, (uint32_t)ifindex);
    return rt_send(n->rt, &b, d);
}

int bridge_ensure6(struct net *n, unsigned bridge, struct diag *d)
{
    char name[IFNAMSIZ];
    int r;

    if (n->bridges6[bridge])
        return 0;
    net_bridge_name(&n->o, bridge, name);
    if (access("/proc/sys/net/ipv6", F_OK) < 0)
        return diag_set(d, EAFNOSUPPORT, "bridge %s: this kernel has no IPv6 (or was booted with ipv6.disable=1), and the function asks for it", name);
    r = net_sysctl_write(bridge_sysctls6, sizeof(bridge_sysctls6) / sizeof(bridge_sysctls6[0]), name, d);
    if (r == 0)
        r = bridge_configure6(n, bridge, d);
    if (r < 0)
        return diag_prefix(d, "bridge %s", name);
    n->bridges6[bridge] = true;
    r = n->forwards ? uplink_bridge_forward(n, bridge, d) : 0;
    if (r == 0)
        r = uplink_refresh(n, d);
    if (r < 0) {
        n->bridges6[bridge] = false;
        return diag_prefix(d, "bridge %s", name);
    }
    return 0;
}
