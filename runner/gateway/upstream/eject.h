/*
 * eject.h: an instance whose requests fail one after the other leaves the choice for a while: 1 s, then 2 s, 4 s ... 60 s. Then one request is the trial: if it is answered, the instance is back, else it is out again, for
 * longer. Beside the health path, which says whether an instance lives; this is about what requests meet.
 *
 * Shared by all workers, without a lock: who loses a race over one change sees the other's, and both are right. Knows nothing of connections or HTTP.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define EJECT_FAILURES    3U                   /* in a row ... */
#define EJECT_WINDOW_NS   (30ULL * 1000000000) /* ... within this: a function that is asked once an hour may fail now and then */
#define EJECT_FIRST_NS    (1ULL * 1000000000)
#define EJECT_LONGEST_NS  (60ULL * 1000000000)
#define EJECT_FORGIVES_NS (60ULL * 1000000000) /* back in the choice for so long: the next delay is the first one again */

/* All 0: in the choice, nothing has happened. */
struct eject {
    _Atomic uint64_t until_ns; /* not before; 0: in the choice */
    _Atomic uint64_t since_ns; /* the first failure of the row */
    _Atomic uint64_t back_ns;  /* when it came back last; 0: never */
    _Atomic unsigned failures; /* in a row */
    _Atomic unsigned level;    /* 1 s << level is the delay */
    _Atomic bool trial;        /* a request is trying it */
};

enum eject_view { EJECT_IN, EJECT_DUE, EJECT_OUT }; /* may be chosen; by one request; not at all */
enum eject_view eject_view(const struct eject *e, uint64_t now_ns);

/* The one request. false: another one was quicker. force: whatever the time is, because there is nobody else; then there may be several. */
bool eject_begin_trial(struct eject *e, bool force);
void eject_end_trial(struct eject *e); /* it ended in neither way */

/* A request has failed there. trial: it was one. may_leave: somebody else is left in the choice. true: it has left the choice with this. */
bool eject_failed(struct eject *e, bool trial, bool may_leave, uint64_t now_ns);

/* A request was answered. true: it is back in the choice with this. */
bool eject_worked(struct eject *e, bool trial, uint64_t now_ns);
