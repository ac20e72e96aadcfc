/*
 * netns_world.h: a world around the test's host, in a namespace of its own behind one link: public, private and metadata addresses, of IPv4 and IPv6, in which somebody answers. (static inline, like
 * netns_host.h.)
 */
#pragma once

#include "root/netns_host.h"

#define WORLD_PORT   4000
#define GATEWAY_PORT 8888

struct world {
    int ns;
    int tcp, udp; /* both families */
};

static inline struct sockaddr_storage endpoint(const char *text, unsigned port)
{
    struct sockaddr_storage sa = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&sa;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&sa;

    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)port);
        return sa;
    }
    assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((uint16_t)port);
    return sa;
}

static inline int family_socket(int ns, int family, int type)
{
    cleanup_fd int back = host_ns();
    int s;

    if (ns >= 0)
        assert_int_equal(setns(ns, CLONE_NEWNET), 0);
    s = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(setns(back, CLONE_NEWNET), 0);
    assert_true(s >= 0);
    return s;
}

/* A listener, or a UDP socket, on every address of the namespace. */
static inline int any_socket(int ns, int type, unsigned port)
{
    struct sockaddr_storage any = endpoint("::", port);
    int s = family_socket(ns, AF_INET6, type), on = 1, off = 0;

    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    assert_int_equal(bind(s, (struct sockaddr *)&any, sizeof(struct sockaddr_in6)), 0);
    setsockopt(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
    if (type == SOCK_STREAM)
        assert_int_equal(listen(s, 1024), 0);
    return s;
}

static inline struct world world_make(void)
{
    static const char *const at_home[] = {
        "ip link add ext type veth peer name far",
        "ip link set ext up",
        "ip addr add 11.22.33.1/24 dev ext",
        "ip addr add 192.168.77.1/24 dev ext",
        "ip -6 addr add 2a00:1:2:3::1/64 dev ext nodad",
        "ip -6 addr add fd55::1/64 dev ext nodad",
    };
    static const char *const far_away[] = {
        "ip link set lo up",
        "ip link set far up",
        "ip addr add 11.22.33.44/24 dev far",
        "ip addr add 192.168.77.2/24 dev far",
        "ip addr add 100.64.3.4/32 dev far",
        "ip addr add 198.51.100.7/32 dev far",
        "ip addr add 169.254.169.254/32 dev far",
        "ip addr add 100.100.100.200/32 dev far",
        "ip -6 addr add 2a00:1:2:3::44/64 dev far nodad",
        "ip -6 addr add fd55::2/64 dev far nodad",
        "ip -6 addr add fd00:ec2::254/128 dev far nodad",
    };
    struct world w = {.ns = ns_new()};
    char command[64];

    for (size_t i = 0; i < COUNT(at_home); i++)
        host(at_home[i]);
    snprintf(command, sizeof(command), "ip link set far netns /proc/%d/fd/%d", (int)getpid(), w.ns);
    host(command);
    for (size_t i = 0; i < COUNT(far_away); i++)
        in(w.ns, far_away[i]);
    host("ip route add default via 11.22.33.44");
    host("ip -6 route add default via 2a00:1:2:3::44");
    w.tcp = any_socket(w.ns, SOCK_STREAM, WORLD_PORT);
    w.udp = any_socket(w.ns, SOCK_DGRAM, WORLD_PORT);
    return w;
}

static inline void world_end(struct world *w)
{
    host("ip link del ext"); /* first: the end of a namespace takes its links, and their peers, along at a moment of its own */
    close(w->tcp);
    close(w->udp);
    close(w->ns);
}

/* What a connect() says: 0, ETIMEDOUT, or its error. */
static inline int reach_tcp(int ns, const char *to, unsigned port, int timeout_ms)
{
    struct sockaddr_storage sa = endpoint(to, port);
    cleanup_fd int s = family_socket(ns, sa.ss_family, SOCK_STREAM);
    struct pollfd p = {.fd = s, .events = POLLOUT};
    socklen_t len = sizeof(int);
    int err = 0;

    if (connect(s, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (poll(&p, 1, timeout_ms) == 0)
        return ETIMEDOUT;
    assert_int_equal(getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &len), 0);
    return err;
}

/* A datagram there, which `server` receives, and its answer back: 0, or ETIMEDOUT, or the error of sending. */
static inline int reach_udp(int ns, const char *to, unsigned port, int server, int timeout_ms)
{
    struct sockaddr_storage sa = endpoint(to, port), from;
    cleanup_fd int s = family_socket(ns, sa.ss_family, SOCK_DGRAM);
    struct pollfd p = {.fd = server, .events = POLLIN};
    char byte, control[128];
    struct iovec iov = {&byte, 1};
    struct msghdr m = {
        .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

    if (sendto(s, "x", 1, 0, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        return errno;
    if (poll(&p, 1, timeout_ms) == 0)
        return ETIMEDOUT;
    assert_int_equal(recvmsg(server, &m, 0), 1); /* and with it, to which address: the answer comes from there */
    assert_int_equal(sendmsg(server, &m, 0), 1);
    p.fd = s;
    return poll(&p, 1, PATIENT) == 0 ? ETIMEDOUT : 0;
}

static inline struct net_options world_options(void)
{
    struct net_options o = options("fn", "vf", "10.231.0.0", 20);

    o.gateway_port = GATEWAY_PORT;
    o.dns = true;
    return o;
}

static inline struct net *world_network(void)
{
    const struct net_options o = world_options();

    if (access("/proc/sys/net/ipv6/conf/all/force_forwarding", F_OK) < 0) /* before 6.17: one switch for all, which is the administrator's */
        host("sysctl -q -w net.ipv6.conf.all.forwarding=1");
    return network(&o);
}

static inline struct slot policy_slot(struct net *n, unsigned number, uint32_t egress, bool mesh, bool ipv6)
{
    const struct net_policy policy = {.egress = egress, .mesh = mesh, .ipv6 = ipv6};
    struct slot s = {.ns = ns_new()};
    struct diag d = {0};

    if (net_slot_make(n, number, s.ns, &policy, &s.names, &d) != 0)
        fail_msg("%s", d.text);
    return s;
}

static inline struct net_dest dest_of(const char *text, unsigned port)
{
    struct net_dest d = {.port = (uint16_t)port};
    char mapped[64];

    snprintf(mapped, sizeof(mapped), "%s%s", strchr(text, ':') ? "" : "::ffff:", text);
    assert_int_equal(inet_pton(AF_INET6, mapped, &d.addr), 1);
    return d;
}

static inline struct net_counters counted(struct net *n)
{
    struct net_counters c;
    struct diag d = {0};

    if (net_counters(n, &c, &d) != 0)
        fail_msg("%s", d.text);
    return c;
}

static inline uint64_t counted_sum(const struct net_counters *c)
{
    return c->spoofed_mac_ip + c->spoofed_arp + c->other_frames + c->to_host + c->egress_refused + c->mesh_refused + c->from_outside + c->conns_refused;
}

/* When `more` packets than `before` have been counted: a frame is on its way for a moment. */
static inline struct net_counters counted_after(struct net *n, const struct net_counters *before, unsigned more)
{
    uint64_t start = clock_mono_ns();
    struct net_counters c;

    do
        c = counted(n);
    while (counted_sum(&c) < counted_sum(before) + more && clock_mono_ns() - start < PATIENT * NS_PER_MS);
    return c;
}

/* For how long some task of this machine has waited for a CPU, for memory or for a disk (the kernel's pressure stall information); 0 where that is not counted. */
static inline uint64_t stalled_ns(void)
{
    static const char *const resources[] = {"/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"};
    uint64_t sum = 0;

    for (size_t i = 0; i < COUNT(resources); i++) {
        char text[512];
        const char *total = fd_read_file(AT_FDCWD, resources[i], text, sizeof(text)) > 0 ? strstr(text, "total=") : NULL;

        sum += total ? strtoull(total + strlen("total="), NULL, 10) * NS_PER_US : 0;
    }
    return sum;
}

/* Serves events until `wanted` installations have been made. Returns the nanoseconds that it took, without those for which the machine was too busy: the kernel says the mean of all CPUs, and ours may have been the busiest. */
static inline uint64_t serve_events(struct net *n, unsigned wanted)
{
    uint64_t start = clock_mono_ns(), stalled = stalled_ns(), took;
    struct pollfd p = {.fd = net_watch_fd(n), .events = POLLIN};
    struct diag d = {0};

    for (unsigned done = 0; done < wanted;) {
        int r;

        if (poll(&p, 1, PATIENT) == 0)
            fail_msg("no event came");
        r = net_on_event(n, &d);
        if (r < 0)
            fail_msg("%s", d.text);
        done += r > 0;
    }
    took = clock_mono_ns() - start;
    stalled = (stalled_ns() - stalled) * (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
    return took > stalled ? took - stalled : 0;
}

/* Serves what has come already. */
static inline void serve_pending(struct net *n)
{
    struct pollfd p = {.fd = net_watch_fd(n), .events = POLLIN};
    struct diag d = {0};

    for (unsigned i = 0; i < 20 && poll(&p, 1, 20) == 1; i++)
        if (net_on_event(n, &d) < 0)
            fail_msg("%s", d.text);
}
