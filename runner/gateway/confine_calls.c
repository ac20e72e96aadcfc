/*
 * confine_calls.c: the system calls of a gateway. New connections go to IPv4, IPv6 (resolvers of the DNS forwarder may have such addresses) and unix sockets only; nothing is executed, traced or mounted, and what is cloned is a thread. glibc's own needs (memory, signals, time) are in the list.
 */
#include "confine.h"

#include "diag.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static const int allowed[] = {
    /* events and time */
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(eventfd2), /* letters between workers */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    /* connections */
    SCMP_SYS(accept4),
    SCMP_SYS(connect),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendto),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(close),
    /* what the runner passes: pipes for archives, ring logs */
    SCMP_SYS(pipe2),
    SCMP_SYS(splice),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fcntl),
    SCMP_SYS(openat2), /* ACME challenges: in a mount of its own that the runner passes, and in our small root there is nothing more to find */
    /* memory, signals, the end */
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getrusage), /* its own, for the metrics */
    SCMP_SYS(tgkill),
    SCMP_SYS(set_robust_list), /* of a new thread */
    SCMP_SYS(rseq),
    SCMP_SYS(prlimit64),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) /* make MODE=tsan, MODE=asan: what their runtimes ask of the kernel */
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(nanosleep),
    SCMP_SYS(sigaltstack),
#endif
};

/* Whoever calls these has our process already. */
static const int deadly[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(bpf),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(move_mount),
    SCMP_SYS(open_tree),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
};

/*
 * What pthread_create() gives clone(2): a thread, which shares everything with us and can do no more than we can. The workers are started when the runner has said how many, and the filter stands before anybody's words are
 * read. clone3(2) has its flags in memory, where no filter sees them: it is not there, and glibc takes clone(2) instead.
 */
#define CLONE_OF_THREADS                                                                                                                                       \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* A call with one argument that must have this value. */
struct argument_rule {
    int call;
    unsigned argument;
    scmp_datum_t value;
};

static const struct argument_rule arguments[] = {
    {SCMP_SYS(socket), 0, AF_INET}, {SCMP_SYS(socket), 0, AF_INET6},         {SCMP_SYS(socket), 0, AF_UNIX},         {SCMP_SYS(ioctl), 1, FIONREAD},
    {SCMP_SYS(ioctl), 1, SIOCOUTQ}, {SCMP_SYS(prctl), 0, PR_SET_TIMERSLACK}, {SCMP_SYS(clone), 0, CLONE_OF_THREADS},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int add_rules(scmp_filter_ctx ctx)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < COUNT(allowed); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; r == 0 && i < COUNT(deadly); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; r == 0 && i < COUNT(arguments); i++) {
        struct scmp_arg_cmp is = {.arg = arguments[i].argument, .op = SCMP_CMP_EQ, .datum_a = arguments[i].value};

        r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, arguments[i].call, 1, &is);
    }
    return r;
}

int confine_calls(struct diag *d)
{
    scmp_filter_ctx ctx;
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return diag_errno(d, errno, "no_new_privs");
    ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return diag_set(d, ENOMEM, "seccomp: out of memory");
    r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = add_rules(ctx);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r < 0 ? diag_errno(d, -r, "seccomp filter") : 0;
}
