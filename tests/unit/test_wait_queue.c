/*
 * Requests that wait for an instance (upstream/wait_queue.c), without threads: three workers whose pictures mean the same function are played one after the other, so that each step between them can be looked at. Places
 * and connections are counters here; who is woken in another worker is written down, and told when the test says so.
 */
#include "unit/check.h"

#include "../../runner/gateway/http/http.h"
#include "../../runner/gateway/team.h"
#include "../../runner/gateway/worker.h"

#include <errno.h>
#include <string.h>

#define WORKERS 3U
#define NOBODY  99U

enum end { WAITS, SERVED, FAILED, BROKEN };

struct asker {
    struct exchange ex;
    enum end end;
    unsigned turn; /* the how manyth to be served */
};

static struct {
    struct shared_gateway gateway;
    struct shared_function function;
    struct worker workers[WORKERS];
    struct gw_function f[WORKERS];
    struct up_function uf[WORKERS];
    unsigned places, served, woken[WORKERS];
    int take_fails; /* -errno: no connection can be begun */
} world;

/* ---- the rooms beside it ---- */

struct upconn *upstream_take(struct worker *w, struct gw_function *f, const struct gw_instance *avoid, struct exchange *ex, int *ret_err)
{
    static struct upconn any;

    *ret_err = world.places > 0 ? world.take_fails : 0;
    if (world.places == 0 || world.take_fails)
        return NULL;
    world.places--;
    return &any;
}

bool upstream_has_place(const struct gw_function *f)
{
    return world.places > 0;
}

static void end(struct exchange *ex, enum end how)
{
    struct asker *a = (struct asker *)(void *)ex;

    assert_int_equal(a->end, WAITS);
    assert_false(ex->waiter.queued);
    a->end = how;
    a->turn = ++world.served;
}

void proxy_on_connection(struct exchange *ex, struct upconn *u)
{
    end(ex, SERVED);
}

void proxy_wait_failed(struct exchange *ex)
{
    end(ex, FAILED);
}

void proxy_up_failed(struct exchange *ex, int err)
{
    assert_int_equal(err, world.take_fails);
    end(ex, BROKEN);
}

void team_wake(struct worker *w, unsigned number, struct gw_function *f)
{
    world.woken[number]++;
}

/* ---- the world ---- */

static int set_up(void **state)
{
    memset(&world, 0, sizeof(world));
    world.gateway.workers = WORKERS;
    for (unsigned i = 0; i < WORKERS; i++) {
        world.workers[i].picture.gateway = &world.gateway;
        world.workers[i].picture.worker = world.uf[i].worker = i;
        world.f[i].rec.state = FUNCTION_ACTIVE;
        world.f[i].rec.wanted = 1;
        world.f[i].rec.concurrency = 1;
        world.f[i].rec.queue = 5;
        world.f[i].shared = &world.function;
        world.f[i].queue = &world.uf[i];
    }
    return 0;
}

static struct worker *worker(unsigned i)
{
    return &world.workers[i];
}

static struct gw_function *function(unsigned i)
{
    return &world.f[i];
}

static enum wait_answer asks(struct asker *a, unsigned i)
{
    *a = (struct asker){.end = WAITS};
    a->ex.waiter.ex = &a->ex;
    return upstream_wait(function(i), &a->ex.waiter);
}

/* A request is over in that worker: its place is free. */
static void leaves(unsigned i)
{
    world.places++;
    upstream_offer(worker(i), function(i));
}

static unsigned only_woken(void)
{
    unsigned who = NOBODY;

    for (unsigned i = 0; i < WORKERS; i++) {
        if (world.woken[i])
            assert_int_equal(who, NOBODY);
        if (world.woken[i])
            who = i;
        world.woken[i] = 0;
    }
    return who;
}

/* ---- one worker ---- */

static void test_first_come_first_served(void **state)
{
    struct asker a[5];

    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(asks(&a[i], 0), WAIT_QUEUED);
    upstream_wait_leave(function(0), &a[2].ex.waiter); /* its client went away */
    for (unsigned i = 0; i < 4; i++)
        leaves(0);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(a[i].turn, i < 2 ? i + 1 : i == 2 ? 0 : i);
    assert_int_equal(atomic_load(&world.function.waiting), 0);
    assert_int_equal(atomic_load(&world.function.waiting_workers), 0);
}

static void test_bounded_over_all_workers(void **state)
{
    struct asker a[7];

    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(asks(&a[i], i % WORKERS), WAIT_QUEUED);
    assert_int_equal(asks(&a[5], 2), WAIT_FULL);
    assert_false(a[5].ex.waiter.queued);
    upstream_wait_leave(function(1), &a[1].ex.waiter);
    upstream_wait_leave(function(1), &a[1].ex.waiter); /* once is enough */
    assert_int_equal(asks(&a[5], 0), WAIT_QUEUED);
    assert_int_equal(asks(&a[6], 0), WAIT_FULL);
}

/* Who comes now stands behind those who wait: in this worker always, in another one where a place is what they wait for. */
static void test_nobody_passes_the_queue(void **state)
{
    struct asker a;

    assert_false(upstream_must_queue(function(0)));
    assert_int_equal(asks(&a, 0), WAIT_QUEUED);
    assert_true(upstream_must_queue(function(0)));
    assert_true(upstream_must_queue(function(1)));
    for (unsigned i = 0; i < WORKERS; i++)
        function(i)->rec.concurrency = 0;
    assert_true(upstream_must_queue(function(0)));
    assert_false(upstream_must_queue(function(1)));
    upstream_wait_leave(function(0), &a.ex.waiter);
    assert_false(upstream_must_queue(function(0)));
}

static void test_in_vain(void **state)
{
    struct asker a, b, c;

    assert_int_equal(asks(&a, 0), WAIT_QUEUED);
    assert_int_equal(asks(&b, 0), WAIT_QUEUED);
    function(0)->rec.crash_loop = 1; /* and no instance is there */
    assert_int_equal(asks(&c, 0), WAIT_HOPELESS);
    upstream_wake(worker(0), function(0));
    assert_true(a.end == FAILED && b.end == FAILED);
    function(0)->rec.crash_loop = 0;
    assert_int_equal(asks(&c, 0), WAIT_QUEUED);
    function(0)->rec.state = FUNCTION_STOPPED;
    upstream_wake(worker(0), function(0));
    assert_int_equal(c.end, FAILED);
    assert_int_equal(atomic_load(&world.function.waiting), 0);
}

static void test_connections_that_cannot_be_begun(void **state)
{
    struct asker a, b;

    assert_int_equal(asks(&a, 0), WAIT_QUEUED);
    assert_int_equal(asks(&b, 0), WAIT_QUEUED);
    world.take_fails = -ECONNREFUSED;
    leaves(0);
    assert_true(a.end == BROKEN && b.end == BROKEN);
}

/* ---- several ---- */

/* The place goes to the next worker, round about, that has somebody: no worker keeps it for its own for ever. */
static void test_workers_take_turns(void **state)
{
    struct asker a[4];

    assert_int_equal(asks(&a[0], 0), WAIT_QUEUED);
    assert_int_equal(asks(&a[1], 1), WAIT_QUEUED);
    assert_int_equal(asks(&a[2], 2), WAIT_QUEUED);
    leaves(0);
    assert_int_equal(only_woken(), 1);
    upstream_woken(worker(1), function(1));
    assert_int_equal(a[1].end, SERVED);
    leaves(1);
    assert_int_equal(only_woken(), 2);
    upstream_woken(worker(2), function(2));
    leaves(2);
    assert_int_equal(only_woken(), 0);
    upstream_woken(worker(0), function(0));
    assert_true(a[0].end == SERVED && a[2].end == SERVED);
    leaves(0); /* nobody waits */
    assert_int_equal(only_woken(), NOBODY);
    assert_int_equal(asks(&a[3], 1), WAIT_QUEUED);
    upstream_offer(worker(1), function(1)); /* its own are the only ones */
    assert_int_equal(a[3].end, SERVED);
    assert_int_equal(only_woken(), NOBODY);
}

/* It became free while he went to the queue: nobody will give it back once more. */
static void test_who_queues_looks_again(void **state)
{
    struct asker a, b;

    world.places = 1;
    assert_int_equal(asks(&a, 0), WAIT_QUEUED);
    upstream_look_again(worker(0), function(0));
    assert_int_equal(a.end, SERVED);
    assert_int_equal(asks(&a, 1), WAIT_QUEUED);
    assert_int_equal(asks(&b, 0), WAIT_QUEUED);
    world.places = 1;
    upstream_look_again(worker(0), function(0)); /* and passes it on to whose turn it is */
    assert_int_equal(only_woken(), 1);
}

/* Whoever was woken may have nobody any more. */
static void test_who_is_woken_in_vain_passes_it_on(void **state)
{
    struct asker a, b;

    assert_int_equal(asks(&a, 1), WAIT_QUEUED);
    assert_int_equal(asks(&b, 2), WAIT_QUEUED);
    leaves(0);
    assert_int_equal(only_woken(), 1);
    upstream_wait_leave(function(1), &a.ex.waiter);
    upstream_woken(worker(1), function(1));
    assert_int_equal(only_woken(), 2);
    upstream_woken(worker(2), function(2));
    assert_int_equal(b.end, SERVED);
    assert_int_equal(asks(&a, 1), WAIT_QUEUED);
    upstream_woken(worker(1), function(1)); /* somebody was quicker: he goes on waiting */
    assert_int_equal(a.end, WAITS);
    assert_int_equal(only_woken(), NOBODY);
}

static void test_offered_to_others_only(void **state)
{
    struct asker a, b;

    assert_int_equal(asks(&a, 0), WAIT_QUEUED);
    world.places = 1;
    upstream_offer_others(worker(0), function(0));
    assert_int_equal(only_woken(), NOBODY);
    assert_int_equal(asks(&b, 2), WAIT_QUEUED);
    upstream_offer_others(worker(0), function(0));
    assert_int_equal(only_woken(), 2);
    assert_int_equal(a.end, WAITS);
}

/* Where instances take any number, who waits waits for an instance: each worker hears of that by itself. */
static void test_without_a_limit(void **state)
{
    struct asker a[3];

    for (unsigned i = 0; i < WORKERS; i++)
        function(i)->rec.concurrency = 0;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(asks(&a[i], i % 2), WAIT_QUEUED);
    world.places = 9;
    upstream_offer(worker(0), function(0));
    assert_true(a[0].end == SERVED && a[2].end == SERVED && a[1].end == WAITS);
    upstream_offer_others(worker(0), function(0));
    assert_int_equal(only_woken(), NOBODY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first_come_first_served, set_up),          cmocka_unit_test_setup(test_bounded_over_all_workers, set_up),
        cmocka_unit_test_setup(test_nobody_passes_the_queue, set_up),          cmocka_unit_test_setup(test_in_vain, set_up),
        cmocka_unit_test_setup(test_connections_that_cannot_be_begun, set_up), cmocka_unit_test_setup(test_workers_take_turns, set_up),
        cmocka_unit_test_setup(test_who_queues_looks_again, set_up),           cmocka_unit_test_setup(test_who_is_woken_in_vain_passes_it_on, set_up),
        cmocka_unit_test_setup(test_offered_to_others_only, set_up),           cmocka_unit_test_setup(test_without_a_limit, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
