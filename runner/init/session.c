/*
 * session.c: the relay of `fnctl exec`: fn-init's binary, started a second time beside a function that is already running, so that a command can be run under the same restrictions for somebody outside. It speaks
 * the frames (execframe.h); neither the runner nor the gateway looks into them.
 *
 * The function is there before this process, watches /proc, and may be hostile. What keeps it out at each moment:
 *
 *   before exec   (runner/sandbox/sandbox_join.c) the process has joined every other namespace of the sandbox before it is born into its pid namespace, so that mountinfo or net/ of its /proc entry show what the
 *                 function sees anyway; its ids are inner 1; it still has a copy of the runner's memory, and /proc/PID/mem, fd, root, cwd, exe, maps, environ ask for ptrace rights: the same ids, or a
 *                 capability in the sandbox's user namespace, and the function has neither, whatever the process's dumpable flag says
 *   relay         saved ids are 1 from the first to the last instruction, which refuses the same; it is not dumpable, has no capability, and after the start a filter of a dozen calls
 *   command       forked, not vforked, since a vforked child would have the function's ids on the relay's memory; everything but its three descriptors is closed before it takes these ids
 *
 * The real uid is the function's, so that the relay may signal the command; so may the function signal the relay, and end the session of whoever debugs it. It can do no more than that.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#define DRAIN_MAX (1024U * 1024) /* what a pipe can hold at most (fs.pipe-max-size) */

static int parse_arguments(struct session *s, int argc, char **argv)
{
    struct init *in = &s->in;

    if (argc <= FN_EXEC_ARGS || strcmp(argv[FN_EXEC_ARGS - 1], "--") != 0)
        return -EINVAL;
    if (init_ids_parse(argv[1], &in->uid) < 0 || init_ids_parse(argv[2], &in->gid) < 0)
        return -EINVAL;
    in->cwd = argv[3];
    s->tty = strcmp(argv[4], "t") == 0;
    in->command = argv + FN_EXEC_ARGS;
    in->env = environ;
    for (char **e = in->env; *e; e++)
        *e += strlen(FN_INIT_ENV_PREFIX);
    return 0;
}

/* Both have come through exec open; the command must not get them. The connection is the gateway's: it has been made non-blocking. */
static int take_descriptors(const struct session *s)
{
    if (fcntl(FN_EXEC_SOCKET_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(FN_EXEC_SOCKET_FD, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    if (!s->tty)
        return 0;
    if (fcntl(FN_EXEC_MASTER_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(FN_EXEC_SLAVE_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(FN_EXEC_MASTER_FD, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

/* Nothing runs, and nothing is sent, before the client has said that it has read the API's answer. */
static int await_start(struct session *s, unsigned *ret_rows, unsigned *ret_cols)
{
    struct exec_frame f;
    int used;

    while ((used = exec_frame_parse(EXEC_FROM_CLIENT, s->from, s->from_len, &f)) == 0) {
        struct pollfd p = {.fd = FN_EXEC_SOCKET_FD, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, -1) < 0)
            return -errno;
        n = read(FN_EXEC_SOCKET_FD, s->from + s->from_len, sizeof(s->from) - s->from_len);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return -ECONNRESET;
        s->from_len += n > 0 ? (size_t)n : 0;
    }
    if (used < 0 || f.type != EXEC_START)
        return -EPROTO;
    exec_read_size(&f, ret_rows, ret_cols);
    s->from_len -= (size_t)used;
    memmove(s->from, s->from + used, s->from_len);
    return 0;
}

struct ends { /* of the command: its side first */
    int in[2], out[2], err[2], status[2];
};

/* As fn-init does it: under the function's effective ids, since /dev/stdout is opened through the pipe's inode. */
static int make_pipes(struct session *s, struct ends *e)
{
    int r = init_ids_effective(s->in.uid, s->in.gid, &s->in.key);

    if (r == 0 && pipe2(e->status, O_CLOEXEC) < 0)
        r = -errno;
    if (r == 0 && !s->tty && (pipe2(e->in, O_CLOEXEC) < 0 || pipe2(e->out, O_CLOEXEC) < 0 || pipe2(e->err, O_CLOEXEC) < 0))
        r = -errno;
    if (init_ids_effective(FN_INIT_ID, FN_INIT_ID, &s->in.key) < 0)
        return -errno;
    return r;
}

/* Everything but the three goes before the function's ids come. A process that has them, and its memory, are open to the function. */
static int command_become(const struct session *s, const struct ends *e, enum init_step *ret_step)
{
    const struct init *in = &s->in;
    const int fds[] = {s->tty ? FN_EXEC_SLAVE_FD : e->in[0], s->tty ? FN_EXEC_SLAVE_FD : e->out[1], s->tty ? FN_EXEC_SLAVE_FD : e->err[1]};

    *ret_step = INIT_STEP_STDIO;
    if (setsid() < 0)
        return errno;
    for (int i = 0; i < 3; i++)
        if (dup2(fds[i], i) < 0) /* no CLOEXEC: the command's */
            return errno;
    if (dup3(e->status[1], STDERR_FILENO + 1, O_CLOEXEC) < 0 || close_range(STDERR_FILENO + 2, ~0U, 0) < 0)
        return errno;
    *ret_step = INIT_STEP_IDS;
    if (setresgid(in->gid, in->gid, in->gid) < 0 || setresuid(in->uid, in->uid, in->uid) < 0)
        return errno;
    if (s->tty && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        return errno;
    return init_exec_program(in, ret_step);
}

static void command_run(const struct session *s, const struct ends *e) __attribute__((noreturn));

static void command_run(const struct session *s, const struct ends *e)
{
    enum init_step step = INIT_STEP_STDIO;
    struct init_failure f = {.err = command_become(s, e, &step)};

    f.step = (uint32_t)step;
    if (write(STDERR_FILENO + 1, &f, sizeof(f)) < 0)
        _exit(FN_INIT_EXEC_FAILED - 1);
    _exit(FN_INIT_EXEC_FAILED);
}

static const uint8_t steps[INIT_STEP_COUNT] = {
    [INIT_STEP_IDS] = EXEC_STEP_START,    [INIT_STEP_STDIO] = EXEC_STEP_START, [INIT_STEP_CWD] = EXEC_STEP_CWD,
    [INIT_STEP_FILTER] = EXEC_STEP_START, [INIT_STEP_EXEC] = EXEC_STEP_EXEC,   [INIT_STEP_NO_INTERPRETER] = EXEC_STEP_INTERPRETER,
};

static void session_failed(struct session *s, enum exec_step step, int err)
{
    s->failed = (struct exec_exit){.end = EXEC_END_FAILED, .step = (uint8_t)step, .value = (uint16_t)err};
}

/* Waits for the exec, so that the first signal that comes meets the command and not our copy. */
static void command_await(struct session *s, const struct ends *e)
{
    struct init_failure f;

    close(e->status[1]);
    if (read(e->status[0], &f, sizeof(f)) == (ssize_t)sizeof(f))
        session_failed(s, f.step < INIT_STEP_COUNT ? steps[f.step] : EXEC_STEP_START, f.err);
    close(e->status[0]);
}

static int keep_own_ends(struct session *s, const struct ends *e)
{
    if (s->tty) {
        close(FN_EXEC_SLAVE_FD);
        s->master_fd = s->in_fd = s->out_fds[0] = FN_EXEC_MASTER_FD;
        return 0;
    }
    close(e->in[0]);
    close(e->out[1]);
    close(e->err[1]);
    s->in_fd = e->in[1];
    s->out_fds[0] = e->out[0];
    s->out_fds[1] = e->err[0];
    return fcntl(s->in_fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(s->out_fds[0], F_SETFL, O_NONBLOCK) < 0 || fcntl(s->out_fds[1], F_SETFL, O_NONBLOCK) < 0 ? -errno
                                                                                                                                                      : 0;
}

static int session_start(struct session *s)
{
    struct ends e = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    sigset_t chld;
    int r = make_pipes(s, &e);

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (r == 0) {
        s->signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
        r = s->signal_fd < 0 ? -errno : 0;
    }
    if (r < 0)
        return r;
    s->command = fork();
    if (s->command == 0)
        command_run(s, &e);
    if (s->command < 0) {
        session_failed(s, EXEC_STEP_FORK, errno);
        s->ended = true;
        close(e.status[1]);
    } else {
        command_await(s, &e);
    }
    return keep_own_ends(s, &e);
}

void session_main(int argc, char **argv)
{
    struct session s = {.socket_fd = FN_EXEC_SOCKET_FD, .signal_fd = -1, .in_fd = -1, .out_fds = {-1, -1}, .master_fd = -1, .left = DRAIN_MAX};
    unsigned rows = 0, cols = 0;
    int r;

    prctl(PR_SET_NAME, FN_EXEC_NAME);
    if (parse_arguments(&s, argc, argv) < 0 || take_descriptors(&s) < 0)
        _exit(FN_INIT_EXEC_FAILED);
    if (init_ids_take(s.in.uid, s.in.gid) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        _exit(FN_INIT_EXEC_FAILED);
    if (await_start(&s, &rows, &cols) < 0)
        _exit(FN_INIT_EXEC_FAILED);
    if (s.tty && rows && cols) {
        const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};

        ioctl(FN_EXEC_MASTER_FD, TIOCSWINSZ, &size);
    }
    r = session_start(&s);
    if (r == 0)
        r = init_filter_session();
    if (r < 0) {
        session_failed(&s, EXEC_STEP_START, -r);
        if (s.command > 0)
            kill(s.command, SIGKILL);
        s.ended = true;
    }
    session_loop(&s);
    _exit(0);
}
