/* probe_crowd.c: many connections at once, to an address that it is told. */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CROWD_MAX 900 /* below the function's own limit of open files */

static long now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Is the connection still there? Its peer sends nothing while it waits for a head. */
static bool stands(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK);

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN));
}

static int open_one(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != EINPROGRESS) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* crowd ADDRESS PORT N SECONDS: holds N connections as well as it can, and opens those again that are refused; prints how many stand at the end and how many were opened */
int probe_crowd(char **args)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(args[1], NULL, 10))};
    long count = strtol(args[2], NULL, 10), until = now_ms() + strtol(args[3], NULL, 10) * 1000, opened = 0, standing = 0;
    const struct timespec pause = {.tv_nsec = 1000000};
    static int fds[CROWD_MAX];

    probe_expect(inet_pton(AF_INET, args[0], &to.sin_addr) == 1, "%s is no address", args[0]);
    if (count > CROWD_MAX)
        count = CROWD_MAX;
    memset(fds, -1, sizeof(fds));
    while (now_ms() < until) {
        for (long i = 0; i < count; i++) {
            if (fds[i] >= 0 && stands(fds[i]))
                continue;
            if (fds[i] >= 0)
                close(fds[i]);
            fds[i] = open_one(&to);
            opened += fds[i] >= 0;
        }
        nanosleep(&pause, NULL);
    }
    for (long i = 0; i < count; i++) {
        struct sockaddr_in peer;
        socklen_t len = sizeof(peer);

        standing += fds[i] >= 0 && getpeername(fds[i], (struct sockaddr *)&peer, &len) == 0 && stands(fds[i]);
    }
    printf("standing %ld opened %ld\n", standing, opened);
    return 0;
}
