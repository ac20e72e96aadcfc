/*
 * fn_init.c: PID 1 of a sandbox: ids, pipes, the function's process, the loop, the end record.
 *
 * Stages: (1) exec'd as inner uid 1 with SETUID and SETGID, it takes the function's uid as its real one and keeps 1 as effective and saved, then drops
 * all capabilities: the real uid lets it signal the function, the others keep the function from tracing it, from its memory and from its /proc entries.
 * That the function may send signals to it is harmless: the kernel drops what would kill a PID 1 from inside, and init_loop.c believes only senders
 * outside. (2) The output pipe is made under the function's euid, since /dev/stdout is opened through the pipe's inode. (3) vfork (no page table is
 * copied): the child sheds uid 1 for good and executes the function. (4) The narrow filter, then the loop. (5) When the function is gone: what is left
 * in the pipe, the end record, exit; the kernel then kills the rest of the pid namespace. One pipe serves standard output and error, so that the order
 * of lines is kept. No stdio, no malloc: the resident size of this process is paid once an instance.
 */
#include "fn_init.h"
#include "session.h"
#include "stdio_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

static int parse_arguments(struct init *in, int argc, char **argv)
{
    if (argc <= FN_INIT_ARGS || strcmp(argv[FN_INIT_ARGS - 1], "--") != 0)
        return -EINVAL;
    if (init_ids_parse(argv[1], &in->uid) < 0 || init_ids_parse(argv[2], &in->gid) < 0)
        return -EINVAL;
    in->cwd = argv[3];
    in->command = argv + FN_INIT_ARGS;
    in->env = environ;
    for (char **e = in->env; *e; e++)
        *e += strlen(FN_INIT_ENV_PREFIX);
    return 0;
}

static int make_pipes(const struct init *in, int out[2], int status[2])
{
    int r = 0;

    if (init_ids_effective(in->uid, in->gid, &in->key) < 0)
        return -errno;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(status, O_CLOEXEC) < 0)
        r = -errno;
    if (init_ids_effective(FN_INIT_ID, FN_INIT_ID, &in->key) < 0)
        return -errno;
    /* The write end stays blocking, as a function expects; the two ends are two descriptions. */
    return r == 0 && fcntl(out[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : r;
}

static int open_signals(void)
{
    static const int signals[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t set, all;
    int fd;

    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
        return -errno;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&set, signals[i]);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static int start_function(struct init *in)
{
    int out[2] = {-1, -1}, status[2] = {-1, -1}, r;

    r = make_pipes(in, out, status);
    if (r < 0)
        return r;
    in->signal_fd = open_signals();
    if (in->signal_fd < 0)
        return in->signal_fd;
    in->function = vfork();
    if (in->function < 0)
        return -errno;
    if (in->function == 0)
        init_exec(in, out[1], status[1]);
    /* The child's change of ids has set this anew: the flag belongs to the memory, which was shared. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    close(out[1]);
    close(status[1]);
    in->out_fd = out[0];
    in->status_fd = status[0];
    return init_filter_self();
}

static const char *const failed_step[INIT_STEP_COUNT] = {
    [INIT_STEP_IDS] = "cannot take the ids of ",
    [INIT_STEP_STDIO] = "cannot connect the output of ",
    [INIT_STEP_CWD] = "cannot enter working directory ",
    [INIT_STEP_FILTER] = "cannot load the system call filter of ",
    [INIT_STEP_EXEC] = "cannot execute ",
    [INIT_STEP_NO_INTERPRETER] = "cannot execute ",
};

static int end_failed(struct init *in)
{
    const struct init_failure *f = &in->failure;
    const char *what = f->step < INIT_STEP_COUNT ? failed_step[f->step] : "cannot start ";
    const char *error = f->step == INIT_STEP_NO_INTERPRETER ? "its interpreter or loader is not in the image"
                        : f->err == ENOEXEC                 ? "it is no program for this machine, and no script that begins with #!"
                                                            : strerrordesc_np(f->err);
    char path[RINGLOG_REASON_MAX - 64] = "", reason[RINGLOG_REASON_MAX] = "";

    /* A long path must not push the error out of the record. */
    init_puts(path, sizeof(path), f->step == INIT_STEP_CWD ? in->cwd : in->command[0]);
    init_puts(reason, sizeof(reason), what);
    init_puts(reason, sizeof(reason), path);
    init_puts(reason, sizeof(reason), ": ");
    init_puts(reason, sizeof(reason), error ? error : "unknown error");
    ringlog_finish(&in->log, RINGLOG_EXEC_FAILED, f->err, reason);
    return FN_INIT_EXEC_FAILED;
}

static int end_normal(struct init *in, int status)
{
    char reason[RINGLOG_REASON_MAX] = "";

    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));

        init_putn(init_puts(reason, sizeof(reason), "killed by signal "), sizeof(reason), (unsigned)WTERMSIG(status));
        if (name)
            init_puts(init_puts(init_puts(reason, sizeof(reason), " ("), sizeof(reason), name), sizeof(reason), ")");
        ringlog_finish(&in->log, RINGLOG_SIGNALED, WTERMSIG(status), reason);
        return 128 + WTERMSIG(status);
    }
    init_putn(init_puts(reason, sizeof(reason), "exited with status "), sizeof(reason), (unsigned)WEXITSTATUS(status));
    ringlog_finish(&in->log, RINGLOG_EXITED, WEXITSTATUS(status), reason);
    return WEXITSTATUS(status);
}

static int fail_early(struct init *in, const char *what, int err)
{
    const char *error = strerrordesc_np(-err);
    char reason[RINGLOG_REASON_MAX] = "fn-init: ";

    init_puts(init_puts(reason, sizeof(reason), what), sizeof(reason), ": ");
    init_puts(reason, sizeof(reason), error ? error : "unknown error");
    ringlog_finish(&in->log, RINGLOG_EXEC_FAILED, -err, reason);
    return FN_INIT_EXEC_FAILED;
}

int main(int argc, char **argv)
{
    struct init in = {.out_fd = -1, .signal_fd = -1, .status_fd = -1};
    int r, status;

    if (argc > 0 && strcmp(argv[0], FN_EXEC_NAME) == 0)
        session_main(argc, argv);
    if (argc > 0 && (strcmp(argv[0], FN_STDIO_NAME) == 0 || strcmp(argv[0], FN_ALONE_NAME) == 0))
        stdio_main(argc, argv);
    if (fcntl(FN_INIT_LOG_FD, F_SETFD, FD_CLOEXEC) < 0 || ringlog_writer_init(&in.log, FN_INIT_LOG_FD) < 0)
        return FN_INIT_EXEC_FAILED;
    prctl(PR_SET_NAME, "fn-init"); /* an exec by descriptor leaves the descriptor's number there */
    r = parse_arguments(&in, argc, argv);
    if (r < 0)
        return fail_early(&in, "arguments", r);
    r = init_ids_take(in.uid, in.gid);
    if (r < 0)
        return fail_early(&in, "ids", r);
    r = start_function(&in);
    if (r < 0)
        return fail_early(&in, "start", r);
    status = init_loop(&in);
    _exit(in.failure.err ? end_failed(&in) : end_normal(&in, status));
}
