/*
 * clients.h: how many connections each client address has, in all workers. An IPv6 client is its /64: whoever has one address there has all of them. Addresses with no connection take no memory.
 * Every function may be called by every thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct client;
struct clients;

struct clients *clients_new(void); /* NULL: no memory */
void clients_free(struct clients *all);
bool clients_empty(struct clients *all); /* for tests */

/* One more connection of this peer, at most `most` (0: any number); NULL when it has those, and without memory. */
struct client *clients_take(struct clients *all, const struct sockaddr_storage *peer, unsigned most);
void clients_give(struct clients *all, struct client *c); /* NULL: nothing */
