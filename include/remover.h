/* remover.h: removes directory trees in child processes, one after the other: a tree of a million names takes seconds, which an event loop does not have. */
#pragma once

struct loop;
struct remover;

int remover_new(struct loop *l, struct remover **ret);

/*
 * Takes dirfd/name over: what can be removed within some milliseconds is gone on return, the rest goes in the background (at once, should there be no memory or no process for that). The name must be one that is swept at the next
 * start: whoever ends before it is done leaves it. Needs not to be told of failures: what cannot be removed stays for that sweep too.
 */
void remover_take(struct remover *r, int dirfd, const char *name);

/* Ends what is under way and forgets what waits. */
void remover_free(struct remover *r);
