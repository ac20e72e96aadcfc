/*
 * loop.h: one epoll loop per thread: descriptors and timers.
 *
 * A watch or a timer is embedded in its owner's structure; the loop never allocates for one after its tables have grown. epoll carries a table index and a generation, never a pointer: an event
 * that was already queued for a watch that has since been removed is recognised and dropped, so an owner may remove and free itself, or any other, inside a callback.
 * No function here blocks but loop_run. Not thread-safe: one loop, one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct watch;
struct timer;

typedef void watch_fn(struct watch *w, uint32_t events); /* EPOLLIN ... as epoll_wait(2) gave them */
typedef void timer_fn(struct timer *t);

struct watch {
    watch_fn *on_event;
    void *owner;
    struct loop *loop; /* private: NULL while not watched */
    int fd;            /* borrowed: loop_unwatch does not close it */
    uint32_t index;    /* private */
};

struct timer {
    timer_fn *on_expire;
    void *owner;
    struct loop *loop; /* private: NULL while not armed */
    uint64_t deadline_ns;
    uint32_t index; /* private */
};

/* Also lowers the thread's timer slack to 1 us (prctl(2), PR_SET_TIMERSLACK). */
int loop_new(struct loop **ret);
void loop_free(struct loop *l); /* runs what is still deferred */

int loop_watch(struct loop *l, struct watch *w, int fd, uint32_t events, watch_fn *on_event, void *owner);
int loop_modify(struct watch *w, uint32_t events);
void loop_unwatch(struct watch *w); /* of a watch that is not watched: nothing */

/* Arms or re-arms at a monotonic time (clock.h). on_expire and owner are set in the structure by its owner before. -ENOMEM when the heap cannot grow. */
int loop_arm(struct loop *l, struct timer *t, uint64_t deadline_ns);
int loop_arm_in(struct loop *l, struct timer *t, uint64_t delay_ns);
void loop_disarm(struct timer *t); /* of a timer that is not armed: nothing */

/* The time of the current turn, monotonic ns: read once after epoll_wait, cheap. */
uint64_t loop_now_ns(const struct loop *l);

/* Calls fn(arg) at the end of the current turn: the place to free what others may still point to in this turn. -ENOMEM. */
int loop_defer(struct loop *l, void (*fn)(void *arg), void *arg);

/* Runs until loop_stop; returns what was given to it, or -errno of epoll_wait. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l, int code);
