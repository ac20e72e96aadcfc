/*
 * metrics_page.c: the text of /metrics (Prometheus exposition format, text version 0.0.4: prometheus.io/docs/instrumenting/exposition_formats).
 *
 * One table of families; each row writes its samples for the whole gateway or for one function. Labels come from the picture alone, so a name that
 * somebody merely asked for never appears.
 */
#include "metrics.h"

#include "../log/access_log.h"
#include "clock.h"
#include "fd.h"
#include "version.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct family {
    const char *name, *type, *help;
    void (*of_function)(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label);
    void (*of_gateway)(struct strbuf *out, const char *metric, const struct picture *p, bool link_up);
};

/* Label values: backslash, quote and line feed are escaped. */
void metrics_label(struct strbuf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            strbuf_puts(out, "\\n");
        else if (*s == '\\' || *s == '"')
            strbuf_printf(out, "\\%c", *s);
        else
            strbuf_add(out, s, 1);
    }
}

/* Nanoseconds as seconds, exactly: a double would lose the end of a large counter. */
static void seconds(struct strbuf *out, uint64_t ns)
{
    strbuf_printf(out, "%llu.%09llu", ns / NS_PER_SEC, ns % NS_PER_SEC);
}

static void sample(struct strbuf *out, const char *metric, const char *label, uint64_t value)
{
    strbuf_printf(out, "%s{function=\"%s\"} %" PRIu64 "\n", metric, label, value);
}

/* The sum of a counter over all workers. */
static uint64_t total(const struct gw_function *f, size_t offset)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < f->shared->workers; i++) {
        const struct gw_counters *c = atomic_load_explicit(&f->shared->counters[i], memory_order_acquire);

        if (c)
            sum += shared_read((const shared_count *)((const char *)c + offset));
    }
    return sum;
}

#define TOTAL(f, field)       total(f, offsetof(struct gw_counters, field))
#define TOTAL_OF(f, field, i) total(f, offsetof(struct gw_counters, field) + (i) * sizeof(shared_count))

static void write_requests(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    static const char *const classes[METRICS_CLASSES] = {"1xx", "2xx", "3xx", "4xx", "5xx", "other"};

    for (size_t i = 0; i < METRICS_CODES; i++) {
        unsigned status = atomic_load_explicit(&f->shared->codes[i], memory_order_relaxed);

        if (status)
            strbuf_printf(out, "%s{function=\"%s\",code=\"%u\"} %" PRIu64 "\n", metric, label, status, TOTAL_OF(f, codes, i));
    }
    for (size_t i = 0; i < METRICS_CLASSES; i++) {
        uint64_t count = TOTAL_OF(f, classes, i);

        if (count)
            strbuf_printf(out, "%s{function=\"%s\",code=\"%s\"} %" PRIu64 "\n", metric, label, classes[i], count);
    }
}

static void write_durations(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        sum += TOTAL_OF(f, buckets, i);
        strbuf_printf(out, "%s_bucket{function=\"%s\",le=\"%g\"} %" PRIu64 "\n", metric, label, (double)metrics_bounds_ns[i] / (double)NS_PER_SEC, sum);
    }
    sum += TOTAL_OF(f, buckets, METRICS_BUCKETS);
    strbuf_printf(out, "%s_bucket{function=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", metric, label, sum);
    strbuf_printf(out, "%s_sum{function=\"%s\"} ", metric, label);
    seconds(out, TOTAL(f, duration_ns));
    strbuf_printf(out, "\n%s_count{function=\"%s\"} %" PRIu64 "\n", metric, label, sum);
}

static void write_starts(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    sample(out, metric, label, TOTAL(f, starts));
}

static void write_ejections(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    sample(out, metric, label, TOTAL(f, ejections));
}

static void write_instances(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    uint64_t n[INSTANCE_STATE_COUNT] = {0};

    for (const struct gw_instance *i = f->instances; i; i = i->next)
        n[i->rec.state]++;
    for (uint32_t state = INSTANCE_STARTING; state <= INSTANCE_DRAINING; state++)
        strbuf_printf(out, "%s{function=\"%s\",state=\"%s\"} %" PRIu64 "\n", metric, label, instance_state_name(state), n[state]);
}

static void write_wanted(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    sample(out, metric, label, f->rec.wanted);
}

static void write_in_flight(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    uint64_t sum = 0;

    for (const struct gw_instance *i = f->instances; i; i = i->next)
        sum += shared_instance_load(i->shared);
    sample(out, metric, label, sum);
}

static void write_memory(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    uint64_t sum = 0;

    for (const struct gw_instance *i = f->instances; i; i = i->next)
        sum += i->stats.memory_bytes;
    sample(out, metric, label, sum);
}

static void write_cpu(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    uint64_t sum = f->gone_cpu_ns;

    for (const struct gw_instance *i = f->instances; i; i = i->next)
        sum += i->stats.cpu_ns;
    strbuf_printf(out, "%s{function=\"%s\"} ", metric, label);
    seconds(out, sum);
    strbuf_puts(out, "\n");
}

static void write_hits(struct strbuf *out, const char *metric, const struct gw_function *f, const char *label)
{
    for (uint32_t limit = 0; limit < RECORD_LIMIT_COUNT; limit++)
        strbuf_printf(out, "%s{function=\"%s\",limit=\"%s\"} %" PRIu64 "\n", metric, label, limit_name(limit), f->hits[limit]);
}

static void write_host_memory(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    const struct record_host *h = &p->host;

    strbuf_printf(out, "%s{kind=\"used\"} %" PRIu64 "\n%s{kind=\"budget\"} %" PRIu64 "\n", metric, h->memory_used_bytes, metric, h->memory_bytes);
    strbuf_printf(out, "%s{kind=\"promised\"} %" PRIu64 "\n%s{kind=\"promised_max\"} %" PRIu64 "\n", metric, h->memory_promised_bytes, metric,
                  h->memory_promised_max_bytes);
}

static void write_host_disk(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    strbuf_printf(out, "%s{kind=\"used\"} %" PRIu64 "\n%s{kind=\"budget\"} %" PRIu64 "\n", metric, p->host.disk_used_bytes, metric, p->host.disk_bytes);
}

static void write_refused(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    static const char *const reasons[REFUSED_COUNT] = {[REFUSED_FULL] = "full",   [REFUSED_CLIENT] = "client", [REFUSED_FUNCTION] = "function",
                                                       [REFUSED_PROXY] = "proxy", [REFUSED_RATE] = "rate",     [REFUSED_FLOOD] = "flood"};

    for (size_t i = 0; i < REFUSED_COUNT; i++)
        strbuf_printf(out, "%s{reason=\"%s\"} %" PRIu64 "\n", metric, reasons[i], shared_refused(p->gateway, i));
}

static void write_connections(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    strbuf_printf(out, "%s %u\n", metric, p->gateway ? atomic_load_explicit(&p->gateway->connections, memory_order_relaxed) : 0);
}

static void write_log_lost(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    strbuf_printf(out, "%s %" PRIu64 "\n", metric, access_log_lost(p->gateway ? p->gateway->log : NULL));
}

static void write_build(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    strbuf_printf(out, "%s{version=\"", metric);
    metrics_label(out, FND_VERSION);
    strbuf_puts(out, "\",runner=\"");
    metrics_label(out, p->welcome.runner_version);
    strbuf_puts(out, "\"} 1\n");
}

static void write_link(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    strbuf_printf(out, "%s %d\n", metric, link_up);
}

static void write_dropped(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    for (uint32_t drop = 0; drop < RECORD_DROP_COUNT; drop++)
        strbuf_printf(out, "%s{reason=\"%s\"} %" PRIu64 "\n", metric, drop_name(drop), p->network.dropped[drop]);
}

static void write_restored(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    strbuf_printf(out, "%s %" PRIu64 "\n", metric, p->network.restored);
}

static void write_process_cpu(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    struct rusage u;

    if (getrusage(RUSAGE_SELF, &u) < 0)
        return;
    strbuf_printf(out, "%s ", metric);
    seconds(out, (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_SEC + (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * NS_PER_US);
    strbuf_puts(out, "\n");
}

static void write_dns(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    static const char *const results[SHARED_DNS_RESULTS] = {"forwarded", "cached", "local",
                                                            "refused",   "failed", "dropped"}; /* dns/dns_private.h, enum dns_result */

    for (size_t i = 0; i < SHARED_DNS_RESULTS; i++)
        strbuf_printf(out, "%s{result=\"%s\"} %" PRIu64 "\n", metric, results[i], shared_dns_results(p->gateway, (unsigned)i));
}

/* The gateway's small root may be without /proc: then there is no sample. */
static void write_process_memory(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    char buf[128];
    uint64_t pages;

    if (fd_read_file(AT_FDCWD, "/proc/self/statm", buf, sizeof(buf)) < 0 || sscanf(buf, "%*s %" SCNu64, &pages) != 1)
        return;
    strbuf_printf(out, "%s %" PRIu64 "\n", metric, pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void write_process_memory_max(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    struct rusage u;

    if (getrusage(RUSAGE_SELF, &u) == 0)
        strbuf_printf(out, "%s %" PRIu64 "\n", metric, (uint64_t)u.ru_maxrss * 1024);
}

static const struct family families[] = {
    {"fnd_requests_total", "counter", "Requests to the function that are over, by status code.", write_requests, NULL},
    {"fnd_request_duration_seconds", "histogram", "Time from a request's head to the end of its response.", write_durations, NULL},
    {"fnd_requests_in_flight", "gauge", "Requests that instances are working on.", write_in_flight, NULL},
    {"fnd_instances", "gauge", "Instances by state.", write_instances, NULL},
    {"fnd_instances_wanted", "gauge", "Instances that the runner is aiming at.", write_wanted, NULL},
    {"fnd_starts_total", "counter", "Instances that were started.", write_starts, NULL},
    {"fnd_ejections_total", "counter", "Times that an instance got no requests for a while, because they had failed there one after the other.",
     write_ejections, NULL},
    {"fnd_memory_bytes", "gauge", "Memory of all instances, as their cgroups count it.", write_memory, NULL},
    {"fnd_cpu_seconds_total", "counter", "CPU time of all instances, including those that are gone.", write_cpu, NULL},
    {"fnd_limit_hits_total", "counter",
     "Times that instances hit a limit: killed for memory, slowed down at memory_high, periods out of CPU, processes refused.", write_hits, NULL},
    {"fnd_network_dropped_total", "counter", "Packets of functions, or to them, that the host's rules refused, by reason.", NULL, write_dropped},
    {"fnd_network_rules_restored_total", "counter", "Times that the host's rules were put back after somebody else had changed or removed them.", NULL,
     write_restored},
    {"fnd_host_memory_bytes", "gauge", "Memory of all functions together, and the sum of their limits, against [host] memory; 0: no budget.", NULL,
     write_host_memory},
    {"fnd_host_disk_bytes", "gauge", "Images, logs and volumes against [host] disk; 0: no budget.", NULL, write_host_disk},
    {"fnd_gateway_connections", "gauge", "Connections of clients.", NULL, write_connections},
    {"fnd_gateway_refused_total", "counter",
     "Connections beyond a client's share, requests beyond a function's, and rests of a listener because all places were taken.", NULL, write_refused},
    {"fnd_access_log_lost_total", "counter", "Lines that the access log had no room for, or its disk.", NULL, write_log_lost},
    {"fnd_tls_handshakes_total", "counter", "TLS handshakes that succeeded, by version, and whether they resumed a session.", NULL, metrics_tls_handshakes},
    {"fnd_tls_handshake_failures_total",
     "counter", "TLS handshakes that did not: plain HTTP, a client that went away or took too long, one that we have no protocol or cipher in common with, no certificate.",
     NULL, metrics_tls_failures},
    {"fnd_tls_reloads_total", "counter", "Times that the certificates were read.", NULL, metrics_tls_reloads},
    {"fnd_tls_certificate_expiry_seconds", "gauge", "When the certificate expires, in seconds since 1970, by the name of its file.", NULL, metrics_tls_expiry},
    {"fnd_build_info", "gauge", "Versions of gateway and runner.", NULL, write_build},
    {"fnd_runner_up", "gauge", "Whether the gateway is connected to the runner.", NULL, write_link},
    {"fnd_dns_queries_total", "counter", "Queries of functions to the DNS forwarder, by what became of them.", NULL, write_dns},
    {"process_cpu_seconds_total", "counter", "CPU time of the gateway.", NULL, write_process_cpu},
    {"process_resident_memory_bytes", "gauge", "Resident memory of the gateway.", NULL, write_process_memory},
    {"fnd_gateway_resident_memory_max_bytes", "gauge", "The most resident memory that the gateway ever had.", NULL, write_process_memory_max},
};

static void write_family(struct strbuf *out, const struct family *family, const struct picture *p, bool link_up)
{
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name, family->type);
    if (family->of_gateway)
        family->of_gateway(out, family->name, p, link_up);
    for (const struct gw_function *f = family->of_function ? p->functions : NULL; f; f = f->next) {
        char label[NAME_FUNCTION_MAX + 1]; /* nothing in a name needs escaping (names.h) */

        if (f->shared)
            family->of_function(out, family->name, f, name_format(&f->rec.fn, label));
    }
}

void metrics_page(struct strbuf *out, const struct picture *p, bool link_up)
{
    for (size_t i = 0; i < COUNT(families); i++)
        write_family(out, &families[i], p, link_up);
}
