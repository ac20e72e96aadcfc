/*
 * survey.c: what the unpacked tree is, found out by a process that has parsed nothing (unpack.h): its digest, its size, and that it holds only what unpacking makes.
 *
 * The order is that of the names' bytes, so that the digest says what is in the tree and not how an archive came to it. Every name of a regular file with several is its first name with content, then references to
 * that entry's number: packed as a link or twice is a difference, and a file is read once. Owners outside the image range show as the overflow id, which is inside; such a file could not have been made.
 * No descriptor is held but one per directory on the way down, and few to be flushed (survey_flush.c); depth is bounded, and with it the stack.
 */
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SURVEY_BLOCK     (256U * 1024)
#define SURVEY_DEPTH_MAX 100U /* below JAIL_FILES */
#define SURVEY_MODES     (S_IFMT | 01777)

struct survey {
    const struct unpack_limits *limits;
    struct survey_flush *flush;
    struct digest *digest;
    uint64_t bytes, entries;
    unsigned depth_max;
    void *links; /* tsearch(3): struct seen */
    char *block;
};

struct seen { /* a file with several names */
    ino_t ino;
    uint64_t number;
};

struct names {
    char **list;
    size_t count, room;
};

static int survey_dir(struct survey *s, int dir, unsigned depth, struct diag *d);

/* ---- a directory's names, in order ---- */

static void names_done(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->list[i]);
    free(n->list);
}

static int names_add(struct names *n, const char *name)
{
    if (n->count == n->room) {
        size_t room = n->room ? 2 * n->room : 64;
        char **list = reallocarray(n->list, room, sizeof(*list));

        if (!list)
            return -ENOMEM;
        n->list = list;
        n->room = room;
    }
    n->list[n->count] = strdup(name);
    return n->list[n->count++] ? 0 : -ENOMEM;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Bounded while it reads: a directory may hold more than memory does. */
static int names_read(const struct survey *s, int dir, struct names *n, struct diag *d)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    if (!list) {
        r = diag_errno(d, errno, "reading a directory");
        fd_close(fd);
        return r;
    }
    errno = 0;
    while (r == 0 && (e = readdir(list))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (s->entries + n->count >= s->limits->max_entries)
            r = diag_set(d, EFBIG, "more than %llu entries", (unsigned long long)s->limits->max_entries);
        else
            r = names_add(n, e->d_name);
    }
    if (r == 0 && errno)
        r = diag_errno(d, errno, "reading a directory");
    closedir(list);
    if (r == -ENOMEM)
        return diag_set(d, ENOMEM, "out of memory");
    if (r == 0 && n->count > 0)
        qsort(n->list, n->count, sizeof(*n->list), compare_names);
    return r;
}

/* ---- one entry ---- */

static void digest_head(struct survey *s, char type, const char *name, const struct stat *st)
{
    digest_data(s->digest, &type, 1);
    digest_text(s->digest, name);
    digest_number(s->digest, st->st_mode & 07777);
    digest_number(s->digest, st->st_uid);
    digest_number(s->digest, st->st_gid);
}

static int compare_seen(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;

    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* The number of the entry under which the file was met first: this one's where it is new. */
static int first_seen(struct survey *s, const struct stat *st, uint64_t *ret)
{
    struct seen *new, **found;

    *ret = s->entries;
    if (st->st_nlink == 1)
        return 0;
    new = malloc(sizeof(*new));
    if (!new)
        return -ENOMEM;
    *new = (struct seen){.ino = st->st_ino, .number = s->entries};
    found = tsearch(new, &s->links, compare_seen);
    if (!found || *found != new)
        free(new);
    if (!found)
        return -ENOMEM;
    *ret = (*found)->number;
    return 0;
}

static int digest_content(struct survey *s, int fd, uint64_t size, struct diag *d)
{
    uint64_t at = 0;
    int r = 0;

    while (r == 0 && at < size) {
        ssize_t n = read(fd, s->block, SURVEY_BLOCK);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? diag_errno(d, errno, "reading it again") : diag_set(d, EIO, "it is shorter than it was");
        digest_data(s->digest, s->block, (size_t)n);
        at += (uint64_t)n;
        r = jail_check_cpu(s->limits, d);
    }
    return r;
}

static int survey_file(struct survey *s, int dir, const char *name, const struct stat *st, struct diag *d)
{
    cleanup_fd int fd = -1;
    struct stat now;
    uint64_t number;

    if (first_seen(s, st, &number) < 0)
        return diag_set(d, ENOMEM, "out of memory");
    if (number != s->entries) {
        digest_head(s, 'h', name, st);
        digest_number(s->digest, number);
        return 0;
    }
    if ((uint64_t)st->st_size > s->limits->max_bytes - s->bytes)
        return diag_set(d, EFBIG, "more than %llu bytes unpacked", (unsigned long long)s->limits->max_bytes);
    s->bytes += (uint64_t)st->st_size;
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &now) < 0)
        return diag_errno(d, errno, "opening it again");
    if (now.st_ino != st->st_ino || now.st_size != st->st_size)
        return diag_set(d, EIO, "it is another file than a moment ago");
    digest_head(s, '-', name, st);
    digest_number(s->digest, (uint64_t)st->st_size);
    if (survey_flush_file(s->flush, fd, d) < 0)
        return -EIO;
    return digest_content(s, fd, (uint64_t)st->st_size, d);
}

static int survey_symlink(struct survey *s, int dir, const char *name, const struct stat *st, struct diag *d)
{
    char target[PATH_MAX + 1];
    ssize_t n = readlinkat(dir, name, target, sizeof(target));

    if (n < 0)
        return diag_errno(d, errno, "reading the symlink");
    if (n >= PATH_MAX)
        return diag_set(d, ENAMETOOLONG, "the symlink's target is too long");
    target[n] = '\0';
    digest_head(s, 'l', name, st);
    digest_text(s->digest, target);
    return 0;
}

static int survey_child(struct survey *s, int dir, const char *name, const struct stat *st, unsigned depth, struct diag *d)
{
    cleanup_fd int sub = -1;

    if (depth >= s->depth_max)
        return diag_set(d, ENAMETOOLONG, "more than %u directories deep", s->depth_max);
    sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0)
        return diag_errno(d, errno, "opening the directory");
    digest_head(s, 'd', name, st);
    if (survey_flush_file(s->flush, sub, d) < 0)
        return -EIO;
    return survey_dir(s, sub, depth + 1, d);
}

static int survey_entry(struct survey *s, int dir, const char *name, unsigned depth, struct diag *d)
{
    struct stat st;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return diag_errno(d, errno, "looking at it");
    if (++s->entries > s->limits->max_entries)
        return diag_set(d, EFBIG, "more than %llu entries", (unsigned long long)s->limits->max_entries);
    if (!S_ISLNK(st.st_mode) && (st.st_mode & ~(mode_t)SURVEY_MODES))
        return diag_set(d, EPROTO, "has mode %o, which unpacking never gives", st.st_mode & 07777);
    if (S_ISREG(st.st_mode))
        return survey_file(s, dir, name, &st, d);
    if (S_ISLNK(st.st_mode))
        return survey_symlink(s, dir, name, &st, d);
    if (S_ISDIR(st.st_mode))
        return survey_child(s, dir, name, &st, depth, d);
    return diag_set(d, EPROTO, "is neither a file nor a directory nor a symlink");
}

static int survey_dir(struct survey *s, int dir, unsigned depth, struct diag *d)
{
    struct names n = {0};
    int r = names_read(s, dir, &n, d);

    for (size_t i = 0; i < n.count && r == 0; i++) {
        r = survey_entry(s, dir, n.list[i], depth, d);
        if (r == 0)
            r = jail_check_cpu(s->limits, d);
        if (r < 0 && depth < 3) /* the message has room for the beginning of the path */
            diag_prefix(d, "\"%.60s\"", n.list[i]);
    }
    names_done(&n);
    if (r == 0)
        digest_data(s->digest, "e", 1);
    return r;
}

/* Beside the image lies its function.ini, or nothing. */
static int survey_staging(struct diag *d)
{
    int fd = openat(UNPACK_FD_STAGING, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    if (!list) {
        r = diag_errno(d, errno, "reading the staging directory");
        fd_close(fd);
        return r;
    }
    while (r == 0 && (e = readdir(list)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, UNPACK_ROOTFS) != 0 && strcmp(e->d_name, UNPACK_INI) != 0)
            r = diag_set(d, EPROTO, "\"%.60s\" lies beside the image", e->d_name);
    closedir(list);
    return r;
}

int survey_all(int root_fd, const struct unpack_limits *l, struct survey_flush *flush, struct digest *g, struct unpack_result *res, struct diag *d)
{
    cleanup_free char *block = malloc(SURVEY_BLOCK);
    struct survey s = {.limits = l, .flush = flush, .digest = g, .block = block, .depth_max = l->max_depth < SURVEY_DEPTH_MAX ? l->max_depth : SURVEY_DEPTH_MAX};
    int r;

    if (!block)
        return diag_set(d, ENOMEM, "out of memory");
    r = survey_staging(d);
    if (r == 0)
        r = survey_dir(&s, root_fd, 0, d);
    tdestroy(s.links, free);
    if (r == 0)
        r = survey_flush_finish(flush, d);
    if (r < 0)
        return diag_prefix(d, "the unpacked tree");
    res->bytes = s.bytes;
    res->entries = s.entries;
    return digest_finish(g, res->sha256, d);
}
