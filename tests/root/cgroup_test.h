/* cgroup_test.h: what the tests of cgroups share: a name of their own, "nothing is left", and children that are cloned into a group, wait until they are attached, then misbehave. */
#pragma once

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

#define MIB         (1ULL << 20)
#define HIGH_FD     200
#define PATIENCE_NS (20 * NS_PER_SEC)

static char name[32];
static struct diag d;

#define assert_ok(x)                                                                                                                                           \
    do {                                                                                                                                                       \
        int r_ = (x);                                                                                                                                          \
        if (r_ < 0)                                                                                                                                            \
            fail_msg("%s: %s (%s)", #x, strerror(-r_), d.text);                                                                                                \
    } while (0)

/* Waits for a condition; false when it does not come. */
#define wait_until(condition)                                                                                                                                  \
    ({                                                                                                                                                         \
        uint64_t end_ = clock_mono_ns() + PATIENCE_NS;                                                                                                         \
        const struct timespec pause_ = {.tv_nsec = NS_PER_MS};                                                                                                 \
        while (!(condition) && clock_mono_ns() < end_)                                                                                                         \
            nanosleep(&pause_, NULL);                                                                                                                          \
        (condition);                                                                                                                                           \
    })

static inline struct cg_root *open_root_at(const char *path)
{
    const struct cg_options o = {.path = path, .name = name};
    struct cg_root *r = NULL;

    assert_ok(cg_root_open(&o, &r, &d));
    return r;
}

static inline struct cg_root *open_root(void)
{
    return open_root_at("auto");
}

/* ---- nothing is left ---- */

static unsigned left;

static inline int count_left(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    if (type == FTW_D && strstr(path + ftw->base, name) == path + ftw->base) {
        print_error("left: %s\n", path);
        left++;
    }
    return 0;
}

static inline void assert_nothing_left(void)
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

static inline void close_root(struct cg_root *r)
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

static inline struct child spawn_into(int dir_fd, work_fn *work)
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

static inline void attach(const struct cg_group *g, pid_t pid)
{
    int fds[CG_CONTROLLER_COUNT], n = cg_group_attach_open(g, fds, &d);

    assert_true(n >= 0);
    while (n-- > 0) {
        assert_true(dprintf(fds[n], "%d", pid) > 0);
        fd_close(fds[n]);
    }
}

static inline struct child spawn(struct cg_group *g, work_fn *work)
{
    struct child c = spawn_into(g->dir_fd, work);

    attach(g, c.pid);
    assert_int_equal(write(c.go, "x", 1), 1);
    return c;
}

static inline void join(struct child *c, int *ret_status)
{
    assert_int_equal(waitpid(c->pid, ret_status, 0), c->pid);
    close(c->go);
    close(c->told);
}

static inline void assert_killed(struct child *c)
{
    int status = 0;

    join(c, &status);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static inline unsigned told_number(const struct child *c)
{
    unsigned n = 0;

    assert_int_equal(read(c->told, &n, sizeof(n)), sizeof(n));
    return n;
}

static inline void tell_number(int fd, unsigned n)
{
    if (write(fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
        _exit(9);
}

static inline void touch(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        _exit(8);
    for (size_t i = 0; i < bytes; i += 4096)
        ((volatile char *)p)[i] = 1;
}

static inline void eat_memory(int tell_fd)
{
    touch(256 * MIB);
}

static inline void hold_memory(int tell_fd)
{
    touch(8 * MIB);
    tell_number(tell_fd, 8);
    pause();
}

static inline void fork_bomb(int tell_fd)
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

static inline void burn(int tell_fd)
{
    uint64_t end = clock_mono_ns() + PATIENCE_NS;

    while (clock_mono_ns() < end) {
    }
}

/* Ignores what can be ignored, and has a child in a session of its own. */
static inline void resist(int tell_fd)
{
    for (int s = 1; s < 32; s++)
        signal(s, SIG_IGN);
    if (fork() == 0)
        setsid();
    tell_number(tell_fd, 1);
    for (;;)
        pause();
}
