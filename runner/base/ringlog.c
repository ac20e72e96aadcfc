/*
 * ringlog.c: see ringlog.h. Owns the layout of the file; linked into fn-init, so nothing here allocates or needs more than libc.
 *
 * Order of the writer: a piece of data (at most RING_PIECE bytes), then the count. A reader that reads the count afterwards therefore knows of every
 * finished piece, but not of the one that is being written at that moment; so it only relies on the last RING_DATA - RING_PIECE bytes, which an
 * unfinished piece cannot touch.
 */
#include "ringlog.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RING_PIECE  16384U
#define RING_STABLE (RINGLOG_DATA_BYTES - RING_PIECE)
#define RING_TRIES  8
#define RING_BLOCK  4096U

static_assert(sizeof(struct ringlog_head) <= RINGLOG_HEAD_BYTES, "the head has its own page");
static_assert(sizeof(struct ringlog_head) == 40 + RINGLOG_REASON_MAX, "the layout has no holes: it is a file format");

static uint64_t real_ns(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static int pwrite_all(int fd, const void *data, size_t len, off_t at)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Exactly len bytes; a file that is shorter was tampered with. */
static int pread_all(int fd, void *data, size_t len, off_t at)
{
    char *p = data;

    while (len > 0) {
        ssize_t n = pread(fd, p, len, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EPROTO;
        p += n;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static off_t ring_offset(uint64_t pos)
{
    return (off_t)(RINGLOG_HEAD_BYTES + pos % RINGLOG_DATA_BYTES);
}

/* len is at most RINGLOG_DATA_BYTES. */
static int ring_pread(int fd, void *buf, size_t len, uint64_t pos)
{
    size_t first = RINGLOG_DATA_BYTES - pos % RINGLOG_DATA_BYTES;
    int r;

    if (first > len)
        first = len;
    r = pread_all(fd, buf, first, ring_offset(pos));
    return r < 0 || first == len ? r : pread_all(fd, (char *)buf + first, len - first, RINGLOG_HEAD_BYTES);
}

static int ring_pwrite(int fd, const void *data, size_t len, uint64_t pos)
{
    size_t first = RINGLOG_DATA_BYTES - pos % RINGLOG_DATA_BYTES;
    int r;

    if (first > len)
        first = len;
    r = pwrite_all(fd, data, first, ring_offset(pos));
    return r < 0 || first == len ? r : pwrite_all(fd, (const char *)data + first, len - first, RINGLOG_HEAD_BYTES);
}

int ringlog_create(int dirfd, const char *name)
{
    const struct ringlog_head head = {.magic = RINGLOG_MAGIC, .format = 1};
    int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = 0;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, RINGLOG_FILE_BYTES) < 0)
        r = -errno;
    if (r == 0)
        r = pwrite_all(fd, &head, sizeof(head), 0);
    if (r == 0)
        return fd;
    close(fd);
    unlinkat(dirfd, name, 0);
    return r;
}

int ringlog_read_head(int fd, struct ringlog_head *ret)
{
    struct ringlog_head h;
    int r = pread_all(fd, &h, sizeof(h), 0);

    if (r < 0)
        return r;
    if (h.magic != RINGLOG_MAGIC || h.format != 1 || h.end > RINGLOG_EXEC_FAILED)
        return -EPROTO;
    h.reason[sizeof(h.reason) - 1] = '\0';
    for (char *p = h.reason; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    *ret = h;
    return 0;
}

/* pread and pwrite of eight bytes need not be atomic to each other: the count is believed when it was read twice. */
static int read_written(int fd, uint64_t *ret)
{
    uint64_t a = 0, b = 0;
    int r;

    for (int i = 0; i < RING_TRIES; i++) {
        r = pread_all(fd, &a, sizeof(a), offsetof(struct ringlog_head, written));
        if (r == 0)
            r = pread_all(fd, &b, sizeof(b), offsetof(struct ringlog_head, written));
        if (r < 0)
            return r;
        if (a == b)
            break;
    }
    *ret = b;
    return 0;
}

static uint64_t ring_oldest(uint64_t written)
{
    return written > RINGLOG_DATA_BYTES - RING_PIECE ? written - RING_STABLE : 0;
}

int64_t ringlog_read(int fd, uint64_t *pos, void *buf, size_t size, uint64_t *ret_lost)
{
    uint64_t at = *pos, lost = 0, written, oldest;
    size_t n, dead;
    int r = read_written(fd, &written);

    for (int i = 0; r == 0 && i < RING_TRIES; i++) {
        if (at > written) /* a position of another log, or a count that was set back */
            at = written;
        oldest = ring_oldest(written);
        if (at < oldest) {
            lost += oldest - at;
            at = oldest;
        }
        n = written - at < size ? (size_t)(written - at) : size;
        r = ring_pread(fd, buf, n, at);
        if (r == 0)
            r = read_written(fd, &written);
        if (r < 0)
            break;
        oldest = ring_oldest(written);
        dead = oldest > at ? (oldest - at < n ? (size_t)(oldest - at) : n) : 0;
        lost += dead;
        at += dead;
        if (dead < n || n == 0) {
            memmove(buf, (char *)buf + dead, n - dead);
            *pos = at + (n - dead);
            *ret_lost = lost;
            return (int64_t)(n - dead);
        }
    }
    if (r < 0)
        return r;
    *pos = at;
    *ret_lost = lost;
    return 0;
}

int ringlog_seek_lines(int fd, unsigned n, uint64_t *ret_pos)
{
    uint64_t written, oldest, at;
    char block[RING_BLOCK];
    int r = read_written(fd, &written);

    if (r < 0)
        return r;
    oldest = ring_oldest(written);
    at = written;
    while (n > 0 && at > oldest) {
        size_t len = at - oldest < sizeof(block) ? (size_t)(at - oldest) : sizeof(block);

        r = ring_pread(fd, block, len, at - len);
        if (r < 0)
            return r;
        for (; len > 0; len--, at--) {
            /* The newline at the very end closes the last line; every other one is the end of the line before. */
            if (block[len - 1] != '\n' || at == written)
                continue;
            if (--n == 0)
                break;
        }
    }
    *ret_pos = at;
    return 0;
}

int ringlog_writer_init(struct ringlog_writer *w, int fd)
{
    *w = (struct ringlog_writer){.fd = fd, .head = {.magic = RINGLOG_MAGIC, .format = 1, .started_real_ns = real_ns()}};
    return pwrite_all(fd, &w->head, sizeof(w->head), 0);
}

int ringlog_write(struct ringlog_writer *w, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        size_t n = len < RING_PIECE ? len : RING_PIECE;
        int r = ring_pwrite(w->fd, p, n, w->head.written);

        if (r < 0)
            return r;
        w->head.written += n;
        r = pwrite_all(w->fd, &w->head.written, sizeof(w->head.written), offsetof(struct ringlog_head, written));
        if (r < 0)
            return r;
        p += n;
        len -= n;
    }
    return 0;
}

int ringlog_finish(struct ringlog_writer *w, enum ringlog_end end, int status, const char *reason)
{
    w->head.end = (uint32_t)end;
    w->head.status = status;
    w->head.ended_real_ns = real_ns();
    memset(w->head.reason, 0, sizeof(w->head.reason));
    memcpy(w->head.reason, reason, strnlen(reason, sizeof(w->head.reason) - 1));
    return pwrite_all(w->fd, &w->head, sizeof(w->head), 0);
}
