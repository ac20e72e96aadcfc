/* team_private.h: shared by team.c and team_listeners.c alone. */
#pragma once

#include "diag.h"
#include "team.h"

#include <pthread.h>

/* A listener of the process, and one that a worker serves. */
struct team_listener {
    int fd;
    struct listener_type type;
    bool shared; /* with other workers */
};

/* One worker, as the team sees it. */
struct member {
    struct letter ended; /* first: read_ended() */
    struct letter stop;
    struct team *team;
    unsigned number;
    struct worker *worker; /* of its thread alone */
    pthread_t thread;
    bool started;
    uint64_t grace_ns;               /* of the stop letter, + 1; 0: none was posted */
    struct team_listener *listeners; /* to be opened by the thread */
    unsigned nlisteners;
    struct diag diag; /* why it ended */
    struct mailbox box;
    alignas(CACHE_LINE) _Atomic uint64_t applied; /* number of the last broadcast; written by its thread alone */
};

struct held;

struct team {
    struct shared_gateway *gateway;
    struct worker *first;
    unsigned cpus;
    bool threads_started, failed;
    unsigned running; /* threads that have not said that they ended */
    uint64_t told;    /* broadcasts */
    struct held *held, **held_last;
    struct timer look;
    struct team_listener listeners[WORKER_LISTENERS_MAX];
    unsigned nlisteners;
    struct member members[WORKERS_MAX];
};

/* ---- team_listeners.c ---- */
void team_share_listeners(struct team *t);                  /* who serves which: fills members[].listeners */
void team_serve_listeners(struct team *t, unsigned number); /* worker 0 keeps its own */
void team_forget_listeners(struct team *t);
