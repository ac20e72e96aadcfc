/*
 * A command beside a running function: the same probe sees the same as the function does (test_sandbox.c), and a function that waits for the process from outside gets nothing of what it brings.
 */
#include "root/sandbox_run.h"

#include "execframe.h"

#include <sys/resource.h>

struct session {
    struct sandbox_child child;
    pid_t born;
    int sock;
    struct exec_exit end;
    char out[65536];
    size_t len;
};

static void reap(struct session *s)
{
    siginfo_t info;

    while (waitid(P_PGID, (id_t)s->child.pid, &info, WEXITED) == 0)
        ;
    sandbox_child_close(&s->child);
}

/* Until the relay has been executed, or the error of who joins. */
static int join(struct fixture *f, struct run *r, struct session *s, const char *const *argv, bool tty, int userns_fd)
{
    cleanup_free struct spec *spec = calloc(1, sizeof(*spec) + 64);
    const struct fn_id id = {.env = "default", .name = "hello"};
    const struct plan_input in = {.spec = spec, .id = &id, .instance = "hello-abc123", .version = 7, .uid_base = UID_BASE};
    struct plan_command cmd = {.argv = argv, .tty = tty, .term = tty ? "vt100" : NULL};
    const struct sandbox_park at = {.cgroup_fd = f->cgroup_fd};
    struct sandbox_join j = {.at = &at, .pid_fd = r->child.pid_fd, .userns_fd = userns_fd, .master_fd = -1, .slave_fd = -1};
    struct plan *plan = NULL;
    int ends[2], e;

    *s = (struct session){.sock = -1};
    spec_init(spec);
    spec->gid = 1001;
    while (argv[cmd.argc])
        cmd.argc++;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    if (tty && sandbox_terminal(UID_BASE + 1000, UID_BASE + 1001, &j.master_fd, &j.slave_fd, &diag) < 0)
        fail_msg("%s", diag.text);
    assert_int_equal(plan_join(&in, &cmd, &plan, &diag), 0);
    j.plan = plan;
    j.socket_fd = ends[1];
    if (sandbox_join(f->kit, &j, &s->child, &diag) < 0)
        fail_msg("%s", diag.text);
    plan_free(plan);
    fd_close(ends[1]);
    fd_close(j.master_fd);
    fd_close(j.slave_fd);
    s->sock = ends[0];
    do {
        await(s->child.channel_fd);
        e = sandbox_join_on_channel(&s->child, &s->born, &diag);
    } while (e == 0 && s->child.stage != SANDBOX_RUNNING);
    return e;
}

/* START, no input, everything that is written, EXIT. */
static void converse(struct session *s)
{
    static uint8_t buf[EXEC_FRAME_MAX];
    uint8_t start[2 * EXEC_HEAD + 4];
    struct exec_frame fr;
    size_t n = exec_frame_size(start, EXEC_START, 33, 99), have = 0;
    int used;

    exec_frame_head(start + n, EXEC_STDIN, 0);
    assert_int_equal(fd_write_all(s->sock, start, n + EXEC_HEAD), 0);
    for (;;) {
        while ((used = exec_frame_parse(EXEC_FROM_RELAY, buf, have, &fr)) == 0) {
            ssize_t got;

            await(s->sock);
            got = read(s->sock, buf + have, sizeof(buf) - have);
            assert_true(got > 0);
            have += (size_t)got;
        }
        assert_true(used > 0);
        if (fr.type == EXEC_EXIT)
            break;
        if (fr.type != EXEC_TAKEN && s->len + fr.len < sizeof(s->out)) {
            memcpy(s->out + s->len, fr.payload, fr.len);
            s->len += fr.len;
        }
        have -= (size_t)used;
        memmove(buf, buf + used, have);
    }
    assert_int_equal(exec_read_exit(&fr, &s->end), 0);
    s->out[s->len] = '\0';
    s->sock = fd_close(s->sock);
}

static void beside(struct fixture *f, struct run *r, bool tty, const char *const *argv)
{
    static struct session s;

    if (join(f, r, &s, argv, tty, f->userns_fd) < 0)
        fail_msg("%s", diag.text);
    converse(&s);
    reap(&s);
    if (s.end.end != EXEC_END_EXITED || s.end.value != 0)
        fail_msg("%s: end %u step %u value %u\n%s", argv[1], s.end.end, s.end.step, s.end.value, s.out);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void begin(struct fixture *f, struct run *r, const struct function *fn)
{
    launch(f, r, fn);
}

static void end(struct run *r)
{
    kill(r->child.pid, SIGKILL);
    finish(r);
}

static void test_same_restrictions(void **state)
{
    struct fixture *f = *state;
    struct rlimit core;
    char limit[24];
    struct run r;

    assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
    snprintf(limit, sizeof(limit), "%llu", core.rlim_max < 1 ? 0ULL : 1ULL);
    begin(f, &r, VERB("wait-term"));
    for (int tty = 0; tty < 2; tty++) {
        beside(f, &r, tty, WORDS("/probe", "identity", "1000", "1001", limit, "beside"));
        if (tty)
            beside(f, &r, tty, WORDS("/probe", "terminal", "33", "99"));
        else
            beside(f, &r, tty, WORDS("/probe", "calls"));
        beside(f, &r, tty, WORDS("/probe", "sockets"));
        beside(f, &r, tty, WORDS("/probe", "foreign"));
        if (!tty)
            beside(f, &r, tty, WORDS("/probe", "dev")); /* leaves something in /tmp */
        beside(f, &r, tty, WORDS("/probe", "fds"));
        beside(f, &r, tty, WORDS("/probe", "proc"));
        beside(f, &r, tty, WORDS("/probe", "mounts", f->dir, "/var", "fnd", "ext4", "cgroup"));
        beside(f, &r, tty, WORDS("/probe", "environment", "PORT=3000", "FND_INSTANCE=hello-abc123", "HOME=/tmp", "-NOTIFY_SOCKET", tty ? "TERM=vt100" : "-TERM"));
    }
    end(&r);
}

static void expect_same(const char *name, pid_t a, pid_t b)
{
    struct stat x, y;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", a, name);
    assert_int_equal(stat(path, &x), 0);
    snprintf(path, sizeof(path), "/proc/%d/%s", b, name);
    assert_int_equal(stat(path, &y), 0);
    if (x.st_dev != y.st_dev || x.st_ino != y.st_ino)
        fail_msg("%s differs", name);
}

/* The relay, as the host sees it: namespaces, root, working directory and cgroup are fn-init's; ids 1, no capability, two filters. */
static void test_relay(void **state)
{
    static const char *const names[] = {"ns/mnt", "ns/pid", "ns/net", "ns/uts", "ns/ipc", "ns/cgroup", "ns/user", "ns/time", "root", "cwd"};
    static struct session s;
    struct fixture *f = *state;
    char path[64], text[4096], other[4096], want[80];
    struct run r;

    begin(f, &r, VERB("wait-term"));
    assert_int_equal(join(f, &r, &s, WORDS("/probe", "fds"), false, f->userns_fd), 0);
    for (size_t i = 0; i < COUNT(names); i++)
        expect_same(names[i], r.child.pid, s.born);
    snprintf(path, sizeof(path), "/proc/%d/cgroup", s.born);
    assert_true(fd_read_file(AT_FDCWD, path, text, sizeof(text)) > 0);
    snprintf(path, sizeof(path), "/proc/%d/cgroup", r.child.pid);
    assert_true(fd_read_file(AT_FDCWD, path, other, sizeof(other)) > 0);
    assert_string_equal(text, other);
    snprintf(path, sizeof(path), "/proc/%d/status", s.born);
    snprintf(want, sizeof(want), "\nUid:\t%u\t%u\t%u\t%u\n", UID_BASE + 1000, UID_BASE + 1, UID_BASE + 1, UID_BASE + 1);
    for (uint64_t until = clock_mono_ns() + WAIT_MS * NS_PER_MS;;) { /* its first act */
        assert_true(fd_read_file(AT_FDCWD, path, text, sizeof(text)) > 0);
        if (strstr(text, want))
            break;
        assert_true(clock_mono_ns() < until);
        usleep(200);
    }
    converse(&s);
    assert_int_equal(s.end.end, EXEC_END_EXITED);
    reap(&s);
    end(&r);
}

static void test_fails(void **state)
{
    static const struct {
        const char *word;
        enum exec_step step;
        int err;
    } cases[] = {
        {"/nothing", EXEC_STEP_EXEC, ENOENT}, {"nothing", EXEC_STEP_EXEC, ENOENT}, {"/plain", EXEC_STEP_EXEC, EACCES}, {"/script", EXEC_STEP_INTERPRETER, ENOENT}};
    static struct session s;
    struct fixture *f = *state;
    struct run r;

    begin(f, &r, VERB("wait-term"));
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(join(f, &r, &s, WORDS(cases[i].word), i % 2, f->userns_fd), 0);
        converse(&s);
        reap(&s);
        assert_int_equal(s.end.end, EXEC_END_FAILED);
        assert_int_equal(s.end.step, cases[i].step);
        assert_int_equal(s.end.value, cases[i].err);
    }
    assert_int_equal(join(f, &r, &s, WORDS("/probe", "die", "9"), false, f->userns_fd), 0);
    converse(&s);
    reap(&s);
    assert_int_equal(s.end.end, EXEC_END_SIGNAL);
    assert_int_equal(s.end.value, 9);
    /* A descriptor that is no user namespace stands for any step that fails. */
    assert_true(join(f, &r, &s, WORDS("/probe", "fds"), false, f->cgroup_fd) < 0);
    assert_non_null(strstr(diag.text, "sandbox: joining: userns"));
    reap(&s);
    fd_close(s.sock);
    end(&r);
}

/* Whoever does not say START, or says nonsense, has started nothing, and the relay goes; so it does when he goes. */
static void test_no_start(void **state)
{
    static const uint8_t nonsense[] = {EXEC_STDIN, 0, 1, 0, 'x'}, broken[] = {99, 1, 2, 3};
    static struct session s;
    struct fixture *f = *state;
    struct run r;

    begin(f, &r, VERB("wait-term"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(join(f, &r, &s, WORDS("/probe", "fds"), false, f->userns_fd), 0);
        if (i < 2)
            assert_int_equal(fd_write_all(s.sock, i ? nonsense : broken, i ? sizeof(nonsense) : sizeof(broken)), 0);
        else
            s.sock = fd_close(s.sock);
        reap(&s);
        fd_close(s.sock);
    }
    end(&r);
}

/* The function's end is the command's, and nothing is left to wait for. */
static void test_dies_with_the_function(void **state)
{
    static struct session s;
    uint8_t start[EXEC_HEAD + 4];
    struct fixture *f = *state;
    struct run r;
    char c;

    begin(f, &r, VERB("wait-term"));
    assert_int_equal(join(f, &r, &s, WORDS("/probe", "wait-term"), false, f->userns_fd), 0);
    assert_int_equal(fd_write_all(s.sock, start, exec_frame_size(start, EXEC_START, 0, 0)), 0);
    kill(r.child.pid, SIGKILL);
    reap(&s);
    while (read(s.sock, &c, 1) > 0)
        ;
    fd_close(s.sock);
    finish(&r);
}

/* What the function has said, once `word` is in it; or whatever there is after a while. */
static const char *said(struct run *r, const char *word, uint64_t wait_ms)
{
    const uint64_t until = clock_mono_ns() + wait_ms * NS_PER_MS;

    do {
        uint64_t pos = 0, lost;
        int64_t n = ringlog_read(r->log_fd, &pos, r->log, sizeof(r->log) - 1, &lost);

        r->log[n > 0 ? n : 0] = '\0';
        if (strstr(r->log, word))
            return r->log;
        usleep(200);
    } while (clock_mono_ns() < until);
    return NULL;
}

/* H02b: the runner's memory, descriptors, root and names are on their way through the function's pid namespace. */
static void test_watched(void **state)
{
    struct fixture *f = *state;
    bool looked = false;
    struct run r;

    begin(f, &r, VERB("watch", "test_join", "fnd", "root"));
    assert_non_null(said(&r, "watching\n", WAIT_MS));
    /* Each is there for a moment: how many it meets depends on who runs beside us. */
    for (int i = 0; i < 40 || (!looked && i < 2000); i++) {
        beside(f, &r, i % 2, WORDS("/probe", "fds"));
        looked = looked || said(&r, "met 20\n", 0);
    }
    kill(r.child.pid, SIGTERM);
    finish(&r);
    if (r.head.status != 0)
        fail_msg("%s\n%s", r.head.reason, r.log);
    assert_true(looked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_restrictions),      cmocka_unit_test(test_relay),   cmocka_unit_test(test_fails), cmocka_unit_test(test_no_start),
        cmocka_unit_test(test_dies_with_the_function), cmocka_unit_test(test_watched),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
