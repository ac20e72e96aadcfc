/* cg_limit.c: limits, as one table of files for both kinds of hierarchy. */
#include "cg_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PERIOD_US    100000U
#define QUOTA_MIN_US 1000U /* the kernel's least quota, v1 and v2 */
#define VALUE_MAX    96

/* False: there is no such limit, so the row's `none` is written. */
typedef bool format_fn(const struct cg_root *r, const struct cg_limits *l, char *buf);

static bool format_memory(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu64, l->memory_bytes);
    return l->memory_bytes > 0;
}

static bool format_high(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu64, l->memory_high_bytes);
    return l->memory_high_bytes > 0;
}

static bool format_zero(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "0");
    return l->memory_bytes > 0;
}

static bool format_one(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "1");
    return l->memory_bytes > 0;
}

static bool format_pids(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu32, l->pids);
    return l->pids > 0;
}

static uint64_t quota_us(const struct cg_limits *l)
{
    uint64_t us = (uint64_t)l->cpu_milli * (PERIOD_US / 1000);

    return us < QUOTA_MIN_US ? QUOTA_MIN_US : us;
}

static bool format_cpu_v2(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu64 " %u", quota_us(l), PERIOD_US);
    return l->cpu_milli > 0;
}

static bool format_cpu_period(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%u", PERIOD_US);
    return l->cpu_milli > 0;
}

static bool format_cpu_quota(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu64, quota_us(l));
    return l->cpu_milli > 0;
}

/* In proportion, within the kernel's bounds: where all want more than there is, shares follow the limits. */
static bool format_share(const struct cg_limits *l, char *buf, uint64_t of_one_cpu, uint64_t min, uint64_t max)
{
    uint64_t milli = l->cpu_weight_milli ? l->cpu_weight_milli : l->cpu_milli, share = milli * of_one_cpu / 1000;

    snprintf(buf, VALUE_MAX, "%" PRIu64, share < min ? min : share > max ? max : share);
    return milli > 0;
}

static bool format_weight(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    return format_share(l, buf, 100, 1, 10000);
}

static bool format_shares(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    return format_share(l, buf, 1024, 2, 262144);
}

static bool format_io(const struct cg_root *r, const struct cg_limits *l, char *buf)
{
    if (l->io_bytes > 0)
        snprintf(buf, VALUE_MAX, "%s rbps=%" PRIu64 " wbps=%" PRIu64, r->disk, l->io_bytes, l->io_bytes);
    else
        snprintf(buf, VALUE_MAX, "%s rbps=max wbps=max", r->disk);
    return r->disk[0] != '\0';
}

enum when { ALWAYS, LOWERING, RAISING };

/*
 * Rows are written in this order. none: the value that lifts the limit, NULL: nothing does. of_tree: makes sense for all groups together too. forgive: an errno that is no failure; ENOENT where a kernel may lack the file.
 * v1 refuses a memory limit above memsw's: lowering writes it first, raising last. v1 refuses a quota above an ancestor's share of CPU with EINVAL: then the ancestor limits the group harder already.
 */
static const struct writer {
    enum cg_controller controller;
    enum cg_where where;
    const char *file;
    format_fn *format;
    const char *none;
    enum when when;
    int forgive;
    bool of_tree;
} writers[] = {
    {CG_MEMORY, CG_V2, "memory.oom.group", format_one, "1", ALWAYS, ENOENT, false},
    {CG_MEMORY, CG_V2, "memory.swap.max", format_zero, "0", ALWAYS, ENOENT, false},
    {CG_MEMORY, CG_V2, "memory.high", format_high, "max", ALWAYS, 0, false},
    {CG_MEMORY, CG_V2, "memory.max", format_memory, "max", ALWAYS, 0, true},
    {CG_MEMORY, CG_V1, "memory.swappiness", format_zero, "0", ALWAYS, ENOENT, false},
    {CG_MEMORY, CG_V1, "memory.limit_in_bytes", format_memory, "-1", LOWERING, 0, true},
    {CG_MEMORY, CG_V1, "memory.memsw.limit_in_bytes", format_memory, "-1", ALWAYS, ENOENT, true},
    {CG_MEMORY, CG_V1, "memory.limit_in_bytes", format_memory, "-1", RAISING, 0, true},
    {CG_PIDS, CG_V2, "pids.max", format_pids, "max", ALWAYS, 0, false},
    {CG_PIDS, CG_V1, "pids.max", format_pids, "max", ALWAYS, 0, false},
    {CG_CPU, CG_V2, "cpu.weight", format_weight, "100", ALWAYS, ENOENT, false},
    {CG_CPU, CG_V2, "cpu.max", format_cpu_v2, "max", ALWAYS, 0, true},
    {CG_CPU, CG_V1, "cpu.shares", format_shares, "1024", ALWAYS, ENOENT, false},
    {CG_CPU, CG_V1, "cpu.cfs_period_us", format_cpu_period, NULL, ALWAYS, 0, true},
    {CG_CPU, CG_V1, "cpu.cfs_quota_us", format_cpu_quota, "-1", ALWAYS, EINVAL, true},
    {CG_IO, CG_V2, "io.max", format_io, NULL, ALWAYS, 0, false},
};

/* What a controller is told, as numbers to compare: one or two. */
struct asked {
    uint64_t first, second;
};

static struct asked asked_of(const struct cg_limits *l, enum cg_controller c)
{
    switch (c) {
    case CG_MEMORY:
        return (struct asked){l->memory_bytes, l->memory_high_bytes};
    case CG_PIDS:
        return (struct asked){l->pids, 0};
    case CG_CPU:
        return (struct asked){l->cpu_milli, l->cpu_weight_milli};
    default:
        return (struct asked){l->io_bytes, 0};
    }
}

static bool same(const struct cg_limits *a, const struct cg_limits *b, enum cg_controller c)
{
    struct asked x = asked_of(a, c), y = asked_of(b, c);

    return x.first == y.first && x.second == y.second;
}

static void limit_told(struct cg_group *g, const struct cg_limits *l, enum cg_controller c)
{
    if (c == CG_MEMORY) {
        g->told.memory_bytes = l->memory_bytes;
        g->told.memory_high_bytes = l->memory_high_bytes;
    } else if (c == CG_PIDS) {
        g->told.pids = l->pids;
    } else if (c == CG_CPU) {
        g->told.cpu_milli = l->cpu_milli;
        g->told.cpu_weight_milli = l->cpu_weight_milli;
    } else {
        g->told.io_bytes = l->io_bytes;
    }
}

static int write_one(struct cg_group *g, const struct writer *w, const struct cg_limits *l, struct diag *d)
{
    int dirfd = w->where == CG_V2 ? g->dir_fd : g->v1_fd[w->controller], r;
    char value[VALUE_MAX] = "";

    if (!w->format(g->root, l, value)) {
        if (!w->none)
            return 0;
        snprintf(value, sizeof(value), "%s", w->none);
    }
    r = fd_write_kernel(dirfd, w->file, value);
    return r == 0 || -r == w->forgive ? 0 : diag_errno(d, -r, "cgroup %s: %s to %s", g->name, value, w->file);
}

static int write_limit(struct cg_group *g, const struct cg_limits *l, enum cg_controller c, bool tree, struct diag *d)
{
    uint64_t old = asked_of(&g->told, c).first, new = asked_of(l, c).first;
    enum when direction = old == 0 || (new != 0 && new < old) ? LOWERING : RAISING;

    for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
        const struct writer *w = &writers[i];
        int r;

        if (w->controller != c || w->where != g->root->where[c] || (w->when != ALWAYS && w->when != direction) || (tree && !w->of_tree))
            continue;
        r = write_one(g, w, l, d);
        if (r < 0)
            return r;
    }
    limit_told(g, l, c);
    return 0;
}

int cg_group_limit(struct cg_group *g, const struct cg_limits *l, bool best_effort, struct diag *d)
{
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        if (g->root->where[c] == CG_ABSENT && asked_of(l, c).first > 0 && !best_effort)
            return diag_set(
                d,
                ENOTSUP, "cgroup %s: the %s limit cannot be held, because this host offers no %s controller there: see the kernel's cgroup_disable=, or set limits = best-effort",
                g->name, cg_controller_name(c), cg_controller_name(c));
    for (int c = 0; c < CG_ALL_COUNT; c++) {
        int r = 0;

        if (!same(l, &g->told, c) && g->root->where[c] != CG_ABSENT)
            r = write_limit(g, l, c, false, d);
        if (r < 0)
            return r;
    }
    return 0;
}

struct cg_group cg_root_group(struct cg_root *r)
{
    struct cg_group tree = {.root = r, .dir_fd = r->dir_fd, .oom_fd = -1};

    snprintf(tree.name, sizeof(tree.name), "%s", r->name);
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        tree.v1_fd[c] = r->v1[c].dir_fd;
    return tree;
}

int cg_root_limit(struct cg_root *r, const struct cg_limits *l, struct diag *d)
{
    const struct cg_limits none = {0};
    struct cg_group tree = cg_root_group(r);
    int x = 0;

    /* What a killed daemon told it is not known: all is lifted first, as if a limit had been there, so that v1 takes its two memory limits in the right order. */
    for (int c = 0; c < CG_CONTROLLER_COUNT && x == 0; c++) {
        if (r->where[c] == CG_ABSENT)
            continue;
        tree.told = (struct cg_limits){.memory_bytes = 1, .pids = 1, .cpu_milli = 1};
        x = write_limit(&tree, &none, c, true, d);
        if (x == 0 && asked_of(l, c).first > 0)
            x = write_limit(&tree, l, c, true, d);
    }
    return x;
}

static void lacks(char *buf, size_t size, const char *what, const char *why)
{
    size_t len = strlen(buf);

    snprintf(buf + len, size - len, "%s%s (%s)", len ? ", " : "", what, why);
}

const char *cg_root_lacks(const struct cg_root *r, const struct cg_limits *l, char *buf, size_t size)
{
    buf[0] = '\0';
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        if (r->where[c] == CG_ABSENT && asked_of(l, c).first > 0)
            lacks(buf, size, cg_controller_name(c), "no such controller on this host");
    if (l->memory_high_bytes > 0 && r->where[CG_MEMORY] == CG_V1)
        lacks(buf, size, "memory_high", "cgroup v1 has no such limit");
    if (l->io_bytes > 0 && !r->disk[0])
        lacks(buf, size, "io", r->no_disk);
    return buf;
}
