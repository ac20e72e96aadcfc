/*
 * api_export.c: GET /functions/FN/export: a version as an image's archive. It comes out of a pipe, whose write end goes to the runner, which gives it to its jail; nothing of it is looked at or kept here.
 *
 * The answer begins with the first bytes: what fails before is an error like all others. What fails later cuts the answer off, and so does everything but a runner that says that all is written behind a pipe that is read to
 * its end. HEAD is answered at the first byte, so that it fails as GET does, and nothing more is packed. A client that is slow fills what waits for it, then the pipe, then the jail waits; one that goes away takes the pipe along, and the runner is told (DEPLOY_END).
 */
#include "api_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define PIPE_BYTES  (256 * 1024)
#define PIECE_BYTES (64U * 1024)
#define PIECES_TURN 4U
#define TAR_TYPE    "application/x-tar"

struct export_stream {
    struct api_call *call;
    uint64_t id; /* of the request, while the runner has not replied */
    int pipe_fd; /* read end; -1: read to its end */
    struct watch watch;
    bool head_only;         /* HEAD */
    bool begun, busy, dead; /* busy: it is being written to, which may report its end */
    struct diag diag;       /* of the reply */
};

static void export_free(struct api_call *c)
{
    struct export_stream *s = c->state;
    struct record_deploy_end rec = {.head = RECORD_INIT(RECORD_DEPLOY_END, s->id)};

    loop_unwatch(&s->watch);
    fd_close(s->pipe_fd);
    if (s->id) {
        link_send(worker_link(c->worker), &rec.head);
        link_forget(worker_link(c->worker), s->id);
    }
    free(s);
}

static void export_fail(struct export_stream *s, const struct diag *d)
{
    if (s->begun)
        exchange_cut(s->call->ex); /* the handler's on_abort ends the call */
    else
        api_fail(s->call, d);
}

/* Ends it if it is over; the call may be gone afterwards. */
static void export_look(struct export_stream *s)
{
    struct exchange *ex = s->call->ex;
    struct diag d = s->diag;

    if (s->id == 0 && d.err) {
        export_fail(s, &d);
        return;
    }
    if (s->id || s->pipe_fd >= 0)
        return;
    if (!s->begun) {
        diag_set(&d, EIO, "the runner wrote no archive");
        export_fail(s, &d);
        return;
    }
    api_call_free(s->call);
    exchange_end(ex);
}

static void on_pipe(struct watch *w, uint32_t events);

/* Where it cannot be waited for, the runner's clock ends it. */
static void export_wait(struct export_stream *s)
{
    if (!s->watch.loop && s->pipe_fd >= 0)
        (void)loop_watch(worker_loop(s->call->worker), &s->watch, s->pipe_fd, EPOLLIN, on_pipe, s);
}

/* Returns whether more may be written. */
static bool put(struct export_stream *s, const char *data, size_t len)
{
    bool more;

    s->busy = true;
    if (!s->begun)
        exchange_begin(s->call->ex, 200, TAR_TYPE);
    s->begun = true;
    more = exchange_write(s->call->ex, data, len) && !s->dead;
    s->busy = false;
    if (!s->dead && !more)
        loop_unwatch(&s->watch);
    if (s->dead)
        api_call_free(s->call);
    return more;
}

/* There is an archive: that is all that was asked for. Who writes it is ended with the pipe. */
static void answer_head(struct export_stream *s)
{
    struct exchange *ex = s->call->ex;

    exchange_begin(ex, 200, TAR_TYPE);
    api_call_free(s->call);
    exchange_end(ex);
}

static void on_pipe(struct watch *w, uint32_t events)
{
    struct export_stream *s = w->owner;
    char piece[PIECE_BYTES];

    for (unsigned i = 0; i < PIECES_TURN; i++) {
        ssize_t n = read(s->pipe_fd, piece, sizeof(piece));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            loop_unwatch(w);
            s->pipe_fd = fd_close(s->pipe_fd);
            export_look(s);
            return;
        }
        if (s->head_only) {
            answer_head(s);
            return;
        }
        if (!put(s, piece, (size_t)n))
            return;
    }
}

static void export_abort(struct exchange *ex, void *arg)
{
    struct export_stream *s = ((struct api_call *)arg)->state;

    s->dead = true;
    if (!s->busy)
        api_call_free(s->call);
}

static void export_drain(struct exchange *ex, void *arg)
{
    export_wait(((struct api_call *)arg)->state);
}

static void on_reply(void *arg, const struct record_head *rec, int fd)
{
    struct export_stream *s = arg;

    if (rec->type != RECORD_REPLY)
        return;
    fd_close(fd);
    s->id = 0;
    s->diag = ((const struct record_reply *)rec)->diag;
    export_look(s);
}

/* Only our end is non-blocking: the writer may rely on waiting. */
static int open_pipe(int *ret_read_fd, int *ret_write_fd)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    if (fd_set_nonblock(fds[0], 1) < 0) {
        fd_close(fds[0]);
        fd_close(fds[1]);
        return -EIO;
    }
    fcntl(fds[0], F_SETPIPE_SZ, PIPE_BYTES); /* refused above the user's share of pipe memory: slower, no error */
    *ret_read_fd = fds[0];
    *ret_write_fd = fds[1];
    return 0;
}

static int export_ask(struct export_stream *s, const struct fn_id *fn, uint32_t version, struct diag *d)
{
    struct record_export rec = {.head = RECORD_INIT(RECORD_EXPORT, 0), .fn = *fn, .version = version};
    cleanup_fd int write_fd = -1;
    int r = open_pipe(&s->pipe_fd, &write_fd);

    if (r < 0)
        return diag_errno(d, -r, "pipe");
    r = link_request(worker_link(s->call->worker), &rec.head, write_fd, on_reply, s, &s->id);
    return r < 0 ? diag_errno(d, -r, "the runner cannot be asked for an export") : 0;
}

void api_export(struct api_call *c)
{
    static const struct exchange_handler handler = {.on_drain = export_drain, .on_abort = export_abort};
    const char *text = query_get(&c->query, "version");
    const struct gw_function *f = api_call_function(c);
    struct export_stream *s;
    struct diag d = {0};
    uint64_t version = 0;

    if (!f)
        return;
    if (text && (str_parse_uint(text, UINT32_MAX, &version) < 0 || version == 0)) {
        api_fail_set(c, EINVAL, "version=\"%.20s\" is not the number of a version", text);
        return;
    }
    s = calloc(1, sizeof(*s));
    if (!s) {
        api_fail_set(c, ENOMEM, "not enough memory");
        return;
    }
    *s = (struct export_stream){.call = c, .pipe_fd = -1, .head_only = strcmp(exchange_request(c->ex)->method, "HEAD") == 0};
    c->state = s;
    c->free_state = export_free;
    if (export_ask(s, &f->rec.fn, (uint32_t)version, &d) < 0) {
        api_fail(c, &d);
        return;
    }
    exchange_handle(c->ex, &handler, c);
    export_wait(s);
}
