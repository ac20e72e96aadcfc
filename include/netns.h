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
 *   with policy.ipv6: bridge b has prefix6:b::1/128, slot N's eth0 prefix6:b::(2 + N % NET_SLOTS_PER_BRIDGE)/128; prefix6 is a ULA /48
 *
 * Ports are isolated, learning and flooding off; neighbours and forwarding entries are permanent on both sides. In the slot: lo and eth0 up, a route to the bridge's address and
 * a default route over it; net.ipv4.ip_unprivileged_port_start=0, IPv6 off unless asked; nftables rules that refuse what the policy does not open. On the host the tables `inet <bridge>` (policies,
 * masquerade) and `bridge <bridge>` (who may send from which port), installed by libnftables in a short-lived child; what belongs to one slot is elements of their sets, over nfnetlink.
 * Both places hold by themselves: somebody's `nft flush ruleset` leaves the slots' rules, and net_on_event() puts the tables back.
 *
 * What no policy and no net_slots_open() opens: the host (any of its addresses, but for gateway_port and 53 at the slot's own bridge), other slots (unless both have mesh), link-local addresses, the
 * metadata services 169.254.169.254 and fd00:ec2::254, loopback, multicast, 0.0.0.0/8, 240.0.0.0/4.
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
    char bridge[8];          /* name prefix of bridges: "fn"; letters and digits, ends with a letter (a number follows, and "fn1" would name bridges of "fn") */
    char port[8];            /* name prefix of ports: "vf"; the same */
    struct in_addr subnet;   /* network byte order */
    unsigned prefix_len;     /* 8..22 */
    uint16_t gateway_port;   /* TCP port at the bridge's address that every slot may reach; 0: none */
    bool dns;                /* port 53 at the bridge's address, UDP and TCP, is open to slots with mesh, and to those whose egress is not NO */
    uint32_t conns_max;      /* connections that leave the host, per slot at once; TCP: also new ones a second; 0: NET_CONNS_DEFAULT */
    struct in6_addr prefix6; /* a ULA /48; all zero: fd66:6e.. with the subnet's first three bytes */
};

#define NET_CONNS_DEFAULT 1024U

/*
 * What a slot may reach; fixed when the slot is made, so that nothing of it is on the path of a start. The values are those of enum spec_egress. In all: answers, and the gateway's port at the bridge.
 *   NO        no more            INTERNET  public addresses, DNS        LAN  those, and private ranges (RFC 1918, 100.64.0.0/10, fc00::/7), DNS        LIST  DNS
 * and what net_slots_open() opened. mesh: new connections from and to other slots with mesh, TCP and UDP, any port.
 */
enum net_egress { NET_EGRESS_NO, NET_EGRESS_INTERNET, NET_EGRESS_LAN, NET_EGRESS_LIST, NET_EGRESS_COUNT };

struct net_policy {
    uint32_t egress; /* enum net_egress */
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
    struct in6_addr addr6, bridge_addr6; /* used only with policy.ipv6 */
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

/* Has the port gone? While it has not, the slot cannot be made again (-EEXIST). The first call lets go of the namespace, which lives no longer through us; from then on nothing can be opened for the slot. */
bool net_slot_gone(struct net *n, unsigned slot);

struct net_dest {
    struct in6_addr addr; /* IPv4 as ::ffff:a.b.c.d */
    uint16_t port;        /* TCP and UDP; host byte order */
};

/*
 * Each of these slots may reach each of these destinations, for ttl_s seconds (0: while the slot lives); opening again sets the time anew, TCP connections that exist when it ends go on. Slots that are not
 * there, IPv6 destinations for slots without ipv6, and destinations that nothing opens (net_dest_refused) are passed over. When this returns 0 or more, packets pass. Returns how many pairs were opened.
 */
int net_slots_open(struct net *n, const unsigned *slots, size_t nslots, const struct net_dest *dests, size_t ndests, uint32_t ttl_s, struct diag *d);

/* Pure: NULL, or why nothing opens this destination ("a link-local address"). The host's own addresses are refused by the rules. */
const char *net_dest_refused(const struct net_options *o, const struct net_dest *dest);

/*
 * Becomes readable when somebody changed our tables, or the host's addresses, routes or forwarding changed: then call net_on_event(), which puts right what is needed (an installation blocks for some
 * milliseconds; beside a foreign set of 100,000 elements for 300), sooner or, when somebody fights over the table, later. Returns 0, which of the two when the tables were installed again, or the failure,
 * which is tried again. The descriptor is net's.
 */
#define NET_EVENT_RESTORED 1 /* somebody had changed or removed them */
#define NET_EVENT_RENEWED  2 /* another table began or ceased to filter what comes to the host, on which connection tracking of ours depends */
int net_watch_fd(const struct net *n);
int net_on_event(struct net *n, struct diag *d);

/*
 * The TCP ports at which the gateway accepts: connections to them are forgotten by the kernel's connection tracking seconds after their end instead of two minutes, where it is on at all. 0 are passed over.
 * Installs the tables again where that changes something.
 */
#define NET_LISTENERS_MAX 16U
int net_listeners(struct net *n, const uint16_t *ports, size_t nports, struct diag *d);

struct net_counters {        /* packets since net_open; those that an installation by somebody else's fault lost are missing */
    uint64_t spoofed_mac_ip; /* another MAC or source address than the slot's own */
    uint64_t spoofed_arp;    /* ARP at all: nothing of ours sends any */
    uint64_t other_frames;   /* VLAN tags and other protocols */
    uint64_t to_host;        /* to an address or port of the host that is not open */
    uint64_t egress_refused; /* forwarded to what the policy does not open */
    uint64_t mesh_refused;   /* to another slot */
    uint64_t from_outside;   /* to a slot, not an answer */
    uint64_t conns_refused;  /* beyond conns_max, at once or a second */
    uint64_t installs;       /* times that the tables had to be put back */
};
int net_counters(struct net *n, struct net_counters *ret, struct diag *d);

/*
 * Is there a rule of another owner that would keep traffic from or to our bridges? 0, or -EPERM with the chain and the remedy: base chains of other tables at the hooks input and forward whose policy is
 * drop (ufw, Docker) or that belong to firewalld. Read only; needs CAP_NET_ADMIN.
 */
int net_foreign_policy(const struct net_options *o, struct diag *d);
