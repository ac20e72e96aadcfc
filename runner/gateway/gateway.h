/*
 * gateway.h: what the rooms of the gateway promise each other. Private to runner/gateway.
 *
 *   http/     parser, client connections, proxying; `exchange`: a request that the gateway answers itself
 *   route/    which function a path names; the errors people see
 *   upstream/ connections to instances, choice of an instance, waiting requests
 *   health/   readiness of starting instances, /ping of ready ones
 *   picture   functions and instances as the runner last told, one per worker
 *   link/     the runner protocol
 *   dns/      what functions look up
 *   tls/      certificates, and connections that TLS carries
 *   auth/     passwords and tokens
 *   api/      /api/v1, metrics/ the /metrics page
 *
 *   shared    what all workers must agree on: places in an instance, requests of a function, connections
 *
 * One worker is one thread with its own loop, picture, connections and counters. What is not in shared.h is used by its worker's thread alone, so nothing is locked. Records from the runner are applied to each worker's
 * picture. (There is one worker so far.)
 */
#pragma once

#include "diag.h"
#include "loop.h"
#include "record.h"
#include "shared.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct auth;
struct worker;
struct link;
struct exchange;
struct gw_function;
struct gw_instance;
struct picture_events;

/* ---- link/link.h ---- */

struct link_events {
    void (*on_record)(void *owner, const struct record_head *rec); /* what is pushed without a descriptor: WELCOME, FUNCTION, INSTANCE, ... SYNCED; checked */
    void (*on_descriptor)(void *owner, const struct record_head *rec,
                          int fd); /* LISTENER, FILE, SOCKMAP; fd is the callee's; never -1. May be NULL: nobody wants any */
    /* Each REPLY, before who asked hears it; true: taken, with its descriptor, until link_answer(). May be NULL. */
    bool (*hold)(void *owner, const struct record_reply *rec, int fd);
    void (*on_down)(void *owner); /* the runner went away; reconnecting goes on by itself, every 100 ms */
};

/* Connects in the background; returns at once. */
int link_open(struct loop *loop, const char *path, const struct link_events *events, void *owner, struct link **ret);
void link_free(struct link *l);
bool link_is_up(const struct link *l);
void link_stay_down(struct link *l); /* once it is down: a gateway that ends must not take the place of the one that comes after it */

void link_hang_up(struct link *l);                                       /* in the next turn: whatever was missed comes with the next snapshot */
void link_pause(struct link *l, bool pause);                             /* nothing is read from the runner meanwhile */
void link_answer(struct link *l, const struct record_head *rec, int fd); /* what was held */

/*
 * The link of a worker that has none: everything goes over `real`, by letters between the boxes of the two workers. It behaves as a real one, but that a request which the real one refuses ends with a REPLY. Nothing is
 * pushed to it. real and both boxes outlive it.
 */
struct mailbox;
int link_open_stub(struct loop *loop, struct link *real, struct mailbox *here, struct mailbox *there, struct link **ret);

/* READY, UNHEALTHY, IDLE; dropped while the link is down (the next snapshot makes up for it). */
void link_report(struct link *l, uint32_t type, uint64_t instance, const char *text);

/*
 * Called for every TEXT, CONFIG, STATS record of the request and at last, exactly once, for its REPLY (made up with ECONNRESET if the link went down). fd: a passed descriptor, the callee's now, or -1.
 */
typedef void link_reply_fn(void *arg, const struct record_head *rec, int fd);

/* Sends rec (head.type and head.size set; head.id is filled in) with fd (or -1, borrowed). The id serves link_forget and RECORD_DEPLOY_END. */
int link_request(struct link *l, struct record_head *rec, int fd, link_reply_fn *on_reply, void *arg, uint64_t *ret_id);
int link_send(struct link *l, const struct record_head *rec); /* with its own id, no reply expected besides that request's: DEPLOY_END */
void link_forget(struct link *l, uint64_t id);                /* on_reply will not be called any more */

/* ---- picture ---- */

/* Counters of one function in one worker; monotonic, they stay when its instances go. Code classes and buckets: metrics/metrics.h. */
struct gw_counters;

struct gw_instance {
    struct record_instance rec;
    struct gw_function *function;
    struct gw_instance *next;       /* of the function */
    struct gw_instance *next_any;   /* of the picture */
    struct record_stats stats;      /* the newest that was asked for; 0 before */
    struct shared_instance *shared; /* a reference; never NULL */
    bool draining_heard;            /* this worker is counted in shared->draining_heard */
    void *upstream;                 /* upstream/: kept connections */
    void *health;                   /* health/: probe */
    uint32_t heard;                 /* private to picture.c: the snapshot that named it last */
};

struct gw_function {
    struct record_function rec;
    struct gw_function *next;
    struct gw_instance *instances;
    unsigned ready;                    /* instances in state READY */
    struct shared_function *shared;    /* a reference; never NULL */
    struct gw_counters *counters;      /* this worker's, in `shared` */
    uint64_t gone_cpu_ns;              /* used by instances that are gone, as last heard */
    struct spec_http *http;            /* [http]; NULL: it says nothing */
    uint64_t hits[RECORD_LIMIT_COUNT]; /* of limits, as the runner last told */
    void *queue;                       /* upstream/: requests that wait */
    void *dns;                         /* dns/: what its instances may look up; NULL: nothing */
    unsigned refs;                     /* the picture's and one a request of this worker; private to picture.c, as are the following */
    uint32_t heard;
    struct gw_function *next_hash;
};

/* route/host_routes.h: hosts and paths that functions claim. Holds pointers into functions: whoever takes one away, or changes its claims, says so (stale) before the next lookup, which then builds the table anew. */
struct host_routes {
    struct host_claim *claims;
    struct host_claim **buckets; /* by host */
    unsigned nclaims, nbuckets;
    bool stale;
};

struct picture {
    struct gw_function *functions; /* in the order of their names */
    struct host_routes hosts;      /* what they claim */
    struct gw_instance *instances;
    struct record_welcome welcome;          /* head.type 0 before the first WELCOME */
    struct settings settings;               /* never empty */
    struct shared_gateway *gateway;         /* of all workers; borrowed */
    unsigned worker;                        /* this one's number: 0 .. gateway->workers - 1 */
    struct record_host host;                /* the newest that was asked for; head.type 0 before */
    bool synced;                            /* a whole snapshot has been heard once; it stays true while a later one comes in */
    uint32_t snapshot;                      /* private to picture.c, as are the following */
    struct shared_function *given_function; /* of the record that is being applied: what worker 0 made for it */
    struct shared_instance *given_instance;
    struct gw_function **hash;
    unsigned nfunctions, hash_size;
    const struct picture_events *events;
    void *owner;
    struct record_network network;    /* as the runner last told */
    struct stats_wait *stats_waiters; /* metrics/metrics_stats.c: who waits for the STATS_GET under way */
    uint64_t stats_ns;                /* metrics/metrics_stats.c: when the last one was complete (monotonic), 0 never */
};

struct gw_function *picture_function(const struct picture *p, const struct fn_id *id);    /* ignores case; NULL */
struct gw_function *picture_function_by_number(const struct picture *p, uint64_t number); /* as the runner numbers them; NULL */
struct gw_instance *picture_instance(const struct picture *p, uint64_t instance);

/* This worker's counters. */
static inline struct shared_slot *picture_slot(const struct picture *p)
{
    return &p->gateway->slots[p->worker];
}

/* ---- a worker, as api/ and metrics/ see it ---- */

struct loop *worker_loop(struct worker *w);
struct link *worker_link(struct worker *w);
struct picture *worker_picture(struct worker *w);
struct auth *worker_auth(struct worker *w); /* auth/auth.h */

/* ---- http/exchange.h: a request that the gateway answers itself ---- */

enum listener_kind { LISTENER_PUBLIC, LISTENER_ADMIN, LISTENER_API };

struct listener_type {
    enum listener_kind kind;
    bool tls;   /* its connections begin with a TLS handshake */
    bool inner; /* at a bridge: its clients are functions, and no proxy stands before it */
};

struct exchange_request {
    const char *method; /* "GET" */
    const char *path;   /* as it came, percent-encoded, without the query */
    const char *query;  /* behind '?', or "" */
    int64_t body_bytes; /* Content-Length; 0 none; -1 chunked */
    bool wants_json;    /* Accept names application/json */
    bool exec;          /* Upgrade: EXEC_PROTOCOL (execframe.h) */
    enum listener_kind listener;
    bool inner;                /* came from a bridge: a function */
    const char *authorization; /* the field, if it is there once; "" else */
    const char *origin, *fetch_site, *host;
    const char *client; /* its address; "" for a unix socket */
    uid_t peer_uid;     /* LISTENER_API only (SO_PEERCRED) */
    pid_t peer_pid;
};

/* The texts live as long as the exchange. */
const struct exchange_request *exchange_request(const struct exchange *ex);
struct worker *exchange_worker(const struct exchange *ex);

/*
 * Who answers sets these before its entry function returns. All may be NULL.
 *   on_body     body bytes as they come (decoded); returns how many it took; taking fewer pauses until exchange_resume_body()
 *   on_body_end the body is complete
 *   on_drain    what was written with exchange_write() has gone out below the low mark
 *   on_abort    the client went away, or broke the framing, before the answer was complete: the exchange dies when it returns; not called after exchange_end()
 */
struct exchange_handler {
    size_t (*on_body)(struct exchange *ex, void *arg, const char *data, size_t len);
    void (*on_body_end)(struct exchange *ex, void *arg);
    void (*on_drain)(struct exchange *ex, void *arg);
    void (*on_abort)(struct exchange *ex, void *arg);
};
void exchange_handle(struct exchange *ex, const struct exchange_handler *h, void *arg);
void exchange_resume_body(struct exchange *ex);

/* A complete answer. headers: NULL or "Name: value\r\n" lines. The exchange is over: do not touch it again. */
void exchange_reply(struct exchange *ex, int status, const char *content_type, const char *headers, const void *body, size_t len);

/* An answer of unknown length: chunked (or until close, for HTTP/1.0). write returns false when more than 256 KB wait: stop until on_drain. */
void exchange_begin(struct exchange *ex, int status, const char *content_type);
bool exchange_write(struct exchange *ex, const void *data, size_t len);
void exchange_end(struct exchange *ex);
/* Breaks an answer off that has begun: the client sees that it is not whole. on_abort is called before it returns. */
void exchange_cut(struct exchange *ex);

/*
 * The client's connection, for somebody who will have it alone: borrowed; -EBUSY when bytes behind the head have been read already. hand_over answers 101 with that protocol, and then only closes: whoever has a
 * duplicate goes on. It must not send before the client has read the answer.
 */
int exchange_connection(const struct exchange *ex);
void exchange_hand_over(struct exchange *ex, const char *protocol, const char *headers);

/* The error form of DESIGN section 7: JSON where the request wants it (always for /api/), else one line of text. function may be NULL. retry_after in seconds, 0: none. Ends the exchange. */
void exchange_error(struct exchange *ex, int status, const char *code, const char *function, unsigned retry_after, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* ---- entry points that http/ calls for paths that are not a function's ---- */

void api_serve(struct exchange *ex);     /* /api/v1/..., /admin/api/v1/... */
void metrics_serve(struct exchange *ex); /* /metrics */

/* ---- metrics/: called by http/ once a request to a function is over ---- */

struct gw_counters *metrics_counters_new(_Atomic uint16_t *codes); /* codes: SHARED_CODES of them, of the function; borrowed */
void metrics_counters_free(struct gw_counters *c);
void metrics_request(struct gw_counters *c, int status, uint64_t duration_ns);
void metrics_ejection(struct gw_counters *c);
void metrics_start(struct gw_counters *c); /* an instance entered STARTING */
