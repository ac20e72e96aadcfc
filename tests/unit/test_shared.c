/* What workers share: limits that hold whatever the threads do, counters that add up, the last reference. */
#include "check.h"

#include "../../runner/gateway/metrics/metrics.h"
#include "../../runner/gateway/shared.h"

#include <pthread.h>

#define THREADS 4
#define TURNS   20000U
#define PLACES  3U

struct crowd {
    struct shared_instance *instance;
    struct shared_function *function;
    _Atomic unsigned inside, most, number, refused;
};

static void note_most(struct crowd *c, unsigned now)
{
    unsigned most = atomic_load(&c->most);

    while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now))
        ;
}

static void *take_places(void *arg)
{
    struct crowd *c = arg;

    for (unsigned i = 0; i < TURNS; i++) {
        if (!shared_instance_enter(c->instance, PLACES)) {
            atomic_fetch_add(&c->refused, 1);
            continue;
        }
        note_most(c, atomic_fetch_add(&c->inside, 1) + 1);
        atomic_fetch_sub(&c->inside, 1);
        shared_instance_leave(c->instance);
    }
    return NULL;
}

static void run_crowd(struct crowd *c, void *(*fn)(void *))
{
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fn, c), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void an_instance_has_no_more_places_than_it_has(void **state)
{
    struct crowd c = {.instance = shared_instance_new()};

    assert_non_null(c.instance);
    run_crowd(&c, take_places);
    assert_in_range(c.most, 1, PLACES);
    assert_int_equal(shared_instance_load(c.instance), 0);
    for (unsigned i = 0; i < PLACES; i++)
        assert_true(shared_instance_enter(c.instance, PLACES));
    assert_false(shared_instance_enter(c.instance, PLACES));
    assert_true(shared_instance_enter(c.instance, 0)); /* any number */
    assert_int_equal(shared_instance_leave(c.instance), PLACES);
    shared_instance_unref(c.instance);
}

static void a_function_has_no_more_requests_than_it_may(void **state)
{
    struct shared_function *f = shared_function_new(2);

    assert_non_null(f);
    assert_true(shared_function_enter(f, 2));
    assert_true(shared_function_enter(f, 2));
    assert_false(shared_function_enter(f, 2));
    assert_int_equal(atomic_load(&f->requests), 2);
    assert_true(shared_function_enter(f, 0));
    shared_function_leave(f);
    shared_function_leave(f);
    assert_true(shared_function_enter(f, 2));
    shared_function_unref(f);
}

/* Every thread is a worker: it counts in its own place, and codes that come at the same moment get one place each. */
static void *count(void *arg)
{
    struct crowd *c = arg;
    unsigned me = atomic_fetch_add(&c->number, 1);
    struct gw_counters *counters = shared_function_counters(shared_function_ref(c->function), me);

    for (unsigned i = 0; i < TURNS; i++)
        metrics_request(counters, 200 + (int)(i + me) % 20, i);
    shared_function_unref(c->function);
    return NULL;
}

static void counters_add_up(void **state)
{
    struct crowd c = {.function = shared_function_new(THREADS)};
    uint64_t requests = 0, by_code[SHARED_CODES] = {0};
    unsigned codes = 0;

    assert_non_null(c.function);
    run_crowd(&c, count);
    for (unsigned w = 0; w < THREADS; w++) {
        const struct gw_counters *counters = shared_function_counters(c.function, w);

        requests += shared_read(&counters->requests);
        for (unsigned i = 0; i < SHARED_CODES; i++)
            by_code[i] += shared_read(&counters->codes[i]);
    }
    assert_int_equal(requests, THREADS * TURNS);
    for (unsigned i = 0; i < SHARED_CODES && c.function->codes[i]; i++, codes++)
        assert_int_equal(by_code[i], THREADS * TURNS / 20);
    assert_int_equal(codes, 20);
    assert_int_equal(atomic_load(&c.function->refs), 1);
    shared_function_unref(c.function);
}

static void slots_add_up(void **state)
{
    struct shared_gateway *g = shared_gateway_new(3);

    assert_non_null(g);
    shared_add(&g->slots[0].refused[REFUSED_CLIENT], 1);
    shared_add(&g->slots[2].refused[REFUSED_CLIENT], 5);
    shared_add(&g->slots[1].dns_results[2], 7);
    assert_int_equal(shared_refused(g, REFUSED_CLIENT), 6);
    assert_int_equal(shared_refused(g, REFUSED_FULL), 0);
    assert_int_equal(shared_dns_results(g, 2), 7);
    shared_gateway_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instance_has_no_more_places_than_it_has),
        cmocka_unit_test(a_function_has_no_more_requests_than_it_may),
        cmocka_unit_test(counters_add_up),
        cmocka_unit_test(slots_add_up),
    };

    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
