/* Which instance gets a request (upstream/pick.c): the one with the fewest, of two where there are many, never one beyond its limit whatever other threads do, and of those that failed only who is due. */
#include "unit/check.h"

#include "../../runner/gateway/upstream/upstream.h"
#include "clock.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define MANY 16U /* more than are looked at one by one */
#define NOW  (100 * NS_PER_SEC)

#define TIMES      1000 /* that the other worker gets a place */
#define LONGEST_NS (10 * NS_PER_SEC)

/* A worker's picture of a function. Of several workers each has its own, and all mean the same shared objects. */
struct fleet {
    struct gw_function f;
    struct up_function uf;
    struct gw_instance inst[MANY];
    struct gw_instance *ready[MANY];
};

static struct fleet *fleet_new(unsigned n, unsigned concurrency, const struct fleet *same)
{
    struct fleet *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->f.queue = &t->uf;
    t->f.rec.concurrency = concurrency;
    t->uf.ready = t->ready;
    t->uf.nready = t->uf.room = n;
    t->uf.seed = 1;
    for (unsigned i = 0; i < n; i++) {
        t->inst[i].function = &t->f;
        t->inst[i].shared = same ? shared_instance_ref(same->inst[i].shared) : shared_instance_new();
        assert_non_null(t->inst[i].shared);
        t->ready[i] = &t->inst[i];
    }
    return t;
}

static void fleet_free(struct fleet *t)
{
    for (unsigned i = 0; i < t->uf.nready; i++)
        shared_instance_unref(t->inst[i].shared);
    free(t);
}

static struct gw_instance *pick(struct fleet *t, const struct gw_instance *avoid, uint64_t now_ns)
{
    bool trial;

    return upstream_pick(&t->f, avoid, now_ns, &trial);
}

static unsigned load(const struct fleet *t, unsigned i)
{
    return shared_instance_load(t->inst[i].shared);
}

/* The difference between the instance with the most requests and the one with the fewest. */
static unsigned spread(const struct fleet *t)
{
    unsigned most = 0, least = UINT32_MAX;

    for (unsigned i = 0; i < t->uf.nready; i++) {
        most = load(t, i) > most ? load(t, i) : most;
        least = load(t, i) < least ? load(t, i) : least;
    }
    return most - least;
}

static void fails(struct gw_instance *inst, uint64_t now_ns)
{
    for (unsigned i = 0; i < EJECT_FAILURES; i++)
        eject_failed(&inst->shared->eject, false, true, now_ns);
}

static void test_fewest_of_few(void **state)
{
    struct fleet *t = fleet_new(8, 0, NULL);

    for (unsigned i = 0; i < 8 * 50; i++) {
        assert_non_null(pick(t, NULL, NOW));
        assert_true(spread(t) <= 1);
    }
    fleet_free(t);
}

/* Of 1600 requests each of 16 has 100. One taken at random would leave them some 40 apart; who looks at all of them would have them never more than one apart, and pays for each. The seed is given: always the same. */
static void test_fewer_of_two_among_many(void **state)
{
    struct fleet *t = fleet_new(MANY, 0, NULL);
    unsigned widest = 0;

    for (unsigned i = 0; i < MANY * 100; i++) {
        assert_non_null(pick(t, NULL, NOW));
        widest = spread(t) > widest ? spread(t) : widest;
    }
    assert_in_range(widest, 2, 8);
    fleet_free(t);
}

static void test_equals_take_turns(void **state)
{
    struct fleet *t = fleet_new(4, 0, NULL);
    unsigned times[4] = {0};

    for (unsigned i = 0; i < 400; i++) {
        struct gw_instance *inst = pick(t, NULL, NOW);

        times[inst - t->inst]++;
        shared_instance_leave(inst->shared);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_in_range(times[i], 50, 150);
    fleet_free(t);
}

/* The last places are found wherever they are, and then there is none. */
static void test_every_place_and_no_more(void **state)
{
    for (unsigned n = 1; n <= MANY; n++) {
        struct fleet *t = fleet_new(n, 3, NULL);

        for (unsigned i = 0; i < 3 * n; i++) {
            assert_true(upstream_has_place(&t->f));
            assert_non_null(pick(t, NULL, NOW));
        }
        assert_int_equal(spread(t), 0);
        assert_false(upstream_has_place(&t->f));
        assert_null(pick(t, NULL, NOW));
        fleet_free(t);
    }
}

static void test_avoided(void **state)
{
    struct fleet *t = fleet_new(3, 0, NULL);

    for (unsigned i = 0; i < 300; i++)
        assert_ptr_not_equal(pick(t, &t->inst[1], NOW), &t->inst[1]);
    assert_int_equal(load(t, 1), 0);
    fleet_free(t);
    t = fleet_new(1, 0, NULL);
    assert_null(pick(t, &t->inst[0], NOW));
    fleet_free(t);
}

static void test_who_is_out_gets_nothing_until_due_and_then_the_first(void **state)
{
    struct fleet *t = fleet_new(3, 0, NULL);
    bool trial;

    fails(&t->inst[0], NOW);
    assert_true(upstream_others_in(&t->inst[0], NOW));
    for (unsigned i = 0; i < 300; i++)
        assert_ptr_not_equal(pick(t, NULL, NOW), &t->inst[0]);
    atomic_store(&t->inst[0].shared->in_flight, 1000); /* however many it has */
    assert_ptr_equal(upstream_pick(&t->f, NULL, NOW + EJECT_FIRST_NS, &trial), &t->inst[0]);
    assert_true(trial);
    for (unsigned i = 0; i < 100; i++) { /* one trial at a time */
        assert_ptr_not_equal(upstream_pick(&t->f, NULL, NOW + EJECT_FIRST_NS, &trial), &t->inst[0]);
        assert_false(trial);
    }
    fleet_free(t);
}

/* All of them fail: that is no reason to try none. But who has no place has none. */
static void test_all_out(void **state)
{
    struct fleet *t = fleet_new(2, 1, NULL);
    bool trial;

    fails(&t->inst[0], NOW);
    fails(&t->inst[1], NOW);
    assert_false(upstream_others_in(&t->inst[0], NOW));
    for (unsigned i = 0; i < 2; i++) {
        assert_non_null(upstream_pick(&t->f, NULL, NOW, &trial));
        assert_true(trial);
    }
    assert_null(upstream_pick(&t->f, NULL, NOW, &trial));
    assert_int_equal(load(t, 0), 1);
    fleet_free(t);
}

/* ---- two workers at the same moment ---- */

/*
 * The other worker is a signal that comes every few microseconds, at any instruction of this one: as a thread on another processor, but on a busy machine too. What was seen to have a place may have none a moment later.
 */
static struct {
    struct fleet *fleet;
    struct gw_instance *volatile has; /* until this worker has looked */
    volatile sig_atomic_t times;
} other;

static void on_other_worker(int signal)
{
    if (other.has)
        return;
    other.has = pick(other.fleet, NULL, NOW);
    other.times += other.has != NULL;
}

static timer_t start_other_worker(void)
{
    struct sigaction act = {.sa_handler = on_other_worker, .sa_flags = SA_RESTART};
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec often = {{0, 10 * NS_PER_US}, {0, 10 * NS_PER_US}};
    timer_t timer;

    assert_int_equal(sigaction(SIGUSR1, &act, NULL), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &how, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    return timer;
}

static void test_strict_over_workers(void **state)
{
    const unsigned limit = 2;
    const uint64_t end = clock_mono_ns() + LONGEST_NS;
    struct fleet *t = fleet_new(1, limit, NULL);
    unsigned most = 0;
    timer_t timer;

    assert_non_null(pick(t, NULL, NOW)); /* so that there is one place to quarrel about */
    other.fleet = fleet_new(1, limit, t);
    timer = start_other_worker();
    for (unsigned i = 0; other.times < TIMES && (i % 1024 || clock_mono_ns() < end); i++) {
        struct gw_instance *inst = pick(t, NULL, NOW);

        most = load(t, 0) > most ? load(t, 0) : most;
        if (inst)
            shared_instance_leave(inst->shared);
        if (other.has) {
            shared_instance_leave(other.has->shared);
            other.has = NULL;
        }
    }
    signal(SIGUSR1, SIG_IGN); /* also what is pending */
    timer_delete(timer);
    assert_int_equal(most, limit);
    assert_true(other.times > 0);
    fleet_free(other.fleet);
    fleet_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fewest_of_few),     cmocka_unit_test(test_fewer_of_two_among_many),
        cmocka_unit_test(test_equals_take_turns), cmocka_unit_test(test_every_place_and_no_more),
        cmocka_unit_test(test_avoided),           cmocka_unit_test(test_who_is_out_gets_nothing_until_due_and_then_the_first),
        cmocka_unit_test(test_all_out),           cmocka_unit_test(test_strict_over_workers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
