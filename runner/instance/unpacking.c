/*
 * unpacking.c: the part of a deploy in which a stranger's archive is read: fnd-unpack twice, in a cgroup of its own, within a time.
 *
 *   EXTRACT   reads the archive and makes the tree and the spec. What it reads may take it over.
 *   SURVEY    a fresh process that looks at what lies there now; it names the image (unpack.h)
 *
 * An export takes the same way with one run, EXPORT, that reads a version's trees and writes an archive.
 *
 * The group (unpack-N beside the slots') bounds memory with what the kernel holds for it, processes and CPU; a killed daemon's is swept with the others. Two clocks run until unpacking_stop(): one for all, one for
 * standing still, which is told by the group's CPU time: a process that neither reads, computes nor writes uses none, and no word of its own is needed to know that.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define UNPACK_ENTRIES_MAX  1000000U
#define UNPACK_ENTRIES_ROOT 8U /* directories that every image gets beside its own */
#define UNPACK_DEPTH_MAX    64U
#define UNPACK_SECONDS_MAX  600U
/*
 * The jail's own memory is at most half of it (RLIMIT_DATA in jail.c); the rest is what it has written and the disk has not taken yet. With 512 MB in all an image of 500 MB took 60 % more system time, for the kernel had to
 * look for pages to give back.
 */
#define UNPACK_MEMORY_BYTES (1ULL << 30)
#define UNPACK_PIDS         3U /* extracting: the thread for digests; the survey: and what flushes. Two of them compute */
#define UNPACK_CPU_MILLI    2000U
#define UNPACK_WEIGHT_MILLI 1000U /* beside functions that want all there is, a deploy is one of them */
#define LOOKS_PER_STALL     8U
#define LEAVE_DELAY_NS      (20 * NS_PER_MS)
#define LEAVE_TRIES         500U

/* ---- the group, which outlives its last process by a moment ---- */

struct unpack_group {
    struct manager *manager;
    struct unpack_group *next;
    struct cg_group group;
    struct timer timer;
    unsigned tries;
};

static void group_free(struct unpack_group *g)
{
    struct unpack_group **at = &g->manager->unpack_groups;

    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    loop_disarm(&g->timer);
    free(g);
}

static void group_leave(struct unpack_group *g)
{
    int r = cg_group_remove(&g->group);

    if (r == 0 || ++g->tries == LEAVE_TRIES) {
        if (r < 0)
            log_msg(LOG_WARNING, "cgroup not removed", "cgroup=%s error=\"%s\"", g->group.name, strerror(-r));
        group_free(g);
        return;
    }
    loop_arm_in(g->manager->p.loop, &g->timer, LEAVE_DELAY_NS);
}

static void on_leave(struct timer *t)
{
    group_leave(t->owner);
}

static int group_make(struct manager *m, struct unpack_group **ret, struct diag *d)
{
    const struct cg_limits limits = {
        .memory_bytes = UNPACK_MEMORY_BYTES,
        .pids = UNPACK_PIDS,
        .cpu_milli = UNPACK_CPU_MILLI,
        .cpu_weight_milli = UNPACK_WEIGHT_MILLI,
    };
    struct unpack_group *g = calloc(1, sizeof(*g));
    char name[CG_NAME_MAX + 1];
    int r;

    if (!g)
        return diag_set(d, ENOMEM, "deploy: out of memory");
    g->manager = m;
    g->timer = (struct timer){.on_expire = on_leave, .owner = g};
    snprintf(name, sizeof(name), "unpack-%llu", (unsigned long long)++m->next_unpack);
    r = cg_group_make(m->p.cgroups, name, &g->group, d);
    if (r < 0) {
        free(g);
        return r;
    }
    g->next = m->unpack_groups;
    m->unpack_groups = g;
    r = cg_group_limit(&g->group, &limits, m->p.config->best_effort, d);
    if (r < 0)
        group_leave(g);
    else
        *ret = g;
    return r;
}

void unpacking_groups_done(struct manager *m)
{
    while (m->unpack_groups) {
        cg_group_remove(&m->unpack_groups->group); /* else the tree's end does */
        group_free(m->unpack_groups);
    }
}

/* ---- the clocks ---- */

static uint64_t group_cpu_ns(const struct unpacking *u)
{
    struct cg_stats s = {0};

    return u->group && cg_group_stats(&u->group->group, &s) == 0 ? s.cpu_ns : u->cpu_ns;
}

static void arm_look(struct unpacking *u)
{
    loop_arm_in(u->manager->p.loop, &u->timer, u->manager->p.config->unpack_stall_ns / LOOKS_PER_STALL);
}

static void on_look(struct timer *t)
{
    struct unpacking *u = t->owner;
    const struct config *c = u->manager->p.config;
    uint64_t now = clock_mono_ns(), cpu = group_cpu_ns(u);
    const bool exported = u->unpacker.job == UNPACKER_EXPORT;
    struct diag d = {0};

    if (cpu != u->cpu_ns || (u->open && u->unpacker.job == UNPACKER_SURVEY)) { /* the survey needs nobody's upload; it may wait for the disk */
        u->cpu_ns = cpu;
        u->moved_ns = now;
    }
    if (now - u->moved_ns >= c->unpack_stall_ns)
        diag_set(&d, ETIMEDOUT,
                 exported ? "export: nobody took anything for %llu s"
                          : "deploy: the upload stood still for %llu s: send the archive again, or raise runner.unpack_stall",
                 (unsigned long long)(c->unpack_stall_ns / NS_PER_SEC));
    else if (now - u->begun_ns >= c->unpack_timeout_ns)
        diag_set(&d, ETIMEDOUT,
                 exported ? "export: it took longer than %llu s: use a faster line, or raise runner.unpack_timeout"
                          : "deploy: upload and unpacking took longer than %llu s: use a faster line or a smaller package, or raise runner.unpack_timeout",
                 (unsigned long long)(c->unpack_timeout_ns / NS_PER_SEC));
    if (d.err)
        u->on_end(u->owner, &d);
    else
        arm_look(u);
}

/* ---- the two runs ---- */

static void close_unpacker(struct unpacking *u)
{
    loop_unwatch(&u->socket_watch);
    if (u->open)
        unpacker_kill_close(&u->unpacker);
    u->open = false;
}

/* Whatever errno the jail met inside a package ("command not found": ENOENT), to the client the package is what was wrong; a lack on our side stays one. */
static int package_error(int err)
{
    static const int ours[] = {ENOMEM, ENOSPC, EDQUOT, EFBIG, ETIMEDOUT, EIO, ENOTSUP};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (err == ours[i])
            return err;
    return EINVAL;
}

static void on_socket(struct watch *w, uint32_t events);

static int start_run(struct unpacking *u, const struct unpacker_start *run, const struct unpack_request *req, struct diag *d)
{
    struct manager *m = u->manager;
    int attach[CG_CONTROLLER_COUNT], n = cg_group_attach_open(&u->group->group, attach, d), r = n;

    if (n >= 0) {
        struct unpacker_start s = *run;

        s.program = m->p.unpack_path;
        s.staging_fd = u->staging_fd;
        s.image_uid_base = m->p.config->uid_base - SANDBOX_IDS;
        s.cgroup_fd = u->group->group.dir_fd;
        s.attach_fds = attach;
        s.nattach = (unsigned)n;
        r = unpacker_start(&s, req, &u->unpacker, d);
    }
    while (n > 0)
        fd_close(attach[--n]);
    if (r < 0)
        return r;
    u->open = true;
    r = loop_watch(m->p.loop, &u->socket_watch, u->unpacker.socket_fd, EPOLLIN, on_socket, u);
    return r < 0 ? diag_errno(d, -r, "deploy: cannot watch the unpacker") : 0;
}

static struct unpack_limits limits_of(const struct manager *m)
{
    return (struct unpack_limits){
        .max_bytes = budget_image_max(m), .max_entries = UNPACK_ENTRIES_MAX, .max_depth = UNPACK_DEPTH_MAX, .max_seconds = UNPACK_SECONDS_MAX};
}

static int start_survey(struct unpacking *u, struct diag *d)
{
    struct unpack_request *req = calloc(1, sizeof(*req));
    int r;

    if (!req)
        return diag_set(d, ENOMEM, "deploy: out of memory");
    *req = (struct unpack_request){.magic = UNPACK_MAGIC, .limits = limits_of(u->manager)};
    req->limits.max_entries += UNPACK_ENTRIES_ROOT;
    req->limits.max_depth++; /* app/ */
    r = start_run(u, &(struct unpacker_start){.job = UNPACKER_SURVEY, .archive_fd = -1}, req, d);
    free(req);
    return r;
}

static void on_socket(struct watch *w, uint32_t events)
{
    struct unpacking *u = w->owner;
    struct diag d = {0};
    bool extracted = u->unpacker.job == UNPACKER_EXTRACT;
    int r = unpacker_on_socket(&u->unpacker, &u->result, extracted ? &u->spec : &(struct spec *){NULL}, &d);

    if (r == -EAGAIN)
        return;
    close_unpacker(u);
    if (r < 0) {
        diag_clean(&d);
        d.err = package_error(d.err);
    } else if (extracted) {
        memcpy(u->notes, u->result.notes, sizeof(u->notes));
        r = start_survey(u, &d);
        if (r == 0)
            return;
    }
    u->on_end(u->owner, &d);
}

static void start_clocks(struct unpacking *u)
{
    u->begun_ns = u->moved_ns = clock_mono_ns();
    u->timer = (struct timer){.on_expire = on_look, .owner = u};
    arm_look(u);
}

int unpacking_start(struct unpacking *u, const struct unpacking_of *of, int archive_fd, struct diag *d)
{
    struct unpack_request *req = calloc(1, sizeof(*req));
    int r;

    if (!req)
        return diag_set(d, ENOMEM, "deploy: out of memory");
    *req = (struct unpack_request){.magic = UNPACK_MAGIC, .kind = of->kind, .limits = limits_of(u->manager)};
    if (of->fn)
        req->id = *of->fn;
    if (of->deploy) {
        req->vars_len = of->deploy->vars_len;
        req->sets_len = of->deploy->sets_len;
        memcpy(req->vars, of->deploy->vars, req->vars_len);
        memcpy(req->sets, of->deploy->sets, req->sets_len);
    }
    r = group_make(u->manager, &u->group, d);
    if (r == 0)
        r = start_run(u, &(struct unpacker_start){.job = UNPACKER_EXTRACT, .archive_fd = archive_fd}, req, d);
    free(req);
    if (r == 0)
        start_clocks(u);
    return r;
}

int unpacking_export(struct unpacking *u, const struct unpacking_export *of, struct diag *d)
{
    const struct spec *spec = of->version->spec;
    const struct unpacker_start run = {
        .job = UNPACKER_EXPORT,
        .archive_fd = of->pipe_fd,
        .spec = spec,
        .runtime_fd = of->version->runtime_fd,
        .program_fd = spec->mode == SPEC_MODE_STDIO ? sandbox_kit_init(u->manager->p.kit) : -1,
    };
    struct unpack_request *req = calloc(1, sizeof(*req));
    int r;

    if (!req)
        return diag_set(d, ENOMEM, "export: out of memory");
    *req = (struct unpack_request){.magic = UNPACK_MAGIC, .kind = UNPACK_FUNCTION, .limits = limits_of(u->manager), .id = *of->fn};
    req->exported = (struct unpack_export){
        .version = of->version->number, .has_runtime = run.runtime_fd >= 0, .has_program = run.program_fd >= 0, .deployed_real_ns = of->version->deployed_real_ns};
    r = group_make(u->manager, &u->group, d);
    if (r == 0)
        r = start_run(u, &run, req, d);
    free(req);
    if (r == 0)
        start_clocks(u);
    return r;
}

void unpacking_stop(struct unpacking *u)
{
    loop_disarm(&u->timer);
    close_unpacker(u);
    if (u->group)
        group_leave(u->group);
    u->group = NULL;
    free(u->spec);
    u->spec = NULL;
}
