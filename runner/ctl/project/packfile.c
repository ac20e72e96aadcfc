/*
 * packfile.c: a package that is written to a file: compressed as its name says, with the digest of what was written. It is made beside the file and renamed at the end, so that a build that
 * fails leaves the file that was there. The bytes depend on the input alone: no name, no time in gzip's header.
 */
#include "project.h"

#include "fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct packfile {
    char *path, *temporary;
    int fd;
    uint64_t bytes;
    struct archive *archive;
    EVP_MD_CTX *digest;
};

static const struct {
    const char *suffix;
    int (*add)(struct archive *a);
} filters[] = {
    {".tar", archive_write_add_filter_none},     {".tar.gz", archive_write_add_filter_gzip}, {".tgz", archive_write_add_filter_gzip},
    {".tar.zst", archive_write_add_filter_zstd}, {".tar.xz", archive_write_add_filter_xz},
};

static la_ssize_t on_output(struct archive *a, void *arg, const void *data, size_t len)
{
    struct packfile *f = arg;
    int r = fd_write_all(f->fd, data, len);

    if (r < 0 || EVP_DigestUpdate(f->digest, data, len) != 1) {
        archive_set_error(a, r < 0 ? -r : EIO, "%s", strerror(r < 0 ? -r : EIO));
        return -1;
    }
    f->bytes += len;
    return (la_ssize_t)len;
}

static int fail_archive(struct packfile *f, struct diag *d)
{
    const char *text = archive_error_string(f->archive);

    return diag_set(d, archive_errno(f->archive) > 0 ? archive_errno(f->archive) : EIO, "%s: %s", f->path, text ? text : "cannot be written");
}

/* The stream is one entry of libarchive's format without a format: only its compression is wanted. */
static int open_archive(struct packfile *f, int (*add)(struct archive *a), struct diag *d)
{
    struct archive_entry *e = archive_entry_new();
    int r = -1;

    f->archive = archive_write_new();
    f->digest = EVP_MD_CTX_new();
    if (e && f->archive && f->digest && EVP_DigestInit_ex(f->digest, EVP_sha256(), NULL) == 1) {
        archive_entry_set_filetype(e, AE_IFREG);
        archive_entry_set_pathname(e, "package");
        r = archive_write_set_format_raw(f->archive);
        if (r == ARCHIVE_OK)
            r = add(f->archive);
        if (r == ARCHIVE_OK && add == archive_write_add_filter_gzip)
            r = archive_write_set_options(f->archive, "gzip:!timestamp");
        if (r == ARCHIVE_OK)
            r = archive_write_set_bytes_per_block(f->archive, 0);
        if (r == ARCHIVE_OK)
            r = archive_write_open(f->archive, f, NULL, on_output, NULL);
        if (r == ARCHIVE_OK)
            r = archive_write_header(f->archive, e);
        if (r != ARCHIVE_OK)
            r = fail_archive(f, d);
    } else {
        r = diag_set(d, ENOMEM, "out of memory");
    }
    archive_entry_free(e);
    return r;
}

void packfile_abort(struct packfile *f)
{
    if (!f)
        return;
    if (f->archive)
        archive_write_free(f->archive);
    if (f->fd >= 0 && f->temporary)
        unlink(f->temporary);
    fd_close(f->fd);
    EVP_MD_CTX_free(f->digest);
    free(f->path);
    free(f->temporary);
    free(f);
}

int packfile_open(const char *path, struct packfile **ret, struct diag *d)
{
    struct packfile *f = NULL;
    size_t i = 0;
    int r;

    while (i < CTL_COUNT(filters) && !str_ends_with(path, filters[i].suffix))
        i++;
    if (i == CTL_COUNT(filters))
        return diag_set(d, EINVAL, "%s: the file's name says how it is compressed: .tar.gz, .tgz, .tar.zst, .tar.xz or .tar is needed", path);
    f = calloc(1, sizeof(*f));
    if (!f)
        return diag_set(d, ENOMEM, "out of memory");
    f->fd = -1;
    f->path = strdup(path);
    if (!f->path || asprintf(&f->temporary, "%s.XXXXXX", path) < 0) {
        f->temporary = NULL;
        packfile_abort(f);
        return diag_set(d, ENOMEM, "out of memory");
    }
    f->fd = mkostemp(f->temporary, O_CLOEXEC);
    r = f->fd < 0 ? diag_errno(d, errno, "%s", path) : open_archive(f, filters[i].add, d);
    if (r < 0)
        packfile_abort(f);
    else
        *ret = f;
    return r;
}

int packfile_stat(const struct packfile *f, struct stat *ret)
{
    return fstat(f->fd, ret) < 0 ? -errno : 0;
}

int packfile_write(struct packfile *f, const void *data, size_t len, struct diag *d)
{
    return archive_write_data(f->archive, data, len) == (la_ssize_t)len ? 0 : fail_archive(f, d);
}

/* What is made has the mode of any new file. */
static mode_t new_mode(void)
{
    mode_t mask = umask(0);

    umask(mask);
    return 0666 & ~mask;
}

int packfile_close(struct packfile *f, uint64_t *ret_bytes, char ret_sha256[65], struct diag *d)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int r = 0;

    if (archive_write_close(f->archive) != ARCHIVE_OK)
        r = fail_archive(f, d);
    else if (EVP_DigestFinal_ex(f->digest, sum, &len) != 1 || len != 32)
        r = diag_set(d, EIO, "%s: no digest", f->path);
    else if (fchmod(f->fd, new_mode()) < 0 || fsync(f->fd) < 0 || rename(f->temporary, f->path) < 0)
        r = diag_errno(d, errno, "%s", f->path);
    for (unsigned i = 0; r == 0 && i < len; i++)
        snprintf(ret_sha256 + 2 * i, 3, "%02x", sum[i]);
    if (r == 0) {
        *ret_bytes = f->bytes;
        free(take_ptr(f->temporary)); /* it is the file now */
    }
    packfile_abort(f);
    return r;
}
