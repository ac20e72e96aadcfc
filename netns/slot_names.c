/* slot_names.c: everything about a slot that is a function of its number and of the options. Pure: touches nothing. */
#include "net_internal.h"

#include "diag.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BRIDGE_BITS  10 /* addresses per bridge: 1024 */
#define BRIDGE_FIRST 2U /* .0 is the network, .1 the bridge */

static_assert(NET_SLOTS_PER_BRIDGE + BRIDGE_FIRST < 1U << BRIDGE_BITS, "a bridge's addresses fit, without its last");
static_assert(NET_BRIDGES_MAX * NET_SLOTS_PER_BRIDGE < 1U << 24, "a slot's number fits into a MAC");

static int prefix_check(const char *key, const char *prefix, size_t size, struct diag *d)
{
    size_t len = strnlen(prefix, size);

    if (len == 0 || len == size || !isalpha((unsigned char)prefix[0]) || !isalpha((unsigned char)prefix[len - 1]))
        return diag_set(d, EINVAL, "network.%s must have 1 to %zu characters and begin and end with a letter, since a number follows it", key, size - 1);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)prefix[i]))
            return diag_set(d, EINVAL, "network.%s = %s: letters and digits only", key, prefix);
    return 0;
}

static int prefix6_check(const struct net_options *o, struct diag *d)
{
    const uint8_t *p = o->prefix6.s6_addr;
    char text[INET6_ADDRSTRLEN];

    if (IN6_IS_ADDR_UNSPECIFIED(&o->prefix6))
        return 0;
    inet_ntop(AF_INET6, p, text, sizeof(text));
    for (size_t i = NET_PREFIX6_BYTES; i < sizeof(o->prefix6); i++)
        if (p[i] || p[0] != 0xfd)
            return diag_set(d, EINVAL, "network.prefix6 = %s: it must be a /48 of fd00::/8 (RFC 4193), like fd12:3456:789a::", text);
    return 0;
}

/* This network, loopback, link-local, and multicast with all behind it can be no unicast subnet of a host; no aligned /8 to /22 lies in two of them. */
static bool subnet_is_special(uint32_t base, unsigned len)
{
    return subnet_overlaps(base, len, 0, 8) || subnet_overlaps(base, len, INADDR_LOOPBACK, 8) || subnet_overlaps(base, len, 0xa9fe0000U, 16) ||
           base >= 0xe0000000U;
}

int net_options_check(const struct net_options *o, struct diag *d)
{
    uint32_t base = ntohl(o->subnet.s_addr);
    char text[INET_ADDRSTRLEN];
    int r = prefix_check("bridge", o->bridge, sizeof(o->bridge), d);

    if (r == 0)
        r = prefix_check("port", o->port, sizeof(o->port), d);
    if (r < 0)
        return r;
    if (strcmp(o->bridge, o->port) == 0)
        return diag_set(d, EINVAL, "network.bridge and network.port are both \"%s\": they name different interfaces", o->port);
    inet_ntop(AF_INET, &o->subnet, text, sizeof(text));
    if (o->prefix_len < 8 || o->prefix_len > 32 - BRIDGE_BITS)
        return diag_set(d, EINVAL, "network.subnet = %s/%u: the length of its prefix must be 8 to %u", text, o->prefix_len, 32 - BRIDGE_BITS);
    if (base & (UINT32_MAX >> o->prefix_len))
        return diag_set(d, EINVAL, "network.subnet = %s/%u is not a network: bits behind the prefix are set", text, o->prefix_len);
    if (subnet_is_special(base, o->prefix_len))
        return diag_set(d, EINVAL, "network.subnet = %s/%u cannot be used for interfaces: " NET_REMEDY_SUBNET ", of 10.0.0.0/8 for instance", text,
                        o->prefix_len);
    return prefix6_check(o, d);
}

void net_alias(const struct net_options *o, char buf[NET_ALIAS_MAX])
{
    snprintf(buf, NET_ALIAS_MAX, "fnd:%s", o->bridge);
}

unsigned net_bridges_max(const struct net_options *o)
{
    unsigned room;

    if (o->prefix_len < 8 || o->prefix_len > 32 - BRIDGE_BITS)
        return 0;
    room = 1U << (32 - BRIDGE_BITS - o->prefix_len);
    return room < NET_BRIDGES_MAX ? room : NET_BRIDGES_MAX;
}

unsigned net_slots_max(const struct net_options *o)
{
    return net_bridges_max(o) * NET_SLOTS_PER_BRIDGE;
}

uint32_t net_bridge_base(const struct net_options *o, unsigned bridge)
{
    return ntohl(o->subnet.s_addr) + (bridge << BRIDGE_BITS);
}

void net_prefix6(const struct net_options *o, struct in6_addr *ret)
{
    const uint8_t *subnet = (const uint8_t *)&o->subnet;
    const uint8_t derived[NET_PREFIX6_BYTES] = {0xfd, 'f', 'n', subnet[0], subnet[1], subnet[2]};

    memset(ret, 0, sizeof(*ret));
    memcpy(ret, IN6_IS_ADDR_UNSPECIFIED(&o->prefix6) ? derived : o->prefix6.s6_addr, NET_PREFIX6_BYTES);
}

static void addr6_set(const struct net_options *o, unsigned bridge, unsigned place, struct in6_addr *ret)
{
    net_prefix6(o, ret);
    ret->s6_addr[6] = (uint8_t)(bridge >> 8);
    ret->s6_addr[7] = (uint8_t)bridge;
    ret->s6_addr[14] = (uint8_t)(place >> 8);
    ret->s6_addr[15] = (uint8_t)place;
}

void net_bridge_addr6(const struct net_options *o, unsigned bridge, struct in6_addr *ret)
{
    addr6_set(o, bridge, 1, ret);
}

/* Locally administered; one letter for each kind ("fn" and b, n, p). */
static void mac_set(uint8_t mac[ETH_ALEN], char kind, unsigned number)
{
    const uint8_t bytes[ETH_ALEN] = {0x02, 'f', (uint8_t)kind, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};

    memcpy(mac, bytes, ETH_ALEN);
}

void net_bridge_mac(unsigned bridge, uint8_t mac[ETH_ALEN])
{
    mac_set(mac, 'b', bridge);
}

void net_port_mac(unsigned slot, uint8_t mac[ETH_ALEN])
{
    mac_set(mac, 'p', slot);
}

void net_bridge_name(const struct net_options *o, unsigned bridge, char buf[IFNAMSIZ])
{
    snprintf(buf, IFNAMSIZ, "%s%u", o->bridge, bridge);
}

void net_port_name(const struct net_options *o, unsigned slot, char buf[IFNAMSIZ])
{
    snprintf(buf, IFNAMSIZ, "%s%04u", o->port, slot);
}

int net_slot_names(const struct net_options *o, unsigned slot, struct net_slot_names *ret)
{
    unsigned bridge = slot / NET_SLOTS_PER_BRIDGE;
    uint32_t base;

    if (slot >= net_slots_max(o))
        return -ERANGE;
    base = net_bridge_base(o, bridge);
    memset(ret, 0, sizeof(*ret));
    net_port_name(o, slot, ret->port);
    net_bridge_name(o, bridge, ret->bridge);
    ret->bridge_addr.s_addr = htonl(base + 1);
    ret->addr.s_addr = htonl(base + BRIDGE_FIRST + slot % NET_SLOTS_PER_BRIDGE);
    net_bridge_addr6(o, bridge, &ret->bridge_addr6);
    addr6_set(o, bridge, BRIDGE_FIRST + slot % NET_SLOTS_PER_BRIDGE, &ret->addr6);
    mac_set(ret->mac, 'n', slot);
    net_port_mac(slot, ret->port_mac);
    net_bridge_mac(bridge, ret->bridge_mac);
    return 0;
}
