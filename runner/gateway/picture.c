/*
 * picture.c: see picture.h.
 *
 * A snapshot (WELCOME ... SYNCED) does not empty the picture: requests go on being served from what was known. Every record that comes in is stamped with the snapshot's number; at SYNCED what carries an older
 * stamp is gone. Numbers of functions and instances are unique only while one runner lives, so across a snapshot a function is recognised by its name, an instance by number, name and address.
 */
#include "picture.h"

#include "route/host_routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HASH_MIN 64U

void picture_init(struct picture *p, struct shared_gateway *gateway, unsigned worker, const struct picture_events *events, void *owner)
{
    *p = (struct picture){.gateway = gateway, .worker = worker, .events = events, .owner = owner};
    settings_init(&p->settings);
}

static unsigned hash_text(unsigned h, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        h = (h ^ (c >= 'A' && c <= 'Z' ? c | 0x20U : c)) * 16777619U;
    }
    return h;
}

static unsigned hash_id(const struct fn_id *id)
{
    return hash_text(hash_text(2166136261U, id->name) ^ '.', id->env);
}

struct gw_function *picture_function(const struct picture *p, const struct fn_id *id)
{
    struct gw_function *f = p->hash_size ? p->hash[hash_id(id) & (p->hash_size - 1)] : NULL;

    while (f && !name_equal(&f->rec.fn, id))
        f = f->next_hash;
    return f;
}

struct gw_instance *picture_instance(const struct picture *p, uint64_t instance)
{
    struct gw_instance *i = p->instances;

    while (i && i->rec.instance != instance)
        i = i->next_any;
    return i;
}

static int hash_grow(struct picture *p)
{
    unsigned size = p->hash_size ? p->hash_size * 2 : HASH_MIN;
    struct gw_function **hash;

    if (p->nfunctions < p->hash_size)
        return 0;
    hash = calloc(size, sizeof(struct gw_function *));
    if (!hash)
        return -ENOMEM;
    for (struct gw_function *f = p->functions; f; f = f->next) {
        unsigned k = hash_id(&f->rec.fn) & (size - 1);

        f->next_hash = hash[k];
        hash[k] = f;
    }
    free(p->hash);
    p->hash = hash;
    p->hash_size = size;
    return 0;
}

static int compare_ids(const struct fn_id *a, const struct fn_id *b)
{
    int r = strcasecmp(a->name, b->name);

    return r ? r : strcasecmp(a->env, b->env);
}

static void function_unref(struct gw_function *f)
{
    if (--f->refs > 0)
        return;
    shared_function_unref(f->shared);
    free(f->http);
    free(f);
}

bool function_enter(struct gw_function *f, unsigned most)
{
    if (!shared_function_enter(f->shared, most))
        return false;
    f->refs++;
    return true;
}

void function_leave(struct gw_function *f)
{
    shared_function_leave(f->shared);
    function_unref(f);
}

static int function_add(struct picture *p, const struct record_function *rec)
{
    struct gw_function *f, **at = &p->functions;
    unsigned k;

    if (hash_grow(p) < 0)
        return -ENOMEM;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->shared = p->given_function ? shared_function_ref(p->given_function) : p->worker == 0 ? shared_function_new(p->gateway->workers) : NULL;
    f->counters = f->shared ? shared_function_counters(f->shared, p->worker) : NULL;
    if (!f->counters) {
        shared_function_unref(f->shared);
        free(f);
        return -ENOMEM;
    }
    f->rec = *rec;
    f->refs = 1;
    f->heard = p->snapshot;
    while (*at && compare_ids(&(*at)->rec.fn, &rec->fn) < 0)
        at = &(*at)->next;
    f->next = *at;
    *at = f;
    k = hash_id(&rec->fn) & (p->hash_size - 1);
    f->next_hash = p->hash[k];
    p->hash[k] = f;
    p->nfunctions++;
    p->events->on_function(p->owner, f, true);
    return 0;
}

static void count_ready(struct gw_function *f)
{
    f->ready = 0;
    for (struct gw_instance *i = f->instances; i; i = i->next)
        f->ready += i->rec.state == INSTANCE_READY;
}

static void instance_remove(struct picture *p, struct gw_instance *inst)
{
    struct gw_instance **at;

    inst->rec.state =
        INSTANCE_GONE; /* also where its function goes first: who ends its requests must not send them there again while its connections are walked */
    for (at = &inst->function->instances; *at != inst; at = &(*at)->next)
        ;
    *at = inst->next;
    for (at = &p->instances; *at != inst; at = &(*at)->next_any)
        ;
    *at = inst->next_any;
    count_ready(inst->function);
    p->events->on_instance_gone(p->owner, inst);
    shared_instance_unref(inst->shared);
    free(inst);
}

static void function_remove(struct picture *p, struct gw_function *f)
{
    struct gw_function **at;

    while (f->instances)
        instance_remove(p, f->instances);
    for (at = &p->functions; *at != f; at = &(*at)->next)
        ;
    *at = f->next;
    for (at = &p->hash[hash_id(&f->rec.fn) & (p->hash_size - 1)]; *at != f; at = &(*at)->next_hash)
        ;
    *at = f->next_hash;
    p->nfunctions--;
    host_routes_stale(&p->hosts);
    p->events->on_function_gone(p->owner, f);
    function_unref(f);
}

static int on_function(struct picture *p, const struct record_function *rec)
{
    struct gw_function *f = picture_function(p, &rec->fn);

    if (rec->state == FUNCTION_GONE) {
        if (f)
            function_remove(p, f);
        return 0;
    }
    if (!name_valid(rec->fn.name) || !name_valid(rec->fn.env))
        return -EPROTO;
    if (!f)
        return function_add(p, rec);
    f->rec = *rec;
    f->heard = p->snapshot;
    p->events->on_function(p->owner, f, false);
    return 0;
}

struct gw_function *picture_function_by_number(const struct picture *p, uint64_t number)
{
    struct gw_function *f = p->functions;

    while (f && (f->rec.function != number || f->heard != p->snapshot))
        f = f->next;
    return f;
}

static int instance_add(struct picture *p, struct gw_function *f, const struct record_instance *rec)
{
    struct gw_instance *inst = calloc(1, sizeof(*inst)), **at = &f->instances;

    if (!inst)
        return -ENOMEM;
    inst->shared = p->given_instance ? shared_instance_ref(p->given_instance) : p->worker == 0 ? shared_instance_new() : NULL;
    if (!inst->shared) {
        free(inst);
        return -ENOMEM;
    }
    inst->rec = *rec;
    inst->function = f;
    inst->heard = p->snapshot;
    while (*at)
        at = &(*at)->next;
    *at = inst;
    for (at = &p->instances; *at; at = &(*at)->next_any)
        ;
    *at = inst;
    count_ready(f);
    p->events->on_instance(p->owner, inst, INSTANCE_EMPTY, rec->state);
    return 0;
}

static bool same_instance(const struct gw_instance *inst, const struct record_instance *rec)
{
    return strcmp(inst->rec.name, rec->name) == 0 && inst->rec.addr == rec->addr && inst->rec.port == rec->port;
}

static int on_instance(struct picture *p, const struct record_instance *rec)
{
    struct gw_instance *inst = picture_instance(p, rec->instance);
    struct gw_function *f = picture_function_by_number(p, rec->function);
    uint32_t old;

    if (inst && (rec->state == INSTANCE_GONE || !f || inst->function != f || !same_instance(inst, rec))) {
        instance_remove(p, inst);
        inst = NULL;
    }
    if (!f || rec->state == INSTANCE_GONE)
        return 0;
    if (!inst)
        return instance_add(p, f, rec);
    old = inst->rec.state;
    inst->rec = *rec;
    inst->heard = p->snapshot;
    if (old == INSTANCE_READY && rec->state < INSTANCE_READY)
        inst->rec.state = INSTANCE_READY;
    count_ready(f);
    p->events->on_instance(p->owner, inst, old, rec->state);
    return 0;
}

/* Most functions say nothing there: then nothing is kept. */
static int on_http(struct picture *p, const struct record_http *rec)
{
    const struct spec_http *h = &rec->http;
    struct gw_function *f = picture_function_by_number(p, rec->function);
    struct spec_http *copy = NULL;
    struct diag d;

    if (!f)
        return 0;
    if (spec_http_check(h, &d) < 0)
        return -EPROTO;
    if (h->nhosts || h->npaths || h->is_private || h->cors_any || h->norigins || h->rate.interval_ns || h->rate_client.interval_ns || h->max_body_bytes) {
        copy = malloc(sizeof(*copy));
        if (!copy)
            return -ENOMEM;
        *copy = *h;
    }
    if (f->http || copy)
        host_routes_stale(&p->hosts);
    free(f->http);
    f->http = copy;
    return 0;
}

static void on_synced(struct picture *p)
{
    for (struct gw_instance *i = p->instances, *next; i; i = next) {
        next = i->next_any;
        if (i->heard != p->snapshot)
            instance_remove(p, i);
    }
    for (struct gw_function *f = p->functions, *next; f; f = next) {
        next = f->next;
        if (f->heard != p->snapshot)
            function_remove(p, f);
    }
    p->synced = true;
}

int picture_apply(struct picture *p, const struct record_head *rec)
{
    switch (rec->type) {
    case RECORD_WELCOME:
        p->welcome = *(const struct record_welcome *)rec;
        p->snapshot++;
        return 0;
    case RECORD_SETTINGS:
        p->settings = ((const struct record_settings *)rec)->settings;
        return 0;
    case RECORD_FUNCTION:
        return on_function(p, (const struct record_function *)rec);
    case RECORD_INSTANCE:
        return on_instance(p, (const struct record_instance *)rec);
    case RECORD_HTTP:
        return on_http(p, (const struct record_http *)rec);
    case RECORD_SYNCED:
        on_synced(p);
        return 0;
    default:
        return 0;
    }
}

int picture_apply_shared(struct picture *p, const struct record_head *rec, struct shared_function *function, struct shared_instance *instance)
{
    int r;

    p->given_function = function;
    p->given_instance = instance;
    r = picture_apply(p, rec);
    p->given_function = NULL;
    p->given_instance = NULL;
    return r;
}

void picture_set_state(struct picture *p, struct gw_instance *inst, uint32_t state)
{
    uint32_t old = inst->rec.state;

    inst->rec.state = state;
    count_ready(inst->function);
    p->events->on_instance(p->owner, inst, old, state);
}

void picture_done(struct picture *p)
{
    while (p->functions)
        function_remove(p, p->functions);
    free(p->hash);
    host_routes_done(&p->hosts);
    *p = (struct picture){0};
}
