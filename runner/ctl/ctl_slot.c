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

#define TAKE_TRIES 100

void ctl_slot_dir(unsigned k, char *buf, size_t size)
{
    snprintf(buf, size, SLOT_DIR "%u", k);
}

/* Whoever holds the lock removes the directory before letting go, and so does the daemon: a lock counts only while this very directory is under the name. */
static bool is_named(int fd, const char *path)
{
    struct stat here, there;

    return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_ino == there.st_ino && here.st_dev == there.st_dev;
}

/*
 * -EWOULDBLOCK: somebody holds it. -ESTALE: it was removed at this moment. It must be root's alone: whoever could write here could make root remove files
 * elsewhere.
 */
static int lock_dir(const char *path, struct diag *d)
{
    cleanup_fd int fd = -1;
    struct stat here;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "%s", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESTALE : diag_errno(d, errno, "%s", path);
    if (fstat(fd, &here) < 0)
        return diag_errno(d, errno, "%s", path);
    if (here.st_uid != geteuid() || (here.st_mode & 077))
        return diag_set(d, EPERM, "%s: belongs to somebody else, or others may enter it: remove it", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EWOULDBLOCK : diag_errno(d, errno, "%s", path);
    return is_named(fd, path) ? take_fd(&fd) : -ESTALE;
}

int ctl_slot_subnet_free(unsigned k, struct diag *d)
{
    struct net_options o = {.prefix_len = 22};

    snprintf(o.bridge, sizeof(o.bridge), "fr%ub", k);
    snprintf(o.port, sizeof(o.port), "fr%uv", k);
    o.subnet.s_addr = htonl((10U << 24) | (232U << 16) | (4 * k << 8));
    return net_subnet_free(&o, d);
}

/* -EWOULDBLOCK: taken, try the next. */
static int take_number(unsigned k, struct slot *ret, struct diag *d)
{
    char path[SLOT_DIR_MAX];
    int fd = -ESTALE;

    ctl_slot_dir(k, path, sizeof(path));
    for (unsigned i = 0; i < TAKE_TRIES && fd == -ESTALE; i++)
        fd = lock_dir(path, d);
    if (fd == -ESTALE)
        return diag_set(d, EBUSY, "%s: vanishes again and again", path);
    if (fd < 0)
        return fd;
    *ret = (struct slot){.k = k, .lock_fd = fd};
    return 0;
}

int ctl_slot_take(unsigned from, struct slot *ret, struct diag *d)
{
    for (unsigned k = from; k <= SLOT_LAST; k++) {
        int r = take_number(k, ret, d);

        if (r != -EWOULDBLOCK)
            return r;
    }
    return diag_set(d, EBUSY, "no network for another private daemon: those from 10.232.%u.0/22 to 10.232.%u.0/22 are in use (ip route; ls -d " SLOT_DIR "*)",
                    4 * SLOT_FIRST, 4 * SLOT_LAST);
}

int ctl_slot_release(struct slot *s)
{
    char path[SLOT_DIR_MAX];
    int r = 0;

    if (s->lock_fd < 0)
        return 0;
    ctl_slot_dir(s->k, path, sizeof(path));
    if (is_named(s->lock_fd, path)) /* else it is gone, or somebody else's by now */
        r = fd_remove_tree(AT_FDCWD, path);
    s->lock_fd = fd_close(s->lock_fd);
    return r;
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
