/*
 * netns.h: bridges, and network slots made ahead of time.
 *
 * A slot is a network namespace with one interface `eth0`, the other end of which is a port of one of our bridges. Everything about slot N is a function of N and of the options: names, addresses, MACs;
 * nothing is leased, so nothing can leak or be left in a file. rtnetlink(7) through libnl-3; the only place where libnl's error codes are seen.
 *
 *   bridge number   b = N / NET_SLOTS_PER_BRIDGE                      bridge name "<bridge><b>" (fn0, fn1)
 *   port name       "<port>NNNN" (vf0007)                             MAC of slot N's eth0: 02:66:6e:<N, 24 bit>; of its host end: 02:66:70:<N>; of bridge b: 02:66:62:<b>
 *   bridge address  subnet + b * 1024 + 1, as /32                     instance address: subnet + b * 1024 + 2 + N % NET_SLOTS_PER_BRIDGE, as /32
 *
 * Ports are isolated, learning and flooding off; neighbours and forwarding entries are permanent on both sides. In the slot: lo and eth0 up, one route (the bridge's address), no default route: nothing else
 * can be reached; net.ipv4.ip_unprivileged_port_start=0, IPv6 off; nftables rules that refuse every new connection that does not stay on lo. On the host one table `inet <bridge>` (libnftables,
 * in a short-lived child) drops new connections from our bridges to the host, everything forwarded from or to them, and packets whose source is not the bridge's network.
 */
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define NET_SLOTS_PER_BRIDGE 1000U /* a bridge has at most 1023 ports */
#define NET_BRIDGES_MAX      64U   /* more slots than there are ranges of 65536 user ids; the host's table names each bridge that there can be */

struct diag;

struct net_options {
    char bridge[8];        /* name prefix of bridges: "fn"; letters and digits, ends with a letter (a number follows, and "fn1" would name bridges of "fn") */
    char port[8];          /* name prefix of ports: "vf"; the same */
    struct in_addr subnet; /* network byte order */
    unsigned prefix_len;   /* 8..22 */
};

/* What a slot may reach; fixed when the slot is made, so that nothing of it is on the path of a start. The values are those of enum spec_egress. */
struct net_policy {
    uint32_t egress;
    bool mesh, ipv6;
};

struct net; /* open sockets, and which bridges are there */

/*
 * Checks the host (options: -EINVAL; subnet not used by another interface or route: -EADDRINUSE naming it; no foreign link of our names: -EEXIST) before it changes anything, then installs the host's table.
 * Bridges are made when their first slot is. Links that carry our names *and* our alias ("fnd:" and the bridge prefix) are leftovers of a killed daemon and are removed: that no other daemon with the
 * same prefixes lives in this network namespace is the caller's to know.
 */
int net_open(const struct net_options *o, struct net **ret, struct diag *d);

/*
 * Is the subnet free on this host? 0, -EADDRINUSE with the interface or route that uses it, -EINVAL for options that are none. Default routes, and those to more than a /8, use nothing. Needs no
 * privilege.
 */
int net_subnet_free(const struct net_options *o, struct diag *d);

/* Removes bridges, ports and the table. Can be repeated. */
int net_remove(struct net *n, struct diag *d);
void net_free(struct net *n);

struct net_slot_names {
    char port[IFNAMSIZ];
    char bridge[IFNAMSIZ];
    struct in_addr addr;        /* of the instance */
    struct in_addr bridge_addr; /* its only neighbour */
    uint8_t mac[6];             /* of eth0 */
    uint8_t port_mac[6];
    uint8_t bridge_mac[6];
};

/* Pure. -ERANGE when the subnet has no room for the slot. */
int net_slot_names(const struct net_options *o, unsigned slot, struct net_slot_names *ret);

/* Most slots that the subnet has room for, and at most NET_BRIDGES_MAX * NET_SLOTS_PER_BRIDGE. */
unsigned net_slots_max(const struct net_options *o);

/*
 * Makes slot `slot` in the network namespace `netns_fd` (fresh: only a `lo` that is down), which must be owned by the initial user namespace. Blocks for some hundred microseconds of RTNL (when the kernel is late to forward, for 40 ms at most). The calling
 * thread enters the namespace for a moment to open sockets there and comes back. On failure nothing of the slot is left on the host.
 */
int net_slot_make(struct net *n, unsigned slot, int netns_fd, const struct net_policy *policy, struct net_slot_names *ret, struct diag *d);

/*
 * Removes the slot's port (and with it eth0, where the namespace still lives), and what the host knows of the instance. A missing port is success. Removing one that is there blocks for RCU, 16 ms on a small
 * machine; the kernel does the same in the background when the last descriptor and the last process of the namespace have gone. So a caller that must not block closes the namespace,
 * waits until net_slot_gone, and calls this then (some microseconds), or after a deadline, for a namespace that somebody keeps.
 */
int net_slot_remove(struct net *n, unsigned slot, struct diag *d);

/* Has the port gone? One system call. While it has not, the slot cannot be made again (-EEXIST). */
bool net_slot_gone(struct net *n, unsigned slot);
