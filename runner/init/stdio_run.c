/*
 * stdio_run.c: one invocation: pipes, birth, output, death.
 *
 * It has ended when its process is reaped. What else is in its group then (children in the background, a daemon that kept the pipe) is killed, and what is in the pipe by then is the rest of the answer: nobody waits for
 * a pipe that another process holds open. Pipes are never used twice: a process may have handed its end to another one.
 */
#include "stdio_server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAKE_NS UINT64_C(5000000000) /* so long may a client take over what is left of a broken answer */

static void close_ends(const struct stdio_pipes *e)
{
    const int fds[] = {e->in[0], e->in[1], e->out[0], e->out[1]};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Under the function's effective ids: /dev/stdin and /dev/stdout are opened through the pipes' inodes. Its ends block, as it expects; ours do not (two ends are two descriptions). */
static int make_pair(struct stdio_pipes *e)
{
    *e = (struct stdio_pipes){{-1, -1}, {-1, -1}};
    if (pipe2(e->out, O_CLOEXEC) == 0 && pipe2(e->in, O_CLOEXEC) == 0 && fcntl(e->out[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(e->in[1], F_SETFL, O_NONBLOCK) == 0)
        return 0;
    const int err = errno;

    close_ends(e);
    return -err;
}

/* So many pairs. */
static int make_pipes(struct stdio *s, unsigned n)
{
    int r = stdio_ids(s, true);

    while (r == 0 && s->npipes < n) {
        r = make_pair(&s->pipes[s->npipes]);
        s->npipes += r == 0;
    }
    if (stdio_ids(s, false) < 0)
        return -errno;
    return r;
}

/* What goes wrong here goes wrong once more when it matters. */
void stdio_run_prepare(struct stdio *s)
{
    if (s->npipes == 0 && !s->draining)
        (void)make_pipes(s, STDIO_PIPES);
}

static int take_pipes(struct stdio *s, struct stdio_pipes *ret)
{
    const int r = s->npipes > 0 ? 0 : make_pipes(s, 1);

    if (s->npipes == 0)
        return r;
    *ret = s->pipes[--s->npipes];
    return 0;
}

static int make_vars(struct stdio *s, const struct stdio_conn *c)
{
    struct stdio_vars v = {.list = s->env, .count = s->base_env, .max = STDIO_ENV_MAX, .text = s->text, .size = sizeof(s->text)};

    s->env[s->base_env] = NULL;
    return s->set.cgi_headers ? stdio_vars_make(&v, &c->req) : 0;
}

/* 0; -EAGAIN: later, there is no room for one more process; or what else is wrong, the exec too, with its step in `child`. */
static int invoke(struct stdio *s, struct stdio_conn *c, struct stdio_child *child)
{
    struct stdio_pipes e = {{-1, -1}, {-1, -1}};
    struct init in = s->in;
    int r = make_vars(s, c);

    in.env = s->env;
    if (r == 0)
        r = take_pipes(s, &e);
    if (r == 0)
        r = stdio_group_take(&s->groups, &c->group);
    if (r == 0) {
        *child = (struct stdio_child){
            .in = &in, .in_fd = c->body_fd >= 0 ? c->body_fd : e.in[0], .out_fd = e.out[1], .err_fd = s->set.combine_output ? e.out[1] : s->err_write_fd};
        c->pid = stdio_spawn(child, c->group.dir_fd, s->stack, STDIO_STACK_SIZE);
        r = c->pid < 0 ? c->pid : 0;
        if (r < 0)
            stdio_group_give(&s->groups, &c->group, false);
    }
    if (r < 0) {
        close_ends(&e);
        return r;
    }
    if (c->body_fd < 0) {
        c->in_fd = e.in[1];
        e.in[1] = -1;
    }
    c->out_fd = e.out[0];
    e.out[0] = -1;
    close_ends(&e);
    c->started = true;
    s->running++;
    return -child->err;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_deadline(struct stdio *s, struct stdio_conn *c)
{
    const struct stdio_text *shorter = stdio_head_field(&c->req, "X-Timeout");
    uint64_t ns = s->set.exec_timeout_ns ? s->set.exec_timeout_ns : STDIO_NEVER, asked;

    if (shorter && watchdog_duration(shorter->at, shorter->len, &asked) == 0 && asked > 0)
        ns = sooner(ns, asked);
    c->exec_at = ns == STDIO_NEVER ? ns : s->now_ns + ns;
}

static void say_failed(struct stdio *s, struct stdio_conn *c, const struct stdio_child *child, int err)
{
    const char *error = child->err && child->step == INIT_STEP_NO_INTERPRETER ? "its interpreter or loader is not in the image" : strerrordesc_np(err);
    char text[512] = "";

    init_puts(text, sizeof(text), child->err ? "cannot execute " : "cannot start ");
    init_puts(text, sizeof(text) - 80, s->in.command[0]);
    init_puts(init_puts(init_puts(text, sizeof(text), ": "), sizeof(text), error ? error : "unknown error"), sizeof(text), "\n");
    stdio_log(s, text);
    stdio_answer(s, c, 500, text);
}

/* The process that could not execute is a process all the same: it is reaped, and its group is used again, but its end is not the answer. */
static void failed(struct stdio *s, struct stdio_conn *c, const struct stdio_child *child, int err)
{
    int status;

    s->inflight--;
    if (c->started) {
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
            ;
        c->started = false;
        s->running--;
        stdio_group_give(&s->groups, &c->group, !stdio_group_empty(&c->group));
        if (c->in_fd >= 0)
            close(c->in_fd);
        close(c->out_fd);
        c->in_fd = c->out_fd = -1;
    }
    stdio_files_close(s, c);
    say_failed(s, c, child, err);
}

void stdio_run_start(struct stdio *s, struct stdio_conn *c)
{
    struct stdio_child child = {0};
    int r = invoke(s, c, &child);

    if ((r == -EAGAIN || r == -ENOMEM || r == -EMFILE || r == -ENFILE) && !c->started && s->running > 0) {
        c->state = STDIO_WAIT; /* until one of the others has ended */
        return;
    }
    if (r < 0) {
        failed(s, c, &child, -r);
        return;
    }
    stdio_log(s, "Forking fprocess.\n");
    c->state = STDIO_RUN;
    set_deadline(s, c);
    stdio_body_feed(s, c);
}

void stdio_run_waiting(struct stdio *s)
{
    for (;;) {
        struct stdio_conn *first = NULL;

        for (unsigned i = 0; i < s->nlive; i++)
            if (stdio_live(s, i)->state == STDIO_WAIT && (!first || stdio_live(s, i)->number < first->number))
                first = stdio_live(s, i);
        if (!first)
            return;
        stdio_run_start(s, first);
        if (first->state == STDIO_WAIT)
            return;
    }
}

/* Alone it is the process group that the process began: its number is not given to another while one of it is left. */
static void kill_all(const struct stdio *s, const struct stdio_conn *c)
{
    if (s->alone)
        kill(-c->pid, SIGKILL);
    else
        stdio_group_kill(&c->group);
}

void stdio_run_kill(struct stdio *s, struct stdio_conn *c, enum stdio_end why)
{
    if (c->end == STDIO_END_NONE) {
        c->end = why;
        c->write_at = s->now_ns + TAKE_NS;
    }
    if (c->started && !c->killed) {
        c->killed = true;
        kill_all(s, c);
    }
}

/* ---- output ---- */

/* `out` is full: what does not fit is put aside, or the answer begins. False: no more can be taken now. */
static bool make_room(struct stdio *s, struct stdio_conn *c)
{
    ssize_t n;

    if (c->end != STDIO_END_NONE) {
        c->out_len = 0; /* of a killed one nothing is wanted */
        return true;
    }
    if (s->set.mode != WATCHDOG_SERIALIZING) {
        stdio_answer_begin(s, c);
        stdio_answer_piece(c, c->out_len);
        stdio_answer_flush(s, c);
        return c->fd >= 0 && !stdio_answer_pending(c);
    }
    if (c->spool_fd < 0)
        c->spool_fd = memfd_create("stdout", MFD_CLOEXEC);
    n = s->spool_used + c->out_len > s->spool_max ? -1 : pwrite(c->spool_fd, c->out, c->out_len, (off_t)c->spooled);
    if (n != (ssize_t)c->out_len) {
        stdio_run_kill(s, c, STDIO_END_LARGE);
        c->out_len = 0;
        return true;
    }
    c->spooled += c->out_len;
    s->spool_used += c->out_len;
    c->out_len = 0;
    return true;
}

void stdio_run_over(struct stdio *s, struct stdio_conn *c)
{
    if (c->in_fd >= 0)
        close(c->in_fd);
    if (c->out_fd >= 0)
        close(c->out_fd);
    c->in_fd = c->out_fd = -1;
    s->inflight--;
    stdio_log_errors(s);
    stdio_log_wrote(s, c);
}

static void over(struct stdio *s, struct stdio_conn *c)
{
    if (c->spooled > 0 && c->out_len > 0)
        (void)make_room(s, c); /* all of it in one place */
    stdio_run_over(s, c);
    stdio_answer_result(s, c);
}

/* Bytes read; 0: there are none now; -1: the pipe has ended. *ret_all: it is empty now. */
static ssize_t take_output(struct stdio *s, struct stdio_conn *c, bool *ret_all)
{
    const bool behind = !c->begun; /* more may be there already */
    char *at = c->out + (behind ? c->out_len : 0);
    const size_t room = sizeof(c->out) - (size_t)(at - c->out);
    ssize_t n;

    do
        n = read(c->out_fd, at, room);
    while (n < 0 && errno == EINTR);
    *ret_all = n < (ssize_t)room;
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        return -1;
    c->written += (uint64_t)n;
    if (s->set.write_debug)
        stdio_log_flush(s);
    if (s->set.write_debug)
        stdio_log_bytes(s, at, (size_t)n);
    if (behind)
        c->out_len += (size_t)n;
    c->wide |= (size_t)n > STDIO_TRIM || c->out_len > STDIO_TRIM;
    return n;
}

void stdio_run_output(struct stdio *s, struct stdio_conn *c)
{
    for (int turns = 0; c->state == STDIO_RUN && c->out_fd >= 0 && turns < 16; turns++) {
        ssize_t n;
        bool all;

        if (c->begun ? stdio_answer_pending(c) : c->out_len == sizeof(c->out) && !make_room(s, c))
            return; /* comes back when that is out */
        n = take_output(s, c, &all);
        if (n < 0) {
            close(c->out_fd);
            c->out_fd = -1;
        }
        if (n > 0 && !c->begun && s->set.mode == WATCHDOG_STREAMING && c->end == STDIO_END_NONE && !c->ended)
            (void)make_room(s, c);
        else if (n > 0 && c->begun) {
            stdio_answer_piece(c, (size_t)n);
            stdio_answer_flush(s, c);
        }
        if (n == 0 && c->ended) {
            over(s, c);
            return;
        }
        if (n >= 0 && all && !c->ended)
            return;
    }
    if (c->state == STDIO_RUN && c->out_fd < 0 && c->ended && !stdio_answer_pending(c))
        over(s, c);
}

/* ---- the end ---- */

static void ended(struct stdio *s, struct stdio_conn *c, int status)
{
    c->started = false;
    c->ended = true;
    c->status = status;
    s->running--;
    if (s->alone || (!c->killed && !stdio_group_empty(&c->group))) {
        c->killed = true;
        kill_all(s, c);
    }
    stdio_group_give(&s->groups, &c->group, c->killed);
    if (c->fd < 0)
        stdio_conn_close(s, c);
    else
        stdio_run_output(s, c);
}

void stdio_run_reaped(struct stdio *s, pid_t pid, int status)
{
    for (unsigned i = 0; i < s->nlive; i++)
        if (stdio_live(s, i)->started && stdio_live(s, i)->pid == pid) {
            ended(s, stdio_live(s, i), status);
            return;
        }
}
