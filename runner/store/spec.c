/* spec.c: the gate of the record; see spec.h. Bounds stand in one table. */
#include "spec_parts.h"

#include "allow.h"
#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define MIB (1ULL << 20)

void spec_init(struct spec *s)
{
    *s = (struct spec){
        .magic = SPEC_MAGIC,
        .format = SPEC_FORMAT,
        .cwd = "/",
        .health_path = "/ping",
        .mode = SPEC_MODE_HTTP,
        .uid = 1000,
        .gid = 1000,
        .port = 3000,
        .keep = 5,
        .memory_bytes = 128 * MIB,
        .cpu_milli = 1000,
        .pids = 64,
        .tmp_bytes = 64 * MIB,
        .timeout_ns = 60 * NS_PER_SEC,
        .queue = 100,
        .stream_idle_ns = SPEC_AS_CONFIGURED,
        .scale_max = 10,
        .health_interval_ns = 5 * NS_PER_SEC,
        .health_threshold = 3,
        .egress = SPEC_EGRESS_INTERNET,
    };
}

struct spec_bound {
    const char *name;
    size_t offset;
    size_t size;
    uint64_t min, max;
};

#define BOUND(field, min, max)                                                                                                                                 \
    {                                                                                                                                                          \
#field, offsetof(struct spec, field), sizeof(((struct spec *)0)->field), min, max                                                                      \
    }

static const struct spec_bound spec_bounds[] = {
    BOUND(strings_len, 1, SPEC_STRINGS_MAX),
    BOUND(argc, 1, SPEC_ARGS_MAX),
    BOUND(envc, 0, SPEC_ENV_MAX),
    BOUND(mode, 0, SPEC_MODE_COUNT - 1),
    BOUND(uid, 2, 65533),
    BOUND(gid, 1, 65533),
    BOUND(port, 1, 65535),
    BOUND(writable, 0, 1),
    BOUND(keep, 1, 1000),
    BOUND(memory_bytes, 4 * MIB, 1ULL << 46),
    BOUND(cpu_milli, 10, 1024000),
    BOUND(pids, 4, 4194304),
    BOUND(tmp_bytes, 64 * 1024, 1ULL << 46),
    BOUND(timeout_ns, NS_PER_MS, 24 * 3600 * NS_PER_SEC),
    BOUND(concurrency, 0, 100000),
    BOUND(queue, 0, 1000000),
    BOUND(queue_timeout_ns, 0, 24 * 3600 * NS_PER_SEC),
    BOUND(scale_min, 0, 10000),
    BOUND(scale_max, 1, 10000),
    BOUND(health_interval_ns, 10 * NS_PER_MS, 24 * 3600 * NS_PER_SEC),
    BOUND(health_threshold, 1, 1000),
    BOUND(egress, 0, SPEC_EGRESS_COUNT - 1),
    BOUND(mesh, 0, 1),
    BOUND(ipv6, 0, 1),
    BOUND(ndests, 0, SPEC_DESTS_MAX),
    BOUND(nservices, 0, SPEC_SERVICES_MAX),
    BOUND(nvolumes, 0, SPEC_VOLUMES_MAX),
    BOUND(ndevices, 0, SPEC_DEVICES_MAX),
    BOUND(nsecrets, 0, SPEC_SECRETS_MAX),
    BOUND(allow, 0, ALLOW_ALL),
    BOUND(memory_high_bytes, 0, 1ULL << 46),
    BOUND(io_bytes, 0, 1ULL << 46),
};

static int check_bounds(const struct spec *s, struct diag *d)
{
    int r = spec_check_limits(s, d);

    for (size_t i = 0; i < sizeof(spec_bounds) / sizeof(spec_bounds[0]); i++) {
        const struct spec_bound *b = &spec_bounds[i];
        const char *at = (const char *)s + b->offset;
        uint64_t v64 = 0;
        uint32_t v32 = 0;

        if (b->size == sizeof(v64))
            memcpy(&v64, at, sizeof(v64));
        else
            memcpy(&v32, at, sizeof(v32));
        if (b->size != sizeof(v64))
            v64 = v32;
        if (v64 < b->min || v64 > b->max)
            return diag_set(d, EINVAL, "spec: %s is %llu, allowed is %llu to %llu", b->name, (unsigned long long)v64, (unsigned long long)b->min,
                            (unsigned long long)b->max);
    }
    if (s->scale_min > s->scale_max)
        return diag_set(d, EINVAL, "spec: scale min %u is above max %u", s->scale_min, s->scale_max);
    return r;
}

static bool text_ok(const char *text, size_t size)
{
    size_t len = strnlen(text, size);

    if (len == size)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

/* The health path is put into a request line as it is: no blanks, nothing beyond ASCII. */
static bool health_path_ok(const char *path)
{
    if (*path == '\0')
        return true;
    if (*path != '/')
        return false;
    for (; *path; path++)
        if ((unsigned char)*path <= 0x20 || (unsigned char)*path >= 0x7f)
            return false;
    return true;
}

static int check_texts(const struct spec *s, struct diag *d)
{
    if (!text_ok(s->name, sizeof(s->name)) || !text_ok(s->application, sizeof(s->application)) || !text_ok(s->cwd, sizeof(s->cwd)) ||
        !text_ok(s->health_path, sizeof(s->health_path)) || !text_ok(s->runtime, sizeof(s->runtime)) || !text_ok(s->handler, sizeof(s->handler)))
        return diag_set(d, EPROTO, "spec: a text field is not terminated or has control characters");
    if (s->name[0] && !name_valid(s->name))
        return diag_set(d, EINVAL, "spec: name \"%s\" is not valid", s->name);
    if (s->runtime[0] && !name_valid(s->runtime))
        return diag_set(d, EINVAL, "spec: runtime \"%s\" is no name", s->runtime);
    if (s->handler[0] && !s->runtime[0])
        return diag_set(d, EINVAL, "spec: a handler without a runtime");
    if (s->cwd[0] != '/')
        return diag_set(d, EINVAL, "spec: working directory \"%s\" is not absolute", s->cwd);
    if (!health_path_ok(s->health_path))
        return diag_set(d, EINVAL, "spec: health path \"%s\" must begin with / and have no blanks", s->health_path);
    return 0;
}

/* Every environment string is KEY=VALUE with a key of [A-Za-z_][A-Za-z0-9_.-]*. */
static bool env_ok(const char *kv)
{
    const char *eq = strchr(kv, '=');

    if (!eq || eq == kv || (*kv >= '0' && *kv <= '9') || *kv == '-' || *kv == '.')
        return false;
    for (; kv < eq; kv++)
        if (!((*kv >= 'A' && *kv <= 'Z') || (*kv >= 'a' && *kv <= 'z') || (*kv >= '0' && *kv <= '9') || *kv == '_' || *kv == '-' || *kv == '.'))
            return false;
    return true;
}

static int check_strings(const struct spec *s, struct diag *d)
{
    const char *p = s->strings, *end = s->strings + s->strings_len;

    if (end[-1] != '\0')
        return diag_set(d, EPROTO, "spec: the strings are not terminated");
    for (uint32_t i = 0; i < s->argc + s->envc; i++) {
        if (p >= end)
            return diag_set(d, EPROTO, "spec: %u strings are promised, %u are there", s->argc + s->envc, i);
        if (i == 0 && !*p)
            return diag_set(d, EINVAL, "spec: the command is empty");
        if (i >= s->argc && !env_ok(p))
            return diag_set(d, EINVAL, "spec: environment entry \"%.60s\" is not NAME=VALUE with a name of letters, digits and _", p);
        p += strlen(p) + 1;
    }
    return p == end ? 0 : diag_set(d, EPROTO, "spec: bytes after the last string");
}

/* They are names of files. */
static int check_secrets(const struct spec *s, struct diag *d)
{
    for (uint32_t i = 0; i < s->nsecrets; i++) {
        if (!text_ok(s->secrets[i], sizeof(s->secrets[i])) || !name_valid(s->secrets[i]))
            return diag_set(d, EINVAL, "spec: secret %u has no valid name", i);
        for (uint32_t k = 0; k < i; k++)
            if (strcasecmp(s->secrets[i], s->secrets[k]) == 0)
                return diag_set(d, EINVAL, "secret %s is named twice", s->secrets[i]);
    }
    return 0;
}

int spec_check(const struct spec *s, size_t size, struct diag *d)
{
    int r;

    if (size < sizeof(*s) || s->magic != SPEC_MAGIC)
        return diag_set(d, EPROTO, "spec: not a spec record (%zu bytes)", size);
    if (s->format != SPEC_FORMAT)
        return diag_set(d, ENOTSUP, "spec: format %u, this program knows %u: install the version of fnd that wrote it, or deploy the function again", s->format,
                        SPEC_FORMAT);
    r = check_bounds(s, d);
    if (r < 0)
        return r;
    if (size != spec_size(s))
        return diag_set(d, EPROTO, "spec: %zu bytes where %zu are promised", size, spec_size(s));
    r = check_texts(s, d);
    if (r == 0)
        r = spec_network_check(s, d);
    if (r == 0)
        r = check_strings(s, d);
    if (r == 0)
        r = spec_check_volumes(s, d);
    if (r == 0)
        r = spec_check_devices(s, d);
    if (r == 0)
        r = check_secrets(s, d);
    return r < 0 ? r : spec_http_check(&s->http, d);
}

static const char *fill(const char *p, uint32_t n, const char **array)
{
    for (uint32_t i = 0; i < n; i++, p += strlen(p) + 1)
        array[i] = p;
    array[n] = NULL;
    return p;
}

void spec_argv(const struct spec *s, const char **argv)
{
    fill(s->strings, s->argc, argv);
}

void spec_envp(const struct spec *s, const char **envp)
{
    const char *p = s->strings;

    for (uint32_t i = 0; i < s->argc; i++)
        p += strlen(p) + 1;
    fill(p, s->envc, envp);
}

int spec_read(int dirfd, const char *name, struct spec **ret, struct diag *d)
{
    cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    cleanup_free char *data = NULL;
    ssize_t n;
    int r;

    if (fd < 0)
        return diag_errno(d, errno, "spec: cannot open");
    n = fd_read_all(fd, sizeof(struct spec) + SPEC_STRINGS_MAX, &data);
    if (n < 0)
        return diag_errno(d, (int)-n, "spec: cannot read");
    r = spec_check((const struct spec *)data, (size_t)n, d);
    if (r < 0)
        return r;
    *ret = (struct spec *)take_ptr(data);
    return 0;
}
