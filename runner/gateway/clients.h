/* clients.h: how many connections each client address has. An IPv6 client is its /64: whoever has one address there has all of them. Addresses with no connection take no memory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct client;

#define CLIENTS_BUCKETS 1024U

struct clients {
    struct client *buckets[CLIENTS_BUCKETS];
    uint64_t seed; /* so that nobody can choose addresses of one bucket */
};

void clients_init(struct clients *all);

/* One more connection of this peer, at most `most` (0: any number); NULL when it has those, and without memory. */
struct client *clients_take(struct clients *all, const struct sockaddr_storage *peer, unsigned most);
void clients_give(struct clients *all, struct client *c); /* NULL: nothing */
