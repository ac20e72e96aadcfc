#include "ctl.h"

#include "api.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const instance_heads[] = {"INSTANCE", "FUNCTION", ">VERSION", "STATE",    "ADDRESS", ">PID",  ">UID",      ">AGE",
                                             ">READY",   ">MEMORY",  ">CPU",     ">CPU NOW", ">PIDS",   ">HITS", ">IN FLIGHT"};

/* Of all limits: which ones they are, the function's line says. */
static uint64_t instance_hits(const json_t *in)
{
    static const char *const keys[] = {"oom_kills", "memory_high_events", "throttled_periods", "pids_refused"};
    uint64_t sum = 0;

    for (size_t i = 0; i < CTL_COUNT(keys); i++)
        sum += ctl_json_uint(in, keys[i]);
    return sum;
}

static void instance_row(struct table *t, const json_t *in, uint64_t now)
{
    char age[TEXT_MAX], size[TEXT_MAX], max[TEXT_MAX];
    double ready = ctl_json_real_or(in, "ready_ms", 0);
    const char *env = ctl_json_text(in, "environment", NAME_DEFAULT_ENV);
    bool other = strcmp(env, NAME_DEFAULT_ENV) != 0;

    ctl_table_cell(t, "%s", ctl_json_text(in, "name", "?"));
    ctl_table_cell(t, "%s%s%s", ctl_json_text(in, "function", "?"), other ? "." : "", other ? env : "");
    ctl_table_cell(t, "%" PRIu64, ctl_json_uint(in, "version"));
    if (json_is_number(json_object_get(in, "ejected")))
        ctl_table_cell(t, "left out %.0fs", ctl_json_real_or(in, "ejected", 0));
    else
        ctl_table_cell(t, "%s", ctl_json_text(in, "state", "?"));
    ctl_table_cell(t, "%s:%" PRIu64, ctl_json_text(in, "address", "?"), ctl_json_uint(in, "port"));
    ctl_table_cell(t, "%" PRIu64, ctl_json_uint(in, "pid"));
    ctl_table_cell(t, "%" PRIu64, ctl_json_uint(in, "uid"));
    ctl_table_cell(t, "%s", ctl_text_age(ctl_json_text(in, "started", NULL), now, age));
    if (ready > 0)
        ctl_table_cell(t, "%.1f ms", ready);
    else
        ctl_table_cell(t, "-");
    ctl_table_cell(t, "%s/%s", ctl_text_size(ctl_json_uint(in, "memory_bytes"), size), ctl_text_size(ctl_json_uint(in, "memory_max_bytes"), max));
    ctl_table_cell(t, "%.1f s", ctl_json_real_or(in, "cpu_seconds", 0));
    ctl_table_cell(t, "%.2f/%g", ctl_json_real_or(in, "cpu", 0), ctl_json_real_or(in, "cpu_max", 0));
    ctl_table_cell(t, "%" PRIu64 "/%" PRIu64, ctl_json_uint(in, "pids"), ctl_json_uint(in, "pids_max"));
    ctl_table_cell(t, "%" PRIu64, instance_hits(in));
    ctl_table_cell(t, "%" PRIu64, ctl_json_uint(in, "in_flight"));
}

static void format_instances(const json_t *list, struct strbuf *out)
{
    const json_t *in;
    struct table t;
    size_t i;

    if (json_array_size(list) == 0)
        return;
    ctl_table_init(&t, instance_heads, CTL_COUNT(instance_heads));
    json_array_foreach(list, i, in) instance_row(&t, in, (uint64_t)time(NULL));
    strbuf_puts(out, "\n");
    ctl_table_format(&t, out);
    ctl_table_done(&t);
}

/* Foreign text may not become a terminal's command, nor a line of its own. */
static void puts_clean(struct strbuf *out, const char *text)
{
    size_t at = out->len;

    strbuf_puts(out, text);
    if (out->failed)
        return;
    ctl_text_clean(out->data + at);
    for (char *p = strchr(out->data + at, '\n'); p; p = strchr(p, '\n'))
        *p = ' ';
}

static void field(struct strbuf *out, const char *name, const char *value)
{
    strbuf_printf(out, "  %-14s", name);
    puts_clean(out, value);
    strbuf_puts(out, "\n");
}

/* One line, where there is something to say. */
static void list(struct strbuf *out, const char *name, const json_t *texts)
{
    cleanup_strbuf struct strbuf line = {0};
    const json_t *one;
    size_t i;

    json_array_foreach(texts, i, one) strbuf_printf(&line, "%s%s", i ? ", " : "", json_is_string(one) ? json_string_value(one) : "?");
    if (line.data && !line.failed)
        field(out, name, line.data);
}

/* The instance that is nearest to a limit says how much of it is in use. */
static uint64_t most(const json_t *instances, const char *key)
{
    uint64_t max = 0;
    const json_t *in;
    size_t i;

    json_array_foreach(instances, i, in) if (ctl_json_uint(in, key) > max) max = ctl_json_uint(in, key);
    return max;
}

static double most_real(const json_t *instances, const char *key)
{
    double max = 0;
    const json_t *in;
    size_t i;

    json_array_foreach(instances, i, in) if (ctl_json_real_or(in, key, 0) > max) max = ctl_json_real_or(in, key, 0);
    return max;
}

/* Only the limits that were hit; of instances that are gone as well. */
static void format_hits(const json_t *hits, struct strbuf *out)
{
    static const struct {
        const char *key, *text;
    } kinds[] = {
        {"memory", "killed for memory"}, {"memory_high", "slowed down at memory_high"}, {"cpu", "out of CPU for a moment"}, {"pids", "refused a process"}};
    char line[256] = "";

    for (size_t i = 0; i < CTL_COUNT(kinds); i++) {
        size_t len = strlen(line);

        if (ctl_json_uint(hits, kinds[i].key))
            snprintf(line + len, sizeof(line) - len, "%s%s %" PRIu64 " times", len ? ", " : "", kinds[i].text, ctl_json_uint(hits, kinds[i].key));
    }
    if (line[0])
        field(out, "limits hit", line);
}

static void format_limits(const json_t *fn, struct strbuf *out)
{
    const json_t *l = json_object_get(fn, "limits"), *instances = json_object_get(fn, "instances");
    char used[TEXT_MAX], limit[TEXT_MAX], line[256];

    if (!l)
        return;
    snprintf(line, sizeof(line), "%s of %s in use at most", ctl_text_size(most(instances, "memory_bytes"), used),
             ctl_text_size(ctl_json_uint(l, "memory_bytes"), limit));
    field(out, "memory", line);
    snprintf(line, sizeof(line), "%" PRIu64 " of %" PRIu64 " in use at most", most(instances, "pids"), ctl_json_uint(l, "pids"));
    field(out, "pids", line);
    snprintf(line, sizeof(line), "%g of %g in use at most", most_real(instances, "cpu"), ctl_json_real_or(l, "cpu", 0));
    field(out, "cpu", line);
    format_hits(json_object_get(fn, "limit_hits"), out);
    field(out, "tmp", ctl_text_size(ctl_json_uint(l, "tmp_bytes"), limit));
    field(out, "timeout", ctl_text_seconds(ctl_json_real_or(l, "timeout", 0), limit));
    if (ctl_json_uint(l, "concurrency"))
        snprintf(line, sizeof(line), "%" PRIu64 " at once per instance, %" PRIu64 " may wait", ctl_json_uint(l, "concurrency"), ctl_json_uint(l, "queue"));
    else
        snprintf(line, sizeof(line), "any number at once, %" PRIu64 " may wait", ctl_json_uint(l, "queue"));
    if (json_is_number(json_object_get(l, "queue_timeout"))) {
        size_t len = strlen(line);

        snprintf(line + len, sizeof(line) - len, ", for %s", ctl_text_seconds(ctl_json_real_or(l, "queue_timeout", 0), limit));
    }
    field(out, "requests", line);
    if (json_is_number(json_object_get(l, "stream_idle")))
        field(out, "stream idle", ctl_json_real_or(l, "stream_idle", 0) > 0 ? ctl_text_seconds(ctl_json_real_or(l, "stream_idle", 0), limit) : "for ever");
}

static void format_scale(const json_t *fn, struct strbuf *out)
{
    const json_t *scale = json_object_get(fn, "scale");
    char line[256];

    if (json_is_string(scale))
        snprintf(line, sizeof(line), "%.20s: %" PRIu64 " wanted, %" PRIu64 " ready, %" PRIu64 " starting", json_string_value(scale),
                 ctl_json_uint(fn, "wanted"), ctl_json_uint(fn, "ready"), ctl_json_uint(fn, "starting"));
    else
        snprintf(line, sizeof(line), "held at %" PRIu64 ": %" PRIu64 " ready, %" PRIu64 " starting", ctl_json_uint(fn, "scale"), ctl_json_uint(fn, "ready"),
                 ctl_json_uint(fn, "starting"));
    field(out, "scale", line);
}

static void format_health(const json_t *fn, struct strbuf *out)
{
    const json_t *h = json_object_get(fn, "health");
    const char *path = ctl_json_text(h, "path", "");
    char line[512], interval[TEXT_MAX];

    if (!h)
        return;
    if (*path)
        snprintf(line, sizeof(line), "GET %.300s every %s, %" PRIu64 " failures end it", path, ctl_text_seconds(ctl_json_real_or(h, "interval", 0), interval),
                 ctl_json_uint(h, "threshold"));
    else
        snprintf(line, sizeof(line), "a connection that is accepted");
    field(out, "health", line);
}

/* With the pause before the next start, where one goes on after a failure. */
static void format_state(const json_t *fn, struct strbuf *out)
{
    const char *next = ctl_json_text(fn, "next_start", NULL);
    uint64_t at, now = (uint64_t)time(NULL);
    char line[128];

    if (next && ctl_text_parse_time(next, &at) == 0)
        snprintf(line, sizeof(line), "%.40s, next start in %" PRIu64 "s", ctl_json_text(fn, "state", "?"), at > now ? at - now : 0);
    else
        snprintf(line, sizeof(line), "%.40s", ctl_json_text(fn, "state", "?"));
    field(out, "state", line);
}

static void format_failure(const json_t *fn, struct strbuf *out)
{
    const char *failure = ctl_json_text(fn, "last_failure", NULL), *instance = ctl_json_text(fn, "last_failed_instance", NULL);
    struct text_filter filter = {0};
    char line[512];
    const json_t *text;
    size_t i;

    if (!failure)
        return;
    snprintf(line, sizeof(line), "%.100s%s%.380s", instance ? instance : "", instance ? ": " : "", failure);
    field(out, "last failure", line);
    json_array_foreach(json_object_get(fn, "last_log"), i, text)
    {
        const char *s = json_string_value(text);

        strbuf_puts(out, "    | ");
        ctl_text_filter(&filter, s ? s : "", s ? strlen(s) : 0, out);
        strbuf_puts(out, "\n");
    }
}

static void format_function(const json_t *fn, struct strbuf *out)
{
    const char *env = ctl_json_text(fn, "environment", NAME_DEFAULT_ENV), *application = ctl_json_text(fn, "application", "");
    char line[256], age[TEXT_MAX], size[TEXT_MAX];

    puts_clean(out, ctl_json_text(fn, "name", "?"));
    strbuf_puts(out, "\n");
    field(out, "environment", env);
    if (*application)
        field(out, "application", application);
    format_state(fn, out);
    snprintf(line, sizeof(line), "%" PRIu64 ", deployed %.40s (%s ago)", ctl_json_uint(fn, "version"), ctl_json_text(fn, "deployed", "-"),
             ctl_text_age(ctl_json_text(fn, "deployed", NULL), (uint64_t)time(NULL), age));
    field(out, "version", line);
    format_scale(fn, out);
    snprintf(line, sizeof(line), "%s, sha256 %.64s", ctl_text_size(ctl_json_uint(fn, "image_bytes"), size), ctl_json_text(fn, "image", "-"));
    field(out, "image", line);
    field(out, "url", ctl_json_text(fn, "url", "-"));
    format_limits(fn, out);
    format_health(fn, out);
    list(out, "hosts", json_object_get(fn, "hosts"));
    list(out, "paths", json_object_get(fn, "paths"));
    field(out, "network", ctl_json_text(fn, "network", "-"));
    snprintf(line, sizeof(line), "%" PRIu64, ctl_json_uint(fn, "restarts"));
    field(out, "restarts", line);
    format_failure(fn, out);
    format_instances(json_object_get(fn, "instances"), out);
}

/* "1.2G of 4.0G", or what is used alone. */
static const char *of_budget(const json_t *host, const char *used, const char *budget, char *buf, size_t size)
{
    char a[TEXT_MAX], b[TEXT_MAX];

    if (ctl_json_uint(host, budget))
        snprintf(buf, size, "%s of %s", ctl_text_size(ctl_json_uint(host, used), a), ctl_text_size(ctl_json_uint(host, budget), b));
    else
        snprintf(buf, size, "%s", ctl_text_size(ctl_json_uint(host, used), a));
    return buf;
}

static void format_host(const json_t *host, struct strbuf *out)
{
    char used[64], promised[64], line[256];

    snprintf(line, sizeof(line), "%s in use; limits of all instances %s", of_budget(host, "memory_used_bytes", "memory_budget_bytes", used, sizeof(used)),
             of_budget(host, "memory_promised_bytes", "memory_promised_max_bytes", promised, sizeof(promised)));
    field(out, "host memory", line);
    if (ctl_json_real_or(host, "cpu_budget", 0) > 0)
        snprintf(line, sizeof(line), "%g CPUs; limits of all instances %g of %g", ctl_json_real_or(host, "cpu_budget", 0),
                 ctl_json_real_or(host, "cpu_promised", 0), ctl_json_real_or(host, "cpu_promised_max", 0));
    else
        snprintf(line, sizeof(line), "no budget; limits of all instances %g CPUs", ctl_json_real_or(host, "cpu_promised", 0));
    field(out, "host cpu", line);
    snprintf(line, sizeof(line), "%s for images, logs and volumes", of_budget(host, "disk_used_bytes", "disk_budget_bytes", used, sizeof(used)));
    field(out, "host disk", line);
}

static int status_daemon(struct ctl *ctl)
{
    struct strbuf out cleanup_strbuf = {0};
    json_t *version cleanup_json = NULL, *functions cleanup_json = NULL, *instances cleanup_json = NULL, *host cleanup_json = NULL;
    int r = ctl_api_json(ctl, "GET", API_PREFIX "/version", NULL, &version);

    if (r == CTL_OK)
        r = ctl_api_json(ctl, "GET", API_PREFIX "/functions", NULL, &functions);
    if (r == CTL_OK)
        r = ctl_api_json(ctl, "GET", API_PREFIX "/instances", NULL, &instances);
    if (r == CTL_OK)
        r = ctl_api_json(ctl, "GET", API_PREFIX "/host", NULL, &host);
    if (r != CTL_OK)
        return r;
    if (ctl->o->json) {
        json_object_update_missing(version, functions);
        json_object_update_missing(version, instances);
        json_object_set(version, "host", host);
        return ctl_print_json(ctl, version);
    }
    strbuf_puts(&out, "fnd ");
    puts_clean(&out, ctl_json_text(version, "version", "?"));
    strbuf_printf(&out, ": %zu functions, %zu instances\n", json_array_size(json_object_get(functions, "functions")),
                  json_array_size(json_object_get(instances, "instances")));
    format_host(host, &out);
    format_instances(json_object_get(instances, "instances"), &out);
    return ctl_flush(ctl, &out);
}

int verb_status(struct ctl *ctl, const struct text_list *args)
{
    struct strbuf out cleanup_strbuf = {0};
    json_t *fn cleanup_json = NULL;
    int r;

    if (args->count == 0)
        return status_daemon(ctl);
    r = ctl_api_change(ctl, "GET", args->items[0], NULL, NULL, &fn);
    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, fn);
    format_function(fn, &out);
    return ctl_flush(ctl, &out);
}
