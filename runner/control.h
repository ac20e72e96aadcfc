/* control.h: the runner's end of the runner protocol (record.h). One gateway at a time; a newer connection replaces the older one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct config;
struct config_source;
struct control;
struct diag;
struct loop;
struct manager;
struct record_head;
struct record_listening;

struct control_parts { /* borrowed */
    const struct config *config;
    const struct config_source *source;
    struct loop *loop;
    uid_t gateway_uid; /* who may connect, besides root */
    gid_t gateway_gid;
    void (*on_snapshot)(void *owner); /* a snapshot begins: what else than functions and instances belongs into it. May be NULL */
    int (*on_reload)(void *owner, char *ret_restart, size_t size, struct diag *d); /* RELOAD: config_reload(). May be NULL */
    void (*on_gateway)(void *owner);                                               /* a gateway has said HELLO and got its snapshot */
    void (*on_listening)(void *owner, const struct record_listening *rec);         /* checked. May be NULL */
    void *owner;
};

/* Binds RUN/gw/runner.sock (0600, owned by the gateway's user). */
int control_new(const struct control_parts *parts, struct control **ret, struct diag *d);
int control_open_accounts(struct control *c, struct diag *d); /* accounts.h, below the configured state directory */
void control_set_manager(struct control *c, struct manager *m);
void control_free(struct control *c);
bool control_is_up(const struct control *c);
void control_resend(struct control *c); /* a new snapshot, since the configuration has changed */

/* The manager's hooks. Records for a connection that is gone are dropped; a gateway that does not read is cut off (it comes back and asks for a snapshot). */
void control_push(struct control *c, const struct record_head *rec);
void control_push_fd(struct control *c, const struct record_head *rec, int fd); /* fd borrowed */
void control_reply(struct control *c, uint64_t client, const struct record_head *rec, int fd);
