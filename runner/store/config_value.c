/* config_value.c: values of the daemon's keys, by their kind: read, checked, printed. Knows no single key. */
#include "config.h"
#include "config_private.h"

#include "allow.h"
#include "clock.h"
#include "config_text.h"
#include "device.h"
#include "diag.h"
#include "resolver.h"
#include "sandbox.h"
#include "str.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static void *field_of(struct config *c, const struct key *k)
{
    return (char *)c + k->offset;
}

static const void *field_of_const(const struct config *c, const struct key *k)
{
    return (const char *)c + k->offset;
}

static int refuse(struct diag *d, const struct key *k, const char *value, const char *wanted)
{
    return diag_set(d, EINVAL, "%s.%s = %s is not valid: %s", k->section, k->name, value, wanted);
}

static int set_text(const struct key *k, char *field, const char *value, struct diag *d)
{
    size_t len = strlen(value);
    char wanted[64];

    if (len < k->min || len > k->max || len >= k->size) {
        snprintf(wanted, sizeof(wanted), "it must have %u to %u characters", (unsigned)k->min, (unsigned)k->max);
        return refuse(d, k, value, wanted);
    }
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return refuse(d, k, value, "no control characters");
    memcpy(field, value, len + 1);
    return 0;
}

static int set_path(const struct key *k, char *field, const char *value, struct diag *d)
{
    if (*value && (*value != '/' || strstr(value, "/../") || str_ends_with(value, "/..")))
        return refuse(d, k, value, "an absolute path without .. is needed");
    return set_text(k, field, value, d);
}

/* Interface names: letters only, so that a number can follow. */
static int set_prefix(const struct key *k, char *field, const char *value, struct diag *d)
{
    if (!isalpha((unsigned char)*value))
        return refuse(d, k, value, "an interface name's prefix begins with a letter");
    for (const char *p = value; *p; p++)
        if (!isalnum((unsigned char)*p) || (p[1] == '\0' && isdigit((unsigned char)*p)))
            return refuse(d, k, value, "letters and digits, a letter last: a number follows");
    return set_text(k, field, value, d);
}

static int set_number(const struct key *k, void *field, const char *value, struct diag *d)
{
    static const char *const wanted[] = {[KEY_U32] = "a number", [KEY_SIZE] = "a size such as 64M or 1G", [KEY_DURATION] = "a duration such as 500ms, 30s or 5m"};
    uint64_t v = 0;
    int r = k->type == KEY_SIZE ? str_parse_size(value, &v) : k->type == KEY_DURATION ? str_parse_duration(value, &v) : str_parse_uint(value, UINT64_MAX, &v);

    if (r < 0)
        return refuse(d, k, value, wanted[k->type]);
    if (v < k->min || v > k->max)
        return diag_set(d, EINVAL, "%s.%s = %s is out of its range of %llu to %llu%s", k->section, k->name, value,
                        (unsigned long long)(k->type == KEY_DURATION ? k->min / NS_PER_MS : k->min),
                        (unsigned long long)(k->type == KEY_DURATION ? k->max / NS_PER_MS : k->max), k->type == KEY_DURATION ? " ms" : "");
    if (k->type == KEY_U32) {
        uint32_t v32 = (uint32_t)v;

        memcpy(field, &v32, sizeof(v32));
    } else {
        memcpy(field, &v, sizeof(v));
    }
    return 0;
}

uint64_t config_share(uint64_t value, uint64_t total)
{
    return value & CONFIG_PERCENT ? total / 100 * (value & ~CONFIG_PERCENT) : value;
}

/* "80%", 0, or a size (a number of CPUs). */
static int set_share(const struct key *k, uint64_t *field, const char *value, struct diag *d)
{
    const char *wanted = k->type == KEY_SHARE ? "a size such as 4G, a percentage such as 80%, or 0 for none"
                                              : "a number of CPUs such as 1.5, a percentage such as 80%, or 0 for none";
    size_t len = strlen(value);
    char digits[8];
    uint64_t v;

    if (strcmp(value, "0") == 0) {
        *field = 0;
        return 0;
    }
    if (len > 0 && value[len - 1] == '%') {
        if (len > sizeof(digits))
            return refuse(d, k, value, wanted);
        memcpy(digits, value, len - 1);
        digits[len - 1] = '\0';
        if (str_parse_uint(digits, 100, &v) < 0 || v == 0)
            return refuse(d, k, value, "a percentage is from 1% to 100%");
        *field = CONFIG_PERCENT | v;
        return 0;
    }
    if ((k->type == KEY_SHARE ? str_parse_size(value, &v) : str_parse_cpu(value, &v)) < 0)
        return refuse(d, k, value, wanted);
    if (v < k->min || v > k->max)
        return refuse(d, k, value, k->type == KEY_SHARE ? "at least 64M" : "at least 0.1");
    *field = v;
    return 0;
}

static int set_bool(const struct key *k, bool *field, const char *value, struct diag *d)
{
    return str_parse_bool(value, field) < 0 ? refuse(d, k, value, "yes or no") : 0;
}

static int set_lacks(const struct key *k, void *field, const char *value, struct diag *d)
{
    uint32_t lacks = 0;

    if (strcmp(value, "time-namespace") == 0)
        lacks = SANDBOX_LACKS_TIMENS;
    else if (strcmp(value, "none") != 0)
        return refuse(d, k, value, "none, or time-namespace: everything else is needed");
    memcpy(field, &lacks, sizeof(lacks));
    return 0;
}

static int set_sockmap(const struct key *k, bool *field, const char *value, struct diag *d)
{
    if (strcmp(value, "auto") != 0 && strcmp(value, "no") != 0)
        return refuse(d, k, value, "auto or no");
    *field = strcmp(value, "auto") == 0;
    return 0;
}

static int set_limits(const struct key *k, bool *field, const char *value, struct diag *d)
{
    if (strcmp(value, "strict") != 0 && strcmp(value, "best-effort") != 0)
        return refuse(d, k, value, "strict or best-effort");
    *field = strcmp(value, "best-effort") == 0;
    return 0;
}

/* "none" or ADDRESS:PORT with a numeric IPv4 address. */
static int set_listen(const struct key *k, char *field, const char *value, struct diag *d)
{
    const char *colon = strrchr(value, ':');
    char addr[INET_ADDRSTRLEN];
    struct in_addr in;
    uint64_t port;

    if (strcmp(value, "none") == 0)
        return str_copy(field, k->size, value);
    if (!colon || (size_t)(colon - value) >= sizeof(addr))
        return refuse(d, k, value, "ADDRESS:PORT such as 127.0.0.1:8888, or none");
    memcpy(addr, value, (size_t)(colon - value));
    addr[colon - value] = '\0';
    if (inet_pton(AF_INET, addr, &in) != 1 || str_parse_uint(colon + 1, 65535, &port) < 0 || port == 0)
        return refuse(d, k, value, "ADDRESS:PORT such as 127.0.0.1:8888 (a numeric IPv4 address), or none");
    return str_copy(field, k->size, value);
}

static int set_dns(const struct key *k, char *field, const char *value, struct diag *d)
{
    struct record_resolver resolvers[RECORD_RESOLVERS_MAX];

    if (strcmp(value, "auto") != 0 && strcmp(value, "none") != 0 && resolver_list(value, resolvers) <= 0)
        return refuse(d, k, value, "auto, none, or one to eight addresses of resolvers, by spaces or commas");
    return set_text(k, field, value, d);
}

/* What is printed and redirected to: a path, a query or a user in it could not be kept. */
static int set_url(const struct key *k, char *field, const char *value, struct diag *d)
{
    uint32_t port;

    if (*value && config_url_port(value, &port) < 0)
        return refuse(d, k, value, "https://HOST, https://HOST:PORT or the same with http, and nothing behind it");
    return set_text(k, field, value, d);
}

static int set_subnet(struct config *c, const struct key *k, const char *value, struct diag *d)
{
    static const char wanted[] = "a network such as 10.231.0.0/16 with 8 to 22 bits";
    char addr[INET_ADDRSTRLEN];
    const char *slash = strchr(value, '/');
    struct in_addr in;
    uint64_t bits;

    if (!slash || (size_t)(slash - value) >= sizeof(addr))
        return refuse(d, k, value, wanted);
    memcpy(addr, value, (size_t)(slash - value));
    addr[slash - value] = '\0';
    if (inet_pton(AF_INET, addr, &in) != 1 || str_parse_uint(slash + 1, k->max, &bits) < 0 || bits < k->min)
        return refuse(d, k, value, wanted);
    if (ntohl(in.s_addr) & (0xffffffffU >> bits))
        return refuse(d, k, value, "it has bits set behind its prefix");
    c->subnet = in;
    c->prefix_len = (uint32_t)bits;
    return 0;
}

static int set_allow(const struct key *k, uint64_t *field, const char *value, struct diag *d)
{
    int r = sandbox_allow_parse(value, field, d);

    return r < 0 ? (diag_prefix(d, "%s.%s", k->section, k->name), r) : 0;
}

static int set_devices(const struct key *k, char *field, const char *value, struct diag *d)
{
    int r = device_list_check(value, d);

    return r < 0 ? (diag_prefix(d, "%s.%s", k->section, k->name), r) : set_text(k, field, value, d);
}

static int set_nets(const struct key *k, struct ip_nets *field, const char *value, struct diag *d)
{
    return ip_nets_parse(value, field) < 0
               ? refuse(d, k, value, "addresses and networks such as 192.0.2.7 10.0.0.0/8 2001:db8::/32, without bits behind the prefix; at most 32")
               : 0;
}

static int set_threads(const struct key *k, uint32_t *field, const char *value, struct diag *d)
{
    uint64_t v = 0;

    if (strcmp(value, "auto") != 0 && (str_parse_uint(value, k->max, &v) < 0 || v < k->min))
        return refuse(d, k, value, "auto, which is one for each CPU, or a number from 1 to 64");
    *field = (uint32_t)v;
    return 0;
}

int key_set(struct config *c, const struct key *k, const char *value, struct diag *d)
{
    void *field = field_of(c, k);

    switch (k->type) {
    case KEY_TEXT:
        return set_text(k, field, value, d);
    case KEY_PATH:
        return set_path(k, field, value, d);
    case KEY_BOOL:
        return set_bool(k, field, value, d);
    case KEY_U32:
    case KEY_SIZE:
    case KEY_DURATION:
        return set_number(k, field, value, d);
    case KEY_LISTEN:
        return set_listen(k, field, value, d);
    case KEY_PREFIX:
        return set_prefix(k, field, value, d);
    case KEY_SUBNET:
        return set_subnet(c, k, value, d);
    case KEY_SOCKMAP:
        return set_sockmap(k, field, value, d);
    case KEY_LIMITS:
        return set_limits(k, field, value, d);
    case KEY_ALLOW:
        return set_allow(k, field, value, d);
    case KEY_DEVICES:
        return set_devices(k, field, value, d);
    case KEY_DNS:
        return set_dns(k, field, value, d);
    case KEY_URL:
        return set_url(k, field, value, d);
    case KEY_SHARE:
    case KEY_CPUS:
        return set_share(k, field, value, d);
    case KEY_LACKS:
        return set_lacks(k, field, value, d);
    case KEY_NETS:
        return set_nets(k, field, value, d);
    case KEY_THREADS:
        return set_threads(k, field, value, d);
    }
    return -EINVAL;
}

static_assert(sizeof(((struct config_row *)0)->value) >= IP_NETS_TEXT, "networks fit");

void key_format(const struct config *c, const struct key *k, char *buf, size_t size)
{
    const void *field = field_of_const(c, k);
    char addr[INET_ADDRSTRLEN];
    uint64_t v64 = 0;
    uint32_t v32 = 0;

    switch (k->type) {
    case KEY_BOOL:
        snprintf(buf, size, "%s", *(const bool *)field ? "yes" : "no");
        return;
    case KEY_SOCKMAP:
        snprintf(buf, size, "%s", *(const bool *)field ? "auto" : "no");
        return;
    case KEY_LIMITS:
        snprintf(buf, size, "%s", *(const bool *)field ? "best-effort" : "strict");
        return;
    case KEY_LACKS:
        memcpy(&v32, field, sizeof(v32));
        snprintf(buf, size, "%s", v32 ? "time-namespace" : "none");
        return;
    case KEY_ALLOW:
        memcpy(&v64, field, sizeof(v64));
        config_format_allow(v64, buf, size);
        return;
    case KEY_THREADS:
    case KEY_U32:
        memcpy(&v32, field, sizeof(v32));
        snprintf(buf, size, k->type == KEY_THREADS && v32 == 0 ? "auto" : "%u", v32);
        return;
    case KEY_SIZE:
        memcpy(&v64, field, sizeof(v64));
        config_format_size(v64, buf, size);
        return;
    case KEY_DURATION:
        memcpy(&v64, field, sizeof(v64));
        config_format_duration(v64, buf, size);
        return;
    case KEY_SHARE:
    case KEY_CPUS:
        memcpy(&v64, field, sizeof(v64));
        if (v64 & CONFIG_PERCENT)
            snprintf(buf, size, "%llu%%", (unsigned long long)(v64 & ~CONFIG_PERCENT));
        else if (k->type == KEY_SHARE)
            config_format_size(v64, buf, size);
        else
            snprintf(buf, size, "%g", (double)v64 / 1000);
        return;
    case KEY_SUBNET:
        inet_ntop(AF_INET, &c->subnet, addr, sizeof(addr));
        snprintf(buf, size, "%s/%u", addr, c->prefix_len);
        return;
    case KEY_NETS:
        ip_nets_format(field, buf);
        return;
    case KEY_TEXT:
    case KEY_DEVICES:
    case KEY_PATH:
    case KEY_LISTEN:
    case KEY_PREFIX:
    case KEY_DNS:
    case KEY_URL:
        snprintf(buf, size, "%s", (const char *)field);
        return;
    }
}
