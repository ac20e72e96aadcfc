/*
 * init_filter.c: the two small seccomp programs of fn-init, on top of the sandbox's own (which has already refused what nobody inside needs, foreign
 * architectures and x32 included).
 *
 * The function's refuses by number what only fn-init needed. fn-init's allows by number what its loop needs and refuses everything else: whoever takes
 * it over through the function's output can neither open nor execute anything, nor change the size of the log. Numbers alone decide, so no argument
 * comparison can be weaker than it looks.
 *
 * A server of mode stdio starts a process per request, and to load the function's program in each of them costs 27 us (bpf_prog_create_from_user and the compiler; perf, Linux 6.18) and as much again to free it. So it
 * loads the program once, for itself, and its children inherit it. What it still needs (setresuid, setresgid, clone3) the program lets pass with a key of 128 random bits in the fourth and fifth argument, at which the
 * kernel never looks. The key is in the memory of fn-init alone, which is not dumpable and another user's; exec clears memory and registers; no process of the function may see these calls made (/proc/PID/syscall asks
 * for ptrace rights), nor read the program back (CAP_SYS_ADMIN). All four words are compared before the one branch, so that time tells nothing of how many were right. Who had it all the same would have clone3 within
 * the slot's user namespace, which allows no further one (sandbox_userns.c), and ids that the kernel refuses to who has no capability.
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

#define KEY_AT(word) ((uint32_t)offsetof(struct seccomp_data, args[3]) + 4U * (word)) /* x86-64 and arm64: the lower half comes first */

static const uint16_t key_opens[] = {SYS_clone3, SYS_setresuid, SYS_setresgid};

static bool keyed(uint32_t number)
{
    for (size_t i = 0; i < sizeof(key_opens) / sizeof(key_opens[0]); i++)
        if (key_opens[i] == number)
            return true;
    return false;
}

/* Appends: allow if the key fits, else `number` decides between ENOSYS and EPERM. */
static size_t filter_lock(struct sock_filter *code, size_t at, const struct init_key *key)
{
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_ST, 0);
    for (unsigned word = 0; word < 4; word++) {
        code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, KEY_AT(word));
        code[at++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, (uint32_t)(key->word[word / 2] >> (word % 2 * 32)));
        code[at++] = (struct sock_filter)BPF_STMT(BPF_LDX | BPF_MEM, 0);
        code[at++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0);
        code[at++] = (struct sock_filter)BPF_STMT(BPF_ST, 0);
    }
    code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, FILTER_ERROR);
    return at;
}

int init_filter_keyed(const struct init_key *key)
{
    struct sock_filter code[FILTER_MAX];
    struct sock_fprog prog = {.filter = code};
    const size_t n = sizeof(function_refused) / sizeof(function_refused[0]);
    size_t at = 0;

    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < n; i++)
        if (!keyed(function_refused[i])) {
            code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, function_refused[i], 0, 1);
            code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, FILTER_ERROR);
        }
    for (size_t i = 0; i < sizeof(key_opens) / sizeof(key_opens[0]); i++) /* to what stands behind the RET */
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, key_opens[i], (uint8_t)(sizeof(key_opens) / sizeof(key_opens[0]) - i), 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    at = filter_lock(code, at, key);
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
