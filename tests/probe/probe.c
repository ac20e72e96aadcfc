/* probe.c: see probe.h. The verbs about files, identity and life; those about system calls are in probe_calls.c. */
#include "probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int failures;

void probe_expect(bool ok, const char *fmt, ...)
{
    const int saved = errno;
    va_list ap;

    if (ok)
        return;
    failures++;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf(" (errno %s)\n", strerrorname_np(saved));
}

void probe_refused(long result, const char *call, int also)
{
    probe_expect(result == -1 && (errno == EPERM || errno == ENOSYS || (also && errno == also)), "%s returned %ld", call, result);
}

void probe_denied(long result, const char *what)
{
    static const int denials[] = {EPERM, EACCES, EROFS, ETXTBSY, ENOENT, ENXIO, ENOSYS, ELOOP, EINVAL, ENOTDIR, ESRCH};
    bool known = false;

    for (size_t i = 0; i < COUNT(denials); i++)
        known |= errno == denials[i];
    probe_expect(result == -1 && known, "%s returned %ld", what, result);
}

static void expect_status(const char *status, const char *line)
{
    probe_expect(strstr(status, line) != NULL, "/proc/self/status lacks \"%s\"", line);
}

static size_t read_text(const char *path, char *buf, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(buf, 1, size - 1, f) : 0;

    probe_expect(f != NULL, "cannot read %s", path);
    if (f)
        fclose(f);
    buf[n] = '\0';
    return n;
}

/* powers UID GID CORE-LIMIT */
static int probe_powers(char **args)
{
    static const char *const caps[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    char status[8192], line[128];
    struct rlimit core;

    read_text("/proc/self/status", status, sizeof(status));
    for (size_t i = 0; i < COUNT(caps); i++) {
        snprintf(line, sizeof(line), "\n%s:\t0000000000000000\n", caps[i]);
        expect_status(status, line);
    }
    expect_status(status, "\nNoNewPrivs:\t1\n");
    expect_status(status, "\nSeccomp:\t2\n");
    expect_status(status, "\nGroups:\t \n");
    snprintf(line, sizeof(line), "\nUid:\t%s\t%s\t%s\t%s\n", args[0], args[0], args[0], args[0]);
    expect_status(status, line);
    snprintf(line, sizeof(line), "\nGid:\t%s\t%s\t%s\t%s\n", args[1], args[1], args[1], args[1]);
    expect_status(status, line);
    probe_expect(getrlimit(RLIMIT_CORE, &core) == 0, "getrlimit");
    probe_expect(core.rlim_max == strtoull(args[2], NULL, 10), "core limit is %llu", (unsigned long long)core.rlim_max);
    core.rlim_cur = 0;
    probe_refused(setrlimit(RLIMIT_CORE, &core), "setrlimit(CORE)", 0);
    return 0;
}

/* identity UID GID CORE-LIMIT: of the function's first process */
static int probe_identity(char **args)
{
    char status[8192];

    probe_powers(args);
    read_text("/proc/self/status", status, sizeof(status));
    expect_status(status, "\nSigBlk:\t0000000000000000\n");
    expect_status(status, "\nSigIgn:\t0000000000000000\n");
    probe_expect(getpid() != 1 && (getppid() == 1 || args[3]), "pid %d, parent %d", getpid(), getppid());
    probe_expect(getpgrp() == getpid(), "process group %d", getpgrp());
    return 0;
}

static void expect_write(const char *dir, int want)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/probe-file", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (want)
        probe_expect(fd < 0 && errno == want, "creating %s returned %d", path, fd);
    else
        probe_expect(fd >= 0 && write(fd, "x", 1) == 1 && unlink(path) == 0, "cannot write %s", path);
    if (fd >= 0)
        close(fd);
}

/* files BYTES: of all writable space together */
static int probe_files(char **args)
{
    static const struct {
        const char *dir;
        int want;
    } dirs[] = {{"/", EROFS}, {"/etc", EROFS}, {"/data", EROFS}, {"/dev", EROFS}, {"/tmp", 0}, {"/run", 0}, {"/dev/shm", 0}};
    const size_t limit = strtoul(args[0], NULL, 10);
    static char block[65536];
    struct stat st;
    size_t total = 0;
    ssize_t n;
    int fd;

    for (size_t i = 0; i < COUNT(dirs); i++)
        expect_write(dirs[i].dir, dirs[i].want);
    probe_expect(stat("/tmp", &st) == 0 && (st.st_mode & 07777) == 01777, "/tmp has mode %o", st.st_mode);
    probe_expect(stat("/run", &st) == 0 && (st.st_mode & 07777) == 0755 && st.st_uid == getuid(), "/run has mode %o owner %u", st.st_mode, st.st_uid);
    probe_expect(stat("/", &st) == 0 && (st.st_mode & 07777) == 0755 && st.st_uid == 0, "/ has mode %o owner %u", st.st_mode, st.st_uid);
    probe_expect(stat("/probe", &st) == 0 && st.st_uid == 0, "/probe has owner %u", st.st_uid);
    fd = open("/tmp/fill", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while ((n = write(fd, block, sizeof(block))) > 0 && total <= 2 * limit)
        total += (size_t)n;
    probe_expect(n < 0 && errno == ENOSPC && total <= limit, "wrote %zu of %zu bytes", total, limit);
    n = open("/dev/shm/more", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    probe_expect(n < 0 || write((int)n, block, sizeof(block)) < (ssize_t)sizeof(block), "a full /tmp leaves room in /dev/shm");
    return 0;
}

static void expect_entries(const char *dir, const char *const *want, size_t count)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t found = 0;

    probe_expect(d != NULL, "cannot list %s", dir);
    while (d && (e = readdir(d))) {
        bool known = false;

        if (e->d_name[0] == '.')
            continue;
        for (size_t i = 0; i < count; i++)
            known |= strcmp(e->d_name, want[i]) == 0;
        probe_expect(known, "%s/%s is there", dir, e->d_name);
        found += known;
    }
    probe_expect(found == count, "%s has %zu of %zu entries", dir, found, count);
    if (d)
        closedir(d);
}

static void expect_device(const char *path, unsigned minor, bool reads)
{
    struct stat st;
    char c;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    probe_expect(fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, minor), "%s is no device 1:%u", path, minor);
    probe_expect(fd >= 0 && read(fd, &c, 1) == (reads ? 1 : 0), "reading %s", path);
    if (fd >= 0)
        close(fd);
}

static int probe_dev(char **args)
{
    static const char *const entries[] = {"null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm"};
    static const char *const opened[] = {"/dev/stdout", "/dev/stderr", "/dev/fd/1"};

    expect_entries("/dev", entries, COUNT(entries));
    expect_device("/dev/null", 3, false);
    expect_device("/dev/zero", 5, true);
    expect_device("/dev/full", 7, true);
    expect_device("/dev/random", 8, true);
    expect_device("/dev/urandom", 9, true);
    for (size_t i = 0; i < COUNT(opened); i++) {
        int fd = open(opened[i], O_WRONLY | O_CLOEXEC);

        probe_expect(fd >= 0 && write(fd, "opened\n", 7) == 7, "cannot write %s", opened[i]);
    }
    probe_expect(open("/dev/stdin", O_RDONLY | O_CLOEXEC) >= 0, "cannot open /dev/stdin");
    probe_expect(mknod("/tmp/node", S_IFCHR | 0600, makedev(1, 1)) < 0 && errno == EPERM, "made a device node");
    probe_expect(mkfifo("/tmp/fifo", 0600) == 0, "cannot make a fifo");
    return 0;
}

static int probe_fds(char **args)
{
    for (int fd = 0; fd < 1024; fd++)
        probe_expect((fcntl(fd, F_GETFD) >= 0) == (fd <= 2), "descriptor %d", fd);
    return 0;
}

/* mounts STRING...: none of them may occur in what the function can read about its mounts */
static int probe_mounts(char **args)
{
    static const char *const files[] = {"/proc/self/mountinfo", "/proc/self/mounts", "/proc/self/mountstats"};
    char text[32768];

    for (size_t i = 0; i < COUNT(files); i++) {
        read_text(files[i], text, sizeof(text));
        for (char **a = args; *a; a++)
            probe_expect(!strstr(text, *a), "%s has \"%s\":\n%s", files[i], *a, text);
    }
    return 0;
}

/* proc: masks hide, the rest cannot be written */
static int probe_proc(char **args)
{
    static const char *const empty[] = {"/proc/kcore",    "/proc/keys", "/proc/timer_list", "/proc/interrupts",
                                        "/proc/kallsyms", "/proc/kmsg", "/proc/sched_debug"};
    static const char *const fixed[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward",
                                        "/proc/irq/default_smp_affinity"};
    struct stat st;
    char c;

    for (size_t i = 0; i < COUNT(empty); i++) {
        int fd = open(empty[i], O_RDONLY | O_CLOEXEC);

        probe_expect(fd >= 0 ? read(fd, &c, 1) == 0 : errno == ENOENT || errno == EACCES, "%s can be read", empty[i]);
    }
    for (size_t i = 0; i < COUNT(fixed); i++)
        probe_expect(open(fixed[i], O_WRONLY | O_CLOEXEC) < 0 && (errno == EROFS || errno == EACCES || errno == ENOENT), "%s can be written", fixed[i]);
    probe_expect(stat("/proc/sysrq-trigger", &st) < 0 || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)), "/proc/sysrq-trigger is not the null device");
    probe_expect(access("/sys/kernel", F_OK) < 0, "/sys is there");
    return 0;
}

/* namespaces NAME=LINK...: the host's; all must differ */
static int probe_namespaces(char **args)
{
    for (; *args; args++) {
        char path[64], own[64] = "", *eq = strchr(*args, '=');

        *eq = '\0';
        snprintf(path, sizeof(path), "/proc/self/ns/%s", *args);
        probe_expect(readlink(path, own, sizeof(own) - 1) > 0 && strcmp(own, eq + 1) != 0, "namespace %s is the host's: %s", *args, own);
    }
    return 0;
}

/* environment NAME=VALUE...: with -NAME for one that must not be there; the working directory comes as CWD=, the host name as HOST= */
static int probe_environment(char **args)
{
    for (; *args; args++) {
        char *eq = strchr(*args, '='), text[256] = "";
        const char *value = text;

        if (**args == '-') {
            probe_expect(getenv(*args + 1) == NULL, "%s is there", *args + 1);
            continue;
        }
        *eq = '\0';
        if (strcmp(*args, "CWD") == 0)
            probe_expect(getcwd(text, sizeof(text)) != NULL, "getcwd");
        else if (strcmp(*args, "HOST") == 0)
            probe_expect(gethostname(text, sizeof(text)) == 0, "gethostname");
        else if (**args == '/')
            read_text(*args, text, sizeof(text));
        else
            value = getenv(*args);
        probe_expect(value && strcmp(value, eq + 1) == 0, "%s is \"%s\"", *args, value ? value : "(none)");
    }
    return 0;
}

/* Children whose parents are gone must not stay as zombies. */
static int probe_orphans(char **args)
{
    int pids[2], left = 100;
    pid_t pid;

    probe_expect(pipe2(pids, O_CLOEXEC) == 0, "pipe");
    for (int i = 0; i < left; i++) {
        pid = fork();
        if (pid == 0) {
            pid = fork();
            if (pid == 0)
                _exit(0);
            _exit(write(pids[1], &pid, sizeof(pid)) != sizeof(pid));
        }
        waitpid(pid, NULL, 0);
    }
    close(pids[1]);
    while (read(pids[0], &pid, sizeof(pid)) == (ssize_t)sizeof(pid)) {
        const time_t until = time(NULL) + 5;

        while (kill(pid, 0) == 0 && time(NULL) < until)
            usleep(1000);
        probe_expect(kill(pid, 0) < 0 && errno == ESRCH, "orphan %d was not reaped", pid);
        left--;
    }
    probe_expect(left == 0, "%d orphans missing", left);
    return 0;
}

/* Says that it is ready, then ends with 7 at SIGTERM. */
static int probe_wait_term(char **args)
{
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    printf("ready\n");
    fflush(stdout);
    sigwait(&set, &sig);
    _exit(7);
}

/* spam BYTES STATUS: much output, and children that keep the pipe */
static int probe_spam(char **args)
{
    static char block[100000];
    size_t left = strtoul(args[0], NULL, 10);

    if (fork() == 0)
        for (;;)
            pause();
    memset(block, 'y', sizeof(block));
    block[sizeof(block) - 1] = '\n';
    while (left > 0) {
        ssize_t n = write(STDOUT_FILENO, block, left < sizeof(block) ? left : sizeof(block));

        if (n <= 0)
            return 1;
        left -= (size_t)n;
    }
    printf("the end\n");
    fflush(stdout);
    _exit((int)strtol(args[1], NULL, 10));
}

/* Closes its output and goes on. */
static int probe_silent(char **args)
{
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    usleep(20000); /* long enough for fn-init to see the end of the pipe */
    _exit(9);
}

static int probe_die(char **args)
{
    raise((int)strtol(args[0], NULL, 10));
    return 0;
}

static int probe_port(char **args)
{
    const struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(args[0], NULL, 10)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    probe_expect(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 1) == 0, "cannot listen on port %s", args[0]);
    probe_expect(connect(client, (const struct sockaddr *)&addr, sizeof(addr)) == 0, "cannot connect to port %s", args[0]);
    return 0;
}

static int probe_writable(char **args)
{
    char text[16];
    int fd;

    expect_write("/data", 0);
    expect_write("/etc", EACCES); /* belongs to root */
    fd = open("/data/old", O_WRONLY | O_TRUNC | O_CLOEXEC);
    probe_expect(fd >= 0 && write(fd, "new\n", 4) == 4 && close(fd) == 0, "cannot rewrite /data/old");
    read_text("/data/old", text, sizeof(text));
    probe_expect(strcmp(text, "new\n") == 0, "/data/old is \"%s\"", text);
    probe_expect(mkdir("/data/dir", 0700) == 0 && rename("/data/dir", "/data/dir2") == 0 && rmdir("/data/dir2") == 0, "directories below /data");
    probe_expect(unlink("/data/old") == 0, "cannot remove /data/old");
    return 0;
}

/* First thing in main: when was that? */
static int probe_stamp(char **args)
{
    return 0;
}

static const struct {
    const char *verb;
    int (*run)(char **args);
    int args; /* at least */
} verbs[] = {
    {"identity", probe_identity, 3},
    {"powers", probe_powers, 3},
    {"files", probe_files, 1},
    {"dev", probe_dev, 0},
    {"fds", probe_fds, 0},
    {"mounts", probe_mounts, 0},
    {"proc", probe_proc, 0},
    {"namespaces", probe_namespaces, 0},
    {"environment", probe_environment, 0},
    {"orphans", probe_orphans, 0},
    {"wait-term", probe_wait_term, 0},
    {"spam", probe_spam, 2},
    {"silent", probe_silent, 0},
    {"die", probe_die, 1},
    {"port", probe_port, 1},
    {"writable", probe_writable, 0},
    {"stamp", probe_stamp, 0},
    {"calls", probe_calls, 0},
    {"sockets", probe_sockets, 0},
    {"foreign", probe_foreign, 0},
    {"init", probe_init, 0},
    {"serve", probe_serve, 0},
    {"self-exe", probe_self_exe, 0},
    {"cgroups", probe_cgroups, 0},
    {"threads", probe_threads, 0},
    {"kill-pids", probe_kill_pids, 0},
    {"kill-all", probe_kill_all, 0},
    {"nodes", probe_nodes, 0},
    {"walk", probe_walk, 0},
    {"absent", probe_absent, 1},
    {"image", probe_image, 1},
    {"oom-score", probe_oom_score, 0},
    {"clocks", probe_clocks, 0},
    {"exec-as", probe_exec_as, 1},
    {"-c", probe_sh, 0}, /* a shell, as system(3) would start it */
    {"share-hold", probe_share_hold, 1},
    {"share-try", probe_share_try, 2},
    {"swap", probe_swap, 3},
    {"share-events", probe_share_events, 0},
    {"ipc-make", probe_ipc_make, 0},
    {"ipc-look", probe_ipc_look, 0},
    {"litter", probe_litter, 0},
    {"clean", probe_clean, 0},
    {"exhaust", probe_exhaust, 0},
    {"inotify", probe_inotify, 0},
    {"families", probe_families, 0},
    {"paths", probe_paths, 1},
    {"cat", probe_cat, 1},
    {"connect", probe_connect, 1},
    {"trickle", probe_trickle, 2},
    {"fetch", probe_fetch, 2},
    {"lookup", probe_lookup, 1},
    {"queries", probe_queries, 1},
    {"unreachable", probe_unreachable, 1},
    {"reachable", probe_reachable, 1},
    {"connect-flood", probe_connect_flood, 2},
    {"abstract", probe_abstract, 1},
    {"descriptors", probe_descriptors, 0},
    {"forks", probe_forks, 1},
    {"memory", probe_memory, 2},
    {"spin", probe_spin, 2},
    {"priority", probe_priority, 0},
    {"segv", probe_segv, 2},
    {"flood", probe_flood, 2},
    {"crowd", probe_crowd, 4},
    {"orphan-crowd", probe_orphan_crowd, 1},
    {"unkillable", probe_unkillable, 1},
    {"allow", probe_allow, 1},
    {"device", probe_device, 1},
    {"matrix", probe_matrix, 2},
    {"watch", probe_watch, 1},
    {"terminal", probe_terminal, 2},
};

int main(int argc, char **argv)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc >= 2 && strcmp(argv[1], "stamp") == 0)
        printf("%llu\n", (unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec);
    for (size_t i = 0; i < COUNT(verbs); i++)
        if (argc >= 2 && strcmp(argv[1], verbs[i].verb) == 0 && argc - 2 >= verbs[i].args) {
            verbs[i].run(argv + 2);
            return failures < 100 ? failures : 100;
        }
    printf("usage: probe VERB [ARGUMENT]...\n");
    return 101;
}
