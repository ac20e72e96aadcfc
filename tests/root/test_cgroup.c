/*
 * test_cgroup.c: the tree on this host, whatever its hierarchies are: limits hold, figures count, kill and sweep end everything, and nothing is left in any hierarchy.
 *
 * All names begin with fnd-test-PID. Children are cloned into their group, wait on a pipe until they are attached, then misbehave.
 */
#include "../../cgroups/cg_internal.h"
#include "unit/check.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ULL << 20)
#define HIGH_FD 200
#define PATIENCE_NS (20 * NS_PER_SEC)

static char name[32];
static struct diag d;

#define assert_ok(x)                                                                                                                                                                   \
    do {                                                                                                                                                                               \
        int r_ = (x);                                                                                                                                                                  \
        if (r_ < 0)                                                                                                                                                                    \
            fail_msg("%s: %s (%s)", #x, strerror(-r_), d.text);                                                                                                                        \
    } while (0)

/* Waits for a condition; false when it does not come. */
#define wait_until(condition)                                                                                                                                                          \
    ({                                                                                                                                                                                 \
        uint64_t end_ = clock_mono_ns() + PATIENCE_NS;                                                                                                                                 \
        const struct timespec pause_ = {.tv_nsec = NS_PER_MS};                                                                                                                         \
        while (!(condition) && clock_mono_ns() < end_)                                                                                                                                 \
            nanosleep(&pause_, NULL);                                                                                                                                                  \
        (condition);                                                                                                                                                                   \
    })

static struct cg_root *open_root_at(const char *path)
{
    const struct cg_options o = {.path = path, .name = name};
    struct cg_root *r = NULL;

    assert_ok(cg_root_open(&o, &r, &d));
    return r;
}

static struct cg_root *open_root(void)
{
    return open_root_at("auto");
}

/* ---- nothing is left ---- */

static unsigned left;

static int count_left(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    if (type == FTW_D && strstr(path + ftw->base, name) == path + ftw->base) {
        print_error("left: %s\n", path);
        left++;
    }
    return 0;
}

static void assert_nothing_left(void)
{
    struct cg_host *h = calloc(1, sizeof(*h));

    assert_non_null(h);
    assert_ok(cg_host_read(h, &d));
    left = 0;
    nftw(h->v2.point, count_left, 16, FTW_PHYS | FTW_MOUNT);
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        if (h->v1[c].found)
            nftw(h->v1[c].point, count_left, 16, FTW_PHYS | FTW_MOUNT);
    free(h);
    assert_int_equal(left, 0);
}

static void close_root(struct cg_root *r)
{
    assert_ok(cg_root_remove(r, &d));
    assert_ok(cg_root_remove(r, &d));
    cg_root_free(r);
    assert_nothing_left();
}

/* ---- children ---- */

struct child {
    pid_t pid;
    int go, told; /* told: what the child writes */
};

typedef void work_fn(int tell_fd);

static struct child spawn_into(int dir_fd, work_fn *work)
{
    struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)dir_fd};
    int go[2], tell[2];
    struct child c;

    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
    c.pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (c.pid == 0) {
        char x;

        /* Like a sandbox's child it keeps nothing of the daemon's: the tree's lock among the rest. */
        if (dup2(go[0], HIGH_FD) < 0 || dup2(tell[1], HIGH_FD + 1) < 0 || close_range(3, HIGH_FD - 1, 0) < 0)
            _exit(7);
        if (read(HIGH_FD, &x, 1) == 1)
            work(HIGH_FD + 1);
        _exit(0);
    }
    assert_true(c.pid > 0);
    close(go[0]);
    close(tell[1]);
    c.go = go[1];
    c.told = tell[0];
    return c;
}

static struct child spawn(struct cg_group *g, work_fn *work)
{
    struct child c = spawn_into(g->dir_fd, work);

    assert_ok(cg_group_attach(g, c.pid, &d));
    assert_int_equal(write(c.go, "x", 1), 1);
    return c;
}

static void join(struct child *c, int *ret_status)
{
    assert_int_equal(waitpid(c->pid, ret_status, 0), c->pid);
    close(c->go);
    close(c->told);
}

static void assert_killed(struct child *c)
{
    int status = 0;

    join(c, &status);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static unsigned told_number(const struct child *c)
{
    unsigned n = 0;

    assert_int_equal(read(c->told, &n, sizeof(n)), sizeof(n));
    return n;
}

static void tell_number(int fd, unsigned n)
{
    if (write(fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
        _exit(9);
}

static void touch(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        _exit(8);
    for (size_t i = 0; i < bytes; i += 4096)
        ((volatile char *)p)[i] = 1;
}

static void eat_memory(int tell_fd)
{
    touch(256 * MIB);
}

static void hold_memory(int tell_fd)
{
    touch(8 * MIB);
    tell_number(tell_fd, 8);
    pause();
}

static void fork_bomb(int tell_fd)
{
    unsigned n = 0;

    for (; n < 100; n++) {
        pid_t pid = fork();

        if (pid < 0)
            break;
        if (pid == 0) {
            pause();
            _exit(0);
        }
    }
    tell_number(tell_fd, n);
    pause();
}

static void burn(int tell_fd)
{
    uint64_t end = clock_mono_ns() + PATIENCE_NS;

    while (clock_mono_ns() < end) {
    }
}

/* Ignores what can be ignored, and has a child in a session of its own. */
static void resist(int tell_fd)
{
    for (int s = 1; s < 32; s++)
        signal(s, SIG_IGN);
    if (fork() == 0)
        setsid();
    tell_number(tell_fd, 1);
    for (;;)
        pause();
}

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
    assert_true(s.oom_kills >= 1);
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

/* ---- places ---- */

static void own_path(char *buf, size_t size, const char *below)
{
    struct cg_host *h = calloc(1, sizeof(*h));

    assert_non_null(h);
    assert_ok(cg_host_read(h, &d));
    snprintf(buf, size, "%s%s", strcmp(h->v2.root, "/") == 0 ? "" : h->v2.root, below);
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

#define STEP(n, condition)                                                                                                                                                             \
    do {                                                                                                                                                                               \
        if (!(condition)) {                                                                                                                                                            \
            print_error("step %d: %s: %s\n", n, #condition, d.text);                                                                                                                   \
            return n;                                                                                                                                                                  \
        }                                                                                                                                                                              \
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
    for (int i = 0; i < CG_CONTROLLER_COUNT; i++)
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
        cmocka_unit_test(test_controllers),      cmocka_unit_test(test_memory_limit),    cmocka_unit_test(test_pids_limit),        cmocka_unit_test(test_cpu_limit),
        cmocka_unit_test(test_stats),            cmocka_unit_test(test_limits_change),   cmocka_unit_test(test_names_and_doubles), cmocka_unit_test(test_absent_controller),
        cmocka_unit_test(test_kill),             cmocka_unit_test(test_sweep),           cmocka_unit_test(test_sweep_v1),          cmocka_unit_test(test_remove_kills),
        cmocka_unit_test(test_explicit_path),    cmocka_unit_test(test_bad_paths),       cmocka_unit_test(test_divide_delegated),  cmocka_unit_test(test_delegated_but_shared),
        cmocka_unit_test(test_enter_leaf),       cmocka_unit_test(test_lock),            cmocka_unit_test(test_v1_from_elsewhere),
    };

    snprintf(name, sizeof(name), "fnd-test-%d", (int)getpid());
    return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
