/*
 * api_upload.c: a request whose body is an archive, for the runner: it goes through a pipe to the runner, which gives it to the unpack jail. Nothing of it
 * is looked at or kept here. Knows nothing of what becomes of it.
 *
 * The pipe's write end never blocks: a full pipe pauses the client until EPOLLOUT. The read end is the runner's alone as soon as the request is sent, so
 * its reader's end shows as EPIPE, which is no error yet: an archive may be over before its last padding. What the runner says counts.
 *
 * An upload that fails while the client still sends: most clients read the answer only when they are through with sending, or see a broken pipe instead
 * when the connection is closed on them. So the rest of the body is taken and thrown away, within bounds of bytes and time, and then comes the answer.
 */
#include "api_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define PIPE_BYTES    (256 * 1024)
#define SWALLOW_BYTES (256ULL * 1024 * 1024)
#define SWALLOW_NS    (3 * NS_PER_SEC)

static void upload_end(struct upload *u, uint32_t complete)
{
    struct record_deploy_end rec = {.head = RECORD_INIT(RECORD_DEPLOY_END, u->id), .complete = complete};

    loop_unwatch(&u->watch);
    u->pipe_fd = fd_close(u->pipe_fd);
    if (u->id && !u->ended)
        link_send(worker_link(u->call->worker), &rec.head);
    u->ended = true;
}

/*
 * Whatever the way the call ended: an archive that did not arrive whole is given up. One that did is deployed, even if the client does not wait for the
 * outcome.
 */
static void upload_free(struct api_call *c)
{
    struct upload *u = c->state;

    upload_end(u, 0);
    if (u->id)
        link_forget(worker_link(c->worker), u->id);
    loop_disarm(&u->timer);
    free(u);
}

static void answer_failure(struct upload *u)
{
    api_fail(u->call, &u->failure);
}

static void on_swallowed_enough(struct timer *t)
{
    answer_failure(t->owner);
}

/* Ends the call at once if the body is over. The call may be gone afterwards. */
static void upload_fail(struct upload *u, const struct diag *d)
{
    bool paused = u->watch.loop;

    if (u->failure.err)
        return;
    u->failure = *d;
    upload_end(u, 0);
    u->timer.on_expire = on_swallowed_enough;
    if (u->body_over || loop_arm_in(worker_loop(u->call->worker), &u->timer, SWALLOW_NS) < 0)
        answer_failure(u);
    else if (paused)
        exchange_resume_body(u->call->ex);
}

static void upload_fail_set(struct upload *u, int err, const char *text)
{
    struct diag d;

    diag_set(&d, err, "%s", text);
    upload_fail(u, &d);
}

static void fail_too_large(struct upload *u)
{
    struct diag d;

    diag_set(&d, EFBIG, "the archive is larger than %llu bytes: raise gateway.max_archive", (unsigned long long)u->max_bytes);
    upload_fail(u, &d);
}

/* ---- the body ---- */

static void on_pipe(struct watch *w, uint32_t events)
{
    struct upload *u = w->owner;

    loop_unwatch(w);
    exchange_resume_body(u->call->ex);
}

/* Returns how much went away, less than len when the pipe is full. */
static size_t write_pipe(struct upload *u, const char *data, size_t len)
{
    ssize_t n;
    int err;

    do
        n = write(u->pipe_fd, data, len);
    while (n < 0 && errno == EINTR);
    err = errno;
    if (n < 0 && err != EAGAIN) { /* EPIPE: nobody reads any more */
        u->pipe_fd = fd_close(u->pipe_fd);
        return len;
    }
    n = n < 0 ? 0 : n;
    if ((size_t)n < len && loop_watch(worker_loop(u->call->worker), &u->watch, u->pipe_fd, EPOLLOUT, on_pipe, u) < 0) {
        upload_fail_set(u, ENOMEM, "not enough memory to wait for the pipe");
        return len;
    }
    return (size_t)n;
}

static size_t swallow(struct upload *u, size_t len)
{
    u->swallowed += len;
    if (u->swallowed > SWALLOW_BYTES)
        answer_failure(u);
    return len;
}

static size_t upload_body(struct exchange *ex, void *arg, const char *data, size_t len)
{
    struct upload *u = ((struct api_call *)arg)->state;
    size_t n = len;

    if (u->failure.err)
        return swallow(u, len);
    if (u->watch.loop) /* paused: it goes on when the pipe can be written */
        return 0;
    if (u->taken + len > u->max_bytes) {
        fail_too_large(u);
        return len;
    }
    /* Counted before: a failure inside may end the call. */
    u->taken += len;
    if (u->pipe_fd >= 0) {
        n = write_pipe(u, data, len);
        if (n < len)
            u->taken -= len - n;
    }
    return n;
}

static void upload_body_end(struct exchange *ex, void *arg)
{
    struct upload *u = ((struct api_call *)arg)->state;

    u->body_over = true;
    if (u->failure.err)
        answer_failure(u);
    else if (u->taken == 0)
        upload_fail_set(u, EINVAL, "the body is empty: it must be the archive");
    else
        upload_end(u, 1);
}

/* ---- the answer ---- */

/* What failed may be what a note is about. */
static void fail_noted(struct upload *u, const struct diag *d)
{
    struct diag with = *d;
    size_t len = strlen(with.text);

    if (u->call->text.len > 0)
        snprintf(with.text + len, sizeof(with.text) - len, " (%s)", u->call->text.data);
    for (char *p = with.text + len; *p; p++) /* each note ends its line */
        if (*p == '\n')
            *p = ';';
    upload_fail(u, &with);
}

static void on_reply(void *arg, const struct record_head *rec, int fd)
{
    struct upload *u = arg;
    const struct record_reply *reply = (const struct record_reply *)rec;

    if (rec->type == RECORD_TEXT && u->call->text.len == 0)
        strbuf_add(&u->call->text, ((const struct record_text *)rec)->text, ((const struct record_text *)rec)->len);
    if (rec->type != RECORD_REPLY)
        return;
    fd_close(fd);
    u->id = 0;
    if (u->failure.err)
        return; /* the answer is on its way already */
    if (reply->diag.err)
        fail_noted(u, &reply->diag);
    else if (!u->body_over)
        upload_fail_set(u, EIO, "the runner finished before the archive was complete");
    else
        u->on_done(u, reply);
}

/* ---- the request ---- */

/* Only our end is non-blocking: the two ends are two open file descriptions, and the reader may rely on waiting. */
static int open_pipe(int *ret_read_fd, int *ret_write_fd)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    if (fd_set_nonblock(fds[1], 1) < 0) {
        fd_close(fds[0]);
        fd_close(fds[1]);
        return -EIO;
    }
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* refused above the user's share of pipe memory: slower, no error */
    *ret_read_fd = fds[0];
    *ret_write_fd = fds[1];
    return 0;
}

int api_upload_send(struct upload *u, struct record_head *rec, struct diag *d)
{
    cleanup_fd int read_fd = -1;
    int r = open_pipe(&read_fd, &u->pipe_fd);

    if (r < 0)
        return diag_errno(d, -r, "pipe");
    r = link_request(worker_link(u->call->worker), rec, read_fd, on_reply, u, &u->id);
    return r < 0 ? diag_errno(d, -r, "the archive could not be offered to the runner") : 0;
}

void api_upload(struct api_call *c, struct upload *u, int (*request)(struct upload *u, struct diag *d))
{
    static const struct exchange_handler handler = {.on_body = upload_body, .on_body_end = upload_body_end, .on_abort = api_on_abort};
    int64_t len = exchange_request(c->ex)->body_bytes;
    struct diag d = {0};

    u->call = c;
    u->pipe_fd = -1;
    u->max_bytes = worker_picture(c->worker)->welcome.max_archive_bytes;
    u->timer.owner = u;
    c->state = u;
    c->free_state = upload_free;
    /* What the head alone tells is answered before a byte of the body was asked for (curl sends Expect: 100-continue). */
    if (len == 0)
        api_fail_set(c, EINVAL, "the body is empty: it must be the archive");
    else if (len > 0 && (uint64_t)len > u->max_bytes)
        api_fail_set(c, EFBIG, "the archive is larger than %llu bytes: raise gateway.max_archive", (unsigned long long)u->max_bytes);
    else if (request(u, &d) < 0)
        api_fail(c, &d);
    else
        exchange_handle(c->ex, &handler, c);
}
