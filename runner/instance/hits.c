/*
 * hits.c: limits that instances hit: counted per function, so that the counters outlive the instances, and noted in the instance's log, where the function's author looks.
 *
 * The kernel's own counters are the source; looking means to compare them with what was counted. Who looks: an event (cgroup.h: memory and pids in v2), a request for figures, the end of the instance, and a slow
 * round over all of them, some at a time, for what has no event: throttling, and what v1 holds. So a hit is counted exactly once, and at the latest a round later.
 *
 * A note is written at most every LINE_GAP_NS for each limit of an instance and says how often since the last one: a function decides how often it hits a limit, and must not decide how much the runner writes.
 */
#include "manager.h"

#include "clock.h"
#include "fd.h"
#include "log.h"
#include "ringlog.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define LINE_GAP_NS     (10 * NS_PER_SEC)
#define CPU_GAP_NS      (60 * NS_PER_SEC) /* who works a lot is out of CPU all day */
#define TICK_NS         (4 * NS_PER_SEC)
#define TICK_INSTANCES  100U /* a look is about ten small files: 50 us */
#define EVENTS_PAUSE_NS (100 * NS_PER_MS)
#define CPU_WINDOW_NS   NS_PER_SEC

/* ---- the log ---- */

static int open_log(const struct instance *i)
{
    cleanup_fd int dir = store_log_dir(i->manager->p.store, &i->function->id, NULL);
    char name[NAME_INSTANCE_MAX + 8];

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%s.log", i->name);
    return openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

static const char *times(uint64_t n, char buf[40])
{
    if (n == 1)
        snprintf(buf, 40, "once");
    else
        snprintf(buf, 40, "%" PRIu64 " times", n);
    return buf;
}

bool hits_of_host(const struct instance *i)
{
    return i->hits.seen.oom_kills > 0 && i->hits.seen.ooms == 0;
}

static void format_hit(const struct instance *i, enum record_limit limit, char text[RINGLOG_NOTE_MAX])
{
    const struct spec *spec = i->version->v.spec;
    uint64_t n = i->hits.pending[limit];
    char size[16], count[40];

    switch (limit) {
    case RECORD_LIMIT_MEMORY:
        if (hits_of_host(i))
            snprintf(text, RINGLOG_NOTE_MAX, "memory: it was killed below its limit: all functions together, or the host, ran out (host.memory in fnd.ini)");
        else
            snprintf(text, RINGLOG_NOTE_MAX, "memory: it was killed at its limit of %s ([limits] memory)",
                     str_format_size(spec->memory_bytes, size, sizeof(size)));
        break;
    case RECORD_LIMIT_MEMORY_HIGH:
        snprintf(text, RINGLOG_NOTE_MAX, "memory_high: slowed down %s above %s ([limits] memory_high)", times(n, count),
                 str_format_size(spec->memory_high_bytes, size, sizeof(size)));
        break;
    case RECORD_LIMIT_CPU:
        snprintf(text, RINGLOG_NOTE_MAX, "cpu: %s it had to wait for the next 100 ms, at its limit of %g CPUs ([limits] cpu)", times(n, count),
                 spec->cpu_milli / 1000.0);
        break;
    case RECORD_LIMIT_PIDS:
        snprintf(text, RINGLOG_NOTE_MAX, "pids: a process or thread was refused %s, at the limit of %u ([limits] pids)", times(n, count), spec->pids);
        break;
    case RECORD_LIMIT_COUNT:
        break;
    }
}

static void note_hits(struct instance *i, bool last)
{
    struct hits *h = &i->hits;
    cleanup_fd int log = -1;
    uint64_t now = clock_mono_ns();

    for (enum record_limit limit = 0; limit < RECORD_LIMIT_COUNT; limit++) {
        uint64_t gap = limit == RECORD_LIMIT_CPU ? CPU_GAP_NS : LINE_GAP_NS;
        char text[RINGLOG_NOTE_MAX] = "";

        if (h->pending[limit] == 0 || (h->line_ns[limit] && now - h->line_ns[limit] < gap && !(last && limit != RECORD_LIMIT_CPU)))
            continue;
        if (log < 0)
            log = open_log(i);
        if (log < 0)
            return;
        format_hit(i, limit, text);
        ringlog_note(log, text);
        h->pending[limit] = 0;
        h->line_ns[limit] = now;
    }
}

/* ---- looking ---- */

static void count(struct instance *i, enum record_limit limit, uint64_t was, uint64_t is)
{
    if (is <= was)
        return;
    i->function->hits[limit] += is - was;
    i->hits.pending[limit] += is - was;
}

static void measure_cpu(struct hits *h, uint64_t cpu_ns)
{
    uint64_t now = clock_mono_ns(), passed = now - h->cpu_mark_at_ns;

    if (h->cpu_mark_at_ns && passed < CPU_WINDOW_NS)
        return;
    if (h->cpu_mark_at_ns && cpu_ns >= h->cpu_mark_ns)
        h->cpu_milli = (uint32_t)((cpu_ns - h->cpu_mark_ns) * 1000 / passed);
    h->cpu_mark_ns = cpu_ns;
    h->cpu_mark_at_ns = now;
}

static int look(struct instance *i, bool last, struct cg_stats *ret)
{
    struct hits *h = &i->hits;
    struct cg_stats s;
    int r = i->slot ? cg_group_stats(&i->slot->group, &s) : -ENOENT;

    if (r < 0)
        return r;
    count(i, RECORD_LIMIT_MEMORY, h->seen.oom_kills > 0, s.oom_kills > 0); /* once: however many processes were killed, the instance is at its end */
    if (s.oom_kills > 0 && i->slot->group.oom_fd >= 0 && !i->slot->group.killed)
        cg_group_kill(&i->slot->group); /* v1 has no oom.group */
    count(i, RECORD_LIMIT_MEMORY_HIGH, h->seen.memory_high, s.memory_high);
    count(i, RECORD_LIMIT_CPU, h->seen.throttled, s.throttled);
    count(i, RECORD_LIMIT_PIDS, h->seen.pids_refused, s.pids_refused);
    measure_cpu(h, s.cpu_ns);
    h->seen = s;
    note_hits(i, last);
    *ret = s;
    return 0;
}

int hits_look(struct instance *i, struct cg_stats *ret)
{
    return look(i, false, ret);
}

void hits_end(struct instance *i, bool was_oom)
{
    struct cg_stats s;

    look(i, true, &s);
    /* v1: our kill came before the kernel's, which then counted none. */
    if (was_oom && i->hits.seen.oom_kills == 0) {
        count(i, RECORD_LIMIT_MEMORY, 0, 1);
        i->hits.seen.oom_kills = i->hits.seen.ooms = 1;
        note_hits(i, true);
    }
}

void hits_begin(struct instance *i, int log_fd, const struct cg_limits *l)
{
    const struct function *f = i->function;
    char text[RINGLOG_NOTE_MAX], lacks[160];

    cg_root_lacks(i->manager->p.cgroups, l, lacks, sizeof(lacks));
    if (lacks[0]) {
        snprintf(text, sizeof(text), "limits that this host does not hold: %s", lacks);
        ringlog_note(log_fd, text);
        log_msg(LOG_WARNING, "limit not held", "instance=%s limits=\"%s\"", i->name, lacks);
    }
    if (f->failures > 0 && f->last_failed_instance[0]) {
        snprintf(text, sizeof(text), "the instance before, %s, ended: %.130s", f->last_failed_instance, f->last_failure);
        ringlog_note(log_fd, text);
    }
}

void hits_soon(struct manager *m)
{
    loop_arm_in(m->p.loop, &m->hit_events.tick, EVENTS_PAUSE_NS);
}

void hits_send(struct manager *m, uint64_t client, uint64_t id)
{
    for (const struct function *f = m->functions; f; f = f->next) {
        struct record_hits rec = {.head = RECORD_INIT(RECORD_HITS, id), .function = f->number};

        memcpy(rec.hits, f->hits, sizeof(rec.hits));
        m->p.hooks.reply(m->p.owner, client, &rec.head, -1);
    }
}

/* ---- events and rounds ---- */

static void look_at(struct instance *i)
{
    struct cg_stats s;

    if (i->slot && i->state >= INSTANCE_STARTING)
        look(i, false, &s);
}

static void on_watch_number(struct manager *m, int number)
{
    for (struct function *f = m->functions; f; f = f->next)
        for (struct instance *i = f->instances; i; i = i->next)
            for (unsigned k = 0; i->slot && k < CG_EVENTS_WATCHES; k++)
                if (number == CG_EVENTS_ALL || i->slot->event_watches[k] == number) {
                    look_at(i);
                    break;
                }
}

/* After one batch it rests: a function can make events as fast as the kernel lets them through. What comes meanwhile is merged there. */
static void on_events(struct watch *w, uint32_t events)
{
    struct manager *m = w->owner;
    int numbers[32], n = cg_events_read(m->hit_events.fd, numbers, 32);

    for (int k = 0; k < n; k++)
        if (numbers[k] != CG_EVENTS_NONE)
            on_watch_number(m, numbers[k]);
    if (loop_arm_in(m->p.loop, &m->hit_events.pause, EVENTS_PAUSE_NS) == 0)
        loop_modify(w, 0);
}

static void on_pause_over(struct timer *t)
{
    struct manager *m = t->owner;

    loop_modify(&m->hit_events.watch, EPOLLIN);
}

/* The next ones behind the cursor, by their numbers; lists are in no order, so each round picks the lowest again and again: instances are few, and rounds slow. */
static struct instance *next_instance(const struct manager *m, uint64_t behind)
{
    struct instance *best = NULL;

    for (const struct function *f = m->functions; f; f = f->next)
        for (struct instance *i = f->instances; i; i = i->next)
            if (i->number > behind && (!best || i->number < best->number))
                best = i;
    return best;
}

static void on_tick(struct timer *t)
{
    struct manager *m = t->owner;
    struct hit_events *e = &m->hit_events;

    for (unsigned n = 0; n < TICK_INSTANCES; n++) {
        struct instance *i = next_instance(m, e->cursor);

        if (!i) {
            e->cursor = 0;
            break;
        }
        e->cursor = i->number;
        look_at(i);
    }
    loop_arm_in(m->p.loop, t, TICK_NS);
}

void hits_init(struct manager *m)
{
    struct hit_events *e = &m->hit_events;
    struct diag d = {0};

    e->pause = (struct timer){.on_expire = on_pause_over, .owner = m};
    e->tick = (struct timer){.on_expire = on_tick, .owner = m};
    loop_arm_in(m->p.loop, &e->tick, TICK_NS);
    e->fd = cg_events_open(&d);
    if (e->fd >= 0 && loop_watch(m->p.loop, &e->watch, e->fd, EPOLLIN, on_events, m) < 0)
        e->fd = fd_close(e->fd);
    if (e->fd < 0)
        log_diag(LOG_WARNING, "limits that are hit show late", &d, NULL);
}

void hits_done(struct manager *m)
{
    struct hit_events *e = &m->hit_events;

    loop_disarm(&e->tick);
    loop_disarm(&e->pause);
    loop_unwatch(&e->watch);
    e->fd = fd_close(e->fd);
}

void hits_watch(struct slot *s)
{
    if (s->manager->hit_events.fd >= 0)
        cg_events_watch(s->manager->hit_events.fd, &s->group, s->event_watches);
}

void hits_unwatch(struct slot *s)
{
    if (s->manager->hit_events.fd >= 0)
        cg_events_unwatch(s->manager->hit_events.fd, s->event_watches);
}
