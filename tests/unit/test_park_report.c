/* What the runner makes of what a child reports. */
#include "unit/check.h"

#include "../../runner/sandbox/sandbox_private.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static int report(const void *data, size_t len, enum sandbox_stage stage, struct sandbox_child *c, struct diag *d)
{
    int ends[2], r;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    *c = (struct sandbox_child){.channel_fd = ends[0], .pid_fd = -1, .netns_fd = -1, .stage = stage};
    *d = (struct diag){0};
    if (len)
        assert_int_equal(send(ends[1], data, len, 0), len);
    else
        fd_close(ends[1]);
    r = sandbox_on_channel(c, d);
    if (len)
        fd_close(ends[1]);
    sandbox_child_close(c);
    return r;
}

/* Every errno is a failure, EAGAIN too, which elsewhere means that nothing has come yet. */
static void test_failures(void **state)
{
    static const int32_t errors[] = {EAGAIN, EPERM, ENOMEM, 0, -1, 100000};

    for (size_t i = 0; i < COUNT(errors); i++) {
        const struct child_report rec = {.kind = CHILD_FAILED, .err = errors[i], .op = PLAN_MOUNT, .what = "/w"};
        struct sandbox_child c;
        struct diag d;
        int r = report(&rec, sizeof(rec), SANDBOX_STARTING, &c, &d);

        assert_true(r < 0 && r != -EAGAIN);
        assert_int_equal(c.stage, SANDBOX_DEAD);
        assert_non_null(strstr(d.text, "mount /w"));
    }
}

static void test_ends(void **state)
{
    struct sandbox_child c;
    struct diag d;

    assert_int_equal(report(NULL, 0, SANDBOX_STARTING, &c, &d), 0);
    assert_int_equal(c.stage, SANDBOX_RUNNING);
    assert_true(report(NULL, 0, SANDBOX_PARKING, &c, &d) < 0);
    assert_int_equal(c.stage, SANDBOX_DEAD);
}

static void test_nonsense(void **state)
{
    const struct child_report parked = {.kind = CHILD_PARKED}; /* without its descriptor */
    struct sandbox_child c;
    struct diag d;

    assert_true(report(&parked, sizeof(parked), SANDBOX_PARKING, &c, &d) < 0);
    assert_true(report(&parked, sizeof(parked) - 1, SANDBOX_PARKING, &c, &d) < 0);
    assert_true(report(&parked, sizeof(parked), SANDBOX_STARTING, &c, &d) < 0);
    assert_true(report("x", 1, SANDBOX_STARTING, &c, &d) < 0);
    assert_int_equal(c.stage, SANDBOX_DEAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_failures), cmocka_unit_test(test_ends), cmocka_unit_test(test_nonsense)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
