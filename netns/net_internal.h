/*
 * net_internal.h: what the files of netns/ share. Nobody outside includes it.
 *
 * rt_*      netlink.c      rtnetlink: requests in batches, dumps, the one place where libnl's error codes are seen
 * link_*    links.c        which links of the host are ours
 * bridge_*  bridge.c       one bridge per NET_SLOTS_PER_BRIDGE slots
 * rules_*   rules_host.c   the host's tables; rules_slot.c: the table in a slot; nft_internal.h has the rest
 * addrs_*   host_addrs.c   the host's own addresses
 * uplink_*  uplink.c       which interfaces forward
 * watch_*   rules_watch.c  events
 */
#pragma once

#include "netns.h"

#include <linux/if_ether.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define NET_ALIAS_MAX     16 /* "fnd:" and the bridge prefix */
#define NET_SLOT_LINK     "eth0"
#define NET_REMEDY_SUBNET "set network.subnet in " FND_SYSCONF "/fnd.ini to a network that is free"
#define NET_REMEDY_NAMES  "set network.bridge and network.port in " FND_SYSCONF "/fnd.ini to other prefixes"

struct nl_sock;
struct nl_msg;
struct nlattr;
struct nlmsghdr;

/* The host's own addresses, IPv4 as ::ffff:a.b.c.d, sorted. */
struct host_addrs {
    struct in6_addr *all;
    size_t n, room;
    bool failed;
};

struct net_watch {
    int epoll_fd; /* what the caller watches: the other three */
    int nft_fd, rt_fd, timer_fd;
    bool dirty;         /* somebody changed the tables: they have to be installed again */
    bool stale;         /* they are as we left them, and have to be others */
    bool addrs, routes; /* to be looked at again */
    bool chains;        /* of other tables: to be looked at again */
    unsigned installs;  /* one after the other: the pause grows */
    uint64_t installed_ns, looked_ns;
};

#define NET_UPLINKS_MAX   32
#define NET_INSTALLS_KEPT 8

/* Interfaces that forward only because we said so. */
struct uplinks {
    char names[NET_UPLINKS_MAX][IFNAMSIZ];
    size_t n;
    bool router; /* the host forwarded anyway when we looked last */
};

struct net {
    struct net_options o;
    struct nl_sock *rt;             /* rtnetlink in the host's namespace */
    int nft_fd;                     /* nfnetlink there */
    int host_ns;                    /* the namespace to come back to */
    ino_t host_ns_ino, userns_ino;  /* inodes of the host's network and user namespaces: what a slot must not, and must, belong to */
    int bridges[NET_BRIDGES_MAX];   /* ifindex, 0: not made yet */
    bool bridges6[NET_BRIDGES_MAX]; /* has IPv6 */
    struct net_slot **slots;        /* by number; nft_internal.h */
    size_t slots_room;
    struct host_addrs addrs;
    bool forwards;                       /* a slot's policy goes beyond the host: tracking, masquerade and forwarding are on */
    bool notrack;                        /* see rules_text.c */
    bool wide;                           /* beyond the default route: `lan`, or something was opened */
    struct uplinks uplinks[2];           /* IPv4, IPv6 */
    int install_pids[NET_INSTALLS_KEPT]; /* of the children that installed the tables last: their events are ours */
    unsigned installs;
    struct net_watch watch;
    struct net_counters counted; /* by tables that are no more */
    uint16_t listeners[NET_LISTENERS_MAX];
    size_t nlisteners;
};

/* 0, or -EINVAL: prefixes that can be followed by a number, and an aligned unicast subnet of a usable size. */
int net_options_check(const struct net_options *o, struct diag *d);

/* "fnd:<bridge>", which marks our links; the prefix is part of it so that daemons with different prefixes leave each other alone. */
void net_alias(const struct net_options *o, char buf[NET_ALIAS_MAX]);

unsigned net_bridges_max(const struct net_options *o);

/* All zero bits behind NET_PREFIX6_BYTES. */
#define NET_PREFIX6_BYTES 6
void net_prefix6(const struct net_options *o, struct in6_addr *ret);
void net_bridge_addr6(const struct net_options *o, unsigned bridge, struct in6_addr *ret);

/* Host byte order. */
uint32_t net_bridge_base(const struct net_options *o, unsigned bridge);
void net_bridge_mac(unsigned bridge, uint8_t mac[ETH_ALEN]);
void net_port_mac(unsigned slot, uint8_t mac[ETH_ALEN]);
void net_bridge_name(const struct net_options *o, unsigned bridge, char buf[IFNAMSIZ]);
void net_port_name(const struct net_options *o, unsigned slot, char buf[IFNAMSIZ]);

/*
 * A batch: up to RT_BATCH_MAX requests that travel in one sendmsg. The kernel executes them in order and goes on behind one that fails; only the last is acknowledged, the others speak only when they fail.
 * The rt_put functions append to the request that rt_request began last; a failed allocation is kept until rt_send.
 */
#define RT_BATCH_MAX 10

struct rt_batch {
    struct {
        struct nl_msg *msg;
        const char *what; /* for the diag: "address" */
        int tolerated;    /* errno that counts as success, 0: none */
    } req[RT_BATCH_MAX];
    unsigned n;
    int err;                                          /* -NLE_x of the first failure while building */
    void (*on_object)(struct nlmsghdr *h, void *arg); /* what a request asked for, if it did; may be NULL */
    void *arg;
};

int rt_open(struct nl_sock **ret, struct diag *d);
void rt_close(struct nl_sock **s);
void rt_batch_done(struct rt_batch *b);
#define cleanup_rt    __attribute__((cleanup(rt_close)))
#define cleanup_batch __attribute__((cleanup(rt_batch_done)))

void rt_request(struct rt_batch *b, const char *what, int type, int flags, const void *head, size_t len);
void rt_tolerate(struct rt_batch *b, int err);
void rt_put(struct rt_batch *b, int type, const void *data, size_t len);
void rt_put_u8(struct rt_batch *b, int type, uint8_t v);
void rt_put_u32(struct rt_batch *b, int type, uint32_t v);
void rt_put_str(struct rt_batch *b, int type, const char *s);
struct nlattr *rt_nest(struct rt_batch *b, int type);
void rt_nest_end(struct rt_batch *b, struct nlattr *nest);
/* Room for a struct (without a header of its own) inside a nested attribute. */
void rt_put_raw(struct rt_batch *b, const void *data, size_t len);

/* Sends and waits for the outcome. The diag begins with what the failed request was for. */
int rt_send(struct nl_sock *s, struct rt_batch *b, struct diag *d);

/* Calls fn for each object; an interrupted dump begins again, so fn sees some twice. */
int rt_dump(struct nl_sock *s, int type, int family, void (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct diag *d);

/* Interface index by name in the socket's namespace, or -errno. */
int rt_ifindex(struct nl_sock *s, const char *name);

/*
 * Waits until the kernel has drawn all consequences of a link's being up: see netlink.c. Returns whether it has, after RT_WAIT_UP_NS at most.
 */
#define RT_WAIT_UP_NS (20 * 1000 * 1000ULL)
bool rt_wait_up(struct nl_sock *s, int ifindex);

enum link_owner {
    LINK_FOREIGN, /* none of our names */
    LINK_OURS,
    LINK_CLASH, /* one of our names, but somebody else's */
};

struct link_row {
    int ifindex;
    uint32_t group;
    enum link_owner owner;
    char name[IFNAMSIZ];
};

struct link_list {
    struct link_row *rows;
    size_t n, room;
    bool failed;
    const struct net_options *o;
};

/* Pure. `alias` is empty where the link has none; a link made a moment before its daemon was killed has none yet, and is known by its MAC. */
enum link_owner link_owner(const struct net_options *o, const char *name, const char *alias, const uint8_t mac[ETH_ALEN]);

void link_list_done(struct link_list *l);
#define cleanup_links __attribute__((cleanup(link_list_done)))
int link_list_read(struct nl_sock *s, const struct net_options *o, struct link_list *l, struct diag *d);
const struct link_row *link_list_find(const struct link_list *l, int ifindex);

/* Removes our links of a list, all at once. */
int link_list_remove(struct nl_sock *s, const struct link_list *l, struct diag *d);

/* Are two networks (host byte order) not disjoint? Pure. */
bool subnet_overlaps(uint32_t a, unsigned a_len, uint32_t b, unsigned b_len);
int subnet_free_in(struct nl_sock *s, const struct net_options *o, const struct link_list *links, struct diag *d);

/* The bridge's interface index; makes the bridge if it is not there. */
int bridge_ensure(struct net *n, unsigned bridge, struct diag *d);
/* Once per bridge: IPv6 address and route. */
int bridge_ensure6(struct net *n, unsigned bridge, struct diag *d);

/* Reads them anew. Returns 1 when they have changed: then the slots' sets have been told. */
int addrs_refresh(struct net *n, struct diag *d);
void addrs_done(struct host_addrs *a);

/*
 * From the first slot on that may reach more than the host: rules that track, forwarding of bridges and uplinks. `wide`: not only over the default route. Calls that ask for nothing new do nothing.
 */
int net_forward(struct net *n, bool wide, struct diag *d);
int uplink_bridge_forward(struct net *n, unsigned bridge, struct diag *d);
/* Looks again which interfaces must forward, and installs the tables when that changed: 1. */
int uplink_refresh(struct net *n, struct diag *d);
/* What an earlier daemon switched on, from its table. */
void uplink_recall(struct net *n);
void uplink_restore(struct net *n);

int watch_open(struct net *n, struct diag *d);
void watch_close(struct net_watch *w);

/* Does somebody else's chain look at what comes in? -errno, 0, 1. */
int foreign_filters_input(int nft_fd, const char *own);

/* Writes name=value pairs below /proc/sys/net of the calling thread's namespace; `name` with one %s for `link`. A missing ipv6 directory is success. */
struct net_sysctl {
    const char *name, *value;
};
int net_sysctl_write(const struct net_sysctl *table, size_t n, const char *link, struct diag *d);

/* Installs the host's tables with all elements, in one transaction. */
int rules_install(struct net *n, struct diag *d);
int rules_host_remove(const struct net_options *o, struct diag *d);
/* Turns libnftables' messages into an errno and a text with a remedy. Pure. */
int rules_host_explain(const struct net_options *o, const char *output, struct diag *d);

/* `sock` is a NETLINK_NETFILTER socket of the slot's namespace. */
int rules_slot_install(int sock, const struct net *n, const struct net_slot_names *names, const struct net_policy *policy, struct diag *d);
