/* ctl_body.c: bodies of requests: a text, a file's bytes, what comes from a descriptor. */
#include "ctl.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPED_HEAD        16384
#define PIPED_PATIENCE_MS 2000

void ctl_body_init(struct body *b)
{
    *b = (struct body){.fd = -1, .wait_fd = -1, .size = -1};
}

void ctl_body_done(struct body *b)
{
    if (b->done)
        b->done(b);
    free(b->head);
    b->fd = fd_close(b->fd);
    ctl_body_init(b);
}

static ssize_t text_read(struct body *b, char *buf, size_t size)
{
    size_t n = b->len - b->pos < size ? b->len - b->pos : size;

    memcpy(buf, b->text + b->pos, n);
    b->pos += n;
    return (ssize_t)n;
}

void ctl_body_text(struct body *b, const char *text)
{
    ctl_body_bytes(b, text, strlen(text));
}

void ctl_body_bytes(struct body *b, const char *data, size_t len)
{
    ctl_body_init(b);
    b->text = data;
    b->len = len;
    b->size = (int64_t)b->len;
    b->read = text_read;
}

/* The head that was read to see whether there is a body at all, then the descriptor; a known size is never exceeded. */
static ssize_t fd_body_read(struct body *b, char *buf, size_t size)
{
    struct pollfd p = {.fd = b->fd, .events = POLLIN};
    ssize_t n;

    if (b->pos < b->len && b->head) {
        size_t part = b->len - b->pos < size ? b->len - b->pos : size;

        memcpy(buf, b->head + b->pos, part);
        b->pos += part;
        return (ssize_t)part;
    }
    if (b->size >= 0 && (uint64_t)size > (uint64_t)b->size - b->pos)
        size = (size_t)((uint64_t)b->size - b->pos);
    if (size == 0)
        return 0;
    if (b->size < 0 && poll(&p, 1, 0) == 0)
        return -EAGAIN;
    n = read(b->fd, buf, size);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return -EAGAIN;
    if (n < 0)
        return diag_errno(&b->diag, errno, "reading the body");
    if (n == 0 && b->size >= 0)
        return diag_set(&b->diag, EIO, "reading the body: the file became shorter while it was read");
    b->pos += (size_t)n;
    return n;
}

/* The bytes from the current position on: a shell may have read some. */
void ctl_body_fd(struct body *b, int fd)
{
    struct stat st;
    off_t at;

    ctl_body_init(b);
    b->fd = b->wait_fd = fd;
    b->read = fd_body_read;
    at = lseek(fd, 0, SEEK_CUR);
    if (at >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        b->size = st.st_size > at ? st.st_size - at : 0;
}

int ctl_body_file(struct body *b, const char *path, struct diag *d)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    ctl_body_init(b);
    if (fd < 0)
        return diag_errno(d, errno, "%s", path);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        fd_close(fd);
        return diag_set(d, EISDIR, "%s: is a directory", path);
    }
    ctl_body_fd(b, fd);
    return 0;
}

/* The first bytes decide: a pipe that ends without one is no body. Whoever forgot about an open pipe hears what is being waited for. */
static int read_head(struct ctl *ctl, struct body *b, struct diag *d)
{
    ssize_t n;
    int r = ctl_wait(ctl, b->fd, POLLIN, PIPED_PATIENCE_MS);

    if (r == 0) {
        ctl_fail(0, "reading the body from standard input (</dev/null if there is none)");
        r = ctl_wait(ctl, b->fd, POLLIN, -1);
    }
    if (r < 0)
        return diag_errno(d, -r, "standard input");
    b->head = malloc(PIPED_HEAD);
    if (!b->head)
        return diag_set(d, ENOMEM, "out of memory");
    do
        n = read(b->fd, b->head, PIPED_HEAD);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return diag_errno(d, errno, "standard input");
    b->len = (size_t)n;
    return n > 0;
}

int ctl_body_piped(struct ctl *ctl, struct body *b, struct diag *d)
{
    struct stat st;
    int fd, r;

    ctl_body_init(b);
    if (fstat(STDIN_FILENO, &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode)))
        return 0;
    fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0)
        return diag_errno(d, errno, "standard input");
    ctl_body_fd(b, fd);
    if (b->size >= 0)
        r = b->size > 0;
    else
        r = read_head(ctl, b, d);
    if (r <= 0)
        ctl_body_done(b);
    return r;
}
