/* ctl_source.c: what the argument of `run` and `deploy` means. */
#include "ctl.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAR_BLOCK   512
#define TAR_SUM_AT  148
#define TAR_SUM_LEN 8

int ctl_exe_dir(char *buf, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buf, size - 1);
    char *slash;

    if (n < 0)
        return -errno;
    buf[n] = '\0';
    slash = strrchr(buf, '/');
    if (!slash)
        return -ENOENT;
    *slash = '\0';
    return 0;
}

/* The header's checksum (tar(5)): covers archives of every age. A block of zeros is an empty archive's end. */
static bool is_tar(const unsigned char *block)
{
    unsigned sum = 0, stored = 0, i = TAR_SUM_AT;

    for (unsigned k = 0; k < TAR_BLOCK; k++)
        sum += k >= TAR_SUM_AT && k < TAR_SUM_AT + TAR_SUM_LEN ? ' ' : block[k];
    while (i < TAR_SUM_AT + TAR_SUM_LEN && block[i] == ' ')
        i++;
    for (; i < TAR_SUM_AT + TAR_SUM_LEN && block[i] >= '0' && block[i] <= '7'; i++)
        stored = stored * 8 + (block[i] - '0');
    return block[0] && sum == stored;
}

bool ctl_source_is_archive(const char *path)
{
    static const struct {
        const char *bytes;
        unsigned len;
    } magics[] = {{"\x1f\x8b", 2},
                  {"\xfd"
                   "7zXZ\0",
                   6},
                  {"\x28\xb5\x2f\xfd", 4}};
    unsigned char head[TAR_BLOCK];
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* never waits for a FIFO's writer */
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    n = pread(fd, head, sizeof(head), 0);
    for (size_t i = 0; i < CTL_COUNT(magics); i++)
        if (n >= (ssize_t)magics[i].len && memcmp(head, magics[i].bytes, magics[i].len) == 0)
            return true;
    return n == TAR_BLOCK && is_tar(head);
}

static int take(struct source *ret, enum source_kind kind, const char *path, struct diag *d)
{
    struct source s = {.kind = kind};

    if (str_copy(s.path, sizeof(s.path), path) < 0)
        return diag_set(d, ENAMETOOLONG, "%.80s...: the path is too long", path);
    *ret = s;
    return 0;
}

static int find_path(const char *path, struct source *ret, struct diag *d)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return diag_errno(d, errno, "%s", path);
    if (S_ISDIR(st.st_mode))
        return take(ret, SOURCE_DIRECTORY, path, d);
    if (!S_ISREG(st.st_mode))
        return diag_set(d, EINVAL, "%s: is neither a directory nor a file", path);
    if (access(path, R_OK) < 0)
        return diag_errno(d, errno, "%s", path);
    if (!ctl_source_is_archive(path))
        return diag_set(d, EINVAL, "%s: is no archive: a tar, plain or compressed by gzip, xz or zstd, is needed", path);
    return take(ret, SOURCE_ARCHIVE, path, d);
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_function_directory(const char *name)
{
    char ini[PATH_MAX];
    int n = snprintf(ini, sizeof(ini), "%s/function.ini", name);

    return n > 0 && (size_t)n < sizeof(ini) && is_file(ini);
}

int ctl_source_find_in(const char *arg, const char *samples, const char *share, struct source *ret, struct diag *d)
{
    const char *const places[] = {samples, share};
    char path[PATH_MAX];

    if (!*arg)
        return diag_set(d, EINVAL, "an empty name: a directory, an archive or a sample is needed");
    if (strchr(arg, '/') || strcmp(arg, ".") == 0 || strcmp(arg, "..") == 0)
        return find_path(arg, ret, d);
    if (is_function_directory(arg))
        return take(ret, SOURCE_DIRECTORY, arg, d);
    if (ctl_source_is_archive(arg))
        return take(ret, SOURCE_ARCHIVE, arg, d);
    for (size_t i = 0; i < CTL_COUNT(places); i++) {
        int n = snprintf(path, sizeof(path), "%s/%s.tar.gz", places[i], arg);

        if (n > 0 && (size_t)n < sizeof(path) && is_file(path))
            return find_path(path, ret, d);
    }
    return diag_set(
        d, ENOENT,
        "%.80s: found neither %.80s/function.ini nor an archive %.80s here, nor a sample %s/%.80s.tar.gz or %s/%.80s.tar.gz (a path has a '/': ./%.80s)", arg,
        arg, arg, samples, arg, share, arg, arg);
}

int ctl_source_find(const char *arg, struct source *ret, struct diag *d)
{
    char dir[PATH_MAX];
    int r = ctl_exe_dir(dir, sizeof(dir));

    if (r < 0)
        return diag_errno(d, -r, "/proc/self/exe");
    return ctl_source_find_in(arg, dir, FND_SHARE, ret, d);
}

int ctl_source_open(const struct source *s, struct body *b, struct diag *d)
{
    return s->kind == SOURCE_DIRECTORY ? ctl_pack_directory(b, s->path, d) : ctl_body_file(b, s->path, d);
}
