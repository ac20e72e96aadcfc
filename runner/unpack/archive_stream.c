/*
 * archive_stream.c: from bytes to tar entries, with libarchive twice: once as "raw", which only decompresses (none, gzip, xz, zstd), and once as tar, fed by the first.
 *
 * One alone would do for well-formed input. Two let us see what lies between the filters and the format: that the end-of-archive mark was there (libarchive takes a tar that was cut between two entries
 * for complete), that nothing but padding follows it, that the compressed stream ends properly, and that no byte follows that. How much comes out of the decompressor is bounded here, whatever tar makes of it.
 */
#include "unpack_internal.h"

#include "diag.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAM_BLOCK   65536
#define STREAM_PADDING (1U << 20) /* zeros behind the end; tar -b 2048 pads to this */
#define TAR_BLOCK      512

struct stream {
    struct archive *raw, *tar;
    int fd;
    uint64_t in_bytes;  /* read from fd */
    uint64_t out_bytes; /* decompressed */
    uint64_t max_out;
    uint64_t nonzero_end; /* where the last byte that is not 0 ended, decompressed */
    uint64_t entry_end;   /* where the last entry ended */
    bool too_much, in_entry;
    char buf[STREAM_BLOCK];
};

static ssize_t read_input(struct archive *a, void *arg, const void **ret)
{
    struct stream *s = arg;
    ssize_t n;

    do
        n = read(s->fd, s->buf, sizeof(s->buf));
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        archive_set_error(a, errno, "reading the archive");
        return -1;
    }
    s->in_bytes += (uint64_t)n;
    *ret = s->buf;
    return n;
}

static void note_block(struct stream *s, const char *data, size_t len)
{
    size_t n = len;

    while (n > 0 && data[n - 1] == 0)
        n--;
    if (n > 0)
        s->nonzero_end = s->out_bytes + n;
    s->out_bytes += len;
}

/* The next decompressed block: its length, 0 at the end, -1 with the error in `raw`. */
static ssize_t next_block(struct stream *s, const void **ret)
{
    la_int64_t offset;
    size_t len = 0;
    int r;

    do
        r = archive_read_data_block(s->raw, ret, &len, &offset);
    while (r == ARCHIVE_OK && len == 0);
    if (r == ARCHIVE_EOF)
        return 0;
    if (r != ARCHIVE_OK)
        return -1;
    note_block(s, *ret, len);
    if (s->out_bytes > s->max_out) {
        s->too_much = true;
        archive_set_error(s->raw, EFBIG, "more data than the limit allows");
        return -1;
    }
    return (ssize_t)len;
}

static ssize_t feed_tar(struct archive *a, void *arg, const void **ret)
{
    struct stream *s = arg;
    ssize_t n = next_block(s, ret);

    if (n < 0)
        archive_set_error(a, archive_errno(s->raw), "%s", archive_error_string(s->raw) ? archive_error_string(s->raw) : "it ends too early");
    return n;
}

/* libarchive's one door: its numbers and texts become ours. */
static int stream_fail(const struct stream *s, struct archive *a, struct diag *d)
{
    const char *text = archive_error_string(a);
    int err = archive_errno(a);

    if (s->too_much)
        err = EFBIG;
    else if (err != ENOMEM && err != EIO)
        err = EINVAL;
    return diag_set(d, err, "the archive is damaged, cut off, or larger than allowed: %s", text ? text : "no reason given");
}

static int not_tar(const struct stream *s, struct diag *d)
{
    int r = stream_fail(s, s->tar, d);

    diag_prefix(d, "no tar archive (plain, or compressed with gzip, xz or zstd)");
    return r;
}

static int open_raw(struct stream *s, struct diag *d)
{
    struct archive_entry *e;

    archive_read_support_filter_gzip(s->raw);
    archive_read_support_filter_xz(s->raw);
    archive_read_support_filter_zstd(s->raw);
    archive_read_support_format_raw(s->raw);
    if (archive_read_open(s->raw, s, NULL, read_input, NULL) == ARCHIVE_OK && archive_read_next_header(s->raw, &e) == ARCHIVE_OK)
        return 0;
    return s->in_bytes == 0 ? diag_set(d, EINVAL, "the archive is empty") : stream_fail(s, s->raw, d);
}

int stream_open(int fd, uint64_t max_out, struct stream **ret, struct diag *d)
{
    struct stream *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return diag_set(d, ENOMEM, "out of memory");
    s->fd = fd;
    s->max_out = max_out;
    s->raw = archive_read_new();
    s->tar = archive_read_new();
    r = s->raw && s->tar ? open_raw(s, d) : diag_set(d, ENOMEM, "out of memory");
    if (r == 0) {
        archive_read_support_format_tar(s->tar);
        if (archive_read_open(s->tar, s, NULL, feed_tar, NULL) != ARCHIVE_OK)
            r = not_tar(s, d); /* libarchive looks at the first header here */
    }
    if (r < 0)
        stream_close(s);
    else
        *ret = s;
    return r;
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    if (s->tar)
        archive_read_free(s->tar);
    if (s->raw)
        archive_read_free(s->raw);
    free(s);
}

static int check_end(struct stream *s, struct diag *d)
{
    uint64_t end = (uint64_t)archive_filter_bytes(s->tar, 0);
    const void *block;
    ssize_t n;

    if (end < s->entry_end + TAR_BLOCK)
        return diag_set(d, EINVAL, "the archive is cut off: it has no end-of-archive mark");
    while ((n = next_block(s, &block)) > 0)
        if (s->out_bytes > end + STREAM_PADDING)
            break;
    if (n < 0)
        return stream_fail(s, s->raw, d);
    if (n > 0 || s->nonzero_end > end)
        return diag_set(d, EINVAL, "there is more data behind the archive's end: several archives in one file are not unpacked");
    while ((n = read(s->fd, s->buf, sizeof(s->buf))) < 0 && errno == EINTR)
        ;
    if (n < 0)
        return diag_errno(d, errno, "reading the archive");
    if (n > 0 || (uint64_t)archive_filter_bytes(s->raw, -1) != s->in_bytes)
        return diag_set(d, EINVAL, "there is more data behind the end of the compressed archive");
    return 0;
}

int stream_next(struct stream *s, struct archive_entry **ret, struct diag *d)
{
    int r;

    if (s->in_entry && archive_read_data_skip(s->tar) != ARCHIVE_OK)
        return stream_fail(s, s->tar, d);
    s->entry_end = (uint64_t)archive_filter_bytes(s->tar, 0);
    r = archive_read_next_header(s->tar, ret);
    if (r == ARCHIVE_EOF)
        return check_end(s, d);
    /* A warning is a name or attribute that could not be converted between character sets: it is used as it came, byte for byte. */
    if (r == ARCHIVE_OK || r == ARCHIVE_WARN) {
        s->in_entry = true;
        return 1;
    }
    return s->in_entry ? stream_fail(s, s->tar, d) : not_tar(s, d);
}

int stream_data(struct stream *s, const void **ret, size_t *ret_len, uint64_t *ret_offset, struct diag *d)
{
    la_int64_t offset = 0;
    int r = archive_read_data_block(s->tar, ret, ret_len, &offset);

    if (r == ARCHIVE_EOF)
        return 0;
    if (r != ARCHIVE_OK || offset < 0)
        return stream_fail(s, s->tar, d);
    *ret_offset = (uint64_t)offset;
    return 1;
}
