/* manager.c: the table of functions; requests of the gateway; start and end of everything. One table says what each request does. */
#include "manager.h"

#include "diag.h"
#include "fd.h"
#include "log.h"
#include "secret.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int manager_new(const struct manager_parts *parts, struct manager **ret, struct diag *d)
{
    struct manager *m = calloc(1, sizeof(*m));
    char path[CONFIG_PATH_MAX + 16];
    int r;

    if (!m)
        return diag_set(d, ENOMEM, "out of memory");
    m->p = *parts;
    m->instances_fd = -1;
    if (slots_init(m) < 0) {
        free(m);
        return diag_set(d, ENOMEM, "out of memory");
    }
    hits_init(m);
    snprintf(m->scratch, sizeof(m->scratch), "%.240s/root", parts->config->run);
    r = fd_mkdir_p(AT_FDCWD, m->scratch, 0700);
    if (r == 0) {
        snprintf(path, sizeof(path), "%s/instances", parts->config->run);
        fd_remove_tree(AT_FDCWD, path); /* whoever stood there was ended before we came here */
        r = fd_mkdir_p(AT_FDCWD, path, 0755);
    }
    if (r == 0) {
        m->instances_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        r = m->instances_fd < 0 ? -errno : 0;
    }
    if (r < 0)
        diag_errno(d, -r, "%s: cannot make its directories", parts->config->run);
    else
        r = budget_open(m, d);
    if (r < 0) {
        hits_done(m);
        slots_done(m);
        policies_done(m);
        fd_close(m->instances_fd);
        free(m);
        return r;
    }
    *ret = m;
    return 0;
}

void manager_free(struct manager *m)
{
    if (!m)
        return;
    execs_done(m);
    slots_done(m);
    unpacking_groups_done(m);
    hits_done(m);
    while (m->functions)
        function_free(m->functions);
    policies_done(m);
    if (m->stopped) {
        char path[CONFIG_PATH_MAX + 16];

        snprintf(path, sizeof(path), "%.240s/instances", m->p.config->run);
        rmdir(path);
        rmdir(m->scratch);
    }
    fd_close(m->instances_fd);
    free(m);
}

struct function *manager_function(struct manager *m, const struct fn_id *id)
{
    for (struct function *f = m->functions; f; f = f->next)
        if (name_equal(&f->id, id))
            return f;
    return NULL;
}

void manager_push(struct manager *m, const struct record_head *rec)
{
    m->p.hooks.push(m->p.owner, rec);
}

void manager_reply(struct manager *m, uint64_t client, uint64_t id, const struct function *f, const struct diag *d)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, id), .diag = *d};

    if (f) {
        rec.function = f->number;
        rec.version = f->version ? f->version->v.number : 0;
    }
    m->p.hooks.reply(m->p.owner, client, &rec.head, -1);
}

static int load_one(void *arg, const struct store_function *sf)
{
    struct manager *m = arg;
    struct function *f = function_new(m, &sf->id);
    struct diag d = {0};

    if (!f)
        return -ENOMEM;
    f->scale = sf->scale;
    f->stopped = sf->stopped;
    if (version_open(f, sf->current, &f->version, &d) < 0) {
        log_diag(LOG_ERR, "function cannot be loaded", &d, "function=%s environment=%s", sf->id.name, sf->id.env);
        snprintf(f->last_failure, sizeof(f->last_failure), "%.250s", d.text);
    }
    return 0;
}

int manager_load(struct manager *m, struct diag *d)
{
    int r = store_each(m->p.store, load_one, m, d);

    if (r < 0)
        return r;
    for (struct function *f = m->functions; f; f = f->next) {
        function_push(f);
        function_reconcile(f);
    }
    slots_fill(m);
    return 0;
}

void manager_snapshot(struct manager *m)
{
    for (const struct function *f = m->functions; f; f = f->next)
        function_push(f);
    for (const struct function *f = m->functions; f; f = f->next)
        for (const struct instance *i = f->instances; i; i = i->next) {
            struct record_instance rec;

            instance_record(i, &rec);
            manager_push(m, &rec.head);
        }
}

/* ---- requests ---- */

struct request {
    struct manager *manager;
    uint64_t client;
    const struct record_head *rec;
    struct function *function; /* found by the dispatcher, where the table asks for one */
    int fd;                    /* that came along, borrowed; -1 */
};

/* Returns 0: reply success now; 1: the reply comes later, or none is due; negative: reply the diag. */
typedef int request_fn(struct request *rq, struct diag *d);

static int on_remove(struct request *rq, struct diag *d)
{
    struct function *f = rq->function;

    if (f->deploy || f->removing)
        return diag_set(d, EBUSY, "%s: %s", f->id.name, f->removing ? "it is being removed already" : "a deploy is under way: wait for it");
    f->removing = true;
    f->erase_volumes = ((const struct record_target *)rq->rec)->erase_volumes != 0;
    f->remove_client = rq->client;
    f->remove_id = rq->rec->id;
    function_reconcile(f);
    return 1;
}

/* Of a function that is gone: what a removal has kept. */
static int erase_kept_volumes(struct manager *m, uint64_t client, const struct record_target *rec, struct diag *d)
{
    struct record_reply reply = {.head = RECORD_INIT(RECORD_REPLY, rec->head.id)};
    struct fn_id id;
    int r = name_make(rec->fn.name, rec->fn.env, &id, d);

    if (r == 0)
        r = volumes_remove(m->p.volumes, &id, true, d);
    if (r == 0)
        return diag_set(d, ENOENT, "there is no function %s, and no volume of one", id.name);
    if (r < 0)
        return r;
    reply.volumes = (uint32_t)r;
    m->p.hooks.reply(m->p.owner, client, &reply.head, -1);
    return 1;
}

int manager_check_scale(const struct manager *m, const char *name, uint32_t replicas, struct diag *d)
{
    unsigned most = m->p.config->slots_max;

    return replicas <= most ? 0 : diag_set(d, EINVAL, "%s: %u instances are more than this host's %u slots (runner.slots_max)", name, replicas, most);
}

static int on_scale(struct request *rq, struct diag *d)
{
    const struct record_scale *rec = (const struct record_scale *)rq->rec;
    struct function *f = rq->function;
    int r = rec->replicas == RECORD_SCALE_AUTO ? 0 : manager_check_scale(rq->manager, f->id.name, rec->replicas, d);

    if (r == 0 && rec->replicas != RECORD_SCALE_AUTO && f->version)
        r = budget_scale(f, f->version->v.spec, rec->replicas, d);
    if (r < 0)
        return r;
    r = store_set_scale(rq->manager->p.store, &f->id, rec->replicas, d);
    if (r < 0)
        return r;
    f->scale = rec->replicas;
    function_push(f);
    function_reconcile(f);
    return 0;
}

static int set_stopped(struct request *rq, bool stopped, struct diag *d)
{
    struct function *f = rq->function;
    int r = store_set_stopped(rq->manager->p.store, &f->id, stopped, d);

    if (r < 0)
        return r;
    f->stopped = stopped;
    f->next_start_ns = 0; /* a person asked: no more waiting for the end of a delay */
    function_push(f);
    function_reconcile(f);
    return 0;
}

static int on_start(struct request *rq, struct diag *d)
{
    return set_stopped(rq, false, d);
}

static int on_stop(struct request *rq, struct diag *d)
{
    return set_stopped(rq, true, d);
}

static int on_restart(struct request *rq, struct diag *d)
{
    struct function *f = rq->function;

    if (f->stopped)
        return diag_set(d, EINVAL, "%s is stopped: start it instead", f->id.name);
    for (struct instance *i = f->instances; i; i = i->next)
        i->outdated = !i->deploy;
    f->one_by_one = true;
    f->next_start_ns = 0;
    function_reconcile(f);
    return 0;
}

static int on_log_open(struct request *rq, struct diag *d)
{
    const struct record_target *rec = (const struct record_target *)rq->rec;
    struct record_reply reply = {.head = RECORD_INIT(RECORD_REPLY, rec->head.id), .function = rq->function->number};
    struct manager *m = rq->manager;
    cleanup_fd int dir = store_log_dir(m->p.store, &rq->function->id, d), log = -1;
    char instance[NAME_INSTANCE_MAX + 1], name[NAME_INSTANCE_MAX + 8];

    if (dir < 0)
        return dir;
    str_copy(instance, sizeof(instance), rec->instance);
    if (!instance[0] && store_log_newest(m->p.store, &rq->function->id, instance) < 0)
        return diag_set(d, ENOENT, "%s: no instance has written a log yet", rq->function->id.name);
    if (!name_instance_valid(instance))
        return diag_set(d, EINVAL, "\"%.64s\" is not the name of an instance", instance);
    snprintf(name, sizeof(name), "%s.log", instance);
    log = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (log < 0)
        return diag_set(d, ENOENT, "%s has no instance %s with a log", rq->function->id.name, instance);
    m->p.hooks.reply(m->p.owner, rq->client, &reply.head, log);
    return 1;
}

static int send_text(struct request *rq, const struct strbuf *out, struct diag *d)
{
    struct record_text *text = out->failed ? NULL : calloc(1, sizeof(*text));

    if (!text)
        return diag_set(d, ENOMEM, "out of memory");
    for (size_t at = 0; at < out->len; at += text->len) {
        text->head = (struct record_head)RECORD_INIT(RECORD_TEXT, rq->rec->id);
        text->len = (uint32_t)(out->len - at < RECORD_TEXT_MAX ? out->len - at : RECORD_TEXT_MAX);
        memcpy(text->text, out->data + at, text->len);
        rq->manager->p.hooks.reply(rq->manager->p.owner, rq->client, &text->head, -1);
    }
    free(text);
    return 0;
}

/* The plan of the next instance, as if it took slot 0. */
static int on_plan(struct request *rq, struct diag *d)
{
    struct manager *m = rq->manager;
    struct function *f = rq->function;
    const struct config *c = m->p.config;
    cleanup_strbuf struct strbuf out = {0};
    struct net_slot_names names;
    struct plan *plan = NULL;
    struct plan_input in;
    dev_t devices[SPEC_DEVICES_MAX];
    int r;

    if (!f->version)
        return diag_set(d, ENOENT, "%s has no version to plan for", f->id.name);
    r = net_slot_names(m->p.net_options, 0, &names);
    in = (struct plan_input){.spec = f->version->v.spec,
                             .id = &f->id,
                             .instance = "INSTANCE",
                             .version = f->version->v.number,
                             .addr = names.addr,
                             .addr6 = names.addr6,
                             .gateway_addr = names.bridge_addr,
                             .dns = config_has_dns(c),
                             .uid_base = c->uid_base + c->slot_base * SANDBOX_IDS,
                             .timezone = getenv("TZ")};
    in.devices = devices;
    if (r == 0)
        r = permits_devices(in.spec, devices, d);
    if (r == 0)
        r = plan_make(&in, &plan, d);
    if (r == 0) {
        plan_format(plan, &out);
        plan_free(plan);
        strbuf_puts(&out, "network\n  ");
        spec_network_format(f->version->v.spec, &out);
        strbuf_puts(&out, "\n");
    }
    return r == 0 ? send_text(rq, &out, d) : r;
}

static int on_secret(struct request *rq, struct diag *d)
{
    const struct record_secret *rec = (const struct record_secret *)rq->rec;
    struct fn_id id;
    int r = name_make(rec->fn.name, rec->fn.env, &id, d);

    if (r < 0)
        return r;
    if (rec->head.type == RECORD_SECRET_REMOVE)
        return secret_remove(rq->manager->p.store, &id, rec->name, d);
    return secret_set(rq->manager->p.store, &id, rec->name, rec->value, rec->len, d);
}

static int on_secrets_get(struct request *rq, struct diag *d)
{
    const struct record_target *rec = (const struct record_target *)rq->rec;
    cleanup_strbuf struct strbuf out = {0};
    struct fn_id id;
    int r = rec->fn.name[0] ? name_make(rec->fn.name, rec->fn.env, &id, d) : 0;

    if (r == 0)
        r = secret_list(rq->manager->p.store, rec->fn.name[0] ? &id : NULL, &out, d);
    return r == 0 ? send_text(rq, &out, d) : r;
}

static int on_exec(struct request *rq, struct diag *d)
{
    return execs_start(rq->manager, rq->function, rq->client, (const struct record_exec *)rq->rec, rq->fd, d);
}

static void send_stats(struct request *rq, struct instance *i)
{
    const struct spec *spec = i->version->v.spec;
    struct record_stats rec = {.head = RECORD_INIT(RECORD_STATS, rq->rec->id), .instance = i->number};
    struct cg_stats s = {0};

    if (!i->slot || hits_look(i, &s) < 0)
        return;
    rec.memory_bytes = s.memory_bytes;
    rec.memory_max_bytes = s.memory_max_bytes;
    rec.memory_high = s.memory_high;
    rec.cpu_ns = s.cpu_ns;
    rec.cpu_milli = i->hits.cpu_milli;
    rec.cpu_max_milli = spec->cpu_milli;
    rec.throttled_ns = s.throttled_ns;
    rec.throttled = s.throttled;
    rec.io_read_bytes = s.io_read_bytes;
    rec.io_write_bytes = s.io_write_bytes;
    rec.pids = s.pids;
    rec.pids_max = spec->pids;
    rec.oom_kills = s.oom_kills;
    rec.pids_refused = s.pids_refused;
    rq->manager->p.hooks.reply(rq->manager->p.owner, rq->client, &rec.head, -1);
}

static void send_network(struct request *rq)
{
    struct manager *m = rq->manager;
    struct record_network rec = {.head = RECORD_INIT(RECORD_NETWORK, rq->rec->id)};
    struct net_counters c;
    struct diag ignored = {0};

    if (net_counters(m->p.net, &c, &ignored) < 0) /* while somebody else's flush is put right, say */
        return;
    rec.dropped[RECORD_DROP_SPOOFED] = c.spoofed_mac_ip;
    rec.dropped[RECORD_DROP_ARP] = c.spoofed_arp;
    rec.dropped[RECORD_DROP_FRAMES] = c.other_frames;
    rec.dropped[RECORD_DROP_TO_HOST] = c.to_host;
    rec.dropped[RECORD_DROP_EGRESS] = c.egress_refused;
    rec.dropped[RECORD_DROP_MESH] = c.mesh_refused;
    rec.dropped[RECORD_DROP_FROM_OUTSIDE] = c.from_outside;
    rec.dropped[RECORD_DROP_CONNECTIONS] = c.conns_refused;
    rec.restored = c.installs;
    m->p.hooks.reply(m->p.owner, rq->client, &rec.head, -1);
}

static int on_stats(struct request *rq, struct diag *d)
{
    for (struct function *f = rq->manager->functions; f; f = f->next)
        for (struct instance *i = f->instances; i; i = i->next)
            send_stats(rq, i);
    hits_send(rq->manager, rq->client, rq->rec->id);
    send_network(rq);
    budget_send(rq->manager, rq->client, rq->rec->id);
    return 0;
}

static int on_dns_open(struct request *rq, struct diag *d)
{
    return policy_on_dns_open(rq->manager, (const struct record_dns_open *)rq->rec, d);
}

static int on_runtime_remove(struct request *rq, struct diag *d)
{
    return images_remove_name(rq->manager, (const struct record_runtime *)rq->rec, d);
}

static int on_images(struct request *rq, struct diag *d)
{
    return images_send(rq->manager, rq->client, rq->rec->id, d);
}

static int on_prune(struct request *rq, struct diag *d)
{
    return images_prune(rq->manager, rq->client, rq->rec->id, d);
}

static int on_export(struct request *rq, struct diag *d)
{
    return exports_begin(rq->manager, rq->function, rq->client, (const struct record_export *)rq->rec, rq->fd, d);
}

static struct instance *find_instance(struct manager *m, uint64_t number)
{
    for (struct function *f = m->functions; f; f = f->next)
        for (struct instance *i = f->instances; i; i = i->next)
            if (i->number == number)
                return i;
    return NULL;
}

static int on_report(struct request *rq, struct diag *d)
{
    const struct record_report *rec = (const struct record_report *)rq->rec;
    struct instance *i = find_instance(rq->manager, rec->instance);
    struct diag why = {.err = EIO};

    if (!i)
        return 1; /* it went while the report was on its way */
    str_copy(why.text, sizeof(why.text), rec->text);
    diag_clean(&why);
    if (rec->head.type == RECORD_READY)
        instance_on_ready(i);
    else if (rec->head.type == RECORD_IDLE)
        instance_on_idle(i);
    else
        instance_fail(i, why.text[0] ? why.text : "its health check failed");
    return 1;
}

struct request_rule {
    request_fn *fn;
    size_t fn_id_offset; /* where the record names its function; 0: it names none */
};

static const struct request_rule rules[RECORD_TYPE_COUNT] = {
    [RECORD_REMOVE] = {on_remove, offsetof(struct record_target, fn)},
    [RECORD_SCALE] = {on_scale, offsetof(struct record_scale, fn)},
    [RECORD_START] = {on_start, offsetof(struct record_target, fn)},
    [RECORD_STOP] = {on_stop, offsetof(struct record_target, fn)},
    [RECORD_RESTART] = {on_restart, offsetof(struct record_target, fn)},
    [RECORD_LOG_OPEN] = {on_log_open, offsetof(struct record_target, fn)},
    [RECORD_PLAN] = {on_plan, offsetof(struct record_target, fn)},
    [RECORD_EXEC] = {on_exec, offsetof(struct record_exec, fn)},
    [RECORD_STATS_GET] = {on_stats, 0},
    [RECORD_READY] = {on_report, 0},
    [RECORD_UNHEALTHY] = {on_report, 0},
    [RECORD_IDLE] = {on_report, 0},
    [RECORD_DNS_OPEN] = {on_dns_open, 0},
    [RECORD_RUNTIME_REMOVE] = {on_runtime_remove, 0},
    [RECORD_IMAGES_GET] = {on_images, 0},
    [RECORD_PRUNE] = {on_prune, 0},
    [RECORD_SECRET_SET] = {on_secret, 0},
    [RECORD_SECRET_REMOVE] = {on_secret, 0},
    [RECORD_SECRETS_GET] = {on_secrets_get, 0},
    [RECORD_EXPORT] = {on_export, offsetof(struct record_export, fn)},
};

static int find_function(struct request *rq, size_t offset, struct diag *d)
{
    const struct fn_id *named = (const struct fn_id *)((const char *)rq->rec + offset);
    struct fn_id id;
    char text[NAME_FUNCTION_MAX + 1];
    int r = name_make(named->name, named->env, &id, d);

    if (r < 0)
        return r;
    rq->function = manager_function(rq->manager, &id);
    if (!rq->function)
        return diag_set(d, ENOENT, "there is no function %s: `fnctl ls` lists them", name_format(&id, text));
    return 0;
}

void manager_request(struct manager *m, uint64_t client, const struct record_head *rec, int passed_fd)
{
    const struct request_rule *rule = &rules[rec->type];
    struct request rq = {.manager = m, .client = client, .rec = rec, .fd = passed_fd};
    cleanup_fd int stray = passed_fd;
    struct diag d = {0};
    int r = 0;

    if (rec->type == RECORD_DEPLOY) {
        deploy_begin(m, client, (const struct record_deploy *)rec, take_fd(&stray));
        return;
    }
    if (rec->type == RECORD_RUNTIME_PUT) {
        images_put(m, client, (const struct record_runtime *)rec, take_fd(&stray));
        return;
    }
    if (rec->type == RECORD_DEPLOY_END) {
        deploy_end(m, client, (const struct record_deploy_end *)rec);
        images_put_end(m, client, (const struct record_deploy_end *)rec);
        exports_end(m, client, (const struct record_deploy_end *)rec);
        return;
    }
    if (!rule->fn)
        r = diag_set(&d, ENOTSUP, "request %s is not one for the runner", record_name(rec->type));
    if (r == 0 && rule->fn_id_offset)
        r = find_function(&rq, rule->fn_id_offset, &d);
    if (r == -ENOENT && rec->type == RECORD_REMOVE && ((const struct record_target *)rec)->erase_volumes)
        r = erase_kept_volumes(m, client, (const struct record_target *)rec, &d);
    else if (r == 0)
        r = rule->fn(&rq, &d);
    if (r <= 0 && rec->id != 0)
        manager_reply(m, client, rec->id, rq.function, &d);
}

void manager_client_gone(struct manager *m, uint64_t client)
{
    deploy_client_gone(m, client);
    images_client_gone(m, client);
    exports_client_gone(m, client);
    for (struct function *f = m->functions; f; f = f->next) {
        if (f->remove_client == client)
            f->remove_id = 0;
        for (struct instance *i = f->instances; i; i = i->next)
            if (i->stop == STOP_DRAIN)
                instance_on_idle(i); /* nobody is left who could send it requests or say when the last is over */
    }
}

/* ---- the end ---- */

void manager_check_stopped(struct manager *m)
{
    if (m->stopped)
        return;
    for (const struct function *f = m->functions; f; f = f->next)
        if (f->instances)
            return;
    if (!slots_empty(m))
        return;
    m->stopped = true;
    m->p.hooks.on_stopped(m->p.owner);
}

void manager_stop(struct manager *m)
{
    m->hurry = m->stopping || m->p.config->ephemeral;
    m->stopping = true;
    deploy_abort_all(m);
    images_abort_all(m);
    exports_abort_all(m);
    slots_end_idle(m);
    for (struct function *f = m->functions; f; f = f->next)
        for (struct instance *i = f->instances, *next; i; i = next) {
            next = i->next;
            instance_stop(i, !m->hurry);
        }
    manager_check_stopped(m);
}
