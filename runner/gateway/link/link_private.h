/* link_private.h: shared by the files of link/ alone. */
#pragma once

#include "../gateway.h"

/* Records that the socket did not take at once, in their order. */
struct link_out_item;
struct link_out {
    struct link_out_item *head, *last;
    unsigned count;
};

/* Copies the record and duplicates fd (or -1). */
int link_out_push(struct link_out *o, const void *data, size_t size, int fd);

/* Sends what the socket takes. 0: nothing waits any more; 1: something does; negative: the connection is broken. */
int link_out_flush(struct link_out *o, int sock);
void link_out_clear(struct link_out *o);

/* Requests without their REPLY, by id. */
#define LINK_PENDING_MAX 4096U
#define LINK_BUCKETS     256U

struct link_pending {
    struct link_pending *next;
    uint64_t id;
    link_reply_fn *on_reply;
    void *arg;
};
struct link_table {
    struct link_pending *buckets[LINK_BUCKETS];
    unsigned count;
};

int link_table_add(struct link_table *t, uint64_t id, link_reply_fn *on_reply, void *arg); /* -ENOBUFS when full */
const struct link_pending *link_table_find(const struct link_table *t, uint64_t id);
bool link_table_remove(struct link_table *t, uint64_t id, struct link_pending *ret); /* ret may be NULL */
bool link_table_remove_any(struct link_table *t, struct link_pending *ret);
