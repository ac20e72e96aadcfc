/*
 * init_exec.c: the function's process between vfork and exec: it shares fn-init's memory and changes nothing in it but its own stack. Everything here
 * runs with the function's own ids from the first step on; what fails is told to fn-init through the status pipe, whose end (close-on-exec) means
 * success.
 */
#include "fn_init.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* No way back: the saved ids go too. A process group of its own, so that a function's kill(0) meets only its own. */
static int exec_ids(const struct init *in)
{
    return setpgid(0, 0) < 0 ? -errno : init_ids_become(in->uid, in->gid, &in->key);
}

static int exec_stdio(int out_fd)
{
    return dup2(out_fd, STDOUT_FILENO) < 0 || dup2(out_fd, STDERR_FILENO) < 0 ? -errno : 0;
}

/* Without magic links: /proc/self/fd/N as a working directory has led out of sandboxes before (CVE-2024-21626). */
int init_cwd(const char *cwd)
{
    const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, AT_FDCWD, cwd, &how, sizeof(how));

    return fd < 0 || fchdir((int)fd) < 0 ? -errno : 0;
}

/* exec keeps blocked signals blocked. None is ignored (fn_init.h). */
static void exec_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Is the program there, so that ENOENT was about its #! line or its dynamic loader? */
static enum init_step exec_step(int err, const char *path)
{
    return err == ENOENT && access(path, F_OK) == 0 ? INIT_STEP_NO_INTERPRETER : INIT_STEP_EXEC;
}

static const char *env_value(char **env, const char *name)
{
    size_t n = strlen(name);

    for (; *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

/* execvp(3) without its fallback to /bin/sh. A directory that cannot be searched is no reason to stop, but is told if nothing else is found. */
static int exec_search(const struct init *in, enum init_step *ret_step)
{
    const char *name = in->command[0], *dir = env_value(in->env, "PATH");
    int err = ENOENT;

    *ret_step = INIT_STEP_EXEC;
    while (dir && *dir) {
        size_t n = strcspn(dir, ":");
        char path[4096] = "";

        if (n + strlen(name) + 2 <= sizeof(path)) {
            memcpy(path, dir, n);
            init_puts(init_puts(path, sizeof(path), n ? "/" : ""), sizeof(path), name);
            execve(path, in->command, in->env);
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
                return errno;
            if (errno == EACCES)
                err = EACCES;
            *ret_step = exec_step(errno, path);
            if (*ret_step == INIT_STEP_NO_INTERPRETER)
                return ENOENT;
        }
        dir += n;
        dir += *dir == ':';
    }
    return err;
}

static int exec_command(const struct init *in, enum init_step *ret_step)
{
    const char *program = in->program ? in->program : in->command[0];

    if (!strchr(program, '/'))
        return exec_search(in, ret_step);
    execve(program, in->command, in->env);
    *ret_step = exec_step(errno, program);
    return *ret_step == INIT_STEP_NO_INTERPRETER ? ENOENT : errno;
}

static int exec_prepare(const struct init *in, int out_fd, enum init_step *ret_step)
{
    int r = exec_ids(in);

    *ret_step = INIT_STEP_IDS;
    if (r < 0)
        return r;
    *ret_step = INIT_STEP_STDIO;
    return exec_stdio(out_fd);
}

int init_exec_program(const struct init *in, enum init_step *ret_step)
{
    int r;

    *ret_step = INIT_STEP_CWD;
    r = in->cwd ? init_cwd(in->cwd) : 0;
    if (r < 0)
        return -r;
    exec_signals();
    *ret_step = INIT_STEP_FILTER;
    r = in->sealed ? 0 : init_filter_function();
    return r < 0 ? -r : exec_command(in, ret_step);
}

void init_exec(const struct init *in, int out_fd, int status_fd)
{
    enum init_step step;
    struct init_failure f;
    int err = -exec_prepare(in, out_fd, &step);

    if (err == 0)
        err = init_exec_program(in, &step);
    f = (struct init_failure){.err = err, .step = (uint32_t)step};
    if (write(status_fd, &f, sizeof(f)) < 0)
        _exit(FN_INIT_EXEC_FAILED - 1);
    _exit(FN_INIT_EXEC_FAILED);
}
