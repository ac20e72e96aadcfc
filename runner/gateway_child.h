/* gateway_child.h: where no service manager starts fnd-gateway, the runner opens the listeners, starts it, and starts it again when it dies; the listeners stay open meanwhile, so that no connection is refused. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct config;
struct diag;
struct gateway_child;
struct loop;

/* The ids that the gateway runs under: config's user, or, where there is no such user, the id below the image range. */
void gateway_ids(const struct config *c, uid_t *ret_uid, gid_t *ret_gid);

/* Binds the TCP listeners that the configuration names; leaves no trace on failure. -EADDRINUSE names the address and the remedy. Starts nothing yet. */
int gateway_child_new(const struct config *c, struct loop *loop, const char *program, struct gateway_child **ret, struct diag *d);

/* Binds RUN/fnd.sock, in place of one that is there: the caller knows that no other daemon uses it. */
int gateway_child_listen_api(struct gateway_child *g, struct diag *d);
int gateway_child_start(struct gateway_child *g, struct diag *d);
void gateway_child_set_hook(struct gateway_child *g, void (*on_end)(void *owner), void *owner); /* called whenever it ended though nobody asked it to */
void gateway_child_stop(struct gateway_child *g);                                               /* SIGTERM; not started again */
void gateway_child_free(struct gateway_child *g);                                               /* waits at most a second, then kills */
