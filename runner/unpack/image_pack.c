/*
 * image_pack.c: a tree as the tar of an image's layer. The same tree gives the same bytes: names are sorted, times are 0, owners are numbers.
 *
 * It runs in the jail, on a mount that cannot be written: a tree is only looked at.
 */
#include "image_export.h"

#include "diag.h"
#include "fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PACK_DEPTH_MAX 100U /* as deep as the survey went */

struct link {
    ino_t ino;
    char path[];
};

struct pack {
    const struct unpack_limits *limits;
    struct archive *layer, *outer; /* outer NULL: nothing is written */
    struct digest *digest;
    uint64_t size;
    void *links;
    char *block;
    char path[PATH_MAX];
};

int image_archive_failed(struct archive *a, const char *what, struct diag *d)
{
    const char *text = archive_error_string(a);

    return diag_set(d, archive_errno(a) > 0 ? archive_errno(a) : EIO, "\"%.200s\": %s", what, text ? text : "cannot be written");
}

static la_ssize_t on_layer(struct archive *a, void *arg, const void *data, size_t len)
{
    struct pack *x = arg;

    digest_data(x->digest, data, len);
    x->size += len;
    if (x->outer && archive_write_data(x->outer, data, len) != (la_ssize_t)len) {
        archive_set_error(a, archive_errno(x->outer) > 0 ? archive_errno(x->outer) : EIO, "the output was closed");
        return -1;
    }
    return (la_ssize_t)len;
}

static int compare_links(const void *a, const void *b)
{
    const struct link *x = a, *y = b;

    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* The first name of a file that has several; NULL: this is it. -ENOMEM. */
static int first_name(struct pack *x, ino_t ino, const char **ret)
{
    size_t len = strlen(x->path) + 1;
    struct link *l = malloc(sizeof(*l) + len), **found;

    if (!l)
        return -ENOMEM;
    l->ino = ino;
    memcpy(l->path, x->path, len);
    found = tsearch(l, &x->links, compare_links);
    if (!found || *found != l)
        free(l);
    if (!found)
        return -ENOMEM;
    *ret = *found == l ? NULL : (*found)->path;
    return 0;
}

static int write_head(struct pack *x, const struct stat *st, const char *target, const char *hardlink, struct diag *d)
{
    struct archive_entry *e = archive_entry_new();
    int r;

    if (!e)
        return diag_set(d, ENOMEM, "out of memory");
    archive_entry_set_pathname(e, x->path);
    archive_entry_set_filetype(e, st->st_mode & S_IFMT);
    archive_entry_set_perm(e, st->st_mode & 01777);
    archive_entry_set_uid(e, st->st_uid);
    archive_entry_set_gid(e, st->st_gid);
    archive_entry_set_mtime(e, 0, 0);
    archive_entry_set_size(e, S_ISREG(st->st_mode) && !hardlink ? st->st_size : 0);
    if (target)
        archive_entry_set_symlink(e, target);
    if (hardlink)
        archive_entry_set_hardlink(e, hardlink);
    r = archive_write_header(x->layer, e);
    archive_entry_free(e);
    return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 0 : image_archive_failed(x->layer, x->path, d);
}

static int write_data(struct pack *x, int fd, uint64_t left, uint64_t at, struct diag *d)
{
    while (left > 0) {
        ssize_t n = pread(fd, x->block, left < IMAGE_BLOCK ? (size_t)left : IMAGE_BLOCK, (off_t)at);
        int r;

        if (n <= 0)
            return diag_set(d, EIO, "\"%.200s\" cannot be read: was the function removed meanwhile?", x->path);
        if (archive_write_data(x->layer, x->block, (size_t)n) != n)
            return image_archive_failed(x->layer, x->path, d);
        left -= (uint64_t)n;
        at += (uint64_t)n;
        r = jail_check_cpu(x->limits, d);
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_file(struct pack *x, int dir, const char *name, const struct stat *st, struct diag *d)
{
    cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const char *hardlink = NULL;
    int r = fd < 0 ? -errno : st->st_nlink > 1 ? first_name(x, st->st_ino, &hardlink) : 0;

    if (r < 0)
        return diag_errno(d, -r, "\"%.200s\"", x->path);
    r = write_head(x, st, NULL, hardlink, d);
    return r < 0 || hardlink ? r : write_data(x, fd, (uint64_t)st->st_size, 0, d);
}

static int write_dir(struct pack *x, int dir, unsigned depth, struct diag *d);

static int write_entry(struct pack *x, int dir, const char *name, unsigned depth, struct diag *d)
{
    size_t len = strlen(x->path);
    char target[PATH_MAX];
    struct stat st;
    ssize_t n;
    int r;

    if (snprintf(x->path + len, sizeof(x->path) - len, "%s%s", len ? "/" : "", name) >= (int)(sizeof(x->path) - len))
        return diag_set(d, ENAMETOOLONG, "\"%.200s\" is too deep", x->path);
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return diag_errno(d, errno, "\"%.200s\"", x->path);
    if (S_ISREG(st.st_mode)) {
        r = write_file(x, dir, name, &st, d);
    } else if (S_ISLNK(st.st_mode)) {
        n = readlinkat(dir, name, target, sizeof(target) - 1);
        target[n < 0 ? 0 : n] = '\0';
        r = n < 0 ? diag_errno(d, errno, "\"%.200s\"", x->path) : write_head(x, &st, target, NULL, d);
    } else if (S_ISDIR(st.st_mode)) {
        cleanup_fd int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        r = sub < 0 ? diag_errno(d, errno, "\"%.200s\"", x->path) : write_head(x, &st, NULL, NULL, d);
        if (r == 0)
            r = write_dir(x, sub, depth + 1, d);
    } else {
        r = diag_set(d, EPROTO, "\"%.200s\" is neither a file nor a directory nor a symlink", x->path);
    }
    x->path[len] = '\0';
    return r;
}

static int not_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int write_dir(struct pack *x, int dir, unsigned depth, struct diag *d)
{
    struct dirent **names = NULL;
    int n = scandirat(dir, ".", &names, not_dots, by_bytes), r = 0;

    if (n < 0)
        return diag_errno(d, errno, "reading \"%.200s\"", x->path);
    if (depth > PACK_DEPTH_MAX)
        r = diag_set(d, EINVAL, "\"%.200s\" is too deep", x->path);
    for (int i = 0; i < n; i++) {
        if (r == 0)
            r = write_entry(x, dir, names[i]->d_name, depth, d);
        free(names[i]);
    }
    free(names);
    return r;
}

/* ---- the program that serves stdio elsewhere ---- */

static int write_program(struct pack *x, int fd, struct diag *d)
{
    static const char *const dirs[] = {"usr", "usr/lib", "usr/lib/fnd"};
    const struct stat dir = {.st_mode = S_IFDIR | 0755};
    struct stat st;
    int r = fstat(fd, &st) < 0 ? diag_errno(d, errno, "fn-init") : 0;

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && r == 0; i++) {
        snprintf(x->path, sizeof(x->path), "%s", dirs[i]);
        r = write_head(x, &dir, NULL, NULL, d);
    }
    if (r < 0)
        return r;
    snprintf(x->path, sizeof(x->path), "%s", &SPEC_WATCHDOG[1]);
    st = (struct stat){.st_mode = S_IFREG | 0755, .st_size = st.st_size};
    r = write_head(x, &st, NULL, NULL, d);
    return r < 0 ? r : write_data(x, fd, (uint64_t)st.st_size, 0, d);
}

/* ---- together ---- */

static int open_layer(struct pack *x, struct diag *d)
{
    x->layer = archive_write_new();
    /* As ctl_pack.c has it: names are bytes, and no tar warns. */
    if (!x->layer || archive_write_set_format_gnutar(x->layer) != ARCHIVE_OK || archive_write_set_bytes_per_block(x->layer, IMAGE_BLOCK) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(x->layer, 1) != ARCHIVE_OK || archive_write_open(x->layer, x, NULL, on_layer, NULL) != ARCHIVE_OK)
        return diag_set(d, ENOMEM, "the layer cannot be begun");
    return 0;
}

int image_pack(const struct image_tree *t, const struct unpack_limits *l, struct archive *outer, char ret_hex[65], uint64_t *ret_size, struct diag *d)
{
    cleanup_free char *block = malloc(IMAGE_BLOCK);
    cleanup_free struct pack *x = calloc(1, sizeof(*x));
    int r;

    if (!block || !x)
        return diag_set(d, ENOMEM, "out of memory");
    *x = (struct pack){.limits = l, .outer = outer, .block = block};
    r = digest_new(&x->digest, d);
    if (r == 0)
        r = open_layer(x, d);
    if (r == 0)
        r = t->kind == IMAGE_TREE_PROGRAM ? write_program(x, t->fd, d) : write_dir(x, t->fd, 0, d);
    if (r == 0 && archive_write_close(x->layer) != ARCHIVE_OK)
        r = image_archive_failed(x->layer, "the layer", d);
    if (x->layer)
        archive_write_free(x->layer);
    if (r == 0)
        r = digest_finish(x->digest, ret_hex, d);
    digest_free(x->digest);
    tdestroy(x->links, free);
    *ret_size = x->size;
    return r;
}
