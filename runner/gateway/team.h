/*
 * team.h: the workers of one gateway: threads, what the first tells the others, and their end. Every function is called by worker 0's thread, unless it says otherwise.
 *
 * Worker 0 is the process's first thread. It has the link to the runner, health probes, DNS, the admin listener and the API's, and hears the runner: each record is applied to its own picture and posted to the others, who
 * apply it to theirs in the same order. The other threads are started when the runner's first WELCOME says how many there are to be; until then worker 0 serves every listener by itself.
 */
#pragma once

#include "mail.h"
#include "worker.h"

struct team;

/* first: worker 0, which must live as long as the team. cpus: threads where the runner leaves it to us. */
int team_new(struct worker *first, unsigned cpus, struct team **ret, struct diag *d);
int team_free(struct team *t); /* ends and joins the threads; -EIO when one of them had failed */

/* A listening socket, taken; shared out when the threads start. */
int team_listen(struct team *t, int fd, struct listener_type type, struct diag *d);

/* The first one starts the threads; before worker 0 applies it. */
void team_on_welcome(struct team *t, const struct record_welcome *rec);

/* A record of the runner, when worker 0 has applied it. */
void team_on_record(struct team *t, const struct record_head *rec);

/* A record with a descriptor. True: it is another worker's, and so is fd. */
bool team_on_descriptor(struct team *t, const struct record_head *rec, int fd);

/* A REPLY is kept until every worker knows what worker 0 knew when it came: who has heard that his function is deployed may ask any of us for it. */
bool team_hold(struct team *t, const struct record_reply *rec, int fd);

/* The probes found out: the instance is READY, or not to be used any more. For all workers, this one too. */
void worker_set_ready(struct worker *w, struct gw_instance *inst);
void worker_eject(struct worker *w, struct gw_instance *inst);

void team_stop(struct team *t, uint64_t grace_ns); /* worker_stop() for the others */
bool team_is_over(const struct team *t);           /* worker 0 is alone */

/* A connection that was accepted here is that worker's, which has been counted as having it. Takes fd. Any worker's thread. */
void team_give_connection(struct worker *w, unsigned number, int fd, struct listener_type type, const struct sockaddr_storage *peer);

struct mailbox *team_box(struct team *t, unsigned number);

/* Worker `number` may have a place for those who wait for f there. Any worker's thread. */
void team_wake(struct worker *w, unsigned number, struct gw_function *f);
