/*
 * init_filter.c: the two small seccomp programs of fn-init, on top of the sandbox's own (which has already refused what nobody inside needs, foreign
 * architectures and x32 included).
 *
 * The function's refuses by number what only fn-init needed. fn-init's allows by number what its loop needs and refuses everything else: whoever takes
 * it over through the function's output can neither open nor execute anything, nor change the size of the log. Numbers alone decide, so no argument
 * comparison can be weaker than it looks.
 */
#include "fn_init.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#else
#error "no system call filter for this architecture"
#endif

#define FILTER_MAX   64
#define FILTER_ERROR (SECCOMP_RET_ERRNO | EPERM)

static const uint16_t function_refused[] = {
    SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups, SYS_capset,
};

static const uint16_t self_allowed[] = {
    SYS_read,  SYS_pwrite64,      SYS_ppoll,      SYS_waitid, SYS_wait4,        SYS_kill,
    SYS_close, SYS_clock_gettime, SYS_exit_group, SYS_exit,   SYS_rt_sigreturn, SYS_restart_syscall,
#ifdef SYS_poll
    SYS_poll,
#endif
};

/* With the window's size, and without a log. */
static const uint16_t session_allowed[] = {
    SYS_read,          SYS_write,      SYS_ppoll, SYS_waitid,       SYS_wait4,           SYS_kill, SYS_ioctl, SYS_close,
    SYS_clock_gettime, SYS_exit_group, SYS_exit,  SYS_rt_sigreturn, SYS_restart_syscall,
#ifdef SYS_poll
    SYS_poll,
#endif
};

/* Every number of the list gets `hit`, all others `miss`; but clone3, which the sandbox leaves to a fn-init that gives birth into cgroups, does not exist for a function (no filter sees its flags). */
static int filter_load(const uint16_t *list, size_t n, uint32_t hit, uint32_t miss)
{
    struct sock_filter code[FILTER_MAX];
    struct sock_fprog prog = {.filter = code};
    size_t at = 0;

    if (n + 8 > FILTER_MAX)
        return -E2BIG;
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    for (size_t i = 0; i < n; i++)
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, list[i], (uint8_t)(n - i), 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, miss);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, hit);
    prog.len = (unsigned short)at;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

int init_filter_function(void)
{
    return filter_load(function_refused, sizeof(function_refused) / sizeof(function_refused[0]), FILTER_ERROR, SECCOMP_RET_ALLOW);
}

int init_filter_self(void)
{
    return filter_load(self_allowed, sizeof(self_allowed) / sizeof(self_allowed[0]), SECCOMP_RET_ALLOW, FILTER_ERROR);
}

int init_filter_session(void)
{
    return filter_load(session_allowed, sizeof(session_allowed) / sizeof(session_allowed[0]), SECCOMP_RET_ALLOW, FILTER_ERROR);
}
