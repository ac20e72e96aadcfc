/* Leaving the choice and coming back: eject.h against its own description, by hand and by random operations beside a model. */
#include "unit/check.h"

#include "../../runner/gateway/upstream/eject.h"
#include "clock.h"

#include <stdlib.h>

#define S NS_PER_SEC

static bool fail_times(struct eject *e, unsigned n, uint64_t now)
{
    bool left = false;

    for (unsigned i = 0; i < n; i++)
        left = eject_failed(e, false, true, now) || left;
    return left;
}

static void test_leaves_after_failures_in_a_row(void **state)
{
    struct eject e = {0};

    assert_false(fail_times(&e, EJECT_FAILURES - 1, 100 * S));
    assert_int_equal(eject_view(&e, 100 * S), EJECT_IN);
    assert_true(fail_times(&e, 1, 101 * S));
    assert_int_equal(eject_view(&e, 101 * S), EJECT_OUT);
    assert_int_equal(eject_view(&e, 102 * S - 1), EJECT_OUT);
    assert_int_equal(eject_view(&e, 102 * S), EJECT_DUE);
    assert_false(fail_times(&e, 9, 101 * S)); /* requests that had begun before */
    assert_int_equal(eject_view(&e, 102 * S), EJECT_DUE);
}

static void test_an_answer_ends_the_row(void **state)
{
    struct eject e = {0};

    for (int i = 0; i < 20; i++) {
        assert_false(fail_times(&e, EJECT_FAILURES - 1, 100 * S));
        assert_false(eject_worked(&e, false, 100 * S));
    }
    assert_int_equal(eject_view(&e, 100 * S), EJECT_IN);
}

static void test_the_window(void **state)
{
    struct eject e = {0};

    for (uint64_t i = 0; i < 20; i++)
        assert_false(fail_times(&e, EJECT_FAILURES - 1, 100 * S + i * (EJECT_WINDOW_NS + 1)));
}

static void test_the_last_one_stays(void **state)
{
    struct eject e = {0};

    for (int i = 0; i < 20; i++)
        assert_false(eject_failed(&e, false, false, 100 * S));
    assert_int_equal(eject_view(&e, 100 * S), EJECT_IN);
    assert_true(eject_failed(&e, false, true, 100 * S)); /* somebody else has come */
}

static void test_delays_grow_and_are_forgiven(void **state)
{
    static const uint64_t seconds[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    struct eject e = {0};
    uint64_t now = 1000 * S;

    assert_true(fail_times(&e, EJECT_FAILURES, now));
    for (unsigned i = 0; i < COUNT(seconds); i++) {
        assert_int_equal(eject_view(&e, now + seconds[i] * S - 1), EJECT_OUT);
        now += seconds[i] * S;
        assert_int_equal(eject_view(&e, now), EJECT_DUE);
        assert_true(eject_begin_trial(&e, false));
        assert_false(eject_begin_trial(&e, false)); /* one at a time */
        assert_int_equal(eject_view(&e, now), EJECT_OUT);
        assert_true(eject_failed(&e, true, true, now));
    }
    now += 60 * S;
    assert_true(eject_begin_trial(&e, false));
    eject_end_trial(&e); /* its client went away: the next request is the trial */
    assert_int_equal(eject_view(&e, now), EJECT_DUE);
    assert_true(eject_begin_trial(&e, false));
    assert_true(eject_worked(&e, true, now));
    assert_int_equal(eject_view(&e, now), EJECT_IN);
    now += S;
    assert_true(fail_times(&e, EJECT_FAILURES, now)); /* soon again: it goes on where it was */
    assert_int_equal(eject_view(&e, now + 60 * S - 1), EJECT_OUT);
    now += 60 * S;
    assert_true(eject_begin_trial(&e, false));
    assert_true(eject_worked(&e, true, now));
    now += EJECT_FORGIVES_NS;
    assert_true(fail_times(&e, EJECT_FAILURES, now));
    assert_int_equal(eject_view(&e, now + S), EJECT_DUE);
}

/* Used although it is out, because there is nobody else. */
static void test_forced_trials(void **state)
{
    struct eject e = {0};

    assert_true(fail_times(&e, EJECT_FAILURES, 100 * S));
    assert_true(eject_begin_trial(&e, true));
    assert_true(eject_begin_trial(&e, true));
    assert_false(eject_failed(&e, true, false, 100 * S)); /* before its time: that changes nothing */
    assert_int_equal(eject_view(&e, 101 * S), EJECT_DUE);
    assert_true(eject_worked(&e, true, 100 * S + 1)); /* and this proves enough */
    assert_int_equal(eject_view(&e, 100 * S + 1), EJECT_IN);
}

/* What must hold after any order of events: a delay is one of the seven, nobody is out for longer than a minute, and who is out and due comes back with one answer. */
static void test_random(void **state)
{
    struct eject e = {0};
    uint64_t now = 1000 * S;
    bool trial = false;

    srandom(1);
    for (int i = 0; i < 200000; i++) {
        enum eject_view before = eject_view(&e, now);

        now += (uint64_t)random() % (S / 2);
        if (!trial && eject_view(&e, now) == EJECT_DUE)
            trial = eject_begin_trial(&e, false);
        if (random() % 3) {
            bool left = eject_failed(&e, trial, random() % 4, now);

            assert_true(!left || eject_view(&e, now) == EJECT_OUT);
            assert_true(!left || eject_view(&e, now + S - 1) == EJECT_OUT);
            trial = false;
        } else if (random() % 2) {
            bool back = eject_worked(&e, trial, now);

            assert_int_equal(back, trial);
            assert_true(!trial || eject_view(&e, now) == EJECT_IN);
            assert_true(before != EJECT_IN || eject_view(&e, now) == EJECT_IN);
            trial = false;
        } else if (trial) {
            eject_end_trial(&e);
            trial = false;
        }
        if (!trial)
            assert_true(eject_view(&e, now + EJECT_LONGEST_NS) != EJECT_OUT);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_after_failures_in_a_row),
        cmocka_unit_test(test_an_answer_ends_the_row),
        cmocka_unit_test(test_the_window),
        cmocka_unit_test(test_the_last_one_stays),
        cmocka_unit_test(test_delays_grow_and_are_forgiven),
        cmocka_unit_test(test_forced_trials),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
