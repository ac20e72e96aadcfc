/* probe_bombs.c: what uses things up. Everything is bounded by its arguments, so that a limit that does not hold is a failed test and no dead host. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CHUNK    (1UL << 20)

/* forks N: children that stay, until there can be no more, or N; prints how many */
int probe_forks(char **args)
{
    const long most = strtol(args[0], NULL, 10);
    long n = 0;

    while (n < most) {
        pid_t pid = fork();

        if (pid < 0)
            break;
        if (pid == 0) {
            close(STDOUT_FILENO);
            for (;;)
                pause();
        }
        n++;
    }
    probe_expect(n < most && errno == EAGAIN, "%ld processes", n);
    printf("forked %ld\n", n);
    return 0;
}

/* ---- memory: each takes about one MiB and returns false when it gets no more ---- */

static char block[CHUNK];

static bool eat_anonymous(unsigned i)
{
    char *p = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return false;
    memset(p, 1, CHUNK);
    return true;
}

static bool fill(int fd)
{
    return fd >= 0 && write(fd, block, CHUNK) == (ssize_t)CHUNK;
}

static bool eat_tmpfs(unsigned i)
{
    return fill(open("/tmp/eaten", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
}

static bool eat_memfd(unsigned i)
{
    return fill(memfd_create("eaten", MFD_CLOEXEC));
}

static bool eat_shm(unsigned i)
{
    int id = shmget(IPC_PRIVATE, CHUNK, IPC_CREAT | 0600);
    char *p = id < 0 ? NULL : shmat(id, NULL, 0);

    if (!p || p == (char *)-1)
        return false;
    memset(p, 1, CHUNK);
    return shmdt(p) == 0; /* attached to nobody, and still there */
}

static bool eat_pipes(unsigned i)
{
    for (int k = 0; k < 16; k++) {
        int p[2];

        if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
            return false;
        (void)!write(p[1], block, 65536);
    }
    return true;
}

static bool eat_sockets(unsigned i)
{
    for (int k = 0; k < 8; k++) {
        int p[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p) < 0)
            return false;
        (void)!write(p[0], block, 131072);
    }
    return true;
}

static bool eat_inodes(unsigned i)
{
    char path[256];

    for (int k = 0; k < 1024; k++) {
        int fd;

        snprintf(path, sizeof(path), "/tmp/%0200u-%d", i, k);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return false;
        close(fd);
    }
    return true;
}

/* Names that are not there leave entries in the kernel's cache. */
static bool eat_dentries(unsigned i)
{
    char path[256];

    for (int k = 0; k < 4096; k++) {
        snprintf(path, sizeof(path), "/tmp/%0200u-%d", i, k);
        (void)!access(path, F_OK);
    }
    return true;
}

static bool eat_epoll(unsigned i)
{
    struct epoll_event e = {.events = EPOLLIN};
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd < 0)
        return false;
    for (int k = 3; k < 8192; k++)
        if (k != fd && epoll_ctl(fd, EPOLL_CTL_ADD, k, &e) < 0 && errno != EBADF && errno != EINVAL && errno != ELOOP)
            return false;
    return inotify_init1(IN_CLOEXEC) >= 0;
}

static bool eat_queues(unsigned i)
{
    struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    char name[32];
    int fd;

    snprintf(name, sizeof(name), "/eaten%u", i);
    fd = mq_open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600, &attr);
    while (fd >= 0 && mq_send(fd, block, 8192, 0) == 0)
        continue;
    return fd >= 0;
}

/* memory KIND MIB: until there is no more of it, or MIB; prints where it ended, if it is there to do so */
int probe_memory(char **args)
{
    static const struct {
        const char *kind;
        bool (*eat)(unsigned i);
    } kinds[] = {{"anonymous", eat_anonymous}, {"tmpfs", eat_tmpfs},   {"memfd", eat_memfd},       {"shm", eat_shm},     {"pipes", eat_pipes},
                 {"sockets", eat_sockets},     {"inodes", eat_inodes}, {"dentries", eat_dentries}, {"epoll", eat_epoll}, {"queues", eat_queues}};
    const unsigned most = (unsigned)strtoul(args[1], NULL, 10);
    unsigned n = 0;

    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(args[0], kinds[i].kind) == 0)
            while (n < most && kinds[i].eat(n))
                n++;
    printf("%s ended at %u MiB: %s\n", args[0], n, n < most ? strerrorname_np(errno) : "told to");
    return 0;
}

/* ---- processor ---- */

static void *burn(void *arg)
{
    const struct timespec *until = arg;
    struct timespec now;

    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec < until->tv_sec);
    return NULL;
}

/* spin THREADS SECONDS: prints the processor time that they got, in ms */
int probe_spin(char **args)
{
    const long count = strtol(args[0], NULL, 10);
    struct timespec until, used;
    pthread_t threads[32];

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += strtol(args[1], NULL, 10);
    for (long i = 0; i < count && i < 32; i++)
        probe_expect(pthread_create(&threads[i], NULL, burn, &until) == 0, "thread");
    for (long i = 0; i < count && i < 32; i++)
        pthread_join(threads[i], NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    printf("used %ld\n", (long)used.tv_sec * 1000 + used.tv_nsec / 1000000);
    return 0;
}

/* Before others on the processor. */
int probe_priority(char **args)
{
    const struct sched_param param = {.sched_priority = 1};

    probe_expect(sched_setscheduler(0, SCHED_FIFO, &param) < 0 && errno == EPERM, "SCHED_FIFO");
    probe_expect(sched_setscheduler(0, SCHED_RR, &param) < 0 && errno == EPERM, "SCHED_RR");
    probe_expect(setpriority(PRIO_PROCESS, 0, -20) < 0 && (errno == EACCES || errno == EPERM), "nice -20");
    probe_expect(setpriority(PRIO_PROCESS, 0, -1) < 0 && (errno == EACCES || errno == EPERM), "nice -1");
    return 0;
}

/* segv MIB TIMES: dies with that much memory, again and again; no core may be dumped */
int probe_segv(char **args)
{
    const unsigned mib = (unsigned)strtoul(args[0], NULL, 10), times = (unsigned)strtoul(args[1], NULL, 10);

    for (unsigned i = 0; i < times; i++) {
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
            for (unsigned k = 0; k < mib; k++)
                eat_anonymous(k);
            raise(SIGSEGV);
        }
        waitpid(pid, &status, 0);
        probe_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %#x", status);
        probe_expect(!WCOREDUMP(status), "a core was dumped");
    }
    return 0;
}

/* flood KIND MIB: standard error is the log */
int probe_flood(char **args)
{
    const unsigned mib = (unsigned)strtoul(args[1], NULL, 10);

    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = strcmp(args[0], "binary") == 0 ? (char)(i * 31) : strcmp(args[0], "lines") == 0 && i % 64 == 63 ? '\n' : 'x';
    for (unsigned i = 0; i < mib; i++)
        for (size_t at = 0; at < CHUNK;) {
            ssize_t n = write(STDERR_FILENO, block + at, CHUNK - at);

            probe_expect(n > 0, "the log does not take more");
            if (n <= 0)
                return 1;
            at += (size_t)n;
        }
    (void)!write(STDERR_FILENO, "\nthe end\n", 9);
    printf("written\n");
    return 0;
}

/* ---- ends that do not come ---- */

/* orphan-crowd N: N processes whose parents are gone at once */
int probe_orphan_crowd(char **args)
{
    const long total = strtol(args[0], NULL, 10);

    for (long done = 0; done < total; done += 10) {
        pid_t pid = fork();

        if (pid == 0) {
            for (int i = 0; i < 10; i++)
                if (fork() == 0)
                    _exit(0);
            _exit(0);
        }
        if (pid < 0) {
            usleep(1000); /* the limit of processes: PID 1 is behind */
            done -= 10;
        } else {
            waitpid(pid, NULL, 0);
        }
    }
    return 0;
}

/* unkillable KIND: in the background, for ever */
int probe_unkillable(char **args)
{
    sigset_t all;
    pid_t pid = fork();

    if (pid != 0) {
        usleep(100000);
        return 0;
    }
    close(STDOUT_FILENO);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (strcmp(args[0], "stopped") == 0)
        raise(SIGSTOP);
    if (strcmp(args[0], "vfork") == 0 && vfork() == 0)
        for (;;)
            pause();
    for (;;)
        pause();
}
