/* template.c: a template's directory, copied under another name. Nothing that is there is written to: the top is made anew, and every file in it is. */
#include "project.h"

#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX   16
#define FILE_MAX    (16U << 20)
#define PLACEHOLDER "@NAME@"

static int copy_directory(int from, int to, const char *name, unsigned depth, struct diag *d);

/* Bytes that are no text stay as they are. */
static void replace(const char *text, size_t len, const char *name, struct strbuf *out)
{
    const char *p = text, *hit;

    if (len == 0 || memchr(text, '\0', len)) {
        strbuf_add(out, text, len);
        return;
    }
    for (; (hit = strstr(p, PLACEHOLDER)); p = hit + strlen(PLACEHOLDER)) {
        strbuf_add(out, p, (size_t)(hit - p));
        strbuf_puts(out, name);
    }
    strbuf_puts(out, p);
}

static int copy_file(int from, int to, const char *file, mode_t mode, const char *name, struct diag *d)
{
    struct strbuf out cleanup_strbuf = {0};
    cleanup_fd int in = openat(from, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), made = -1;
    cleanup_free char *text = NULL;
    ssize_t n = in < 0 ? -errno : fd_read_all(in, FILE_MAX, &text);
    int r;

    if (n < 0)
        return diag_errno(d, (int)-n, "template: %s", file);
    replace(text ? text : "", (size_t)n, name, &out);
    made = openat(to, file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0111 ? 0777 : 0666);
    if (made < 0)
        return diag_errno(d, errno, "%s", file);
    r = out.failed ? -ENOMEM : fd_write_all(made, out.data ? out.data : "", out.len);
    return r < 0 ? diag_errno(d, -r, "%s", file) : 0;
}

static int copy_entry(int from, int to, const char *entry, const char *name, unsigned depth, struct diag *d)
{
    cleanup_fd int sub_from = -1, sub_to = -1;
    struct stat st;

    if (fstatat(from, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return diag_errno(d, errno, "template: %s", entry);
    if (S_ISREG(st.st_mode))
        return copy_file(from, to, entry, st.st_mode, name, d);
    if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
        return diag_set(d, EINVAL, "template: %s: a template consists of files and directories, nested up to %d deep", entry, DEPTH_MAX);
    sub_from = openat(from, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub_from < 0 || mkdirat(to, entry, 0777) < 0)
        return diag_errno(d, errno, "%s", entry);
    sub_to = openat(to, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return sub_to < 0 ? diag_errno(d, errno, "%s", entry) : copy_directory(sub_from, sub_to, name, depth + 1, d);
}

static int copy_directory(int from, int to, const char *name, unsigned depth, struct diag *d)
{
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int r = 0;

    if (!dir) {
        r = diag_errno(d, errno, "template");
        fd_close(fd);
        return r;
    }
    while (r == 0 && (e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = copy_entry(from, to, e->d_name, name, depth, d);
    closedir(dir);
    return r;
}

int template_copy(const char *from, const char *path, const char *name, struct diag *d)
{
    cleanup_fd int source = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), made = -1;
    int r;

    if (source < 0)
        return diag_errno(d, errno, "%s", from);
    if (mkdir(path, 0777) < 0)
        return errno == EEXIST   ? diag_set(d, EEXIST, "%s: is there already, and nothing is overwritten: choose another name, or remove it", path)
               : errno == ENOENT ? diag_set(d, ENOENT, "%s: the directory that it is to be made in is not there: make that first", path)
                                 : diag_errno(d, errno, "%s", path);
    made = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    r = made < 0 ? diag_errno(d, errno, "%s", path) : copy_directory(source, made, name, 0, d);
    if (r < 0)
        fd_remove_tree(AT_FDCWD, path);
    return r;
}
