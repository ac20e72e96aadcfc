/* bridges.h: the sockets at the addresses of bridges, where functions reach the gateway and its DNS forwarder. The runner makes them, because their ports need privilege, and passes them to each gateway that comes. */
#pragma once

#include <netinet/in.h>

struct bridges;
struct config;
struct control;

/* Both borrowed. NULL: out of memory. */
struct bridges *bridges_new(const struct config *c, struct control *control);
void bridges_free(struct bridges *b);

/* A slot was made at this bridge: makes and pushes what is not there yet. What cannot be bound is said in the log, with the remedy, and tried again at a later slot; functions start without it. */
void bridges_on_bridge(struct bridges *b, const char *name, struct in_addr addr);

/* For a snapshot: pushes every socket. */
void bridges_push(struct bridges *b);
