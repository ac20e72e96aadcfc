/* ctl_slot.c: numbers and ports for private daemons. */
#include "ctl_private.h"

#include "fd.h"
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_TRIES 100

static void lock_path(unsigned k, char *buf, size_t size)
{
    snprintf(buf, size, SLOT_DIR "/%u.lock", k);
}

/* Root's alone: whoever could write here could make root lock, and later remove, files elsewhere. */
static int open_dir(struct diag *d)
{
    cleanup_fd int fd = -1;
    struct stat st;

    if (mkdir(SLOT_DIR, 0700) < 0 && errno != EEXIST)
        return diag_errno(d, errno, SLOT_DIR);
    fd = open(SLOT_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -EAGAIN : diag_errno(d, errno, SLOT_DIR);
    if (fstat(fd, &st) < 0)
        return diag_errno(d, errno, SLOT_DIR);
    if (st.st_uid != geteuid() || (st.st_mode & 077))
        return diag_set(d, EPERM, SLOT_DIR ": belongs to somebody else, or others may enter it: remove it");
    return take_fd(&fd);
}

/* -EWOULDBLOCK: somebody holds it. A holder removes the file before it lets go, so the file must still be the one under this name. */
static int lock_file(int dir, unsigned k)
{
    char name[16];
    cleanup_fd int fd = -1;
    struct stat here, there;

    snprintf(name, sizeof(name), "%u.lock", k);
    fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == ENOENT ? -EAGAIN : -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    if (fstat(fd, &here) < 0 || fstatat(AT_FDCWD, SLOT_DIR, &there, 0) < 0)
        return -EAGAIN;
    if (fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) < 0 || here.st_ino != there.st_ino || here.st_dev != there.st_dev)
        return -EAGAIN;
    return take_fd(&fd);
}

static int lock_number(unsigned k, struct diag *d)
{
    for (unsigned i = 0; i < DIR_TRIES; i++) {
        cleanup_fd int dir = open_dir(d);
        int fd = dir < 0 ? dir : lock_file(dir, k);

        if (fd != -EAGAIN)
            return fd;
    }
    return diag_set(d, EBUSY, SLOT_DIR "/%u.lock: vanishes again and again", k);
}

/* A daemon whose fnctl was killed may still be at its end; it holds its store. */
static bool state_in_use(unsigned k)
{
    char path[64];
    cleanup_fd int fd = -1;

    snprintf(path, sizeof(path), SLOT_DIR "/%u/state/lock", k);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int ctl_slot_subnet_free(unsigned k, struct diag *d)
{
    struct net_options o = {.prefix_len = 22};

    snprintf(o.bridge, sizeof(o.bridge), "fr%ub", k);
    snprintf(o.port, sizeof(o.port), "fr%uv", k);
    o.subnet.s_addr = htonl((10U << 24) | (232U << 16) | (4 * k << 8));
    return net_subnet_free(&o, d);
}

/* -EBUSY: taken, try the next. */
static int take_number(unsigned k, struct slot *ret, struct diag *d)
{
    cleanup_fd int fd = lock_number(k, d);

    if (fd == -EWOULDBLOCK)
        return diag_set(d, EBUSY, "number %u is taken", k);
    if (fd < 0)
        return d->err ? fd : diag_errno(d, -fd, SLOT_DIR "/%u.lock", k);
    ret->k = k;
    ret->lock_fd = take_fd(&fd);
    if (!state_in_use(k))
        return 0;
    ctl_slot_release(ret);
    return diag_set(d, EBUSY, "the daemon of number %u is still ending", k);
}

int ctl_slot_take(unsigned from, struct slot *ret, struct diag *d)
{
    for (unsigned k = from; k <= SLOT_LAST; k++) {
        int r;

        *d = (struct diag){0};
        r = take_number(k, ret, d);
        if (r != -EBUSY)
            return r;
    }
    return diag_set(d, EBUSY, "no network for another private daemon: 10.232.%u.0 to 10.232.%u.255 are all in use (ip route; ls " SLOT_DIR ")", 4 * SLOT_FIRST,
                    4 * SLOT_LAST + 3);
}

void ctl_slot_release(struct slot *s)
{
    char path[64];

    if (s->lock_fd < 0)
        return;
    lock_path(s->k, path, sizeof(path));
    unlink(path); /* while it is held: see lock_file() */
    s->lock_fd = fd_close(s->lock_fd);
    rmdir(SLOT_DIR); /* the last one */
}

int ctl_port_free(const char *address, unsigned port, struct diag *d)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (inet_pton(AF_INET, address, &sa.sin_addr) != 1)
        return diag_set(d, EINVAL, "%.80s is no IPv4 address", address);
    /* The daemon sets it, too: connections that linger after an earlier run are no obstacle, a listener is. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
        return diag_errno(d, errno, "%s:%u", address, port);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        if (errno == EADDRINUSE)
            return diag_set(d, EADDRINUSE, "%s:%u: the port is in use: choose another one, or end who listens there (ss -ltnp)", address, port);
        return diag_errno(d, errno, "%s:%u", address, port);
    }
    return 0;
}

int ctl_port_find(const char *address, unsigned from, unsigned *ret, struct diag *d)
{
    for (unsigned port = from; port <= PORT_LAST; port++) {
        int r = ctl_port_free(address, port, d);

        if (r == 0) {
            *ret = port;
            return 0;
        }
        if (r != -EADDRINUSE)
            return r;
    }
    return diag_set(d, EADDRINUSE, "%s: all ports from %u to %u are in use: choose one by --port", address, PORT_FIRST, PORT_LAST);
}
