/* test_cgroup.c: groups on this host, whatever its hierarchies are: limits hold, figures count, kill and sweep end everything, and nothing is left in any hierarchy. */
#include "cgroup_test.h"

/* ---- limits and figures ---- */

static void test_controllers(void **state)
{
    struct cg_root *r = open_root();

    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        assert_int_not_equal(cg_root_where(r, c), CG_ABSENT);
    assert_int_equal(access(cg_root_path(r), F_OK), 0);
    assert_true(str_ends_with(cg_root_path(r), name));
    close_root(r);
}

static void test_memory_limit(void **state)
{
    const struct cg_limits l = {.memory_bytes = 32 * MIB};
    struct cg_root *r = open_root();
    struct cg_stats s;
    struct cg_group g;
    struct child c;

    assert_ok(cg_group_make(r, "hog", &g, &d));
    assert_ok(cg_group_limit(&g, &l, false, &d));
    assert_int_equal(g.oom_fd >= 0, cg_root_where(r, CG_MEMORY) == CG_V1);
    c = spawn(&g, eat_memory);
    if (g.oom_fd >= 0) {
        struct pollfd p = {.fd = g.oom_fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, (int)(PATIENCE_NS / NS_PER_MS)), 1);
    }
    assert_killed(&c);
    assert_ok(cg_group_stats(&g, &s));
    assert_true(s.oom_kills >= 1 && s.ooms >= 1); /* its own limit, and no other */
    assert_int_equal(s.memory_max_bytes, 32 * MIB);
    assert_true(wait_until(cg_group_remove(&g) == 0));
    assert_int_equal(g.dir_fd, -1);
    assert_int_equal(g.oom_fd, -1);
    close_root(r);
}

static void test_pids_limit(void **state)
{
    const struct cg_limits l = {.pids = 8};
    struct cg_root *r = open_root();
    struct cg_stats s;
    struct cg_group g;
    struct child c;

    assert_ok(cg_group_make(r, "bomb", &g, &d));
    assert_ok(cg_group_limit(&g, &l, false, &d));
    c = spawn(&g, fork_bomb);
    assert_int_equal(told_number(&c), 7);
    assert_ok(cg_group_stats(&g, &s));
    assert_int_equal(s.pids, 8);
    assert_int_equal(s.pids_refused, 1);
    assert_int_equal(cg_group_remove(&g), -EBUSY);
    assert_true(g.dir_fd >= 0);
    assert_ok(cg_group_kill(&g));
    assert_true(g.killed);
    assert_killed(&c);
    assert_true(wait_until(!cg_group_populated(&g)));
    assert_ok(cg_group_remove(&g));
    assert_ok(cg_group_remove(&g));
    close_root(r);
}

static void test_cpu_limit(void **state)
{
    const struct cg_limits l = {.cpu_milli = 50};
    struct cg_root *r = open_root();
    struct cg_stats s = {0};
    struct cg_group g;
    uint64_t began;
    struct child c;

    assert_ok(cg_group_make(r, "burner", &g, &d));
    assert_ok(cg_group_limit(&g, &l, false, &d));
    c = spawn(&g, burn);
    began = clock_mono_ns();
    assert_true(wait_until(cg_group_stats(&g, &s) == 0 && s.throttled_ns > 0 && clock_mono_ns() - began > NS_PER_SEC));
    /* A twentieth of a CPU is 50 ms in each second; four times that leaves room for the slack of the kernel's accounting. */
    assert_true(s.cpu_ns > 0);
    assert_true(s.cpu_ns < (clock_mono_ns() - began) / 5);
    assert_ok(cg_group_kill(&g));
    assert_killed(&c);
    close_root(r);
}

static void test_stats(void **state)
{
    const struct cg_limits l = {.memory_bytes = 64 * MIB, .pids = 10, .cpu_milli = 1000};
    struct cg_root *r = open_root();
    struct cg_stats s;
    struct cg_group g;
    struct child c;

    assert_ok(cg_group_make(r, "default.hello-x3k9ab", &g, &d));
    assert_ok(cg_group_stats(&g, &s));
    assert_int_equal(s.pids, 0);
    assert_int_equal(s.memory_max_bytes, 0);
    assert_ok(cg_group_limit(&g, &l, false, &d));
    c = spawn(&g, hold_memory);
    assert_int_equal(told_number(&c), 8);
    assert_ok(cg_group_stats(&g, &s));
    assert_int_equal(s.pids, 1);
    assert_true(s.memory_bytes >= 7 * MIB);
    assert_true(s.memory_bytes < 64 * MIB);
    assert_int_equal(s.memory_max_bytes, 64 * MIB);
    assert_true(s.cpu_ns > 0);
    assert_int_equal(s.oom_kills, 0);
    assert_int_equal(s.pids_refused, 0);
    assert_true(cg_group_populated(&g));
    assert_ok(cg_group_kill(&g));
    assert_killed(&c);
    close_root(r);
}

/* Up, down, to none and back, in one group: v1 refuses the wrong order of its two memory limits. */
static void test_limits_change(void **state)
{
    static const uint64_t sizes[] = {64 * MIB, 16 * MIB, 128 * MIB, 0, 32 * MIB};
    struct cg_root *r = open_root();
    struct cg_stats s;
    struct cg_group g;

    assert_ok(cg_group_make(r, "g", &g, &d));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const struct cg_limits l = {.memory_bytes = sizes[i], .pids = (uint32_t)i, .cpu_milli = (uint32_t)(100 * i)};

        assert_ok(cg_group_limit(&g, &l, false, &d));
        assert_ok(cg_group_stats(&g, &s));
        assert_int_equal(s.memory_max_bytes, sizes[i]);
        assert_memory_equal(&g.told, &l, sizeof(l));
    }
    assert_ok(cg_group_remove(&g));
    close_root(r);
}

static void test_names_and_doubles(void **state)
{
    struct cg_root *r = open_root();
    struct cg_group g, again;

    assert_int_equal(cg_group_make(r, "../x", &g, &d), -EINVAL);
    assert_int_equal(cg_group_make(r, ".hidden", &g, &d), -EINVAL);
    assert_int_equal(cg_group_make(r, "", &g, &d), -EINVAL);
    assert_ok(cg_group_make(r, "one", &g, &d));
    assert_int_equal(cg_group_make(r, "one", &again, &d), -EEXIST);
    assert_ok(cg_group_remove(&g));
    close_root(r);
}

static void test_absent_controller(void **state)
{
    const struct cg_limits l = {.memory_bytes = MIB};
    struct cg_root *r = open_root();
    enum cg_where where = r->where[CG_MEMORY];
    struct cg_group g;

    assert_ok(cg_group_make(r, "g", &g, &d));
    r->where[CG_MEMORY] = CG_ABSENT;
    assert_int_equal(cg_group_limit(&g, &l, false, &d), -ENOTSUP);
    assert_non_null(strstr(d.text, "memory"));
    assert_ok(cg_group_limit(&g, &l, true, &d));
    r->where[CG_MEMORY] = where;
    assert_ok(cg_group_remove(&g));
    close_root(r);
}

/* ---- ending ---- */

static void test_kill(void **state)
{
    struct cg_root *r = open_root();
    struct cg_group g;
    struct child c;

    assert_ok(cg_group_make(r, "g", &g, &d));
    c = spawn(&g, resist);
    told_number(&c);
    assert_ok(cg_group_kill(&g));
    assert_killed(&c);
    assert_true(wait_until(!cg_group_populated(&g)));
    assert_ok(cg_group_remove(&g));
    close_root(r);
}

/* Nested groups, as stdio mode will make them: `depth` directories below g, with a process in the last. */
static struct child nest(struct cg_group *g, unsigned depth)
{
    cleanup_fd int at = cg_open_dir(g->dir_fd, ".");
    struct child c;

    for (unsigned i = 0; i < depth; i++) {
        int next;

        assert_int_equal(mkdirat(at, "a", 0755), 0);
        assert_int_equal(mkdirat(at, "b", 0755), 0);
        next = cg_open_dir(at, "a");
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    c = spawn_into(at, resist);
    assert_int_equal(write(c.go, "x", 1), 1);
    return c;
}

static void test_sweep(void **state)
{
    struct cg_root *r = open_root();
    struct cg_group plain, deep, frozen, empty;
    struct child children[3];

    assert_ok(cg_group_make(r, "plain", &plain, &d));
    assert_ok(cg_group_make(r, "deep", &deep, &d));
    assert_ok(cg_group_make(r, "frozen", &frozen, &d));
    assert_ok(cg_group_make(r, "empty", &empty, &d));
    children[0] = spawn(&plain, resist);
    children[1] = nest(&deep, 40);
    children[2] = spawn(&frozen, resist);
    for (size_t i = 0; i < COUNT(children); i++)
        told_number(&children[i]);
    assert_ok(fd_write_kernel(frozen.dir_fd, "cgroup.freeze", "1"));
    cg_root_free(r); /* as if this daemon had been killed */
    r = open_root();
    assert_int_equal(cg_root_sweep(r, &d), 4);
    for (size_t i = 0; i < COUNT(children); i++)
        assert_killed(&children[i]);
    assert_int_equal(cg_root_sweep(r, &d), 0);
    assert_ok(cg_group_make(r, "plain", &plain, &d));
    close_root(r);
}

/* A member that somebody moved out of its v2 group is still in its v1 group. */
static void test_sweep_v1(void **state)
{
    struct cg_root *r = open_root();
    struct cg_group g;
    struct child c;

    assert_ok(cg_group_make(r, "g", &g, &d));
    c = spawn(&g, resist);
    told_number(&c);
    if (cg_root_where(r, CG_PIDS) == CG_V1) {
        char text[16];

        snprintf(text, sizeof(text), "%d", c.pid);
        assert_ok(fd_write_kernel(r->base_fd, "cgroup.procs", text));
    }
    assert_int_equal(cg_root_sweep(r, &d), 1);
    assert_killed(&c);
    close_root(r);
}

static void test_remove_kills(void **state)
{
    struct cg_root *r = open_root();
    struct cg_group g;
    struct child c;

    assert_ok(cg_group_make(r, "g", &g, &d));
    c = spawn(&g, resist);
    told_number(&c);
    close_root(r);
    assert_killed(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controllers),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_pids_limit),
        cmocka_unit_test(test_cpu_limit),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_limits_change),
        cmocka_unit_test(test_names_and_doubles),
        cmocka_unit_test(test_absent_controller),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_sweep_v1),
        cmocka_unit_test(test_remove_kills),
    };

    snprintf(name, sizeof(name), "fnd-test-%d", (int)getpid());
    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
