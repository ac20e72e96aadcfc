/*
 * deploy.c: from an archive to the current version.
 *
 *   UNPACKING   the jail reads the archive from the gateway's pipe (unpacking.c); two things must come: its result, and the gateway's word that the archive was complete (a tar cut at an entry's end looks whole)
 *   PROVING     the version is published but not current; its first instance must become READY
 *   done        `current` is flipped, old versions are pruned, the reply goes out; function_reconcile() replaces the instances of the version before
 *
 * Whatever goes wrong before the flip leaves the function as it was; a function that had no version disappears again. A gateway that goes away while it uploads takes its deploy along; once the archive is
 * complete, the deploy goes on without it.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "ringlog.h"
#include "secret.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define DEPLOYS_MAX    4U /* at once: each is a process that unpacks */
#define PROVE_EXTRA_NS (10 * NS_PER_SEC)

enum deploy_state { DEPLOY_UNPACKING, DEPLOY_PROVING };

struct deploy {
    struct manager *manager;
    struct deploy *next;
    enum deploy_state state;
    uint64_t client, id; /* of the request; client 0: nobody waits any more */
    struct fn_id fn;     /* name empty until the jail has read function.ini */
    uint32_t replicas;
    bool complete, unpacked;
    struct store_staging staging;
    struct unpacking unpacking;
    struct timer timer;
    struct function *function; /* PROVING */
    struct version *version;
    bool new_function;
};

static void deploy_freed(void *arg)
{
    free(arg);
}

/* Gives back everything but what was published. */
static void deploy_free(struct deploy *d)
{
    struct deploy **at = &d->manager->deploys;

    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    unpacking_stop(&d->unpacking);
    loop_disarm(&d->timer);
    store_staging_drop(d->manager->p.store, &d->staging);
    version_put(d->version);
    d->version = NULL;
    if (loop_defer(d->manager->p.loop, deploy_freed, d) < 0)
        log_msg(LOG_WARNING, "deploy leaked", "function=%s", d->fn.name);
}

/* What the jail had to say besides goes before the reply, and into the log. */
static void deploy_notes(struct deploy *d)
{
    cleanup_free struct record_text *rec = calloc(1, sizeof(*rec));
    const char *notes = d->unpacking.notes;

    for (const char *line = notes; *line; line += strcspn(line, "\n"), line += *line == '\n')
        log_msg(LOG_NOTICE, "deploy note", "function=%s note=\"%.*s\"", d->fn.name, (int)strcspn(line, "\n"), line);
    if (!*notes || !rec || !d->client)
        return;
    *rec = (struct record_text){.head = RECORD_INIT(RECORD_TEXT, d->id), .len = (uint32_t)strlen(notes)};
    memcpy(rec->text, notes, rec->len);
    d->manager->p.hooks.reply(d->manager->p.owner, d->client, &rec->head, -1);
}

static void deploy_reply(struct deploy *d, const struct diag *diag)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, d->id), .diag = *diag, .image_bytes = d->unpacking.result.bytes};

    if (d->function)
        rec.function = d->function->number;
    if (d->version)
        rec.version = d->version->v.number;
    deploy_notes(d);
    if (d->client)
        d->manager->p.hooks.reply(d->manager->p.owner, d->client, &rec.head, -1);
}

/* Ends it without success; what was published goes away again. */
static void deploy_fail(struct deploy *d, const struct diag *diag)
{
    struct function *f = d->function;
    struct manager *m = d->manager;

    log_diag(LOG_WARNING, "deploy failed", diag, "function=%s environment=%s", d->fn.name, d->fn.env);
    if (f) {
        struct diag ignored = {0};

        f->deploy = NULL;
        for (struct instance *i = f->instances, *next; i; i = next) {
            next = i->next;
            if (i->deploy == d) {
                i->deploy = NULL;
                i->outdated = true;
                instance_stop(i, false);
            }
        }
        if (d->new_function)
            f->removing = true;
        else if (d->version && store_drop_version(m->p.store, &f->id, d->version->v.number, &ignored) < 0)
            log_diag(LOG_WARNING, "version not removed", &ignored, "function=%s", f->id.name);
        function_reconcile(
            f); /* before the reply: a function that was new is gone then, unless an instance is still ending; f itself stays until the end of the turn */
    }
    unpacking_stop(&d->unpacking);
    store_staging_drop(m->p.store, &d->staging);
    deploy_reply(d, diag);
    deploy_free(d);
}

#define LAST_MAX     300
#define FROM_RUNTIME "fnd: " /* how a line begins that says all of it: of what starts handlers (rootfs/README.md) */

/* The last lines of the failed instance's log, on one line, for the message: they are what its author needs most. */
static void add_last_lines(struct deploy *d, const char *instance, struct diag *diag)
{
    cleanup_fd int dir = store_log_dir(d->manager->p.store, &d->function->id, NULL), log = -1;
    char name[NAME_INSTANCE_MAX + 8], text[2048];
    uint64_t pos, lost;
    int64_t n;
    size_t len = strlen(diag->text);
    const char *last;

    snprintf(name, sizeof(name), "%s.log", instance);
    log = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (log < 0 || ringlog_seek_lines(log, 3, &pos) < 0)
        return;
    n = ringlog_read(log, &pos, text, sizeof(text) - 1, &lost);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    if (n <= 0) {
        snprintf(diag->text + len, sizeof(diag->text) - len, "; it wrote nothing to its log");
        return;
    }
    text[n] = '\0';
    last = memrchr(text, '\n', (size_t)n);
    last = last && strncmp(last + 1, FROM_RUNTIME, sizeof(FROM_RUNTIME) - 1) == 0 ? last + 1 : n > LAST_MAX ? text + n - LAST_MAX : text;
    for (char *p = text; p < text + n; p++)
        if ((unsigned char)*p < 0x20)
            *p = *p == '\n' ? '|' : '?';
    snprintf(diag->text + len, sizeof(diag->text) - len, "; its last lines: %.300s", last);
}

/* What to do about the reasons that say nothing of it; those of a handler come from its runtime. */
static const char *remedy_of(const struct spec *s, const char *reason)
{
    static const struct {
        const char *reason, *remedy;
    } known[] = {
        {"exited with status 0", " (a function is a server that stays; what answers one request and ends is mode = stdio)"},
        {"Connection refused", " (it must listen on 0.0.0.0 and the port that the variable PORT says; else [function] port says its own)"},
        {"its interpreter or loader is not in the image", " (link it statically, or package what `ldd` or its first line names)"},
    };

    if (!s->handler[0] && !strchr(s->strings, '/') && strncmp(reason, "cannot execute ", 15) == 0 && strstr(reason, "No such file"))
        return " (looked for in PATH; a program of the package is written with a '/', as ./NAME)";
    for (size_t k = 0; s->mode == SPEC_MODE_HTTP && !s->handler[0] && k < sizeof(known) / sizeof(known[0]); k++)
        if (strstr(reason, known[k].reason))
            return known[k].remedy;
    return "";
}

void deploy_on_failed(struct deploy *d, const struct instance *i)
{
    const struct spec *s = d->version->v.spec;
    struct diag diag = {0};

    diag_set(&diag, ECHILD, "%s: version %u (%s%.60s) did not become ready: %.180s%s", d->fn.name, d->version->v.number, s->handler[0] ? "handler = " : "",
             s->handler[0] ? s->handler : s->strings, i->reason[0] ? i->reason : "it was stopped", remedy_of(s, i->reason));
    add_last_lines(d, i->name, &diag);
    deploy_fail(d, &diag);
}

static void deploy_on_timer(struct timer *t)
{
    struct deploy *d = t->owner;
    struct diag diag = {0};

    diag_set(&diag, ETIMEDOUT, "%s: version %u had no slot and no answer in time", d->fn.name, d->version ? d->version->v.number : 0);
    deploy_fail(d, &diag);
}

/* Makes the version current. From here on it is the function's own. */
static int deploy_flip(struct deploy *d, struct diag *diag)
{
    struct manager *m = d->manager;
    struct function *f = d->function;
    struct diag undo = {0};
    int r;

    if (d->replicas > 0) {
        r = store_set_scale(m->p.store, &f->id, d->replicas, diag);
        if (r < 0)
            return r;
    }
    r = store_set_current(m->p.store, &f->id, d->version->v.number, diag);
    if (r < 0) {
        if (d->replicas > 0 && store_set_scale(m->p.store, &f->id, f->scale, &undo) < 0)
            log_diag(LOG_WARNING, "scale of a failed deploy stays", &undo, "function=%s environment=%s", f->id.name, f->id.env);
        return r;
    }
    if (d->replicas > 0)
        f->scale = d->replicas;
    version_put(f->version);
    f->version = version_get(d->version);
    f->failures = f->restarts = 0;
    f->backoff_ns = f->next_start_ns = 0;
    f->last_failure[0] = f->last_failed_instance[0] = '\0';
    return 0;
}

void deploy_on_ready(struct deploy *d)
{
    struct function *f = d->function;
    struct diag diag = {0};

    if (deploy_flip(d, &diag) < 0) {
        deploy_fail(d, &diag);
        return;
    }
    for (struct instance *i = f->instances; i; i = i->next)
        if (i->deploy == d)
            i->deploy = NULL;
    f->deploy = NULL;
    log_msg(LOG_INFO, "deployed", "function=%s environment=%s version=%u image=%.12s", f->id.name, f->id.env, d->version->v.number, d->version->v.image);
    function_push(f);
    function_reconcile(f); /* before the reply: whoever asks after it must not get the version before, where one instance is wanted */
    deploy_reply(d, &diag);
    function_prune(f);
    deploy_free(d);
}

static int deploy_find_function(struct deploy *d, struct diag *diag)
{
    struct manager *m = d->manager;
    struct function *f = manager_function(m, &d->fn);

    if (f && (f->deploy || f->removing))
        return diag_set(diag, EBUSY, "%s: %s: wait for it, then deploy again", d->fn.name, f->removing ? "it is being removed" : "another deploy is under way");
    if (!f) {
        f = function_new(m, &d->fn);
        if (!f)
            return diag_set(diag, ENOMEM, "%s: out of memory", d->fn.name);
        d->new_function = true;
    }
    d->function = f;
    f->deploy = d;
    return 0;
}

/* As many instances as there will be, in the place of those of the version before; and the image. */
static int deploy_budget(struct deploy *d, const struct spec *spec, struct diag *diag)
{
    uint32_t n = d->replicas > 0 ? d->replicas : function_wanted(d->function);
    int r = budget_scale(d->function, spec, n > 0 ? n : 1, diag);

    return r < 0 ? r : budget_disk(d->manager, d->unpacking.result.bytes, diag);
}

/* Archive whole and unpacked: publish the version. */
static int deploy_publish(struct deploy *d, struct diag *diag)
{
    cleanup_free struct spec *spec = take_ptr(d->unpacking.spec);
    struct manager *m = d->manager;
    char runtime[65];
    uint32_t number;
    int r;

    unpacking_stop(&d->unpacking);
    if (!d->fn.name[0])
        str_copy(d->fn.name, sizeof(d->fn.name), spec->name);
    r = name_make(d->fn.name, d->fn.env, &d->fn, diag);
    if (r < 0)
        return r;
    r = deploy_find_function(d, diag);
    if (r < 0)
        return r;
    r = spec->runtime[0] ? store_runtime_find(m->p.store, spec->runtime, runtime, diag) : 0;
    if (r == -ENOENT) /* no function is missing: the code is one of its own, so that whoever has the runtime can give it */
        r = -(diag->err = ENOPKG);
    if (r == 0)
        r = permits_check(m->p.config, spec, diag);
    if (r == 0)
        r = volumes_check(m->p.volumes, &d->function->id, spec, diag);
    if (r == 0)
        r = claims_check(d->function, spec, diag);
    if (r == 0)
        r = secrets_check(m->p.store, &d->function->id, spec, diag);
    if (r == 0)
        r = deploy_budget(d, spec, diag);
    if (r < 0)
        return r;
    r = store_publish(m->p.store, &d->function->id, &d->staging, &d->unpacking.result, spec, &number, diag);
    store_staging_drop(m->p.store, &d->staging);
    if (r < 0)
        return r;
    r = version_open(d->function, number, &d->version, diag);
    if (r < 0)
        return r;
    d->state = DEPLOY_PROVING;
    function_push(d->function);
    loop_arm_in(m->p.loop, &d->timer, m->p.config->start_timeout_ns + PROVE_EXTRA_NS);
    return 0;
}

static void deploy_step(struct deploy *d)
{
    struct diag diag = {0};

    if (!d->complete || !d->unpacked || d->state != DEPLOY_UNPACKING)
        return;
    if (deploy_publish(d, &diag) < 0) {
        deploy_fail(d, &diag);
        return;
    }
    if (!instance_new(d->function, d->version, d)) {
        diag_set(&diag, ENOMEM, "%s: cannot start an instance: out of memory", d->fn.name);
        deploy_fail(d, &diag);
    }
}

static void deploy_on_unpacked(void *owner, struct diag *diag)
{
    struct deploy *d = owner;

    if (diag->err) {
        budget_explain(d->manager, diag);
        deploy_fail(d, diag);
        return;
    }
    d->unpacked = true;
    deploy_step(d);
}

static int deploy_unpack(struct deploy *d, const struct record_deploy *rec, int archive_fd, struct diag *diag)
{
    int r = store_staging_new(d->manager->p.store, &d->staging, diag);

    if (r < 0)
        return r;
    d->unpacking = (struct unpacking){.manager = d->manager, .staging_fd = d->staging.dir_fd, .on_end = deploy_on_unpacked, .owner = d};
    return unpacking_start(&d->unpacking, &(struct unpacking_of){.kind = UNPACK_FUNCTION, .fn = &d->fn, .deploy = rec}, archive_fd, diag);
}

static int deploy_check(struct manager *m, const struct record_deploy *rec, int archive_fd, struct fn_id *ret, struct diag *diag)
{
    int r = manager_check_scale(m, "deploy", rec->replicas, diag);
    unsigned count = 0;

    if (r < 0)
        return r;
    if (archive_fd < 0)
        return diag_set(diag, EPROTO, "deploy: no archive came with the request");
    if (rec->vars_len && rec->vars[rec->vars_len - 1] != '\0')
        return diag_set(diag, EPROTO, "deploy: the environment is not terminated");
    if (rec->sets_len > sizeof(rec->sets) || (rec->sets_len && rec->sets[rec->sets_len - 1] != '\0'))
        return diag_set(diag, EPROTO, "deploy: the settings are not terminated");
    for (const struct deploy *d = m->deploys; d; d = d->next)
        count++;
    if (count >= DEPLOYS_MAX)
        return diag_set(diag, EBUSY, "deploy: %u others are under way: try again when one is done", count);
    if (m->stopping)
        return diag_set(diag, EBUSY, "deploy: the daemon is stopping");
    r = budget_disk(m, 0, diag);
    if (r < 0)
        return diag_prefix(diag, "deploy");
    if (rec->fn.name[0])
        return name_make(rec->fn.name, rec->fn.env, ret, diag);
    *ret = (struct fn_id){.env = NAME_DEFAULT_ENV};
    if (!rec->fn.env[0])
        return 0;
    if (!name_valid(rec->fn.env))
        return diag_set(diag, EINVAL, "deploy: environment name \"%s\" is not valid", rec->fn.env);
    str_copy(ret->env, sizeof(ret->env), rec->fn.env);
    return 0;
}

void deploy_begin(struct manager *m, uint64_t client, const struct record_deploy *rec, int archive_fd)
{
    cleanup_fd int archive = archive_fd; /* the jail has its own copy once it runs */
    struct diag diag = {0};
    struct fn_id fn;
    struct deploy *d;

    if (deploy_check(m, rec, archive, &fn, &diag) < 0) {
        manager_reply(m, client, rec->head.id, NULL, &diag);
        return;
    }
    d = calloc(1, sizeof(*d));
    if (!d) {
        diag_set(&diag, ENOMEM, "deploy: out of memory");
        manager_reply(m, client, rec->head.id, NULL, &diag);
        return;
    }
    *d = (struct deploy){.manager = m, .next = m->deploys, .client = client, .id = rec->head.id, .fn = fn, .replicas = rec->replicas};
    d->timer = (struct timer){.on_expire = deploy_on_timer, .owner = d};
    d->staging.dir_fd = -1;
    m->deploys = d;
    if (deploy_unpack(d, rec, archive, &diag) < 0)
        deploy_fail(d, &diag);
}

void deploy_end(struct manager *m, uint64_t client, const struct record_deploy_end *rec)
{
    for (struct deploy *d = m->deploys; d; d = d->next) {
        struct diag diag = {0};

        if (d->client != client || d->id != rec->head.id || d->state != DEPLOY_UNPACKING)
            continue;
        if (rec->complete) {
            d->complete = true;
            deploy_step(d);
        } else {
            diag_set(&diag, ECANCELED, "deploy: the upload was given up before its end");
            deploy_fail(d, &diag);
        }
        return;
    }
}

void deploy_client_gone(struct manager *m, uint64_t client)
{
    for (struct deploy *d = m->deploys, *next; d; d = next) {
        struct diag diag = {0};

        next = d->next;
        if (d->client != client)
            continue;
        d->client = 0;
        if (!d->complete) {
            diag_set(&diag, ECANCELED, "deploy: the gateway went away during the upload");
            deploy_fail(d, &diag);
        }
    }
}

const struct version *deploy_version(const struct deploy *d)
{
    return d->version;
}

void deploy_abort_all(struct manager *m)
{
    while (m->deploys) {
        struct diag diag = {0};

        diag_set(&diag, ECANCELED, "deploy: the daemon is stopping");
        deploy_fail(m->deploys, &diag);
    }
}
