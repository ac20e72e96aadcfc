/* metrics.c: counting, and /metrics as an exchange. What the page looks like is metrics_page.c's. */
#include "metrics.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>

const uint64_t metrics_bounds_ns[METRICS_BUCKETS] = {
    500 * NS_PER_US, 1 * NS_PER_MS,   2500 * NS_PER_US, 5 * NS_PER_MS,    10 * NS_PER_MS, 25 * NS_PER_MS,  50 * NS_PER_MS,  100 * NS_PER_MS,
    250 * NS_PER_MS, 500 * NS_PER_MS, 1 * NS_PER_SEC,   2500 * NS_PER_MS, 5 * NS_PER_SEC, 10 * NS_PER_SEC, 30 * NS_PER_SEC, 60 * NS_PER_SEC,
};

/* In cache lines of its own: the next worker's would be invalidated at each request. */
struct gw_counters *metrics_counters_new(_Atomic uint16_t *codes)
{
    size_t size = (sizeof(struct gw_counters) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct gw_counters *c = aligned_alloc(CACHE_LINE, size);

    if (!c)
        return NULL;
    memset(c, 0, size);
    c->statuses = codes;
    return c;
}

void metrics_counters_free(struct gw_counters *c)
{
    free(c);
}

static shared_count *code_counter(struct gw_counters *c, int status)
{
    if (status < 100 || status > 599)
        return &c->classes[METRICS_CLASSES - 1];
    for (size_t i = 0; i < METRICS_CODES; i++) {
        uint16_t there = atomic_load_explicit(&c->statuses[i], memory_order_relaxed);

        /* The first worker to meet the code takes the place; who loses it to another sees whose it is now. */
        if (there == 0 && atomic_compare_exchange_strong(&c->statuses[i], &there, (uint16_t)status))
            there = (uint16_t)status;
        if (there == status)
            return &c->codes[i];
    }
    return &c->classes[status / 100 - 1];
}

void metrics_request(struct gw_counters *c, int status, uint64_t duration_ns)
{
    size_t bucket = 0;

    if (!c)
        return;
    while (bucket < METRICS_BUCKETS && duration_ns > metrics_bounds_ns[bucket])
        bucket++;
    shared_add(code_counter(c, status), 1);
    shared_add(&c->buckets[bucket], 1);
    shared_add(&c->duration_ns, duration_ns);
    shared_add(&c->requests, 1);
}

void metrics_start(struct gw_counters *c)
{
    if (c)
        shared_add(&c->starts, 1);
}

void metrics_ejection(struct gw_counters *c)
{
    if (c)
        shared_add(&c->ejections, 1);
}

void metrics_instance_gone(const struct gw_instance *inst)
{
    if (inst->function)
        inst->function->gone_cpu_ns += inst->stats.cpu_ns;
}

/* ---- the page as an exchange ---- */

struct scrape {
    struct exchange *ex;
    struct stats_wait stats;
};

static void scrape_done(void *arg)
{
    struct scrape *s = arg;
    struct worker *w = exchange_worker(s->ex);
    cleanup_strbuf struct strbuf page = {0};

    metrics_page(&page, worker_picture(w), link_is_up(worker_link(w)));
    if (page.failed)
        exchange_error(s->ex, 503, "no_memory", NULL, 1, "not enough memory for the page");
    else
        exchange_reply(s->ex, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, page.data, page.len);
    free(s);
}

static void scrape_abort(struct exchange *ex, void *arg)
{
    struct scrape *s = arg;

    stats_cancel(&s->stats);
    free(s);
}

void metrics_serve(struct exchange *ex)
{
    static const struct exchange_handler handler = {.on_abort = scrape_abort};
    static const char refused[] = "/metrics can only be read: use GET\n";
    const char *method = exchange_request(ex)->method;
    struct scrape *s;

    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        exchange_reply(ex, 405, "text/plain; charset=utf-8", "Allow: GET, HEAD\r\n", refused, sizeof(refused) - 1);
        return;
    }
    s = calloc(1, sizeof(*s));
    if (!s) {
        exchange_error(ex, 503, "no_memory", NULL, 1, "not enough memory");
        return;
    }
    s->ex = ex;
    exchange_handle(ex, &handler, s);
    stats_get(&s->stats, exchange_worker(ex), scrape_done, s);
}
