/* network_keys.c: the values of [network] in function.ini: `egress` and `services`. Only their form is read here; what may not be opened at all is refused by spec_network_check(). */
#include "unpack_internal.h"

#include "diag.h"
#include "str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#define SEPARATORS " ,\t"
#define WORD_MAX   320 /* a name of 253 characters, an = and an address */

/* Cuts the next word of a list off *at; 0 at its end, -E2BIG for a word that nothing valid is as long as. */
static int next_word(const char **at, char word[WORD_MAX])
{
    size_t len;

    *at += strspn(*at, SEPARATORS);
    len = strcspn(*at, SEPARATORS);
    if (len >= WORD_MAX)
        return -E2BIG;
    memcpy(word, *at, len);
    word[len] = '\0';
    *at += len;
    return len > 0;
}

/* HOST:PORT or [IPV6]:PORT; the host is cut off in place. */
static int split_port(char *word, char **ret_host, uint16_t *ret_port, struct diag *d)
{
    char *colon = strrchr(word, ':'), *host = word;
    uint64_t port;

    if (!colon || str_parse_uint(colon + 1, 65535, &port) < 0 || port == 0)
        return diag_set(d, EINVAL, "\"%.80s\" has no port from 1 to 65535: write HOST:PORT", word);
    *colon = '\0';
    if (*host == '[' && colon > host + 1 && colon[-1] == ']') {
        colon[-1] = '\0';
        host++;
    } else if (strchr(host, ':')) {
        return diag_set(d, EINVAL, "\"%.80s:%s\": an IPv6 address is written in brackets: [2001:db8::1]:443", host, colon + 1);
    }
    *ret_host = host;
    *ret_port = (uint16_t)port;
    return 0;
}

/* The one form in which a host is kept: a name in lower case without the dot at its end, an address as inet_ntop(3) writes it. */
static int normalise_host(char *host, struct spec_dest *ret, struct diag *d)
{
    size_t len = strlen(host);
    struct in6_addr in6;
    struct in_addr in;

    if (inet_pton(AF_INET, host, &in) == 1) {
        inet_ntop(AF_INET, &in, ret->host, sizeof(ret->host));
        return 0;
    }
    if (inet_pton(AF_INET6, host, &in6) == 1) {
        inet_ntop(AF_INET6, &in6, ret->host, sizeof(ret->host));
        return 0;
    }
    if (len > 1 && host[len - 1] == '.')
        host[--len] = '\0';
    for (size_t i = 0; i < len; i++)
        host[i] = (char)tolower((unsigned char)host[i]);
    if (len >= sizeof(ret->host) || spec_host_kind(host) == SPEC_HOST_BAD)
        return diag_set(d, EINVAL, "\"%.80s\" is neither a host's name nor an address", host);
    return str_copy(ret->host, sizeof(ret->host), host);
}

static bool has_dest(const struct spec *s, const struct spec_dest *dest)
{
    for (uint32_t i = 0; i < s->ndests; i++)
        if (s->dests[i].port == dest->port && strcmp(s->dests[i].host, dest->host) == 0)
            return true;
    return false;
}

static int egress_word(const char *word, uint32_t *ret)
{
    bool b;

    if (strcasecmp(word, "internet") == 0)
        *ret = SPEC_EGRESS_INTERNET;
    else if (strcasecmp(word, "lan") == 0)
        *ret = SPEC_EGRESS_LAN;
    else if (str_parse_bool(word, &b) == 0 && !b)
        *ret = SPEC_EGRESS_NO;
    else
        return -EINVAL;
    return 0;
}

static int take_dest(struct spec *s, char *word, struct diag *d)
{
    struct spec_dest dest = {.port = 0};
    uint32_t egress;
    char *host = word;
    int r;

    if (egress_word(word, &egress) == 0)
        return diag_set(d, EINVAL, "%s stands alone, not in a list", word);
    if (!strchr(word, ':'))
        return diag_set(d, EINVAL, "\"%.80s\" is not known: say internet, lan, no, or HOST:PORT ...", word);
    r = split_port(word, &host, &dest.port, d);
    if (r == 0)
        r = normalise_host(host, &dest, d);
    if (r < 0 || has_dest(s, &dest))
        return r;
    if (s->ndests == SPEC_DESTS_MAX)
        return diag_set(d, E2BIG, "more than %d destinations", SPEC_DESTS_MAX);
    s->dests[s->ndests++] = dest;
    return 0;
}

int network_keys_egress(struct function_ini *f, const char *value, struct diag *d)
{
    struct spec *s = &f->spec;
    char word[WORD_MAX];
    int r;

    if (egress_word(value, &s->egress) == 0)
        return 0;
    while ((r = next_word(&value, word)) > 0) {
        r = take_dest(s, word, d);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return diag_set(d, EINVAL, "a word is too long");
    if (s->ndests == 0)
        return diag_set(d, EINVAL, "is empty: say internet, lan, no, or HOST:PORT ...");
    s->egress = SPEC_EGRESS_LIST;
    return 0;
}

static int take_service(struct spec *s, char *word, struct diag *d)
{
    struct spec_service service = {.addr = 0};
    char *eq = strchr(word, '='), *host = word;
    struct in_addr in;
    uint16_t port = 0;
    int r;

    if (!eq || eq == word)
        return diag_set(d, EINVAL, "\"%.80s\" is not NAME=ADDRESS:PORT", word);
    *eq = '\0';
    r = split_port(eq + 1, &host, &port, d);
    if (r < 0)
        return r;
    if (inet_pton(AF_INET, host, &in) != 1)
        return diag_set(d, EINVAL, "%.60s: \"%.80s\" is not an IPv4 address; a host by its name goes into egress", word, host);
    for (char *p = word; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    if (str_copy(service.name, sizeof(service.name), word) < 0)
        return diag_set(d, EINVAL, "\"%.80s\" is no name: 63 characters at most", word);
    if (s->nservices == SPEC_SERVICES_MAX)
        return diag_set(d, E2BIG, "more than %d services", SPEC_SERVICES_MAX);
    service.addr = in.s_addr;
    service.port = port;
    s->services[s->nservices++] = service;
    return 0;
}

int network_keys_services(struct function_ini *f, const char *value, struct diag *d)
{
    char word[WORD_MAX];
    int r;

    while ((r = next_word(&value, word)) > 0) {
        r = take_service(&f->spec, word, d);
        if (r < 0)
            return r;
    }
    return r < 0 ? diag_set(d, EINVAL, "a word is too long") : 0;
}
