/*
 * api_functions.c: what there is, and the short changes: remove, scale, start, stop, restart. Reads come from the picture; figures of instances are
 * fresh from the runner.
 */
#include "api_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <string.h>

#define LAST_LINES 20

/* ---- lists ---- */

/* Of one function, or (f NULL) of all. */
static json_t *instances_of(const struct picture *p, const struct gw_function *f)
{
    json_t *list = f ? api_json_instances(f) : json_array();

    for (const struct gw_function *each = f ? NULL : p->functions; each && list; each = each->next) {
        json_t *some = api_json_instances(each);

        if (!some || json_array_extend(list, some) < 0) {
            json_decref(list);
            list = NULL;
        }
        json_decref(some);
    }
    return list;
}

void api_get_functions(struct api_call *c)
{
    const char *application = query_get(&c->query, "application");
    json_t *list = json_array();

    for (const struct gw_function *f = worker_picture(c->worker)->functions; f && list; f = f->next) {
        if (application && strcmp(application, f->rec.application) != 0)
            continue;
        if (json_array_append_new(list, api_json_function(worker_picture(c->worker), f)) < 0) {
            json_decref(list);
            list = NULL;
        }
    }
    api_reply_json(c, 200, list ? json_pack("{s:o}", "functions", list) : NULL);
}

static void show_instances(void *arg)
{
    struct api_call *c = arg;
    const struct gw_function *f = NULL;
    json_t *list;

    if (*c->name) {
        f = api_call_function(c);
        if (!f)
            return;
    }
    list = instances_of(worker_picture(c->worker), f);
    api_reply_json(c, 200, list ? json_pack("{s:o}", "instances", list) : NULL);
}

void api_get_instances(struct api_call *c)
{
    if (api_call_function(c))
        stats_get(&c->stats, c->worker, show_instances, c);
}

void api_get_all_instances(struct api_call *c)
{
    stats_get(&c->stats, c->worker, show_instances, c);
}

/* ---- one function ---- */

static void finish_function(struct api_call *c)
{
    json_t *body = c->json;

    c->json = NULL;
    api_reply_json(c, 200, body);
}

/* The log is an extra: a function without one is shown without. */
static void on_log(void *arg, const struct record_head *rec, int fd)
{
    struct api_call *c = arg;
    cleanup_fd int owned = fd;
    json_t *lines;

    if (rec->type != RECORD_REPLY)
        return;
    c->link_id = 0;
    if (owned >= 0 && api_last_lines(owned, LAST_LINES, &lines) == 0)
        json_object_set_new(c->json, "last_log", lines);
    finish_function(c);
}

static void show_function(void *arg)
{
    struct api_call *c = arg;
    const struct gw_function *f = api_call_function(c);
    struct record_target rec = {.head = RECORD_INIT(RECORD_LOG_OPEN, 0)};
    json_t *list;

    if (!f)
        return;
    c->json = api_json_function(worker_picture(c->worker), f);
    list = api_json_instances(f);
    if (!c->json || !list || json_object_set_new(c->json, "instances", list) < 0) {
        if (!c->json)
            json_decref(list);
        api_fail_set(c, ENOMEM, "not enough memory for the answer");
        return;
    }
    rec.fn = f->rec.fn;
    memcpy(rec.instance, f->rec.last_failed_instance, sizeof(rec.instance));
    if ((!*rec.instance && f->ready > 0) || link_request(worker_link(c->worker), &rec.head, -1, on_log, c, &c->link_id) < 0)
        finish_function(c);
}

void api_get_function(struct api_call *c)
{
    if (api_call_function(c))
        stats_get(&c->stats, c->worker, show_function, c);
}

/* ---- changes ---- */

static void on_changed(struct api_call *c, const struct record_reply *reply, int fd)
{
    const struct gw_function *f;

    fd_close(fd);
    f = api_call_function(c); /* the runner pushes what changed before it replies */
    if (f)
        api_reply_json(c, 200, api_json_function(worker_picture(c->worker), f));
}

static bool wants_volumes(const struct api_call *c)
{
    const char *value = query_get(&c->query, "volumes");

    return value && strcmp(value, "1") == 0;
}

static void on_removed(struct api_call *c, const struct record_reply *reply, int fd)
{
    fd_close(fd);
    api_reply_json(c, 200, json_pack("{s:i}", wants_volumes(c) ? "volumes_removed" : "volumes_kept", (int)reply->volumes));
}

static void ask_target(struct api_call *c, uint32_t type, void (*on_ok)(struct api_call *c, const struct record_reply *reply, int fd))
{
    const struct gw_function *f = api_call_function(c);
    struct record_target rec = {.head = RECORD_INIT(type, 0)};

    if (!f)
        return;
    rec.fn = f->rec.fn;
    api_ask(c, &rec.head, on_ok);
}

/* With volumes=1 a function that is gone is one too: its volumes may be there. */
void api_remove(struct api_call *c)
{
    struct record_target rec = {.head = RECORD_INIT(RECORD_REMOVE, 0), .fn = c->id, .erase_volumes = wants_volumes(c)};
    const char *value = query_get(&c->query, "volumes");

    if (value && strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        api_fail_set(c, EINVAL, "volumes=%.20s: 0 keeps them, 1 removes them", value);
    else if (rec.erase_volumes || api_call_function(c))
        api_ask(c, &rec.head, on_removed);
}

void api_start(struct api_call *c)
{
    ask_target(c, RECORD_START, on_changed);
}

void api_stop(struct api_call *c)
{
    ask_target(c, RECORD_STOP, on_changed);
}

void api_restart(struct api_call *c)
{
    ask_target(c, RECORD_RESTART, on_changed);
}

static void set_scale(struct api_call *c)
{
    struct record_scale rec = {.head = RECORD_INIT(RECORD_SCALE, 0)};
    const struct gw_function *f;
    struct diag d = {0};

    if (api_parse_scale(c->text.data ? c->text.data : "", c->text.len, &rec.replicas, &d) < 0) {
        api_fail(c, &d);
        return;
    }
    f = api_call_function(c);
    if (!f)
        return;
    rec.fn = f->rec.fn;
    api_ask(c, &rec.head, on_changed);
}

void api_scale(struct api_call *c)
{
    if (exchange_request(c->ex)->body_bytes == 0)
        api_fail_set(c, EINVAL, "the body must be {\"replicas\": N} or {\"replicas\": \"auto\"}");
    else if (api_call_function(c))
        api_take_body(c, set_scale);
}
