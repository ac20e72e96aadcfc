/*
 * session_loop.c: the life of a relay while its command runs: one buffer each way, nothing is read that there is no room for, so whoever is slow slows down the other and nobody else.
 *
 * Input has a window (EXEC_WINDOW bytes that the client was not told of): the buffer always takes what the client may send, so frames behind it (a signal, a new size) never wait for a command that does not read.
 * The client's end is a hang-up: SIGHUP to the command's process group and to the one in the terminal's foreground, SIGKILL after a grace. When the command has ended first, what is left in its pipes is copied,
 * bounded, then EXIT. Processes that it leaves behind stay, as those of a shell would, within the instance's limits.
 */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define GRACE_NS  (2 * UINT64_C(1000000000))
#define END_INPUT "\x04" /* what a terminal has for an end */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Not once the command has been reaped: the number may be somebody else's. */
static void command_signal(const struct session *s, int sig)
{
    pid_t front = -1;

    if (s->ended)
        return;
    if (s->master_fd >= 0 && ioctl(s->master_fd, TIOCGPGRP, &front) == 0 && front > 1 && front != s->command)
        kill(-front, sig);
    kill(-s->command, sig);
}

static void close_input(struct session *s)
{
    if (s->in_fd >= 0 && s->in_fd != s->master_fd)
        close(s->in_fd);
    s->in_fd = -1;
}

static void close_output(struct session *s, int i)
{
    if (s->out_fds[i] >= 0 && s->out_fds[i] != s->master_fd)
        close(s->out_fds[i]);
    s->out_fds[i] = -1;
}

/* The master stays open until the process ends: its close is the kernel's own SIGHUP, which may meet only those who are left. */
static void hang_up(struct session *s)
{
    if (s->gone)
        return;
    s->gone = true;
    s->kill_ns = now_ns() + GRACE_NS;
    close_input(s);
    close_output(s, 0);
    close_output(s, 1);
    command_signal(s, SIGHUP);
    command_signal(s, SIGCONT);
}

/* ---- from the client ---- */

static int take_input(struct session *s, const struct exec_frame *f)
{
    if (s->in_over || f->len > sizeof(s->input) - s->in_len)
        return -EPROTO;
    if (f->len == 0)
        s->in_over = true;
    if (s->in_at + s->in_len + f->len > sizeof(s->input)) {
        memmove(s->input, s->input + s->in_at, s->in_len);
        s->in_at = 0;
    }
    memcpy(s->input + s->in_at + s->in_len, f->payload, f->len);
    s->in_len += f->len;
    return 0;
}

static int on_frame(struct session *s, const struct exec_frame *f)
{
    unsigned rows, cols;

    switch (f->type) {
    case EXEC_STDIN:
        return take_input(s, f);
    case EXEC_SIZE:
        exec_read_size(f, &rows, &cols);
        if (s->master_fd >= 0 && rows && cols) {
            const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};

            ioctl(s->master_fd, TIOCSWINSZ, &size); /* the kernel tells the foreground by SIGWINCH */
        }
        return 0;
    case EXEC_SIGNAL:
        if (f->payload[0] < 1 || f->payload[0] >= NSIG)
            return -EPROTO;
        command_signal(s, f->payload[0]);
        return 0;
    default:
        return -EPROTO; /* START comes once */
    }
}

int session_receive(struct session *s)
{
    size_t at = 0;
    int r;

    do {
        struct exec_frame f;

        r = exec_frame_parse(EXEC_FROM_CLIENT, s->from + at, s->from_len - at, &f);
        if (r > 0) {
            at += (size_t)r;
            r = on_frame(s, &f) < 0 ? -EPROTO : 1;
        }
    } while (r > 0);
    s->from_len -= at;
    memmove(s->from, s->from + at, s->from_len);
    return r;
}

static void read_socket(struct session *s)
{
    ssize_t n = read(s->socket_fd, s->from + s->from_len, sizeof(s->from) - s->from_len);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        s->from_len += (size_t)n;
    if (n <= 0 || session_receive(s) < 0)
        hang_up(s);
}

/* ---- to the command ---- */

/* What nobody will read is taken as well, so that the client goes on to its end. */
static void drop_input(struct session *s)
{
    s->taken += (uint32_t)s->in_len;
    s->in_at = s->in_len = 0;
    close_input(s);
}

static void write_input(struct session *s)
{
    ssize_t n;

    if (s->in_fd < 0) {
        drop_input(s);
        return;
    }
    if (s->in_len > 0) {
        n = write(s->in_fd, s->input + s->in_at, s->in_len);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            drop_input(s);
            return;
        }
        if (n > 0) {
            s->in_at += (size_t)n;
            s->in_len -= (size_t)n;
            s->taken += (uint32_t)n;
        }
    }
    if (s->in_len > 0 || !s->in_over)
        return;
    if (s->master_fd >= 0 && write(s->in_fd, END_INPUT, 1) < 0 && errno == EAGAIN)
        return;
    close_input(s);
}

/* ---- to the client ---- */

static void write_socket(struct session *s)
{
    ssize_t n = write(s->socket_fd, s->to + s->to_at, s->to_len - s->to_at);

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        hang_up(s);
    if (n > 0)
        s->to_at += (size_t)n;
}

/* One frame of it. EIO is how a terminal says that nobody has it open any more. */
static void read_output(struct session *s, int i)
{
    ssize_t n = read(s->out_fds[i], s->to + EXEC_HEAD, EXEC_DATA_MAX);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_output(s, i);
        return;
    }
    exec_frame_head(s->to, i ? EXEC_STDERR : EXEC_STDOUT, (size_t)n);
    s->to_at = 0;
    s->to_len = EXEC_HEAD + (size_t)n;
    if (s->ended)
        s->left = s->left > (size_t)n ? s->left - (size_t)n : 0;
}

static struct exec_exit how_it_ended(const struct session *s)
{
    if (s->failed.end == EXEC_END_FAILED)
        return s->failed;
    if (WIFSIGNALED(s->status))
        return (struct exec_exit){.end = EXEC_END_SIGNAL, .value = (uint16_t)WTERMSIG(s->status)};
    return (struct exec_exit){.end = EXEC_END_EXITED, .value = (uint16_t)WEXITSTATUS(s->status)};
}

/* The next frame, when the last one is out: what was taken, what the command wrote, and when it has ended and wrote no more, that. */
static void next_frame(struct session *s, bool out0, bool out1)
{
    s->to_at = s->to_len = 0;
    if (s->taken) {
        s->to_len = exec_frame_taken(s->to, s->taken);
        s->taken = 0;
        return;
    }
    if (out0 || s->ended)
        for (int i = 0; i < 2 && s->to_len == 0 && s->left > 0; i++)
            if (s->out_fds[i] >= 0)
                read_output(s, i);
    if (out1 && s->to_len == 0 && s->out_fds[1] >= 0 && s->left > 0)
        read_output(s, 1);
    if (s->to_len == 0 && s->ended) {
        const struct exec_exit e = how_it_ended(s);

        s->to_len = exec_frame_exit(s->to, &e);
        s->said = true;
    }
}

/* ---- the loop ---- */

static void on_signals(struct session *s)
{
    struct signalfd_siginfo si;
    int status;
    pid_t pid;

    while (read(s->signal_fd, &si, sizeof(si)) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == s->command) {
            s->status = status;
            s->ended = true;
        }
}

static int timeout_ms(const struct session *s, bool idle)
{
    uint64_t now;

    if (!s->gone)
        return s->ended && idle ? 0 : -1;
    now = now_ns();
    return now >= s->kill_ns ? 0 : (int)((s->kill_ns - now) / 1000000) + 1;
}

enum { TURN_SIGNAL, TURN_SOCKET, TURN_INPUT, TURN_OUT, TURN_ERR, TURN_COUNT };

/* A descriptor that nothing is wanted of is left out: its hang-up would wake us for nothing, again and again. */
static void turn(struct session *s)
{
    const bool idle = s->to_at == s->to_len;
    struct pollfd p[TURN_COUNT] = {
        [TURN_SIGNAL] = {.fd = s->signal_fd, .events = POLLIN},
        [TURN_SOCKET] = {.fd = s->gone ? -1 : s->socket_fd, .events = (short)(POLLIN | (idle ? 0 : POLLOUT))},
        [TURN_INPUT] = {.fd = s->in_len > 0 || s->in_over ? s->in_fd : -1, .events = POLLOUT},
        [TURN_OUT] = {.fd = idle ? s->out_fds[0] : -1, .events = POLLIN},
        [TURN_ERR] = {.fd = idle ? s->out_fds[1] : -1, .events = POLLIN},
    };

    if (poll(p, TURN_COUNT, timeout_ms(s, idle)) < 0)
        return;
    if (p[TURN_SIGNAL].revents)
        on_signals(s);
    if (p[TURN_SOCKET].revents & (POLLIN | POLLHUP | POLLERR))
        read_socket(s);
    if (s->gone)
        return;
    if (p[TURN_INPUT].revents || (s->in_fd < 0 && s->in_len > 0))
        write_input(s);
    if (!idle && (p[TURN_SOCKET].revents & POLLOUT))
        write_socket(s);
    if (s->to_at == s->to_len && !s->said)
        next_frame(s, p[TURN_OUT].revents != 0, p[TURN_ERR].revents != 0);
}

void session_loop(struct session *s)
{
    if (session_receive(s) < 0) /* what came behind START */
        hang_up(s);
    while (!(s->gone && s->ended) && !(s->said && s->to_at == s->to_len)) {
        turn(s);
        if (s->gone && !s->ended && now_ns() >= s->kill_ns)
            command_signal(s, SIGKILL);
    }
}
