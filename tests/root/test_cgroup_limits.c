/* test_cgroup_limits.c: limits that are held together, and the events that tell of them, on this host, whatever its hierarchies are. */
#include "cgroup_test.h"

/* Waits until the descriptor names one of the group's watches. */
static bool fires(int events_fd, const int watches[CG_EVENTS_WATCHES])
{
    int got[8], n = cg_events_read(events_fd, got, COUNT(got));

    for (int i = 0; i < n; i++)
        for (unsigned k = 0; k < CG_EVENTS_WATCHES; k++)
            if (got[i] >= 0 && got[i] == watches[k])
                return true;
    return false;
}

static void test_events(void **state)
{
    const struct cg_limits l = {.pids = 8};
    int watches[CG_EVENTS_WATCHES], fd = cg_events_open(&d);
    struct cg_root *r = open_root();
    struct cg_stats s;
    struct cg_group g, quiet;
    int of_quiet[CG_EVENTS_WATCHES];
    bool fired = false;
    struct child c;

    assert_true(fd >= 0);
    assert_ok(cg_group_make(r, "bomb", &g, &d));
    assert_ok(cg_group_make(r, "quiet", &quiet, &d));
    assert_ok(cg_group_limit(&g, &l, false, &d));
    cg_events_watch(fd, &g, watches);
    cg_events_watch(fd, &quiet, of_quiet);
    for (unsigned i = 0; i < CG_EVENTS_WATCHES; i++)
        assert_int_equal(watches[i] >= 0, cg_root_where(r, i == 0 ? CG_MEMORY : CG_PIDS) == CG_V2);
    assert_false(fires(fd, watches));
    c = spawn(&g, fork_bomb);
    assert_int_equal(told_number(&c), 7);
    if (cg_root_where(r, CG_PIDS) == CG_V2)
        assert_true(wait_until(fired = fired || fires(fd, watches))); /* an event is read once, the condition may be asked again */
    assert_false(fires(fd, of_quiet));
    assert_ok(cg_group_stats(&g, &s));
    assert_int_equal(s.pids_refused, 1);
    cg_events_unwatch(fd, watches);
    cg_events_unwatch(fd, of_quiet);
    assert_int_equal(watches[1], -1);
    assert_ok(cg_group_kill(&g));
    assert_killed(&c);
    close(fd);
    close_root(r);
}

/* Two groups without a limit of their own, below a tree that has one: who goes beyond it dies, the daemon beside it and the other group live. */
static void test_tree_limit(void **state)
{
    const struct cg_limits budget = {.memory_bytes = 64 * MIB}, none = {0};
    struct cg_root *r = open_root();
    struct cg_group quiet, hog;
    struct child small, big;
    struct cg_stats s;

    assert_ok(cg_root_limit(r, &budget, &d));
    assert_ok(cg_group_make(r, "quiet", &quiet, &d));
    assert_ok(cg_group_make(r, "hog", &hog, &d));
    small = spawn(&quiet, hold_memory);
    assert_int_equal(told_number(&small), 8);
    big = spawn(&hog, eat_memory);
    assert_killed(&big);
    assert_int_equal(kill(small.pid, 0), 0);
    assert_ok(cg_group_stats(&hog, &s));
    assert_true(s.oom_kills >= 1);
    assert_int_equal(s.ooms, 0); /* not by a limit of its own */
    assert_true(cg_group_populated(&quiet));
    assert_ok(cg_root_limit(r, &none, &d));
    assert_ok(cg_group_kill(&quiet));
    assert_killed(&small);
    close_root(r);
}

static void assert_cpu_file(const struct cg_group *g, const char *v2_file, const char *v2, const char *v1_file, const char *v1)
{
    bool is_v2 = cg_root_where(g->root, CG_CPU) == CG_V2;
    char text[32];

    assert_true(fd_read_file(is_v2 ? g->dir_fd : g->v1_fd[CG_CPU], is_v2 ? v2_file : v1_file, text, sizeof(text)) > 0);
    assert_string_equal(text, is_v2 ? v2 : v1);
}

/* In proportion to the quota, or as told apart from it. */
static void test_weight(void **state)
{
    const struct cg_limits proportional = {.cpu_milli = 250}, apart = {.cpu_milli = 2000, .cpu_weight_milli = 1000};
    struct cg_root *r = open_root();
    struct cg_group g;

    assert_ok(cg_group_make(r, "g", &g, &d));
    assert_ok(cg_group_limit(&g, &proportional, false, &d));
    assert_cpu_file(&g, "cpu.weight", "25\n", "cpu.shares", "256\n");
    assert_ok(cg_group_limit(&g, &apart, false, &d));
    assert_cpu_file(&g, "cpu.weight", "100\n", "cpu.shares", "1024\n");
    assert_cpu_file(&g, "cpu.max", "200000 100000\n", "cpu.cfs_quota_us", "200000\n");
    close_root(r);
}

/* Slower from memory.high on, and not killed; the event is counted. Where there is no such limit, that is said. */
static void test_memory_high(void **state)
{
    const struct cg_limits l = {.memory_bytes = 64 * MIB, .memory_high_bytes = 4 * MIB};
    struct cg_root *r = open_root();
    struct cg_stats s = {0};
    struct cg_group g;
    char text[128];
    struct child c;

    assert_ok(cg_group_make(r, "g", &g, &d));
    assert_ok(cg_group_limit(&g, &l, false, &d));
    cg_root_lacks(r, &l, text, sizeof(text));
    assert_int_equal(text[0] == '\0', cg_root_where(r, CG_MEMORY) == CG_V2);
    c = spawn(&g, hold_memory);
    if (cg_root_where(r, CG_MEMORY) == CG_V2)
        assert_true(wait_until(cg_group_stats(&g, &s) == 0 && s.memory_high > 0));
    assert_int_equal(kill(c.pid, 0), 0);
    assert_ok(cg_group_kill(&g));
    assert_killed(&c);
    close_root(r);
}

/* The disk of this directory takes a limit, or it is said why there is none; both without an error of cg_group_limit(). */
static void test_io(void **state)
{
    const struct cg_limits l = {.io_bytes = 10 * MIB};
    struct cg_root *r = open_root();
    cleanup_fd int dir = open("/var/lib/fnd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct cg_group g;
    char text[256], want[64];
    int x = cg_root_disk(r, dir, &d);

    assert_ok(cg_group_make(r, "g", &g, &d));
    assert_ok(cg_group_limit(&g, &l, false, &d));
    cg_root_lacks(r, &l, text, sizeof(text));
    if (x == 0) {
        assert_string_equal(text, "");
        snprintf(want, sizeof(want), "rbps=%llu wbps=%llu", 10 * MIB, 10 * MIB);
        assert_true(fd_read_file(g.dir_fd, "io.max", text, sizeof(text)) > 0);
        assert_non_null(strstr(text, want));
    } else {
        assert_int_equal(x, -ENOTSUP);
        assert_non_null(strstr(text, "io ("));
    }
    close_root(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),      cmocka_unit_test(test_tree_limit), cmocka_unit_test(test_weight),
        cmocka_unit_test(test_memory_high), cmocka_unit_test(test_io),
    };

    snprintf(name, sizeof(name), "fnd-test-%d", (int)getpid());
    return cmocka_run_group_tests_name("cgroup_limits", tests, NULL, NULL);
}
