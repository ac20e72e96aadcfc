#include "ipnet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define V4_BITS 96U /* of the prefix ::ffff:0:0 */

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool ip_is_v4(const struct ip *ip)
{
    return memcmp(ip->b, v4_prefix, sizeof(v4_prefix)) == 0;
}

static void from_v4(const void *addr, struct ip *ret)
{
    memcpy(ret->b, v4_prefix, sizeof(v4_prefix));
    memcpy(ret->b + sizeof(v4_prefix), addr, 4);
}

int ip_parse(const char *text, size_t len, struct ip *ret)
{
    char buf[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;

    if (len == 0 || len >= sizeof(buf) || memchr(text, '\0', len))
        return -EINVAL;
    memcpy(buf, text, len);
    buf[len] = '\0';
    if (inet_pton(AF_INET, buf, &v4) == 1)
        from_v4(&v4, ret);
    else if (inet_pton(AF_INET6, buf, &v6) == 1)
        memcpy(ret->b, &v6, sizeof(ret->b));
    else
        return -EINVAL;
    return 0;
}

int ip_of(const struct sockaddr_storage *addr, struct ip *ret)
{
    if (addr->ss_family == AF_INET)
        from_v4(&((const struct sockaddr_in *)addr)->sin_addr, ret);
    else if (addr->ss_family == AF_INET6)
        memcpy(ret->b, &((const struct sockaddr_in6 *)addr)->sin6_addr, sizeof(ret->b));
    else
        return -EAFNOSUPPORT;
    return 0;
}

const char *ip_format(const struct ip *ip, char buf[INET6_ADDRSTRLEN])
{
    if (ip_is_v4(ip))
        return inet_ntop(AF_INET, ip->b + sizeof(v4_prefix), buf, INET6_ADDRSTRLEN);
    return inet_ntop(AF_INET6, ip->b, buf, INET6_ADDRSTRLEN);
}

/* Do the first `bits` agree? */
static bool same_prefix(const struct ip *a, const struct ip *b, uint32_t bits)
{
    uint32_t whole = bits / 8, rest = bits % 8;

    if (memcmp(a->b, b->b, whole) != 0)
        return false;
    return rest == 0 || ((a->b[whole] ^ b->b[whole]) >> (8 - rest)) == 0;
}

bool ip_nets_hold(const struct ip_nets *nets, const struct ip *ip)
{
    for (uint32_t i = 0; i < nets->count; i++)
        if (same_prefix(&nets->nets[i].ip, ip, nets->nets[i].bits))
            return true;
    return false;
}

static bool has_bits_behind(const struct ip_net *n)
{
    for (uint32_t i = n->bits; i < 128; i++)
        if (n->ip.b[i / 8] >> (7 - i % 8) & 1)
            return true;
    return false;
}

static int parse_bits(const char *text, size_t len, uint32_t max, uint32_t *ret)
{
    uint32_t v = 0;

    if (len == 0 || len > 3)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        v = v * 10 + (uint32_t)(text[i] - '0');
    }
    if (v > max)
        return -EINVAL;
    *ret = v;
    return 0;
}

static int parse_net(const char *text, size_t len, struct ip_net *ret)
{
    const char *slash = memchr(text, '/', len);
    size_t addr = slash ? (size_t)(slash - text) : len;
    uint32_t before, bits;

    if (ip_parse(text, addr, &ret->ip) < 0)
        return -EINVAL;
    before = ip_is_v4(&ret->ip) ? V4_BITS : 0;
    bits = 128 - before;
    if (slash && parse_bits(slash + 1, len - addr - 1, bits, &bits) < 0)
        return -EINVAL;
    ret->bits = before + bits;
    return has_bits_behind(ret) ? -EINVAL : 0;
}

static size_t format_net(const struct ip_net *n, char *buf, size_t size)
{
    char addr[INET6_ADDRSTRLEN];

    return (size_t)snprintf(buf, size, "%s/%u", ip_format(&n->ip, addr), n->bits - (ip_is_v4(&n->ip) ? V4_BITS : 0));
}

int ip_nets_parse(const char *text, struct ip_nets *ret)
{
    static const char between[] = " ,\t";
    struct ip_nets nets = {0};
    char word[INET6_ADDRSTRLEN + 8];
    size_t printed = 0;

    for (text += strspn(text, between); *text; text += strspn(text, between)) {
        size_t len = strcspn(text, between);
        int r;

        if (nets.count == IP_NETS_MAX)
            return -E2BIG;
        r = parse_net(text, len, &nets.nets[nets.count]);
        if (r < 0)
            return r;
        printed += format_net(&nets.nets[nets.count++], word, sizeof(word)) + 1;
        if (printed > IP_NETS_TEXT)
            return -E2BIG;
        text += len;
    }
    *ret = nets;
    return 0;
}

void ip_nets_format(const struct ip_nets *nets, char buf[IP_NETS_TEXT])
{
    size_t at = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < nets->count; i++) {
        if (i > 0)
            buf[at++] = ' ';
        at += format_net(&nets->nets[i], buf + at, IP_NETS_TEXT - at);
    }
}
