/*
 * special.c: which addresses are not public. Pure.
 *
 * Rows follow the IANA registries of special-purpose addresses (iana-ipv4-special-registry, iana-ipv6-special-registry): what they do not call globally reachable. Of IPv6 only 2000::/3 is given out, so
 * everything else is reserved. Beside them: metadata services that providers keep at addresses of other kinds. 64:ff9b::/96 (RFC 6052) stands for an IPv4 address and is what that is.
 */
#include "nft_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct special_row {
    const char *first, *last;
    enum special_class class;
    const char *what;
};

static const struct special_row rows4[] = {
    {"0.0.0.0", "0.255.255.255", SPECIAL_NEVER, "an address of this network"},
    {"10.0.0.0", "10.255.255.255", SPECIAL_PRIVATE, "a private address"},
    {"100.64.0.0", "100.127.255.255", SPECIAL_PRIVATE, "a shared address"},
    {"100.100.100.200", "100.100.100.200", SPECIAL_NEVER, "a metadata service"}, /* Alibaba */
    {"127.0.0.0", "127.255.255.255", SPECIAL_NEVER, "a loopback address"},
    {"168.63.129.16", "168.63.129.16", SPECIAL_NEVER, "a metadata service"}, /* Azure */
    {"169.254.0.0", "169.254.255.255", SPECIAL_NEVER, "a link-local address"},
    {"172.16.0.0", "172.31.255.255", SPECIAL_PRIVATE, "a private address"},
    {"192.0.0.0", "192.0.0.8", SPECIAL_RESERVED, "a reserved address"},
    {"192.0.0.11", "192.0.0.255", SPECIAL_RESERVED, "a reserved address"},
    {"192.0.0.192", "192.0.0.192", SPECIAL_NEVER, "a metadata service"}, /* Oracle */
    {"192.0.2.0", "192.0.2.255", SPECIAL_RESERVED, "a documentation address"},
    {"192.88.99.0", "192.88.99.255", SPECIAL_RESERVED, "a reserved address"},
    {"192.168.0.0", "192.168.255.255", SPECIAL_PRIVATE, "a private address"},
    {"198.18.0.0", "198.19.255.255", SPECIAL_RESERVED, "a benchmarking address"},
    {"198.51.100.0", "198.51.100.255", SPECIAL_RESERVED, "a documentation address"},
    {"203.0.113.0", "203.0.113.255", SPECIAL_RESERVED, "a documentation address"},
    {"224.0.0.0", "239.255.255.255", SPECIAL_NEVER, "a multicast address"},
    {"240.0.0.0", "255.255.255.255", SPECIAL_NEVER, "a reserved address"},
};

static const struct special_row rows6[] = {
    {"::", "::ffff:ffff:ffff", SPECIAL_NEVER, "a loopback or embedded IPv4 address"},
    {"0:0:0:1::", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"64:ff9b::1:0:0", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"2001::", "2001:1::", SPECIAL_RESERVED, "a reserved address"},
    {"2001:1::4", "2001:2:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"2001:4::", "2001:4:111:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"2001:4:113::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a documentation address"},
    {"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "an embedded IPv4 address"},
    {"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a documentation address"},
    {"4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_PRIVATE, "a private address"},
    {"fd00:ec2::254", "fd00:ec2::254", SPECIAL_NEVER, "a metadata service"}, /* Amazon */
    {"fd20:ce::254", "fd20:ce::254", SPECIAL_NEVER, "a metadata service"},   /* Google */
    {"fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_RESERVED, "a reserved address"},
    {"fe80::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_NEVER, "a link-local address"},
    {"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL_NEVER, "a multicast address"},
};

#define ROWS4 (sizeof(rows4) / sizeof(rows4[0]))
#define ROWS6 (sizeof(rows6) / sizeof(rows6[0]))
static_assert(ROWS4 + ROWS6 + 2 <= SPECIAL_MAX, "all ranges have room");

static size_t special_len(int family)
{
    return family == AF_INET ? 4 : 16;
}

bool special_holds(const struct special_range *r, int family, const uint8_t *addr)
{
    return memcmp(r->first, addr, special_len(family)) <= 0 && memcmp(addr, r->last, special_len(family)) <= 0;
}

static void special_row(struct special_range *ret, int family, const struct special_row *row)
{
    *ret = (struct special_range){.class = (uint8_t)row->class, .what = row->what};
    inet_pton(family, row->first, ret->first);
    inet_pton(family, row->last, ret->last);
}

static void special_embed(struct special_range *ret, const struct special_row *row)
{
    struct special_range four;

    special_row(&four, AF_INET, row);
    *ret = (struct special_range){.class = four.class, .what = row->what};
    inet_pton(AF_INET6, "64:ff9b::", ret->first);
    inet_pton(AF_INET6, "64:ff9b::", ret->last);
    memcpy(ret->first + 12, four.first, 4);
    memcpy(ret->last + 12, four.last, 4);
}

static void special_own(struct special_range *ret, const struct net_options *o, int family)
{
    const uint32_t base = ntohl(o->subnet.s_addr), first = htonl(base), last = htonl(base | (UINT32_MAX >> o->prefix_len));

    *ret = (struct special_range){.class = SPECIAL_NEVER, .what = "an address of another instance or of the host"};
    if (family == AF_INET) {
        memcpy(ret->first, &first, sizeof(first));
        memcpy(ret->last, &last, sizeof(last));
        return;
    }
    net_prefix6(o, (struct in6_addr *)ret->first);
    memset(ret->last, 0xff, sizeof(ret->last));
    memcpy(ret->last, ret->first, NET_PREFIX6_BYTES);
}

/* Ranges of one class must be disjoint: what lies in our own is no row of its own. */
static size_t special_put_own(struct special_range *all, size_t n, const struct net_options *o, int family)
{
    struct special_range own;
    size_t kept = 0;

    special_own(&own, o, family);
    for (size_t i = 0; i < n; i++)
        if (all[i].class != SPECIAL_NEVER || !special_holds(&own, family, all[i].first))
            all[kept++] = all[i];
    all[kept++] = own;
    return kept;
}

static int special_compare(const void *a, const void *b)
{
    const struct special_range *x = a, *y = b;

    return memcmp(x->first, y->first, sizeof(x->first));
}

size_t special_ranges(const struct net_options *o, int family, struct special_range ret[SPECIAL_MAX])
{
    size_t n = 0;

    for (size_t i = 0; family == AF_INET && i < ROWS4; i++)
        special_row(&ret[n++], family, &rows4[i]);
    for (size_t i = 0; family == AF_INET6 && i < ROWS6; i++)
        special_row(&ret[n++], family, &rows6[i]);
    for (size_t i = 0; family == AF_INET6 && i < ROWS4; i++)
        special_embed(&ret[n++], &rows4[i]);
    n = special_put_own(ret, n, o, family);
    qsort(ret, n, sizeof(*ret), special_compare);
    return n;
}

const char *net_dest_refused(const struct net_options *o, const struct net_dest *dest)
{
    struct special_range ranges[SPECIAL_MAX];
    const bool four = IN6_IS_ADDR_V4MAPPED(&dest->addr);
    const int family = four ? AF_INET : AF_INET6;
    const uint8_t *addr = dest->addr.s6_addr + (four ? 12 : 0);
    size_t n = special_ranges(o, family, ranges);

    if (dest->port == 0)
        return "port 0";
    for (size_t i = 0; i < n; i++)
        if (ranges[i].class == SPECIAL_NEVER && special_holds(&ranges[i], family, addr))
            return ranges[i].what;
    return NULL;
}
