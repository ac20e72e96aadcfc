/* test_cgroup_place.c: where the tree is made, that it is removed from there again, and its lock. */
#include "cgroup_test.h"

/* ---- places ---- */

static void own_path(char *buf, size_t size, const char *below)
{
    struct cg_host *h = calloc(1, sizeof(*h));

    assert_non_null(h);
    assert_ok(cg_host_read(h, &d));
    assert_true(snprintf(buf, size, "%s%s", strcmp(h->v2.root, "/") == 0 ? "" : h->v2.root, below) < (int)size);
    free(h);
}

/* Made where it is missing, and then removed; what was there, and what lives beside the tree, stays. */
static void test_explicit_path(void **state)
{
    char below[64], path[CG_PATH_MAX], deep[CG_PATH_MAX + 8];
    struct cg_root *r;
    struct child c;
    int leaf, status;

    snprintf(below, sizeof(below), "/%s.place", name);
    own_path(path, sizeof(path), below);
    snprintf(deep, sizeof(deep), "%s/a/b", path);
    r = open_root_at(deep);
    for (int i = 0; i < CG_CONTROLLER_COUNT; i++)
        assert_int_not_equal(cg_root_where(r, i), CG_ABSENT);
    cg_root_free(r); /* killed: the next one knows what it may remove */
    close_root(open_root_at(deep));

    r = open_root_at(path);
    assert_int_equal(mkdirat(r->base_fd, "hold", 0755), 0);
    leaf = cg_open_dir(r->base_fd, "hold");
    c = spawn_into(leaf, resist);
    assert_int_equal(write(c.go, "x", 1), 1);
    told_number(&c);
    assert_ok(cg_root_remove(r, &d)); /* the place is not empty: it stays, without our tree */
    assert_int_equal(kill(c.pid, 0), 0);
    assert_int_equal(waitpid(c.pid, &status, WNOHANG), 0);
    assert_int_equal(faccessat(r->base_fd, name, F_OK, 0), -1);
    assert_ok(fd_write_kernel(leaf, "cgroup.kill", "1"));
    assert_killed(&c);
    assert_true(wait_until(unlinkat(r->base_fd, "hold", AT_REMOVEDIR) == 0 || errno == ENOENT));
    close(leaf);
    close_root(r);
}

static void test_bad_paths(void **state)
{
    static const char *const bad[] = {"x", "", "/a//b", "/a/../b", "/.", "/a/", "/a/./b"};
    struct cg_root *r = NULL;

    for (size_t i = 0; i < COUNT(bad); i++) {
        const struct cg_options o = {.path = bad[i], .name = name};

        assert_int_equal(cg_root_open(&o, &r, &d), -EINVAL);
    }
    assert_null(r);
    assert_nothing_left();
}

/* Runs fn in a child that first enters a group of its own; exit status 0 means that it was content. */
static void in_group(const char *group, const char *delegate, int (*fn)(int dir_fd))
{
    struct cg_host *h = calloc(1, sizeof(*h));
    cleanup_fd int mount_fd = -1, dir = -1;
    int status = 0;
    pid_t pid;

    assert_non_null(h);
    assert_ok(cg_host_read(h, &d));
    mount_fd = cg_mount_open(&h->v2, "cgroup v2", &d);
    assert_true(mount_fd >= 0);
    free(h);
    assert_int_equal(mkdirat(mount_fd, group, 0755), 0);
    dir = cg_open_dir(mount_fd, group);
    if (delegate)
        assert_int_equal(fsetxattr(dir, delegate, "1", 1, 0), 0);
    pid = fork();
    if (pid == 0)
        _exit(fd_write_kernel(dir, "cgroup.procs", "0") < 0 ? 99 : fn(dir));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(unlinkat(mount_fd, group, AT_REMOVEDIR), 0);
}

static int own_ends_with(const char *suffix)
{
    char buf[4096], *v2, *end;

    if (fd_read_file(AT_FDCWD, "/proc/self/cgroup", buf, sizeof(buf)) < 0 || !(v2 = strstr(buf, "0::")))
        return 0;
    end = strchr(v2, '\n');
    if (end)
        *end = '\0';
    return str_ends_with(v2, suffix);
}

#define STEP(n, condition)                                                                                                                                     \
    do {                                                                                                                                                       \
        if (!(condition)) {                                                                                                                                    \
            print_error("step %d: %s: %s\n", n, #condition, d.text);                                                                                           \
            return n;                                                                                                                                          \
        }                                                                                                                                                      \
    } while (0)

static int divide(int dir_fd)
{
    const struct cg_options o = {.name = name};
    char leaf[64];
    struct cg_root *r = NULL;

    snprintf(leaf, sizeof(leaf), "/%s.daemon", name);
    STEP(1, cg_root_open(&o, &r, &d) == 0);
    STEP(2, own_ends_with(leaf));
    STEP(3, faccessat(dir_fd, name, F_OK, 0) == 0);
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        STEP(4, cg_root_where(r, c) != CG_ABSENT);
    STEP(5, cg_root_remove(r, &d) == 0);
    STEP(6, own_ends_with(".own"));
    STEP(7, faccessat(dir_fd, leaf + 1, F_OK, 0) < 0);
    STEP(8, faccessat(dir_fd, name, F_OK, 0) < 0);
    cg_root_free(r);
    return 0;
}

static void test_divide_delegated(void **state)
{
    char group[64];

    snprintf(group, sizeof(group), "%s.own", name);
    in_group(group, "trusted.delegate", divide);
    assert_nothing_left();
}

/* Somebody else lives in the delegated group too: nobody is moved, and the tree is made where it can have its controllers. */
static int not_alone(int dir_fd)
{
    const struct cg_options o = {.name = name};
    pid_t other = fork();
    struct cg_root *r = NULL;
    int x;

    if (other == 0) {
        pause();
        _exit(0);
    }
    x = cg_root_open(&o, &r, &d);
    STEP(1, x == 0);
    STEP(2, own_ends_with(".own"));
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        STEP(3, cg_root_where(r, c) != CG_ABSENT);
    STEP(4, cg_root_remove(r, &d) == 0);
    cg_root_free(r);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    return 0;
}

static void test_delegated_but_shared(void **state)
{
    char group[64];

    snprintf(group, sizeof(group), "%s.own", name);
    in_group(group, "trusted.delegate", not_alone);
    in_group(group, NULL, not_alone);
    assert_nothing_left();
}

/* The holder's part: after it has entered its leaf, controllers can be enabled beside it. */
static int hold_leaf(int dir_fd)
{
    STEP(1, cg_enter_leaf("hold", &d) == 0);
    STEP(2, own_ends_with(".own/hold"));
    STEP(3, cg_enable(dir_fd, "own", NULL, &d) == 0);
    STEP(4, cg_enter_leaf("../x", &d) == -EINVAL);
    for (int i = 0; i < CG_ALL_COUNT; i++)
        if (cg_file_has(dir_fd, "cgroup.subtree_control", cg_controller_name(i))) {
            char text[32];

            snprintf(text, sizeof(text), "-%s", cg_controller_name(i));
            STEP(5, fd_write_kernel(dir_fd, "cgroup.subtree_control", text) == 0);
        }
    STEP(6, fd_write_kernel(dir_fd, "cgroup.procs", "0") == 0);
    STEP(7, unlinkat(dir_fd, "hold", AT_REMOVEDIR) == 0);
    return 0;
}

static void test_enter_leaf(void **state)
{
    char group[64];

    snprintf(group, sizeof(group), "%s.own", name);
    in_group(group, NULL, hold_leaf);
    assert_nothing_left();
}

/* Two daemons of one name would sweep each other. The lock goes with its holder, however that ends. */
static void test_lock(void **state)
{
    const struct cg_options o = {.name = name};
    struct cg_root *r = open_root(), *second = NULL;
    struct cg_group g;

    assert_ok(cg_group_make(r, "g", &g, &d));
    assert_int_equal(cg_root_open(&o, &second, &d), -EBUSY);
    assert_null(second);
    assert_non_null(strstr(d.text, "in use"));
    assert_true(g.dir_fd >= 0);
    assert_int_equal(faccessat(g.dir_fd, "cgroup.procs", F_OK, 0), 0);
    close_root(r);
}

/* A daemon that is started again from another v1 group finds and removes its v1 halves where the first one made them. */
static int reopen_elsewhere(int v1_dir)
{
    const struct cg_options o = {.name = name};
    struct cg_root *r = NULL;

    STEP(1, fd_write_kernel(v1_dir, "cgroup.procs", "0") == 0);
    STEP(2, cg_root_open(&o, &r, &d) == 0);
    STEP(3, faccessat(v1_dir, name, F_OK, 0) < 0);
    STEP(4, cg_root_sweep(r, &d) == 1);
    STEP(5, cg_root_remove(r, &d) == 0);
    cg_root_free(r);
    return 0;
}

static void test_v1_from_elsewhere(void **state)
{
    struct cg_root *r = open_root();
    cleanup_fd int parent = -1, dir = -1;
    char other[64];
    struct cg_group g;
    int status = 0;
    pid_t pid;

    if (cg_root_where(r, CG_PIDS) == CG_V1) {
        snprintf(other, sizeof(other), "%s.other", name);
        parent = cg_open_dir(r->v1[CG_PIDS].dir_fd, "..");
        assert_int_equal(mkdirat(parent, other, 0755), 0);
        dir = cg_open_dir(parent, other);
        assert_ok(cg_group_make(r, "g", &g, &d));
        for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
            fd_close(g.v1_fd[c]);
        fd_close(g.oom_fd);
        fd_close(g.dir_fd);
        cg_root_free(r);
        pid = fork();
        if (pid == 0)
            _exit(reopen_elsewhere(dir));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(unlinkat(parent, other, AT_REMOVEDIR), 0);
        assert_nothing_left();
    } else {
        for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
            assert_int_equal(r->v1[c].dir_fd, -1);
        close_root(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explicit_path),        cmocka_unit_test(test_bad_paths),  cmocka_unit_test(test_divide_delegated),
        cmocka_unit_test(test_delegated_but_shared), cmocka_unit_test(test_enter_leaf), cmocka_unit_test(test_lock),
        cmocka_unit_test(test_v1_from_elsewhere),
    };

    snprintf(name, sizeof(name), "fnd-test-%d", (int)getpid());
    return cmocka_run_group_tests_name("cgroup_place", tests, NULL, NULL);
}
