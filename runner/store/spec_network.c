/*
 * spec_network.c: where a function may connect to, as its spec says. The author of a function.ini is a stranger: what he lists is opened, but never the host, link-local and metadata addresses, or what is no host at all.
 */
#include "spec.h"

#include "diag.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Highest bits first; network byte order. The first that matches tells. */
struct addr_range {
    uint8_t addr[16];
    unsigned bits;
    const char *what;
};

static const struct addr_range ranges4[] = {
    {{0}, 8, "is no host's address"},          /* RFC 1122 */
    {{127}, 8, "is the loopback's"},           /* RFC 1122 */
    {{169, 254}, 16, "is link-local"},         /* RFC 3927; 169.254.169.254: metadata of AWS, Azure, GCP, OpenStack and others */
    {{100, 100, 100, 200}, 32, "is metadata"}, /* Alibaba Cloud */
    {{192, 0, 0, 192}, 32, "is metadata"},     /* Oracle Cloud */
    {{168, 63, 129, 16}, 32, "is metadata"},   /* Azure's wire server */
    {{224}, 4, "is multicast"},                /* RFC 5771 */
    {{240}, 4, "is reserved"},                 /* RFC 1112; 255.255.255.255 */
};

static const struct addr_range ranges6[] = {
    {{0}, 96, "is the loopback's or no host's"},                                                        /* ::, ::1, and IPv4-compatible ones: RFC 4291 */
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, "is an IPv4 address in disguise: write that one"}, /* RFC 4291 */
    {{0, 0x64, 0xff, 0x9b}, 96, "is an IPv4 address in disguise: write that one"},                      /* NAT64, RFC 6052 */
    {{0x20, 0x02}, 16, "is an IPv4 address in disguise: write that one"},                               /* 6to4, RFC 3056 */
    {{0xfe, 0x80}, 10, "is link-local"},                                                                /* RFC 4291 */
    {{0xff}, 8, "is multicast"},                                                                        /* RFC 4291 */
    {{0xfd, 0, 0x0e, 0xc2}, 32, "is metadata"},                                                         /* fd00:ec2::254 of AWS, and its neighbours there */
    {{0xfd, 0x20, 0, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x54}, 128, "is metadata"},                 /* fd20:ce::254 of GCP */
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *find_range(const struct addr_range *ranges, size_t n, const uint8_t *addr)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned bytes = ranges[i].bits / 8, rest = ranges[i].bits % 8;

        if (memcmp(ranges[i].addr, addr, bytes) == 0 && (rest == 0 || (ranges[i].addr[bytes] ^ addr[bytes]) >> (8 - rest) == 0))
            return ranges[i].what;
    }
    return NULL;
}

const char *spec_addr4_refused(uint32_t addr)
{
    return find_range(ranges4, COUNT(ranges4), (const uint8_t *)&addr);
}

const char *spec_addr6_refused(const uint8_t addr[16])
{
    return find_range(ranges6, COUNT(ranges6), addr);
}

/* 63 characters at most, letters in lower case; an underscore is no host's, but a name's that others made. */
static bool label_ok(const char *label, size_t len, bool underscore)
{
    if (len == 0 || len > 63 || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!((label[i] >= 'a' && label[i] <= 'z') || (label[i] >= '0' && label[i] <= '9') || label[i] == '-' || (underscore && label[i] == '_')))
            return false;
    return true;
}

/* A last label of digits alone is what is left of an address that was mistyped, or one in a form that some resolvers take for one (RFC 3696: no top-level name is). */
static bool name_ok(const char *name)
{
    const char *label = name;

    if (strlen(name) >= SPEC_HOST_MAX)
        return false;
    for (;;) {
        const size_t len = strcspn(label, ".");

        if (!label_ok(label, len, true))
            return false;
        if (!label[len])
            return strspn(label, "0123456789") != len && strncmp(label, "0x", 2) != 0;
        label += len + 1;
    }
}

enum spec_host spec_host_kind(const char *host)
{
    char again[INET6_ADDRSTRLEN];
    struct in6_addr in6;
    struct in_addr in;

    if (inet_pton(AF_INET, host, &in) == 1)
        return strcmp(inet_ntop(AF_INET, &in, again, sizeof(again)), host) == 0 ? SPEC_HOST_IPV4 : SPEC_HOST_BAD;
    if (inet_pton(AF_INET6, host, &in6) == 1)
        return strcmp(inet_ntop(AF_INET6, &in6, again, sizeof(again)), host) == 0 ? SPEC_HOST_IPV6 : SPEC_HOST_BAD;
    return name_ok(host) ? SPEC_HOST_NAME : SPEC_HOST_BAD;
}

/* Names of the function's own network; what ends in localhost is the loopback for every resolver (RFC 6761). */
static bool name_is_ours(const char *name)
{
    const char *end = strrchr(name, '.');

    return strcmp(name, "gateway") == 0 || strcmp(end ? end + 1 : name, "localhost") == 0;
}

static int check_dest(const struct spec *s, const struct spec_dest *dest, struct diag *d)
{
    const char *refused = NULL;
    struct in6_addr in6;
    struct in_addr in;
    enum spec_host kind;

    if (strnlen(dest->host, sizeof(dest->host)) == sizeof(dest->host))
        return diag_set(d, EPROTO, "[network] egress: a host is not terminated");
    kind = spec_host_kind(dest->host);
    if (kind == SPEC_HOST_BAD)
        return diag_set(d, EINVAL, "[network] egress: \"%.80s\" is neither a host's name nor an address", dest->host);
    if (dest->port == 0)
        return diag_set(d, EINVAL, "[network] egress: %.80s has no port", dest->host);
    if (kind == SPEC_HOST_IPV4 && inet_pton(AF_INET, dest->host, &in) == 1)
        refused = spec_addr4_refused(in.s_addr);
    if (kind == SPEC_HOST_IPV6 && inet_pton(AF_INET6, dest->host, &in6) == 1)
        refused = spec_addr6_refused(in6.s6_addr);
    if (kind == SPEC_HOST_IPV6 && !refused && !s->ipv6)
        return diag_set(d, EINVAL, "[network] egress: %s is an IPv6 address: say ipv6 = yes too", dest->host);
    if (kind == SPEC_HOST_NAME && name_is_ours(dest->host))
        refused = "is the function's own; what listens there needs no egress";
    return refused ? diag_set(d, EINVAL, "[network] egress: %s %s and cannot be opened", dest->host, refused) : 0;
}

static int check_service(const struct spec *s, uint32_t index, struct diag *d)
{
    const struct spec_service *service = &s->services[index];
    char addr[INET_ADDRSTRLEN];
    const char *refused;

    if (strnlen(service->name, sizeof(service->name)) == sizeof(service->name))
        return diag_set(d, EPROTO, "[network] services: a name is not terminated");
    if (!label_ok(service->name, strlen(service->name), false))
        return diag_set(d, EINVAL, "[network] services: \"%s\" is no name: use letters, digits and '-', beginning and ending with a letter or digit, at most 63",
                        service->name);
    if (name_is_ours(service->name))
        return diag_set(d, EINVAL, "[network] services: %s is the function's own name: choose another", service->name);
    if (service->port == 0 || service->port > 65535)
        return diag_set(d, EINVAL, "[network] services: %s has no port from 1 to 65535", service->name);
    refused = spec_addr4_refused(service->addr);
    if (refused)
        return diag_set(d, EINVAL, "[network] services: %s %s and cannot be opened", inet_ntop(AF_INET, &service->addr, addr, sizeof(addr)), refused);
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(s->services[i].name, service->name) == 0 && s->services[i].addr != service->addr)
            return diag_set(d, EINVAL, "[network] services: %s has two addresses: give each its own name", service->name);
    return 0;
}

int spec_network_check(const struct spec *s, struct diag *d)
{
    int r = 0;

    if ((s->egress == SPEC_EGRESS_LIST) != (s->ndests > 0))
        return diag_set(d, EINVAL, "[network] egress: %s", s->ndests ? "destinations stand beside a word" : "the list is empty: say no");
    for (uint32_t i = 0; i < s->ndests && r == 0; i++)
        r = check_dest(s, &s->dests[i], d);
    for (uint32_t i = 0; i < s->nservices && r == 0; i++)
        r = check_service(s, i, d);
    return r;
}

static void format_dests(const struct spec *s, struct strbuf *out)
{
    for (uint32_t i = 0; i < s->ndests; i++) {
        bool six = strchr(s->dests[i].host, ':') != NULL;

        strbuf_printf(out, "%s%s%s%s:%u", i ? " " : "", six ? "[" : "", s->dests[i].host, six ? "]" : "", s->dests[i].port);
    }
}

void spec_network_format(const struct spec *s, struct strbuf *out)
{
    static const char *const words[SPEC_EGRESS_COUNT] = {
        [SPEC_EGRESS_NO] = "no egress", [SPEC_EGRESS_INTERNET] = "internet", [SPEC_EGRESS_LAN] = "internet and lan"};
    char addr[INET_ADDRSTRLEN];

    if (s->egress == SPEC_EGRESS_LIST)
        format_dests(s, out);
    else
        strbuf_puts(out, words[s->egress]);
    for (uint32_t i = 0; i < s->nservices; i++)
        strbuf_printf(out, "%s%s=%s:%u", i ? " " : "; services ", s->services[i].name, inet_ntop(AF_INET, &s->services[i].addr, addr, sizeof(addr)),
                      s->services[i].port);
    strbuf_printf(out, "%s%s", s->mesh ? "; mesh" : "", s->ipv6 ? "; ipv6" : "");
}
