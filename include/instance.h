/*
 * instance.h: the life of functions and instances: slots made ahead, starts, ends, replacements, deploys, desired scale.
 *
 * The manager owns all of it and runs on the runner's loop; it never blocks for longer than a slot's network takes to make. What changes is told through hooks, in the records of the runner protocol, so that
 * the snapshot and the pushes are one thing. Requests are answered through hooks->reply, at once or later, exactly once each.
 */
#pragma once

#include "record.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct cg_root;
struct config;
struct diag;
struct loop;
struct manager;
struct net;
struct net_options;
struct sandbox_kit;
struct store;
struct volumes;

struct manager_hooks {
    void (*push)(void *owner, const struct record_head *rec);                           /* FUNCTION, POLICY, INSTANCE */
    void (*reply)(void *owner, uint64_t client, const struct record_head *rec, int fd); /* REPLY and what precedes it; fd borrowed, -1 none */
    bool (*gateway_up)(void *owner);                                                    /* is somebody there to probe and to drain? */
    void (*on_bridge)(void *owner, const char *name, struct in_addr addr);              /* a slot was made at this bridge; may be NULL */
    void (*on_stopped)(void *owner);                                                    /* manager_stop() is complete: nothing is left */
};

struct manager_parts { /* borrowed; they outlive the manager */
    const struct config *config;
    struct loop *loop;
    struct store *store;
    struct volumes *volumes;
    struct cg_root *cgroups;
    struct net *net;
    const struct net_options *net_options;
    struct sandbox_kit *kit;
    const char *unpack_path; /* of fnd-unpack */
    struct manager_hooks hooks;
    void *owner;
};

int manager_new(const struct manager_parts *parts, struct manager **ret, struct diag *d);
void manager_free(struct manager *m);

/* Reads the store, begins to make slots and to start what is wanted. A function whose version cannot be opened is reported in the log and shown with its failure; the others run. */
int manager_load(struct manager *m, struct diag *d);

/* Pushes every function and every instance. */
void manager_snapshot(struct manager *m);

/*
 * Requests, as records that passed record_check(). `client` names the connection; replies carry it back. DEPLOY, RUNTIME_PUT, EXEC and EXPORT take passed_fd over.
 * DEPLOY, RUNTIME_PUT, DEPLOY_END, RUNTIME_REMOVE, IMAGES_GET, PRUNE, REMOVE, SCALE, START, STOP, RESTART, LOG_OPEN, PLAN, EXEC, STATS_GET, DNS_OPEN, SECRET_SET, SECRET_REMOVE, SECRETS_GET, EXPORT, and the reports READY, UNHEALTHY, IDLE.
 */
void manager_request(struct manager *m, uint64_t client, const struct record_head *rec, int passed_fd);

/* The connection is gone: its unfinished deploys are given up, nobody waits for its reports. */
void manager_client_gone(struct manager *m, uint64_t client);

/* Ends every instance and slot in good order (hooks->on_stopped at the end). Calling it again skips draining and graces. */
void manager_stop(struct manager *m);
