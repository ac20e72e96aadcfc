/*
 * instance.c: the life of one instance.
 *
 *   PLANNED    waits for a slot
 *   STARTING   the plan was sent; the gateway probes; fn-init may not have been executed yet
 *   READY      the gateway said so
 *   DRAINING   by our wish: no new requests (the gateway says IDLE, or time is up), then SIGTERM, then the grace, then the kill
 *   GONE       last push; the structure is freed at the end of the turn
 *
 * set_state() is the only place that changes the state. An instance that ends without our wish goes straight to GONE with its reason, and its function is told to count a failure.
 * One timer serves the phase that it is in: start guard, drain, grace.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "ringlog.h"
#include "secret.h"
#include "str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The gateway judges a start by start_timeout; this much later the runner no longer waits for its word. */
#define START_GUARD_EXTRA_NS (5 * NS_PER_SEC)
#define PROVED_AFTER_NS      (60 * NS_PER_SEC)
#define STDIO_GROUPS_MAX     1024U /* of requests that run, and of those that were killed and are not quite dead */

static const unsigned transitions[INSTANCE_STATE_COUNT] = {
    [INSTANCE_EMPTY] = 1U << INSTANCE_PLANNED,
    [INSTANCE_PLANNED] = 1U << INSTANCE_STARTING | 1U << INSTANCE_GONE,
    [INSTANCE_STARTING] = 1U << INSTANCE_READY | 1U << INSTANCE_DRAINING | 1U << INSTANCE_GONE,
    [INSTANCE_READY] = 1U << INSTANCE_DRAINING | 1U << INSTANCE_GONE,
    [INSTANCE_DRAINING] = 1U << INSTANCE_GONE,
};

int version_open(struct function *f, uint32_t number, struct version **ret, struct diag *d)
{
    struct version *v = calloc(1, sizeof(*v));
    int r;

    if (!v)
        return diag_set(d, ENOMEM, "%s: out of memory", f->id.name);
    r = store_version_open(f->manager->p.store, &f->id, number, &v->v, d);
    if (r < 0) {
        free(v);
        return r;
    }
    v->refs = 1;
    v->policy = policy_get(f->manager, f->number, v->v.spec);
    if (!v->policy) {
        version_put(v);
        return diag_set(d, ENOMEM, "%s: out of memory", f->id.name);
    }
    *ret = v;
    return 0;
}

struct version *version_get(struct version *v)
{
    v->refs++;
    return v;
}

void version_put(struct version *v)
{
    if (!v || --v->refs > 0)
        return;
    policy_put(v->policy);
    store_version_done(&v->v);
    free(v);
}

void instance_record(const struct instance *i, struct record_instance *ret)
{
    const struct spec *spec = i->version->v.spec;

    *ret = (struct record_instance){.head = RECORD_INIT(RECORD_INSTANCE, 0),
                                    .instance = i->number,
                                    .function = i->function->number,
                                    .state = i->state,
                                    .version = i->version->v.number,
                                    .port = spec->port,
                                    .started_real_ns = i->started_real_ns,
                                    .ready_ns = i->ready_took_ns};
    str_copy(ret->name, sizeof(ret->name), i->name);
    str_copy(ret->health_path, sizeof(ret->health_path), spec->health_path);
    str_copy(ret->text, sizeof(ret->text), i->reason);
    if (i->slot) {
        ret->slot = i->slot->number;
        ret->addr = i->slot->net.addr.s_addr;
        ret->pid = i->slot->child.pid;
        ret->uid = slot_uid_base(i->slot) + spec->uid;
    }
}

static void instance_log(const struct instance *i, int priority, const char *event)
{
    char fn[NAME_FUNCTION_MAX + 1];

    function_log_name(i->function, fn);
    log_msg(priority, event, "function=%s instance=%s version=%u slot=%d%s%s%s", fn, i->name, i->version->v.number, i->slot ? (int)i->slot->number : -1,
            i->reason[0] ? " reason=\"" : "", i->reason, i->reason[0] ? "\"" : "");
}

static void set_state(struct instance *i, enum instance_state state)
{
    char event[48];
    struct record_instance rec;

    assert(transitions[i->state] & 1U << state);
    i->state = state;
    snprintf(event, sizeof(event), "instance %s", instance_state_name(state));
    instance_log(i, i->failed ? LOG_WARNING : LOG_DEBUG, event);
    instance_record(i, &rec);
    manager_push(i->manager, &rec.head);
}

bool instance_live(const struct instance *i)
{
    return i->stop == STOP_NONE && (i->state == INSTANCE_PLANNED || i->state == INSTANCE_STARTING || i->state == INSTANCE_READY);
}

static void instance_on_timer(struct timer *t);

static bool name_taken(const struct manager *m, const char *name)
{
    for (const struct function *f = m->functions; f; f = f->next)
        for (const struct instance *i = f->instances; i; i = i->next)
            if (strcasecmp(i->name, name) == 0)
                return true;
    return false;
}

struct instance *instance_new(struct function *f, struct version *v, struct deploy *deploy)
{
    struct instance *i = calloc(1, sizeof(*i));
    struct slot *s;

    if (!i)
        return NULL;
    *i = (struct instance){.manager = f->manager, .function = f, .version = version_get(v), .deploy = deploy, .number = ++f->manager->next_number};
    i->timer = (struct timer){.on_expire = instance_on_timer, .owner = i};
    i->started_real_ns = clock_real_ns();
    do {
        if (name_new_instance(&f->id, i->name) < 0) {
            version_put(i->version);
            free(i);
            return NULL;
        }
    } while (name_taken(f->manager, i->name));
    i->next = f->instances;
    f->instances = i;
    set_state(i, INSTANCE_PLANNED);
    s = slots_take(f->manager, v->policy);
    if (s)
        instance_on_slot(i, s);
    else
        slots_fill(f->manager);
    return i;
}

/* RUN/instances/ENV.NAME-xxxxxx: what a person, or a later runner, needs to find the instance: the cgroup is named after the slot. */
static void write_instance_file(const struct instance *i)
{
    char name[NAME_PART_MAX + NAME_INSTANCE_MAX + 2], text[256];
    int len;

    snprintf(name, sizeof(name), "%s.%s", i->function->id.env, i->name);
    len = snprintf(text, sizeof(text), "environment %s\nfunction %s\ninstance %s\nversion %u\nslot %u\ncgroup %s\npid %d\n", i->function->id.env,
                   i->function->id.name, i->name, i->version->v.number, i->slot->number, i->slot->group.name, (int)i->slot->child.pid);
    cleanup_fd int fd = openat(i->manager->instances_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && fd_write_all(fd, text, (size_t)len) < 0)
        unlinkat(i->manager->instances_fd, name, 0);
}

static void remove_instance_file(const struct instance *i)
{
    char name[NAME_PART_MAX + NAME_INSTANCE_MAX + 2];

    snprintf(name, sizeof(name), "%s.%s", i->function->id.env, i->name);
    unlinkat(i->manager->instances_fd, name, 0);
}

static bool log_alive(void *arg, const char *instance)
{
    const struct function *f = arg;

    for (const struct instance *i = f->instances; i; i = i->next)
        if (strcmp(i->name, instance) == 0)
            return true;
    return false;
}

static int open_log(struct instance *i, struct diag *d)
{
    cleanup_fd int dir = store_log_dir(i->manager->p.store, &i->function->id, d);
    char name[NAME_INSTANCE_MAX + 8];
    int fd;

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%s.log", i->name);
    fd = ringlog_create(dir, name);
    return fd < 0 ? diag_errno(d, -fd, "log %s: cannot make", name) : fd;
}

int instance_plan_input(const struct instance *i, struct plan_input *ret, struct diag *d)
{
    const struct config *c = i->manager->p.config;

    *ret = (struct plan_input){.spec = i->version->v.spec,
                               .id = &i->function->id,
                               .instance = i->name,
                               .version = i->version->v.number,
                               .uid_base = slot_uid_base(i->slot),
                               .addr = i->slot->net.addr,
                               .addr6 = i->slot->net.addr6,
                               .gateway_addr = i->slot->net.bridge_addr,
                               .dns = config_has_dns(c),
                               .timezone = getenv("TZ")};
    return sandbox_kit_filter(i->manager->p.kit, plan_allow(i->version->v.spec), &ret->filter, d);
}

/* Mounts the function's volumes and makes mounts of them for the slot's ids. */
static int mount_volumes(struct instance *i, int fds[SPEC_VOLUMES_MAX], struct diag *d)
{
    const struct spec *spec = i->version->v.spec;
    int dirs[SPEC_VOLUMES_MAX], r;
    bool in_use = false;

    for (const struct instance *o = i->function->instances; o; o = o->next)
        in_use |= o != i && o->slot;
    r = volumes_mount(i->manager->p.volumes, &i->function->id, spec, in_use, dirs, d);
    for (uint32_t k = 0; r >= 0 && k < spec->nvolumes; k++)
        r = fds[k] = sandbox_volume_mount(dirs[k], i->slot->idmap_fd, d);
    return r < 0 ? r : 0;
}

/* Limits, image, volumes, log, plan; then the child is told. Everything before the last step can fail without a trace. */
static int start_with_volumes(struct instance *i, const int *volume_fds, struct diag *d)
{
    const struct config *c = i->manager->p.config;
    const struct spec *spec = i->version->v.spec;
    const struct cg_limits limits = {.memory_bytes = spec->memory_bytes,
                                     .memory_high_bytes = spec->memory_high_bytes,
                                     .pids = spec->pids,
                                     .cpu_milli = spec->cpu_milli,
                                     .io_bytes = spec->io_bytes};
    struct plan_input in;
    cleanup_fd int image = -1, runtime = -1, log = -1, group = -1;
    struct sandbox_start start;
    struct secrets secrets;
    struct plan *plan = NULL;
    dev_t devices[SPEC_DEVICES_MAX];
    int r = permits_check(c, spec, d);

    if (r < 0)
        return r;
    r = cg_group_limit(&i->slot->group, &limits, c->best_effort, d);

    if (r < 0)
        return r;
    image = sandbox_image_mount(i->version->v.image_fd, i->slot->idmap_fd, d);
    if (image < 0)
        return image;
    if (spec->runtime[0])
        runtime = sandbox_image_mount(i->version->v.runtime_fd, i->slot->idmap_fd, d);
    if (spec->runtime[0] && runtime < 0)
        return runtime;
    log = open_log(i, d);
    if (log < 0)
        return log;
    hits_begin(i, log, &limits);
    r = instance_plan_input(i, &in, d);
    in.devices = devices;
    if (r == 0)
        r = permits_devices(spec, devices, d);
    if (r < 0)
        return r;
    if (spec->mode == SPEC_MODE_STDIO)
        r = cg_group_delegate(&i->slot->group, in.uid_base + SANDBOX_INIT_ID, STDIO_GROUPS_MAX, &group, d);
    if (r == 0)
        r = secrets_read(i->manager->p.store, &i->function->id, spec, &secrets, d);
    if (r < 0)
        return r;
    in.secrets = secrets.list;
    r = plan_make(&in, &plan, d);
    secrets_done(&secrets);
    if (r < 0)
        return r;
    start = (struct sandbox_start){.plan = plan,
                                   .image_mount_fd = image,
                                   .runtime_mount_fd = runtime,
                                   .userns_fd = i->slot->userns_fd,
                                   .log_fd = log,
                                   .volume_fds = volume_fds,
                                   .group_fd = group};
    set_state(i, INSTANCE_STARTING); /* told before it runs, so that the gateway probes from the first moment on */
    r = sandbox_start(&i->slot->child, &start, d);
    plan_free(plan);
    return r;
}

static int start_in_slot(struct instance *i, struct diag *d)
{
    int fds[SPEC_VOLUMES_MAX], r;

    for (unsigned k = 0; k < SPEC_VOLUMES_MAX; k++)
        fds[k] = -1;
    r = mount_volumes(i, fds, d);
    if (r == 0)
        r = start_with_volumes(i, fds, d);
    for (unsigned k = 0; k < SPEC_VOLUMES_MAX; k++)
        fd_close(fds[k]);
    return r;
}

void instance_on_slot(struct instance *i, struct slot *s)
{
    struct diag d = {0};

    i->slot = s;
    s->instance = i;
    i->started_ns = clock_mono_ns();
    i->started_real_ns = clock_real_ns();
    if (start_in_slot(i, &d) < 0) {
        instance_start_failed(i, &d);
        return;
    }
    write_instance_file(i);
    store_log_prune(i->manager->p.store, &i->function->id, log_alive, i->function);
    loop_arm_in(i->manager->p.loop, &i->timer, i->manager->p.config->start_timeout_ns + START_GUARD_EXTRA_NS);
}

static void instance_free(void *arg)
{
    struct instance *i = arg;

    version_put(i->version);
    free(i);
}

/* The end of it: out of the slot and of the function's list, last push, then whoever waited for it is told. */
static void instance_gone(struct instance *i)
{
    struct function *f = i->function;
    struct slot *s = i->slot;
    struct instance **at = &f->instances;

    loop_disarm(&i->timer);
    set_state(i, INSTANCE_GONE);
    remove_instance_file(i);
    i->slot = NULL;
    if (s) {
        s->instance = NULL;
        slot_end(s);
    }
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    if (i->version != f->version && !f->removing)
        policy_push(f);
    if (i->failed)
        function_failed(f, i);
    if (i->deploy)
        deploy_on_failed(i->deploy, i);
    if (loop_defer(i->manager->p.loop, instance_free, i) < 0)
        log_msg(LOG_WARNING, "instance leaked", "instance=%s", i->name); /* out of memory: better than freeing what somebody up the stack still reads */
    if (i->manager->stopping)
        manager_check_stopped(i->manager);
    if (f->prune_due)
        function_prune(f);
    function_reconcile(f);
}

void instance_start_failed(struct instance *i, const struct diag *d)
{
    i->failed = true;
    snprintf(i->reason, sizeof(i->reason), "could not be started: %.200s", d->text);
    instance_gone(i);
}

void instance_on_running(struct instance *i)
{
    instance_log(i, LOG_DEBUG, "instance executed");
}

/* Why it ended, as well as we can know: the limit it hit, then what fn-init wrote, then how fn-init itself ended. */
static void find_reason(struct instance *i, int status, int code)
{
    struct ringlog_head head = {0};
    cleanup_fd int dir = -1, log = -1;
    char name[NAME_INSTANCE_MAX + 8], size[16];

    if (hits_of_host(i)) {
        str_copy(i->reason, sizeof(i->reason),
                 "out of memory: it was killed below its limit, because all functions together, or the host, ran out (host.memory)");
        return;
    }
    if (i->hits.seen.oom_kills > 0 || (i->slot && slot_had_oom(i->slot))) {
        snprintf(i->reason, sizeof(i->reason), "out of memory: it reached its limit of %s and was killed",
                 str_format_size(i->version->v.spec->memory_bytes, size, sizeof(size)));
        return;
    }
    dir = store_log_dir(i->manager->p.store, &i->function->id, NULL);
    snprintf(name, sizeof(name), "%s.log", i->name);
    if (dir >= 0)
        log = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (log >= 0 && ringlog_read_head(log, &head) == 0 && head.end != RINGLOG_RUNNING && head.reason[0])
        str_copy(i->reason, sizeof(i->reason), head.reason);
    else if (code == CLD_EXITED)
        snprintf(i->reason, sizeof(i->reason), "its fn-init exited with status %d", status);
    else
        snprintf(i->reason, sizeof(i->reason), "killed by signal %d (%s)", status, sigabbrev_np(status) ? sigabbrev_np(status) : "?");
}

void instance_on_exit(struct instance *i, int status, int code)
{
    hits_end(i, i->slot && slot_had_oom(i->slot));
    if (i->stop == STOP_NONE) {
        i->failed = true;
        find_reason(i, status, code);
    }
    instance_gone(i);
}

void instance_on_ready(struct instance *i)
{
    if (i->state != INSTANCE_STARTING || i->stop != STOP_NONE)
        return;
    i->ready_at_ns = clock_mono_ns();
    i->ready_took_ns = i->ready_at_ns - i->started_ns;
    loop_arm_in(i->manager->p.loop, &i->timer, PROVED_AFTER_NS);
    set_state(i, INSTANCE_READY);
    if (i->deploy)
        deploy_on_ready(i->deploy);
    function_reconcile(i->function);
}

/* Where the group cannot be killed (no descriptor left to open its file), the end of fn-init ends its pid namespace; slot_end() sees to the rest. */
static void enter_kill(struct instance *i)
{
    i->stop = STOP_KILL;
    loop_disarm(&i->timer);
    if (cg_group_kill(&i->slot->group) < 0)
        syscall(SYS_pidfd_send_signal, i->slot->child.pid_fd, SIGKILL, NULL, 0);
}

void instance_fail(struct instance *i, const char *why)
{
    if (i->stop != STOP_NONE || i->state == INSTANCE_PLANNED)
        return;
    i->failed = true; /* and its exit brings no other reason */
    snprintf(i->reason, sizeof(i->reason), "%s", why);
    enter_kill(i);
}

static void enter_term(struct instance *i)
{
    uint64_t grace = i->manager->p.config->stop_timeout_ns;

    i->stop = STOP_TERM;
    if (i->manager->hurry && grace > NS_PER_SEC)
        grace = NS_PER_SEC;
    syscall(SYS_pidfd_send_signal, i->slot->child.pid_fd, SIGTERM, NULL, 0);
    loop_arm_in(i->manager->p.loop, &i->timer, grace);
}

void instance_on_idle(struct instance *i)
{
    if (i->stop == STOP_DRAIN)
        enter_term(i);
}

void instance_stop(struct instance *i, bool gently)
{
    if (i->state == INSTANCE_PLANNED) {
        i->stop = STOP_KILL;
        instance_gone(i);
        return;
    }
    if (i->stop == STOP_NONE && i->state != INSTANCE_DRAINING) {
        bool wait = gently && i->state == INSTANCE_READY && i->manager->p.hooks.gateway_up(i->manager->p.owner);

        i->stop = STOP_DRAIN;
        set_state(i, INSTANCE_DRAINING);
        loop_arm_in(i->manager->p.loop, &i->timer, wait ? i->manager->p.config->drain_timeout_ns : 0);
    } else if (!gently && i->stop == STOP_DRAIN) {
        loop_arm_in(i->manager->p.loop, &i->timer, 0);
    }
}

static void instance_on_timer(struct timer *t)
{
    struct instance *i = t->owner;

    if (i->stop == STOP_DRAIN)
        enter_term(i);
    else if (i->stop == STOP_TERM)
        enter_kill(i);
    else if (i->state == INSTANCE_STARTING)
        instance_fail(i, "not ready in time");
    else if (i->state == INSTANCE_READY)
        function_proved(i->function);
}
