/* cg_stats.c: figures, as one table of files and keys for both kinds of hierarchy. */
#include "cg_internal.h"

#include "clock.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define V1_UNLIMITED (1ULL << 62) /* v1 writes "no limit" as the greatest number of whole pages */

struct reader {
    enum cg_controller controller;
    enum cg_where where; /* CG_ABSENT: in v2 whatever holds the controller */
    const char *file;
    const char *key; /* NULL: the file is one number; "KEY=": the sum of what stands behind it, in a line for each device */
    uint16_t offset, size;
    uint32_t scale;
};

#define FIELD(f) offsetof(struct cg_stats, f), sizeof(((struct cg_stats *)0)->f)

/* Rows of one file stand together: it is read once. cpu.stat's usage is in every v2 group, with or without the controller (cgroup-v2.rst). */
static const struct reader readers[] = {
    {CG_CPU, CG_ABSENT, "cpu.stat", "usage_usec", FIELD(cpu_ns), NS_PER_US},
    {CG_CPU, CG_V2, "cpu.stat", "throttled_usec", FIELD(throttled_ns), NS_PER_US},
    {CG_CPU, CG_V2, "cpu.stat", "nr_throttled", FIELD(throttled), 1},
    {CG_CPU, CG_V1, "cpu.stat", "throttled_time", FIELD(throttled_ns), 1},
    {CG_CPU, CG_V1, "cpu.stat", "nr_throttled", FIELD(throttled), 1},
    {CG_MEMORY, CG_V2, "memory.current", NULL, FIELD(memory_bytes), 1},
    {CG_MEMORY, CG_V2, "memory.max", NULL, FIELD(memory_max_bytes), 1},
    {CG_MEMORY, CG_V2, "memory.events", "oom_kill", FIELD(oom_kills), 1},
    {CG_MEMORY, CG_V2, "memory.events", "oom", FIELD(ooms), 1},
    {CG_MEMORY, CG_V2, "memory.events", "high", FIELD(memory_high), 1},
    {CG_MEMORY, CG_V1, "memory.usage_in_bytes", NULL, FIELD(memory_bytes), 1},
    {CG_MEMORY, CG_V1, "memory.limit_in_bytes", NULL, FIELD(memory_max_bytes), 1},
    {CG_MEMORY, CG_V1, "memory.oom_control", "oom_kill", FIELD(oom_kills), 1},
    {CG_MEMORY, CG_V1, "memory.failcnt", NULL, FIELD(ooms), 1},
    {CG_PIDS, CG_V2, "pids.current", NULL, FIELD(pids), 1},
    {CG_PIDS, CG_V2, "pids.events", "max", FIELD(pids_refused), 1},
    {CG_PIDS, CG_V1, "pids.current", NULL, FIELD(pids), 1},
    {CG_PIDS, CG_V1, "pids.events", "max", FIELD(pids_refused), 1},
    {CG_IO, CG_V2, "io.stat", "rbytes=", FIELD(io_read_bytes), 1},
    {CG_IO, CG_V2, "io.stat", "wbytes=", FIELD(io_write_bytes), 1},
};

/* "KEY NUMBER\n" lines, or one number; "max" is no number, hence 0. */
static uint64_t find_number(const char *text, const char *key)
{
    size_t len = key ? strlen(key) : 0;
    const char *line = text;

    while (key && line && !(strncmp(line, key, len) == 0 && line[len] == ' ')) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return line ? strtoull(line + (key ? len + 1 : 0), NULL, 10) : 0;
}

/* io.stat: "254:0 rbytes=1 wbytes=2 ...\n" */
static uint64_t sum_numbers(const char *text, const char *key)
{
    uint64_t sum = 0;

    for (const char *at = text; (at = strstr(at, key)); at += strlen(key))
        if (at != text && at[-1] == ' ' && __builtin_add_overflow(sum, strtoull(at + strlen(key), NULL, 10), &sum))
            return UINT64_MAX;
    return sum;
}

static uint64_t read_number(const char *text, const char *key)
{
    return key && str_ends_with(key, "=") ? sum_numbers(text, key) : find_number(text, key);
}

static void store(struct cg_stats *s, const struct reader *m, uint64_t v)
{
    char *field = (char *)s + m->offset;

    if (__builtin_mul_overflow(v, m->scale, &v))
        v = UINT64_MAX;
    if (m->size == sizeof(uint32_t)) {
        uint32_t v32 = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;

        memcpy(field, &v32, sizeof(v32));
    } else {
        memcpy(field, &v, sizeof(v));
    }
}

/*
 * v1 counts nothing when the limit with swap, which is the same and is asked first, refuses (tried on 6.18: both failcnt stay 0). Then the use tells: until
 * the kernel has killed it stands at the limit, afterwards it has stood there. What did not fit may have been a batch of pages (MEMCG_CHARGE_BATCH, 64).
 */
static void find_v1_ooms(const struct cg_group *g, struct cg_stats *s)
{
    uint64_t used = s->memory_bytes;
    char buf[32];

    if (g->root->where[CG_MEMORY] != CG_V1 || s->ooms > 0 || s->memory_max_bytes == 0)
        return;
    if (s->oom_kills > 0 && fd_read_file(g->v1_fd[CG_MEMORY], "memory.max_usage_in_bytes", buf, sizeof(buf)) > 0)
        used = find_number(buf, NULL);
    s->ooms = used + 64ULL * 4096 >= s->memory_max_bytes;
}

int cg_group_stats(const struct cg_group *g, struct cg_stats *ret)
{
    struct cg_stats s = {0};
    char buf[2048] = "";
    const char *have = "";
    int have_fd = -1;

    if (g->dir_fd < 0)
        return -ENOENT;
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
        const struct reader *m = &readers[i];
        int dirfd = m->where == CG_V1 && m->controller < CG_CONTROLLER_COUNT ? g->v1_fd[m->controller] : g->dir_fd;

        if (m->where != CG_ABSENT && m->where != g->root->where[m->controller])
            continue;
        if (dirfd != have_fd || strcmp(m->file, have) != 0) {
            if (fd_read_file(dirfd, m->file, buf, sizeof(buf)) < 0)
                buf[0] = '\0';
            have_fd = dirfd;
            have = m->file;
        }
        store(&s, m, read_number(buf, m->key));
    }
    if (s.memory_max_bytes >= V1_UNLIMITED)
        s.memory_max_bytes = 0;
    find_v1_ooms(g, &s);
    *ret = s;
    return 0;
}

int cg_root_stats(struct cg_root *r, struct cg_stats *ret)
{
    const struct cg_group tree = cg_root_group(r);

    return cg_group_stats(&tree, ret);
}
