/* What the kernel's connection tracking keeps of connections to the gateway and of slots, for how long, and how much of its table one slot can take. */
#include "root/netns_world.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#define SHORT_S  5 /* what is left of a closed connection, in seconds; the kernel's own would be 120 */
#define LONG_S   60
#define UNLISTED 9999
#define WAIT     PATIENT

static struct diag diag;

/* Entries whose first packet went to `port`. */
struct tracked {
    uint16_t port;
    uint8_t protocol;
    unsigned n, closed;   /* closed: TIME_WAIT */
    uint32_t least, most; /* seconds left of the latter (of all, where there are no states) */
};

static int on_attr(const struct nlattr *at, void *arg)
{
    const struct nlattr **all = arg;

    if (mnl_attr_get_type(at) <= CTA_MAX)
        all[mnl_attr_get_type(at)] = at;
    return MNL_CB_OK;
}

/* The attribute behind a path of nested ones. */
static const struct nlattr *inner(const struct nlattr *at, const uint16_t *path)
{
    for (; at && *path; path++) {
        const struct nlattr *all[CTA_MAX + 1] = {NULL};

        mnl_attr_parse_nested(at, on_attr, all);
        at = all[*path];
    }
    return at;
}

static int on_entry(const struct nlmsghdr *h, void *arg)
{
    static const uint16_t to_port[] = {CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT, 0}, to_protocol[] = {CTA_TUPLE_PROTO, CTA_PROTO_NUM, 0},
                          to_state[] = {CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE, 0};
    const struct nlattr *all[CTA_MAX + 1] = {NULL}, *port, *protocol, *state;
    struct tracked *t = arg;
    uint32_t left;

    mnl_attr_parse(h, sizeof(struct nfgenmsg), on_attr, all);
    port = inner(all[CTA_TUPLE_ORIG], to_port);
    protocol = inner(all[CTA_TUPLE_ORIG], to_protocol);
    if (!port || !protocol || ntohs(mnl_attr_get_u16(port)) != t->port || mnl_attr_get_u8(protocol) != t->protocol)
        return MNL_CB_OK;
    t->n++;
    state = inner(all[CTA_PROTOINFO], to_state);
    if (!all[CTA_TIMEOUT] || (state && mnl_attr_get_u8(state) != TCP_CONNTRACK_TIME_WAIT))
        return MNL_CB_OK;
    left = ntohl(mnl_attr_get_u32(all[CTA_TIMEOUT]));
    t->closed++;
    t->least = t->closed == 1 || left < t->least ? left : t->least;
    t->most = left > t->most ? left : t->most;
    return MNL_CB_OK;
}

static struct tracked tracked_to(uint16_t port, uint8_t protocol)
{
    const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    char buf[32768] __attribute__((aligned(8)));
    struct tracked t = {.port = port, .protocol = protocol};
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    int r = MNL_CB_OK;

    h->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    mnl_nlmsg_put_extra_header(h, sizeof(struct nfgenmsg));
    assert_int_equal(bind(fd, (const struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(send(fd, h, h->nlmsg_len, 0), h->nlmsg_len);
    while (r > MNL_CB_STOP) {
        ssize_t got = recv(fd, buf, sizeof(buf), 0);

        assert_true(got > 0);
        r = mnl_cb_run(buf, (size_t)got, 0, 0, on_entry, &t);
    }
    assert_int_equal(r, MNL_CB_STOP);
    return t;
}

/* A connection that is accepted, then closed by both sides. Returns whether it came to be. */
static bool open_and_close(int ns, const char *to, unsigned port, int server, int timeout_ms)
{
    struct sockaddr_storage sa = endpoint(to, port);
    cleanup_fd int client = family_socket(ns, sa.ss_family, SOCK_STREAM), peer = -1;
    struct pollfd out = {.fd = client, .events = POLLOUT}, in = {.fd = server, .events = POLLIN}, end = {.events = POLLIN};
    char byte;

    (void)connect(client, (struct sockaddr *)&sa, sizeof(sa));
    if (poll(&out, 1, timeout_ms) == 0)
        return false;
    assert_int_equal(poll(&in, 1, WAIT), 1);
    peer = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    client = fd_close(client);
    end.fd = peer;
    assert_int_equal(poll(&end, 1, WAIT), 1); /* so that the other end is the second, whatever the machine does meanwhile */
    assert_int_equal(recv(peer, &byte, 1, 0), 0);
    return true;
}

/* Opens and closes until the end of one is seen in the table: a machine that stands still for seconds forgets it before we look. */
static struct tracked after_closing(int ns, const char *to, unsigned port, unsigned tracked_port, int server)
{
    const uint64_t until = clock_mono_ns() + 30 * NS_PER_SEC;
    struct tracked t;

    do {
        assert_true(open_and_close(ns, to, port, server, WAIT));
        t = tracked_to((uint16_t)tracked_port, IPPROTO_TCP);
    } while (!t.closed && clock_mono_ns() < until);
    assert_true(t.closed > 0);
    return t;
}

static void assert_short(int ns, const char *to, unsigned port, int server)
{
    const struct tracked t = after_closing(ns, to, port, port, server);

    if (t.most > SHORT_S)
        fail_msg("a closed connection to %s:%u is kept for %u s", to, port, t.most);
}

/* Strangers, the host itself, and somebody's redirection; another service's connections are none of ours; and the same when the tables were flushed. */
static void test_listeners(void **state)
{
    static const uint16_t ports[] = {8443, 0, GATEWAY_PORT, GATEWAY_PORT};
    struct world w = world_make();
    struct net *n = world_network();
    cleanup_fd int gateway = any_socket(-1, SOCK_STREAM, GATEWAY_PORT), other = any_socket(-1, SOCK_STREAM, UNLISTED);
    struct tracked t;
    struct slot s;

    assert_int_equal(net_listeners(n, ports, COUNT(ports), &diag), 0);
    assert_int_equal(net_listeners(n, ports, NET_LISTENERS_MAX + 1, &diag), -EINVAL);
    s = policy_slot(n, 0, NET_EGRESS_INTERNET, false, false); /* from here on there is tracking */
    host("nft add table ip somebody");
    host("nft add chain ip somebody pre { type nat hook prerouting priority dstnat ; }");
    host("nft add rule ip somebody pre tcp dport 80 redirect to :8888");
    serve_pending(n);
    for (unsigned round = 0; round < 2; round++) {
        assert_short(w.ns, "11.22.33.1", GATEWAY_PORT, gateway);
        assert_short(w.ns, "2a00:1:2:3::1", GATEWAY_PORT, gateway);
        assert_short(-1, "127.0.0.1", GATEWAY_PORT, gateway);
        assert_short(-1, "::1", GATEWAY_PORT, gateway);
        if (round == 0) {
            assert_short(w.ns, "11.22.33.1", 80, gateway);
            host("nft flush ruleset");
            serve_events(n, 1);
        }
    }
    t = after_closing(w.ns, "11.22.33.1", UNLISTED, UNLISTED, other);
    assert_true(t.least > LONG_S);
    assert_int_equal(net_listeners(n, (const uint16_t[]){UNLISTED}, 1, &diag), 0);
    t = after_closing(-1, "127.0.0.1", UNLISTED, UNLISTED, other);
    assert_true(t.least <= SHORT_S); /* the one before has more */
    close(s.ns);
    end(n);
    world_end(&w);
}

/* A function that opens and closes as fast as it can: the kernel does not count closed ones among those that it has, but they are entries. */
static void test_begun(void **state)
{
    struct world w = world_make();
    struct net_options o = world_options();
    struct net *n;
    unsigned tries = 0;

    o.conns_max = 5;
    n = network(&o);
    struct slot greedy = policy_slot(n, 0, NET_EGRESS_INTERNET, false, false), other = policy_slot(n, 1, NET_EGRESS_INTERNET, false, false);

    for (; tries < 200 && counted(n).conns_refused < 3; tries++) {
        (void)open_and_close(greedy.ns, "11.22.33.44", WORLD_PORT, w.tcp, IMPATIENT);
        (void)poll(NULL, 0, 10); /* `ct count` looks for closed ones once a tick, and finds a few: faster than that, it refuses by itself */
    }
    if (counted(n).conns_refused < 3)
        fail_msg("%u connections one after the other, and none was refused", tries);
    assert_int_equal(reach_tcp(other.ns, "11.22.33.44", WORLD_PORT, WAIT), 0);
    close(greedy.ns);
    close(other.ns);
    end(n);
    world_end(&w);
}

/* An instance that is gone with all the connections that it may have, of which the network hears nothing: the next in its place begins anew. */
static void test_later_slot(void **state)
{
    struct world w = world_make();
    struct net_options o = world_options();
    struct sockaddr_storage sa = endpoint("11.22.33.44", WORLD_PORT);
    int held[5];
    struct net *n;

    o.conns_max = COUNT(held);
    n = network(&o);
    struct slot s = policy_slot(n, 0, NET_EGRESS_INTERNET, false, false);

    for (unsigned i = 0; i < COUNT(held); i++) {
        held[i] = family_socket(s.ns, AF_INET, SOCK_STREAM);
        struct pollfd p = {.fd = held[i], .events = POLLOUT};

        (void)connect(held[i], (struct sockaddr *)&sa, sizeof(sa));
        assert_int_equal(poll(&p, 1, WAIT), 1);
    }
    assert_int_equal(tracked_to(WORLD_PORT, IPPROTO_TCP).n, COUNT(held));
    assert_int_equal(net_slot_remove(n, 0, &diag), 0);
    for (unsigned i = 0; i < COUNT(held); i++)
        close(held[i]);
    close(s.ns);
    s = policy_slot(n, 0, NET_EGRESS_INTERNET, false, false);
    assert_int_equal(tracked_to(WORLD_PORT, IPPROTO_TCP).n, COUNT(held));
    assert_int_equal(reach_tcp(s.ns, "11.22.33.44", WORLD_PORT, WAIT), 0);
    close(s.ns);
    end(n);
    world_end(&w);
}

static void test_outward(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    struct slot s = policy_slot(n, 0, NET_EGRESS_INTERNET, false, true);

    assert_short(s.ns, "11.22.33.44", WORLD_PORT, w.tcp);
    assert_short(s.ns, "2a00:1:2:3::44", WORLD_PORT, w.tcp);
    close(s.ns);
    end(n);
    world_end(&w);
}

/* Somebody filters what comes in, so the connections between the host and slots, and between slots, are tracked as well. */
static void test_filtered_host(void **state)
{
    struct world w = world_make();
    struct net_options o = world_options();
    cleanup_fd int gateway = any_socket(-1, SOCK_STREAM, GATEWAY_PORT), dns = any_socket(-1, SOCK_DGRAM, 53);
    struct tracked t;
    int held[8];
    struct net *n;

    host("nft add table inet filter");
    host("nft add chain inet filter input { type filter hook input priority 0 ; policy accept ; }");
    host("nft add rule inet filter input ct state established,related accept");
    o.conns_max = 5;
    n = network(&o);
    struct slot one = policy_slot(n, 0, NET_EGRESS_LIST, true, false), two = policy_slot(n, 1, NET_EGRESS_NO, true, false);
    struct slot three = policy_slot(n, 2, NET_EGRESS_LIST, false, false);
    cleanup_fd int server = any_socket(two.ns, SOCK_STREAM, PORT);
    struct sockaddr_storage sa = endpoint("10.231.0.3", PORT);

    assert_short(-1, "10.231.0.3", PORT, server);
    assert_short(three.ns, "10.231.0.1", GATEWAY_PORT, gateway);
    assert_int_equal(reach_udp(three.ns, "10.231.0.1", 53, dns, WAIT), 0);
    t = tracked_to(53, IPPROTO_UDP);
    assert_true(t.most <= SHORT_S);
    assert_short(one.ns, "10.231.0.3", PORT, server);
    for (unsigned i = 0; i < COUNT(held); i++) {
        held[i] = family_socket(one.ns, AF_INET, SOCK_STREAM);
        struct pollfd p = {.fd = held[i], .events = POLLOUT};

        (void)connect(held[i], (struct sockaddr *)&sa, sizeof(sa));
        assert_int_equal(poll(&p, 1, i < 5 ? WAIT : IMPATIENT), i < 5);
    }
    assert_true(counted(n).conns_refused >= 3);
    for (unsigned tries = 0; tries < 300 && counted(n).conns_refused < 10; tries++)
        (void)open_and_close(three.ns, "10.231.0.1", GATEWAY_PORT, gateway, IMPATIENT);
    assert_true(counted(n).conns_refused >= 10);
    for (unsigned i = 0; i < COUNT(held); i++)
        close(held[i]);
    close(one.ns);
    close(two.ns);
    close(three.ns);
    end(n);
    host("nft delete table inet filter");
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_listeners), TEST(test_begun), TEST(test_later_slot), TEST(test_outward), TEST(test_filtered_host)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
