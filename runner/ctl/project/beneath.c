/*
 * beneath.c: files of a project's directory, which may be a stranger's while fnctl is root's, or a build server's with secrets beside it: a symlink that leads out of the directory is not followed (what it names could
 * become a part of the function, or of a message), and nothing but a regular file is opened (opening some devices does something already, a FIFO waits).
 */
#include "project.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES 100

static int open_below(int dir, const char *path, uint64_t flags)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = -1;

    /* EAGAIN: somewhere on this host something was renamed or mounted while a ".." was walked, and the kernel cannot tell whether it led out (openat2(2)). */
    for (int tries = 0; fd < 0 && tries < TRIES; tries++) {
        fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
        if (fd < 0 && errno != EAGAIN)
            break;
    }
    return fd < 0 ? -errno : (int)fd;
}

int beneath_dir(const char *path, size_t said)
{
    const size_t len = strlen(path);
    char top[PATH_MAX];
    cleanup_fd int fd = -1;

    if (len >= sizeof(top))
        return -ENAMETOOLONG;
    if (said == 0 || said >= len)
        said = len;
    memcpy(top, path, said);
    top[said] = '\0';
    fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    path += said + strspn(path + said, "/");
    return *path ? open_below(fd, path, O_RDONLY | O_DIRECTORY) : take_fd(&fd);
}

int beneath_file(const char *path, size_t said, const char *name)
{
    cleanup_fd int dir = beneath_dir(path, said), there = dir < 0 ? dir : open_below(dir, name, O_PATH);
    char self[40];
    struct stat st;
    int fd;

    if (there < 0)
        return take_fd(&there);
    if (fstat(there, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    snprintf(self, sizeof(self), "/proc/self/fd/%d", there);
    fd = open(self, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int beneath_refuse(int err, const char *path, struct diag *d)
{
    if (err == EXDEV)
        return diag_set(d, EINVAL, "%s: is a symlink that leads out of the directory: copy what it names into it", path);
    if (err == EINVAL)
        return diag_set(d, EINVAL, "%s: is no file", path);
    return diag_errno(d, err, "%s", path);
}
