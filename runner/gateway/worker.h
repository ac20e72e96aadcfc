/* worker.h: one worker, as the rooms of the gateway's core see it. Everything of a worker is used by its one thread only. */
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

#define WORKER_LISTENERS_MAX 8
#define WORKER_BRIDGES_MAX   64 /* more than there are bridges of one runner */
#define WORKER_DATE_MAX      48

struct listener {
    struct watch watch;
    struct timer pause; /* armed: accepting waits for descriptors */
    struct worker *worker;
    int fd;
    struct listener_type type;
};

/* A public listener at a bridge, as RECORD_LISTENER brought it. */
struct bridge_listener {
    struct listener listener; /* fd -1: unused */
    uint32_t addr, port;
    bool heard; /* since the last WELCOME */
};

struct worker {
    struct loop *loop;
    struct link *link;
    struct picture picture;
    struct dns *dns;
    struct auth *auth;
    struct buffer_pool buffers;
    struct pipe_pool pipes;
    struct listener listeners[WORKER_LISTENERS_MAX];
    unsigned nlisteners;
    struct bridge_listener bridges[WORKER_BRIDGES_MAX];
    struct conn *conns;                                          /* all */
    unsigned nconns;                                             /* of this worker */
    unsigned conns_max, client_conns_max, function_requests_max; /* of all workers; the latter two: 0 is any number */
    struct exchange *free_exchanges;
    unsigned nfree_exchanges;
    struct conn *again, *again_now; /* conns that gave way to others: they go on in the next turn; in this one */
    bool over;                      /* the loop runs no more */
    struct timer again_timer, stop_timer, trim_timer;
    bool stopping;
    bool has_access_log; /* among the files that came since the last RECORD_FILES */
    struct request_ids request_ids;
    uint64_t date_second;
    char date[WORKER_DATE_MAX]; /* "Date: ...\r\n" of date_second */
};

/* link_path: the runner's socket. */
int worker_new(struct loop *loop, struct shared_gateway *gateway, const char *link_path, struct worker **ret, struct diag *d);
void worker_free(struct worker *w);

/* Takes fd, a listening socket. */
int worker_listen(struct worker *w, int fd, struct listener_type type, struct diag *d);

/* Accepts no more; loop_stop(0) when the last request is over, in grace_ns at the latest. */
void worker_stop(struct worker *w, uint64_t grace_ns);

/* Memory that a burst needed goes back to the kernel after a while: called where it becomes free. */
void worker_trim_soon(struct worker *w);

/* "Date: ...\r\n" of this second. */
const char *worker_date(struct worker *w);

/* ---- listener.c ---- */
/* fd is the listener's only when it succeeds. */
int listener_open(struct listener *l, struct worker *w, int fd, struct listener_type type, struct diag *d);
void listener_close(struct listener *l);

/* ---- bridge_listener.c: listeners at the addresses of bridges, for functions ---- */
void worker_bridge_listener(struct worker *w, const struct record_listener *rec, int fd); /* takes fd */
void bridge_listener_init(struct worker *w);
void bridge_listener_on_welcome(struct worker *w);
void bridge_listener_on_synced(struct worker *w); /* those that the runner did not name again go */
void bridge_listener_close_all(struct worker *w);
