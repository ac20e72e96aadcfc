/*
 * logins.c: see logins.h.
 *
 * At most LOGINS_RUNNING children at once, LOGINS_WAITING wait. Wrong passwords are paid for from a bucket that fills by LOGINS_PER_S: however many ask (a gateway that was taken over is not slowed down by itself),
 * no more are tried. A right one gives back what it took.
 */
#include "logins.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "loop.h"
#include "record.h"
#include "str.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <openssl/crypto.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOGINS_RUNNING 2U
#define LOGINS_WAITING 30U
#define LOGINS_PER_S   5U
#define LOGINS_BURST   20U
#define LOGIN_TIME_NS  (10 * NS_PER_SEC)
#define NOBODY         65534U

struct login_answer {
    int32_t err;
    char hash[CRYPT_OUTPUT_SIZE];
};

struct login {
    struct login *next;
    struct logins *all;
    char password[PASSWORD_MAX + 1];
    char hash[CRYPT_OUTPUT_SIZE]; /* empty: one is to be made */
    login_fn *on_done;
    void *arg;
    int pid_fd, answer_fd; /* -1: not running yet */
    struct watch watch;
    struct timer timer;
};

struct logins {
    struct loop *loop;
    struct login *list; /* in the order in which they came */
    unsigned count, running;
    uint64_t filled_ns; /* the bucket, as the time at which it was empty: see take() */
    struct timer kick;  /* forking waits for a turn of its own */
};

/* ---- in the child ---- */

static int only_memory_and_write(void)
{
    static const int calls[] = {SCMP_SYS(write),   SCMP_SYS(mmap),      SCMP_SYS(munmap), SCMP_SYS(mremap),    SCMP_SYS(brk),
                                SCMP_SYS(madvise), SCMP_SYS(getrandom), SCMP_SYS(futex),  SCMP_SYS(exit_group)};
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = ctx ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < sizeof(calls) / sizeof(calls[0]); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
    return r == 0 ? seccomp_load(ctx) : r;
}

static int give_up(void)
{
    static const struct {
        int what;
        rlim_t most;
    } limits[] = {{RLIMIT_CORE, 0}, {RLIMIT_FSIZE, 0}, {RLIMIT_NPROC, 0}, {RLIMIT_CPU, 5}};

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (setrlimit(limits[i].what, &(struct rlimit){limits[i].most, limits[i].most}) < 0)
            return -errno;
    if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
        return -errno;
    /* Other processes of that user must not look into this one, which still has the runner's memory. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return only_memory_and_write();
}

static int compute(const struct login *l, struct login_answer *a)
{
    struct crypt_data *data = calloc(1, sizeof(*data));
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    const char *setting = l->hash, *made;

    if (!data)
        return ENOMEM;
    if (!*setting) {
        setting = crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof(salt));
        if (!setting)
            return errno;
    }
    made = crypt_r(l->password, setting, data);
    if (!made || *made == '*')
        return EINVAL;
    if (!*l->hash)
        return str_copy(a->hash, sizeof(a->hash), made) < 0 ? EOVERFLOW : 0;
    return strlen(made) == strlen(l->hash) && CRYPTO_memcmp(made, l->hash, strlen(made)) == 0 ? 0 : EACCES;
}

static _Noreturn void work(const struct login *l, int to, pid_t parent)
{
    struct login_answer a = {0};
    int r;

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent || dup3(to, 0, O_CLOEXEC) < 0)
        _exit(1);
    close_range(1, ~0U, 0);
    r = give_up();
    a.err = r < 0 ? -r : compute(l, &a);
    _exit(write(0, &a, sizeof(a)) != (ssize_t)sizeof(a));
}

/* ---- in the runner ---- */

static void free_login(struct login *l)
{
    struct login **at = &l->all->list;

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->all->count--;
    l->all->running -= l->pid_fd >= 0;
    loop_disarm(&l->timer);
    loop_unwatch(&l->watch);
    fd_close(l->answer_fd);
    fd_close(l->pid_fd);
    OPENSSL_cleanse(l, sizeof(*l));
    free(l);
}

static void reap(const struct login *l)
{
    siginfo_t info;

    while (waitid(P_PIDFD, (id_t)l->pid_fd, &info, WEXITED) < 0 && errno == EINTR)
        ;
}

static void start_next(struct logins *all);

/* The answer is the child's, which has read a stranger's text: only its shape is believed. */
static void finish(struct login *l, struct login_answer *a, bool whole)
{
    struct logins *all = l->all;
    login_fn *on_done = l->on_done;
    void *arg = l->arg;
    int err = !whole || a->err < 0 ? EIO : a->err;

    a->hash[sizeof(a->hash) - 1] = '\0';
    if (*l->hash)
        a->hash[0] = '\0';
    if (*l->hash && err != EACCES && all->filled_ns >= NS_PER_SEC / LOGINS_PER_S)
        all->filled_ns -= NS_PER_SEC / LOGINS_PER_S;
    free_login(l);
    start_next(all);
    on_done(arg, err, a->hash);
}

static void on_child_end(struct watch *w, uint32_t events)
{
    struct login *l = w->owner;
    struct login_answer a = {0};
    bool whole = read(l->answer_fd, &a, sizeof(a)) == (ssize_t)sizeof(a);

    reap(l);
    if (!whole)
        log_msg(LOG_ERR, "a password was not checked", "reason=\"the child that does it died\"");
    finish(l, &a, whole);
}

static void on_time(struct timer *t)
{
    struct login *l = t->owner;

    syscall(SYS_pidfd_send_signal, l->pid_fd, SIGKILL, NULL, 0);
}

static int start(struct login *l)
{
    pid_t parent = getpid(), pid;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    pid = fork();
    if (pid == 0)
        work(l, ends[1], parent);
    fd_close(ends[1]);
    l->answer_fd = ends[0];
    if (pid < 0)
        return -EAGAIN;
    l->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (l->pid_fd >= 0 && loop_watch(l->all->loop, &l->watch, l->pid_fd, EPOLLIN, on_child_end, l) == 0) {
        loop_arm_in(l->all->loop, &l->timer, LOGIN_TIME_NS);
        l->all->running++;
        return 0;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    l->pid_fd = fd_close(l->pid_fd);
    return -EAGAIN;
}

static void start_next(struct logins *all)
{
    struct login *l = all->list;

    while (l && l->pid_fd >= 0)
        l = l->next;
    if (!l || all->running >= LOGINS_RUNNING)
        return;
    if (start(l) < 0) {
        struct login_answer none = {.err = EAGAIN};

        finish(l, &none, true);
    }
}

static void on_kick(struct timer *t)
{
    struct logins *all = t->owner;

    for (unsigned i = 0; i < LOGINS_RUNNING; i++)
        start_next(all);
}

int logins_new(struct loop *loop, struct logins **ret)
{
    struct logins *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->loop = loop;
    l->kick = (struct timer){.on_expire = on_kick, .owner = l};
    *ret = l;
    return 0;
}

void logins_free(struct logins *l)
{
    if (!l)
        return;
    loop_disarm(&l->kick);
    while (l->list) {
        struct login *first = l->list;
        login_fn *on_done = first->on_done;
        void *arg = first->arg;

        if (first->pid_fd >= 0) {
            syscall(SYS_pidfd_send_signal, first->pid_fd, SIGKILL, NULL, 0);
            reap(first);
        }
        free_login(first);
        on_done(arg, ECANCELED, "");
    }
    free(l);
}

/* The bucket as a time: each check moves it on by its share of a second; it may be LOGINS_BURST shares ahead of now. */
static bool take(struct logins *l)
{
    const uint64_t share = NS_PER_SEC / LOGINS_PER_S, now = clock_mono_ns();

    if (l->filled_ns < now)
        l->filled_ns = now;
    if (l->filled_ns + share > now + LOGINS_BURST * share)
        return false;
    l->filled_ns += share;
    return true;
}

static int add(struct logins *all, const char *password, const char *hash, login_fn *on_done, void *arg)
{
    struct login *l, **at = &all->list;

    if (all->count >= LOGINS_RUNNING + LOGINS_WAITING)
        return -EAGAIN;
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    *l = (struct login){.all = all, .on_done = on_done, .arg = arg, .pid_fd = -1, .answer_fd = -1, .timer = {.on_expire = on_time, .owner = l}};
    if (str_copy(l->password, sizeof(l->password), password) < 0 || str_copy(l->hash, sizeof(l->hash), hash) < 0) {
        free(l);
        return -ENAMETOOLONG;
    }
    while (*at)
        at = &(*at)->next;
    if (loop_arm_in(all->loop, &all->kick, 0) < 0) {
        free(l);
        return -ENOMEM;
    }
    *at = l;
    all->count++;
    return 0;
}

int logins_check(struct logins *l, const char *password, const char *hash, login_fn *on_done, void *arg)
{
    int r = !*hash ? -EINVAL : take(l) ? 0 : -EAGAIN;

    return r < 0 ? r : add(l, password, hash, on_done, arg);
}

int logins_hash(struct logins *l, const char *password, login_fn *on_done, void *arg)
{
    return add(l, password, "", on_done, arg);
}
