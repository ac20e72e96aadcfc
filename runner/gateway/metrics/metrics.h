/*
 * metrics.h: what is counted per function, and how fresh statistics of instances are got from the runner.
 *
 * Counters live as long as their function in the pictures and only grow. Each worker has its own (shared.h); the page adds them up.
 */
#pragma once

#include "../gateway.h"
#include "str.h"

/* Upper bounds of fnd_request_duration_seconds; the last bucket is without bound. */
#define METRICS_BUCKETS 16
extern const uint64_t metrics_bounds_ns[METRICS_BUCKETS];

/*
 * A function chooses its status codes, so the number of series must not be its choice: the first METRICS_CODES different ones are counted by themselves,
 * later ones by their class ("5xx").
 */
#define METRICS_CODES   SHARED_CODES
#define METRICS_CLASSES 6 /* 1xx .. 5xx, and what is none of these */

struct gw_counters {
    _Atomic uint16_t *statuses; /* of the function: the same for all workers, so that a code is counted in the same place */
    shared_count codes[METRICS_CODES];
    shared_count classes[METRICS_CLASSES];
    shared_count buckets[METRICS_BUCKETS + 1]; /* each request is in one; the page adds them up */
    shared_count duration_ns, requests;
    shared_count starts; /* worker 0's alone */
    shared_count ejections;
};

/*
 * To be called for an instance that leaves the picture for whatever reason, while its function is still there: what it had used must not vanish from a
 * counter.
 */
void metrics_instance_gone(const struct gw_instance *inst);

/* STATS, HITS, NETWORK, HOST, into the picture; others are ignored. */
void metrics_heard(struct picture *p, const struct record_head *rec);

/* The whole page, Prometheus text format 0.0.4. link_up: the runner can be asked. */
void metrics_page(struct strbuf *out, const struct picture *p, bool link_up);

void metrics_label(struct strbuf *out, const char *s); /* a label's value, escaped */

/* ---- metrics_tls.c ---- */
void metrics_tls_handshakes(struct strbuf *out, const char *metric, const struct picture *p, bool link_up);
void metrics_tls_failures(struct strbuf *out, const char *metric, const struct picture *p, bool link_up);
void metrics_tls_reloads(struct strbuf *out, const char *metric, const struct picture *p, bool link_up);
void metrics_tls_expiry(struct strbuf *out, const char *metric, const struct picture *p, bool link_up);

/*
 * Fresh gw_instance.stats. `done` is called once, from the loop or at once: when the runner has told all, when what is there is less than STATS_FRESH_NS
 * old, when the runner does not answer within STATS_WAIT_NS, or when it cannot be asked. The figures are then as good as they get. Everybody who waits
 * at the same time shares one request: a page that strangers may load must not multiply into work for the runner.
 */
#define STATS_WAIT_NS  500000000ULL
#define STATS_FRESH_NS 50000000ULL

struct stats_wait {
    struct stats_wait *next; /* private, all */
    struct worker *worker;
    void (*done)(void *arg);
    void *arg;
    struct timer timer;
    bool waiting;
};
void stats_get(struct stats_wait *w, struct worker *worker, void (*done)(void *arg), void *arg);
void stats_cancel(struct stats_wait *w); /* done is not called any more; of one that does not wait: nothing */
