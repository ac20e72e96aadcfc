/* worker.c: puts the rooms together: what the runner says goes to the picture, what the picture tells goes to upstream/ and health/. */
#include "worker.h"

#include "auth/auth.h"
#include "clock.h"
#include "diag.h"
#include "dns/dns.h"
#include "fd.h"
#include "health/health.h"
#include "http/http.h"
#include "log.h"
#include "log/access_log.h"
#include "metrics/metrics.h"
#include "team.h"
#include "tls/tls.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define TRIM_NS           (2 * NS_PER_SEC)
#define FRESH_NS          NS_PER_SEC /* a client whose connection was accepted just before the end may still ask */
#define DESCRIPTORS_OTHER 128U       /* listeners, link, logs, probes, places reserved for admin and API */
#define DESCRIPTORS_FEW   4096U      /* connections need them more than pipes do */

struct loop *worker_loop(struct worker *w)
{
    return w->loop;
}

struct link *worker_link(struct worker *w)
{
    return w->link;
}

struct picture *worker_picture(struct worker *w)
{
    return &w->picture;
}

struct auth *worker_auth(struct worker *w)
{
    return w->auth;
}

/* ---- the picture's events ---- */

static void on_function(void *owner, struct gw_function *f, bool is_new)
{
    struct worker *w = owner;

    if (is_new && upstream_function_new(w, f) < 0)
        log_msg(LOG_ERR, "out of memory", "function=%s", f->rec.fn.name);
    else if (f->queue)
        upstream_wake(w, f);
}

static void on_function_gone(void *owner, struct gw_function *f)
{
    struct worker *w = owner;

    if (w->dns)
        dns_function_gone(w->dns, f);
    upstream_function_gone(w, f);
}

/* What could not be made for want of memory is tried again at the next record of the instance. */
static bool instance_complete(struct worker *w, struct gw_instance *inst)
{
    if (!inst->function->queue && upstream_function_new(w, inst->function) < 0)
        return false;
    if (!inst->upstream && upstream_instance_new(w, inst) < 0)
        return false;
    return !w->dns || inst->health || health_instance_new(w, inst) == 0; /* probes are worker 0's, as DNS is */
}

static void on_instance(void *owner, struct gw_instance *inst, uint32_t old_state, uint32_t heard)
{
    struct worker *w = owner;

    if ((w->dns && dns_instance(w->dns, inst) < 0) || !instance_complete(w, inst)) {
        log_msg(LOG_ERR, "out of memory", "instance=%s", inst->rec.name);
        return;
    }
    if (w->dns && inst->rec.state == INSTANCE_STARTING && old_state != INSTANCE_STARTING)
        metrics_start(inst->function->counters);
    if (inst->health)
        health_instance_changed(inst, old_state, heard);
    upstream_instance_changed(w, inst, old_state);
}

static void on_instance_gone(void *owner, struct gw_instance *inst)
{
    struct worker *w = owner;

    metrics_instance_gone(inst);
    if (w->dns)
        dns_instance_gone(w->dns, inst);
    health_instance_gone(inst);
    if (inst->function->queue)
        upstream_instance_gone(w, inst);
}

static const struct picture_events picture_events = {
    .on_function = on_function,
    .on_function_gone = on_function_gone,
    .on_instance = on_instance,
    .on_instance_gone = on_instance_gone,
};

/* ---- the runner ---- */

/* -1: none. A log that has come stays until all files have come again without one (RECORD_FILES). */
static void take_access_log(struct worker *w, int fd)
{
    int r = access_log_set(w->picture.gateway->log, fd, w->picture.settings.access_log_json ? ACCESS_JSON : ACCESS_TEXT);

    w->has_access_log = fd >= 0;
    if (r < 0)
        log_msg(LOG_ERR, "no access log", "error=\"%s\"", strerror(-r));
}

/* Worker 0 has them for all. */
static struct tls *certificates(const struct worker *w)
{
    return w->picture.worker == 0 ? w->picture.gateway->tls : NULL;
}

/* Records that the picture does not keep; after it has seen them. */
static int on_other_record(struct worker *w, const struct record_head *rec)
{
    const struct record_policy *policy = (const struct record_policy *)rec;

    switch (rec->type) {
    case RECORD_WELCOME:
        bridge_listener_on_welcome(w);
        if (w->dns)
            dns_on_welcome(w->dns);
        if (certificates(w))
            tls_on_welcome(certificates(w));
        return 0;
    case RECORD_SETTINGS:
        if (certificates(w))
            tls_offer_h2(certificates(w), w->picture.settings.h2);
        return 0;
    case RECORD_SYNCED:
        bridge_listener_on_synced(w);
        if (w->dns)
            dns_on_synced(w->dns);
        return 0;
    case RECORD_FILES:
        if (w->dns && !w->has_access_log)
            take_access_log(w, -1);
        w->has_access_log = false;
        if (certificates(w))
            tls_on_files(certificates(w));
        return 0;
    case RECORD_RESOLVERS:
        dns_set_resolvers(w->dns, (const struct record_resolvers *)rec);
        return 0;
    case RECORD_POLICY: /* this and the one above come to worker 0 alone */
        return dns_set_policy(w->dns, picture_function_by_number(&w->picture, policy->function), policy);
    default:
        return 0;
    }
}

/* Descriptors that there may be, at most as many as anybody could mean. */
static unsigned most_descriptors(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return 0;
    return l.rlim_cur < 1U << 20 ? (unsigned)l.rlim_cur : 1U << 20;
}

static unsigned most_connections(void)
{
    unsigned all = most_descriptors(), pipes = all < DESCRIPTORS_FEW ? 0 : 2 * PIPE_POOL_ALL;

    /* Each may need a second descriptor, to an instance. */
    return all < 4 * DESCRIPTORS_OTHER ? DESCRIPTORS_OTHER : (all - DESCRIPTORS_OTHER - pipes) / 2;
}

/* The least of what is allowed and what descriptors allow. One client gets at most a quarter of the connections, the requests of one function at most half: the rest is for others. 0 stays "any number". */
static unsigned at_most(unsigned allowed, unsigned share)
{
    return allowed < share ? allowed : share;
}

static void take_limits(struct worker *w, const struct record_welcome *rec)
{
    unsigned most = most_connections();

    w->pipes.max = most_descriptors() < DESCRIPTORS_FEW ? 0 : pipe_pool_share(w->picture.gateway->workers); /* how many share them is known since now */
    w->conns_max = rec->max_connections ? at_most(rec->max_connections, most) : most;
    w->client_conns_max = at_most(rec->max_connections_per_client, w->conns_max / 4);
    w->function_requests_max = at_most(rec->max_requests_per_function, w->conns_max / 2);
}

void worker_apply(struct worker *w, const struct record_head *rec, struct shared_function *function, struct shared_instance *instance)
{
    if (rec->type == RECORD_WELCOME)
        take_limits(w, (const struct record_welcome *)rec);
    auth_on_record(w->auth, rec);
    metrics_heard(&w->picture, rec);
    if (picture_apply_shared(&w->picture, rec, function, instance) < 0 || on_other_record(w, rec) < 0)
        log_msg(LOG_ERR, "record lost", "type=%s", record_name(rec->type));
}

static void say_listening(struct worker *w)
{
    struct record_listening rec = w->picture.gateway->listening;

    rec.head = (struct record_head)RECORD_INIT(RECORD_LISTENING, 0);
    link_send(w->link, &rec.head);
}

static void on_record(void *owner, const struct record_head *rec)
{
    struct worker *w = owner;

    if (rec->type == RECORD_WELCOME && ((const struct record_welcome *)rec)->protocol != RECORD_PROTOCOL)
        log_msg(LOG_WARNING, "runner speaks another protocol", "ours=%u", RECORD_PROTOCOL);
    if (rec->type == RECORD_WELCOME)
        say_listening(w);
    if (rec->type == RECORD_WELCOME)
        team_on_welcome(w->team, (const struct record_welcome *)rec);
    worker_apply(w, rec, NULL, NULL);
    team_on_record(w->team, rec);
}

/* A listener is anybody's; what else there is, is worker 0's, for all. */
void worker_apply_descriptor(struct worker *w, const struct record_head *rec, int fd)
{
    const struct record_file *file = (const struct record_file *)rec;

    if (rec->type == RECORD_LISTENER)
        worker_bridge_listener(w, (const struct record_listener *)rec, fd);
    else if (rec->type == RECORD_SOCKMAP)
        shortway_hold(w, ((const struct record_sockmap *)rec)->end, fd);
    else if (file->kind == RECORD_FILE_ACCESS_LOG)
        take_access_log(w, fd);
    else if (certificates(w))
        tls_on_file(certificates(w), file, fd);
    else
        fd_close(fd);
}

static void on_descriptor(void *owner, const struct record_head *rec, int fd)
{
    struct worker *w = owner;

    if (!team_on_descriptor(w->team, rec, fd))
        worker_apply_descriptor(w, rec, fd);
}

static bool on_hold(void *owner, const struct record_reply *rec, int fd)
{
    return team_hold(((struct worker *)owner)->team, rec, fd);
}

static void on_down(void *owner)
{
    log_msg(LOG_NOTICE, "runner is away", "what it said last goes on being served");
}

/* ---- the worker ---- */

static void on_again(struct timer *t)
{
    struct worker *w = t->owner;
    w->again_now = w->again; /* who gives way again goes to a new list */
    w->again = NULL;
    while (w->again_now) {
        struct conn *c = w->again_now;

        w->again_now = c->next_again;
        c->again = false;
        conn_run(c);
    }
}

static void stop_conns(struct worker *w, bool late)
{
    for (struct conn *c = w->conns, *next; c; c = next) {
        next = c->next;
        conn_stop(c, late);
    }
}

static void on_grace_over(struct timer *t)
{
    struct worker *w = t->owner;

    if (loop_now_ns(w->loop) >= w->stop_ns) {
        loop_stop(w->loop, 0);
        return;
    }
    stop_conns(w, true);
    loop_arm(w->loop, &w->stop_timer, w->stop_ns);
}

static void on_trim(struct timer *t)
{
    struct worker *w = t->owner;

    buffer_trim(&w->buffers);
    pipe_pool_trim(&w->pipes);
    malloc_trim(0);
    worker_trim_soon(w);
}

void worker_trim_soon(struct worker *w)
{
    if ((w->buffers.nfree > BUFFER_KEEP || w->pipes.nfree > 0) && !w->trim_timer.loop)
        loop_arm_in(w->loop, &w->trim_timer, TRIM_NS);
}

/* Worker 0 has what there is one of. */
static int open_rooms(struct worker *w, const struct worker_parts *p)
{
    static const struct link_events link_events = {.on_record = on_record, .on_descriptor = on_descriptor, .hold = on_hold, .on_down = on_down};
    int r;

    if (p->number > 0)
        return link_open_stub(p->loop, p->real_link, team_box(p->team, p->number), team_box(p->team, 0), &w->link);
    r = link_open(p->loop, p->link_path, &link_events, w, &w->link);
    return r < 0 ? r : dns_new(p->loop, w->link, &w->picture, &w->dns);
}

int worker_new(const struct worker_parts *p, struct worker **ret, struct diag *d)
{
    struct worker *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return diag_set(d, ENOMEM, "out of memory");
    w->loop = p->loop;
    w->team = p->team;
    memset(w->short_maps, 0xff, sizeof(w->short_maps)); /* -1 */
    memset(w->short_maps_before, 0xff, sizeof(w->short_maps_before));
    w->conns_max = most_connections();
    w->pipes.max = most_descriptors() < DESCRIPTORS_FEW ? 0 : pipe_pool_share(p->gateway->workers);
    w->client_conns_max = w->conns_max / 4; /* until the runner says */
    w->function_requests_max = w->conns_max / 2;
    w->again_timer = (struct timer){.on_expire = on_again, .owner = w};
    w->trim_timer = (struct timer){.on_expire = on_trim, .owner = w};
    w->stop_timer = (struct timer){.on_expire = on_grace_over, .owner = w};
    picture_init(&w->picture, p->gateway, p->number, &picture_events, w);
    bridge_listener_init(w);
    r = open_rooms(w, p);
    if (r == 0)
        r = auth_new(w, p->gateway->auth, &w->auth);
    if (r < 0) {
        if (w->dns)
            dns_free(w->dns);
        link_free(w->link);
        free(w);
        return diag_errno(d, -r, "worker %u", p->number);
    }
    *ret = w;
    return 0;
}

int worker_listen(struct worker *w, int fd, struct listener_type type, bool shared, struct diag *d)
{
    cleanup_fd int owned = fd;
    int r;

    if (w->nlisteners == WORKER_LISTENERS_MAX)
        return diag_set(d, ENOSPC, "more than %d listeners", WORKER_LISTENERS_MAX);
    r = listener_open(&w->listeners[w->nlisteners], w, fd, type, shared, d);
    if (r < 0)
        return r;
    take_fd(&owned);
    w->nlisteners++;
    return 0;
}

void worker_unlisten(struct worker *w)
{
    while (w->nlisteners > 0)
        listener_close(&w->listeners[--w->nlisteners]);
}

void worker_over(struct worker *w)
{
    const unsigned conns = atomic_load_explicit(&picture_slot(&w->picture)->conns, memory_order_acquire); /* another worker may have one for us under way */

    if (w->stopping && conns == 0 && (w->picture.worker > 0 || !w->team || team_is_over(w->team)))
        loop_stop(w->loop, 0);
}

void worker_stop(struct worker *w, uint64_t grace_ns)
{
    if (w->stopping)
        return;
    w->stopping = true;
    worker_unlisten(w);
    bridge_listener_close_all(w);
    if (w->dns) {
        link_stay_down(w->link);
        dns_stop(w->dns);
        team_stop(w->team, grace_ns);
    }
    stop_conns(w, false);
    w->stop_ns = clock_mono_ns() + grace_ns;
    loop_arm_in(w->loop, &w->stop_timer, grace_ns < FRESH_NS ? grace_ns : FRESH_NS);
    worker_over(w);
}

/* Outside of the loop: what was deferred does not run any more. */
void worker_free(struct worker *w)
{
    if (!w)
        return;
    worker_unlisten(w);
    bridge_listener_close_all(w);
    w->stopping = w->over = true;
    while (w->conns)
        conn_abort(w->conns);
    shortway_done(w);
    picture_done(&w->picture);
    auth_free(w->auth);
    if (w->dns)
        dns_free(w->dns);
    link_free(w->link);
    loop_disarm(&w->again_timer);
    loop_disarm(&w->stop_timer);
    loop_disarm(&w->trim_timer);
    while (w->free_exchanges) {
        struct exchange *ex = w->free_exchanges;

        w->free_exchanges = ex->next_free;
        free(ex);
    }
    buffer_pool_done(&w->buffers);
    pipe_pool_done(&w->pipes);
    free(w);
}

const char *worker_date(struct worker *w)
{
    uint64_t second = loop_now_ns(w->loop) / NS_PER_SEC;

    if (second != w->date_second) {
        time_t now = (time_t)(clock_real_ns() / NS_PER_SEC);
        struct tm tm;

        gmtime_r(&now, &tm);
        strftime(w->date, sizeof(w->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm); /* the C locale: nobody sets another */
        w->date_second = second;
    }
    return w->date;
}
