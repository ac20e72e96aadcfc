/*
 * slot.c: making and removing a slot.
 *
 * Order, and why (each step's failure removes the port, and with it the pair):
 *   1. inside the namespace: sysctls (IPv6 off before there is an interface that would get an address), an rtnetlink and a netfilter socket; back on the host's side
 *   2. the rules, through the socket that stayed inside, and the slot's elements on the host: before anything can be reached
 *   3. the pair, in one message: its end `eth0` made in the slot, the host's end on the bridge
 *   4. the port: IPv6 off, then in one batch alias, port flags and up, its forwarding entry, the host's neighbour entry
 *   5. inside, in one batch: lo and eth0 up, address, neighbour entry, route
 *   6. the wait for the carrier's consequences, see rt_wait_up
 * Nobody lives in the namespace yet, so no order of these opens a gap; the order is the one with the fewest messages, and the one in which a packet sent when all is done is not lost.
 */
#include "nft_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <netlink/netlink.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define LOOPBACK_INDEX 1 /* of every namespace */
#define RETURN_TRIES   1000

static const struct net_sysctl slot_sysctls[] = {
    {"ipv4/ip_unprivileged_port_start", "0"}, {"ipv6/conf/all/disable_ipv6", "1"}, /* `default` follows */
};

/* No address of the kernel's own making, no advertisements, no duplicate address detection: nobody else can have the address. */
static const struct net_sysctl slot_sysctls6[] = {
    {"ipv4/ip_unprivileged_port_start", "0"},    {"ipv6/conf/default/disable_ipv6", "0"}, {"ipv6/conf/default/addr_gen_mode", "1"},
    {"ipv6/conf/default/accept_ra", "0"},        {"ipv6/conf/default/accept_dad", "0"},   {"ipv6/conf/default/router_solicitations", "0"},
    {"ipv6/conf/default/accept_redirects", "0"},
};

static const struct net_sysctl port_sysctls[] = {
    {"ipv6/conf/%s/disable_ipv6", "1"},
};

/* What stays open in the slot's namespace while the slot is made. */
struct slot_inside {
    struct nl_sock *rt;
    int nft_fd;
};

static void slot_inside_close(struct slot_inside *in)
{
    rt_close(&in->rt);
    in->nft_fd = fd_close(in->nft_fd);
}

/* A descriptor of the host's own namespace by mistake would cut the host off; one of a user namespace's would give the function power over its network. */
static int slot_check_ns(const struct net *n, int netns_fd, struct diag *d)
{
    cleanup_fd int owner = -1;
    struct stat st;

    if (fstat(netns_fd, &st) < 0)
        return diag_errno(d, errno, "network namespace");
    if (st.st_ino == n->host_ns_ino)
        return diag_set(d, EINVAL, "the network namespace is the host's own");
    owner = ioctl(netns_fd, NS_GET_USERNS);
    if (owner < 0 || fstat(owner, &st) < 0)
        return diag_errno(d, errno, "owner of the network namespace");
    if (st.st_ino != n->userns_ino)
        return diag_set(d, EPERM, "the network namespace belongs to another user namespace");
    return 0;
}

static int slot_open_here(struct slot_inside *in, bool ipv6, struct diag *d)
{
    int r = ipv6 ? net_sysctl_write(slot_sysctls6, sizeof(slot_sysctls6) / sizeof(slot_sysctls6[0]), NULL, d)
                 : net_sysctl_write(slot_sysctls, sizeof(slot_sysctls) / sizeof(slot_sysctls[0]), NULL, d);

    if (r == 0)
        r = rt_open(&in->rt, d);
    if (r < 0)
        return r;
    in->nft_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    return in->nft_fd < 0 ? diag_errno(d, errno, "netfilter socket") : 0;
}

/* A thread that stayed in the slot would go on to change the wrong namespace and to serve from it: then rather end. Only a lack of kernel memory can make this fail. */
static void slot_leave(int host_ns)
{
    for (unsigned i = 0; i < RETURN_TRIES; i++) {
        if (setns(host_ns, CLONE_NEWNET) == 0)
            return;
        sched_yield();
    }
    abort();
}

static int slot_inside_open(const struct net *n, int netns_fd, bool ipv6, struct slot_inside *in, struct diag *d)
{
    int r;

    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return diag_errno(d, errno, "enter the network namespace");
    r = slot_open_here(in, ipv6, d);
    slot_leave(n->host_ns);
    return r;
}

/* One queue each way: the kernel's default is one for every possible CPU, which costs memory and time on large hosts, and a pair takes no lock on it. */
static void slot_put_queues(struct rt_batch *b)
{
    rt_put_u32(b, IFLA_NUM_TX_QUEUES, 1);
    rt_put_u32(b, IFLA_NUM_RX_QUEUES, 1);
}

static int slot_create_pair(struct net *n, const struct net_slot_names *s, int bridge, int netns_fd, struct diag *d)
{
    const struct ifinfomsg down = {0}; /* an end that is made up at once fails with ENOTCONN: it is not joined yet */
    cleanup_batch struct rt_batch b = {0};
    struct nlattr *info, *data, *peer;

    rt_request(&b, "veth pair", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &down, sizeof(down));
    rt_put_str(&b, IFLA_IFNAME, s->port);
    rt_put(&b, IFLA_ADDRESS, s->port_mac, ETH_ALEN);
    rt_put_u32(&b, IFLA_MASTER, (uint32_t)bridge);
    slot_put_queues(&b);
    info = rt_nest(&b, IFLA_LINKINFO);
    rt_put_str(&b, IFLA_INFO_KIND, "veth");
    data = rt_nest(&b, IFLA_INFO_DATA);
    peer = rt_nest(&b, VETH_INFO_PEER);
    rt_put_raw(&b, &down, sizeof(down));
    rt_put_str(&b, IFLA_IFNAME, NET_SLOT_LINK);
    rt_put(&b, IFLA_ADDRESS, s->mac, ETH_ALEN);
    slot_put_queues(&b);
    rt_put_u32(&b, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    rt_nest_end(&b, peer);
    rt_nest_end(&b, data);
    rt_nest_end(&b, info);
    return rt_send(n->rt, &b, d);
}

/* `locked`: a frame whose source is not in the forwarding table for this port is dropped, and the table holds one entry that is not learned. */
static void slot_put_port_flags(struct rt_batch *b)
{
    static const struct {
        int attr;
        uint8_t on;
    } flags[] = {
        {IFLA_BRPORT_ISOLATED, 1},      {IFLA_BRPORT_LOCKED, 1},      {IFLA_BRPORT_LEARNING, 0},
        {IFLA_BRPORT_UNICAST_FLOOD, 0}, {IFLA_BRPORT_MCAST_FLOOD, 0}, {IFLA_BRPORT_BCAST_FLOOD, 0},
    };
    struct nlattr *info = rt_nest(b, IFLA_LINKINFO), *data;

    rt_put_str(b, IFLA_INFO_SLAVE_KIND, "bridge");
    data = rt_nest(b, IFLA_INFO_SLAVE_DATA);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        rt_put_u8(b, flags[i].attr, flags[i].on);
    rt_nest_end(b, data);
    rt_nest_end(b, info);
}

static int slot_configure_port(struct net *n, const struct net_slot_names *s, bool ipv6, int bridge, int port, struct diag *d)
{
    cleanup_batch struct rt_batch b = {0};
    struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    /* In a forwarding table NOARP means: does not age. PERMANENT would mean: the bridge itself. */
    struct ndmsg entry = {.ndm_family = AF_BRIDGE, .ndm_state = NUD_NOARP, .ndm_flags = NTF_MASTER};
    const struct ndmsg neigh = {.ndm_family = AF_INET, .ndm_ifindex = bridge, .ndm_state = NUD_PERMANENT},
                       neigh6 = {.ndm_family = AF_INET6, .ndm_ifindex = bridge, .ndm_state = NUD_PERMANENT};
    char alias[NET_ALIAS_MAX];
    int r = net_sysctl_write(port_sysctls, 1, s->port, d);

    if (r < 0)
        return r;
    up.ifi_index = entry.ndm_ifindex = port;
    net_alias(&n->o, alias);
    rt_request(&b, "alias, port flags and up", RTM_NEWLINK, 0, &up, sizeof(up));
    rt_put_str(&b, IFLA_IFALIAS, alias);
    slot_put_port_flags(&b);
    rt_request(&b, "forwarding entry", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &entry, sizeof(entry));
    rt_put(&b, NDA_LLADDR, s->mac, ETH_ALEN);
    rt_request(&b, "neighbour entry", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &neigh, sizeof(neigh));
    rt_put(&b, NDA_DST, &s->addr, sizeof(s->addr));
    rt_put(&b, NDA_LLADDR, s->mac, ETH_ALEN);
    if (ipv6) {
        rt_request(&b, "IPv6 neighbour entry", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &neigh6, sizeof(neigh6));
        rt_put(&b, NDA_DST, &s->addr6, sizeof(s->addr6));
        rt_put(&b, NDA_LLADDR, s->mac, ETH_ALEN);
    }
    return rt_send(n->rt, &b, d);
}

static void slot_put_route(struct rt_batch *b, const char *what, int family, const void *to, const void *via, const void *from, int eth)
{
    const unsigned char len = family == AF_INET ? 32 : 128, size = len / 8;
    const struct rtmsg route = {.rtm_family = (unsigned char)family,
                                .rtm_dst_len = to ? len : 0,
                                .rtm_table = RT_TABLE_MAIN,
                                .rtm_protocol = RTPROT_STATIC,
                                .rtm_scope = to && family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
                                .rtm_type = RTN_UNICAST};

    rt_request(b, what, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof(route));
    if (to)
        rt_put(b, RTA_DST, to, size);
    if (via)
        rt_put(b, RTA_GATEWAY, via, size);
    rt_put(b, RTA_PREFSRC, from, size);
    rt_put_u32(b, RTA_OIF, (uint32_t)eth);
}

static int slot_configure_inside6(struct slot_inside *in, const struct net_slot_names *s, int eth, struct diag *d)
{
    const struct ifaddrmsg addr = {.ifa_family = AF_INET6, .ifa_prefixlen = 128, .ifa_scope = RT_SCOPE_UNIVERSE, .ifa_index = (unsigned)eth};
    const struct ndmsg neigh = {.ndm_family = AF_INET6, .ndm_state = NUD_PERMANENT, .ndm_ifindex = eth};
    cleanup_batch struct rt_batch b = {0};

    rt_request(&b, "IPv6 address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &addr, sizeof(addr));
    rt_put(&b, IFA_LOCAL, &s->addr6, sizeof(s->addr6));
    rt_put(&b, IFA_ADDRESS, &s->addr6, sizeof(s->addr6));
    rt_put_u32(&b, IFA_FLAGS, IFA_F_NODAD);
    rt_request(&b, "IPv6 neighbour entry", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &neigh, sizeof(neigh));
    rt_put(&b, NDA_DST, &s->bridge_addr6, sizeof(s->bridge_addr6));
    rt_put(&b, NDA_LLADDR, s->bridge_mac, ETH_ALEN);
    slot_put_route(&b, "IPv6 route", AF_INET6, &s->bridge_addr6, NULL, &s->addr6, eth);
    slot_put_route(&b, "IPv6 default route", AF_INET6, NULL, &s->bridge_addr6, &s->addr6, eth);
    return rt_send(in->rt, &b, d);
}

static int slot_configure_inside(struct slot_inside *in, const struct net_slot_names *s, bool ipv6, struct diag *d)
{
    const struct ifinfomsg lo = {.ifi_index = LOOPBACK_INDEX, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifaddrmsg addr = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_scope = RT_SCOPE_UNIVERSE};
    struct ndmsg neigh = {.ndm_family = AF_INET, .ndm_state = NUD_PERMANENT};
    cleanup_batch struct rt_batch b = {0};
    int eth = rt_ifindex(in->rt, NET_SLOT_LINK), r;

    if (eth < 0)
        return diag_errno(d, -eth, "index of %s", NET_SLOT_LINK);
    addr.ifa_index = (unsigned)eth;
    up.ifi_index = neigh.ndm_ifindex = eth;
    rt_request(&b, "lo up", RTM_NEWLINK, 0, &lo, sizeof(lo));
    rt_request(&b, "eth0 up", RTM_NEWLINK, 0, &up, sizeof(up));
    rt_request(&b, "address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &addr, sizeof(addr));
    rt_put(&b, IFA_LOCAL, &s->addr, sizeof(s->addr));
    rt_put(&b, IFA_ADDRESS, &s->addr, sizeof(s->addr));
    rt_request(&b, "neighbour entry", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &neigh, sizeof(neigh));
    rt_put(&b, NDA_DST, &s->bridge_addr, sizeof(s->bridge_addr));
    rt_put(&b, NDA_LLADDR, s->bridge_mac, ETH_ALEN);
    slot_put_route(&b, "route", AF_INET, &s->bridge_addr, NULL, &s->addr, eth);
    slot_put_route(&b, "default route", AF_INET, NULL, &s->bridge_addr, &s->addr, eth);
    r = rt_send(in->rt, &b, d);
    return r == 0 && ipv6 ? slot_configure_inside6(in, s, eth, d) : r;
}

/* The neighbour entry belongs to the bridge and does not go with the port. */
static int slot_remove_host_end(struct net *n, const struct net_slot_names *s, bool ipv6, int bridge, struct diag *d)
{
    const struct ndmsg neigh = {.ndm_family = AF_INET, .ndm_ifindex = bridge}, neigh6 = {.ndm_family = AF_INET6, .ndm_ifindex = bridge};
    const struct ifinfomsg link = {0};
    cleanup_batch struct rt_batch b = {0};

    if (bridge) {
        rt_request(&b, "neighbour entry", RTM_DELNEIGH, 0, &neigh, sizeof(neigh));
        rt_put(&b, NDA_DST, &s->addr, sizeof(s->addr));
        rt_tolerate(&b, ENOENT);
    }
    if (bridge && ipv6) {
        rt_request(&b, "IPv6 neighbour entry", RTM_DELNEIGH, 0, &neigh6, sizeof(neigh6));
        rt_put(&b, NDA_DST, &s->addr6, sizeof(s->addr6));
        rt_tolerate(&b, ENOENT);
    }
    rt_request(&b, "removal", RTM_DELLINK, 0, &link, sizeof(link));
    rt_put_str(&b, IFLA_IFNAME, s->port);
    rt_tolerate(&b, ENODEV);
    return rt_send(n->rt, &b, d);
}

/* Steps 3 to 6. */
static int slot_build(struct net *n, const struct net_slot_names *s, bool ipv6, int bridge, int netns_fd, struct slot_inside *in, bool *ret_created,
                      struct diag *d)
{
    int r = slot_create_pair(n, s, bridge, netns_fd, d), port;

    if (r < 0)
        return r;
    *ret_created = true;
    port = rt_ifindex(n->rt, s->port);
    if (port < 0)
        return diag_errno(d, -port, "index of the port");
    r = slot_configure_port(n, s, ipv6, bridge, port, d);
    if (r == 0 && slot_configure_inside(in, s, ipv6, d) < 0)
        r = diag_prefix(d, "inside");
    if (r < 0)
        return r;
    /* eth0 came up second and has all at once. A kernel that is so late delivers the slot nevertheless. */
    (void)rt_wait_up(n->rt, port);
    (void)rt_wait_up(n->rt, bridge);
    return 0;
}

static int slot_attach(struct net *n, unsigned bridge, const struct net_slot_names *s, bool ipv6, int netns_fd, struct slot_inside *in, struct diag *d)
{
    bool created = false;
    int r = 0, ifindex = 0;

    for (unsigned tries = 0; tries < 2; tries++) {
        ifindex = bridge_ensure(n, bridge, d);
        if (ifindex < 0)
            return ifindex;
        r = ipv6 ? bridge_ensure6(n, bridge, d) : 0;
        if (r == 0)
            r = slot_build(n, s, ipv6, ifindex, netns_fd, in, &created, d);
        if (r == 0 || created || rt_ifindex(n->rt, s->bridge) == ifindex)
            break;
        n->bridges[bridge] = 0; /* somebody removed it, since it was made */
    }
    if (r < 0 && created)
        (void)slot_remove_host_end(n, s, ipv6, ifindex, NULL);
    return r;
}

/* What the host must know before the slot's first packet. */
static int slot_admit(struct net *n, struct net_slot *known, struct slot_inside *in, struct diag *d)
{
    const struct net_policy *p = &known->policy;
    int r = 0;

    known->nft_fd = take_fd(&in->nft_fd);
    if (p->egress == NET_EGRESS_INTERNET || p->egress == NET_EGRESS_LAN || p->mesh)
        r = net_forward(n, p->egress == NET_EGRESS_LAN, d);
    if (r < 0)
        return r;
    r = rules_slot_add(n, known);
    if (r == -ENOENT) /* somebody removed the tables: they come back with this slot */
        return rules_install(n, d);
    return r < 0 ? diag_errno(d, -r, "nftables elements") : 0;
}

static int slot_make(struct net *n, unsigned slot, const struct net_slot_names *s, int netns_fd, const struct net_policy *policy, struct slot_inside *in,
                     struct diag *d)
{
    struct net_slot *known = NULL;
    int r = slot_check_ns(n, netns_fd, d);

    if (r == 0 && rt_ifindex(n->rt, s->port) >= 0)
        r = diag_errno(d, EEXIST, "veth pair"); /* before the living one's elements are touched */
    if (r == 0)
        r = slot_inside_open(n, netns_fd, policy->ipv6, in, d);
    if (r == 0)
        r = rules_slot_install(in->nft_fd, n, s, policy, d);
    if (r < 0)
        return r;
    if (known_add(n, slot, policy, &known) < 0)
        return diag_errno(d, ENOMEM, "network slot");
    r = slot_admit(n, known, in, d);
    if (r == 0)
        r = slot_attach(n, slot / NET_SLOTS_PER_BRIDGE, s, policy->ipv6, netns_fd, in, d);
    if (r < 0) {
        (void)rules_slot_remove(n, known);
        known_drop(n, slot);
    }
    return r;
}

int net_slot_make(struct net *n, unsigned slot, int netns_fd, const struct net_policy *policy, struct net_slot_names *ret, struct diag *d)
{
    struct slot_inside in = {.rt = NULL, .nft_fd = -1};
    struct net_slot_names s;
    int r = net_slot_names(&n->o, slot, &s);

    if (r < 0)
        return diag_set(d, ERANGE, "the subnet has room for %u network slots, number %u is none of them", net_slots_max(&n->o), slot);
    r = policy->egress < NET_EGRESS_COUNT ? slot_make(n, slot, &s, netns_fd, policy, &in, d)
                                          : diag_set(d, EINVAL, "there is no egress policy %u", policy->egress);
    slot_inside_close(&in);
    if (r < 0)
        return diag_prefix(d, "network slot %s", s.port);
    *ret = s;
    return 0;
}

int net_slot_remove(struct net *n, unsigned slot, struct diag *d)
{
    struct net_slot *known = known_find(n, slot);
    struct net_slot_names s;
    int r = net_slot_names(&n->o, slot, &s), elements = 0;

    if (r < 0)
        return diag_set(d, -r, "there is no network slot %u", slot);
    r = slot_remove_host_end(n, &s, known && known->policy.ipv6, n->bridges[slot / NET_SLOTS_PER_BRIDGE], d);
    if (known)
        elements = rules_slot_remove(n, known);
    known_drop(n, slot);
    if (elements < 0) /* a later slot must not inherit them */
        elements = rules_install(n, r < 0 ? NULL : d);
    return r < 0 || elements < 0 ? diag_prefix(d, "network slot %s", s.port) : 0;
}

bool net_slot_gone(struct net *n, unsigned slot)
{
    struct net_slot *known = known_find(n, slot);
    struct net_slot_names s;

    if (known)
        known->nft_fd = fd_close(known->nft_fd);
    return net_slot_names(&n->o, slot, &s) < 0 || rt_ifindex(n->rt, s.port) == -ENODEV;
}
