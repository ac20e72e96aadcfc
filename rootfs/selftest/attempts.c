/* attempts.c: what a function may try, as one table. Each attempt is really made; each is harmless where it succeeds. */
#include "selftest.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 200

/* For attempts whose failure is no errno. */
static long verdict(int good)
{
    errno = EPROTO;
    return good ? 0 : -1;
}

static long opens(const struct attempt *a)
{
    int fd = open(a->path, (int)a->args[0] | O_CLOEXEC | O_NONBLOCK, 0600);

    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

/* 0 when there is something to read. */
static long reads(const struct attempt *a)
{
    char c;
    int fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, &c, 1);
    const int err = errno;

    if (fd >= 0)
        close(fd);
    errno = n == 0 ? ENODATA : err;
    return n > 0 ? 0 : -1;
}

static long sockets(const struct attempt *a)
{
    int fd = socket((int)a->args[0], (int)a->args[1] | SOCK_CLOEXEC, (int)a->args[2]);

    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

/* The name that /etc/hosts has for the host's end of the wire; 0.0.0.0 where there is none. */
static struct in_addr gateway(void)
{
    struct in_addr found = {0};
    char line[256], *blank;
    FILE *f = fopen("/etc/hosts", "re");

    while (f && fgets(line, sizeof(line), f)) {
        blank = strpbrk(line, " \t");
        if (blank && strstr(blank, "gateway")) {
            *blank = '\0';
            inet_pton(AF_INET, line, &found);
        }
    }
    if (f)
        fclose(f);
    return found;
}

/* To the address args[0], or where that is 0 to the host's end, at port args[1]. */
static long connects(const struct attempt *a)
{
    const struct in_addr to = {htonl((uint32_t)a->args[0])};
    const struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = a->args[0] ? to : gateway(), .sin_port = htons((uint16_t)a->args[1])};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(err);

    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
        err = errno;
        if (err == EINPROGRESS) {
            err = ETIMEDOUT;
            if (poll(&p, 1, CONNECT_MS) > 0)
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
        }
    }
    close(fd);
    errno = err;
    return err ? -1 : 0;
}

static long calls(const struct attempt *a)
{
    return syscall(a->args[0], a->args[1], a->args[2], a->args[3], a->args[4], a->args[5]);
}

static long ends_by(int signal_number, void (*act)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        act();
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    errno = WIFSIGNALED(status) && WTERMSIG(status) == signal_number ? ENOSYS : EPROTO;
    return errno == ENOSYS ? -1 : 0;
}

static long status_has(const char *line)
{
    char text[8192];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return verdict(strstr(text, line) != NULL);
}

/* ---- who it is ---- */

static long no_root(const struct attempt *a)
{
    return verdict(getuid() != 0 && geteuid() != 0 && getgid() != 0 && getegid() != 0);
}

static long no_capabilities(const struct attempt *a)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    char line[64];

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        snprintf(line, sizeof(line), "\n%s:\t0000000000000000\n", sets[i]);
        if (status_has(line) < 0)
            return -1;
    }
    return 0;
}

static long no_new_privs(const struct attempt *a)
{
    return status_has("\nNoNewPrivs:\t1\n");
}

static long filtered(const struct attempt *a)
{
    return status_has("\nSeccomp:\t2\n");
}

static long no_groups(const struct attempt *a)
{
    return verdict(getgroups(0, NULL) == 0);
}

static long core_limit(const struct attempt *a)
{
    struct rlimit r;

    return verdict(getrlimit(RLIMIT_CORE, &r) == 0 && r.rlim_max <= 1);
}

static long few_processes(const struct attempt *a)
{
    DIR *d = opendir("/proc");
    unsigned n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] >= '1' && e->d_name[0] <= '9';
    if (d)
        closedir(d);
    return verdict(n >= 1 && n <= 4 && getppid() == 1);
}

static long few_descriptors(const struct attempt *a)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return verdict(n >= 3 && n <= 12); /* and those of this server */
}

/* ---- files ---- */

static long write_tmp(const struct attempt *a)
{
    long r = opens(a);

    return r < 0 ? r : unlink(a->path);
}

static long map_itself(const struct attempt *a)
{
    int fd = open("/selftest", O_RDONLY | O_CLOEXEC);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    close(fd);
    return p == MAP_FAILED ? -1 : munmap(p, 4096);
}

static long make_node(const struct attempt *a)
{
    long r = mknod("/tmp/selftest-node", S_IFCHR | 0600, makedev(1, 3));

    return r < 0 ? r : unlink("/tmp/selftest-node");
}

static long lower_oom_score(const struct attempt *a)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    long r = fd < 0 ? -1 : write(fd, "-1", 2);

    if (fd >= 0)
        close(fd);
    return r < 0 ? -1 : 0;
}

/* ---- system calls ---- */

static long call_mount(const struct attempt *a)
{
    return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
}

static long call_fsopen(const struct attempt *a)
{
    return syscall(SYS_fsopen, "tmpfs", 0);
}

static long call_chroot(const struct attempt *a)
{
    return syscall(SYS_chroot, "/");
}

static long call_ptrace(const struct attempt *a)
{
    return ptrace(PTRACE_ATTACH, 1, NULL, NULL);
}

static long call_process_vm(const struct attempt *a)
{
    struct iovec iov = {.iov_base = &iov, .iov_len = sizeof(iov)};

    return syscall(SYS_process_vm_readv, getppid(), &iov, 1, &iov, 1, 0);
}

static long call_add_key(const struct attempt *a)
{
    return syscall(SYS_add_key, "user", "selftest", "x", 1, -3);
}

static long call_module(const struct attempt *a)
{
    return syscall(SYS_init_module, NULL, 0, "");
}

static long call_hostname(const struct attempt *a)
{
    char name[65];

    return gethostname(name, sizeof(name)) < 0 ? -1 : syscall(SYS_sethostname, name, strlen(name));
}

static long call_personality(const struct attempt *a)
{
    return personality(ADDR_NO_RANDOMIZE);
}

static long call_real_time(const struct attempt *a)
{
    const struct sched_param p = {.sched_priority = 1};

    return sched_setscheduler(0, SCHED_FIFO, &p);
}

static long call_terminal(const struct attempt *a)
{
    return ioctl(STDIN_FILENO, TIOCSTI, "x");
}

#ifdef __x86_64__
static void act_x32(void)
{
    syscall(0x40000000L | SYS_getpid);
}

static void act_i386(void)
{
    long nr = 20; /* getpid */

    __asm__ volatile("int $0x80" : "+a"(nr) : : "memory", "r8", "r9", "r10", "r11");
}

static long call_x32(const struct attempt *a)
{
    return ends_by(SIGSYS, act_x32);
}

static long call_i386(const struct attempt *a)
{
    return ends_by(SIGSYS, act_i386);
}
#endif

static void act_nothing(void)
{
}

static long call_fork(const struct attempt *a)
{
    return ends_by(SIGSYS, act_nothing) < 0 ? -1 : 0;
}

const struct attempt attempts[] = {
    {"run as somebody without privilege", WORKS, no_root, NULL, {0}},
    {"hold no capability in any set", WORKS, no_capabilities, NULL, {0}},
    {"never gain privilege by exec", WORKS, no_new_privs, NULL, {0}},
    {"be filtered by seccomp", WORKS, filtered, NULL, {0}},
    {"belong to no other group", WORKS, no_groups, NULL, {0}},
    {"become root", REFUSED, calls, NULL, {SYS_setresuid, 0, 0, 0}},
    {"see its own processes alone", WORKS, few_processes, NULL, {0}},
    {"hold no descriptor of the host", WORKS, few_descriptors, NULL, {0}},
    {"leave no core dump", WORKS, core_limit, NULL, {0}},
    {"start a process", WORKS, call_fork, NULL, {0}},

    {"write to /", REFUSED, opens, "/selftest-file", {O_WRONLY | O_CREAT}},
    {"write to /etc", REFUSED, opens, "/etc/selftest-file", {O_WRONLY | O_CREAT}},
    {"write to its own program", REFUSED, opens, "/proc/self/exe", {O_WRONLY}},
    {"map its own program for writing", REFUSED, map_itself, NULL, {0}},
    {"write to /tmp", WORKS, write_tmp, "/tmp/selftest-file", {O_WRONLY | O_CREAT}},
    {"make a device node", REFUSED, make_node, NULL, {0}},
    {"open /dev/mem", ABSENT, opens, "/dev/mem", {O_RDONLY}},
    {"open /dev/kmsg", ABSENT, opens, "/dev/kmsg", {O_RDONLY}},
    {"open /dev/kvm", ABSENT, opens, "/dev/kvm", {O_RDWR}},
    {"open /dev/fuse", ABSENT, opens, "/dev/fuse", {O_RDWR}},
    {"open /dev/tty", ABSENT, opens, "/dev/tty", {O_RDWR}},
    {"read /dev/urandom", WORKS, reads, "/dev/urandom", {0}},
    {"read /proc/meminfo", WORKS, reads, "/proc/meminfo", {0}},
    {"read /proc/kcore", HIDDEN, reads, "/proc/kcore", {0}},
    {"read /proc/keys", HIDDEN, reads, "/proc/keys", {0}},
    {"read /proc/kallsyms", HIDDEN, reads, "/proc/kallsyms", {0}},
    {"read /proc/interrupts", HIDDEN, reads, "/proc/interrupts", {0}},
    {"write /proc/sys/kernel/core_pattern", REFUSED, opens, "/proc/sys/kernel/core_pattern", {O_WRONLY}},
    {"write /proc/sys/net/ipv4/ip_forward", REFUSED, opens, "/proc/sys/net/ipv4/ip_forward", {O_WRONLY}},
    {"look into /sys", ABSENT, opens, "/sys/kernel", {O_RDONLY}},
    {"look into cgroups", ABSENT, opens, "/sys/fs/cgroup/cgroup.procs", {O_RDONLY}},
    {"read PID 1's environment", HIDDEN, reads, "/proc/1/environ", {0}},
    {"open PID 1's memory", REFUSED, opens, "/proc/1/mem", {O_RDWR}},
    {"go through PID 1's root", REFUSED, opens, "/proc/1/root/etc", {O_RDONLY}},
    {"lower its oom_score_adj", REFUSED, lower_oom_score, NULL, {0}},

    {"mount", REFUSED, call_mount, NULL, {0}},
    {"fsopen", REFUSED, call_fsopen, NULL, {0}},
    {"chroot", REFUSED, call_chroot, NULL, {0}},
    {"open_by_handle_at", REFUSED, calls, NULL, {SYS_open_by_handle_at, -1, 0, 0}},
    {"a new user namespace", REFUSED, calls, NULL, {SYS_unshare, CLONE_NEWUSER}},
    {"a new network namespace", REFUSED, calls, NULL, {SYS_unshare, CLONE_NEWNET}},
    {"clone3", REFUSED, calls, NULL, {SYS_clone3, 0, 0}},
    {"setns", REFUSED, calls, NULL, {SYS_setns, -1, 0}},
    {"ptrace PID 1", REFUSED, call_ptrace, NULL, {0}},
    {"read another process's memory", REFUSED, call_process_vm, NULL, {0}},
    {"bpf", REFUSED, calls, NULL, {SYS_bpf, 0, 0, 0}},
    {"perf_event_open", REFUSED, calls, NULL, {SYS_perf_event_open, 0, 0, -1, -1, 0}},
    {"io_uring_setup", REFUSED, calls, NULL, {SYS_io_uring_setup, 0, 0}},
    {"userfaultfd", REFUSED, calls, NULL, {SYS_userfaultfd, 1}},
    {"add_key", REFUSED, call_add_key, NULL, {0}},
    {"load a kernel module", REFUSED, call_module, NULL, {0}},
    {"kexec_load", REFUSED, calls, NULL, {SYS_kexec_load, 0, 0, 0, ~0UL}},
    {"set the clock", REFUSED, calls, NULL, {SYS_clock_settime, -1, 0}},
    {"set the host name", REFUSED, call_hostname, NULL, {0}},
    {"the kernel's log", REFUSED, calls, NULL, {SYS_syslog, 10, 0, 0}},
    {"switch off address randomisation", REFUSED, call_personality, NULL, {0}},
    {"real-time scheduling", REFUSED, call_real_time, NULL, {0}},
    {"type into a terminal (TIOCSTI)", REFUSED, call_terminal, NULL, {0}},
#ifdef __x86_64__
    {"a system call of x32", KILLED, call_x32, NULL, {0}},
    {"a system call of i386", KILLED, call_i386, NULL, {0}},
#endif

    {"a TCP socket", WORKS, sockets, NULL, {AF_INET, SOCK_STREAM, 0}},
    {"a unix socket", WORKS, sockets, NULL, {AF_UNIX, SOCK_STREAM, 0}},
    {"a raw socket", REFUSED, sockets, NULL, {AF_INET, SOCK_RAW, IPPROTO_ICMP}},
    {"a packet socket", REFUSED, sockets, NULL, {AF_PACKET, SOCK_RAW, 0}},
    {"a vsock socket", REFUSED, sockets, NULL, {AF_VSOCK, SOCK_STREAM, 0}},
    {"a crypto socket (AF_ALG)", REFUSED, sockets, NULL, {AF_ALG, SOCK_SEQPACKET, 0}},
    {"connect to the host's port 22", SILENT, connects, NULL, {0, 22}},
    {"connect to the admin listener", SILENT, connects, NULL, {0, 8889}},
    {"connect to the admin listener by 127.0.0.1", SILENT, connects, NULL, {INADDR_LOOPBACK, 8889}},
    {"connect to 169.254.169.254", SILENT, connects, NULL, {0xa9fea9fe, 80}},
};
const size_t attempts_count = sizeof(attempts) / sizeof(attempts[0]);
