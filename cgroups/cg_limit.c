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
#define VALUE_MAX    48

typedef void format_fn(const struct cg_limits *l, char *buf);

static void format_memory(const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu64, l->memory_bytes);
}

static void format_zero(const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "0");
}

static void format_one(const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "1");
}

static void format_pids(const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu32, l->pids);
}

static uint64_t quota_us(const struct cg_limits *l)
{
    uint64_t us = (uint64_t)l->cpu_milli * (PERIOD_US / 1000);

    return us < QUOTA_MIN_US ? QUOTA_MIN_US : us;
}

static void format_cpu_v2(const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu64 " %u", quota_us(l), PERIOD_US);
}

static void format_cpu_period(const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%u", PERIOD_US);
}

static void format_cpu_quota(const struct cg_limits *l, char *buf)
{
    snprintf(buf, VALUE_MAX, "%" PRIu64, quota_us(l));
}

enum when { ALWAYS, LOWERING, RAISING };

/*
 * Rows are written in this order. none: the value that lifts the limit. forgive: an errno that is no failure; ENOENT where a kernel may lack the file.
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
} writers[] = {
    {CG_MEMORY, CG_V2, "memory.oom.group", format_one, "1", ALWAYS, ENOENT},
    {CG_MEMORY, CG_V2, "memory.swap.max", format_zero, "0", ALWAYS, ENOENT},
    {CG_MEMORY, CG_V2, "memory.max", format_memory, "max", ALWAYS, 0},
    {CG_MEMORY, CG_V1, "memory.swappiness", format_zero, "0", ALWAYS, ENOENT},
    {CG_MEMORY, CG_V1, "memory.limit_in_bytes", format_memory, "-1", LOWERING, 0},
    {CG_MEMORY, CG_V1, "memory.memsw.limit_in_bytes", format_memory, "-1", ALWAYS, ENOENT},
    {CG_MEMORY, CG_V1, "memory.limit_in_bytes", format_memory, "-1", RAISING, 0},
    {CG_PIDS, CG_V2, "pids.max", format_pids, "max", ALWAYS, 0},
    {CG_PIDS, CG_V1, "pids.max", format_pids, "max", ALWAYS, 0},
    {CG_CPU, CG_V2, "cpu.max", format_cpu_v2, "max", ALWAYS, 0},
    {CG_CPU, CG_V1, "cpu.cfs_period_us", format_cpu_period, NULL, ALWAYS, 0},
    {CG_CPU, CG_V1, "cpu.cfs_quota_us", format_cpu_quota, "-1", ALWAYS, EINVAL},
};

static uint64_t limit_of(const struct cg_limits *l, enum cg_controller c)
{
    return c == CG_MEMORY ? l->memory_bytes : c == CG_PIDS ? l->pids : l->cpu_milli;
}

static void limit_told(struct cg_group *g, const struct cg_limits *l, enum cg_controller c)
{
    if (c == CG_MEMORY)
        g->told.memory_bytes = l->memory_bytes;
    else if (c == CG_PIDS)
        g->told.pids = l->pids;
    else
        g->told.cpu_milli = l->cpu_milli;
}

static int write_one(struct cg_group *g, const struct writer *w, const struct cg_limits *l, struct diag *d)
{
    int dirfd = w->where == CG_V2 ? g->dir_fd : g->v1_fd[w->controller];
    char value[VALUE_MAX] = "";
    int r;

    if (limit_of(l, w->controller) > 0)
        w->format(l, value);
    else if (w->none)
        snprintf(value, sizeof(value), "%s", w->none);
    if (!value[0])
        return 0;
    r = fd_write_kernel(dirfd, w->file, value);
    return r == 0 || -r == w->forgive ? 0 : diag_errno(d, -r, "cgroup %s: %s to %s", g->name, value, w->file);
}

static int write_limit(struct cg_group *g, const struct cg_limits *l, enum cg_controller c, struct diag *d)
{
    uint64_t old = limit_of(&g->told, c), new = limit_of(l, c);
    enum when direction = old == 0 || (new != 0 && new < old) ? LOWERING : RAISING;

    for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++) {
        const struct writer *w = &writers[i];
        int r;

        if (w->controller != c || w->where != g->root->where[c] || (w->when != ALWAYS && w->when != direction))
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
        if (g->root->where[c] == CG_ABSENT && limit_of(l, c) > 0 && !best_effort)
            return diag_set(
                d,
                ENOTSUP, "cgroup %s: the %s limit cannot be held, because this host offers no %s controller there: see the kernel's cgroup_disable=, or set limits = best-effort",
                g->name, cg_controller_name(c), cg_controller_name(c));
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++) {
        int r = 0;

        if (limit_of(l, c) != limit_of(&g->told, c) && g->root->where[c] != CG_ABSENT)
            r = write_limit(g, l, c, d);
        if (r < 0)
            return r;
    }
    return 0;
}
