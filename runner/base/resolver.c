/* resolver.c: see resolver.h. */
#include "resolver.h"

#include "str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#define WORD_MAX   64
#define SEPARATORS " ,\t"
#define DNS_PORT   53

static int parse_v6(char *host, struct record_resolver *ret)
{
    char *percent = strchr(host, '%');
    struct in6_addr in6;
    unsigned scope = 0;

    if (percent) {
        *percent = '\0';
        scope = if_nametoindex(percent + 1);
        if (scope == 0)
            return -EINVAL;
    }
    if (inet_pton(AF_INET6, host, &in6) != 1 || IN6_IS_ADDR_UNSPECIFIED(&in6) || IN6_IS_ADDR_MULTICAST(&in6) || (scope && !IN6_IS_ADDR_LINKLOCAL(&in6)))
        return -EINVAL;
    ret->family = AF_INET6;
    ret->scope = scope;
    memcpy(ret->addr, &in6, sizeof(in6));
    return 0;
}

static int parse_host(char *host, struct record_resolver *ret)
{
    struct in_addr in;

    if (inet_pton(AF_INET, host, &in) != 1)
        return parse_v6(host, ret);
    if (in.s_addr == INADDR_ANY || IN_MULTICAST(ntohl(in.s_addr)) || in.s_addr == INADDR_BROADCAST)
        return -EINVAL;
    ret->family = AF_INET;
    memcpy(ret->addr, &in, sizeof(in));
    return 0;
}

int resolver_parse(const char *word, struct record_resolver *ret)
{
    struct record_resolver r = {.port = DNS_PORT};
    char text[WORD_MAX], *host = text, *colon;
    uint64_t port = DNS_PORT;
    int e;

    if (str_copy(text, sizeof(text), word) < 0)
        return -EINVAL;
    colon = strrchr(text, ':');
    if (text[0] == '[') {
        char *end = strchr(text, ']');

        if (!end || (end[1] && end[1] != ':'))
            return -EINVAL;
        colon = end[1] ? end + 1 : NULL;
        *end = '\0';
        host = text + 1;
    } else if (colon && strchr(text, ':') != colon) {
        colon = NULL; /* a bare IPv6 address */
    }
    if (colon) {
        *colon = '\0';
        if (str_parse_uint(colon + 1, 65535, &port) < 0 || port == 0)
            return -EINVAL;
    }
    e = parse_host(host, &r);
    if (e < 0)
        return e;
    r.port = (uint32_t)port;
    *ret = r;
    return 0;
}

int resolver_list(const char *text, struct record_resolver ret[RECORD_RESOLVERS_MAX])
{
    int n = 0;

    for (;;) {
        char word[WORD_MAX];
        size_t len;

        text += strspn(text, SEPARATORS);
        len = strcspn(text, SEPARATORS);
        if (len == 0)
            return n;
        if (len >= sizeof(word))
            return -EINVAL;
        memcpy(word, text, len);
        word[len] = '\0';
        text += len;
        if (n == RECORD_RESOLVERS_MAX)
            return -E2BIG;
        if (resolver_parse(word, &ret[n++]) < 0)
            return -EINVAL;
    }
}

static bool is_stub(const struct record_resolver *r)
{
    return r->family == AF_INET && r->addr[0] == 127 && r->addr[1] == 0 && r->addr[2] == 0 && (r->addr[3] == 53 || r->addr[3] == 54);
}

/* The word behind "nameserver"; in resolv.conf it is an address alone. */
static bool nameserver_of(const char *line, size_t len, struct record_resolver *ret)
{
    static const char key[] = "nameserver";
    const size_t n = sizeof(key) - 1;
    char word[WORD_MAX];
    size_t at = n, end;

    if (len <= n || memcmp(line, key, n) != 0 || !isblank((unsigned char)line[n]))
        return false;
    while (at < len && isblank((unsigned char)line[at]))
        at++;
    for (end = at; end < len && !isspace((unsigned char)line[end]); end++)
        ;
    if (end == at || end - at >= sizeof(word))
        return false;
    memcpy(word, line + at, end - at);
    word[end - at] = '\0';
    return resolver_parse(word, ret) == 0;
}

unsigned resolver_conf(const char *text, size_t len, struct record_resolver ret[RECORD_RESOLVERS_MAX], bool *ret_stub)
{
    unsigned n = 0, stubs = 0;

    while (len > 0 && n < RECORD_RESOLVERS_MAX) {
        const char *eol = memchr(text, '\n', len);
        size_t line = eol ? (size_t)(eol - text) : len;

        if (nameserver_of(text, line, &ret[n]))
            stubs += is_stub(&ret[n++]);
        line += eol != NULL;
        text += line;
        len -= line;
    }
    *ret_stub = n > 0 && stubs == n;
    return n;
}
