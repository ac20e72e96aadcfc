/*
 * upstream.h: connections to instances, the choice of an instance, and requests that wait for one.
 *
 * A request's way: upstream_request() -> proxy_on_connection() with a connection, or it waits, or it fails at once. Its end: upconn_keep() or upconn_close(), each of which frees the place in the instance and
 * lets the next one in.
 */
#pragma once

#include "../gateway.h"
#include "../http/sock.h"

struct buffer;
struct exchange;
struct worker;

/* One connection to an instance: connecting, carrying `ex`, or idle in the instance's pool. */
struct upconn {
    struct sock sock;
    struct worker *worker;
    struct gw_instance *instance;
    struct upconn *next, **link; /* all of the instance */
    struct upconn *next_idle, **link_idle;
    struct exchange *ex;
    struct buffer *in; /* what has been read and not been used */
    uint64_t idle_since_ns;
    bool connecting;
    bool reused; /* carried a request before this one */
    bool idle;
    uint32_t short_cost; /* sock.mapped: of SOCKMAP_LIFETIME (sockmap.h) */
    bool trial;          /* of an instance that was out of the choice (eject.h) */
};

/* What a request met there: nothing of an answer, or a broken one; an answer. Draining, and clients that go away, are neither. */
void upstream_failed(struct upconn *u);
void upstream_worked(struct upconn *u);

/*
 * An instance of the function for ex, with a connection that may still be connecting; its place is taken (in_flight). NULL and *ret_err 0: none can take it now; NULL and -errno: no connection could be begun.
 * avoid: an instance that has just failed it, or NULL.
 */
struct upconn *upstream_take(struct worker *w, struct gw_function *f, const struct gw_instance *avoid, struct exchange *ex, int *ret_err);

/* The request is over. keep: the connection is clean; else it is closed. Then somebody who waits may go. */
void upconn_release(struct upconn *u, bool keep);

/* Closes the idle connections of an instance. */
void upstream_flush_idle(struct gw_instance *inst);

/* ---- shortway.c: connections whose small messages go past TCP (sockmap.h) ---- */

/* The runner's maps: takes fd. */
void shortway_hold(struct worker *w, unsigned end, int fd);
void shortway_done(struct worker *w);

/* Can ex go by such a connection? Its request is small and there as a whole. */
bool shortway_fits(const struct exchange *ex);
void shortway_ask(int fd);             /* before connect(2) */
void shortway_count(struct upconn *u); /* it gets a request */
bool shortway_is_worn(const struct upconn *u);

/* ---- wait_queue.c ---- */

struct waiter {
    struct waiter *next, *prev;
    struct exchange *ex;
    bool queued;
};

enum wait_answer { WAIT_QUEUED, WAIT_FULL, WAIT_HOPELESS };

/* May a request wait for an instance of f? Queues it; upstream_look_again() follows, once the request is in the state of one that waits. */
enum wait_answer upstream_wait(struct gw_function *f, struct waiter *wt);
void upstream_look_again(struct worker *w, struct gw_function *f);

/* Must a new request wait behind others, of this worker or of another one, although there may be a place? */
bool upstream_must_queue(const struct gw_function *f);

/* A place has become free, of an instance that has a limit: the next worker in turn that has somebody waiting gets it. */
void upstream_offer(struct worker *w, struct gw_function *f);
void upstream_offer_others(struct worker *w, struct gw_function *f); /* not this one, which is looking already */
void upstream_woken(struct worker *w, struct gw_function *f);        /* it is this one */
void upstream_wait_leave(struct gw_function *f, struct waiter *wt);

/* Something changed: lets those in who can go, fails those who wait in vain. */
void upstream_wake(struct worker *w, struct gw_function *f);

/* Will there be an instance soon, as far as one can know? */
bool upstream_hopeful(const struct gw_function *f);

/* ---- called when the picture changes ---- */

int upstream_function_new(struct worker *w, struct gw_function *f);
void upstream_function_gone(struct worker *w, struct gw_function *f);
int upstream_instance_new(struct worker *w, struct gw_instance *inst);
void upstream_instance_changed(struct worker *w, struct gw_instance *inst, uint32_t old_state);
void upstream_instance_gone(struct worker *w, struct gw_instance *inst);

/* Out of the choice, although it is READY: health/ said so to the runner. */
void upstream_eject(struct worker *w, struct gw_instance *inst);

/* ---- private to upstream/ ---- */

struct up_instance {
    struct worker *worker;
    struct gw_instance *instance;
    struct upconn *all, *idle;
    unsigned nidle;
    struct timer idle_timer;  /* the oldest idle one */
    struct timer drain_timer; /* DRAINING: what is still running is cut */
    struct timer due_timer;   /* out of the choice: those who wait may try it */
};

struct up_function {
    struct gw_instance **ready; /* may be chosen */
    unsigned nready, room;
    uint64_t seed;
    unsigned worker; /* whose it is */
    struct waiter *first, *last;
};

static inline struct up_instance *up_instance(const struct gw_instance *inst)
{
    return inst->upstream;
}

static inline struct up_function *up_function(const struct gw_function *f)
{
    return f->queue;
}

/* Its place is taken: shared_instance_leave(). *ret_trial: eject.h. */
struct gw_instance *upstream_pick(struct gw_function *f, const struct gw_instance *avoid, uint64_t now_ns, bool *ret_trial);
bool upstream_others_in(const struct gw_instance *inst, uint64_t now_ns); /* is another instance of its function in the choice? */
int upstream_list_ready(struct gw_function *f);                           /* makes `ready` anew */
bool upstream_has_place(const struct gw_function *f);
