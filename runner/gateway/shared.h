/*
 * shared.h: what the workers of one gateway must agree on: numbers that a limit is held by, over all threads. Everything else is a worker's own.
 *
 * Objects are counted by references and made by worker 0 alone, when its picture hears of a function or an instance; the other pictures get the same object with the record. So all pictures that mean the same function or
 * instance point to one object, whatever they have heard so far, and nobody looks anything up.
 *
 * Who may touch what: a field that says "any" is touched by every worker, with atomics; one that says "own" is an array by worker (worker_index()) whose element only that worker writes, and which others read to add up.
 * No lock is on the path of a request. Fields of different writers are a cache line apart.
 */
#pragma once

#include "record.h"
#include "upstream/eject.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WORKERS_MAX 64U /* a mask of workers is 64 bits */
#define CACHE_LINE  64

struct access_log;
struct gw_counters;
struct rate_table;
struct auth_common;

/* A counter that one thread writes and others read: neither a locked instruction nor a torn value. */
typedef _Atomic uint64_t shared_count;

static inline void shared_add(shared_count *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t shared_read(const shared_count *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* The first different status codes of a function, in the order in which they came; 0: free. metrics/metrics.h */
#define SHARED_CODES 24

struct shared_function {
    _Atomic unsigned refs; /* any */
    unsigned workers;      /* constant */
    /* any: of rare use */
    _Atomic uint16_t codes[SHARED_CODES];
    _Atomic(struct gw_counters *) counters[WORKERS_MAX]; /* own; NULL: that worker has not met the function */
    /* any: every request */
    alignas(CACHE_LINE) _Atomic unsigned requests; /* under way, in whatever state */
    /* any: requests of functions that have a rate (http/gate.c) */
    alignas(CACHE_LINE) _Atomic uint64_t rate_full_ns;
    _Atomic(struct rate_table *) rate_clients; /* made when it is needed first */
    /* any: whenever requests wait (upstream/wait_queue.c) */
    alignas(CACHE_LINE) _Atomic unsigned waiting; /* requests in the queues of all workers */
    _Atomic uint64_t waiting_workers;             /* bit i: worker i has some */
    _Atomic uint64_t woken_workers;               /* bit i: a letter to worker i says that there may be a place */
};

struct shared_instance {
    _Atomic unsigned refs;           /* any */
    _Atomic unsigned draining_heard; /* any: so many workers know that it drains, and send no more there */
    _Atomic bool reported_idle;      /* any */
    _Atomic bool ejected;            /* any: out of the choice although READY */
    /* any: every request */
    alignas(CACHE_LINE) _Atomic unsigned in_flight; /* places taken, by all workers */
    struct eject eject;                             /* any: read with it, changed when requests fail */
};

/* Why the gateway took no connection or no request, for the metrics. */
enum gateway_refusal {
    REFUSED_FULL,     /* a listener rested: all places are taken */
    REFUSED_CLIENT,   /* one address had its share of the connections */
    REFUSED_FUNCTION, /* so had the requests of one function */
    REFUSED_PROXY,    /* a connection without the PROXY header that is due, or not from a trusted proxy */
    REFUSED_RATE,     /* a rate of [http] was exceeded */
    REFUSED_FLOOD,    /* a client of HTTP/2 sent what costs only us: its connection was ended */
    REFUSED_COUNT
};

#define SHARED_DNS_RESULTS 6U

/* Counters of a worker that belong to no function: own. */
struct shared_slot {
    alignas(CACHE_LINE) shared_count refused[REFUSED_COUNT];
    shared_count dns_results[SHARED_DNS_RESULTS]; /* dns/: how many queries came to which end */
    _Atomic unsigned conns;                       /* any: connections that the worker has, or that are on their way to it */
};

/* One a process: made before its first worker, freed behind the last. */
struct shared_gateway {
    unsigned workers;                                 /* constant since before there was a second thread, or a function: 1 .. WORKERS_MAX */
    struct access_log *log;                           /* log/access_log.h */
    struct tls *tls;                                  /* tls/: locked inside, once a handshake; borrowed; NULL: none (tests) */
    struct auth_common *auth;                         /* auth/auth.h: locked inside, once a password */
    struct clients *clients;                          /* connections of an address, locked inside: once a connection */
    _Atomic bool stopping;                            /* written by worker 0 */
    _Atomic bool sockmap;                             /* constant but for the first moments: connections to instances may ask for the short way (sockmap.h) */
    alignas(CACHE_LINE) _Atomic unsigned connections; /* any: of clients, now */
    struct record_listening listening;                /* worker 0's: the listeners' ports */
    struct shared_slot slots[WORKERS_MAX];            /* own */
};

struct shared_gateway *shared_gateway_new(unsigned workers); /* NULL: no memory */
void shared_gateway_free(struct shared_gateway *g);
uint64_t shared_refused(const struct shared_gateway *g, enum gateway_refusal why);
uint64_t shared_dns_results(const struct shared_gateway *g, unsigned result);

/* One more connection of a client, unless there are `most`; and which worker is to have it: the one that has the fewest, or this one. Each true needs a gone. */
bool shared_connection_enter(struct shared_gateway *g, unsigned most);
unsigned shared_connection_place(struct shared_gateway *g, unsigned worker, bool may_be_another);
void shared_connection_leave(struct shared_gateway *g); /* entered, and had no place yet */
void shared_connection_gone(struct shared_gateway *g, unsigned worker);

/* With one reference, the caller's. NULL: no memory. */
struct shared_function *shared_function_new(unsigned workers);
struct shared_function *shared_function_ref(struct shared_function *f);
void shared_function_unref(struct shared_function *f); /* NULL: nothing. The last one frees the counters too */

/* The worker's counters, made when there are none yet. NULL: no memory. */
struct gw_counters *shared_function_counters(struct shared_function *f, unsigned worker);

/* One more request of the function, unless it has `most` (0: any number); each true needs a leave. */
bool shared_function_enter(struct shared_function *f, unsigned most);
void shared_function_leave(struct shared_function *f);

struct shared_instance *shared_instance_new(void);
struct shared_instance *shared_instance_ref(struct shared_instance *i);
void shared_instance_unref(struct shared_instance *i);

/* A place in the instance, unless `concurrency` (0: any number) are taken; strict over all workers. Each true needs a leave. */
bool shared_instance_enter(struct shared_instance *i, unsigned concurrency);
unsigned shared_instance_leave(struct shared_instance *i); /* how many are still taken */

static inline unsigned shared_instance_load(const struct shared_instance *i)
{
    return atomic_load_explicit(&i->in_flight, memory_order_relaxed);
}
