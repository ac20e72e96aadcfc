/*
 * config.c: the table of the daemon's keys, and its interpreter: defaults, file, command line, checks, printing. A new key is one row here and one field in config.h.
 */
#include "config.h"

#include "allow.h"
#include "clock.h"
#include "config_text.h"
#include "device.h"
#include "diag.h"
#include "fd.h"
#include "inifile.h"
#include "resolver.h"
#include "sandbox.h"
#include "str.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE_MAX (256 * 1024)

enum key_type {
    KEY_TEXT,
    KEY_PATH,
    KEY_BOOL,
    KEY_U32,
    KEY_SIZE,
    KEY_DURATION,
    KEY_LISTEN,
    KEY_PREFIX,
    KEY_SUBNET,
    KEY_LIMITS,
    KEY_ALLOW,
    KEY_DEVICES,
    KEY_SHARE,
    KEY_CPUS,
    KEY_DNS,
    KEY_URL,
    KEY_LACKS,
    KEY_NETS
};

struct key {
    const char *section, *name;
    const char *def;
    enum key_type type;
    uint16_t offset, size;
    uint64_t min, max; /* numbers: bounds; texts: lengths */
};

#define KEY(section, name, def, type, field, min, max)                                                                                                         \
    {                                                                                                                                                          \
        section, name, def, type, offsetof(struct config, field), sizeof(((struct config *)0)->field), min, max                                                \
    }

static const struct key keys[] = {
    KEY("runner", "state", "/var/lib/fnd", KEY_PATH, state, 2, 200),
    KEY("runner", "run", "/run/fnd", KEY_PATH, run, 2, 80), /* a socket's path has at most 107 bytes: unix(7) */
    KEY("runner", "images", "", KEY_PATH, images, 0, 200),
    KEY("runner", "cgroup", "auto", KEY_TEXT, cgroup, 1, 255),
    KEY("runner", "name", "fnd", KEY_TEXT, name, 1, 31),
    KEY("runner", "limits", "strict", KEY_LIMITS, best_effort, 0, 0),
    KEY("runner", "may_lack", "none", KEY_LACKS, may_lack, 0, 0),
    KEY("runner", "uid_base", "1879048192", KEY_U32, uid_base, 131072, 0xfff00000), /* 0x70000000 */
    KEY("runner", "slot_base", "0", KEY_U32, slot_base, 0, 60000),
    KEY("runner", "slots_ready", "8", KEY_U32, slots_ready, 0, 1000),
    KEY("runner", "slots_max", "1000", KEY_U32, slots_max, 1, 30000),
    KEY("runner", "start_timeout", "30s", KEY_DURATION, start_timeout_ns, 100 * NS_PER_MS, 3600 * NS_PER_SEC),
    KEY("runner", "drain_timeout", "30s", KEY_DURATION, drain_timeout_ns, 0, 3600 * NS_PER_SEC),
    KEY("runner", "stop_timeout", "10s", KEY_DURATION, stop_timeout_ns, 0, 3600 * NS_PER_SEC),
    KEY("runner", "unpack_timeout", "3600s", KEY_DURATION, unpack_timeout_ns, NS_PER_SEC, 86400 * NS_PER_SEC),
    KEY("runner", "unpack_stall", "60s", KEY_DURATION, unpack_stall_ns, NS_PER_SEC, 3600 * NS_PER_SEC),
    KEY("runner", "max_image", "4G", KEY_SIZE, max_image_bytes, 1 << 20, 1ULL << 50),
    KEY("runner", "allow", "netlink-route ptrace keyctl numa mqueue", KEY_ALLOW, allow, 0, 0),
    KEY("runner", "devices", "", KEY_DEVICES, devices, 0, 511),
    KEY("runner", "ephemeral", "no", KEY_BOOL, ephemeral, 0, 0),
    KEY("gateway", "listen", "0.0.0.0:8888", KEY_LISTEN, listen, 0, 0),
    KEY("gateway", "tls_listen", "none", KEY_LISTEN, tls_listen, 0, 0),
    KEY("gateway", "tls_dir", "/etc/fnd/tls", KEY_PATH, tls_dir, 2, 200),
    KEY("gateway", "access_log", "", KEY_PATH, access_log, 0, 200),
    KEY("gateway", "access_log_json", "no", KEY_BOOL, gateway.access_log_json, 0, 0),
    KEY("gateway", "acme_dir", "", KEY_PATH, acme_dir, 0, 200),
    KEY("gateway", "https_redirect", "no", KEY_BOOL, gateway.https_redirect, 0, 0),
    KEY("gateway", "hsts", "0", KEY_U32, gateway.hsts_s, 0, 2 * 366 * 86400),
    KEY("gateway", "public_url", "", KEY_URL, gateway.public_url, 0, 255),
    KEY("gateway", "admin", "127.0.0.1:8889", KEY_LISTEN, admin, 0, 0),
    KEY("gateway", "user", "fnd", KEY_TEXT, user, 1, 31),
    KEY("gateway", "spawn", "yes", KEY_BOOL, spawn, 0, 0),
    KEY("gateway", "max_body", "1G", KEY_SIZE, max_body_bytes, 1024, 1ULL << 50),
    KEY("gateway", "max_connections", "0", KEY_U32, max_connections, 0, 1 << 20),
    KEY("gateway", "max_connections_per_client", "1024", KEY_U32, max_connections_per_client, 0, 1 << 20),
    KEY("gateway", "max_requests_per_function", "4096", KEY_U32, max_requests_per_function, 0, 1 << 20),
    KEY("gateway", "max_archive", "2G", KEY_SIZE, max_archive_bytes, 1 << 16, 1ULL << 50),
    KEY("gateway", "head_timeout", "30s", KEY_DURATION, gateway.head_timeout_ns, 100 * NS_PER_MS, 3600 * NS_PER_SEC),
    KEY("gateway", "idle_timeout", "75s", KEY_DURATION, gateway.idle_timeout_ns, 100 * NS_PER_MS, 3600 * NS_PER_SEC),
    KEY("gateway", "stall_timeout", "60s", KEY_DURATION, gateway.stall_timeout_ns, 100 * NS_PER_MS, 3600 * NS_PER_SEC),
    KEY("gateway", "connect_timeout", "3s", KEY_DURATION, gateway.connect_timeout_ns, 10 * NS_PER_MS, 60 * NS_PER_SEC),
    KEY("gateway", "stream_idle", "0s", KEY_DURATION, gateway.stream_idle_ns, 0, 24 * 3600 * NS_PER_SEC),
    KEY("gateway", "max_head", "16K", KEY_SIZE, gateway.max_head_bytes, 1024, 16384),
    KEY("gateway", "max_target", "8K", KEY_SIZE, gateway.max_target_bytes, 128, 8192),
    KEY("gateway", "max_fields", "100", KEY_U32, gateway.max_fields, 8, 100),
    KEY("gateway", "trusted_proxies", "", KEY_NETS, gateway.trusted_proxies, 0, 0),
    KEY("gateway", "proxy_protocol", "no", KEY_BOOL, gateway.proxy_protocol, 0, 0),
    KEY("gateway", "h2", "yes", KEY_BOOL, gateway.h2, 0, 0),
    KEY("gateway", "h2c", "no", KEY_BOOL, gateway.h2c, 0, 0),
    KEY("gateway", "h2_streams", "100", KEY_U32, gateway.h2_streams, 1, 10000),
    KEY("gateway", "h2_requests", "10000", KEY_U32, gateway.h2_requests, 0, 1 << 30),
    KEY("gateway", "h2_resets", "200", KEY_U32, gateway.h2_resets, 0, 1 << 30),
    KEY("gateway", "h2_idle_frames", "1000", KEY_U32, gateway.h2_idle_frames, 0, 1 << 30),
    KEY("gateway", "h2_head", "16K", KEY_SIZE, gateway.h2_head_bytes, 1024, 16384),
    KEY("gateway", "h2_stream_window", "256K", KEY_SIZE, gateway.h2_stream_window_bytes, 16384, 1 << 30),
    KEY("gateway", "h2_window", "1M", KEY_SIZE, gateway.h2_window_bytes, 65535, 1 << 30),
    KEY("gateway", "metrics_public", "no", KEY_BOOL, metrics_public, 0, 0),
    KEY("host", "memory", "80%", KEY_SHARE, host_memory, 64 << 20, 1ULL << 50),
    KEY("host", "memory_overcommit", "10", KEY_U32, memory_overcommit, 1, 1000),
    KEY("host", "cpu", "0", KEY_CPUS, host_cpu, 100, 1024000),
    KEY("host", "cpu_overcommit", "10", KEY_U32, cpu_overcommit, 1, 1000),
    KEY("host", "disk", "80%", KEY_SHARE, host_disk, 64 << 20, 1ULL << 60),
    KEY("network", "bridge", "fn", KEY_PREFIX, bridge, 2, 7),
    KEY("network", "port", "vf", KEY_PREFIX, port, 2, 7),
    KEY("network", "subnet", "10.231.0.0/16", KEY_SUBNET, subnet, 8, 22),
    KEY("network", "gateway_port", "8888", KEY_U32, gateway_port, 1, 65535),
    KEY("network", "dns", "auto", KEY_DNS, dns, 1, 255),
};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

struct config_source {
    char origin[NKEYS][256];
};

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

static int key_set(struct config *c, const struct key *k, const char *value, struct diag *d)
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
    }
    return -EINVAL;
}

static const struct key *key_find(const char *section, const char *name)
{
    for (size_t i = 0; i < NKEYS; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

struct loading {
    struct config *config;
    struct config_source *source;
    const char *file;
};

static int on_file_key(void *arg, const char *section, const char *name, const char *value, unsigned line, struct diag *d)
{
    struct loading *l = arg;
    const struct key *k = key_find(section, name);
    int r;

    if (!k)
        return diag_set(d, EINVAL, "[%s] %s is not a key of fnd: `fnctl config show` lists all", section, name);
    r = key_set(l->config, k, value, d);
    if (r == 0)
        snprintf(l->source->origin[k - keys], sizeof(l->source->origin[0]), "%.200s:%u", l->file, line);
    return r;
}

static int load_file(struct loading *l, struct diag *d)
{
    cleanup_free char *text = NULL;
    cleanup_fd int fd = open(l->file, O_RDONLY | O_CLOEXEC);
    ssize_t len;

    if (fd < 0)
        return diag_errno(d, errno, "%s: cannot open the configuration", l->file);
    len = fd_read_all(fd, CONFIG_FILE_MAX, &text);
    if (len < 0)
        return diag_errno(d, (int)-len, "%s: cannot read the configuration", l->file);
    return inifile_parse(l->file, text, (size_t)len, on_file_key, l, d);
}

static int load_set(struct loading *l, const char *assignment, struct diag *d)
{
    const char *dot = strchr(assignment, '.'), *eq = strchr(assignment, '=');
    char section[64], name[64];
    const struct key *k;
    int r;

    if (!dot || !eq || dot > eq || (size_t)(dot - assignment) >= sizeof(section) || (size_t)(eq - dot) >= sizeof(name))
        return diag_set(d, EINVAL, "--set %.100s: SECTION.KEY=VALUE is needed", assignment);
    snprintf(section, sizeof(section), "%.*s", (int)(dot - assignment), assignment);
    snprintf(name, sizeof(name), "%.*s", (int)(eq - dot - 1), dot + 1);
    k = key_find(section, name);
    if (!k)
        return diag_set(d, EINVAL, "--set %.100s: %s.%s is not a key of fnd", assignment, section, name);
    r = key_set(l->config, k, eq + 1, d);
    if (r < 0) {
        diag_prefix(d, "--set");
        return r;
    }
    str_copy(l->source->origin[k - keys], sizeof(l->source->origin[0]), "command line");
    return 0;
}

/* What no single key can say. */
static int check_whole(const struct config *c, struct diag *d)
{
    uint64_t last = (uint64_t)c->uid_base + ((uint64_t)c->slot_base + c->slots_max) * 65536;

    if (last > 0xfffe0000ULL)
        return diag_set(d, EINVAL, "runner.uid_base, slot_base and slots_max: the last slot's ids would end at %llu, beyond 4294836224: lower one of them",
                        (unsigned long long)last);
    if (c->uid_base % 65536)
        return diag_set(d, EINVAL, "runner.uid_base = %u is not a multiple of 65536", c->uid_base);
    if (c->gateway_port == 53)
        return diag_set(d, EINVAL, "network.gateway_port = 53 is the port of the DNS forwarder: choose another");
    if (c->gateway.https_redirect && !c->gateway.https_port)
        return diag_set(
            d,
            EINVAL, "gateway.https_redirect = yes leads nowhere: set gateway.tls_listen, or gateway.public_url to an https:// URL (under systemd, where fnd-tls.socket listens)");
    if (strcmp(c->bridge, c->port) == 0)
        return diag_set(d, EINVAL, "network.bridge and network.port are both \"%s\": they name different interfaces", c->port);
    if (c->gateway.proxy_protocol && c->gateway.trusted_proxies.count == 0)
        return diag_set(d, EINVAL, "gateway.proxy_protocol = yes needs gateway.trusted_proxies: the addresses that connections come from");
    if (c->slots_ready > c->slots_max)
        return diag_set(d, EINVAL, "runner.slots_ready = %u is above runner.slots_max = %u", c->slots_ready, c->slots_max);
    return 0;
}

int config_load(const char *file, const char *const *sets, unsigned nsets, struct config *ret, struct config_source **ret_source, struct diag *d)
{
    struct config_source *source = calloc(1, sizeof(*source));
    struct config config = {0};
    struct loading l = {.config = &config, .source = source, .file = file};
    int r = 0;

    if (!source)
        return diag_set(d, ENOMEM, "configuration: out of memory");
    for (size_t i = 0; i < NKEYS && r == 0; i++) {
        r = key_set(&config, &keys[i], keys[i].def, d);
        str_copy(source->origin[i], sizeof(source->origin[i]), "default");
    }
    if (r == 0 && file)
        r = load_file(&l, d);
    for (unsigned i = 0; i < nsets && r == 0; i++)
        r = load_set(&l, sets[i], d);
    config.gateway.https_port = config_https_port(config.gateway.public_url, config.tls_listen);
    if (r == 0)
        r = check_whole(&config, d);
    if (r == 0 && !config.images[0])
        snprintf(config.images, sizeof(config.images), "%.240s/images", config.state);
    if (r == 0 && !config.acme_dir[0])
        snprintf(config.acme_dir, sizeof(config.acme_dir), "%.240s/acme", config.state);
    if (r < 0) {
        config_source_free(source);
        return r;
    }
    *ret = config;
    *ret_source = source;
    return 0;
}

bool config_has_dns(const struct config *c)
{
    return strcmp(c->dns, "none") != 0;
}

void config_source_free(struct config_source *s)
{
    free(s);
}

static_assert(sizeof(((struct config_row *)0)->value) >= IP_NETS_TEXT, "networks fit");

static void key_format(const struct config *c, const struct key *k, char *buf, size_t size)
{
    const void *field = field_of_const(c, k);
    char addr[INET_ADDRSTRLEN];
    uint64_t v64 = 0;
    uint32_t v32 = 0;

    switch (k->type) {
    case KEY_BOOL:
        snprintf(buf, size, "%s", *(const bool *)field ? "yes" : "no");
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
    case KEY_U32:
        memcpy(&v32, field, sizeof(v32));
        snprintf(buf, size, "%u", v32);
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

bool config_row(const struct config *c, const struct config_source *s, unsigned i, struct config_row *ret)
{
    if (i >= NKEYS)
        return false;
    *ret = (struct config_row){0};
    snprintf(ret->key, sizeof(ret->key), "%s.%s", keys[i].section, keys[i].name);
    key_format(c, &keys[i], ret->value, sizeof(ret->value));
    snprintf(ret->def, sizeof(ret->def), "%s", keys[i].def);
    snprintf(ret->origin, sizeof(ret->origin), "%s", s->origin[i]);
    return true;
}
