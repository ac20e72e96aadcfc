/* probe_escape.c: ways out of a sandbox that were ways out of others, each tried for real. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The status of a child that ran path with one argument, or -1. */
static int child_status(const char *path, const char *verb)
{
    char *const argv[] = {(char *)path, (char *)verb, NULL};
    int status = 0;
    pid_t pid;

    if (posix_spawn(&pid, path, NULL, NULL, argv, environ) != 0)
        return -1;
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

/* As CVE-2019-5736 did it: a handle first, the writing through /proc/self/fd. */
int probe_self_exe(char **args)
{
    char parent[32], path[32], what[96];
    const char *const targets[] = {"/proc/self/exe", "/proc/1/exe", parent, "/probe"};

    snprintf(parent, sizeof(parent), "/proc/%d/exe", getppid());
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < COUNT(targets); i++) {
            int fd = open(targets[i], O_PATH | O_CLOEXEC);

            snprintf(what, sizeof(what), "writing %s", targets[i]);
            if (fd < 0) {
                probe_denied(-1, what);
            } else {
                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                probe_denied(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), what);
                probe_denied(open(path, O_RDWR | O_CLOEXEC), what);
                close(fd);
            }
            probe_denied(open(targets[i], O_WRONLY | O_CLOEXEC), what);
        }
    }
    return 0;
}

/* CVE-2022-0492 and its kind. */
int probe_cgroups(char **args)
{
    static const char *const files[] = {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/release_agent",
                                        "/sys/fs/cgroup/rdma/notify_on_release", "/proc/self/cgroup"};
    char line[512];
    FILE *f;

    probe_refused(syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWCGROUP), "unshare(user, cgroup)", 0);
    probe_refused(syscall(SYS_mount, "none", "/tmp", "cgroup", 0, "rdma"), "mount of cgroup", 0);
    probe_refused(syscall(SYS_mount, "none", "/tmp", "cgroup2", 0, NULL), "mount of cgroup2", 0);
    for (size_t i = 0; i < COUNT(files); i++)
        probe_denied(open(files[i], O_WRONLY | O_CLOEXEC), files[i]);
    f = fopen("/proc/self/cgroup", "re");
    probe_expect(f != NULL, "/proc/self/cgroup cannot be read");
    while (f && fgets(line, sizeof(line), f))
        probe_expect(strlen(line) > 3 && strcmp(line + strlen(line) - 3, ":/\n") == 0, "/proc/self/cgroup shows where: %s", line);
    if (f)
        fclose(f);
    return 0;
}

static void *thread_main(void *arg)
{
    return arg;
}

/* What programs need must go on working: threads, posix_spawn, a shell. The image's /bin/sh is this program. */
int probe_threads(char **args)
{
    pthread_t threads[8];
    void *result;

    for (size_t i = 0; i < COUNT(threads); i++)
        probe_expect(pthread_create(&threads[i], NULL, thread_main, args) == 0, "thread %zu", i);
    for (size_t i = 0; i < COUNT(threads); i++)
        probe_expect(pthread_join(threads[i], &result) == 0 && result == args, "end of thread %zu", i);
    probe_expect(child_status("/probe", "stamp") == 0, "posix_spawn");
    probe_expect(child_status("/bin/sh", "-c") == 42 << 8, "a shell");
    return 0;
}

int probe_sh(char **args)
{
    _exit(42);
}

/* kill-pids PID...: numbers of the host. Those that exist in here as well are left alone. */
int probe_kill_pids(char **args)
{
    for (; *args; args++) {
        const pid_t pid = (pid_t)strtol(*args, NULL, 10);
        char path[32];

        snprintf(path, sizeof(path), "/proc/%d", pid);
        if (access(path, F_OK) == 0)
            continue;
        probe_expect(kill(pid, SIGKILL) < 0 && errno == ESRCH, "kill of %d", pid);
        probe_expect(syscall(SYS_tgkill, pid, pid, SIGKILL) < 0 && errno == ESRCH, "tgkill of %d", pid);
        probe_expect(syscall(SYS_pidfd_open, pid, 0) < 0 && errno == ESRCH, "pidfd of %d", pid);
        probe_expect(kill(-pid, SIGKILL) < 0 && errno == ESRCH, "kill of group %d", pid);
    }
    return 0;
}

/* Everything that this process can reach, and the parent by its number from outside. */
int probe_kill_all(char **args)
{
    (void)kill(0, SIGCONT);
    (void)kill(getppid(), SIGCONT);
    (void)kill(1, SIGKILL);
    (void)kill(-1, SIGKILL);
    return 0;
}

int probe_nodes(char **args)
{
    static const char *const absent[] = {"/dev/mem",         "/dev/kmsg",        "/dev/kvm",       "/dev/fuse",           "/dev/net/tun",
                                         "/dev/sda",         "/dev/vda",         "/dev/port",      "/dev/nvram",          "/dev/loop-control",
                                         "/dev/loop0",       "/dev/tty",         "/dev/console",   "/dev/ptmx",           "/dev/pts/0",
                                         "/dev/userfaultfd", "/dev/vhost-vsock", "/dev/dri/card0", "/dev/mapper/control", "/dev/hwrng"};
    static const struct {
        unsigned major, minor;
    } devices[] = {{1, 1}, {1, 3}, {1, 11}, {8, 0}, {10, 200}, {10, 229}, {10, 232}, {254, 0}, {5, 1}};

    for (size_t i = 0; i < COUNT(absent); i++)
        probe_expect(open(absent[i], O_RDWR | O_CLOEXEC) < 0 && errno == ENOENT, "%s", absent[i]);
    for (size_t i = 0; i < COUNT(devices); i++) {
        probe_expect(mknod("/tmp/node", S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) < 0 && errno == EPERM, "mknod c %u", devices[i].major);
        probe_expect(mknod("/tmp/node", S_IFBLK | 0666, makedev(devices[i].major, devices[i].minor)) < 0 && errno == EPERM, "mknod b %u", devices[i].major);
    }
    return 0;
}

/* Up as far as it goes, and by what an escape by handles needs. */
int probe_walk(char **args)
{
    struct {
        unsigned bytes;
        int type;
        unsigned char handle[8];
    } root = {8, 1, {2}}; /* inode 2: the root of most file systems */
    struct stat top, here;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    probe_refused(syscall(SYS_open_by_handle_at, fd, &root, O_RDONLY), "open_by_handle_at", 0);
    probe_refused(syscall(SYS_chroot, "/tmp"), "chroot", 0);
    probe_refused(syscall(SYS_pivot_root, ".", "."), "pivot_root", 0);
    probe_expect(stat("/", &top) == 0, "stat of /");
    for (int i = 0; i < 64; i++)
        probe_expect(chdir("..") == 0, "chdir");
    probe_expect(stat(".", &here) == 0 && here.st_ino == top.st_ino && here.st_dev == top.st_dev, "there is something above /");
    probe_expect(stat("/proc/self/root/../..", &here) == 0 && here.st_ino == top.st_ino && here.st_dev == top.st_dev, "/proc/self/root leads out");
    return 0;
}

int probe_absent(char **args)
{
    for (; *args; args++) {
        probe_denied(open(*args, O_RDONLY | O_CLOEXEC), *args);
        probe_denied(open(*args, O_WRONLY | O_CLOEXEC), *args);
    }
    return 0;
}

/* A pipe whose pages are the file's: what is written to it must not be (CVE-2022-0847). */
static void image_pipe(int fd)
{
    char drain[4096];
    loff_t at = 0;
    int p[2];

    probe_expect(pipe2(p, O_CLOEXEC) == 0, "pipe");
    for (size_t i = 0; i < 16; i++) /* every buffer once marked as one that may be appended to */
        probe_expect(write(p[1], drain, sizeof(drain)) == (ssize_t)sizeof(drain) && read(p[0], drain, sizeof(drain)) == (ssize_t)sizeof(drain), "pipe");
    probe_expect(splice(fd, &at, p[1], NULL, 1, 0) == 1, "splice of the image");
    probe_expect(write(p[1], "XXXX", 4) == 4, "write behind the splice");
    close(p[0]);
    close(p[1]);
}

/* image FILE: of the read-only image, which other functions may share */
int probe_image(char **args)
{
    int fd = open(args[0], O_RDONLY | O_CLOEXEC), mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    char before[64] = "", after[64] = "";
    char *shared, *private;
    ssize_t n = pread(fd, before, sizeof(before), 0);

    probe_expect(fd >= 0 && n > 4, "cannot read %s", args[0]);
    probe_denied(open(args[0], O_WRONLY | O_CLOEXEC), "writing");
    probe_denied(truncate(args[0], 0), "truncate");
    probe_denied(chmod(args[0], 0777), "chmod");
    probe_denied(rename(args[0], "/renamed"), "rename");
    probe_denied(unlink(args[0]), "unlink");
    probe_denied(link(args[0], "/linked"), "link");
    probe_denied(utimensat(AT_FDCWD, args[0], NULL, 0), "utimes");
    probe_expect(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES, "a writable shared mapping");
    shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    probe_expect(shared != MAP_FAILED && mprotect(shared, 4096, PROT_READ | PROT_WRITE) < 0 && errno == EACCES, "mprotect of a shared mapping");
    /* May or may not succeed on a private one, as a debugger's breakpoint does; never on the file. */
    private = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mem >= 0 && private != MAP_FAILED)
        (void)!pwrite(mem, "XXXX", 4, (off_t)(uintptr_t) private);
    if (mem >= 0 && shared != MAP_FAILED)
        (void)!pwrite(mem, "XXXX", 4, (off_t)(uintptr_t)shared);
    image_pipe(fd);
    probe_expect(pread(fd, after, sizeof(after), 0) == n && memcmp(before, after, (size_t)n) == 0, "%s has changed", args[0]);
    return 0;
}

/* oom-score: not below where it began */
int probe_oom_score(char **args)
{
    static const char *const lower[] = {"-1000", "-1", "-500"};
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);

    probe_expect(fd >= 0, "oom_score_adj");
    for (size_t i = 0; i < COUNT(lower); i++)
        probe_expect(write(fd, lower[i], strlen(lower[i])) < 0 && errno == EACCES, "oom_score_adj %s", lower[i]);
    probe_expect(pwrite(fd, "1000", 4, 0) == 4, "raising oom_score_adj");
    return 0;
}

int probe_clocks(char **args)
{
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME};
    struct timespec t;
    int fd;

    for (size_t i = 0; i < COUNT(clocks); i++) {
        probe_expect(clock_gettime(clocks[i], &t) == 0 && t.tv_sec > 0, "clock %d", clocks[i]);
        probe_refused(syscall(SYS_clock_settime, clocks[i], &t), "clock_settime", 0);
    }
    fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    probe_denied(fd < 0 ? -1 : write(fd, "boottime 0 1\n", 13), "timens_offsets");
    return 0;
}

/* exec-as PATH: runs another file (setuid, with capabilities, ...) as `powers` with what follows */
int probe_exec_as(char **args)
{
    char *argv[8] = {args[0], (char *)"powers"};

    for (int i = 1; args[i] && i < 6; i++)
        argv[i + 1] = args[i];
    execv(args[0], argv);
    probe_expect(false, "exec of %s", args[0]);
    return 0;
}
