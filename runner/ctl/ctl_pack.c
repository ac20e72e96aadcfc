/*
 * ctl_pack.c: a directory as a tar stream, made while it is read: memory holds the names of the directories on the current path and one piece of one file.
 *
 * Two walks by the same code. The first opens everything and writes nothing, so that what cannot be sent is refused by name before the first byte; the
 * second writes. In between the tree may change: every name is
 * opened relative to its directory, without following a symlink or waiting for a FIFO's other end, and judged again by its descriptor. libarchive only
 * writes here; nothing is ever parsed.
 */
#include "project/project.h"

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
#include <unistd.h>

#define PACK_DEPTH_MAX 128
#define PACK_PIECE     65536
#define PACK_ID_MAX    65535 /* the image range */
#define PACK_INI       "function.ini"

struct pack_dir {
    int fd;
    char **names; /* sorted */
    size_t count, next;
    size_t path_len; /* of this directory in pack.path */
};

/* A file with several names that was seen: the first name has the bytes. */
struct pack_link {
    dev_t dev;
    ino_t ino;
    char path[];
};

struct pack {
    const char *top; /* for messages */
    struct pack_options o;
    bool ini_due;         /* o.ini comes first */
    uint64_t total, done; /* bytes of files */
    struct archive *archive;
    struct strbuf out; /* what libarchive wrote and nobody has read yet */
    size_t out_pos;
    bool keep_owners, ended;
    struct pack_dir dirs[PACK_DEPTH_MAX];
    unsigned depth;
    void *links; /* tsearch(3) tree */
    /* the current entry */
    char path[PATH_MAX], target[PATH_MAX];
    const char *hardlink;
    struct stat st;
    int file_fd;
    uint64_t left;
    char piece[PACK_PIECE];
};

static int refuse(const struct pack *p, int err, struct diag *d)
{
    return diag_errno(d, err, "%s/%s", p->top, p->path);
}

static void dir_close(struct pack_dir *dir)
{
    for (size_t i = 0; i < dir->count; i++)
        free(dir->names[i]);
    free(dir->names);
    dir->fd = fd_close(dir->fd);
    *dir = (struct pack_dir){.fd = -1};
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct pack_dir *dir, size_t *room, const char *name)
{
    if (dir->count == *room) {
        size_t more = *room ? *room * 2 : 32;
        char **grown = realloc(dir->names, more * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        dir->names = grown;
        *room = more;
    }
    dir->names[dir->count] = strdup(name);
    if (!dir->names[dir->count])
        return -ENOMEM;
    dir->count++;
    return 0;
}

static int read_names(struct pack_dir *dir, const struct image_order *order, const char *path)
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    size_t room = 0;
    int r = 0;

    if (!stream) {
        r = -errno;
        fd_close(fd);
        return r;
    }
    while (r == 0 && (errno = 0, e = readdir(stream)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = add_name(dir, &room, e->d_name);
    if (r == 0 && errno)
        r = -errno;
    closedir(stream);
    if (dir->count)
        qsort(dir->names, dir->count, sizeof(dir->names[0]), compare_names);
    if (dir->count && order)
        ctl_image_arrange(order, path, dir->names, dir->count);
    return r;
}

/* Enters a directory; takes fd. */
static int dir_push(struct pack *p, int fd, struct diag *d)
{
    struct pack_dir *dir = &p->dirs[p->depth];
    int r;

    if (p->depth == PACK_DEPTH_MAX) {
        fd_close(fd);
        return diag_set(d, ELOOP, "%s/%s: directories are nested more than %d deep", p->top, p->path, PACK_DEPTH_MAX);
    }
    *dir = (struct pack_dir){.fd = fd, .path_len = strlen(p->path)};
    p->depth++;
    r = read_names(dir, p->o.order, p->path);
    return r < 0 ? refuse(p, -r, d) : 0;
}

static int walk_start(struct pack *p, struct diag *d)
{
    int fd = beneath_dir(p->top, p->o.said);
    struct stat st;

    if (fd < 0)
        return beneath_refuse(-fd, p->top, d);
    if (fstat(fd, &st) < 0) {
        fd_close(fd);
        return diag_errno(d, errno, "%s", p->top);
    }
    p->keep_owners = st.st_uid == 0 && !p->o.uniform;
    p->ini_due = p->o.ini != NULL;
    p->path[0] = '\0';
    return dir_push(p, fd, d);
}

static const char *kind_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFSOCK:
        return "a socket";
    case S_IFIFO:
        return "a FIFO";
    case S_IFCHR:
    case S_IFBLK:
        return "a device";
    default:
        return "no file, directory or symlink";
    }
}

static int refuse_kind(const struct pack *p, struct diag *d)
{
    return diag_set(d, EINVAL, "%s/%s: is %s: a function consists of files, directories and symlinks; remove it or move it elsewhere", p->top, p->path,
                    kind_name(p->st.st_mode));
}

static int compare_links(const void *a, const void *b)
{
    const struct pack_link *x = a, *y = b;

    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Finds the first name of a file that has several, or notes this one. */
static int find_link(struct pack *p)
{
    size_t len = strlen(p->path) + 1;
    struct pack_link *link, **found;

    p->hardlink = NULL;
    if (p->st.st_nlink < 2)
        return 0;
    link = malloc(sizeof(*link) + len);
    if (!link)
        return -ENOMEM;
    link->dev = p->st.st_dev;
    link->ino = p->st.st_ino;
    memcpy(link->path, p->path, len);
    found = tsearch(link, &p->links, compare_links);
    if (!found || *found != link)
        free(link);
    if (!found)
        return -ENOMEM;
    if (*found != link)
        p->hardlink = (*found)->path;
    return 0;
}

static int open_file(struct pack *p, int dirfd, const char *name, struct diag *d)
{
    int r;

    p->file_fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (p->file_fd < 0)
        return refuse(p, errno, d);
    if (fstat(p->file_fd, &p->st) < 0)
        return refuse(p, errno, d);
    if (!S_ISREG(p->st.st_mode))
        return refuse_kind(p, d);
    r = find_link(p);
    if (r < 0)
        return refuse(p, -r, d);
    p->left = p->hardlink ? 0 : (uint64_t)p->st.st_size;
    return 0;
}

/* The file that stands in for the one in the directory. */
static int open_ini(struct pack *p, struct diag *d)
{
    size_t len = strlen(p->o.ini);

    str_copy(p->path, sizeof(p->path), PACK_INI);
    p->st = (struct stat){.st_mode = S_IFREG | 0644, .st_nlink = 1, .st_size = (off_t)len};
    p->hardlink = NULL;
    p->left = len;
    p->file_fd = fd_sealed_memfd(PACK_INI, p->o.ini, len, 0);
    return p->file_fd < 0 || lseek(p->file_fd, 0, SEEK_SET) < 0 ? refuse(p, p->file_fd < 0 ? -p->file_fd : errno, d) : 0;
}

static bool is_left_out(const struct pack *p)
{
    bool ini = strcmp(p->path, PACK_INI) == 0;

    for (unsigned i = 0; i < p->o.nskip; i++)
        if (p->o.skip[i].st_dev == p->st.st_dev && p->o.skip[i].st_ino == p->st.st_ino)
            return true;
    return ini ? p->o.ini != NULL : p->o.ignore && ignore_match(p->o.ignore, p->path, S_ISDIR(p->st.st_mode));
}

/* 1: it is no part of the package. */
static int open_entry(struct pack *p, int dirfd, const char *name, struct diag *d)
{
    ssize_t n;
    int fd;

    p->hardlink = NULL;
    p->left = 0;
    if (fstatat(dirfd, name, &p->st, AT_SYMLINK_NOFOLLOW) < 0)
        return refuse(p, errno, d);
    if (is_left_out(p))
        return 1;
    switch (p->st.st_mode & S_IFMT) {
    case S_IFREG:
        return open_file(p, dirfd, name, d);
    case S_IFLNK:
        n = readlinkat(dirfd, name, p->target, sizeof(p->target) - 1);
        if (n < 0)
            return refuse(p, errno, d);
        p->target[n] = '\0';
        return 0;
    case S_IFDIR:
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return refuse(p, errno, d);
        return dir_push(p, fd, d);
    default:
        return refuse_kind(p, d);
    }
}

/* The next entry of the walk: 1, its name in path, a directory already entered, a file open; 0 at the end. */
static int walk_next(struct pack *p, struct diag *d)
{
    p->file_fd = fd_close(p->file_fd);
    if (p->ini_due) {
        p->ini_due = false;
        return open_ini(p, d) < 0 ? -d->err : 1;
    }
    while (p->depth > 0) {
        struct pack_dir *dir = &p->dirs[p->depth - 1];
        const char *name;
        int n, r;

        if (dir->next == dir->count) {
            dir_close(dir);
            p->depth--;
            continue;
        }
        name = dir->names[dir->next++];
        n = snprintf(p->path + dir->path_len, sizeof(p->path) - dir->path_len, "%s%s", dir->path_len ? "/" : "", name);
        if (n < 0 || (size_t)n >= sizeof(p->path) - dir->path_len)
            return refuse(p, ENAMETOOLONG, d);
        r = open_entry(p, dir->fd, name, d);
        if (r != 1)
            return r < 0 ? r : 1;
    }
    return 0;
}

static void walk_done(struct pack *p)
{
    p->file_fd = fd_close(p->file_fd);
    while (p->depth > 0)
        dir_close(&p->dirs[--p->depth]);
    tdestroy(p->links, free);
    p->links = NULL;
}

static la_ssize_t on_output(struct archive *a, void *arg, const void *data, size_t len)
{
    struct pack *p = arg;

    strbuf_add(&p->out, data, len);
    if (p->out.failed) {
        archive_set_error(a, ENOMEM, "out of memory");
        return -1;
    }
    return (la_ssize_t)len;
}

static int refuse_archive(struct pack *p, struct diag *d)
{
    const char *text = archive_error_string(p->archive);
    int err = archive_errno(p->archive);

    return diag_set(d, err > 0 ? err : EIO, "%s/%s: %s", p->top, p->path, text ? text : "cannot be put into an archive");
}

static int writer_open(struct pack *p, struct diag *d)
{
    p->path[0] = '\0';
    p->archive = archive_write_new();
    if (!p->archive)
        return diag_set(d, ENOMEM, "out of memory");
    /* GNU's form has names of any length as the bytes that they are; pax has UTF-8, or a record before each entry that GNU tar warns of. */
    if (archive_write_set_format_gnutar(p->archive) != ARCHIVE_OK || archive_write_set_bytes_per_block(p->archive, 0) != ARCHIVE_OK ||
        archive_write_open(p->archive, p, NULL, on_output, NULL) != ARCHIVE_OK)
        return refuse_archive(p, d);
    return 0;
}

static unsigned owner(const struct pack *p, unsigned id)
{
    return p->keep_owners && id <= PACK_ID_MAX ? id : 0;
}

/* An image has no setuid bit. */
static mode_t mode_of(const struct pack *p)
{
    if (!p->o.uniform)
        return p->st.st_mode & 01777;
    return S_ISLNK(p->st.st_mode) ? 0777 : S_ISDIR(p->st.st_mode) || p->st.st_mode & 0100 ? 0755 : 0644;
}

static int write_head(struct pack *p, struct diag *d)
{
    struct archive_entry *e = archive_entry_new();
    int r;

    if (!e)
        return diag_set(d, ENOMEM, "out of memory");
    archive_entry_set_pathname(e, p->path);
    archive_entry_set_filetype(e, p->st.st_mode & S_IFMT);
    archive_entry_set_perm(e, mode_of(p));
    archive_entry_set_uid(e, owner(p, p->st.st_uid));
    archive_entry_set_gid(e, owner(p, p->st.st_gid));
    archive_entry_set_mtime(e, 0, 0);
    archive_entry_set_size(e, (la_int64_t)p->left);
    if (S_ISLNK(p->st.st_mode))
        archive_entry_set_symlink(e, p->target);
    if (p->hardlink)
        archive_entry_set_hardlink(e, p->hardlink);
    r = archive_write_header(p->archive, e);
    archive_entry_free(e);
    return r == ARCHIVE_OK || r == ARCHIVE_WARN ? 0 : refuse_archive(p, d);
}

static int write_piece(struct pack *p, struct diag *d)
{
    ssize_t n = read(p->file_fd, p->piece, p->left < sizeof(p->piece) ? (size_t)p->left : sizeof(p->piece));

    if (n < 0 && errno == EINTR)
        return 0;
    if (n < 0)
        return refuse(p, errno, d);
    if (n == 0)
        return diag_set(d, EIO, "%s/%s: became shorter while it was read", p->top, p->path);
    if (archive_write_data(p->archive, p->piece, (size_t)n) != n)
        return refuse_archive(p, d);
    p->left -= (uint64_t)n;
    p->done += (uint64_t)n;
    if (p->o.on_bytes)
        p->o.on_bytes(p->o.arg, p->done, p->total);
    return 0;
}

/* One step of the second walk: a piece of the open file, else the next entry's head, at last the archive's end. */
static int write_step(struct pack *p, struct diag *d)
{
    int r;

    if (p->file_fd >= 0 && p->left > 0)
        return write_piece(p, d);
    r = walk_next(p, d);
    if (r > 0)
        return write_head(p, d);
    if (r == 0) {
        p->ended = true;
        if (archive_write_close(p->archive) != ARCHIVE_OK)
            return refuse_archive(p, d);
    }
    return r;
}

static ssize_t pack_read(struct body *b, char *buf, size_t size)
{
    struct pack *p = b->more;
    size_t n;

    while (p->out_pos == p->out.len) {
        int r;

        p->out_pos = p->out.len = 0;
        if (p->ended)
            return 0;
        r = write_step(p, &b->diag);
        if (r < 0)
            return r;
    }
    n = p->out.len - p->out_pos < size ? p->out.len - p->out_pos : size;
    memcpy(buf, p->out.data + p->out_pos, n);
    p->out_pos += n;
    return (ssize_t)n;
}

static void pack_free(struct pack *p)
{
    walk_done(p);
    if (p->archive)
        archive_write_free(p->archive);
    strbuf_done(&p->out);
    free(p);
}

static void pack_body_done(struct body *b)
{
    pack_free(b->more);
}

int ctl_pack_directory(struct body *b, const char *path, struct diag *d)
{
    return ctl_pack_with(b, path, &(struct pack_options){0}, d);
}

int ctl_pack_with(struct body *b, const char *path, const struct pack_options *o, struct diag *d)
{
    struct pack *p = calloc(1, sizeof(*p));
    int r;

    ctl_body_init(b);
    if (!p)
        return diag_set(d, ENOMEM, "out of memory");
    p->top = path;
    p->o = *o;
    p->file_fd = -1;
    r = walk_start(p, d);
    while (r == 0) {
        r = walk_next(p, d);
        if (r <= 0)
            break;
        p->total += p->left;
        r = 0;
    }
    walk_done(p);
    if (r == 0)
        r = walk_start(p, d);
    if (r == 0)
        r = writer_open(p, d);
    if (r < 0) {
        pack_free(p);
        return r;
    }
    b->more = p;
    b->read = pack_read;
    b->done = pack_body_done;
    return 0;
}
