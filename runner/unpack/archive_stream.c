/*
 * archive_stream.c: from bytes to entries of a tar, with libarchive twice: once as "raw", which only decompresses (none, gzip, xz, zstd), and once as tar, fed by the first.
 *
 * One alone would do for well-formed input. Two let us see what lies between the filters and the format: that the end-of-archive mark was there (libarchive takes a tar that was cut between two entries
 * for complete), that nothing but padding follows it, that the compressed stream ends properly, and that no byte follows that. How much comes out of the decompressor is bounded here, whatever tar makes of it.
 *
 * A zip is told by its first bytes. What its files may do stands in the directory at its end, so it is written to a file without a name first. Some tools write 0 there for a file's size and CRC: such a file is
 * as long as what comes out; where they are given they must be right.
 */
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAM_BLOCK   (256U * 1024) /* with 64 KB the file system takes half as long again for the same bytes, since a tar's data begin anywhere in a page */
#define STREAM_PADDING (1U << 20)    /* zeros behind the end; tar -b 2048 pads to this */
#define TAR_BLOCK      512
#define ZIP_SPOOL      ".zip"

struct stream {
    struct archive *raw, *tar;
    struct digest *in, *out;
    struct stream *from; /* instead of fd */
    int fd, zip_fd;      /* zip_fd -1: a tar */
    uint64_t spooled;
    const void *piece;   /* of the input, which was read to see what it is */
    size_t ahead;        /* its length */
    bool declared_empty; /* of a zip's entry: its size is said to be 0 */
    uint64_t in_bytes;   /* read from fd */
    uint64_t out_bytes;  /* decompressed */
    uint64_t max_out;
    uint64_t nonzero_end; /* where the last byte that is not 0 ended, decompressed */
    uint64_t entry_end;   /* where the last entry ended */
    uint64_t data_end;    /* ... and its data, where that is known */
    bool too_much, in_entry, may_lack_end, ended;
    char buf[STREAM_BLOCK];
};

/* At least half of what there is room for, or all that is left: a pipe may have given a part. */
static ssize_t read_some(struct stream *s, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size / 2) {
        ssize_t n = read(s->fd, buf + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Its next piece, in one go with those before it. */
static ssize_t read_outer(struct stream *s, const void **ret, struct diag *d)
{
    uint64_t offset = 0;
    size_t len = 0;
    int r;

    do
        r = stream_data(s->from, ret, &len, &offset, d);
    while (r > 0 && len == 0);
    if (r > 0 && offset != s->in_bytes)
        return diag_set(d, EINVAL, "a layer with holes");
    return r > 0 ? (ssize_t)len : r;
}

/* The length of the next piece, 0 at the end. */
static ssize_t read_piece(struct stream *s, const void **ret, struct diag *d)
{
    ssize_t n;

    if (s->from)
        return read_outer(s, ret, d);
    *ret = s->buf;
    n = read_some(s, s->buf, sizeof(s->buf));
    return n < 0 ? diag_errno(d, (int)-n, "reading the archive") : n;
}

static ssize_t read_input(struct archive *a, void *arg, const void **ret)
{
    struct stream *s = arg;
    struct diag d = {0};
    ssize_t n = (ssize_t)s->ahead;

    s->ahead = 0;
    *ret = s->piece;
    if (n == 0)
        n = read_piece(s, ret, &d);
    if (n < 0) {
        archive_set_error(a, d.err, "%s", d.text);
        return -1;
    }
    s->in_bytes += (uint64_t)n;
    if (s->in)
        digest_data(s->in, *ret, (size_t)n);
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
    if (s->out)
        digest_data(s->out, *ret, len);
    if (s->out_bytes > s->max_out) {
        s->too_much = true;
        archive_set_error(s->raw, EFBIG, "more data than the limit allows");
        return -1;
    }
    return (ssize_t)len;
}

static uint64_t round_up(uint64_t n)
{
    return (n + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

static ssize_t feed_tar(struct archive *a, void *arg, const void **ret)
{
    static const char end_mark[3 * TAR_BLOCK];
    struct stream *s = arg;
    ssize_t n = next_block(s, ret);

    if (n == 0 && s->may_lack_end && !s->ended) {
        s->ended = true;
        *ret = end_mark;
        return (ssize_t)(round_up(s->out_bytes) - s->out_bytes + 2 * TAR_BLOCK);
    }
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
        return diag_set(d, EFBIG, "more than %llu bytes come out of the archive", (unsigned long long)s->max_out);
    if (err != ENOMEM && err != EIO)
        err = EINVAL;
    return diag_set(d, err, "the archive is damaged, or cut off (make it again): %s", text ? text : "no reason given");
}

static int not_tar(const struct stream *s, struct diag *d)
{
    int r = stream_fail(s, s->tar, d);

    diag_prefix(d, "no tar archive (plain, or compressed with gzip, xz or zstd), and no zip");
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
    return stream_fail(s, s->raw, d);
}

static int open_tar(struct stream *s, struct diag *d)
{
    int r = open_raw(s, d);

    if (r < 0)
        return r;
    archive_read_support_format_tar(s->tar);
    return archive_read_open(s->tar, s, NULL, feed_tar, NULL) == ARCHIVE_OK ? 0 : not_tar(s, d); /* libarchive looks at the first header here */
}

static int spool_zip(struct stream *s, struct diag *d)
{
    ssize_t n = (ssize_t)s->ahead;
    int r;

    s->zip_fd = openat(UNPACK_FD_STAGING, ZIP_SPOOL, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->zip_fd < 0 || unlinkat(UNPACK_FD_STAGING, ZIP_SPOOL, 0) < 0)
        return diag_errno(d, errno, "a place for the zip");
    while (n > 0) {
        r = fd_write_all(s->zip_fd, s->buf, (size_t)n);
        if (r == -EFBIG)
            return diag_set(d, EFBIG, "the zip is larger than what may be unpacked");
        if (r < 0)
            return diag_errno(d, -r, "keeping the zip");
        s->spooled += (uint64_t)n;
        n = read_piece(s, &s->piece, d);
    }
    return (int)n;
}

static int open_zip(struct stream *s, struct diag *d)
{
    int r = spool_zip(s, d);

    if (r < 0)
        return r;
    archive_read_support_format_zip_seekable(s->tar);
    if (lseek(s->zip_fd, 0, SEEK_SET) < 0)
        return diag_errno(d, errno, "the zip");
    if (archive_read_open_fd(s->tar, s->zip_fd, STREAM_BLOCK) == ARCHIVE_OK)
        return 0;
    stream_fail(s, s->tar, d);
    diag_prefix(d, "the zip has no directory at its end, or nothing in it");
    return -EINVAL;
}

/* The beginning, which tells a zip. */
static int look_ahead(struct stream *s, bool *ret_zip, struct diag *d)
{
    ssize_t n = read_piece(s, &s->piece, d);

    if (n < 0)
        return (int)n;
    s->ahead = (size_t)n;
    *ret_zip = n >= 4 && (memcmp(s->piece, "PK\3\4", 4) == 0 || memcmp(s->piece, "PK\5\6", 4) == 0);
    return n > 0 ? 0 : diag_set(d, EINVAL, "the archive is empty");
}

int stream_open(const struct stream_start *start, struct stream **ret, struct diag *d)
{
    struct stream *s = calloc(1, sizeof(*s));
    bool zip = false;
    int r;

    if (!s)
        return diag_set(d, ENOMEM, "out of memory");
    s->fd = start->fd;
    s->from = start->from;
    s->in = start->in;
    s->out = start->out;
    s->max_out = start->max_out;
    s->may_lack_end = start->may_lack_end;
    s->zip_fd = -1;
    s->raw = archive_read_new();
    s->tar = archive_read_new();
    r = s->raw && s->tar ? look_ahead(s, &zip, d) : diag_set(d, ENOMEM, "out of memory");
    if (r == 0)
        r = zip && start->may_be_zip ? open_zip(s, d) : open_tar(s, d);
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
    fd_close(s->zip_fd);
    free(s);
}

static int check_end(struct stream *s, struct diag *d)
{
    uint64_t end = (uint64_t)archive_filter_bytes(s->tar, 0);
    const void *block;
    ssize_t n;

    if (s->ended && (s->entry_end > round_up(s->out_bytes) || s->data_end > s->out_bytes)) /* the last entry has more than padding of what was added */
        return diag_set(d, EINVAL, "the archive is cut off within an entry");
    if (end < s->entry_end + TAR_BLOCK)
        return diag_set(d, EINVAL, "the archive is cut off: it has no end-of-archive mark");
    while ((n = next_block(s, &block)) > 0)
        if (s->out_bytes > end + STREAM_PADDING)
            break;
    if (n < 0)
        return stream_fail(s, s->raw, d);
    if (n > 0 || s->nonzero_end > end)
        return diag_set(d, EINVAL, "there is more data behind the archive's end: several archives in one file are not unpacked");
    n = read_piece(s, &block, d);
    if (n < 0)
        return (int)n;
    if (n > 0 || (uint64_t)archive_filter_bytes(s->raw, -1) != s->in_bytes)
        return diag_set(d, EINVAL, "there is more data behind the end of the compressed archive");
    return 0;
}

/* A sparse file's data are fewer than its bytes. */
static uint64_t data_end(const struct stream *s, struct archive_entry *e)
{
    if (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e) || archive_entry_sparse_count(e) > 0 || archive_entry_size(e) < 0)
        return 0;
    return (uint64_t)archive_filter_bytes(s->tar, 0) + (uint64_t)archive_entry_size(e);
}

static int next_of_zip(struct stream *s, struct archive_entry **ret, struct diag *d)
{
    int r = archive_read_next_header(s->tar, ret);

    if (r == ARCHIVE_EOF)
        return 0;
    if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
        return stream_fail(s, s->tar, d);
    if (archive_entry_is_encrypted(*ret))
        return diag_set(d, EINVAL, "entry \"%.200s\" of the zip is encrypted", archive_entry_pathname(*ret));
    s->declared_empty = archive_entry_size(*ret) == 0;
    return 1;
}

int stream_next(struct stream *s, struct archive_entry **ret, struct diag *d)
{
    int r;

    if (s->zip_fd >= 0)
        return next_of_zip(s, ret, d);
    if (s->in_entry && archive_read_data_skip(s->tar) != ARCHIVE_OK)
        return stream_fail(s, s->tar, d);
    s->entry_end = (uint64_t)archive_filter_bytes(s->tar, 0);
    r = archive_read_next_header(s->tar, ret);
    if (r == ARCHIVE_EOF)
        return check_end(s, d);
    /* A warning is a name or attribute that could not be converted between character sets: it is used as it came, byte for byte. */
    if (r == ARCHIVE_OK || r == ARCHIVE_WARN) {
        s->in_entry = true;
        s->data_end = data_end(s, *ret);
        return 1;
    }
    return s->in_entry ? stream_fail(s, s->tar, d) : not_tar(s, d);
}

uint64_t stream_spooled(const struct stream *s)
{
    return s->spooled;
}

bool stream_has_sizes(const struct stream *s)
{
    return s->zip_fd < 0;
}

/*
 * The last data of an entry came with what is wrong with it: that it is longer than 0, or that its CRC is not 0. libarchive tells that number in its message alone; another message is an error like any other.
 */
static bool not_given(struct stream *s, int r)
{
    const char *text = archive_error_string(s->tar);

    return r == ARCHIVE_WARN && (s->declared_empty || (text && str_ends_with(text, " should be 0x0")));
}

int stream_data(struct stream *s, const void **ret, size_t *ret_len, uint64_t *ret_offset, struct diag *d)
{
    la_int64_t offset = 0;
    int r = archive_read_data_block(s->tar, ret, ret_len, &offset);

    if (r == ARCHIVE_EOF)
        return 0;
    if ((r != ARCHIVE_OK && !(s->zip_fd >= 0 && not_given(s, r))) || offset < 0)
        return stream_fail(s, s->tar, d);
    *ret_offset = (uint64_t)offset;
    return 1;
}
