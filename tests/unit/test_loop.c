/* The event loop: order of timers, stale events, removal inside callbacks, deferred work. */
#include "unit/check.h"

#include "clock.h"
#include "fd.h"
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct seen {
    struct loop *loop;
    int order[64];
    unsigned n, stop_at;
};

struct tick {
    struct timer timer;
    struct seen *seen;
    int number;
};

static void on_tick(struct timer *t)
{
    struct tick *k = t->owner;

    k->seen->order[k->seen->n++] = k->number;
    if (k->seen->n == k->seen->stop_at)
        loop_stop(k->seen->loop, 7);
}

static void test_timers_fire_in_order(void **state)
{
    static const int delays[] = {5, 1, 9, 3, 7, 2, 8, 4, 6, 0};
    struct tick ticks[COUNT(delays)];
    struct seen seen = {.stop_at = 8};

    assert_int_equal(loop_new(&seen.loop), 0);
    for (unsigned i = 0; i < COUNT(delays); i++) {
        ticks[i] = (struct tick){.timer = {.on_expire = on_tick, .owner = &ticks[i]}, .seen = &seen, .number = delays[i]};
        assert_int_equal(loop_arm_in(seen.loop, &ticks[i].timer, (uint64_t)delays[i] * NS_PER_MS), 0);
    }
    loop_disarm(&ticks[0].timer);                                                 /* 5 never comes */
    loop_disarm(&ticks[0].timer);                                                 /* twice is nothing */
    assert_int_equal(loop_arm_in(seen.loop, &ticks[2].timer, 0), 0);              /* 9 comes early */
    assert_int_equal(loop_arm_in(seen.loop, &ticks[9].timer, 20 * NS_PER_MS), 0); /* 0 comes late: not seen */
    assert_int_equal(loop_run(seen.loop), 7);
    static const int expected[] = {9, 1, 2, 3, 4, 6, 7, 8};
    for (unsigned i = 0; i < COUNT(expected); i++)
        assert_int_equal(seen.order[i], expected[i]);
    loop_free(seen.loop);
}

struct pair {
    struct loop *loop;
    struct watch a, b;
    unsigned events;
};

/* Both are readable in the same turn; the first one removes the other, whose event must not arrive. */
static void on_either(struct watch *w, uint32_t events)
{
    struct pair *p = w->owner;

    p->events++;
    loop_unwatch(w == &p->a ? &p->b : &p->a);
    loop_stop(p->loop, 0);
}

static void test_stale_events_are_dropped(void **state)
{
    struct pair p = {0};
    int a = eventfd(1, EFD_CLOEXEC), b = eventfd(1, EFD_CLOEXEC);

    assert_int_equal(loop_new(&p.loop), 0);
    assert_int_equal(loop_watch(p.loop, &p.a, a, EPOLLIN, on_either, &p), 0);
    assert_int_equal(loop_watch(p.loop, &p.b, b, EPOLLIN, on_either, &p), 0);
    assert_int_equal(loop_run(p.loop), 0);
    assert_int_equal(p.events, 1);
    loop_unwatch(&p.a);
    loop_unwatch(&p.b);
    loop_free(p.loop);
    fd_close(a);
    fd_close(b);
}

struct swap {
    struct loop *loop;
    struct watch first, second, third;
    int fd;
    unsigned second_events, third_events;
};

static void on_third(struct watch *w, uint32_t events)
{
    struct swap *s = w->owner;

    s->third_events++;
    loop_stop(s->loop, 0);
}

static void on_second(struct watch *w, uint32_t events)
{
    struct swap *s = w->owner;

    s->second_events++;
}

/* The slot of a removed watch is used again in the same turn: the queued event belongs to the old one. */
static void on_first(struct watch *w, uint32_t events)
{
    struct swap *s = w->owner;

    if (!s->second.loop)
        return;
    loop_unwatch(&s->second);
    assert_int_equal(loop_watch(s->loop, &s->third, s->fd, EPOLLIN, on_third, s), 0);
    assert_int_equal(s->third_events, 0);
}

static void test_reused_slot_gets_no_old_event(void **state)
{
    struct swap s = {0};
    int a = eventfd(1, EFD_CLOEXEC), b = eventfd(1, EFD_CLOEXEC);

    s.fd = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(loop_new(&s.loop), 0);
    assert_int_equal(loop_watch(s.loop, &s.first, a, EPOLLIN, on_first, &s), 0);
    assert_int_equal(loop_watch(s.loop, &s.second, b, EPOLLIN, on_second, &s), 0);
    assert_int_equal(loop_run(s.loop), 0);
    assert_int_equal(s.second_events, 0);
    assert_int_equal(s.third_events, 1);
    loop_unwatch(&s.first);
    loop_unwatch(&s.third);
    loop_free(s.loop);
    fd_close(a);
    fd_close(b);
    fd_close(s.fd);
}

static unsigned deferred_runs;

static void on_deferred(void *arg)
{
    struct loop *l = arg;

    if (++deferred_runs == 1)
        loop_defer(l, on_deferred, l); /* one may defer another: same turn */
    else
        loop_stop(l, 3);
}

static void test_deferred(void **state)
{
    struct loop *l;

    deferred_runs = 0;
    assert_int_equal(loop_new(&l), 0);
    struct tick tick = {.timer = {.on_expire = on_tick, .owner = &tick}};
    struct seen seen = {.loop = l, .stop_at = 99};
    tick.seen = &seen;
    loop_arm_in(l, &tick.timer, 0);
    loop_defer(l, on_deferred, l);
    assert_int_equal(loop_run(l), 3);
    assert_int_equal(deferred_runs, 2);
    loop_free(l);
}

/* ---- random operations beside a model ---- */

#define CROWD 300

struct crowd {
    struct loop *loop;
    struct crowd_timer {
        struct timer timer;
        struct crowd *crowd;
        uint64_t deadline_ns; /* of the model; 0: not armed */
    } timers[CROWD];
    uint64_t last_ns, fired, moved, cancelled;
};

static void crowd_arm(struct crowd *c, struct crowd_timer *t, uint64_t in_ns)
{
    uint64_t deadline = clock_mono_ns() + in_ns;

    c->moved += t->deadline_ns != 0;
    t->deadline_ns = deadline;
    assert_int_equal(loop_arm(c->loop, &t->timer, deadline), 0);
}

static void crowd_change(struct crowd *c)
{
    struct crowd_timer *t = &c->timers[random() % CROWD];

    if (random() % 4) {
        crowd_arm(c, t, (uint64_t)random() % (random() % 8 ? 3 * NS_PER_MS : 40 * NS_PER_US));
    } else {
        c->cancelled += t->deadline_ns != 0;
        t->deadline_ns = 0;
        loop_disarm(&t->timer);
    }
}

/* It is the earliest of all, it was armed, and its time has come. */
static void on_crowd(struct timer *timer)
{
    struct crowd_timer *t = timer->owner;
    struct crowd *c = t->crowd;

    assert_int_not_equal(t->deadline_ns, 0);
    assert_true(t->deadline_ns <= clock_mono_ns());
    for (unsigned i = 0; i < CROWD; i++)
        assert_true(c->timers[i].deadline_ns == 0 || c->timers[i].timer.deadline_ns >= timer->deadline_ns);
    t->deadline_ns = 0;
    c->fired++;
    if (clock_mono_ns() >= c->last_ns)
        return; /* those that are armed come, and no more */
    for (int i = 0; i < 3; i++)
        crowd_change(c);
}

static void on_crowd_over(struct timer *t)
{
    struct crowd *c = t->owner;

    for (unsigned i = 0; i < CROWD; i++) /* nobody was forgotten: a change takes 3 ms at most */
        assert_int_equal(c->timers[i].deadline_ns, 0);
    loop_stop(c->loop, 0);
}

static void test_random_timers(void **state)
{
    struct crowd *c = calloc(1, sizeof(*c));
    struct timer over = {.on_expire = on_crowd_over, .owner = c};

    assert_non_null(c);
    srandom(7);
    assert_int_equal(loop_new(&c->loop), 0);
    c->last_ns = clock_mono_ns() + 150 * NS_PER_MS;
    for (unsigned i = 0; i < CROWD; i++) {
        c->timers[i] = (struct crowd_timer){.timer = {.on_expire = on_crowd, .owner = &c->timers[i]}, .crowd = c};
        crowd_arm(c, &c->timers[i], (uint64_t)random() % (100 * NS_PER_MS));
    }
    assert_int_equal(loop_arm(c->loop, &over, c->last_ns + 4 * NS_PER_MS), 0);
    assert_int_equal(loop_run(c->loop), 0);
    assert_true(c->fired > CROWD && c->moved > 100 && c->cancelled > 20);
    loop_free(c->loop);
    free(c);
}

/* 50 us are 50 us: the readiness of an instance is polled with them. */
static void on_short(struct timer *t)
{
    struct seen *seen = t->owner;

    if (++seen->n == seen->stop_at)
        loop_stop(seen->loop, 0);
    else
        assert_int_equal(loop_arm_in(seen->loop, t, 50 * NS_PER_US), 0);
}

static void test_short_timers_are_exact(void **state)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < 300 && best >= 20 * 300 * NS_PER_US; i++) { /* until it was so once: the machine has others to serve */
        struct seen seen = {.stop_at = 20};
        struct timer t = {.on_expire = on_short, .owner = &seen}, far = t;
        uint64_t begin;

        assert_int_equal(loop_new(&seen.loop), 0);
        assert_int_equal(loop_arm_in(seen.loop, &far, 3600 * NS_PER_SEC), 0);
        begin = clock_mono_ns();
        assert_int_equal(loop_arm_in(seen.loop, &t, 50 * NS_PER_US), 0);
        assert_int_equal(loop_run(seen.loop), 0);
        if (clock_mono_ns() - begin < best)
            best = clock_mono_ns() - begin;
        loop_free(seen.loop);
    }
    assert_true(best >= 20 * 50 * NS_PER_US);
    assert_true(best < 20 * 300 * NS_PER_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_fire_in_order),
        cmocka_unit_test(test_stale_events_are_dropped),
        cmocka_unit_test(test_reused_slot_gets_no_old_event),
        cmocka_unit_test(test_deferred),
        cmocka_unit_test(test_random_timers),
        cmocka_unit_test(test_short_timers_are_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
