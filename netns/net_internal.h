/*
 * net_internal.h: what the files of netns/ share. Nobody outside includes it.
 *
 * rt_*      netlink.c      rtnetlink: requests in batches, dumps, the one place where libnl's error codes are seen
 * link_*    links.c        which links of the host are ours
 * bridge_*  bridge.c       one bridge per NET_SLOTS_PER_BRIDGE slots
 * rules_*   rules_host.c   the host's table; rules_slot.c: the table in a slot
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

struct net {
    struct net_options o;
    struct nl_sock *rt;            /* rtnetlink in the host's namespace */
    int host_ns;                   /* the namespace to come back to */
    ino_t host_ns_ino, userns_ino; /* inodes of the host's network and user namespaces: what a slot must not, and must, belong to */
    int bridges[NET_BRIDGES_MAX];  /* ifindex, 0: not made yet */
};

/* 0, or -EINVAL: prefixes that can be followed by a number, and an aligned unicast subnet of a usable size. */
int net_options_check(const struct net_options *o, struct diag *d);

/* "fnd:<bridge>", which marks our links; the prefix is part of it so that daemons with different prefixes leave each other alone. */
void net_alias(const struct net_options *o, char buf[NET_ALIAS_MAX]);

unsigned net_bridges_max(const struct net_options *o);

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
#define RT_BATCH_MAX 5

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

/* Writes name=value pairs below /proc/sys/net of the calling thread's namespace; `name` with one %s for `link`. A missing ipv6 directory is success. */
struct net_sysctl {
    const char *name, *value;
};
int net_sysctl_write(const struct net_sysctl *table, size_t n, const char *link, struct diag *d);

/* The text that libnftables gets; *ret is the caller's. Pure. */
int rules_host_text(const struct net_options *o, char **ret);
int rules_host_install(const struct net_options *o, struct diag *d);
int rules_host_remove(const struct net_options *o, struct diag *d);
/* Turns libnftables' messages into an errno and a text with a remedy. Pure. */
int rules_host_explain(const struct net_options *o, const char *output, struct diag *d);

/* `sock` is a NETLINK_NETFILTER socket of the slot's namespace. */
int rules_slot_install(int sock, const struct net_slot_names *names, struct diag *d);
