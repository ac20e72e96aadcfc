/* Trees of runtimes on their way through the jail: what must have come before one gets its name, and what becomes of those that do not get there. */
#include "manager_world.h"

#define PUT_ID 8 /* a deploy() is 7 */

static void begin(const char *name, int fd)
{
    struct record_runtime rec = {.head = RECORD_INIT(RECORD_RUNTIME_PUT, PUT_ID)};

    str_copy(rec.name, sizeof(rec.name), name);
    w.reply.head.id = 0;
    manager_request(w.manager, 1, &rec.head, fd);
}

static void end_as(uint64_t client, uint64_t id, bool complete)
{
    struct record_deploy_end rec = {.head = RECORD_INIT(RECORD_DEPLOY_END, id), .complete = complete};

    manager_request(w.manager, client, &rec.head, -1);
}

static void end(bool complete)
{
    end_as(1, PUT_ID, complete);
}

static bool is_put_answered(void)
{
    return w.reply.head.id == PUT_ID;
}

static int answer(void)
{
    assert_true(until(is_put_answered));
    return w.reply.diag.err;
}

static int archive(void)
{
    return eventfd(0, EFD_CLOEXEC);
}

static bool is_unpacked(void)
{
    return w.unpack_groups == 0;
}

static void test_put(void **state)
{
    start();
    begin("box", archive());
    end(true);
    assert_int_equal(answer(), 0);
    assert_int_equal(w.runtimes, 1);
    assert_int_equal(w.reply.image_bytes, 1);
}

/* A tar that is cut at an entry's end looks whole to the jail: the gateway's word decides. */
static void test_both_must_come(void **state)
{
    start();
    begin("box", archive());
    assert_int_equal(deploy("other", 1), 0); /* as long as an archive takes */
    assert_int_equal(w.runtimes, 0);
    w.reply.head.id = 0;
    end(false);
    assert_int_equal(answer(), ECANCELED);
    assert_int_equal(w.runtimes, 0);

    begin("box", archive());
    assert_int_equal(deploy("other", 1), 0);
    w.reply.head.id = 0;
    end(true);
    assert_int_equal(answer(), 0);
    end(true); /* of nothing any more */
    assert_int_equal(w.runtimes, 1);
}

/* The first word on a put holds, and nobody else's does. */
static void test_ends_of_others(void **state)
{
    for (int complete = 0; complete < 2; complete++) {
        w.runtimes = 0;
        if (!w.manager)
            start();
        begin("box", archive());
        end_as(2, PUT_ID, complete);
        end_as(1, PUT_ID + 1, complete);
        assert_int_equal(deploy("other", 1), 0); /* as long as an archive takes */
        w.reply.head.id = 0;
        assert_int_equal(w.runtimes, 0);
        end(true);
        assert_int_equal(answer(), 0);
        assert_int_equal(w.runtimes, 1);
        begin("box", archive());
        end(true);
        end(complete); /* while the jail is still at it */
        assert_int_equal(answer(), 0);
        assert_int_equal(w.runtimes, 2);
    }
}

static void test_refused(void **state)
{
    static const char *const names[] = {"", "..", "a/b", "-a", "a b"};

    start();
    for (size_t i = 0; i < COUNT(names); i++) {
        begin(names[i], archive());
        assert_int_equal(answer(), EINVAL);
    }
    begin("box", -1);
    assert_int_equal(answer(), EPROTO);
    w.staging_err = ENOSPC;
    begin("box", archive());
    assert_int_equal(answer(), ENOSPC);
    w.staging_err = 0;
    w.publish_err = ENOSPC;
    begin("box", archive());
    end(true);
    assert_int_equal(answer(), ENOSPC);
    w.publish_err = 0;
    begin("box", archive());
    end(true);
    assert_int_equal(answer(), 0);
}

static void test_at_once(void **state)
{
    w.jail_silent = true;
    start();
    begin("a", archive());
    begin("b", archive());
    assert_int_equal(w.unpack_groups, 2);
    begin("c", archive());
    assert_int_equal(answer(), EBUSY);
    assert_non_null(strstr(w.reply.diag.text, "runtime c: 2 others are being unpacked"));
    w.jail_silent = false;
}

static void test_full_disk(void **state)
{
    w.config.host_disk = 100;
    start();
    w.disk_used = 100;
    begin("box", archive());
    assert_int_equal(answer(), ENOSPC);
    w.disk_used = 99;
    begin("box", archive());
    w.disk_used = 100; /* meanwhile */
    end(true);
    assert_int_equal(answer(), ENOSPC);
    assert_int_equal(w.runtimes, 0);
}

/* A gateway that goes away takes a put along that is not whole; one that is whole goes on. */
static void test_gateway_gone(void **state)
{
    w.jail_silent = true;
    start();
    begin("box", archive());
    assert_int_equal(w.unpack_groups, 1);
    manager_client_gone(w.manager, 1);
    assert_true(until(is_unpacked));
    assert_int_equal(w.runtimes, 0);
    assert_int_equal(w.reply.head.id, 0);
    w.jail_silent = false;
    begin("box", archive());
    end(true);
    manager_client_gone(w.manager, 1);
    assert_true(until(is_unpacked));
    assert_int_equal(w.runtimes, 1);
}

static void test_while_stopping(void **state)
{
    w.jail_silent = true;
    start();
    assert_true(until(is_ready));
    begin("box", archive());
    manager_stop(w.manager);
    assert_int_equal(answer(), ECANCELED);
    begin("late", archive());
    assert_int_equal(answer(), EBUSY);
    assert_int_equal(w.runtimes, 0);
    w.jail_silent = false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_put),     TEST(test_both_must_come), TEST(test_ends_of_others), TEST(test_refused),
        TEST(test_at_once), TEST(test_full_disk),      TEST(test_gateway_gone),   TEST(test_while_stopping),
    };

    return cmocka_run_group_tests_name("runtime_puts", tests, NULL, NULL);
}
