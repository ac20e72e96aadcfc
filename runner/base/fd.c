/* fd.c: see fd.h. The publishing functions are the only place that knows the write-fsync-rename order. */
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

int fd_close(int fd)
{
    if (fd >= 0) {
        int saved = errno;

        close(fd);
        errno = saved;
    }
    return -1;
}

ssize_t fd_read_file(int dirfd, const char *path, char *buf, size_t size)
{
    cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    if (fd < 0)
        return -errno;
    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0) {
            buf[len] = '\0';
            return (ssize_t)len;
        }
        len += (size_t)n;
    }
    return -EFBIG;
}

ssize_t fd_read_all(int fd, size_t max, char **ret_data)
{
    cleanup_free char *data = NULL;
    size_t len = 0, room = 0;

    for (;;) {
        ssize_t n;

        if (len == room) {
            size_t want = room ? room * 2 : 4096;
            char *grown;

            if (want > max + 1)
                want = max + 1;
            if (want == room)
                return -EFBIG;
            grown = realloc(data, want + 1);
            if (!grown)
                return -ENOMEM;
            data = grown;
            room = want;
        }
        n = read(fd, data + len, room - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return -EFBIG;
    }
    data[len] = '\0';
    *ret_data = take_ptr(data);
    return (ssize_t)len;
}

int fd_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int fd_write_kernel(int dirfd, const char *path, const char *value)
{
    cleanup_fd int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
    size_t len = strlen(value);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = write(fd, value, len);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

/* A name beside `name` that a sweep recognises by its dot and that no other process of ours uses at this moment. */
static int temp_name(const char *name, char *buf, size_t size)
{
    int n = snprintf(buf, size, ".%s.%d", name, (int)getpid());

    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static int publish_rename(int dirfd, const char *from, const char *to)
{
    cleanup_fd int dir = -1;

    if (renameat(dirfd, from, dirfd, to) < 0) {
        int err = errno;

        unlinkat(dirfd, from, 0);
        return -err;
    }
    dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return -errno;
    return 0;
}

static int new_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode, uid_t uid, gid_t gid)
{
    cleanup_fd int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    int r;

    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, data, len);
    if (r == 0 && ((uid != (uid_t)-1 && fchown(fd, uid, gid) < 0) || fchmod(fd, mode) < 0 || fsync(fd) < 0))
        r = -errno;
    if (r < 0)
        unlinkat(dirfd, name, 0);
    return r;
}

int fd_new_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
    return new_file(dirfd, name, data, len, mode, (uid_t)-1, (gid_t)-1);
}

int fd_publish_file_of(int dirfd, const char *name, const void *data, size_t len, mode_t mode, uid_t uid, gid_t gid)
{
    char temp[NAME_MAX + 1];
    int r = temp_name(name, temp, sizeof(temp));

    if (r < 0)
        return r;
    unlinkat(dirfd, temp, 0);
    r = new_file(dirfd, temp, data, len, mode, uid, gid);
    return r < 0 ? r : publish_rename(dirfd, temp, name);
}

int fd_publish_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
    return fd_publish_file_of(dirfd, name, data, len, mode, (uid_t)-1, (gid_t)-1);
}

int fd_publish_symlink(int dirfd, const char *name, const char *target)
{
    char temp[NAME_MAX + 1];
    int r = temp_name(name, temp, sizeof(temp));

    if (r < 0)
        return r;
    unlinkat(dirfd, temp, 0);
    if (symlinkat(target, dirfd, temp) < 0)
        return -errno;
    return publish_rename(dirfd, temp, name);
}

int fd_mkdir_p(int dirfd, const char *path, mode_t mode)
{
    char buf[PATH_MAX];
    size_t len = strlen(path);

    if (len >= sizeof(buf))
        return -ENAMETOOLONG;
    memcpy(buf, path, len + 1);
    for (char *p = buf + 1;; p++) {
        char c = *p;

        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        if (mkdirat(dirfd, buf, mode) < 0 && errno != EEXIST)
            return -errno;
        if (c == '\0')
            return 0;
        *p = c;
    }
}

/* The size of a control message for `n` descriptors; alignment is the reason for the union. */
union pass_control {
    struct cmsghdr align;
    char buf[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
};

int fd_send(int sock, const void *data, size_t len, const int *fds, unsigned nfds, int flags)
{
    union pass_control control = {0};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (nfds > FD_PASS_MAX)
        return -EINVAL;
    if (nfds) {
        struct cmsghdr *c;

        msg.msg_control = control.buf;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    do
        n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EMSGSIZE;
}

/* Moves the descriptors of a message into the array; what does not fit is closed. Returns whether all fitted. */
static int take_passed(struct msghdr *msg, int *ret_fds, unsigned max_fds, unsigned *ret_nfds)
{
    int all = 1;

    *ret_nfds = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        unsigned n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*ret_nfds < max_fds) {
                ret_fds[(*ret_nfds)++] = fd;
            } else {
                fd_close(fd);
                all = 0;
            }
        }
    }
    return all;
}

/*
 * A peer that ends with something unread resets the other end, and the kernel says so once before it gives what the peer had sent (unix_release_sock() sets the error, which a receive looks at before the queue): its last
 * words, often why it ended. Where there are none it stays a reset, for who sent something is not to take the end for that of somebody who has read it.
 */
static ssize_t receive(int sock, struct msghdr *msg, int flags)
{
    bool reset = false;
    ssize_t n;

    do
        n = recvmsg(sock, msg, flags);
    while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
    if (reset && n <= 0)
        return -ECONNRESET;
    return n < 0 ? -errno : n;
}

ssize_t fd_recv(int sock, void *data, size_t size, int *ret_fds, unsigned max_fds, unsigned *ret_nfds, int flags)
{
    union pass_control control = {0};
    struct iovec iov = {.iov_base = data, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
    unsigned nfds = 0;
    ssize_t n;
    int all;

    n = receive(sock, &msg, flags | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return n;
    all = take_passed(&msg, ret_fds, max_fds, &nfds);
    all = all && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    while (nfds > 0 && (!all || n == 0)) /* nobody takes descriptors from what looks like the end */
        fd_close(ret_fds[--nfds]);
    if (!all)
        return -EMSGSIZE;
    if (ret_nfds)
        *ret_nfds = nfds;
    return n;
}

int fd_set_nonblock(int fd, int on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

void fd_raise_limit(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

int fd_sealed_memfd(const char *name, const void *data, size_t len, int exec)
{
    const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    cleanup_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | (exec ? MFD_EXEC : 0U));
    int r;

    if (fd < 0 && errno == EINVAL) /* MFD_EXEC is known from 6.3 on; before, every memfd can be executed */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, data, len);
    if (r < 0)
        return r;
    if (fchmod(fd, exec ? 0555 : 0444) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
        return -errno;
    return take_fd(&fd);
}
