/* probe_calls.c: system calls that must be refused, each really made, with arguments that the kernel would look at. */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HIGH     0x100000000UL /* a bit that the kernel does not look at */

static void calls_mounts(void)
{
    probe_refused(syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL), "mount", 0);
    probe_refused(syscall(SYS_umount2, "/tmp", 0), "umount2", 0);
    probe_refused(syscall(SYS_pivot_root, "/tmp", "/tmp"), "pivot_root", 0);
    probe_refused(syscall(SYS_chroot, "/tmp"), "chroot", 0);
    probe_refused(syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1), "open_tree", 0);
    probe_refused(syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/run", 0), "move_mount", 0);
    probe_refused(syscall(SYS_fsopen, "tmpfs", 0), "fsopen", 0);
    probe_refused(syscall(SYS_fspick, AT_FDCWD, "/tmp", 0), "fspick", 0);
    probe_refused(syscall(SYS_mount_setattr, AT_FDCWD, "/tmp", 0, NULL, 0), "mount_setattr", 0);
    probe_refused(syscall(SYS_swapon, "/tmp/x", 0), "swapon", 0);
    probe_refused(syscall(SYS_name_to_handle_at, AT_FDCWD, "/", NULL, NULL, 0), "name_to_handle_at", 0);
    probe_refused(syscall(SYS_open_by_handle_at, 0, NULL, 0), "open_by_handle_at", 0);
}

/* Each flag alone, together with harmless ones, and with garbage above the low 32 bits. */
static void calls_namespaces(void)
{
    static const unsigned long flags[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};
    struct clone_args args = {.exit_signal = SIGCHLD};
    char name[64];
    long pid;

    for (size_t i = 0; i < COUNT(flags); i++) {
        const unsigned long forms[] = {flags[i], flags[i] | HIGH, flags[i] | CLONE_FS};

        for (size_t k = 0; k < COUNT(forms); k++) {
            snprintf(name, sizeof(name), "unshare(%#lx)", forms[k]);
            probe_refused(syscall(SYS_unshare, forms[k]), name, 0);
            snprintf(name, sizeof(name), "clone(%#lx)", forms[k]);
            pid = syscall(SYS_clone, forms[k] | SIGCHLD, 0, 0, 0, 0);
            if (pid == 0)
                _exit(0);
            probe_refused(pid, name, 0);
        }
    }
    probe_refused(syscall(SYS_unshare, 0x80UL), "unshare(CLONE_NEWTIME)", 0);
    probe_refused(syscall(SYS_unshare, (unsigned long)CLONE_FILES), "unshare(CLONE_FILES)", 0);
    probe_expect(syscall(SYS_clone3, &args, sizeof(args)) == -1 && errno == ENOSYS, "clone3");
    probe_refused(syscall(SYS_setns, open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), 0), "setns", 0);
    pid = syscall(SYS_clone, (unsigned long)SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    probe_expect(pid > 0 && waitpid((pid_t)pid, NULL, 0) == pid, "a plain clone is refused");
}

static void calls_kernel(void)
{
    char buf[64] = "";

    probe_refused(syscall(SYS_bpf, 0, buf, sizeof(buf)), "bpf", 0);
    probe_refused(syscall(SYS_perf_event_open, buf, 0, -1, -1, 0), "perf_event_open", 0);
    probe_refused(syscall(SYS_userfaultfd, 1), "userfaultfd", 0);
    probe_refused(syscall(SYS_io_uring_setup, 4, buf), "io_uring_setup", 0);
    probe_refused(syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0), "io_uring_enter", 0);
    probe_refused(syscall(SYS_io_uring_register, 0, 0, NULL, 0), "io_uring_register", 0);
    probe_refused(syscall(SYS_kexec_load, 0, 0, NULL, 0), "kexec_load", 0);
    probe_refused(syscall(SYS_init_module, buf, 0, ""), "init_module", 0);
    probe_refused(syscall(SYS_finit_module, 0, "", 0), "finit_module", 0);
    probe_refused(syscall(SYS_delete_module, "x", 0), "delete_module", 0);
    probe_refused(syscall(SYS_reboot, 0, 0, 0, NULL), "reboot", 0);
    probe_refused(syscall(SYS_acct, NULL), "acct", 0);
    probe_refused(syscall(SYS_syslog, 3, buf, sizeof(buf)), "syslog", 0);
    probe_refused(syscall(SYS_clock_settime, 0, buf), "clock_settime", 0);
    probe_refused(syscall(SYS_sethostname, "x", 1), "sethostname", 0);
    probe_refused(syscall(SYS_setdomainname, "x", 1), "setdomainname", 0);
    probe_refused(syscall(SYS_quotactl, 0, "/", 0, NULL), "quotactl", 0);
    probe_refused(syscall(SYS_fanotify_init, 0, 0), "fanotify_init", 0);
    probe_refused(syscall(SYS_mbind, 0, 0, 0, NULL, 0, 0), "mbind", 0);
    probe_refused(syscall(SYS_sync), "sync", 0);
    probe_expect(syscall(1000L) == -1 && errno == ENOSYS, "an unknown number");
#ifdef SYS_iopl
    probe_refused(syscall(SYS_iopl, 3), "iopl", 0);
    probe_refused(syscall(SYS_ioperm, 0, 1, 1), "ioperm", 0);
    probe_refused(syscall(SYS_modify_ldt, 0, buf, sizeof(buf)), "modify_ldt", 0);
#endif
}

static void calls_processes(void)
{
    struct iovec iov = {.iov_base = &iov, .iov_len = sizeof(iov)};

    probe_refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL), "ptrace", 0);
    probe_refused(syscall(SYS_process_vm_readv, getpid(), &iov, 1, &iov, 1, 0), "process_vm_readv", 0);
    probe_refused(syscall(SYS_process_vm_writev, getpid(), &iov, 1, &iov, 1, 0), "process_vm_writev", 0);
    probe_refused(syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 0, 0), "pidfd_getfd", 0);
    probe_refused(syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0), "kcmp", 0);
    probe_refused(syscall(SYS_keyctl, 0, -3, 0), "keyctl", 0);
    probe_refused(syscall(SYS_add_key, "user", "x", "y", 1, -3), "add_key", 0);
    probe_refused(syscall(SYS_request_key, "user", "x", "", -3), "request_key", 0);
}

/* What fn-init may and the function may not: even to the ids that it has. */
static void calls_ids(void)
{
    const uid_t uid = getuid();
    const gid_t gid = getgid();
    uint32_t head[2] = {0x20080522, 0}, none[6] = {0};

    probe_refused(syscall(SYS_setuid, uid), "setuid", 0);
    probe_refused(syscall(SYS_setgid, gid), "setgid", 0);
    probe_refused(syscall(SYS_setreuid, uid, uid), "setreuid", 0);
    probe_refused(syscall(SYS_setregid, gid, gid), "setregid", 0);
    probe_refused(syscall(SYS_setresuid, uid, uid, uid), "setresuid", 0);
    probe_refused(syscall(SYS_setresgid, gid, gid, gid), "setresgid", 0);
    probe_refused(syscall(SYS_setfsuid, uid), "setfsuid", 0);
    probe_refused(syscall(SYS_setfsgid, gid), "setfsgid", 0);
    probe_refused(syscall(SYS_setgroups, 0, NULL), "setgroups", 0);
    probe_refused(syscall(SYS_capset, head, none), "capset", 0);
}

/* Rules by argument, with the bits above it as well. */
static void calls_arguments(void)
{
    static const unsigned long terminal[] = {TIOCSTI, 0x541c, TIOCSETD};
    struct rlimit core = {0, 1};
    char c = 'x';

    for (size_t i = 0; i < COUNT(terminal); i++) {
        probe_refused(syscall(SYS_ioctl, 0, terminal[i], &c), "ioctl of a terminal", 0);
        probe_refused(syscall(SYS_ioctl, 0, terminal[i] | HIGH, &c), "ioctl of a terminal, high bits", 0);
    }
    probe_expect(syscall(SYS_ioctl, 0, (unsigned long)TCGETS, &c) == -1 && errno == ENOTTY, "a harmless ioctl");
    probe_expect(syscall(SYS_personality, 0xffffffffUL) == 0, "asking for the personality");
    probe_refused(syscall(SYS_personality, 0x0040000UL), "personality(ADDR_NO_RANDOMIZE)", 0);
    probe_refused(syscall(SYS_personality, 0x0040000UL | HIGH), "personality(ADDR_NO_RANDOMIZE), high bits", 0);
    probe_refused(syscall(SYS_prlimit64, 0, (unsigned long)RLIMIT_CORE, &core, NULL), "prlimit64(CORE)", 0);
    probe_refused(syscall(SYS_prlimit64, 0, RLIMIT_CORE | HIGH, &core, NULL), "prlimit64(CORE), high bits", 0);
    probe_expect(syscall(SYS_prlimit64, 0, (unsigned long)RLIMIT_CORE, NULL, &core) == 0, "reading the core limit is refused");
    probe_expect(syscall(SYS_prlimit64, 0, (unsigned long)RLIMIT_NOFILE, NULL, &core) == 0, "reading a limit is refused");
}

/* calls [GROUP]: of one group, or all */
int probe_calls(char **args)
{
    static const struct {
        const char *group;
        void (*run)(void);
    } groups[] = {{"mounts", calls_mounts}, {"namespaces", calls_namespaces}, {"kernel", calls_kernel}, {"processes", calls_processes},
                  {"ids", calls_ids},       {"arguments", calls_arguments}};
    bool known = false;

    for (size_t i = 0; i < COUNT(groups); i++) {
        if (args[0] && strcmp(args[0], groups[i].group) != 0)
            continue;
        groups[i].run();
        known = true;
    }
    probe_expect(known, "no group %s", args[0] ? args[0] : "");
    return 0;
}

int probe_sockets(char **args)
{
    static const struct {
        unsigned long family, type, protocol;
        bool allowed;
    } kinds[] = {
        {AF_UNIX, SOCK_STREAM, 0, true},    {AF_INET, SOCK_STREAM, 0, true},
        {AF_INET, SOCK_STREAM, 6, true},    {AF_INET, SOCK_DGRAM, 17, true},
        {AF_INET6, SOCK_DGRAM, 17, true},   {AF_INET, SOCK_RAW, 255, false},
        {AF_INET, SOCK_RAW, 1, false},      {AF_INET, SOCK_STREAM, 132, false},
        {AF_INET, SOCK_STREAM, 262, false}, {AF_INET | HIGH, SOCK_STREAM, 132 | HIGH, false},
        {AF_INET6, SOCK_DGRAM, 136, false}, {AF_INET, SOCK_PACKET, 0, false},
    };

    for (unsigned long family = 0; family < 64; family++) {
        const bool known = family == AF_UNIX || family == AF_INET || family == AF_INET6;
        static const unsigned long types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};

        for (size_t i = 0; !known && i < COUNT(types); i++) {
            probe_refused(syscall(SYS_socket, family, types[i], 0), "socket of another family", EAFNOSUPPORT);
            probe_refused(syscall(SYS_socket, family | HIGH, types[i], 0), "socket of another family, high bits", EAFNOSUPPORT);
        }
    }
    for (size_t i = 0; i < COUNT(kinds); i++) {
        long fd = syscall(SYS_socket, kinds[i].family, kinds[i].type | SOCK_CLOEXEC, kinds[i].protocol);

        probe_expect((fd >= 0) == kinds[i].allowed, "socket(%lu, %lu, %lu) returned %ld", kinds[i].family, kinds[i].type, kinds[i].protocol, fd);
    }
    return 0;
}

static void expect_killed(void (*call)(void), const char *what)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        call();
        _exit(0);
    }
    probe_expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s: status %#x", what, status);
}

#ifdef __x86_64__
static void call_x32(void)
{
    syscall(0x40000000L | SYS_getpid);
}

static void call_i386(void)
{
    long nr = 20; /* getpid */

    __asm__ volatile("int $0x80" : "+a"(nr) : : "memory", "r8", "r9", "r10", "r11");
}
#endif

/* Numbers of another architecture would be other calls. */
int probe_foreign(char **args)
{
#ifdef __x86_64__
    expect_killed(call_x32, "a call of x32");
    expect_killed(call_i386, "a call of i386");
#endif
    return 0;
}

static void queue_forged(int signo, int code)
{
    const siginfo_t info = {.si_signo = signo, .si_code = code}; /* from pid 0: somewhere outside */

    (void)syscall(SYS_rt_sigqueueinfo, 1, signo, &info);
    (void)syscall(SYS_rt_tgsigqueueinfo, 1, 1, signo, &info);
}

/* The kernel sends whatever signal to whoever is named, from nobody, when a pipe has something. */
static void raise_by_pipe(int signo)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return;
    if (fcntl(p[0], F_SETOWN, 1) == 0 && fcntl(p[0], F_SETSIG, signo) == 0 && fcntl(p[0], F_SETFL, O_ASYNC) == 0)
        (void)!write(p[1], "x", 1);
    close(p[0]);
    close(p[1]);
}

/* Signals to PID 1 that look as if they came from outside: they may arrive, and must not be believed. */
static void forge_signals(void)
{
    static const int believed[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    static const int codes[] = {SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_MESGQ, SI_ASYNCIO, SI_SIGIO, SI_TKILL, CLD_EXITED};

    for (size_t i = 0; i < COUNT(believed); i++) {
        for (size_t k = 0; k < COUNT(codes); k++)
            queue_forged(believed[i], codes[k]);
        raise_by_pipe(believed[i]);
    }
}

/* PID 1 belongs to nobody inside. */
int probe_init(char **args)
{
    static const char *const files[] = {"/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/auxv", "/proc/1/syscall"};
    static const char *const links[] = {"/proc/1/exe", "/proc/1/cwd", "/proc/1/root", "/proc/1/fd/3"};
    static const int deadly[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGTERM, SIGINT, SIGHUP, SIGUSR1, 64};
    struct iovec iov = {.iov_base = &iov, .iov_len = sizeof(iov)};
    char buf[64];

    for (size_t i = 0; i < COUNT(files); i++) {
        int fd = open(files[i], O_RDONLY | O_CLOEXEC);

        probe_expect(fd < 0 || read(fd, buf, sizeof(buf)) <= 0, "%s can be read", files[i]);
    }
    probe_expect(open("/proc/1/mem", O_RDWR | O_CLOEXEC) < 0, "/proc/1/mem can be opened");
    for (size_t i = 0; i < COUNT(links); i++)
        probe_expect(readlink(links[i], buf, sizeof(buf)) < 0, "%s can be followed", links[i]);
    probe_refused(ptrace(PTRACE_ATTACH, 1, NULL, NULL), "ptrace of PID 1", 0);
    probe_refused(syscall(SYS_process_vm_readv, 1, &iov, 1, &iov, 1, 0), "process_vm_readv of PID 1", 0);
    probe_refused(syscall(SYS_prlimit64, 1, (unsigned long)RLIMIT_NOFILE, &(struct rlimit){1, 1}, NULL), "prlimit64 of PID 1", 0);
    for (size_t i = 0; i < COUNT(deadly); i++)
        (void)kill(1, deadly[i]); /* may succeed and must do nothing: SIGTERM from here would otherwise come back and end this process */
    forge_signals();
    for (int i = 0; i < 20; i++)
        usleep(1000); /* as long as PID 1 needs to be wrong */
    probe_expect(kill(1, 0) == 0, "PID 1 is gone");
    return 0;
}
