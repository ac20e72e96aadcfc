/*
 * bridges.c: see bridges.h.
 *
 * Each socket is bound to its bridge's address and device: it answers slots of that bridge and nobody else, even where another network has a route to the address. SO_REUSEPORT lets a runner that was started anew bind while the
 * gateway still has the sockets of the one before; only processes of the same user may share a port so.
 */
#include "bridges.h"

#include "clock.h"
#include "config.h"
#include "control.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "netns.h"
#include "record.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG  1024
#define RETRY_NS (10 * NS_PER_SEC)

struct bridge {
    char name[IFNAMSIZ];
    struct in_addr addr;                                     /* 0: unused */
    int fds[RECORD_LISTENER_KIND_COUNT][CONFIG_THREADS_MAX]; /* one for each thread of the gateway, where it is to have more than one */
    uint64_t tried_ns;
};

struct bridges {
    const struct config *config;
    struct control *control;
    bool complained[RECORD_LISTENER_KIND_COUNT];
    struct bridge bridges[NET_BRIDGES_MAX];
};

static const struct {
    const char *what, *remedy;
    int type;
} kinds[] = {
    [RECORD_LISTENER_PUBLIC] = {"the gateway's listener for functions", "set network.gateway_port to a port that is free", SOCK_STREAM},
    [RECORD_LISTENER_DNS_UDP] = {"the DNS forwarder for functions", "let the host's resolver listen on addresses by name, or set network.dns = none", SOCK_DGRAM},
    [RECORD_LISTENER_DNS_TCP] = {"the DNS forwarder for functions", "let the host's resolver listen on addresses by name, or set network.dns = none", SOCK_STREAM},
};

/* Our own listener for all addresses at the same port accepts at the bridges too. Where systemd has the listeners (fnd.socket), what they are is not ours to know. */
static bool public_covers(const struct config *c)
{
    const char *colon = strrchr(c->listen, ':');
    uint64_t port;

    return c->spawn && colon && str_parse_uint(colon + 1, 65535, &port) == 0 && port == c->gateway_port && strncmp(c->listen, "0.0.0.0:", 8) == 0;
}

static bool is_wanted(const struct config *c, unsigned kind)
{
    return kind == RECORD_LISTENER_PUBLIC ? !public_covers(c) : config_has_dns(c);
}

static uint16_t port_of(const struct config *c, unsigned kind)
{
    return kind == RECORD_LISTENER_PUBLIC ? (uint16_t)c->gateway_port : 53;
}

/* DNS has one thread. */
static unsigned count_of(const struct config *c, unsigned kind)
{
    return kind == RECORD_LISTENER_PUBLIC ? config_threads(c) : 1;
}

static int open_socket(const struct bridge *b, unsigned kind, uint16_t port)
{
    const struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = b->addr};
    cleanup_fd int fd = socket(AF_INET, kinds[kind].type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int one = 1;

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, b->name, (socklen_t)strlen(b->name)) < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    if (kinds[kind].type == SOCK_STREAM && listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

static void push(const struct bridges *b, const struct bridge *at, unsigned kind, unsigned index)
{
    const struct record_listener rec = {
        .head = RECORD_INIT(RECORD_LISTENER, 0), .kind = kind, .addr = at->addr.s_addr, .port = port_of(b->config, kind), .index = index};

    control_push_fd(b->control, &rec.head, at->fds[kind][index]);
}

static void complain(struct bridges *b, const struct bridge *at, unsigned kind, int err)
{
    char addr[INET_ADDRSTRLEN];

    if (!b->complained[kind])
        log_msg(LOG_WARNING, "cannot listen at a bridge", "bridge=%s addr=%s:%u what=\"%s\" error=\"%s\" remedy=\"%s\"", at->name,
                inet_ntop(AF_INET, &at->addr, addr, sizeof(addr)), port_of(b->config, kind), kinds[kind].what, strerror(err),
                err == EADDRINUSE ? kinds[kind].remedy : "");
    b->complained[kind] = true;
}

static void complete_kind(struct bridges *b, struct bridge *at, unsigned kind)
{
    for (unsigned i = 0; i < count_of(b->config, kind); i++) {
        int fd;

        if (at->fds[kind][i] >= 0)
            continue;
        fd = open_socket(at, kind, port_of(b->config, kind));
        if (fd < 0) {
            complain(b, at, kind, -fd);
            return;
        }
        at->fds[kind][i] = fd;
        b->complained[kind] = false;
        push(b, at, kind, i);
    }
}

static void complete(struct bridges *b, struct bridge *at)
{
    for (unsigned kind = 0; kind < RECORD_LISTENER_KIND_COUNT; kind++)
        if (is_wanted(b->config, kind))
            complete_kind(b, at, kind);
}

static bool is_complete(const struct bridges *b, const struct bridge *at)
{
    for (unsigned kind = 0; kind < RECORD_LISTENER_KIND_COUNT; kind++)
        if (is_wanted(b->config, kind) && at->fds[kind][count_of(b->config, kind) - 1] < 0) /* they are made in order */
            return false;
    return true;
}

void bridges_on_bridge(struct bridges *b, const char *name, struct in_addr addr)
{
    const uint64_t now = clock_mono_ns();
    struct bridge *at = b->bridges;

    while (at < b->bridges + NET_BRIDGES_MAX && at->addr.s_addr && at->addr.s_addr != addr.s_addr)
        at++;
    if (at == b->bridges + NET_BRIDGES_MAX || is_complete(b, at) || (at->addr.s_addr && now < at->tried_ns + RETRY_NS))
        return;
    str_copy(at->name, sizeof(at->name), name);
    at->addr = addr;
    at->tried_ns = now;
    complete(b, at);
}

void bridges_push(struct bridges *b)
{
    for (unsigned i = 0; i < NET_BRIDGES_MAX; i++)
        for (unsigned kind = 0; kind < RECORD_LISTENER_KIND_COUNT; kind++)
            for (unsigned n = 0; n < CONFIG_THREADS_MAX && b->bridges[i].fds[kind][n] >= 0; n++)
                push(b, &b->bridges[i], kind, n);
}

struct bridges *bridges_new(const struct config *c, struct control *control)
{
    struct bridges *b = calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    b->config = c;
    b->control = control;
    for (unsigned i = 0; i < NET_BRIDGES_MAX; i++)
        for (unsigned kind = 0; kind < RECORD_LISTENER_KIND_COUNT; kind++)
            for (unsigned n = 0; n < CONFIG_THREADS_MAX; n++)
                b->bridges[i].fds[kind][n] = -1;
    return b;
}

void bridges_free(struct bridges *b)
{
    if (!b)
        return;
    for (unsigned i = 0; i < NET_BRIDGES_MAX; i++)
        for (unsigned kind = 0; kind < RECORD_LISTENER_KIND_COUNT; kind++)
            for (unsigned n = 0; n < CONFIG_THREADS_MAX; n++)
                fd_close(b->bridges[i].fds[kind][n]);
    free(b);
}
