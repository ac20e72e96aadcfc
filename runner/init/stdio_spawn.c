/*
 * stdio_spawn.c: the process of one request, from clone3 to exec.
 *
 * clone3 is what can give birth in another cgroup: nothing of the process is ever outside its group, and no grace period of the kernel is waited for, as a move by cgroup.procs would (9.5 ms at times). As with
 * vfork the child has our memory, on a stack of its own, and we sleep until it has executed: 0.35 ms with the exec and the wait, 0.02 of it for the group. The second filter is inherited (init_filter.c).
 *
 * While it still has our memory it already has the function's uid, for the last steps: it is not dumpable then, so other processes of the function cannot look into it. They can stop or kill it, which harms
 * nobody but their own instance, as they could in other ways.
 */
#include "stdio_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The C library has no wrapper. The child never returns to this frame: it calls `run` on its own stack. */
static long clone_onto(struct clone_args *args, const struct init_key *key, void (*run)(void *), void *arg)
{
#if defined(__x86_64__)
    register uint64_t r10 __asm__("r10") = key->word[0];
    register uint64_t r8 __asm__("r8") = key->word[1];
    register void (*r12)(void *) __asm__("r12") = run;
    register void *r13 __asm__("r13") = arg;
    long r;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(r)
                     : "0"((long)SYS_clone3), "D"(args), "S"(sizeof(*args)), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory", "cc");
    return r;
#elif defined(__aarch64__)
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = (long)sizeof(*args);
    register uint64_t x3 __asm__("x3") = key->word[0];
    register uint64_t x4 __asm__("x4") = key->word[1];
    register long x8 __asm__("x8") = SYS_clone3;
    register void (*x9)(void *) __asm__("x9") = run;
    register void *x10 __asm__("x10") = arg;

    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, #0\n\t"
                     "mov x0, x10\n\t"
                     "blr x9\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x1), "r"(x3), "r"(x4), "r"(x8), "r"(x9), "r"(x10)
                     : "memory", "cc");
    return x0;
#else
#error "no clone3 for this architecture"
#endif
}

static void child_run(void *arg) __attribute__((noreturn));
static int child_run_alone(void *arg);

static int child_become(struct stdio_child *c)
{
    const struct init *in = c->in;
    int r;

    c->step = INIT_STEP_STDIO;
    if (dup2(c->in_fd, STDIN_FILENO) < 0 || dup2(c->out_fd, STDOUT_FILENO) < 0 || dup2(c->err_fd, STDERR_FILENO) < 0) /* no CLOEXEC: the command's */
        return errno;
    c->step = INIT_STEP_IDS;
    /* A process group of its own: kill(0) meets only its own. (A session would do the same, with a scheduler's group for each, which costs 7 us: sched_autogroup_create_attach.) */
    if (setpgid(0, 0) < 0)
        return errno;
    r = init_ids_become(in->uid, in->gid, &in->key);
    if (r < 0)
        return -r;
    return init_exec_program(in, &c->step);
}

static void child_run(void *arg)
{
    struct stdio_child *c = arg;

    c->err = child_become(c);
    _exit(FN_INIT_EXEC_FAILED);
}

static int child_run_alone(void *arg)
{
    child_run(arg);
}

pid_t stdio_spawn(struct stdio_child *c, int group_fd, char *stack, size_t stack_size)
{
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)stack,
        .stack_size = stack_size,
        .cgroup = (uint64_t)group_fd,
    };
    long pid;

    c->err = 0;
    if (group_fd >= 0) /* elsewhere there may be no clone3 (ENOSYS in the filters of container engines), and no group to be born in */
        pid = clone_onto(&args, &c->in->key, child_run, c);
    else if ((pid = clone(child_run_alone, stack + stack_size, CLONE_VM | CLONE_VFORK | SIGCHLD, c)) < 0)
        pid = -errno;
    /* The child's change of ids has set this anew: the flag belongs to the memory, which was shared. */
    (void)prctl(PR_SET_DUMPABLE, 0);
    return (pid_t)pid;
}

static const char *path_of(char **env)
{
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return "";
}

int stdio_find_program(struct init *in, char *path, size_t size, enum init_step *ret_step)
{
    const char *name = in->command[0], *dir = path_of(in->env);
    int err = ENOENT;

    *ret_step = INIT_STEP_EXEC;
    if (strchr(name, '/'))
        return faccessat(AT_FDCWD, name, X_OK, AT_EACCESS) < 0 ? errno : 0;
    while (*dir) {
        const size_t n = strcspn(dir, ":");

        if (n > 0 && n + strlen(name) + 2 <= size) {
            memcpy(path, dir, n);
            path[n] = '\0';
            init_puts(init_puts(path, size, "/"), size, name);
            if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0) {
                in->program = path;
                return 0;
            }
            if (errno == EACCES)
                err = EACCES;
        }
        dir += n;
        dir += *dir == ':';
    }
    return err;
}
