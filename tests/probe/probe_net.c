/*
 * probe_net.c: where a function gets to, told and not judged: one line per target, for tests that know what must be there.
 *
 *   connect ADDRESS,PORT...   "ADDRESS,PORT WORD": what the server said first, "open" where it said nothing, "silence", or the errno's name
 *   trickle ADDRESS,PORT N    N connections, one after the other, a line each as above
 *   fetch ADDRESS,PORT PATH   GET, and the whole answer
 *   lookup NAME               the answer of the nameserver in /etc/resolv.conf: addresses, or the response code
 *   queries SECONDS           asks it as often as it can: "N sent, N refused"
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TARGETS_MAX 128
#define WAIT_MS     1500
#define DNS_WAIT_MS 8000

static const char *errno_word(int err)
{
    const char *name = strerrorname_np(err);

    return name ? name : "unknown";
}

static int begin(const char *text, struct pollfd *ret, const char **ret_word)
{
    struct sockaddr_storage addr;
    socklen_t len = probe_address(text, &addr);

    *ret = (struct pollfd){.fd = -1, .events = POLLOUT};
    *ret_word = NULL;
    if (len == 0)
        return -1;
    ret->fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ret->fd < 0 || (connect(ret->fd, (const struct sockaddr *)&addr, len) < 0 && errno != EINPROGRESS))
        *ret_word = errno_word(errno);
    return 0;
}

static void end(const char *text, struct pollfd *p, const char *word)
{
    struct pollfd in = {.fd = p->fd, .events = POLLIN};
    socklen_t len = sizeof(int);
    char said[64] = "";
    int err = 0;

    if (!word && poll(p, 1, 0) == 1 && getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0) {
        word = err ? errno_word(err) : "open";
        if (!err && poll(&in, 1, WAIT_MS) == 1) {
            ssize_t n = read(p->fd, said, sizeof(said) - 1);

            said[n > 0 ? strcspn(said, "\r\n ") : 0] = '\0';
        }
    }
    printf("%s %s\n", text, said[0] ? said : word ? word : "silence");
    if (p->fd >= 0)
        close(p->fd);
}

/* All at once: many that are silent cost one wait. */
int probe_connect(char **args)
{
    struct pollfd fds[TARGETS_MAX];
    const char *words[TARGETS_MAX];
    size_t n = 0;

    for (; args[n] && n < TARGETS_MAX; n++)
        probe_expect(begin(args[n], &fds[n], &words[n]) == 0, "\"%s\" is no address", args[n]);
    for (int waited = 0; waited < WAIT_MS; waited += 50) {
        bool all = true;

        for (size_t i = 0; i < n; i++)
            all &= words[i] != NULL || poll(&fds[i], 1, 0) == 1;
        if (all)
            break;
        poll(NULL, 0, 50);
    }
    for (size_t i = 0; i < n; i++)
        end(args[i], &fds[i], words[i]);
    return 0;
}

int probe_trickle(char **args)
{
    char *one[] = {args[0], NULL};

    for (long n = strtol(args[1], NULL, 10); n > 0; n--) {
        probe_connect(one);
        fflush(stdout);
    }
    return 0;
}

int probe_fetch(char **args)
{
    struct sockaddr_storage addr;
    socklen_t len = probe_address(args[0], &addr);
    int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char buf[4096];
    ssize_t n;

    if (len == 0 || connect(fd, (const struct sockaddr *)&addr, len) < 0) {
        printf("%s\n", errno_word(errno));
        return 0;
    }
    n = snprintf(buf, sizeof(buf), "GET %s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n", args[1]);
    probe_expect(write(fd, buf, (size_t)n) == n, "cannot send");
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        fwrite(buf, 1, (size_t)n, stdout);
    close(fd);
    return 0;
}

/* ---- DNS (RFC 1035), just enough to ask and to read what comes back ---- */

static bool nameserver(struct sockaddr_in *ret)
{
    char line[256], host[64];
    FILE *f = fopen("/etc/resolv.conf", "re");
    bool found = false;

    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(53)};
    while (f && !found && fgets(line, sizeof(line), f))
        found = sscanf(line, "nameserver %63s", host) == 1 && inet_pton(AF_INET, host, &ret->sin_addr) == 1;
    if (f)
        fclose(f);
    return found;
}

static size_t question(const char *name, uint8_t *q, size_t size)
{
    static const uint8_t head[12] = {0x12, 0x34, 1, 0, 0, 1}, tail[5] = {0, 0, 1, 0, 1};
    size_t n = sizeof(head);

    memcpy(q, head, sizeof(head));
    while (*name) {
        size_t len = strcspn(name, ".");

        if (len == 0 || len > 63 || n + len + 1 + sizeof(tail) > size)
            return 0;
        q[n] = (uint8_t)len;
        memcpy(q + n + 1, name, len);
        n += len + 1;
        name += len + (name[len] == '.');
    }
    memcpy(q + n, tail, sizeof(tail));
    return n + sizeof(tail);
}

static size_t skip_name(const uint8_t *a, size_t len, size_t at)
{
    while (at < len && a[at] != 0 && a[at] < 0xc0)
        at += a[at] + 1U;
    return at < len && a[at] >= 0xc0 ? at + 2 : at + 1;
}

static void print_answer(const uint8_t *a, size_t len)
{
    unsigned count = (unsigned)a[6] << 8 | a[7];
    size_t at = skip_name(a, len, 12) + 4;
    char addr[INET_ADDRSTRLEN];

    printf("rcode %u\n", a[3] & 15U);
    for (; count > 0 && at < len; count--) {
        size_t rr = skip_name(a, len, at), size;

        if (rr + 10 > len)
            return;
        size = (size_t)a[rr + 8] << 8 | a[rr + 9];
        if (a[rr] == 0 && a[rr + 1] == 1 && size == 4 && rr + 14 <= len)
            printf("%s\n", inet_ntop(AF_INET, a + rr + 10, addr, sizeof(addr)));
        at = rr + 10 + size;
    }
}

int probe_lookup(char **args)
{
    struct sockaddr_in server;
    uint8_t buf[1500];
    size_t len = question(args[0], buf, 512);
    struct pollfd p = {.events = POLLIN};
    ssize_t n;

    if (!nameserver(&server)) {
        printf("no nameserver\n");
        return 0;
    }
    p.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (len == 0 || connect(p.fd, (const struct sockaddr *)&server, sizeof(server)) < 0 || send(p.fd, buf, len, 0) < 0)
        printf("%s\n", errno_word(errno));
    else if (poll(&p, 1, DNS_WAIT_MS) != 1)
        printf("silence\n");
    else if ((n = recv(p.fd, buf, sizeof(buf), 0)) < 12)
        printf("%s\n", n < 0 ? errno_word(errno) : "short");
    else
        print_answer(buf, (size_t)n);
    close(p.fd);
    return 0;
}

int probe_queries(char **args)
{
    struct timespec now;
    struct sockaddr_in server;
    uint8_t buf[1500];
    size_t len = question("www.example", buf, 512);
    unsigned long sent = 0, refused = 0;
    time_t end;
    int fd;

    if (!nameserver(&server) || len == 0)
        return 1;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&server, sizeof(server)) < 0)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &now);
    end = now.tv_sec + strtol(args[0], NULL, 10);
    while (now.tv_sec < end) {
        for (unsigned i = 0; i < 100; i++)
            if (send(fd, buf, len, 0) < 0)
                refused++;
            else
                sent++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    close(fd);
    printf("%lu sent, %lu refused\n", sent, refused);
    return 0;
}
