/*
 * rules_text.c: the host's tables as the text that libnftables gets. Pure.
 *
 * `bridge <bridge>`: who may send from which port: (port, MAC, source address), and no ARP at all, since neighbours are permanent on both sides. It holds before the bridge's own `locked` ports, which count
 * nothing. `inet <bridge>`: everything else. Both only drop, or accept for themselves: other tables and their owners are left alone, whatever their verdicts are. Priorities lie just before the usual ones.
 *
 * What is forwarded is decided packet by packet from sets: a slot's address leads to its policy (a verdict map), or is in `mesh`, or is in `open` with the destination. The policy is asked again for
 * every packet of a connection, so a slot's address that a later slot gets inherits nothing from the connections of the earlier one; only segments behind the first of a TCP connection pass when what
 * opened it has ended. Replies pass only in the direction of a connection that a slot began: one that got in while somebody had flushed the table is refused afterwards.
 *
 * Connection tracking costs every packet of the whole host (0.4 us of CPU per request of ours), so its rules are there only once a slot needs them (net.forwards), and what goes between a bridge's address and
 * its slots, and between slots, is exempt, unless somebody filters the host's input: their "established" would not know it then (net.notrack). New connections to the host are recognised by what a first
 * packet looks like. `uplinks` are interfaces that forward only because we said so: nothing but ours may use that, and answers to what another
 * fnd of this host (`fnctl run`), which found them forwarding, has let out.
 *
 * Its table is the whole host's, 262,144 entries by default, and when it is full the kernel drops what begins a connection. A closed TCP connection is an entry for 120 s, so that 2,200 connections a second of
 * one stranger, or of one function, would fill it. What begins at the gateway's ports (`listeners`), at a bridge, or in a slot gets shorter times therefore (`ct timeout`, where the kernel has it: rules_host.c
 * tries), and a slot begins at most conns_max TCP connections a second, beside having that many of any kind at once: `ct count` does not count closed ones. So a slot has at most conns_max entries and about six
 * times as many closed ones. Entries of a slot that was thrown away need not be looked for: who dies sends FIN or RST, what the peer does not acknowledge or has no window for falls under `unack` and `retrans`,
 * so none is left after half a minute and nothing but the table's room would notice; a later slot's share of conns_max begins anew (rules_sets.c).
 */
#include "nft_internal.h"

#include "clock.h"
#include "fd.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CONNS_SET_SIZE (NET_BRIDGES_MAX * NET_SLOTS_PER_BRIDGE)

/*
 * Seconds; the kernel's own are 60, 120, 60, 30, 120, 10, 300, 300 (net.netfilter.nf_conntrack_tcp_timeout_*). A handshake's answer is repeated after 1, 3, 7, 15 s, and each time counts anew. close_wait is also a
 * client that has shut its sending side and waits for its answer: behind a NAT redirect on this host it would lose it, so that stays long enough for a silence.
 */
#define SHORT_TCP "syn_recv : 20, fin_wait : 20, close_wait : 30, last_ack : 10, time_wait : 5, close : 2, unack : 30, retrans : 30"
#define SHORT_UDP "unreplied : 5, replied : 5" /* what a slot asks the DNS forwarder */

struct text_view {
    const struct net *n;
    struct strbuf *b;
    uint64_t now_ns;
    bool timeouts; /* the kernel has them */
    bool first;    /* of the elements of a set */
};

static const char *text4(struct in_addr a, char buf[INET6_ADDRSTRLEN])
{
    return inet_ntop(AF_INET, &a, buf, INET6_ADDRSTRLEN);
}

static const char *text6(const struct in6_addr *a, char buf[INET6_ADDRSTRLEN])
{
    return inet_ntop(AF_INET6, a, buf, INET6_ADDRSTRLEN);
}

/* ---- sets ---- */

static void text_elem(struct text_view *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void text_elem(struct text_view *v, const char *format, ...)
{
    char line[160];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    strbuf_puts(v->b, v->first ? "  elements = { " : ", ");
    strbuf_puts(v->b, line);
    v->first = false;
}

static void set_begin(struct text_view *v, const char *head)
{
    strbuf_printf(v->b, " %s\n", head);
    v->first = true;
}

static void set_end(struct text_view *v)
{
    strbuf_puts(v->b, v->first ? " }\n" : " }\n }\n");
}

static void sets_of_bridges(struct text_view *v)
{
    static const char *const heads[] = {"set bridges {\n  type ifname;", "set sources4 {\n  typeof iifname . ip saddr; flags interval;",
                                        "set sources6 {\n  typeof iifname . ip6 saddr; flags interval;", "set gateways {\n  typeof iifname . ip daddr;"};
    const struct net_options *o = &v->n->o;

    for (unsigned set = 0; set < sizeof(heads) / sizeof(heads[0]); set++) {
        set_begin(v, heads[set]);
        for (unsigned i = 0; i < net_bridges_max(o); i++) {
            char name[IFNAMSIZ], text[INET6_ADDRSTRLEN];
            struct in6_addr six;

            net_bridge_name(o, i, name);
            net_bridge_addr6(o, i, &six);
            six.s6_addr[15] = 0;
            if (set == 0)
                text_elem(v, "\"%s\"", name);
            else if (set == 2)
                text_elem(v, "\"%s\" . %s/64", name, text6(&six, text));
            else
                text_elem(v, "\"%s\" . %s%s", name, text4((struct in_addr){htonl(net_bridge_base(o, i) + (set == 3))}, text), set == 3 ? "" : "/22");
        }
        set_end(v);
    }
}

static void sets_of_ranges(struct text_view *v)
{
    static const char *const names[SPECIAL_CLASS_COUNT] = {[SPECIAL_NEVER] = "never", [SPECIAL_RESERVED] = "reserved", [SPECIAL_PRIVATE] = "private"};
    struct special_range ranges[SPECIAL_MAX];

    for (unsigned six = 0; six < 2; six++) {
        const int family = six ? AF_INET6 : AF_INET;
        size_t n = special_ranges(&v->n->o, family, ranges);

        for (unsigned class = 0; class < SPECIAL_CLASS_COUNT; class ++) {
            char head[64], first[INET6_ADDRSTRLEN], last[INET6_ADDRSTRLEN];

            snprintf(head, sizeof(head), "set %s%c {\n  type ipv%c_addr; flags interval;", names[class], six ? '6' : '4', six ? '6' : '4');
            set_begin(v, head);
            for (size_t i = 0; i < n; i++)
                if (ranges[i].class == class && memcmp(ranges[i].first, ranges[i].last, sizeof(ranges[i].first)) == 0)
                    text_elem(v, "%s", inet_ntop(family, ranges[i].first, first, sizeof(first)));
                else if (ranges[i].class == class)
                    text_elem(v, "%s-%s", inet_ntop(family, ranges[i].first, first, sizeof(first)), inet_ntop(family, ranges[i].last, last, sizeof(last)));
            set_end(v);
        }
    }
}

static void mac_text(const uint8_t mac[ETH_ALEN], char buf[18])
{
    snprintf(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void elem_port(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    text_elem(v, "\"%s\"", names->port);
}

static void elem_sender4(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    char mac[18], addr[INET6_ADDRSTRLEN];

    mac_text(names->mac, mac);
    text_elem(v, "\"%s\" . %s . %s", names->port, mac, text4(names->addr, addr));
}

static void elem_sender6(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    char mac[18], addr[INET6_ADDRSTRLEN];

    mac_text(names->mac, mac);
    if (s->policy.ipv6)
        text_elem(v, "\"%s\" . %s . %s", names->port, mac, text6(&names->addr6, addr));
}

static void elem_policy4(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    const char *chain = rules_policy_chain(s);
    char addr[INET6_ADDRSTRLEN];

    if (chain)
        text_elem(v, "%s : goto %s", text4(names->addr, addr), chain);
}

static void elem_policy6(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    const char *chain = rules_policy_chain(s);
    char addr[INET6_ADDRSTRLEN];

    if (chain && s->policy.ipv6)
        text_elem(v, "%s : goto %s", text6(&names->addr6, addr), chain);
}

static void elem_resolver(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    char addr[INET6_ADDRSTRLEN];

    if (rules_resolves(&v->n->o, s))
        text_elem(v, "%s", text4(names->addr, addr));
}

static void elem_mesh4(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    char addr[INET6_ADDRSTRLEN];

    if (s->policy.mesh)
        text_elem(v, "%s", text4(names->addr, addr));
}

static void elem_mesh6(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    char addr[INET6_ADDRSTRLEN];

    if (s->policy.mesh && s->policy.ipv6)
        text_elem(v, "%s", text6(&names->addr6, addr));
}

static void elem_opens(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names, bool four)
{
    char own[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];

    for (size_t i = 0; i < s->nopens; i++) {
        const struct net_open *o = &s->opens[i];
        struct in_addr to4;
        char timeout[40] = "";

        if (IN6_IS_ADDR_V4MAPPED(&o->dest.addr) != four || !known_open_holds(o, v->now_ns))
            continue;
        memcpy(&to4, o->dest.addr.s6_addr + 12, sizeof(to4));
        if (o->until_ns)
            snprintf(timeout, sizeof(timeout), " timeout %llums", (unsigned long long)((o->until_ns - v->now_ns) / NS_PER_MS + 1));
        text_elem(v, "%s . %s . %u%s", four ? text4(names->addr, own) : text6(&names->addr6, own), four ? text4(to4, to) : text6(&o->dest.addr, to),
                  o->dest.port, timeout);
    }
}

static void elem_open4(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    elem_opens(v, s, names, true);
}

static void elem_open6(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names)
{
    elem_opens(v, s, names, false);
}

static const struct slot_set {
    const char *head;
    void (*elem)(struct text_view *v, const struct net_slot *s, const struct net_slot_names *names);
} bridge_sets[] =
    {
        {"set ports {\n  type ifname;", elem_port},
        {"set senders4 {\n  typeof iifname . ether saddr . ip saddr;", elem_sender4},
        {"set senders6 {\n  typeof iifname . ether saddr . ip6 saddr;", elem_sender6},
},
  inet_sets[] = {
      {"map policies4 {\n  type ipv4_addr : verdict;", elem_policy4},
      {"map policies6 {\n  type ipv6_addr : verdict;", elem_policy6},
      {"set resolvers {\n  type ipv4_addr;", elem_resolver},
      {"set mesh4 {\n  type ipv4_addr;", elem_mesh4},
      {"set mesh6 {\n  type ipv6_addr;", elem_mesh6},
      {"set open4 {\n  typeof ip saddr . ip daddr . th dport; flags timeout;", elem_open4},
      {"set open6 {\n  typeof ip6 saddr . ip6 daddr . th dport; flags timeout;", elem_open6},
};

static void sets_of_slots(struct text_view *v, const struct slot_set *sets, size_t nsets)
{
    for (size_t i = 0; i < nsets; i++) {
        set_begin(v, sets[i].head);
        for (size_t k = 0; k < v->n->slots_room; k++) {
            struct net_slot_names names;

            if (v->n->slots[k] && net_slot_names(&v->n->o, (unsigned)k, &names) == 0)
                sets[i].elem(v, v->n->slots[k], &names);
        }
        set_end(v);
    }
}

static void sets_of_uplinks(struct text_view *v)
{
    for (unsigned six = 0; six < 2; six++) {
        set_begin(v, six ? "set uplinks6 {\n  type ifname;" : "set uplinks4 {\n  type ifname;");
        for (size_t i = 0; i < v->n->uplinks[six].n; i++)
            text_elem(v, "\"%s\"", v->n->uplinks[six].names[i]);
        set_end(v);
    }
}

/* What packets fill. */
static void sets_of_counts(struct text_view *v)
{
    for (int six = '4'; six <= '6'; six += 2)
        for (int begun = 0; begun < 2; begun++)
            strbuf_printf(v->b, " set %s%c {\n  type ipv%c_addr; size %u; flags dynamic;\n }\n", begun ? "begun" : "conns", six, six, CONNS_SET_SIZE);
}

static void set_of_listeners(struct text_view *v)
{
    set_begin(v, "set listeners {\n  type inet_service;");
    for (size_t i = 0; i < v->n->nlisteners; i++)
        text_elem(v, "%u", v->n->listeners[i]);
    set_end(v);
}

/* ---- chains ---- */

static void chains_of_bridge(struct text_view *v)
{
    strbuf_printf(v->b,
                  " chain wrong {\n"
                  "  ether type arp counter name spoofed_arp drop\n"
                  "  ip6 saddr :: drop\n" /* what a kernel says of its own accord when an interface comes up */
                  "  ether type { ip, ip6 } counter name spoofed_mac_ip drop\n"
                  "  counter name other_frames drop\n }\n"
                  " chain prerouting {\n  type filter hook prerouting priority -310; policy accept;\n"
                  "  iifname != \"%s*\" accept\n"
                  "  ether type ip iifname . ether saddr . ip saddr @senders4 accept\n"
                  "  ether type ip6 iifname . ether saddr . ip6 saddr @senders6 accept\n"
                  "  iifname @ports jump wrong\n }\n",
                  v->n->o.port);
}

/* `fresh`: the first packet of what a slot begins; `pass`: all of what it has beyond its bridge. A UDP flow without answers is new with every packet: `ct count` alone bounds it. */
static void chains_of_tracking(struct text_view *v)
{
    const unsigned conns = v->n->o.conns_max ? v->n->o.conns_max : NET_CONNS_DEFAULT;

    if (v->timeouts)
        strbuf_puts(v->b, " ct timeout short_tcp {\n  protocol tcp; l3proto ip; policy = { " SHORT_TCP " };\n }\n"
                          " ct timeout short_udp {\n  protocol udp; l3proto ip; policy = { " SHORT_UDP " };\n }\n");
    strbuf_printf(v->b,
                  " chain fresh {\n"
                  "%s"
                  "  meta l4proto tcp add @begun4 { ip saddr limit rate over %u/second burst %u packets } counter name conns_refused drop\n"
                  "  meta l4proto tcp add @begun6 { ip6 saddr limit rate over %u/second burst %u packets } counter name conns_refused drop\n }\n"
                  " chain pass {\n"
                  "  ct state != new accept\n"
                  "  jump fresh\n"
                  "  add @conns4 { ip saddr ct count over %u } counter name conns_refused drop\n"
                  "  add @conns6 { ip6 saddr ct count over %u } counter name conns_refused drop\n"
                  "  accept\n }\n",
                  v->timeouts ? "  meta l4proto tcp ct timeout set \"short_tcp\"\n" : "", conns, conns, conns, conns, conns, conns);
}

static void chains_of_policies(struct text_view *v)
{
    strbuf_puts(v->b, " chain lan {\n"
                      "  ip daddr @reserved4 counter name egress_refused drop\n"
                      "  ip6 daddr @reserved6 counter name egress_refused drop\n"
                      "  goto pass\n }\n"
                      " chain internet {\n"
                      "  ip daddr @private4 counter name egress_refused drop\n"
                      "  ip6 daddr @private6 counter name egress_refused drop\n"
                      "  goto lan\n }\n");
}

static void chains_of_forwarding(struct text_view *v)
{
    const bool on = v->n->forwards;
    const char *mesh = v->n->notrack ? "accept" : "goto pass";

    strbuf_printf(v->b,
                  " chain mesh {\n"
                  "  ip saddr @mesh4 ip daddr @mesh4 %s\n"
                  "  ip6 saddr @mesh6 ip6 daddr @mesh6 %s\n"
                  "  counter name mesh_refused drop\n }\n"
                  " chain from_slot {\n"
                  "  oifname @bridges goto mesh\n",
                  mesh, mesh);
    if (on)
        strbuf_puts(v->b, "  ip daddr @never4 counter name egress_refused drop\n"
                          "  ip6 daddr @never6 counter name egress_refused drop\n"
                          "  ct state invalid,untracked counter name egress_refused drop\n" /* it would leave with the slot's own address */
                          "  ct direction reply counter name egress_refused drop\n"
                          "  meta l4proto { tcp, udp } ip saddr . ip daddr . th dport @open4 goto pass\n"
                          "  meta l4proto { tcp, udp } ip6 saddr . ip6 daddr . th dport @open6 goto pass\n"
                          "  ct state established tcp flags & (syn | ack) != syn accept\n"
                          "  ip saddr vmap @policies4\n"
                          "  ip6 saddr vmap @policies6\n");
    strbuf_puts(v->b, "  counter name egress_refused drop\n }\n chain to_slot {\n");
    if (on)
        strbuf_puts(v->b, "  ct state established,related ct direction reply accept\n");
    strbuf_puts(v->b, "  counter name from_outside drop\n }\n"
                      " chain forward {\n  type filter hook forward priority filter - 10; policy accept;\n"
                      "  iifname @bridges goto from_slot\n"
                      "  oifname @bridges goto to_slot\n");
    if (on)
        strbuf_puts(v->b, "  iifname @uplinks4 ct state established,related ct direction reply accept\n"
                          "  iifname @uplinks6 ct state established,related ct direction reply accept\n");
    strbuf_puts(v->b, "  meta nfproto ipv4 iifname @uplinks4 counter drop\n"
                      "  meta nfproto ipv6 iifname @uplinks6 counter drop\n }\n");
}

static void chains_of_nat(struct text_view *v, const char *subnet, const char *prefix6)
{
    strbuf_printf(v->b,
                  " chain postrouting {\n  type nat hook postrouting priority srcnat - 10; policy accept;\n"
                  "  ip saddr %s oifname != @bridges masquerade\n  ip6 saddr %s oifname != @bridges masquerade\n }\n",
                  subnet, prefix6);
}

/* The gateway's connections: strangers' come in; those of the host itself are in the table before they do, and so are those to slots. */
static void chains_of_listeners(struct text_view *v)
{
    strbuf_puts(v->b, " chain strangers {\n  type filter hook input priority filter - 10; policy accept;\n"
                      "  ct state new tcp dport @listeners ct timeout set \"short_tcp\"\n }\n"
                      " chain local {\n  type filter hook output priority filter - 10; policy accept;\n"
                      "  oif \"lo\" ct state new tcp dport @listeners ct timeout set \"short_tcp\"\n");
    if (!v->n->notrack)
        strbuf_puts(v->b, "  oifname @bridges ct state new meta l4proto tcp ct timeout set \"short_tcp\"\n");
    strbuf_puts(v->b, " }\n");
}

static void chains_of_inet(struct text_view *v)
{
    const struct net_options *o = &v->n->o;
    const char *notrack = v->n->notrack ? "notrack " : "";
    const bool tracks = v->n->forwards || !v->n->notrack;
    char addr[INET6_ADDRSTRLEN], subnet[INET6_ADDRSTRLEN + 4], prefix6[INET6_ADDRSTRLEN + 4];
    struct in6_addr six;

    net_prefix6(o, &six);
    snprintf(subnet, sizeof(subnet), "%s/%u", text4(o->subnet, addr), o->prefix_len);
    snprintf(prefix6, sizeof(prefix6), "%s/%d", text6(&six, addr), NET_PREFIX6_BYTES * 8);
    strbuf_printf(v->b,
                  " chain spoofed {\n"
                  "  iifname . ip saddr != @sources4 counter name spoofed_mac_ip drop\n"
                  "  iifname . ip6 saddr != @sources6 counter name spoofed_mac_ip drop\n"
                  "  ip daddr %s %sreturn\n  ip6 daddr %s %sreturn\n"
                  "  fib daddr type { local, broadcast, anycast, multicast } counter name to_host drop\n }\n" /* before somebody's dstnat sends it elsewhere */
                  " chain prerouting {\n  type filter hook prerouting priority raw - 10; policy accept;\n  iifname @bridges jump spoofed\n }\n",
                  subnet, notrack, prefix6, notrack);
    if (v->n->notrack)
        strbuf_printf(v->b, " chain output {\n  type filter hook output priority raw - 10; policy accept;\n  oifname @bridges ip saddr %s notrack\n }\n", subnet);
    if (tracks)
        chains_of_tracking(v);
    strbuf_puts(v->b, " chain to_host {\n"
                      "  meta nfproto != ipv4 counter name to_host drop\n"
                      "  iifname . ip daddr != @gateways counter name to_host drop\n"
                      "  tcp flags & (syn | ack) != syn accept\n");
    if (!v->n->notrack)
        strbuf_printf(v->b, "  ct state new jump fresh\n%s", v->timeouts ? "  ct state new udp dport 53 ct timeout set \"short_udp\"\n" : "");
    if (o->gateway_port)
        strbuf_printf(v->b, "  tcp dport %u accept\n", o->gateway_port);
    strbuf_puts(v->b, "  ip saddr @resolvers meta l4proto { tcp, udp } th dport 53 accept\n"
                      "  counter name to_host drop\n }\n"
                      " chain input {\n  type filter hook input priority filter - 10; policy accept;\n  iifname @bridges jump to_host\n }\n");
    if (v->n->forwards)
        chains_of_policies(v);
    else
        strbuf_puts(v->b, " chain lan {\n }\n chain internet {\n }\n"); /* the maps name them */
    chains_of_forwarding(v);
    if (v->n->forwards)
        chains_of_nat(v, subnet, prefix6);
    if (tracks && v->timeouts)
        chains_of_listeners(v);
}

static void text_counters(struct text_view *v, uint16_t family)
{
    for (size_t i = 0; i < rules_counters_n; i++)
        if (rules_counters[i].family == family)
            strbuf_printf(v->b, " counter %s {\n }\n", rules_counters[i].name);
}

int rules_text(const struct net *n, uint64_t now_ns, bool timeouts, char **ret)
{
    cleanup_strbuf struct strbuf b = {0};
    struct text_view v = {.n = n, .b = &b, .now_ns = now_ns, .timeouts = timeouts};
    static const char *const families[] = {"bridge", "inet"};

    for (unsigned i = 0; i < 2; i++)
        strbuf_printf(&b, "add table %s %s\ndelete table %s %s\n", families[i], n->o.bridge, families[i], n->o.bridge);
    strbuf_printf(&b, "table bridge %s {\n", n->o.bridge);
    text_counters(&v, NFPROTO_BRIDGE);
    sets_of_slots(&v, bridge_sets, sizeof(bridge_sets) / sizeof(bridge_sets[0]));
    chains_of_bridge(&v);
    strbuf_printf(&b, "}\ntable inet %s {\n", n->o.bridge);
    text_counters(&v, NFPROTO_INET);
    sets_of_bridges(&v);
    sets_of_ranges(&v);
    sets_of_uplinks(&v);
    set_of_listeners(&v);
    sets_of_counts(&v);
    sets_of_slots(&v, inet_sets, sizeof(inet_sets) / sizeof(inet_sets[0]));
    chains_of_inet(&v);
    strbuf_puts(&b, "}\n");
    if (b.failed)
        return -ENOMEM;
    *ret = take_ptr(b.data);
    return 0;
}
