/* probe_reach.c: where a function's connections go. Nothing here sends to an address that it was not told. */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_MS 400

socklen_t probe_address(const char *text, struct sockaddr_storage *ret)
{
    char host[64];
    const char *comma = strchr(text, ',');
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    snprintf(host, sizeof(host), "%.*s", comma ? (int)(comma - text) : 0, text);
    if (comma && inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)strtol(comma + 1, NULL, 10));
        return sizeof(*in);
    }
    if (comma && inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)strtol(comma + 1, NULL, 10));
        return sizeof(*in6);
    }
    return 0;
}

/* All at once, then one wait: an address that answers with silence costs the wait, not each. */
static int reach(char **args, bool wanted)
{
    struct pollfd fds[250];
    bool reached[250] = {false};
    size_t n = 0;

    for (; args[n] && n < 250; n++) {
        struct sockaddr_storage addr;
        socklen_t len = probe_address(args[n], &addr);

        fds[n] = (struct pollfd){.fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), .events = POLLOUT};
        probe_expect(len > 0, "\"%s\" is no address", args[n]);
        reached[n] = fds[n].fd >= 0 && connect(fds[n].fd, (const struct sockaddr *)&addr, len) == 0;
        if (fds[n].fd >= 0 && !reached[n] && errno != EINPROGRESS) { /* refused at once */
            close(fds[n].fd);
            fds[n].fd = -1;
        }
    }
    poll(NULL, 0, WAIT_MS);
    poll(fds, n, 0);
    for (size_t i = 0; i < n; i++) {
        int err = 0;
        socklen_t len = sizeof(err);

        if (fds[i].fd >= 0 && (fds[i].revents & POLLOUT) && getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0)
            reached[i] |= err == 0;
        if (fds[i].fd >= 0)
            close(fds[i].fd);
        probe_expect(reached[i] == wanted, wanted ? "%s cannot be reached" : "%s can be reached", args[i]);
    }
    return 0;
}

/* unreachable ADDRESS,PORT... */
int probe_unreachable(char **args)
{
    return reach(args, false);
}

/* reachable ADDRESS,PORT... */
int probe_reachable(char **args)
{
    return reach(args, true);
}

/* connect-flood ADDRESS,PORT COUNT: so many connections, with half a request on each, held in the background for 8 s; prints how many there were */
int probe_connect_flood(char **args)
{
    static const char half[] = "GET /fn/neighbour/ HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    const unsigned most = (unsigned)strtoul(args[1], NULL, 10);
    struct sockaddr_storage addr;
    const socklen_t len = probe_address(args[0], &addr);
    int told[2];
    unsigned n = 0;

    probe_expect(len > 0 && pipe2(told, O_CLOEXEC) == 0, "\"%s\" is no address", args[0]);
    if (fork() != 0) {
        close(told[1]);
        probe_expect(read(told[0], &n, sizeof(n)) == (ssize_t)sizeof(n), "no word of the flood");
        printf("connected %u\n", n);
        return 0;
    }
    close(STDOUT_FILENO);
    for (unsigned i = 0; i < most; i++) {
        const struct timeval patience = {.tv_usec = 200000};
        int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
            break;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); /* of connect(2) as well */
        if (connect(fd, (const struct sockaddr *)&addr, len) < 0)
            break;
        n += send(fd, half, sizeof(half) - 1, MSG_NOSIGNAL) > 0;
    }
    (void)!write(told[1], &n, sizeof(n));
    sleep(8);
    _exit(0);
}

/* abstract NAME...: unix sockets of the host that have no path */
int probe_abstract(char **args)
{
    for (; *args; args++) {
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        const size_t len = strlen(*args);
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);

        memcpy(addr.sun_path + 1, *args, len);
        probe_expect(connect(fd, (const struct sockaddr *)&addr, size) < 0 && errno == ECONNREFUSED, "%s", *args);
        probe_expect(connect(stream, (const struct sockaddr *)&addr, size) < 0 && errno == ECONNREFUSED, "%s", *args);
        close(fd);
        close(stream);
    }
    return 0;
}

/* As many files as there can be: the limit holds, and cannot be raised. */
int probe_descriptors(char **args)
{
    struct rlimit limit = {0};
    unsigned n = 0;

    probe_expect(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max <= 1U << 20, "limit of files %llu", (unsigned long long)limit.rlim_max);
    limit.rlim_max++;
    probe_expect(setrlimit(RLIMIT_NOFILE, &limit) < 0 && errno == EPERM, "the limit of files can be raised");
    while (n <= limit.rlim_max && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
        n++;
    probe_expect(n < limit.rlim_max && errno == EMFILE, "%u files opened", n);
    return 0;
}
