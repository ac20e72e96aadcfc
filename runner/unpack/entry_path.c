/* entry_path.c: an entry's name made plain, and the way to its directory. The process's root is the image (jail.c), so whatever a symlink on the way says, the kernel stays inside. */
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int entry_path(const char *name, unsigned max_depth, char *out, struct diag *d)
{
    size_t at = 0;
    unsigned depth = 0;

    if (!name || !*name)
        return diag_set(d, EINVAL, "an entry has no name");
    for (const char *p = name; *p;) {
        size_t len = strcspn(p, "/");
        const char *component = p;

        p += len + (p[len] == '/');
        if (len == 0 || (len == 1 && component[0] == '.'))
            continue;
        if (len == 2 && component[0] == '.' && component[1] == '.')
            return diag_set(d, EINVAL, "entry \"%.200s\": a name with \"..\" is not unpacked", name);
        if (len > NAME_MAX || at + len + 2 > PATH_MAX)
            return diag_set(d, ENAMETOOLONG, "entry \"%.200s...\": the name is too long", name);
        if (++depth > max_depth)
            return diag_set(d, ENAMETOOLONG, "entry \"%.200s...\": more than %u directories deep", name, max_depth);
        if (at > 0)
            out[at++] = '/';
        memcpy(out + at, component, len);
        at += len;
    }
    out[at] = '\0';
    return 0;
}

/* One component; a missing one is made where `made` says so. Symlinks are followed: /bin -> usr/bin is usual in images. */
static int enter(int dir, const char *name, int flags, uint64_t *made, struct diag *d)
{
    int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC | flags);

    if (fd >= 0 || errno != ENOENT || !made)
        return fd >= 0 ? fd : diag_errno(d, errno, "\"%.200s\" on its way", name);
    if (mkdirat(dir, name, 0755) < 0)
        return errno == EEXIST ? diag_set(d, ENOENT, "\"%.200s\" on its way is a symlink to nothing", name) : diag_errno(d, errno, "making \"%.200s\"", name);
    ++*made;
    fd = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC | flags);
    return fd >= 0 ? fd : diag_errno(d, errno, "\"%.200s\" on its way", name);
}

/* Component by component; path is taken to pieces. */
static int walk(int root_fd, char *path, int flags, uint64_t *made, struct diag *d)
{
    cleanup_fd int dir = -1;

    for (char *p = path; p;) {
        char *end = strchr(p, '/');
        int next;

        if (end)
            *end = '\0';
        next = enter(dir >= 0 ? dir : root_fd, p, flags, made, d);
        fd_close(dir);
        dir = next;
        if (dir < 0)
            return take_fd(&dir); /* an error number, nothing to close */
        p = end ? end + 1 : NULL;
    }
    return take_fd(&dir);
}

int entry_parent_plain(int dir_fd, const char *path, const char **ret_name, uint64_t *made, struct diag *d)
{
    const char *slash = strrchr(path, '/');
    char buf[PATH_MAX];

    *ret_name = slash ? slash + 1 : path;
    snprintf(buf, sizeof(buf), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return walk(dir_fd, buf, O_NOFOLLOW, made, d);
}

int entry_parent(int root_fd, const char *path, const char **ret_name, uint64_t *made, struct diag *d)
{
    const char *slash = strrchr(path, '/');
    char buf[PATH_MAX];
    cleanup_fd int dir = -1;

    *ret_name = slash ? slash + 1 : path;
    if (!slash) {
        dir = openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return dir >= 0 ? take_fd(&dir) : diag_errno(d, errno, "opening the root");
    }
    memcpy(buf, path, (size_t)(slash - path));
    buf[slash - path] = '\0';
    dir = openat(root_fd, buf, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 || errno != ENOENT)
        return dir >= 0 ? take_fd(&dir) : diag_errno(d, errno, "the directory \"%.200s\"", buf);
    return walk(root_fd, buf, 0, made, d);
}
