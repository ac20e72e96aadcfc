/*
 * function.c: what a function wants to have, and the one place that moves it there.
 *
 * function_reconcile() compares what lives with what is wanted and starts or drains the difference. It may be called at any time and any number of times; everything that changes a function ends in it.
 * Instances of an older version, or marked by a restart, are kept until a replacement is READY. After a failure the next start waits: 100 ms, doubling to 30 s, reset when an instance was READY for 60 s.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "log.h"
#include "str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_NS      (100 * NS_PER_MS)
#define BACKOFF_MAX_NS      (30 * NS_PER_SEC)
#define CRASH_LOOP_FAILURES 4U
#define REFUSED_AGAIN_NS    (2 * NS_PER_SEC)

static void function_on_retry(struct timer *t)
{
    function_reconcile(t->owner);
}

struct function *function_new(struct manager *m, const struct fn_id *id)
{
    struct function *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    *f = (struct function){.manager = m, .number = ++m->next_number, .id = *id, .scale = STORE_SCALE_AUTO, .next = m->functions};
    f->retry_timer = (struct timer){.on_expire = function_on_retry, .owner = f};
    m->functions = f;
    return f;
}

static void function_freed(void *arg)
{
    free(arg);
}

/* Out of the table at once; the memory goes at the end of the turn, since callers up the stack may still look at it. */
void function_free(struct function *f)
{
    struct function **at = &f->manager->functions;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    loop_disarm(&f->retry_timer);
    version_put(f->version);
    f->version = NULL;
    if (loop_defer(f->manager->p.loop, function_freed, f) < 0)
        log_msg(LOG_WARNING, "function leaked", "function=%s", f->id.name);
}

static bool has_instances(const void *arg, uint32_t number)
{
    const struct function *f = arg;

    for (const struct instance *i = f->instances; i; i = i->next)
        if (i->version->v.number == number)
            return true;
    return false;
}

/* Not while a deploy is under way: its version is not current yet, and may have no instance yet. */
void function_prune(struct function *f)
{
    struct store_keep k = {.in_use = has_instances, .arg = f};
    struct diag diag = {0};
    int r;

    if (f->deploy || f->removing || !f->version)
        return;
    k.current = f->version->v.number;
    k.keep = f->version->v.spec->keep;
    r = store_prune(f->manager->p.store, &f->id, &k, &diag);
    if (r < 0)
        log_diag(LOG_WARNING, "old versions not removed", &diag, "function=%s", f->id.name);
    f->prune_due = r > 0;
}

void function_log_name(const struct function *f, char buf[NAME_FUNCTION_MAX + 1])
{
    name_format(&f->id, buf);
}

/* Never more than there can be slots for, whoever asked: each one that waits for a slot costs memory and time. */
uint32_t function_wanted(const struct function *f)
{
    const struct spec *spec = f->version ? f->version->v.spec : NULL;
    uint32_t most = f->manager->p.config->slots_max, wanted;

    if (!spec || f->stopped || f->removing || f->manager->stopping)
        return 0;
    if (f->scale != STORE_SCALE_AUTO)
        wanted = f->scale;
    else
        wanted = spec->scale_min > 0 ? spec->scale_min : 1;
    return wanted < most ? wanted : most;
}

static void put_network(const struct spec *s, struct record_function *rec)
{
    cleanup_strbuf struct strbuf text = {0};

    spec_network_format(s, &text);
    if (text.failed)
        return;
    if (text.len >= sizeof(rec->network))
        memcpy(text.data + sizeof(rec->network) - 4, "...", 4);
    str_copy(rec->network, sizeof(rec->network), text.data);
}

static void http_push(const struct function *f)
{
    const struct record_http rec = {.head = RECORD_INIT(RECORD_HTTP, 0), .function = f->number, .http = f->version->v.spec->http};

    manager_push(f->manager, &rec.head);
}

void function_push(const struct function *f)
{
    struct record_function rec = {.head = RECORD_INIT(RECORD_FUNCTION, 0),
                                  .function = f->number,
                                  .fn = f->id,
                                  .state = f->removing  ? FUNCTION_GONE
                                           : f->stopped ? FUNCTION_STOPPED
                                                        : FUNCTION_ACTIVE,
                                  .scale = f->scale,
                                  .wanted = function_wanted(f),
                                  .restarts = f->restarts,
                                  .crash_loop = f->failures >= CRASH_LOOP_FAILURES,
                                  .retry_mono_ns = f->next_start_ns};
    struct manager *m = f->manager;

    if (f->version) {
        const struct store_version *v = &f->version->v;
        const struct spec *s = v->spec;

        rec.version = v->number;
        rec.port = s->port;
        rec.concurrency = s->concurrency;
        rec.queue = s->queue;
        rec.health_threshold = s->health_threshold;
        rec.scale_min = s->scale_min;
        rec.scale_max = s->scale_max;
        rec.cpu_milli = s->cpu_milli;
        rec.pids = s->pids;
        rec.memory_bytes = s->memory_bytes;
        rec.tmp_bytes = s->tmp_bytes;
        rec.timeout_ns = s->timeout_ns;
        rec.queue_timeout_ns = s->queue_timeout_ns;
        rec.stream_idle_ns = s->stream_idle_ns;
        rec.health_interval_ns = s->health_interval_ns;
        rec.image_bytes = v->image_bytes;
        rec.deployed_real_ns = v->deployed_real_ns;
        str_copy(rec.image, sizeof(rec.image), v->image);
        str_copy(rec.application, sizeof(rec.application), s->application);
        str_copy(rec.health_path, sizeof(rec.health_path), s->health_path);
        put_network(s, &rec);
    }
    str_copy(rec.last_failure, sizeof(rec.last_failure), f->last_failure);
    str_copy(rec.last_failed_instance, sizeof(rec.last_failed_instance), f->last_failed_instance);
    manager_push(m, &rec.head);
    if (f->removing)
        return;
    policy_push(f);
    if (f->version)
        http_push(f);
}

void function_failed(struct function *f, const struct instance *i)
{
    str_copy(f->last_failure, sizeof(f->last_failure), i->reason);
    str_copy(f->last_failed_instance, sizeof(f->last_failed_instance), i->name);
    if (!i->deploy) { /* a version that never worked says nothing about the current one */
        f->failures++;
        f->restarts++;
        f->backoff_ns = f->backoff_ns ? f->backoff_ns * 2 : BACKOFF_MIN_NS;
        if (f->backoff_ns > BACKOFF_MAX_NS)
            f->backoff_ns = BACKOFF_MAX_NS;
        f->next_start_ns = clock_mono_ns() + f->backoff_ns;
    }
    function_push(f);
}

void function_proved(struct function *f)
{
    bool was = f->failures > 0;

    f->failures = 0;
    f->backoff_ns = 0;
    if (was)
        function_push(f);
}

struct census {
    uint32_t current, current_ready, old, old_ready;
};

static bool is_current(const struct function *f, const struct instance *i)
{
    return i->version == f->version && !i->outdated;
}

static struct census take_census(const struct function *f)
{
    struct census c = {0};

    for (const struct instance *i = f->instances; i; i = i->next) {
        bool ready = i->state == INSTANCE_READY;

        if (!instance_live(i) || i->deploy)
            continue;
        if (is_current(f, i)) {
            c.current++;
            c.current_ready += ready;
        } else {
            c.old++;
            c.old_ready += ready;
        }
    }
    return c;
}

/* Beyond the host's budget: it is no failure of the function's, and is tried again when something may have gone. */
static void refuse_start(struct function *f, const struct diag *d)
{
    char text[sizeof(f->last_failure)];

    snprintf(text, sizeof(text), "%.250s", d->text);
    if (strcmp(text, f->last_failure) != 0) {
        str_copy(f->last_failure, sizeof(f->last_failure), text);
        f->last_failed_instance[0] = '\0';
        log_diag(LOG_WARNING, "start refused", d, "function=%s environment=%s", f->id.name, f->id.env);
        function_push(f);
    }
    loop_arm_in(f->manager->p.loop, &f->retry_timer, REFUSED_AGAIN_NS);
}

/* One more of the current version; false when it has to wait. */
static bool start_one(struct function *f)
{
    uint64_t now = clock_mono_ns();
    struct diag d = {0};

    if (now < f->next_start_ns) {
        loop_arm(f->manager->p.loop, &f->retry_timer, f->next_start_ns);
        return false;
    }
    if (budget_start(f, f->version->v.spec, &d) < 0) {
        refuse_start(f, &d);
        return false;
    }
    if (!instance_new(f, f->version, NULL)) {
        loop_arm_in(f->manager->p.loop, &f->retry_timer, NS_PER_SEC);
        return false;
    }
    return true;
}

/* Which one goes first: one that is not ready yet, then the newest (the list begins with the newest). */
static struct instance *pick_surplus(struct function *f, bool current)
{
    struct instance *ready = NULL;

    for (struct instance *i = f->instances; i; i = i->next) {
        if (!instance_live(i) || i->deploy || is_current(f, i) != current)
            continue;
        if (i->state != INSTANCE_READY)
            return i;
        if (!ready)
            ready = i;
    }
    return ready;
}

/* The last of a removed function: its files go, and the request is answered. */
static void finish_removal(struct function *f)
{
    struct manager *m = f->manager;
    struct record_reply reply = {.head = RECORD_INIT(RECORD_REPLY, f->remove_id), .function = f->number};
    int volumes;

    f->removed = true;
    if (store_remove(m->p.store, &f->id, &reply.diag) < 0)
        log_diag(LOG_ERR, "function not removed from the store", &reply.diag, "function=%s", f->id.name);
    volumes = volumes_remove(m->p.volumes, &f->id, f->erase_volumes, &reply.diag);
    if (volumes < 0)
        log_diag(LOG_ERR, "volumes not removed", &reply.diag, "function=%s", f->id.name);
    reply.volumes = volumes > 0 ? (uint32_t)volumes : 0;
    function_push(f);
    if (f->remove_id)
        m->p.hooks.reply(m->p.owner, f->remove_client, &reply.head, -1);
    function_free(f);
}

static void start_missing(struct function *f, uint32_t wanted)
{
    struct census c = take_census(f);

    while (c.current < wanted) {
        if (f->one_by_one && c.old > 0 && c.current > c.current_ready)
            return;
        if (!start_one(f))
            return;
        c = take_census(f); /* a start may have failed at once */
        if (c.current < wanted && clock_mono_ns() < f->next_start_ns) {
            loop_arm(f->manager->p.loop, &f->retry_timer, f->next_start_ns);
            return;
        }
    }
}

static void drain_surplus(struct function *f, uint32_t wanted)
{
    struct census c = take_census(f);
    struct instance *i;

    for (; c.current > wanted; c = take_census(f)) {
        i = pick_surplus(f, true);
        if (!i)
            break;
        instance_stop(i, true);
    }
    for (; c.old > 0 && (c.current_ready + c.old > wanted || c.old > c.old_ready); c = take_census(f)) {
        i = pick_surplus(f, false);
        if (!i)
            break;
        instance_stop(i, true);
    }
    if (c.old == 0)
        f->one_by_one = false;
}

void function_reconcile(struct function *f)
{
    uint32_t wanted = function_wanted(f);

    if (f->removed || (f->manager->stopping && !f->instances))
        return;
    if (f->removing && !f->instances && !f->deploy) {
        finish_removal(f);
        return;
    }
    drain_surplus(f, wanted); /* first: while instances are replaced, there is never more than one too many */
    if (f->version && !f->removing && !f->removed)
        start_missing(f, wanted);
}
