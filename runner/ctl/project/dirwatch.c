/*
 * dirwatch.c: has something below a directory changed? inotify(7) on every directory of it.
 *
 * A directory is watched before it is read, so that what is made in it meanwhile shows in one way or the other; when the kernel's queue ran over, everything counts as changed. What is no part of the package
 * is not watched, and what editors leave beside a file for a moment does not count.
 */
#include "project.h"

#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define DEPTH_MAX 64
#define DIRS_MAX  8192
#define EVENTS    (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

struct watched {
    int wd;
    char *path; /* below the top; "" */
};

struct dirwatch {
    int fd;
    char *top;
    struct watched *dirs;
    unsigned count;
};

void dirwatch_close(struct dirwatch *w)
{
    if (!w)
        return;
    for (unsigned i = 0; i < w->count; i++)
        free(w->dirs[i].path);
    free(w->dirs);
    free(w->top);
    fd_close(w->fd);
    free(w);
}

int dirwatch_fd(const struct dirwatch *w)
{
    return w->fd;
}

static const char *path_of(const struct dirwatch *w, int wd)
{
    for (unsigned i = 0; i < w->count; i++)
        if (w->dirs[i].wd == wd)
            return w->dirs[i].path;
    return NULL;
}

/* A directory that was moved within the tree has the watch that it had, under another name. */
static int remember(struct dirwatch *w, int wd, const char *path)
{
    char *copy = strdup(path);

    if (!copy)
        return -ENOMEM;
    for (unsigned i = 0; i < w->count; i++)
        if (w->dirs[i].wd == wd) {
            free(w->dirs[i].path);
            w->dirs[i].path = copy;
            return 0;
        }
    if (w->count == DIRS_MAX) {
        free(copy);
        return -ENOSPC;
    }
    w->dirs[w->count++] = (struct watched){wd, copy};
    return 0;
}

/* One that vanished meanwhile is no error: its parent's watch has seen it go. */
static int add(struct dirwatch *w, const char *path, const struct ignore *g, unsigned depth)
{
    char full[PATH_MAX], below[PATH_MAX];
    struct dirent *e;
    DIR *dir;
    int wd, r = 0;

    if (snprintf(full, sizeof(full), "%s%s%s", w->top, *path ? "/" : "", path) >= (int)sizeof(full) || depth > DEPTH_MAX)
        return -ENAMETOOLONG;
    wd = inotify_add_watch(w->fd, full, EVENTS | IN_ONLYDIR | IN_EXCL_UNLINK | (*path ? IN_DONT_FOLLOW : 0));
    if (wd < 0)
        return *path && (errno == ENOENT || errno == ENOTDIR || errno == EACCES) ? 0 : -errno;
    r = remember(w, wd, path);
    dir = r == 0 ? opendir(full) : NULL;
    while (dir && r == 0 && (e = readdir(dir))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
            continue;
        if (snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", e->d_name) >= (int)sizeof(below))
            r = -ENAMETOOLONG;
        else if (!ignore_match(g, below, true))
            r = add(w, below, g, depth + 1);
    }
    if (dir)
        closedir(dir);
    return r;
}

int dirwatch_open(const char *top, const struct ignore *g, struct dirwatch **ret, struct diag *d)
{
    struct dirwatch *w = calloc(1, sizeof(*w));
    int r = -ENOMEM;

    if (w) {
        w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        w->top = strdup(top);
        w->dirs = calloc(DIRS_MAX, sizeof(*w->dirs));
        r = w->fd < 0 ? -errno : w->top && w->dirs ? add(w, "", g, 0) : -ENOMEM;
    }
    if (r < 0) {
        dirwatch_close(w);
        return r == -ENOSPC || r == -EMFILE
                   ? diag_set(d, -r, "%s: too many directories to watch: raise fs.inotify.max_user_watches, or leave some out (" IGNORE_FILE ")", top)
                   : diag_errno(d, -r, "watching %s", top);
    }
    *ret = w;
    return 0;
}

/* Of vim, emacs and the like. */
static bool is_passing(const char *name)
{
    size_t len = strlen(name);

    return strncmp(name, ".#", 2) == 0 || strcmp(name, "4913") == 0 || (len > 0 && name[len - 1] == '~') || str_ends_with(name, ".swp") ||
           str_ends_with(name, ".swx");
}

/* 1: it counts. */
static int judge(struct dirwatch *w, const struct inotify_event *e, const struct ignore *g)
{
    const char *dir = path_of(w, e->wd);
    char path[PATH_MAX];
    bool directory = e->mask & IN_ISDIR;
    int r;

    if (e->mask & IN_Q_OVERFLOW)
        return (r = add(w, "", g, 0)) < 0 ? r : 1;
    if (!dir || e->mask & IN_IGNORED)
        return 0;
    if (e->len == 0) /* the directory itself */
        return e->mask & (IN_DELETE_SELF | IN_MOVE_SELF) ? 1 : 0;
    if (snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", e->name) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    if (strcmp(path, IGNORE_FILE) != 0 && (is_passing(e->name) || ignore_match(g, path, directory)))
        return 0;
    r = directory && e->mask & (IN_CREATE | IN_MOVED_TO) ? add(w, path, g, 1) : 0;
    return r < 0 ? r : 1;
}

int dirwatch_read(struct dirwatch *w, const struct ignore *g, struct diag *d)
{
    char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    int changed = 0;
    ssize_t n;

    while ((n = read(w->fd, buf, sizeof(buf))) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const struct inotify_event *)(buf + at);
            int r = judge(w, e, g);

            if (r < 0)
                return diag_errno(d, -r, "watching %s", w->top);
            changed |= r;
            at += (ssize_t)(sizeof(*e) + e->len);
        }
    return n < 0 && errno != EAGAIN && errno != EINTR ? diag_errno(d, errno, "watching %s", w->top) : changed;
}
