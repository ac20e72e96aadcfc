/*
 * ctl_session.c: the client's side of `fnctl exec`: bytes, terminal, signals, until the command has ended (execframe.h).
 *
 * The terminal is raw from START on and set back on every way out of here; signals come by a descriptor, so that none ends the process in between. With a terminal the keys that make signals go through as bytes, and
 * a signal to fnctl itself is for fnctl: it leaves, and the relay ends the command. Without one, signals are passed on; whoever sends three that the command survives gets his fnctl ended.
 */
#include "ctl.h"

#include "execframe.h"
#include "fd.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>

#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND      127
#define EXIT_SIGNAL         128
#define ASK_MAX             3

struct client {
    const struct exec_call *call;
    bool raw, in_open, done;
    struct termios before;
    int signal_fd, asked, code;
    uint32_t window; /* bytes of input that may be sent */
    int out_fd;      /* of the payload that is being written, -1: none */
    const uint8_t *out;
    size_t out_len, used; /* used: of from, by that frame */
    size_t from_len, to_at, to_len;
    uint8_t from[EXEC_FRAME_MAX], to[2 * EXEC_FRAME_MAX];
};

static void leave(struct client *c, int code)
{
    c->done = true;
    c->code = code;
}

/* ---- the terminal ---- */

static void terminal_raw(struct client *c)
{
    struct termios raw;

    if (!c->call->tty || !c->call->interactive || tcgetattr(STDIN_FILENO, &raw) < 0)
        return;
    if (!c->raw)
        c->before = raw;
    cfmakeraw(&raw);
    c->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0 || c->raw;
}

static void terminal_restore(struct client *c)
{
    if (c->raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &c->before);
    c->raw = false;
}

static void put_size(struct client *c, enum exec_type type)
{
    struct winsize size = {0};

    if (c->call->tty && (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row))
        ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    if (!size.ws_row || !size.ws_col)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    if (c->to_len + EXEC_HEAD + 4 <= sizeof(c->to))
        c->to_len += exec_frame_size(c->to + c->to_len, type, size.ws_row, size.ws_col);
}

/* ---- signals ---- */

static int open_signals(sigset_t *ret_before)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTTOU};
    sigset_t set;
    int fd;

    sigemptyset(&set);
    for (size_t i = 0; i < CTL_COUNT(signals); i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, ret_before);
    sigdelset(&set, SIGTTOU); /* blocked alone: setting the terminal from the background must not stop us */
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static void on_signal(struct client *c)
{
    struct signalfd_siginfo si;
    int sig;

    if (read(c->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
        return;
    sig = (int)si.ssi_signo;
    if (sig == SIGWINCH || sig == SIGCONT) {
        if (sig == SIGCONT && c->raw)
            terminal_raw(c);
        if (c->call->tty)
            put_size(c, EXEC_SIZE);
        return;
    }
    if (c->call->tty || (sig != SIGUSR1 && sig != SIGUSR2 && ++c->asked > ASK_MAX))
        leave(c, EXIT_SIGNAL + sig);
    else if (c->to_len + EXEC_HEAD + 1 <= sizeof(c->to))
        c->to_len += exec_frame_signal(c->to + c->to_len, sig);
}

/* ---- the end ---- */

static int on_failed(const struct exec_call *call, const struct exec_exit *e)
{
    const char *name = call->argv[0], *why = strerror(e->value);

    if (e->step == EXEC_STEP_FORK && e->value == EAGAIN)
        return ctl_fail(EXIT_NOT_EXECUTABLE, "%s: no further process can be started in it: its limit ([limits] pids) is reached", call->chosen);
    if (e->step == EXEC_STEP_CWD)
        return ctl_fail(EXIT_NOT_EXECUTABLE, "%s: the function's working directory cannot be entered: %s", call->chosen, why);
    if (e->step == EXEC_STEP_INTERPRETER)
        return ctl_fail(EXIT_NOT_EXECUTABLE, "%s: its interpreter or loader is not in the image", name);
    if (e->step == EXEC_STEP_EXEC && e->value == ENOENT && call->shell)
        return ctl_fail(EXIT_NOT_FOUND, "%s has no shell: name a command that is in the image", call->function);
    if (e->step == EXEC_STEP_EXEC && e->value == ENOENT)
        return ctl_fail(EXIT_NOT_FOUND, "%s: not found in the image", name);
    if (e->step == EXEC_STEP_EXEC)
        return ctl_fail(EXIT_NOT_EXECUTABLE, "%s: cannot be executed: %s", name, why);
    return ctl_fail(EXIT_NOT_EXECUTABLE, "%s: the command could not be started: %s", call->chosen, why);
}

static int broken(struct client *c)
{
    leave(c, CTL_FAILED);
    terminal_restore(c);
    return ctl_fail(
        CTL_FAILED, "%s: what comes from the sandbox is not what fn-init sends: is the daemon of the same version (fnctl version), or has somebody in it broken the session?",
        c->call->chosen);
}

static void on_exit_frame(struct client *c, const struct exec_frame *f)
{
    struct exec_exit e;

    if (exec_read_exit(f, &e) < 0) {
        broken(c);
        return;
    }
    terminal_restore(c);
    leave(c, e.end == EXEC_END_EXITED ? e.value : e.end == EXEC_END_SIGNAL ? EXIT_SIGNAL + e.value : on_failed(c->call, &e));
}

static void on_lost(struct client *c)
{
    terminal_restore(c);
    leave(c, ctl_fail(EXIT_SIGNAL + SIGKILL, "%s has ended, or somebody in it has killed the session (fnctl status %s)", c->call->chosen, c->call->function));
}

/* ---- bytes ---- */

static void forget_frame(struct client *c, size_t used)
{
    c->from_len -= used;
    memmove(c->from, c->from + used, c->from_len);
}

/* Takes frames until one has output, which stays where it is until it is written. */
static void parse(struct client *c)
{
    while (!c->done && c->out_fd < 0) {
        struct exec_frame f;
        int used = exec_frame_parse(EXEC_FROM_RELAY, c->from, c->from_len, &f);

        if (used == 0)
            return;
        if (used < 0) {
            broken(c);
            return;
        }
        if (f.type == EXEC_STDOUT || f.type == EXEC_STDERR) {
            c->out_fd = f.type == EXEC_STDOUT ? STDOUT_FILENO : STDERR_FILENO;
            c->out = f.payload;
            c->out_len = f.len;
            c->used = (size_t)used;
            return;
        }
        if (f.type == EXEC_TAKEN) {
            const uint32_t n = exec_read_taken(&f);

            if (n > EXEC_WINDOW - c->window) {
                broken(c);
                return;
            }
            c->window += n;
        } else {
            on_exit_frame(c, &f);
        }
        forget_frame(c, (size_t)used);
    }
}

static void read_socket(struct client *c)
{
    ssize_t n = recv(c->call->sock, c->from + c->from_len, sizeof(c->from) - c->from_len, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        on_lost(c);
        return;
    }
    c->from_len += (size_t)n;
    parse(c);
}

/* What has become of what we send, the receiving side tells. */
static void write_socket(struct client *c)
{
    ssize_t n = send(c->call->sock, c->to + c->to_at, c->to_len - c->to_at, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0)
        c->to_at += (size_t)n;
    else if (errno != EAGAIN && errno != EINTR)
        c->to_at = c->to_len;
    if (c->to_at == c->to_len)
        c->to_at = c->to_len = 0;
}

/* No more than a pipe that is ready for writing takes without blocking: pipe(7). */
static void write_output(struct client *c)
{
    ssize_t n = write(c->out_fd, c->out, c->out_len < PIPE_BUF ? c->out_len : PIPE_BUF);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        const int err = errno;

        terminal_restore(c);
        leave(c, ctl_fail(CTL_FAILED, "standard %s: %s", c->out_fd == STDOUT_FILENO ? "output" : "error", strerror(err)));
        return;
    }
    c->out += n;
    c->out_len -= (size_t)n;
    if (c->out_len > 0)
        return;
    c->out_fd = -1;
    forget_frame(c, c->used);
    parse(c);
}

static void read_input(struct client *c)
{
    const size_t room = c->window < EXEC_DATA_MAX ? c->window : EXEC_DATA_MAX;
    ssize_t n = read(STDIN_FILENO, c->to + EXEC_HEAD, room);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        n = 0;
        c->in_open = false;
    }
    c->window -= (uint32_t)n;
    exec_frame_head(c->to, EXEC_STDIN, (size_t)n);
    c->to_at = 0;
    c->to_len = EXEC_HEAD + (size_t)n;
}

enum { TURN_SIGNAL, TURN_SOCKET, TURN_INPUT, TURN_OUTPUT, TURN_COUNT };

static void turn(struct client *c)
{
    struct pollfd p[TURN_COUNT] = {
        [TURN_SIGNAL] = {.fd = c->signal_fd, .events = POLLIN},
        [TURN_SOCKET] = {.fd = c->out_fd < 0 || c->to_len ? c->call->sock : -1, .events = (short)((c->out_fd < 0 ? POLLIN : 0) | (c->to_len ? POLLOUT : 0))},
        [TURN_INPUT] = {.fd = c->in_open && !c->to_len && c->window ? STDIN_FILENO : -1, .events = POLLIN},
        [TURN_OUTPUT] = {.fd = c->out_fd, .events = POLLOUT},
    };

    if (poll(p, TURN_COUNT, -1) < 0)
        return;
    if (p[TURN_SIGNAL].revents)
        on_signal(c);
    if (c->to_len && p[TURN_SOCKET].revents)
        write_socket(c);
    if (p[TURN_OUTPUT].revents)
        write_output(c);
    else if (c->out_fd < 0 && (p[TURN_SOCKET].revents & (POLLIN | POLLHUP | POLLERR)))
        read_socket(c);
    if (p[TURN_INPUT].revents && !c->to_len && !c->done)
        read_input(c);
}

int ctl_session(const struct exec_call *call)
{
    struct client c = {.call = call, .in_open = call->interactive, .window = EXEC_WINDOW, .out_fd = -1};
    sigset_t before;

    c.signal_fd = open_signals(&before);
    if (c.signal_fd < 0)
        return ctl_fail(CTL_FAILED, "signals: %s", strerror(-c.signal_fd));
    terminal_raw(&c);
    put_size(&c, EXEC_START);
    if (!c.in_open) {
        exec_frame_head(c.to + c.to_len, EXEC_STDIN, 0);
        c.to_len += EXEC_HEAD;
    }
    while (!c.done)
        turn(&c);
    terminal_restore(&c);
    fd_close(c.signal_fd);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return c.code;
}
