/*
 * budget.c: what all functions together may take ([host] in fnd.ini): memory, CPU, disk. Two halves:
 *
 *   held      the cgroup of all instances has the memory and the CPU as its own limit, so that together they never take the host down, whatever each of them was promised
 *   admitted  what is promised (the sum of the instances' limits; bytes on disk) is bounded too, memory and CPU by the budget times an overcommit, since few functions use up their limit; a start, a scale or a
 *             deploy beyond it is refused, and says how much of what is taken and what to do
 *
 * While instances are replaced there is one more of a function than it wants: those on their way out are not counted against the function itself, or a full host could never replace one.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#define USAGE_FRESH_NS  (5 * NS_PER_SEC)
#define IMAGE_MIN_BYTES (1ULL << 20) /* the least that the jail can work with; what is too much then is refused before it is published */

static uint64_t disk_size(const char *path)
{
    struct statvfs v;

    return statvfs(path, &v) < 0 ? 0 : (uint64_t)v.f_blocks * v.f_frsize;
}

int budget_open(struct manager *m, struct diag *d)
{
    const struct config *c = m->p.config;
    struct budget *b = &m->budget;
    cleanup_fd int state = open(c->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct sysinfo info = {0};
    struct cg_limits limits;
    struct diag why = {0};
    int r;

    if (sysinfo(&info) < 0)
        return diag_errno(d, errno, "sysinfo");
    b->memory_bytes = config_share(c->host_memory, (uint64_t)info.totalram * info.mem_unit);
    b->cpu_milli = config_share(c->host_cpu, (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * 1000);
    b->disk_bytes = config_share(c->host_disk, disk_size(c->images));
    limits = (struct cg_limits){.memory_bytes = b->memory_bytes, .cpu_milli = (uint32_t)b->cpu_milli};
    r = cg_root_limit(m->p.cgroups, &limits, d);
    if (r < 0)
        return diag_prefix(d, "[host] in the configuration");
    if (cg_root_disk(m->p.cgroups, state, &why) < 0)
        log_diag(LOG_DEBUG, "no io limits on this host", &why, NULL);
    return 0;
}

/* ---- what is promised ---- */

struct promised {
    uint64_t memory_bytes, cpu_milli;
};

static void promise(struct promised *p, const struct spec *s, uint64_t n)
{
    p->memory_bytes += n * s->memory_bytes;
    p->cpu_milli += n * s->cpu_milli;
}

static bool leaves(const struct instance *i)
{
    return i->stop != STOP_NONE || i->outdated || (i->version != i->function->version && !i->deploy);
}

/* By instances that there are; of f (may be NULL) without those that leave. */
static struct promised promised_now(const struct manager *m, const struct function *f)
{
    struct promised p = {0};

    for (const struct function *each = m->functions; each; each = each->next)
        for (const struct instance *i = each->instances; i; i = i->next)
            if (each != f || !leaves(i))
                promise(&p, i->version->v.spec, 1);
    return p;
}

/* By instances that there are or ought to be, of all functions but f. */
static struct promised promised_wanted(const struct manager *m, const struct function *f)
{
    struct promised p = {0};

    for (const struct function *each = m->functions; each; each = each->next)
        if (each != f && each->version)
            promise(&p, each->version->v.spec, function_wanted(each));
    return p;
}

/* May `n` instances of spec come to what is promised? */
static int admit(const struct manager *m, const char *name, const struct spec *spec, uint64_t n, struct promised p, struct diag *d)
{
    const struct config *c = m->p.config;
    const struct budget *b = &m->budget;
    char each[16], taken[16], most[16], budget[16];

    if (b->memory_bytes && p.memory_bytes + n * spec->memory_bytes > b->memory_bytes * c->memory_overcommit)
        return diag_set(d, ENOSPC,
                        "%s: host.memory is used up: the limits of what runs promise %s, %llu more with %s each would exceed the %s that are allowed "
                        "(host.memory, %s here, times host.memory_overcommit = %u): "
                        "scale something down, lower [limits] memory, or raise one of the two in fnd.ini",
                        name, str_format_size(p.memory_bytes, taken, sizeof(taken)), (unsigned long long)n,
                        str_format_size(spec->memory_bytes, each, sizeof(each)), str_format_size(b->memory_bytes * c->memory_overcommit, most, sizeof(most)),
                        str_format_size(b->memory_bytes, budget, sizeof(budget)), c->memory_overcommit);
    if (b->cpu_milli && p.cpu_milli + n * spec->cpu_milli > b->cpu_milli * c->cpu_overcommit)
        return diag_set(d, ENOSPC,
                        "%s: host.cpu is used up: the limits of what runs promise %g CPUs, %llu more with %g each would exceed the %g that are allowed "
                        "(host.cpu, %g here, times host.cpu_overcommit = %u): scale "
                        "something down, lower [limits] cpu, or raise one of the two in fnd.ini",
                        name, (double)p.cpu_milli / 1000, (unsigned long long)n, spec->cpu_milli / 1000.0, (double)(b->cpu_milli * c->cpu_overcommit) / 1000,
                        (double)b->cpu_milli / 1000, c->cpu_overcommit);
    return 0;
}

int budget_start(const struct function *f, const struct spec *spec, struct diag *d)
{
    return admit(f->manager, f->id.name, spec, 1, promised_now(f->manager, f), d);
}

int budget_scale(const struct function *f, const struct spec *spec, uint32_t replicas, struct diag *d)
{
    return replicas == 0 ? 0 : admit(f->manager, f->id.name, spec, replicas, promised_wanted(f->manager, f), d);
}

/* ---- disk ---- */

static uint64_t disk_used(struct manager *m, bool fresh)
{
    struct budget *b = &m->budget;
    uint64_t now = clock_mono_ns();

    if (fresh || !b->disk_at_ns || now - b->disk_at_ns > USAGE_FRESH_NS) {
        b->disk_used = store_usage(m->p.store);
        b->disk_at_ns = now;
    }
    return b->disk_used;
}

int budget_disk(struct manager *m, uint64_t more_bytes, struct diag *d)
{
    uint64_t used = m->budget.disk_bytes ? disk_used(m, true) : 0;
    char taken[16], more[16], most[16];

    if (!m->budget.disk_bytes || (used < m->budget.disk_bytes && more_bytes <= m->budget.disk_bytes - used))
        return 0;
    return diag_set(
        d,
        ENOSPC, "host.disk is used up: images, logs and volumes take %s, this image %s, and %s are allowed: remove functions, keep fewer versions ([function] keep), or raise host.disk in fnd.ini",
        str_format_size(used, taken, sizeof(taken)), str_format_size(more_bytes, more, sizeof(more)), str_format_size(m->budget.disk_bytes, most, sizeof(most)));
}

/* What an image may take: the jail stops there, so that a bomb does not fill the disk before it is refused. */
uint64_t budget_image_max(const struct manager *m)
{
    uint64_t most = m->p.config->max_image_bytes, left;

    if (!m->budget.disk_bytes)
        return most;
    left = m->budget.disk_used < m->budget.disk_bytes ? m->budget.disk_bytes - m->budget.disk_used : 0;
    if (left < IMAGE_MIN_BYTES)
        left = IMAGE_MIN_BYTES;
    return left < most ? left : most;
}

void budget_explain(const struct manager *m, struct diag *d)
{
    char left[16];

    if (d->err == EFBIG && budget_image_max(m) < m->p.config->max_image_bytes)
        diag_prefix(d, "host.disk leaves only %s for it (remove functions, keep fewer versions, or raise host.disk in fnd.ini)",
                    str_format_size(budget_image_max(m), left, sizeof(left)));
}

/* ---- for people ---- */

void budget_send(struct manager *m, uint64_t client, uint64_t id)
{
    const struct budget *b = &m->budget;
    struct promised p = promised_now(m, NULL);
    struct cg_stats s = {0};
    struct record_host rec = {.head = RECORD_INIT(RECORD_HOST, id),
                              .memory_bytes = b->memory_bytes,
                              .memory_promised_bytes = p.memory_bytes,
                              .memory_promised_max_bytes = b->memory_bytes * m->p.config->memory_overcommit,
                              .cpu_milli = b->cpu_milli,
                              .cpu_promised_milli = p.cpu_milli,
                              .cpu_promised_max_milli = b->cpu_milli * m->p.config->cpu_overcommit,
                              .disk_bytes = b->disk_bytes,
                              .disk_used_bytes = disk_used(m, false)};

    if (cg_root_stats(m->p.cgroups, &s) == 0) {
        rec.memory_used_bytes = s.memory_bytes;
        rec.cpu_ns = s.cpu_ns;
    }
    m->p.hooks.reply(m->p.owner, client, &rec.head, -1);
}
