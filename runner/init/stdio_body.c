/*
 * stdio_body.c: the request's body on its way to the process: through a pipe as it comes, or (serializing, marshal_request) into a memory file first, which then is the standard input. Memory files are the instance's
 * memory; all of them together may be a quarter of it.
 */
#include "stdio_server.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A process that does not read it, or not all of it, is no error: the rest is taken and dropped, so that the client comes to its end. */
void stdio_body_feed(struct stdio *s, struct stdio_conn *c)
{
    while (c->plain_at < c->plain_end) {
        const ssize_t n = c->in_fd >= 0 ? write(c->in_fd, c->in + c->plain_at, c->plain_end - c->plain_at) : (ssize_t)(c->plain_end - c->plain_at);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            close(c->in_fd);
            c->in_fd = -1;
        } else {
            c->plain_at += (size_t)n;
        }
    }
    c->plain_at = c->plain_end = c->head_len;
    if (c->body.done && c->in_fd >= 0) {
        close(c->in_fd);
        c->in_fd = -1;
    }
}

static int write_file(struct stdio *s, struct stdio_conn *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n;

        if (s->spool_used + len > s->spool_max)
            return -EFBIG;
        n = write(c->body_fd, data, len);
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        c->body_bytes += (uint64_t)n;
        s->spool_used += (uint64_t)n;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int hold_flush(struct stdio *s, struct stdio_conn *c)
{
    const size_t n = c->held;

    c->held = 0;
    return write_file(s, c, c->hold, n);
}

/* The document comes in pieces of a few bytes. */
static int hold(void *arg, const char *data, size_t len)
{
    struct stdio_conn *c = arg;
    int r = 0;

    while (len > 0 && r == 0) {
        const size_t room = sizeof(c->hold) - c->held, n = len < room ? len : room;

        memcpy(c->hold + c->held, data, n);
        c->held += n;
        data += n;
        len -= n;
        if (c->held == sizeof(c->hold))
            r = hold_flush(c->server, c);
    }
    return r;
}

int stdio_body_begin(struct stdio *s, struct stdio_conn *c)
{
    c->body_fd = memfd_create("stdin", MFD_CLOEXEC);
    if (c->body_fd < 0)
        return -errno;
    c->held = 0;
    c->marshal = (struct stdio_marshal){.sink = hold, .arg = c};
    return s->set.marshal_request ? stdio_marshal_begin(&c->marshal, &c->req) : 0;
}

int stdio_body_collect(struct stdio *s, struct stdio_conn *c)
{
    const char *data = c->in + c->plain_at;
    const size_t len = c->plain_end - c->plain_at;

    c->plain_at = c->plain_end = c->head_len;
    return s->set.marshal_request ? stdio_marshal_body(&c->marshal, data, len) : write_file(s, c, data, len);
}

int stdio_body_finish(struct stdio *s, struct stdio_conn *c)
{
    int r = 0;

    if (s->set.marshal_request)
        r = stdio_marshal_end(&c->marshal);
    if (r == 0)
        r = hold_flush(s, c);
    return r < 0 || lseek(c->body_fd, 0, SEEK_SET) == 0 ? r : -errno;
}

void stdio_files_close(struct stdio *s, struct stdio_conn *c)
{
    if (c->body_fd >= 0)
        close(c->body_fd);
    if (c->spool_fd >= 0)
        close(c->spool_fd);
    s->spool_used -= c->body_bytes + c->spooled;
    c->body_bytes = c->spooled = c->spool_at = 0;
    c->body_fd = c->spool_fd = -1;
}
