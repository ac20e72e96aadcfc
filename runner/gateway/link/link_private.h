/* link_private.h: shared by the files of link/ alone. */
#pragma once

#include "../gateway.h"
#include "../mail.h"

#include <stdatomic.h>
#include <sys/un.h>

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

#define LINK_REPLY_LOST "the connection to the runner was lost"

/* A request that a stub has made of the real link; private to link_stub.c. */
struct link_served;

struct link {
    struct loop *loop;
    struct link_events events;
    void *owner;
    struct sockaddr_un addr;
    int fd;
    bool stays_down, complained, paused;
    _Atomic bool up; /* stubs read it */
    struct watch watch;
    struct timer retry;
    uint64_t last_id;
    struct link_out out;
    struct link_table pending;
    struct link_served *served;
    /* of a stub; real NULL: this is a real one */
    struct link *real;
    struct mailbox *here, *there; /* of the stub's worker, of the real one's */
    _Alignas(8) char buf[RECORD_MAX];
};

int link_transmit_sure(struct link *l, const struct record_head *rec); /* of a record that must not get lost on a living connection */
void link_fail_pending(struct link *l);

/* ---- link_stub.c ---- */
int stub_request(struct link *l, struct record_head *rec, int fd, link_reply_fn *on_reply, void *arg, uint64_t *ret_id);
int stub_send(struct link *l, const struct record_head *rec);
void stub_report(struct link *l, const struct record_head *rec);
void stub_forget(struct link *l, uint64_t id);
void stub_forget_all(struct link *l); /* before the stub is freed */
void served_clear(struct link *l);    /* before the real one is freed */
