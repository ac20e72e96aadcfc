/*
 * netns_host.h: what the tests of netns/ share: a network namespace per test, in which lo is the only link, others as slots, commands and sockets in each of them.
 * (static inline, so that each of the programs may use what it needs.)
 */
#pragma once

#include "unit/check.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PORT      3000
#define CLOSED    3001
#define PATIENT   30000 /* ms for what must come */
#define IMPATIENT 150   /* ms for what must not */

struct slot {
    int ns;
    struct net_slot_names names;
};

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Processes and namespaces */

static inline int host_ns(void)
{
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static inline int ns_new(void)
{
    cleanup_fd int host = host_ns();
    int ns;

    assert_int_equal(unshare(CLONE_NEWNET), 0);
    ns = host_ns();
    assert_true(ns >= 0);
    assert_int_equal(setns(host, CLONE_NEWNET), 0);
    return ns;
}

/* Runs a command, split at blanks, in namespace `ns` (-1: here) and returns its exit status. What it prints goes to `out` if given. */
static inline int try_in(int ns, char *out, size_t size, const char *command)
{
    char words[512];
    char *argv[40] = {NULL};
    int pipe_fds[2], status;
    pid_t pid;

    snprintf(words, sizeof(words), "%s", command);
    for (char *rest = words, **a = argv; rest;)
        *a++ = strsep(&rest, " ");
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (out)
            dup2(pipe_fds[1], STDOUT_FILENO);
        if (ns < 0 || setns(ns, CLONE_NEWNET) == 0)
            execvp(argv[0], argv);
        _exit(127);
    }
    close(pipe_fds[1]);
    if (out) {
        cleanup_free char *data = NULL;

        assert_true(fd_read_all(pipe_fds[0], 1 << 20, &data) >= 0);
        snprintf(out, size, "%s", data);
    }
    close(pipe_fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void in(int ns, const char *command)
{
    if (try_in(ns, NULL, 0, command) != 0)
        fail_msg("%s", command);
}

static inline void host(const char *command)
{
    in(-1, command);
}

/* Sockets: one made while the thread is in a namespace stays there. */

static inline int socket_in(int ns, int type)
{
    cleanup_fd int back = host_ns();
    int s;

    if (ns >= 0)
        assert_int_equal(setns(ns, CLONE_NEWNET), 0);
    s = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(setns(back, CLONE_NEWNET), 0);
    assert_true(s >= 0);
    return s;
}

static inline struct sockaddr_in address(struct in_addr a, unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = a, .sin_port = htons((uint16_t)port)};
}

static inline struct in_addr addr_of(const char *text)
{
    struct in_addr a;

    assert_int_equal(inet_pton(AF_INET, text, &a), 1);
    return a;
}

static inline int listener(int ns, unsigned port)
{
    const struct sockaddr_in any = address((struct in_addr){INADDR_ANY}, port);
    int s = socket_in(ns, SOCK_STREAM), on = 1;

    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(s, (const struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(listen(s, 16), 0);
    return s;
}

/* 0, or why it failed; ETIMEDOUT when nothing came in time. *ret_repeats: how many SYNs were lost. */
static inline int try_connect_count(int ns, struct in_addr to, unsigned port, int timeout_ms, unsigned *ret_repeats)
{
    const struct sockaddr_in a = address(to, port);
    cleanup_fd int s = socket_in(ns, SOCK_STREAM);
    struct pollfd p = {.fd = s, .events = POLLOUT};
    socklen_t len = sizeof(int), info_len = sizeof(struct tcp_info);
    struct tcp_info info = {0};
    int err = 0;

    *ret_repeats = 0;

    if (connect(s, (const struct sockaddr *)&a, sizeof(a)) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (poll(&p, 1, timeout_ms) == 0)
        err = ETIMEDOUT;
    else
        assert_int_equal(getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &len), 0);
    assert_int_equal(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &info_len), 0);
    *ret_repeats = info.tcpi_total_retrans;
    return err;
}

static inline int try_connect(int ns, struct in_addr to, unsigned port, int timeout_ms)
{
    return try_connect_count(ns, to, port, timeout_ms, &(unsigned){0});
}

static inline int try_send(int ns, struct in_addr to, unsigned port)
{
    const struct sockaddr_in a = address(to, port);
    cleanup_fd int s = socket_in(ns, SOCK_DGRAM);

    return sendto(s, "x", 1, 0, (const struct sockaddr *)&a, sizeof(a)) == 1 ? 0 : errno;
}

static inline void assert_refused_at_once(int ns, struct in_addr to, unsigned port)
{
    unsigned repeats;
    int err = try_connect_count(ns, to, port, PATIENT, &repeats);

    if (err != ECONNREFUSED && err != ENETUNREACH && err != EHOSTUNREACH)
        fail_msg("connect to %s:%u: %s", inet_ntoa(to), port, strerror(err));
    assert_int_equal(repeats, 0);
}

static inline void assert_nothing_came(int listening)
{
    struct pollfd p = {.fd = listening, .events = POLLIN};

    assert_int_equal(poll(&p, 1, 0), 0);
}

static inline void assert_came(int listening)
{
    struct pollfd p = {.fd = listening, .events = POLLIN};

    assert_int_equal(poll(&p, 1, PATIENT), 1);
}

static inline void assert_serves(int ns, struct in_addr to)
{
    cleanup_fd int l = listener(ns, PORT);

    assert_int_equal(try_connect(-1, to, PORT, PATIENT), 0);
    assert_came(l);
}

/* Networks */

static inline struct net_options options(const char *bridge, const char *port, const char *subnet, unsigned len)
{
    struct net_options o = {.prefix_len = len, .subnet = addr_of(subnet)};

    snprintf(o.bridge, sizeof(o.bridge), "%s", bridge);
    snprintf(o.port, sizeof(o.port), "%s", port);
    return o;
}

static inline struct net *network(const struct net_options *o)
{
    struct net *n = NULL;
    struct diag d = {0};

    if (net_open(o, &n, &d) != 0)
        fail_msg("%s", d.text);
    return n;
}

static inline struct net *standard(void)
{
    const struct net_options o = options("fn", "vf", "10.231.0.0", 20);

    return network(&o);
}

static inline void end(struct net *n)
{
    struct diag d = {0};

    if (net_remove(n, &d) != 0)
        fail_msg("%s", d.text);
    net_free(n);
}

static inline struct slot slot_make(struct net *n, unsigned number)
{
    struct slot s = {.ns = ns_new()};
    struct diag d = {0};

    if (net_slot_make(n, number, s.ns, &(struct net_policy){0}, &s.names, &d) != 0)
        fail_msg("%s", d.text);
    return s;
}

static inline bool link_there(const char *name)
{
    return if_nametoindex(name) != 0;
}

static inline void assert_clean(void)
{
    struct if_nameindex *all = if_nameindex();
    char tables[256];

    for (struct if_nameindex *i = all; i->if_index; i++)
        if (strcmp(i->if_name, "lo") != 0)
            fail_msg("interface %s is left", i->if_name);
    if_freenameindex(all);
    assert_int_equal(try_in(-1, tables, sizeof(tables), "nft list tables"), 0);
    assert_string_equal(tables, "");
}

static inline void bridge_netfilter(const char *value)
{
    static const char *const names[] = {"bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"};

    for (size_t i = 0; i < COUNT(names); i++) {
        char path[96];

        snprintf(path, sizeof(path), "/proc/sys/net/bridge/%s", names[i]);
        fd_write_kernel(AT_FDCWD, path, value); /* a kernel without br_netfilter has only one of the two cases */
    }
}

static inline int setup(void **state)
{
    assert_int_equal(unshare(CLONE_NEWNET), 0); /* so that a test that fails does not make the next ones fail */
    host("ip link set lo up");
    bridge_netfilter("0");
    assert_clean();
    return 0;
}

static inline int teardown(void **state)
{
    assert_clean();
    return 0;
}
