/*
 * tree.c: removing a directory with all below it. The tree may have been written by somebody hostile: no symlink is followed, no other file system is entered, and the depth is not bounded by the
 * stack (a directory that is not empty is moved up to the top, where the walk starts again).
 */
#include "fd.h"

#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TREE_DEPTH_MAX 64

struct tree_walk {
    int top;      /* the directory that is being emptied; deep children are moved here */
    dev_t dev;    /* its file system: nothing else is entered */
    unsigned seq; /* for names of what is moved up */
    uint64_t end_ns;
};

static int tree_empty(struct tree_walk *w, int dirfd, unsigned depth);

static int tree_move_up(struct tree_walk *w, int dirfd, const char *name)
{
    char up[32];
    int r;

    do {
        snprintf(up, sizeof(up), ".fnd-rm-%u", w->seq++);
        r = renameat2(dirfd, name, w->top, up, RENAME_NOREPLACE) < 0 ? -errno : 0;
    } while (r == -EEXIST);
    return r; /* ENOSPC, say: taken for success, the walk would find the directory here again, for ever */
}

static int tree_remove_entry(struct tree_walk *w, int dirfd, const char *name, unsigned depth)
{
    cleanup_fd int sub = -1;
    struct stat st;
    int r;

    if (w->end_ns && clock_mono_ns() >= w->end_ns)
        return -ETIME;
    if (unlinkat(dirfd, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno == ENOENT ? 0 : -errno;
    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -errno;
    if (depth >= TREE_DEPTH_MAX)
        return tree_move_up(w, dirfd, name);
    sub = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sub < 0 || fstat(sub, &st) < 0)
        return -errno;
    if (st.st_dev != w->dev)
        return -EXDEV;
    r = tree_empty(w, sub, depth + 1);
    if (r < 0)
        return r;
    return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int tree_empty(struct tree_walk *w, int dirfd, unsigned depth)
{
    cleanup_fd int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir;
    int r = 0, left = 1;

    if (fd < 0)
        return -errno;
    dir = fdopendir(fd);
    if (!dir)
        return -errno;
    take_fd(&fd);
    while (r == 0 && left) { /* again until a pass finds nothing: entries may have been moved up behind the reader */
        struct dirent *e;

        left = 0;
        rewinddir(dir);
        while (r == 0 && (e = readdir(dir))) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            left = 1;
            r = tree_remove_entry(w, dirfd, e->d_name, depth);
        }
    }
    closedir(dir);
    return r;
}

int fd_remove_tree(int dirfd, const char *name)
{
    return fd_remove_tree_until(dirfd, name, 0);
}

int fd_remove_tree_until(int dirfd, const char *name, uint64_t end_ns)
{
    struct tree_walk w = {.top = -1, .end_ns = end_ns};
    cleanup_fd int top = -1;
    struct stat st;
    int r;

    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    top = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0 || fstat(top, &st) < 0)
        return -errno;
    w.top = top;
    w.dev = st.st_dev;
    r = tree_empty(&w, top, 0);
    if (r < 0)
        return r;
    return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}
