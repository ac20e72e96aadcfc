/* metrics_tls.c: the samples of TLS. Names of certificates are names of files that root made. */
#include "metrics.h"

#include "../tls/tls.h"

#include <inttypes.h>

static const char *const versions[TLS_INDEX_COUNT] = {[TLS_INDEX_1_2] = "TLSv1.2", [TLS_INDEX_1_3] = "TLSv1.3"};
static const char *const failures[TLS_FAILED_COUNT] = {
    [TLS_FAILED_PLAIN_HTTP] = "plain_http",
    [TLS_FAILED_CLOSED] = "closed",
    [TLS_FAILED_PROTOCOL] = "protocol",
    [TLS_FAILED_NO_CERTIFICATE] = "no_certificate",
};

static uint64_t read_count(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

void metrics_tls_handshakes(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    const struct tls_counts *c = p->gateway->tls ? tls_counts(p->gateway->tls) : NULL;

    for (size_t i = 0; c && i < TLS_INDEX_COUNT; i++)
        strbuf_printf(out, "%s{version=\"%s\",resumed=\"no\"} %" PRIu64 "\n%s{version=\"%s\",resumed=\"yes\"} %" PRIu64 "\n", metric, versions[i],
                      read_count(&c->full[i]), metric, versions[i], read_count(&c->resumed[i]));
}

void metrics_tls_failures(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    const struct tls_counts *c = p->gateway->tls ? tls_counts(p->gateway->tls) : NULL;

    for (size_t i = 0; c && i < TLS_FAILED_COUNT; i++)
        strbuf_printf(out, "%s{reason=\"%s\"} %" PRIu64 "\n", metric, failures[i], read_count(&c->failed[i]));
}

void metrics_tls_reloads(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    if (p->gateway->tls)
        strbuf_printf(out, "%s %" PRIu64 "\n", metric, read_count(&tls_counts(p->gateway->tls)->reloads));
}

struct writing {
    struct strbuf *out;
    const char *metric;
};

static void write_expiry(void *arg, const char *name, int64_t not_after)
{
    struct writing *w = arg;

    strbuf_printf(w->out, "%s{name=\"", w->metric);
    metrics_label(w->out, name);
    strbuf_printf(w->out, "\"} %" PRId64 "\n", not_after);
}

void metrics_tls_expiry(struct strbuf *out, const char *metric, const struct picture *p, bool link_up)
{
    struct writing w = {.out = out, .metric = metric};

    if (p->gateway->tls)
        tls_certificates(p->gateway->tls, write_expiry, &w);
}
