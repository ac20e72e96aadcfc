/* network.h: the runner's network as one thing: bridges and slots (netns.h), the sockets at bridges, the resolvers of the host. */
#pragma once

#include "netns.h"

#include "loop.h"

struct bridges;
struct config;
struct control;
struct diag;
struct record_listening;
struct resolvers;

struct network {
    const struct config *config;
    struct loop *loop;
    struct control *control;
    struct net_options options;
    struct net *net;
    struct watch watch;
    struct bridges *bridges;
    struct resolvers *resolvers;
};

/* Fills the options; is there room for the slots, and is the subnet free? Before anything has been made; network_open() looks again. */
int network_check(struct network *n, const struct config *c, struct diag *d);
int network_open(struct network *n, const struct config *c, struct loop *loop, struct diag *d);

/* What is for a gateway: sockets at bridges, resolvers. */
int network_serve(struct network *n, struct control *control, struct diag *d);
void network_on_bridge(struct network *n, const char *name, struct in_addr addr);
void network_snapshot(struct network *n);
void network_on_listening(struct network *n, const struct record_listening *rec); /* net_listeners() */

void network_unserve(struct network *n); /* before its control goes */
void network_close(struct network *n);   /* removes everything from the host */
