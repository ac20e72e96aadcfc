/* The process: how it is confined, from outside and from inside, and how it ends. */
#include "root/unpack_job.h"

#include "../../runner/unpack/unpack_internal.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define LIAR "liar"

/* ---- the process ---- */

static void test_killed(void **state)
{
    struct host *h = host_of(state);
    struct unpacker u = UNPACKER_NONE;
    struct job *j = job_new(h);
    struct pollfd p = {.events = POLLIN};
    int pipes[2];

    assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
    /* an archive that never comes: nothing is reported, the process can be ended at any time */
    assert_int_equal(job_start(h, j, UNPACKER_EXTRACT, pipes[0], &u), 0);
    assert_int_equal(unpacker_on_socket(&u, &j->res, &j->spec, &j->d), -EAGAIN);
    p.fd = u.socket_fd;
    assert_int_equal(poll(&p, 1, 50), 0);
    assert_int_equal(kill(u.pid, SIGKILL), 0);
    assert_int_equal(poll(&p, 1, 30000), 1);
    j->err = unpacker_on_socket(&u, &j->res, &j->spec, &j->d);
    assert_int_equal(j->err, -EPROTO);
    assert_non_null(strstr(j->d.text, "signal 9"));
    unpacker_kill_close(&u);
    unpacker_kill_close(&u);
    /* the writer gives up in the middle */
    assert_int_equal(job_start(h, j, UNPACKER_EXTRACT, pipes[0], &u), 0);
    assert_int_equal(fd_write_all(pipes[1], "half", 4), 0);
    close(pipes[0]);
    close(pipes[1]);
    p.fd = u.socket_fd;
    assert_int_equal(poll(&p, 1, 30000), 1);
    j->err = unpacker_on_socket(&u, &j->res, &j->spec, &j->d);
    assert_true(j->err < 0 && j->err != -EAGAIN);
    unpacker_kill_close(&u);
    job_free(j);
}

/* Of each of its threads: no capability but three, no way to new ones, a filter. */
static void expect_tasks_confined(pid_t pid)
{
    static const char *const want[] = {"CapEff:\t000000000000000b\n",
                                       "CapPrm:\t000000000000000b\n",
                                       "CapInh:\t0000000000000000\n",
                                       "CapBnd:\t000000000000000b\n",
                                       "CapAmb:\t0000000000000000\n",
                                       "NoNewPrivs:\t1\n",
                                       "Seccomp:\t2\n"};
    char path[64], status[8192];
    struct dirent *e;
    int n = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    assert_non_null(dir);
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", (int)pid, e->d_name);
        assert_true(fd_read_file(AT_FDCWD, path, status, sizeof(status)) > 0);
        for (size_t i = 0; i < COUNT(want); i++)
            if (!strstr(status, want[i]))
                fail_msg("no \"%s\" in %s: %s", want[i], path, status);
        n++;
    }
    closedir(dir);
    assert_int_equal(n, 2); /* the other one computes digests */
}

/* While it waits for the archive: a root of its own, no network, and the descriptors of the contract. */
static void test_confined(void **state)
{
    struct host *h = host_of(state);
    struct unpacker u = UNPACKER_NONE;
    struct job *j = job_new(h);
    char path[64], status[8192];
    int pipes[2], n = 0;
    struct dirent *e;
    DIR *dir;

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(job_start(h, j, UNPACKER_EXTRACT, pipes[0], &u), 0);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)u.pid);
    for (int i = 0; i < 3000; i++) { /* until it has installed its filter */
        assert_true(fd_read_file(AT_FDCWD, path, status, sizeof(status)) > 0);
        if (strstr(status, "Seccomp:\t2"))
            break;
        poll(NULL, 0, 10);
    }
    expect_tasks_confined(u.pid);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)u.pid);
    dir = opendir(path);
    assert_non_null(dir);
    while ((e = readdir(dir)))
        n += e->d_name[0] != '.';
    closedir(dir);
    assert_int_equal(n, 5); /* 0 2 3 4 and the image's root */
    snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)u.pid);
    assert_true(fd_read_file(AT_FDCWD, path, status, sizeof(status)) >= 0);
    assert_true(strchr(status, '\n') == NULL || strchr(status, '\n')[1] == '\0'); /* at most its own root */
    unpacker_kill_close(&u);
    close(pipes[0]);
    close(pipes[1]);
    job_free(j);
}

/*
 * The jail from inside, as code that an archive took over would find it: this program is started in place of fnd-unpack, enters the jail, and tries. Raw system calls, because libc may choose others.
 */
struct attempt {
    const char *what;
    long got; /* -errno, or what the call returned */
    long want;
};

static long raw(long r)
{
    return r < 0 ? -errno : r;
}

#define TRY(want, ...)                                                                                                                                         \
    {                                                                                                                                                          \
#__VA_ARGS__, raw(syscall(__VA_ARGS__)), want                                                                                                          \
    }

/* Keeps the first one that went otherwise. */
static bool probe_as_wanted(const struct attempt *a, size_t n, struct attempt *ret_wrong)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i].got != a[i].want) {
            *ret_wrong = a[i];
            return false;
        }
    }
    return true;
}

static bool probe_modes(struct attempt *ret_wrong)
{
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
    struct open_how how = {.flags = flags, .mode = 04755};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "file", flags, 0600), dir = (int)syscall(SYS_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY, 0);
    const struct attempt attempts[] = {
        TRY(0, SYS_fchmod, fd, 0755),
        TRY(0, SYS_fchmod, dir, 01777),
        TRY(-EPERM, SYS_fchmod, fd, 04755),
        TRY(-EPERM, SYS_fchmod, fd, 02755),
        TRY(-EPERM, SYS_fchmod, fd, 06000),
        TRY(-EPERM, SYS_fchmod, fd, 0xffffffffffff0800UL),
        TRY(-EPERM, SYS_fchmod, dir, 03777),
        TRY(-EPERM, SYS_fchmodat, AT_FDCWD, "file", 04755),
        TRY(-EPERM, SYS_fchmodat, AT_FDCWD, "file", 02000),
        TRY(-EPERM, 452 /* fchmodat2 */, AT_FDCWD, "file", 04755, 0),
        TRY(-EPERM, SYS_openat, AT_FDCWD, "new", flags, 04755),
        TRY(-EPERM, SYS_openat, AT_FDCWD, "new", flags, 02755),
        TRY(-EPERM, SYS_openat, AT_FDCWD, ".", O_WRONLY | O_TMPFILE, 04755),
        TRY(-EPERM, SYS_openat2, AT_FDCWD, "new", &how, sizeof(how)),
        TRY(-EPERM, SYS_mkdirat, AT_FDCWD, "d", 02755),
        TRY(0, SYS_mkdirat, AT_FDCWD, "d", 01755),
        TRY(-EPERM, SYS_mknodat, AT_FDCWD, "n", S_IFREG | 04755, 0),
        TRY(-EPERM, SYS_mknodat, AT_FDCWD, "n", S_IFCHR | 0666, 0x103),
#ifdef SYS_open
        TRY(-EPERM, SYS_open, "new", flags, 04755),
        TRY(-EPERM, SYS_creat, "new", 04755),
        TRY(-EPERM, SYS_chmod, "file", 04755),
        TRY(-EPERM, SYS_mkdir, "d2", 02755),
        TRY(-EPERM, SYS_mknod, "n", S_IFREG | 04755, 0),
#endif
        TRY(-EPERM, SYS_fsetxattr, fd, "user.a", "b", 1, 0),
        TRY(-EPERM, SYS_setxattr, "file", "security.capability", "b", 1, 0),
        TRY(0, SYS_fchown, fd, 65535, 65535),
        TRY(-EINVAL, SYS_fchown, fd, 65536, 0),
    };

    return probe_as_wanted(attempts, COUNT(attempts), ret_wrong);
}

static bool probe_calls(struct attempt *ret_wrong)
{
    char *const argv[] = {NULL};
    struct rlimit lower = {16, 16};
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct attempt attempts[] = {
        TRY(-EPERM, SYS_execve, "/file", argv, argv),
        TRY(-EPERM, SYS_execveat, UNPACK_FD_INPUT, "", argv, argv, AT_EMPTY_PATH),
        TRY(-EPERM, SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL),
        TRY(-EPERM, SYS_clone3, NULL, 0),
        TRY(-EPERM, SYS_unshare, 0),
        TRY(-EPERM, SYS_setns, 3, 0),
        TRY(-EPERM, SYS_socket, AF_UNIX, SOCK_STREAM, 0),
        TRY(-EPERM, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, NULL),
        TRY(-EPERM, SYS_connect, UNPACK_FD_SOCKET, NULL, 0),
        TRY(-EPERM, SYS_ptrace, PTRACE_TRACEME, 0, NULL, NULL),
        TRY(-EPERM, SYS_mount, "a", "/", "tmpfs", 0, NULL),
        TRY(-EPERM, SYS_umount2, "/", MNT_DETACH),
        TRY(-EPERM, SYS_chroot, "."),
        TRY(-EPERM, SYS_fchdir, UNPACK_FD_STAGING),
        TRY(-EPERM, SYS_setresuid, 1, 1, 1),
        TRY(-EPERM, SYS_prctl, 0, 0, 0, 0, 0),
        TRY(-EPERM, SYS_capset, NULL, NULL),
        TRY(-EPERM, SYS_bpf, 0, NULL, 0),
        TRY(-EPERM, SYS_kill, 1, 0),
        TRY(-EPERM, SYS_ioctl, UNPACK_FD_INPUT, 0, 0),
        TRY(-EPERM, SYS_memfd_create, "m", 0),
        TRY(-EPERM, SYS_open_by_handle_at, 3, NULL, 0),
        TRY(-EPERM, SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        TRY(-EPERM, SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC),
        TRY(0, SYS_mprotect, page, 4096, PROT_READ),
        TRY(-EPERM, SYS_prlimit64, 1, RLIMIT_NOFILE, &lower, NULL),
        TRY(0, SYS_prlimit64, 0, RLIMIT_NOFILE, &lower, NULL),
        TRY(-ENOENT, SYS_openat, AT_FDCWD, "/proc/self/status", O_RDONLY, 0),
        TRY(-ENOENT, SYS_openat, AT_FDCWD, "../../../etc/passwd", O_RDONLY, 0),
        TRY(-ENOENT, SYS_openat, UNPACK_FD_STAGING, "../../../../etc/passwd", O_RDONLY, 0),
        TRY(-ENOENT, SYS_openat, UNPACK_FD_STAGING, "../" UNPACK_ROOTFS "/../../var", O_RDONLY, 0),
    };

    return probe_as_wanted(attempts, COUNT(attempts), ret_wrong);
}

/* The survey can look, and nothing else. */
static bool probe_survey(struct attempt *ret_wrong)
{
    const int fd = (int)syscall(SYS_openat, AT_FDCWD, "server", O_RDONLY, 0);
    const struct attempt attempts[] = {
        TRY(-EROFS, SYS_openat, AT_FDCWD, "new", O_WRONLY | O_CREAT, 0644),
        TRY(-EROFS, SYS_openat, AT_FDCWD, "server", O_WRONLY, 0),
        TRY(-EROFS, SYS_openat, UNPACK_FD_STAGING, "new", O_WRONLY | O_CREAT, 0644),
        TRY(-EPERM, SYS_mkdirat, AT_FDCWD, "d", 0755),
        TRY(-EPERM, SYS_unlinkat, AT_FDCWD, "server", 0),
        TRY(-EPERM, SYS_renameat2, AT_FDCWD, "server", AT_FDCWD, "s", 0),
        TRY(-EPERM, SYS_linkat, AT_FDCWD, "server", AT_FDCWD, "s", 0),
        TRY(-EPERM, SYS_fchmod, fd, 0755),
        TRY(-EPERM, SYS_fchown, fd, 1, 1),
        TRY(-EPERM, SYS_ftruncate, fd, 0),
        TRY(-EPERM, SYS_socket, AF_UNIX, SOCK_STREAM, 0),
        TRY(-EPERM, SYS_execve, "/server", NULL, NULL),
        TRY(-EPERM, SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL),
        TRY(0, SYS_fsync, fd),
        TRY(-EPERM, SYS_syncfs, fd),
    };

    return probe_as_wanted(attempts, COUNT(attempts), ret_wrong);
}

/* A jail that was taken over: it makes a tree, and claims the digest of another. */
static _Noreturn void liar_main(void)
{
    struct unpack_result res = {.magic = UNPACK_MAGIC, .bytes = 1, .entries = 1};
    struct spec *spec = calloc(1, sizeof(*spec) + 8);
    struct jail_help help = {0};
    int root = -1;

    if (!spec || jail_enter(JAIL_EXTRACT, &help, &root, &res.diag) < 0 || syscall(SYS_openat, root, "planted", O_WRONLY | O_CREAT, 0755) < 0)
        _exit(1);
    spec_init(spec);
    snprintf(spec->name, sizeof(spec->name), "t");
    memcpy(spec->strings, "/server", 8);
    spec->strings_len = 8;
    spec->argc = 1;
    memset(res.sha256, 'a', 64);
    res.spec_bytes = (uint32_t)spec_size(spec);
    fd_send(UNPACK_FD_SOCKET, &res, sizeof(res), NULL, 0, 0);
    fd_send(UNPACK_FD_SOCKET, spec, spec_size(spec), NULL, 0, 0);
    _exit(0);
}

static int probe_main(bool survey)
{
    struct unpack_result res = {.magic = UNPACK_MAGIC};
    struct unpack_request *req = calloc(1, sizeof(*req));
    struct jail_help help = {0};
    struct attempt wrong;
    int root;

    if (recv(UNPACK_FD_SOCKET, req, sizeof(*req), 0) == sizeof(*req) && strcmp(req->id.name, LIAR) == 0)
        liar_main();
    if (jail_enter(survey ? JAIL_SURVEY : JAIL_EXTRACT, &help, &root, &res.diag) == 0) {
        if (survey ? !probe_survey(&wrong) : !probe_modes(&wrong) || !probe_calls(&wrong))
            diag_set(&res.diag, EIO, "%s gave %ld, not %ld", wrong.what, wrong.got, wrong.want);
        else
            diag_set(&res.diag, ECANCELED, "all attempts failed");
    }
    fd_send(UNPACK_FD_SOCKET, &res, sizeof(res), NULL, 0, 0);
    _exit(0);
}

static void test_from_inside(void **state)
{
    struct host *h = host_of(state), *self = calloc(1, sizeof(*self));
    struct job *j = job_new(h);
    cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(readlink("/proc/self/exe", self->program, sizeof(self->program) - 1) > 0);
    job_run_fd(self, j, null);
    if (j->err != -ECANCELED)
        fail_msg("%s", j->d.text);
    assert_string_equal(j->d.text, "all attempts failed");
    job_free(j);
    free(self);
}

static void test_survey_from_inside(void **state)
{
    struct host *h = host_of(state), *self = calloc(1, sizeof(*self));
    struct job *j = UNPACK(h, {.name = "f", .data = "x"});

    expect_ok(j);
    assert_true(readlink("/proc/self/exe", self->program, sizeof(self->program) - 1) > 0);
    job_survey(self, j);
    if (j->err != -ECANCELED)
        fail_msg("%s", j->d.text);
    job_free(j);
    free(self);
}

/* Whatever the process claims that has read the archive: the image is named by what lies there. */
static void test_digest_is_not_its_word(void **state)
{
    struct host *h = host_of(state), *self = calloc(1, sizeof(*self));
    struct job *j = job_new(h);
    cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char sha[65];

    assert_true(readlink("/proc/self/exe", self->program, sizeof(self->program) - 1) > 0);
    snprintf(j->req.id.name, sizeof(j->req.id.name), LIAR);
    job_one(self, j, UNPACKER_EXTRACT, null);
    expect_ok(j);
    assert_int_equal(j->res.sha256[0], '\0');
    job_survey(h, j);
    expect_ok(j);
    memcpy(sha, j->res.sha256, sizeof(sha));
    assert_true(strspn(sha, "a") < 64);
    assert_int_equal(j->res.entries, 1);
    /* and what else is there shows in it */
    assert_int_equal(mkdirat(j->dir, "rootfs/more", 0755), 0);
    job_survey(h, j);
    expect_ok(j);
    assert_string_not_equal(sha, j->res.sha256);
    job_free(j);
    free(self);
}

static void test_start_fails(void **state)
{
    struct host *h = host_of(state), *other = calloc(1, sizeof(*other));
    struct unpacker u = UNPACKER_NONE;
    struct job *j = job_new(h);
    cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_non_null(other);
    snprintf(other->program, sizeof(other->program), "/nonexistent/fnd-unpack");
    assert_int_equal(job_start(other, j, UNPACKER_EXTRACT, null, &u), -ENOENT);
    snprintf(other->program, sizeof(other->program), "/etc/passwd");
    assert_int_equal(job_start(other, j, UNPACKER_EXTRACT, null, &u), -EACCES);
    free(other);
    assert_int_equal(u.pid_fd, -1);
    job_free(j);
}

/* A program that only root can read, below a directory that only root can enter. */
static void test_private_program(void **state)
{
    struct host *h = host_of(state);
    struct host *copy = calloc(1, sizeof(*copy));
    cleanup_fd int in = open(h->program, O_RDONLY | O_CLOEXEC);
    cleanup_free char *data = NULL;
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j = job_new(h);
    ssize_t n = fd_read_all(in, 64 << 20, &data);

    *copy = *h;
    snprintf(copy->program, sizeof(copy->program), "%.4000s/private", h->top);
    assert_int_equal(mkdir(copy->program, 0700), 0);
    snprintf(copy->program, sizeof(copy->program), "%.4000s/private/fnd-unpack", h->top);
    {
        cleanup_fd int out = open(copy->program, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);

        assert_true(n > 0);
        assert_int_equal(fd_write_all(out, data, (size_t)n), 0);
    }
    corpus_begin(&tar);
    tar_end(&tar);
    job_run(copy, j, tar.data, tar.len);
    expect_ok(j);
    job_free(j);
    free(copy);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_confined),
        cmocka_unit_test(test_from_inside),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_private_program),
        cmocka_unit_test(test_survey_from_inside),
        cmocka_unit_test(test_digest_is_not_its_word),
    };

    if (strcmp(argv[0], "fnd-unpack") == 0)
        return probe_main(argc == 2 && strcmp(argv[1], UNPACK_SURVEY) == 0);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
