/*
 * rules_watch.c: putting right what others change: our tables (NFNLGRP_NFTABLES), the host's addresses, routes and forwarding (rtnetlink), and whether somebody filters the host's input.
 *
 * A change is somebody else's when its port id is neither ours nor that of a child that installed the tables (the kernel's autobind gives a process's first socket its pid). When events were lost, the tables
 * are taken for changed. Somebody who changes them again and again is answered ever later, WATCH_PAUSE_MAX_NS at most: the slots' own rules hold meanwhile, and neither of the two burns the host's CPUs.
 */
#include "nft_internal.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define WATCH_BUFFER       (4 << 20)
#define WATCH_AT_ONCE      3U /* installations, before the pause begins to grow */
#define WATCH_PAUSE_NS     (200 * NS_PER_MS)
#define WATCH_PAUSE_MAX_NS (20 * NS_PER_SEC)
#define WATCH_CALM_NS      (60 * NS_PER_SEC) /* then the pause begins anew */
#define WATCH_ROUTES_NS    NS_PER_SEC        /* between two looks at the routes: a router's table is long and changes much */

static int watch_socket(int protocol, const int *groups, size_t ngroups)
{
    cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    const int room = WATCH_BUFFER;

    if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)); /* with less, more often events are lost and everything is looked at */
    for (size_t i = 0; i < ngroups; i++)
        if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
            return -errno;
    return take_fd(&fd);
}

static int watch_add(int epoll_fd, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int watch_open(struct net *n, struct diag *d)
{
    static const int nft_groups[] = {NFNLGRP_NFTABLES};
    static const int rt_groups[] = {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,  RTNLGRP_IPV4_ROUTE,
                                    RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};
    struct net_watch *w = &n->watch;
    int r;

    w->nft_fd = watch_socket(NETLINK_NETFILTER, nft_groups, sizeof(nft_groups) / sizeof(nft_groups[0]));
    if (w->nft_fd < 0)
        return diag_errno(d, -w->nft_fd, "events of nftables");
    w->rt_fd = watch_socket(NETLINK_ROUTE, rt_groups, sizeof(rt_groups) / sizeof(rt_groups[0]));
    if (w->rt_fd < 0)
        return diag_errno(d, -w->rt_fd, "events of addresses and routes");
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->timer_fd < 0 || w->epoll_fd < 0)
        return diag_errno(d, errno, "events of the network");
    r = watch_add(w->epoll_fd, w->nft_fd);
    if (r == 0)
        r = watch_add(w->epoll_fd, w->rt_fd);
    if (r == 0)
        r = watch_add(w->epoll_fd, w->timer_fd);
    return r < 0 ? diag_errno(d, -r, "events of the network") : 0;
}

void watch_close(struct net_watch *w)
{
    w->epoll_fd = fd_close(w->epoll_fd);
    w->nft_fd = fd_close(w->nft_fd);
    w->rt_fd = fd_close(w->rt_fd);
    w->timer_fd = fd_close(w->timer_fd);
}

int net_watch_fd(const struct net *n)
{
    return n->watch.epoll_fd;
}

/* ---- what an event says ---- */

static bool port_is_ours(const struct net *n, uint32_t port)
{
    struct sockaddr_nl own = {0};
    socklen_t len = sizeof(own);

    if (getsockname(n->nft_fd, (struct sockaddr *)&own, &len) == 0 && own.nl_pid == port)
        return true;
    for (size_t i = 0; i < NET_INSTALLS_KEPT; i++)
        if (port && (uint32_t)n->install_pids[i] == port)
            return true;
    return false;
}

static int on_table_attr(const struct nlattr *at, void *arg)
{
    if (mnl_attr_get_type(at) == NFTA_TABLE_NAME && mnl_attr_validate(at, MNL_TYPE_NUL_STRING) >= 0) /* attribute 1 of everything that is in a table */
        *(const char **)arg = mnl_attr_get_str(at);
    return MNL_CB_OK;
}

static int on_nft_event(const struct nlmsghdr *h, void *arg)
{
    const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
    const uint16_t type = h->nlmsg_type & 0xff;
    struct net *n = arg;
    const char *table = NULL;

    if (h->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || type == NFT_MSG_NEWGEN)
        return MNL_CB_OK;
    mnl_attr_parse(h, sizeof(*g), on_table_attr, &table);
    if (!table)
        return MNL_CB_OK;
    if ((g->nfgen_family == NFPROTO_INET || g->nfgen_family == NFPROTO_BRIDGE) && strcmp(table, n->o.bridge) == 0)
        n->watch.dirty |= !port_is_ours(n, h->nlmsg_pid);
    else
        n->watch.chains |= type <= NFT_MSG_DELRULE;
    return MNL_CB_OK;
}

static int on_rt_event(const struct nlmsghdr *h, void *arg)
{
    struct net_watch *w = arg;

    w->addrs |= h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR;
    w->routes |= h->nlmsg_type != RTM_NEWADDR && h->nlmsg_type != RTM_DELADDR;
    return MNL_CB_OK;
}

/* Reads all there is. Returns whether something was lost. */
static bool watch_drain(int fd, mnl_cb_t fn, void *arg)
{
    char buf[65536] __attribute__((aligned(8)));
    bool lost = false;

    for (;;) {
        struct sockaddr_nl from = {0};
        socklen_t len = sizeof(from);
        ssize_t got = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

        if (got < 0 && errno == ENOBUFS)
            lost = true;
        else if (got < 0 && errno != EINTR)
            return lost;
        else if (got > 0 && from.nl_pid == 0) /* the kernel */
            (void)mnl_cb_run(buf, (size_t)got, 0, 0, fn, arg);
    }
}

/* ---- what follows ---- */

static uint64_t watch_pause(const struct net_watch *w)
{
    uint64_t pause = WATCH_PAUSE_NS;

    if (w->installs < WATCH_AT_ONCE)
        return 0;
    for (unsigned i = WATCH_AT_ONCE; i < w->installs && pause < WATCH_PAUSE_MAX_NS; i++)
        pause *= 2;
    return pause < WATCH_PAUSE_MAX_NS ? pause : WATCH_PAUSE_MAX_NS;
}

static void watch_later(struct net_watch *w, uint64_t at_ns)
{
    const struct itimerspec at = {.it_value = {.tv_sec = (time_t)(at_ns / NS_PER_SEC), .tv_nsec = (long)(at_ns % NS_PER_SEC)}};

    (void)timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void watch_look(struct net *n)
{
    struct net_watch *w = &n->watch;
    uint64_t count;

    (void)!read(w->timer_fd, &count, sizeof(count));
    if (watch_drain(w->nft_fd, on_nft_event, n))
        w->dirty = w->chains = true;
    if (watch_drain(w->rt_fd, on_rt_event, w))
        w->addrs = w->routes = true;
}

/* Whether somebody filters the host's input decides about a rule of ours. */
static int watch_chains(struct net *n)
{
    int r = foreign_filters_input(n->nft_fd, n->o.bridge);

    if (r < 0)
        return r;
    n->watch.chains = false;
    n->watch.stale |= n->notrack == (r > 0);
    n->notrack = r == 0;
    return 0;
}

static int watch_routes(struct net *n, uint64_t now_ns, struct diag *d)
{
    struct net_watch *w = &n->watch;
    int r;

    if (w->looked_ns && now_ns - w->looked_ns < WATCH_ROUTES_NS) {
        watch_later(w, w->looked_ns + WATCH_ROUTES_NS);
        return 0;
    }
    w->looked_ns = now_ns;
    r = uplink_refresh(n, d);
    w->routes = r < 0;
    return r;
}

static int watch_install(struct net *n, uint64_t now_ns, struct diag *d)
{
    struct net_watch *w = &n->watch;
    int r;

    if (w->installed_ns && now_ns - w->installed_ns > WATCH_CALM_NS)
        w->installs = 0;
    if (w->installed_ns && now_ns - w->installed_ns < watch_pause(w)) {
        watch_later(w, w->installed_ns + watch_pause(w));
        return 0;
    }
    w->installed_ns = now_ns;
    w->installs++;
    r = rules_install(n, d);
    if (r < 0) {
        watch_later(w, now_ns + NS_PER_SEC);
        return r;
    }
    r = w->dirty ? NET_EVENT_RESTORED : NET_EVENT_RENEWED;
    w->dirty = w->stale = false;
    n->counted.installs += r == NET_EVENT_RESTORED;
    return r;
}

int net_on_event(struct net *n, struct diag *d)
{
    struct net_watch *w = &n->watch;
    const uint64_t now_ns = clock_mono_ns();
    int r = 0, installed = 0;

    watch_look(n);
    if (w->chains)
        r = watch_chains(n);
    if (r < 0) {
        watch_later(w, now_ns + NS_PER_SEC);
        return diag_errno(d, -r, "the chains of other tables");
    }
    if (w->dirty || w->stale) /* before all else: the host's rules are missing */
        installed = watch_install(n, now_ns, d);
    if (w->addrs && installed >= 0) {
        r = addrs_refresh(n, d);
        w->addrs = r < 0;
    }
    if (w->routes && installed >= 0 && r >= 0)
        r = watch_routes(n, now_ns, d);
    if (r < 0)
        watch_later(w, now_ns + NS_PER_SEC);
    return installed < 0 ? installed : r < 0 ? r : installed;
}
