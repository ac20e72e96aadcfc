/*
 * config.c: the table of the daemon's keys, and where their values come from: defaults, file, command line; and the checks of the whole. A new key is one row here and one field in config.h.
 */
#include "config.h"
#include "config_private.h"

#include "clock.h"
#include "config_text.h"
#include "diag.h"
#include "fd.h"
#include "inifile.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_FILE_MAX (256 * 1024)

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
    KEY("gateway", "tls_dir", FND_SYSCONF "/tls", KEY_PATH, tls_dir, 2, 200),
    KEY("gateway", "access_log", "", KEY_PATH, access_log, 0, 200),
    KEY("gateway", "access_log_json", "no", KEY_BOOL, gateway.access_log_json, 0, 0),
    KEY("gateway", "acme_dir", "", KEY_PATH, acme_dir, 0, 200),
    KEY("gateway", "https_redirect", "no", KEY_BOOL, gateway.https_redirect, 0, 0),
    KEY("gateway", "hsts", "0", KEY_U32, gateway.hsts_s, 0, 2 * 366 * 86400),
    KEY("gateway", "public_url", "", KEY_URL, gateway.public_url, 0, 255),
    KEY("gateway", "admin", "127.0.0.1:8889", KEY_LISTEN, admin, 0, 0),
    KEY("gateway", "user", "fnd", KEY_TEXT, user, 1, 31),
    KEY("gateway", "spawn", "yes", KEY_BOOL, spawn, 0, 0),
    KEY("gateway", "threads", "auto", KEY_THREADS, threads, 1, CONFIG_THREADS_MAX),
    KEY("gateway", "sockmap", "no", KEY_SOCKMAP, sockmap, 0, 0),
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

/* What the gateway is told is told again, and what the runner looks up at each use is looked up. All else was built upon at start: listeners, ids, bridges, budgets. */
static bool can_change(const struct key *k)
{
    static const char *const not [] = {"listen", "tls_listen", "admin", "user", "spawn", "threads"};
    static const char *const runner[] = {"start_timeout", "drain_timeout", "stop_timeout", "unpack_timeout", "unpack_stall", "max_image"};
    bool is_gateway = strcmp(k->section, "gateway") == 0, found = false;
    const char *const *names = is_gateway ? not : runner;

    if (!is_gateway && strcmp(k->section, "runner") != 0)
        return false;
    for (size_t i = 0; i < sizeof(not ) / sizeof(not [0]); i++) /* both have six */
        found = found || strcmp(k->name, names[i]) == 0;
    return found != is_gateway;
}

static bool is_same(const struct config *a, const struct config *b, const struct key *k)
{
    struct config_row rows[2];

    key_format(a, k, rows[0].value, sizeof(rows[0].value));
    key_format(b, k, rows[1].value, sizeof(rows[1].value));
    return strcmp(rows[0].value, rows[1].value) == 0;
}

/* now: as read. *merged: what holds from now on. */
static int merge(const struct config *now, struct config *merged, struct config_source *source, const struct config_source *from, char *restart, size_t size)
{
    size_t len = 0;
    int n = 0;

    restart[0] = '\0';
    for (size_t i = 0; i < NKEYS; i++) {
        const struct key *k = &keys[i];

        if (!is_same(now, merged, k) && !can_change(k)) {
            if (len < size)
                len += (size_t)snprintf(restart + len, size - len, "%s%s.%s", len ? " " : "", k->section, k->name);
            continue;
        }
        n += !is_same(now, merged, k);
        memcpy((char *)merged + k->offset, (const char *)now + k->offset, k->size);
        memcpy(source->origin[i], from->origin[i], sizeof(source->origin[i]));
    }
    merged->gateway.https_port = config_https_port(merged->gateway.public_url, merged->tls_listen);
    return n;
}

int config_reload(const char *file, const char *const *sets, unsigned nsets, struct config *c, struct config_source *source, char *ret_restart, size_t size,
                  struct diag *d)
{
    struct config_source *from = NULL, *both;
    struct config now, merged = *c;
    char restart[512];
    int n, r = config_load(file, sets, nsets, &now, &from, d);

    if (r < 0)
        return r;
    both = malloc(sizeof(*both));
    if (!both || !from) {
        config_source_free(from);
        return diag_set(d, ENOMEM, "configuration: out of memory");
    }
    *both = *source;
    n = merge(&now, &merged, both, from, restart, sizeof(restart));
    r = check_whole(&merged, d);
    if (r < 0) {
        diag_prefix(d, "%s takes effect after a restart only, and until then", restart);
    } else {
        *c = merged;
        *source = *both;
        str_copy(ret_restart, size, restart);
    }
    config_source_free(from);
    config_source_free(both);
    return r < 0 ? r : n;
}

bool config_has_dns(const struct config *c)
{
    return strcmp(c->dns, "none") != 0;
}

void config_source_free(struct config_source *s)
{
    free(s);
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
