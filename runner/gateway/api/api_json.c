/*
 * api_json.c: the JSON forms of api.h, from the picture. Pure. Texts in records come from functions and archives in the end: they are made valid UTF-8,
 * or jansson would refuse the whole object.
 */
#include "api_private.h"

#include "clock.h"
#include "diag.h"

#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define SCALE_MAX 100000U /* against slips of the keyboard; the runner knows how many it can hold */

/*
 * The length of the well-formed UTF-8 sequence at s, 0 if there is none (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
 */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (len < n || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

void utf8_sanitize(struct strbuf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = utf8_sequence((const unsigned char *)text + i, len - i);

        if (n == 0)
            strbuf_puts(out, "\xef\xbf\xbd");
        else if (text[i])
            strbuf_add(out, text + i, n);
        i += n ? n : 1;
    }
}

json_t *api_json_text(const char *text, size_t len)
{
    cleanup_strbuf struct strbuf clean = {0};

    strbuf_puts(&clean, "");
    utf8_sanitize(&clean, text, len);
    return clean.failed ? NULL : json_stringn(clean.data, clean.len);
}

static json_t *text(const char *s)
{
    return api_json_text(s, strlen(s));
}

static json_t *text_or_null(const char *s)
{
    return *s ? text(s) : json_null();
}

static json_t *time_or_null(uint64_t real_ns)
{
    char buf[CLOCK_RFC3339_MAX];

    if (!real_ns)
        return json_null();
    clock_format_rfc3339(real_ns, buf);
    return json_string(buf);
}

/* Of the wall clock, for an instant of the internal one; null when that is past. */
static json_t *time_to_come_or_null(uint64_t mono_ns)
{
    uint64_t now = clock_mono_ns();

    return mono_ns > now ? time_or_null(clock_real_ns() + (mono_ns - now)) : json_null();
}

/* Seconds: a whole number where it is one. */
static json_t *seconds(uint64_t ns)
{
    return ns % NS_PER_SEC ? json_real((double)ns / (double)NS_PER_SEC) : json_integer((json_int_t)(ns / NS_PER_SEC));
}

static json_t *integer(uint64_t v)
{
    return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

static json_t *address(uint32_t addr)
{
    char buf[INET_ADDRSTRLEN];

    return addr && inet_ntop(AF_INET, &addr, buf, sizeof(buf)) ? json_string(buf) : json_null();
}

static const char *function_state(const struct record_function *rec)
{
    return rec->state == FUNCTION_ACTIVE && rec->crash_loop ? "crash-loop" : function_state_name(rec->state);
}

struct field {
    const char *key;
    json_t *value; /* owned */
};

/* All or NULL: one value that could not be made spoils the object. */
static json_t *object_of(const struct field *fields, size_t n)
{
    json_t *object = json_object();
    bool whole = object;

    for (size_t i = 0; i < n; i++)
        if (json_object_set_new(object, fields[i].key, fields[i].value) < 0) /* takes the value, whatever it returns */
            whole = false;
    if (whole)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *limits(const struct record_function *rec)
{
    const struct field fields[] = {
        {"memory_bytes", integer(rec->memory_bytes)},
        {"cpu", json_real(rec->cpu_milli / 1000.0)},
        {"pids", integer(rec->pids)},
        {"tmp_bytes", integer(rec->tmp_bytes)},
        {"timeout", seconds(rec->timeout_ns)},
        {"concurrency", integer(rec->concurrency)},
        {"queue", integer(rec->queue)},
        {"queue_timeout", rec->queue_timeout_ns ? seconds(rec->queue_timeout_ns) : json_null()},
        {"stream_idle", rec->stream_idle_ns == SPEC_AS_CONFIGURED ? json_null() : seconds(rec->stream_idle_ns)},
    };

    return object_of(fields, COUNT(fields));
}

static json_t *hits(const struct gw_function *f)
{
    struct field fields[RECORD_LIMIT_COUNT];

    for (uint32_t i = 0; i < RECORD_LIMIT_COUNT; i++)
        fields[i] = (struct field){limit_name(i), integer(f->hits[i])};
    return object_of(fields, COUNT(fields));
}

static json_t *health(const struct record_function *rec)
{
    const struct field fields[] = {
        {"path", text_or_null(rec->health_path)},
        {"interval", seconds(rec->health_interval_ns)},
        {"threshold", integer(rec->health_threshold)},
    };

    return object_of(fields, COUNT(fields));
}

static json_t *hosts(const struct spec_http *h)
{
    json_t *array = json_array();

    for (uint32_t i = 0; h && i < h->nhosts; i++)
        if (json_array_append_new(array, text(h->hosts[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* "GET HEAD /hello"; without methods: all. */
static json_t *paths(const struct spec_http *h)
{
    json_t *array = json_array();

    for (uint32_t i = 0; h && i < h->npaths; i++) {
        cleanup_strbuf struct strbuf line = {0};

        for (unsigned m = 0; h->paths[i].methods != SPEC_METHODS_ALL && m < SPEC_METHOD_COUNT; m++)
            if (h->paths[i].methods & 1U << m)
                strbuf_printf(&line, "%s ", spec_method_name(m));
        strbuf_puts(&line, h->paths[i].path);
        if (line.failed || json_array_append_new(array, text(line.data)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static unsigned count_starting(const struct gw_function *f)
{
    unsigned n = 0;

    for (const struct gw_instance *i = f->instances; i; i = i->next)
        n += i->rec.state <= INSTANCE_STARTING;
    return n;
}

json_t *api_json_function(const struct picture *p, const struct gw_function *f)
{
    const struct record_function *rec = &f->rec;
    char name[NAME_FUNCTION_MAX + 1];
    const struct field fields[] = {
        {"name", text(rec->fn.name)},
        {"environment", text(rec->fn.env)},
        {"application", text(rec->application)},
        {"state", json_string(function_state(rec))},
        {"version", integer(rec->version)},
        {"scale", rec->scale == RECORD_SCALE_AUTO ? json_string("auto") : integer(rec->scale)},
        {"wanted", integer(rec->wanted)},
        {"ready", integer(f->ready)},
        {"starting", integer(count_starting(f))},
        {"image", text(rec->image)},
        {"image_bytes", integer(rec->image_bytes)},
        {"deployed", time_or_null(rec->deployed_real_ns)},
        {"url", json_sprintf("%s/fn/%s/", p->settings.public_url, name_format(&rec->fn, name))},
        {"hosts", hosts(f->http)},
        {"paths", paths(f->http)},
        {"access", json_string(f->http && f->http->is_private ? "private" : "public")},
        {"limits", limits(rec)},
        {"limit_hits", hits(f)},
        {"health", health(rec)},
        {"network", text_or_null(rec->network)},
        {"port", integer(rec->port)},
        {"restarts", integer(rec->restarts)},
        {"last_failure", text_or_null(rec->last_failure)},
        {"last_failed_instance", text_or_null(rec->last_failed_instance)},
        {"next_start", time_to_come_or_null(rec->retry_mono_ns)},
    };

    return object_of(fields, COUNT(fields));
}

/* Seconds until a request tries it again; null: it is in the choice. */
static json_t *ejected(const struct gw_instance *inst)
{
    uint64_t until = atomic_load(&inst->shared->eject.until_ns), now = clock_mono_ns();

    if (until == 0)
        return json_null();
    return json_real(until > now ? (double)(until - now) / (double)NS_PER_SEC : 0.0);
}

json_t *api_json_instance(const struct gw_instance *inst)
{
    const struct record_instance *rec = &inst->rec;
    const struct record_stats *stats = &inst->stats;
    const struct fn_id *fn = &inst->function->rec.fn;
    const struct field fields[] = {
        {"name", text(rec->name)},
        {"function", text(fn->name)},
        {"environment", text(fn->env)},
        {"version", integer(rec->version)},
        {"state", json_string(instance_state_name(rec->state))},
        {"address", address(rec->addr)},
        {"port", integer(rec->port)},
        {"pid", json_integer(rec->pid)},
        {"uid", integer(rec->uid)},
        {"slot", integer(rec->slot)},
        {"started", time_or_null(rec->started_real_ns)},
        {"ready_ms", rec->ready_ns ? json_real((double)rec->ready_ns / (double)NS_PER_MS) : json_null()},
        {"memory_bytes", integer(stats->memory_bytes)},
        {"memory_max_bytes", integer(stats->memory_max_bytes)},
        {"cpu_seconds", json_real((double)stats->cpu_ns / (double)NS_PER_SEC)},
        {"pids", integer(stats->pids)},
        {"pids_max", integer(stats->pids_max)},
        {"cpu", json_real(stats->cpu_milli / 1000.0)},
        {"cpu_max", json_real(stats->cpu_max_milli / 1000.0)},
        {"throttled_seconds", json_real((double)stats->throttled_ns / (double)NS_PER_SEC)},
        {"throttled_periods", integer(stats->throttled)},
        {"memory_high_events", integer(stats->memory_high)},
        {"pids_refused", integer(stats->pids_refused)},
        {"io_read_bytes", integer(stats->io_read_bytes)},
        {"io_write_bytes", integer(stats->io_write_bytes)},
        {"oom_kills", integer(stats->oom_kills)},
        {"in_flight", integer(shared_instance_load(inst->shared))},
        {"ejected", ejected(inst)},
    };

    return object_of(fields, COUNT(fields));
}

/* A budget that there is none of is null. */
static json_t *budget(uint64_t v)
{
    return v ? integer(v) : json_null();
}

static json_t *cpus(uint64_t milli)
{
    return milli ? json_real((double)milli / 1000) : json_null();
}

json_t *api_json_host(const struct record_host *rec)
{
    const struct field fields[] = {
        {"memory_budget_bytes", budget(rec->memory_bytes)},
        {"memory_used_bytes", integer(rec->memory_used_bytes)},
        {"memory_promised_bytes", integer(rec->memory_promised_bytes)},
        {"memory_promised_max_bytes", budget(rec->memory_promised_max_bytes)},
        {"cpu_budget", cpus(rec->cpu_milli)},
        {"cpu_promised", json_real((double)rec->cpu_promised_milli / 1000)},
        {"cpu_promised_max", cpus(rec->cpu_promised_max_milli)},
        {"cpu_seconds", json_real((double)rec->cpu_ns / (double)NS_PER_SEC)},
        {"disk_budget_bytes", budget(rec->disk_bytes)},
        {"disk_used_bytes", integer(rec->disk_used_bytes)},
    };

    return object_of(fields, COUNT(fields));
}

json_t *api_json_instances(const struct gw_function *f)
{
    json_t *list = json_array();

    for (const struct gw_instance *i = f->instances; i && list; i = i->next)
        if (json_array_append_new(list, api_json_instance(i)) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static int scale_value(const json_t *value, uint32_t *ret_replicas, struct diag *d)
{
    if (json_is_string(value) && strcmp(json_string_value(value), "auto") == 0) {
        *ret_replicas = RECORD_SCALE_AUTO;
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > SCALE_MAX)
        return diag_set(d, EINVAL, "\"replicas\" must be a whole number from 0 to %u, or \"auto\"", SCALE_MAX);
    *ret_replicas = (uint32_t)json_integer_value(value);
    return 0;
}

int api_parse_scale(const char *body, size_t len, uint32_t *ret_replicas, struct diag *d)
{
    json_error_t error;
    json_t *root = json_loadb(body, len, JSON_REJECT_DUPLICATES, &error);
    int r;

    if (!root)
        return diag_set(d, EINVAL, "the body is not JSON: %.100s, line %d", error.text, error.line);
    if (!json_is_object(root) || json_object_size(root) != 1 || !json_object_get(root, "replicas"))
        r = diag_set(d, EINVAL, "the body must be {\"replicas\": N} or {\"replicas\": \"auto\"}");
    else
        r = scale_value(json_object_get(root, "replicas"), ret_replicas, d);
    json_decref(root);
    return r;
}
