/*
 * A real sandbox with the probe as its function: what the function sees, what it is refused, how it ends. Only this room: a bare cgroup, and a network
 * namespace with nothing but lo.
 */
#include "root/sandbox_run.h"

#include <linux/nsfs.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- what the function sees ---- */

static void test_identity(void **state)
{
    struct rlimit core;
    char limit[24];

    /* Lowered to 1, where the host does not hold it lower still. */
    assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
    snprintf(limit, sizeof(limit), "%llu", core.rlim_max < 1 ? 0ULL : 1ULL);
    verdict(*state, VERB("identity", "1000", "1001", limit));
}

static void test_calls(void **state)
{
    verdict(*state, VERB("calls"));
    verdict(*state, VERB("sockets"));
    verdict(*state, VERB("foreign"));
}

static void test_files(void **state)
{
    char bytes[16];

    snprintf(bytes, sizeof(bytes), "%u", TMP_BYTES);
    verdict(*state, VERB("files", bytes));
    verdict(*state, VERB("dev"));
    verdict(*state, VERB("fds"));
    verdict(*state, VERB("proc"));
}

static void test_mounts(void **state)
{
    struct fixture *f = *state;

    verdict(f, VERB("mounts", f->dir, "/var", "fnd", "ext4", "cgroup"));
}

static void test_writable(void **state)
{
    struct fixture *f = *state;
    char text[16];

    verdict(f, FUNCTION(.argv = {"/probe", "writable"}, .writable = true));
    assert_int_equal(fd_read_file(f->dir_fd, "image/data/old", text, sizeof(text)), 4);
    assert_string_equal(text, "old\n"); /* the image is what it was */
}

static void test_namespaces(void **state)
{
    static const char *const names[] = {"mnt", "pid", "uts", "ipc", "net", "user", "cgroup", "time"};
    char links[COUNT(names)][64];
    struct function half[2] = {{.argv = {"/probe", "namespaces"}}, {.argv = {"/probe", "namespaces"}}};

    for (size_t i = 0; i < COUNT(names); i++) {
        char path[64];
        const int n = snprintf(links[i], sizeof(links[i]), "%s=", names[i]);
        ssize_t len;

        snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
        len = readlink(path, links[i] + n, sizeof(links[i]) - (size_t)n - 1);
        assert_true(len > 0);
        links[i][n + len] = '\0';
        half[i / 4].argv[2 + i % 4] = links[i];
    }
    verdict(*state, &half[0]);
    verdict(*state, &half[1]);
}

static void test_environment(void **state)
{
    verdict(*state, FUNCTION(.argv = {"/probe", "environment", "PORT=3000", "FND_FUNCTION=hello", "FND_ENVIRONMENT=default", "FND_VERSION=7"}));
    verdict(*state,
            FUNCTION(.argv = {"/probe", "environment", "FND_INSTANCE=hello-abc123", "HOME=/tmp", "TZ=Europe/Berlin", "-NOTIFY_SOCKET", "-JOURNAL_STREAM"}));
    verdict(*state, FUNCTION(.argv = {"/probe", "environment", "GREETING=hi", "HOME=/data", "PORT=3000", "-FND_SECRET", "CWD=/data", "HOST=hello-abc123"},
                             .env = {"GREETING=hi", "HOME=/data", "PORT=1", "FND_SECRET=x"}, .cwd = "/data"));
    verdict(*state, FUNCTION(.argv = {"/probe", "environment", "/etc/hosts=127.0.0.1\tlocalhost\n10.9.0.7\thello-abc123\n10.9.0.1\tgateway\n",
                                      "/etc/hostname=hello-abc123\n"}));
    verdict(*state, FUNCTION(.argv = {"probe", "environment", "PATH=/nowhere:/"}, .env = {"PATH=/nowhere:/", "GLIBC_TUNABLES=glibc.malloc.check=3"}));
}

static void test_port(void **state)
{
    verdict(*state, VERB("port", "80"));
}

/* ---- life and end ---- */

static void test_init(void **state)
{
    verdict(*state, VERB("orphans"));
}

/* SIGTERM sent to PID 1 from inside is not passed on: the probe survives and says that PID 1 does. */
static void test_init_untouchable(void **state)
{
    verdict(*state, VERB("init"));
}

static void await_log(struct run *r, const char *text)
{
    const uint64_t until = clock_mono_ns() + WAIT_MS * NS_PER_MS;

    while (clock_mono_ns() < until) {
        uint64_t pos = 0, lost;
        int64_t n = ringlog_read(r->log_fd, &pos, r->log, sizeof(r->log) - 1, &lost);

        assert_true(n >= 0);
        r->log[n] = '\0';
        if (strstr(r->log, text))
            return;
        usleep(200);
    }
    fail_msg("\"%s\" never came: \"%s\"", text, r->log);
}

static void test_term(void **state)
{
    struct run r;

    launch(*state, &r, VERB("wait-term"));
    await_log(&r, "ready\n");
    assert_int_equal(kill(r.child.pid, SIGTERM), 0);
    finish(&r);
    assert_int_equal(r.head.end, RINGLOG_EXITED);
    assert_int_equal(r.head.status, 7);
    assert_string_equal(r.head.reason, "exited with status 7");
    assert_int_equal(WEXITSTATUS(r.status), 7);
}

/* Not root's: what is counted for the owner would be shared by all functions and the host. */
static void test_userns_owner(void **state)
{
    const struct fixture *f = *state;
    uid_t owner = 0;

    assert_int_equal(ioctl(f->userns_fd, NS_GET_OWNER_UID, &owner), 0);
    assert_int_equal(owner, UID_BASE);
}

/* The host sees the function and fn-init under ids of the slot's range. */
static void test_outer_ids(void **state)
{
    struct fixture *f = *state;
    char path[96], text[4096], want[64];
    struct run r;
    int pid, seen = 0;
    FILE *procs;

    launch(f, &r, VERB("wait-term"));
    await_log(&r, "ready\n");
    snprintf(path, sizeof(path), "%.64s/cgroup.procs", f->cgroup);
    procs = fopen(path, "re");
    assert_non_null(procs);
    for (; fscanf(procs, "%d", &pid) == 1; seen++) {
        snprintf(path, sizeof(path), "/proc/%d/status", pid);
        assert_true(fd_read_file(AT_FDCWD, path, text, sizeof(text)) > 0);
        if (pid == r.child.pid)
            snprintf(want, sizeof(want), "\nUid:\t%u\t%u\t%u\t%u\n", UID_BASE + 1000, UID_BASE + 1, UID_BASE + 1, UID_BASE + 1);
        else
            snprintf(want, sizeof(want), "\nUid:\t%u\t%u\t%u\t%u\n", UID_BASE + 1000, UID_BASE + 1000, UID_BASE + 1000, UID_BASE + 1000);
        assert_non_null(strstr(text, want));
        assert_non_null(strstr(text, "\nCapEff:\t0000000000000000\n"));
        assert_non_null(strstr(text, "\nCapBnd:\t0000000000000000\n"));
        assert_non_null(strstr(text, "\nSeccomp_filters:\t2\n"));
    }
    fclose(procs);
    assert_int_equal(seen, 2);
    kill(r.child.pid, SIGKILL);
    finish(&r);
}

static void test_killed(void **state)
{
    struct run r;

    launch(*state, &r, VERB("die", "9"));
    finish(&r);
    assert_int_equal(r.head.end, RINGLOG_SIGNALED);
    assert_int_equal(r.head.status, 9);
    assert_string_equal(r.head.reason, "killed by signal 9 (KILL)");
    assert_int_equal(WEXITSTATUS(r.status), 137);
}

static void test_silent(void **state)
{
    struct run r;

    launch(*state, &r, VERB("silent"));
    finish(&r);
    assert_string_equal(r.head.reason, "exited with status 9");
}

/* Eight times the ring, while a child keeps the pipe open: nothing blocks, the end is there. */
static void test_flood(void **state)
{
    struct run r;

    launch(*state, &r, VERB("spam", "8000000", "3"));
    finish(&r);
    assert_string_equal(r.head.reason, "exited with status 3");
    assert_int_equal(r.head.written, 8000000 + strlen("the end\n"));
}

static void test_exec_fails(void **state)
{
    static const struct {
        struct function fn;
        int err;
        const char *reason;
    } cases[] = {
        {{.argv = {"/nothing"}}, ENOENT, "cannot execute /nothing: No such file or directory"},
        {{.argv = {"nothing"}}, ENOENT, "cannot execute nothing: No such file or directory"},
        {{.argv = {"/plain"}}, EACCES, "cannot execute /plain: Permission denied"},
        {{.argv = {"/script"}}, ENOENT, "cannot execute /script: its interpreter or loader is not in the image"},
        {{.argv = {"/probe", "fds"}, .cwd = "/nowhere"}, ENOENT, "cannot enter working directory /nowhere: No such file or directory"},
        {{.argv = {"/probe", "fds"}, .cwd = "/proc/self/cwd"}, ELOOP, "cannot enter working directory /proc/self/cwd: Too many levels of symbolic links"},
        {{.argv = {"/probe", "fds"}, .cwd = "/proc/1/cwd"}, ELOOP, NULL},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct run r;

        launch(*state, &r, &cases[i].fn);
        finish(&r);
        assert_int_equal(r.head.end, RINGLOG_EXEC_FAILED);
        if (cases[i].reason) {
            assert_string_equal(r.head.reason, cases[i].reason);
            assert_int_equal(r.head.status, cases[i].err);
        }
        assert_int_equal(WEXITSTATUS(r.status), 127);
    }
}

/* ---- failures and the parked child ---- */

static void test_park_fails(void **state)
{
    struct fixture *f = *state;
    const struct sandbox_park where = {.cgroup_fd = f->cgroup_fd, .scratch_dir = "/no/such/directory"};
    struct run r = {0};

    assert_int_equal(sandbox_park(f->kit, &where, &r.child, &diag), 0);
    await(r.child.channel_fd);
    assert_int_equal(sandbox_on_channel(&r.child, &diag), -ENOENT);
    assert_int_equal(r.child.stage, SANDBOX_DEAD);
    assert_non_null(strstr(diag.text, "scratch"));
    assert_int_equal(waitpid(r.child.pid, NULL, 0), r.child.pid);
    sandbox_child_close(&r.child);
}

/* A descriptor that is no mount stands for any step that fails in the child. */
static void test_start_fails(void **state)
{
    struct fixture *f = *state;
    struct plan *p = make_plan(f, VERB("fds"));
    struct sandbox_start s = {.plan = p, .image_mount_fd = f->dir_fd, .userns_fd = f->cgroup_fd, .log_fd = f->dir_fd};
    struct run r = {0};

    park(f, &r);
    assert_int_equal(sandbox_start(&r.child, &s, &diag), 0);
    assert_true(await_running(&r) < 0);
    assert_int_equal(r.child.stage, SANDBOX_DEAD);
    assert_non_null(strstr(diag.text, "sandbox: start: image /image: "));
    assert_int_equal(waitpid(r.child.pid, NULL, 0), r.child.pid);
    sandbox_child_close(&r.child);
    plan_free(p);
}

/* A parked child sees no mount of the host, holds none of its descriptors, and goes when the runner does. */
static void test_parked(void **state)
{
    struct run r = {0};
    char path[64], text[32768];

    park(*state, &r);
    assert_int_equal(sandbox_on_channel(&r.child, &diag), -EAGAIN);
    snprintf(path, sizeof(path), "/proc/%d/mountinfo", r.child.pid);
    assert_true(fd_read_file(AT_FDCWD, path, text, sizeof(text)) > 0);
    assert_null(strstr(text, "ext4"));
    assert_null(strstr(text, "cgroup"));
    for (int fd = 6; fd < 256; fd++) {
        const uint64_t until = clock_mono_ns() + WAIT_MS * NS_PER_MS;
        struct stat st;

        snprintf(path, sizeof(path), "/proc/%d/fd/%d", r.child.pid, fd);
        while (lstat(path, &st) == 0 && clock_mono_ns() < until) /* its copy of what it has just sent */
            usleep(200);
        assert_int_equal(lstat(path, &st), -1);
    }
    kill(r.child.pid, SIGTERM); /* PID 1 of a namespace: nothing happens */
    assert_int_equal(waitpid(r.child.pid, NULL, WNOHANG), 0);
    r.child.channel_fd = fd_close(r.child.channel_fd);
    await(r.child.pid_fd);
    assert_int_equal(waitpid(r.child.pid, NULL, 0), r.child.pid);
    sandbox_child_close(&r.child);
}

/* ---- time ---- */

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void print_times(const char *what, uint64_t *ns)
{
    qsort(ns, ROUNDS, sizeof(*ns), by_size);
    print_message("%s: median %.3f ms, 99th percentile %.3f ms\n", what, (double)ns[ROUNDS / 2] / 1e6, (double)ns[ROUNDS * 99 / 100] / 1e6);
}

static void test_times(void **state)
{
    static uint64_t parked[ROUNDS], init[ROUNDS], function[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        struct run r = {0};
        uint64_t t = clock_mono_ns();

        park(*state, &r);
        parked[i] = clock_mono_ns() - t;
        start(*state, &r, VERB("stamp"));
        assert_int_equal(await_running(&r), 0);
        init[i] = clock_mono_ns() - r.started_ns;
        finish(&r);
        assert_int_equal(r.head.status, 0);
        function[i] = strtoull(r.log, NULL, 10) - r.started_ns;
    }
    print_times("park", parked);
    print_times("start to exec of fn-init", init);
    print_times("start to the function's first instruction", function);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),     cmocka_unit_test(test_calls),
        cmocka_unit_test(test_files),        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_writable),     cmocka_unit_test(test_namespaces),
        cmocka_unit_test(test_environment),  cmocka_unit_test(test_port),
        cmocka_unit_test(test_init),         cmocka_unit_test(test_init_untouchable),
        cmocka_unit_test(test_term),         cmocka_unit_test(test_outer_ids),
        cmocka_unit_test(test_userns_owner), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_silent),       cmocka_unit_test(test_flood),
        cmocka_unit_test(test_exec_fails),   cmocka_unit_test(test_park_fails),
        cmocka_unit_test(test_start_fails),  cmocka_unit_test(test_parked),
        cmocka_unit_test(test_times),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
