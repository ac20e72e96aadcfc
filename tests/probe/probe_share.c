/* probe_share.c: what two functions, or two lives of a slot, could share: locks, leases and watches on the image, IPC, files, counters of the user. */
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define KEY      0x464e44

/* Goes on in the background, without the answer's pipe. The parent returns. */
static bool background(void)
{
    if (fork() != 0)
        return false;
    setsid();
    close(STDOUT_FILENO);
    open("/dev/null", O_WRONLY); // NOLINT(android-cloexec-open): standard output
    return true;
}

static struct flock whole(short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET};
}

/* share-hold FILE: every lock there is on it, and a watch whose events go to /tmp/events. */
int probe_share_hold(char **args)
{
    struct flock lock = whole(F_RDLCK);
    int fd = open(args[0], O_RDONLY | O_CLOEXEC), watch = inotify_init1(IN_CLOEXEC), to = open("/tmp/events", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    probe_expect(fd >= 0 && watch >= 0 && to >= 0, "cannot begin");
    probe_expect(inotify_add_watch(watch, args[0], IN_ALL_EVENTS) >= 0 && inotify_add_watch(watch, "/data", IN_ALL_EVENTS) >= 0, "inotify_add_watch");
    if (background()) {
        char buf[4096];
        ssize_t n;

        if (flock(fd, LOCK_EX) < 0 || fcntl(fd, F_SETLK, &lock) < 0)
            _exit(1);
        (void)!write(to, "held\n", 5);
        while ((n = read(watch, buf, sizeof(buf))) > 0)
            (void)!write(to, "event\n", 6);
        _exit(1);
    }
    for (int i = 0; i < 500; i++) {
        struct stat st;

        if (stat("/tmp/events", &st) == 0 && st.st_size >= 5)
            return 0;
        usleep(10000);
    }
    probe_expect(false, "the locks are not held");
    return 0;
}

/* swap DIR TARGET SECONDS: a directory and a link to TARGET change places in DIR, in the background */
int probe_swap(char **args)
{
    const long seconds = strtol(args[2], NULL, 10);
    struct timespec now, begin;

    probe_expect(chdir(args[0]) == 0 && (mkdir("here", 0777) == 0 || errno == EEXIST), "%s", args[0]);
    probe_expect(symlink(args[1], "there") == 0 || errno == EEXIST, "link to %s", args[1]);
    if (!background())
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for (int i = 0; i < 1000; i++)
            (void)renameat2(AT_FDCWD, "here", AT_FDCWD, "there", RENAME_EXCHANGE);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < seconds);
    _exit(0);
}

/* share-try FILE COLD: in another function, on the same file of the same image, and one that nobody has read */
int probe_share_try(char **args)
{
    struct flock lock = whole(F_WRLCK);
    int fd = open(args[0], O_RDONLY | O_CLOEXEC), cold;
    unsigned char pages[16];
    char buf[64];
    void *map;
    struct stat st;

    probe_expect(fd >= 0 && read(fd, buf, sizeof(buf)) > 0, "cannot read %s", args[0]);
    probe_expect(flock(fd, LOCK_EX | LOCK_NB) == 0, "flock sees another function's");
    probe_expect(fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK, "fcntl sees another function's lock");
    probe_expect(fcntl(fd, F_SETLEASE, F_RDLCK) == 0 || errno == EACCES || errno == EAGAIN, "lease");
    probe_expect(stat(args[0], &st) == 0 && access(args[0], R_OK) == 0, "stat");
    /* The filter refuses mincore(2); if it did not, the kernel would say that all pages are there, of a file that is not the caller's own. */
    cold = open(args[1], O_RDONLY | O_CLOEXEC);
    map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, cold, 0);
    probe_expect(map != MAP_FAILED && mincore(map, 4096, pages) < 0 && errno == ENOSYS, "mincore tells what others have read");
    close(cold);
    close(fd);
    return 0;
}

/* share-events: what the watch has seen: nothing but this function's own opening of it */
int probe_share_events(char **args)
{
    char buf[4096];
    int fd = open("/tmp/events", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);

    probe_expect(n >= 0, "/tmp/events");
    buf[n < 0 ? 0 : n] = '\0';
    printf("%s", buf);
    return 0;
}

int probe_ipc_make(char **args)
{
    int id = shmget(KEY, 4096, IPC_CREAT | 0666), fd;
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 16};
    char *mem = id < 0 ? NULL : shmat(id, NULL, 0);

    probe_expect(id >= 0 && mem && mem != (char *)-1, "shared memory");
    if (mem && mem != (char *)-1)
        memcpy(mem, "secret", 7);
    probe_expect(semget(KEY, 1, IPC_CREAT | 0666) >= 0, "semaphore");
    /* Queues are refused unless function.ini allows them. */
    probe_expect(msgget(KEY, IPC_CREAT | 0666) < 0 && errno == ENOSYS, "message queue");
    probe_expect(mq_open("/fnd", O_RDWR | O_CREAT | O_CLOEXEC, 0666, &attr) < 0 && errno == ENOSYS, "POSIX message queue");
    fd = open("/dev/shm/fnd", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    probe_expect(fd >= 0 && write(fd, "secret", 6) == 6, "/dev/shm");
    return 0;
}

int probe_ipc_look(char **args)
{
    probe_expect(shmget(KEY, 4096, 0) < 0 && errno == ENOENT, "shared memory");
    probe_expect(semget(KEY, 1, 0) < 0 && errno == ENOENT, "semaphore");
    probe_expect(msgget(KEY, 0) < 0 && errno == ENOSYS, "message queue");
    probe_expect(mq_open("/fnd", O_RDWR | O_CLOEXEC) < 0 && errno == ENOSYS, "POSIX message queue");
    probe_expect(open("/dev/shm/fnd", O_RDONLY | O_CLOEXEC) < 0 && errno == ENOENT, "/dev/shm");
    return 0;
}

static const char *const places[] = {"/tmp", "/run", "/dev/shm"};

/* Something wherever it can be put. */
int probe_litter(char **args)
{
    char path[64];

    for (size_t i = 0; i < COUNT(places); i++) {
        int fd;

        snprintf(path, sizeof(path), "%s/litter", places[i]);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        probe_expect(fd >= 0 && write(fd, "secret", 6) == 6, "%s", path);
    }
    return probe_ipc_make(args);
}

static unsigned entries(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d)
        closedir(d);
    return d ? n : 9999;
}

/* Nothing of what `litter` left in another life of the slot. */
int probe_clean(char **args)
{
    for (size_t i = 0; i < COUNT(places); i++)
        probe_expect(entries(places[i]) == 0, "%s has %u entries", places[i], entries(places[i]));
    return probe_ipc_look(args);
}

/* What is counted per user id, to its end: inotify instances, queued signals, locked memory, message queues. Kept in the background. */
int probe_exhaust(char **args)
{
    unsigned instances = 0, queues = 0;
    struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = 1024};
    char name[16];
    sigset_t set;

    if (!background()) {
        usleep(300000);
        return 0;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    while (instances < 4096 && inotify_init1(IN_CLOEXEC) >= 0)
        instances++;
    for (; queues < 1024; queues++) {
        snprintf(name, sizeof(name), "/q%u", queues);
        if (mq_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attr) < 0)
            break;
    }
    for (int i = 0; i < 100000 && sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0; i++)
        continue;
    fprintf(stderr, "exhausted: %u inotify instances, %u queues\n", instances, queues);
    for (;;)
        pause();
}

/* The same in another function, a little of each. */
int probe_inotify(char **args)
{
    struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 64};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 16; i++)
        probe_expect(inotify_init1(IN_CLOEXEC) >= 0, "inotify instance %d", i);
    probe_expect(mq_open("/own", O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attr) < 0 && errno == ENOSYS, "message queue");
    for (int i = 0; i < 16; i++)
        probe_expect(sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0, "signal %d", i);
    return 0;
}
