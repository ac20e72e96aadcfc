/*
 * dns_policy.c: see dns_policy.h.
 *
 * A name that is not in a function's list gets NXDOMAIN, not REFUSED: after REFUSED glibc asks again and then says "try again", and musl does not count it as an answer at all and waits for its whole timeout (res_msend.c takes
 * NOERROR and NXDOMAIN, repeats after SERVFAIL, ignores the rest). NXDOMAIN is final in both, at once; it is not cached, for no SOA comes with it. Who asks with EDNS is told the truth (extended error "Prohibited").
 */
#include "dns_policy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define BRIDGE_MASK 0xfffffc00U /* netns.h: a bridge has 1024 addresses */

/* ---- addresses ---- */

struct range {
    uint32_t base;
    uint8_t bits;
    bool private; /* allowed where private addresses are */
};

/* IANA's special-purpose registry (RFC 6890), and metadata services of providers at other addresses, before the ranges that they are in; not what is set aside for documentation: it leads nowhere. */
static const struct range ranges4[] = {
    {0x646464c8, 32, false}, /* 100.100.100.200, Alibaba */
    {0xa83f8110, 32, false}, /* 168.63.129.16, Azure */
    {0x00000000, 8, false},  {0x0a000000, 8, true},  {0x64400000, 10, true}, {0x7f000000, 8, false}, {0xa9fe0000, 16, false}, {0xac100000, 12, true},
    {0xc0000000, 24, false}, {0xc0a80000, 16, true}, {0xc6120000, 15, true}, {0xe0000000, 4, false}, {0xf0000000, 4, false},
};

struct range6 {
    uint8_t base[2];
    uint8_t bits;
    bool private;
};

static const struct range6 ranges6[] = {
    {{0xfe, 0x80}, 10, false},
    {{0xfe, 0xc0}, 10, false},
    {{0xff, 0x00}, 8, false},
    {{0xfc, 0x00}, 7, true},
};

/* IPv6 prefixes with an IPv4 address at `at`, which is what counts: unspecified and loopback (::/96, the old compatible ones), mapped, NAT64, 6to4. */
static const struct {
    uint8_t prefix[12];
    uint8_t len, at;
} embedded[] = {
    {{0}, 12, 12},
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 12, 12},
    {{0x00, 0x64, 0xff, 0x9b}, 12, 12},
    {{0x20, 0x02}, 2, 2},
};

/* fd00:ec2::/32 and fd20:ce::/32, where clouds (Amazon, Google) keep their instances' metadata: private by their form, and nobody's neighbours. */
static const uint8_t metadata6[][4] = {{0xfd, 0x00, 0x0e, 0xc2}, {0xfd, 0x20, 0x00, 0xce}};

static bool keeps4(bool private_too, const uint8_t *addr, const uint32_t *bridges, unsigned nbridges)
{
    uint32_t a;

    memcpy(&a, addr, 4);
    a = ntohl(a);
    for (unsigned i = 0; i < nbridges; i++)
        if (((a ^ ntohl(bridges[i])) & BRIDGE_MASK) == 0)
            return false;
    for (size_t i = 0; i < sizeof(ranges4) / sizeof(ranges4[0]); i++)
        if ((a ^ ranges4[i].base) >> (32 - ranges4[i].bits) == 0)
            return ranges4[i].private && private_too;
    return true;
}

static bool keeps6(bool private_too, const uint8_t *addr, const uint32_t *bridges, unsigned nbridges)
{
    unsigned head = (unsigned)addr[0] << 8 | addr[1];

    for (size_t i = 0; i < sizeof(embedded) / sizeof(embedded[0]); i++)
        if (memcmp(addr, embedded[i].prefix, embedded[i].len) == 0)
            return keeps4(private_too, addr + embedded[i].at, bridges, nbridges);
    for (size_t i = 0; i < sizeof(metadata6) / sizeof(metadata6[0]); i++)
        if (memcmp(addr, metadata6[i], sizeof(metadata6[i])) == 0)
            return false;
    for (size_t i = 0; i < sizeof(ranges6) / sizeof(ranges6[0]); i++)
        if ((head ^ ((unsigned)ranges6[i].base[0] << 8 | ranges6[i].base[1])) >> (16 - ranges6[i].bits) == 0)
            return ranges6[i].private && private_too;
    return true;
}

bool dns_policy_keeps(const struct dns_policy *p, unsigned type, const uint8_t *addr, const uint32_t *bridges, unsigned nbridges)
{
    bool private_too = p && (p->egress == SPEC_EGRESS_LAN || p->egress == SPEC_EGRESS_LIST);

    return type == DNS_AAAA ? keeps6(private_too, addr, bridges, nbridges) : keeps4(private_too, addr, bridges, nbridges);
}

/* ---- names ---- */

struct dns_policy *dns_policy_new(const struct record_policy *rec)
{
    unsigned n = rec->nhosts <= SPEC_DESTS_MAX ? rec->nhosts : 0;
    struct dns_policy *p = calloc(1, sizeof(*p) + n * sizeof(p->hosts[0]));

    if (!p)
        return NULL;
    p->egress = rec->egress < SPEC_EGRESS_COUNT ? rec->egress : SPEC_EGRESS_NO;
    p->mesh = rec->mesh;
    p->ipv6 = rec->ipv6;
    p->nhosts = n;
    for (unsigned i = 0; i < n; i++)
        memcpy(p->hosts[i].name, rec->hosts[i], sizeof(p->hosts[i].name) - 1); /* terminated by calloc */
    return p;
}

void dns_policy_carry(const struct dns_policy *old, struct dns_policy *p)
{
    for (unsigned i = 0; old && p && i < old->nhosts; i++)
        for (unsigned k = 0; k < p->nhosts; k++)
            if (strcmp(old->hosts[i].name, p->hosts[k].name) == 0)
                p->hosts[k] = old->hosts[i];
}

/* -1: it is not in the list. */
static int find_host(const struct dns_policy *p, const struct dns_question *q)
{
    for (unsigned i = 0; i < p->nhosts; i++) {
        struct dns_name n;

        if (p->hosts[i].name[0] && dns_name_parse(p->hosts[i].name, &n) == 0 && dns_name_equal(&n, &q->name))
            return (int)i;
    }
    return -1;
}

struct dns_host *dns_policy_host(struct dns_policy *p, const struct dns_question *q)
{
    int i = p ? find_host(p, q) : -1;

    return i < 0 ? NULL : &p->hosts[i];
}

static struct dns_verdict say(unsigned rcode, unsigned ede)
{
    return (struct dns_verdict){.kind = DNS_SAY, .rcode = rcode, .ede = ede};
}

/* Does the text end in the zone, at a label's border? Then how long what stands before it is, without the dot; else -1. */
static int before_zone(const char *text, const char *zone)
{
    size_t len = strlen(text), z = strlen(zone);

    if (len < z || strcmp(text + len - z, zone) != 0)
        return -1;
    if (len == z)
        return 0;
    return text[len - z - 1] == '.' ? (int)(len - z - 1) : -1;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "4.3.2.1" of 4.3.2.1.in-addr.arpa: the address backwards. */
static bool reverse4(const char *text, size_t len, uint8_t ret[4])
{
    char buf[16];
    struct in_addr a;
    uint8_t b[4];

    if (len == 0 || len >= sizeof(buf))
        return false;
    memcpy(buf, text, len);
    buf[len] = '\0';
    if (inet_pton(AF_INET, buf, &a) != 1)
        return false;
    memcpy(b, &a, 4);
    for (int i = 0; i < 4; i++)
        ret[i] = b[3 - i];
    return true;
}

static bool reverse6(const char *text, size_t len, uint8_t ret[16])
{
    if (len != 63) /* 32 digits and the dots between them */
        return false;
    for (int i = 0; i < 16; i++) {
        int high = hex_digit(text[62 - 4 * i]), low = hex_digit(text[60 - 4 * i]);

        if (low < 0 || high < 0 || text[61 - 4 * i] != '.')
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Reverse lookups of addresses that an answer may not hold: they would tell names of the host's network (RFC 6303), or of other functions. */
static bool reverse_kept(const struct dns_policy *p, const char *text, const uint32_t *bridges, unsigned nbridges)
{
    uint8_t addr[16];
    int n = before_zone(text, "in-addr.arpa");

    if (n > 0 && reverse4(text, (size_t)n, addr))
        return dns_policy_keeps(p, DNS_A, addr, bridges, nbridges);
    n = before_zone(text, "ip6.arpa");
    if (n > 0 && reverse6(text, (size_t)n, addr))
        return dns_policy_keeps(p, DNS_AAAA, addr, bridges, nbridges);
    return true;
}

/* Names that no resolver is asked for: RFC 6761 (localhost, invalid), 7686 (onion), 9462 (resolver.arpa: the way to a resolver that is not us), and ours. */
static const struct {
    const char *zone;
    enum dns_verdict_kind kind;
} special[] = {
    {"fnd.internal", DNS_MESH}, {"localhost", DNS_LOOPBACK}, {"invalid", DNS_SAY}, {"onion", DNS_SAY}, {"resolver.arpa", DNS_SAY},
};

static bool decide_special(const char *text, struct dns_verdict *ret)
{
    for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        int n = before_zone(text, special[i].zone);

        if (n < 0)
            continue;
        *ret = say(DNS_NXDOMAIN, DNS_EDE_NONE);
        ret->kind = special[i].kind;
        memcpy(ret->rest, text, (size_t)n);
        return true;
    }
    return false;
}

struct dns_verdict dns_policy_decide(const struct dns_policy *p, const struct dns_question *q, const uint32_t *bridges, unsigned nbridges)
{
    struct dns_verdict v = {.kind = DNS_ASK, .ede = DNS_EDE_NONE};
    char text[DNS_NAME_MAX + 1];
    bool plain = dns_name_text(&q->name, text) == 0;

    if (!p || (p->egress == SPEC_EGRESS_NO && !p->mesh)) /* it has no resolver in its configuration */
        return say(DNS_REFUSED, DNS_EDE_PROHIBITED);
    if (plain && decide_special(text, &v))
        return v;
    if (p->egress == SPEC_EGRESS_NO)
        return say(DNS_REFUSED, DNS_EDE_PROHIBITED);
    if (p->egress == SPEC_EGRESS_LIST && find_host(p, q) < 0)
        return say(DNS_NXDOMAIN, DNS_EDE_PROHIBITED);
    if (p->egress == SPEC_EGRESS_LIST && q->type != DNS_A && q->type != DNS_AAAA) /* a list opens addresses, nothing else */
        return say(DNS_NOERROR, DNS_EDE_PROHIBITED);
    if (q->type == DNS_AAAA && !p->ipv6)
        return say(DNS_NOERROR, DNS_EDE_NONE);
    if (plain && !reverse_kept(p, text, bridges, nbridges))
        return say(DNS_NXDOMAIN, DNS_EDE_PROHIBITED);
    return v;
}
