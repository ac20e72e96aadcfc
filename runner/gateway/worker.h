/* worker.h: one worker, as the rooms of the gateway's core see it. Everything of a worker is used by its one thread only; how threads talk is in team.h and mail.h, what they share in shared.h. */
#pragma once

#include "clients.h"
#include "gateway.h"
#include "http/buffer.h"
#include "http/pipe_pool.h"
#include "http/request_id.h"
#include "picture.h"
#include "upstream/upstream.h"

struct conn;
struct exchange;

#define WORKER_LISTENERS_MAX 160 /* public ones and those for TLS, one a thread each, and a few */
#define WORKER_BRIDGES_MAX   64  /* more than there are bridges of one runner */
#define WORKER_DATE_MAX      48

struct listener {
    struct watch watch;
    struct timer pause; /* armed: accepting waits for descriptors */
    struct worker *worker;
    int fd;
    struct listener_type type;
    bool shared; /* other workers accept from it too */
};

/* A public listener at a bridge, as RECORD_LISTENER brought it. */
struct bridge_listener {
    struct listener listener; /* fd -1: unused */
    uint32_t addr, port, index;
    bool heard; /* since the last WELCOME */
};

struct worker {
    struct team *team; /* of all workers */
    struct loop *loop;
    struct link *link;
    struct picture picture;
    struct dns *dns; /* worker 0's; NULL in the others */
    struct auth *auth;
    struct buffer_pool buffers;
    struct pipe_pool pipes;
    struct listener listeners[WORKER_LISTENERS_MAX];
    unsigned nlisteners;
    struct bridge_listener bridges[WORKER_BRIDGES_MAX];
    struct conn *conns;                                          /* all */
    unsigned conns_max, client_conns_max, function_requests_max; /* of all workers; the latter two: 0 is any number */
    struct exchange *free_exchanges;
    unsigned nfree_exchanges;
    struct conn *again, *again_now; /* conns that gave way to others: they go on in the next turn; in this one */
    bool over;                      /* the loop runs no more */
    struct timer again_timer, stop_timer, trim_timer;
    bool stopping;
    int short_maps[RECORD_SOCKMAP_ENDS], short_maps_before[RECORD_SOCKMAP_ENDS]; /* of worker 0: upstream/shortway.c */
    bool has_access_log;                                                         /* among the files that came since the last RECORD_FILES */
    struct request_ids request_ids;
    uint64_t stop_ns; /* then, whoever is still being served */
    uint64_t date_second;
    char date[WORKER_DATE_MAX]; /* "Date: ...\r\n" of date_second */
};

struct worker_parts {
    struct loop *loop;
    struct team *team; /* worker 0: comes later */
    struct shared_gateway *gateway;
    unsigned number;
    const char *link_path;  /* worker 0: the runner's socket */
    struct link *real_link; /* the others: worker 0's */
};

int worker_new(const struct worker_parts *parts, struct worker **ret, struct diag *d);
void worker_free(struct worker *w);

/* Another worker than 0: what worker 0 has heard, with its shared objects (picture.h). */
void worker_apply(struct worker *w, const struct record_head *rec, struct shared_function *function, struct shared_instance *instance);
void worker_apply_descriptor(struct worker *w, const struct record_head *rec, int fd); /* takes fd */

/* Takes fd, a listening socket. */
int worker_listen(struct worker *w, int fd, struct listener_type type, bool shared, struct diag *d);
void worker_unlisten(struct worker *w); /* all of them */

/* Accepts no more; loop_stop(0) when the last request is over (worker 0: and the last of the others has ended), in grace_ns at the latest. */
void worker_stop(struct worker *w, uint64_t grace_ns);
void worker_over(struct worker *w); /* a connection of a worker that stops is gone, or another worker: was it the last? */

/* Memory that a burst needed goes back to the kernel after a while: called where it becomes free. */
void worker_trim_soon(struct worker *w);

/* "Date: ...\r\n" of this second. */
const char *worker_date(struct worker *w);

/* ---- listener.c ---- */
/* fd is the listener's only when it succeeds. */
int listener_open(struct listener *l, struct worker *w, int fd, struct listener_type type, bool shared, struct diag *d);
void listener_close(struct listener *l);

/* ---- bridge_listener.c: listeners at the addresses of bridges, for functions ---- */
void worker_bridge_listener(struct worker *w, const struct record_listener *rec, int fd); /* takes fd */
void bridge_listener_init(struct worker *w);
void bridge_listener_on_welcome(struct worker *w);
void bridge_listener_on_synced(struct worker *w); /* those that the runner did not name again go */
void bridge_listener_close_all(struct worker *w);
