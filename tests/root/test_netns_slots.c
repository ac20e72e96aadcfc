/* Network slots on a real kernel: what is reachable and what is not: with both tables, with the host's alone, with the slot's alone, with none. */
#include "root/netns_world.h"

#define DATA_BYTES (32U << 20)

static struct diag diag;

static void connect_both_ways(void)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0);
    cleanup_fd int outside = listener(-1, PORT), inside = listener(s.ns, 80);

    assert_int_equal(try_connect(-1, s.names.addr, 80, PATIENT), 0);
    assert_came(inside);
    assert_int_equal(try_connect(s.ns, addr_of("127.0.0.1"), 80, PATIENT), 0); /* its own loopback, and itself */
    assert_int_equal(try_connect(s.ns, s.names.addr, 80, PATIENT), 0);
    assert_refused_at_once(s.ns, s.names.bridge_addr, PORT);
    assert_nothing_came(outside);
    close(s.ns);
    end(n);
}

static void test_reachable(void **state)
{
    connect_both_ways();
}

static void test_reachable_with_bridge_netfilter(void **state)
{
    bridge_netfilter("1");
    connect_both_ways();
}

/* Bodies larger than all buffers, both ways: nothing about segments in the middle of a connection is dropped. */
static void test_data(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0);
    cleanup_fd int l = listener(s.ns, PORT), c = socket_in(-1, SOCK_STREAM);
    const struct sockaddr_in a = address(s.names.addr, PORT);
    size_t sent = 0, got = 0;
    static char block[65536];
    struct pollfd p = {.fd = l, .events = POLLIN};

    connect(c, (const struct sockaddr *)&a, sizeof(a));
    assert_int_equal(poll(&p, 1, PATIENT), 1);
    cleanup_fd int peer = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (unsigned turn = 0; turn < 2; turn++) {
        int from = turn ? peer : c, to = turn ? c : peer;

        for (sent = got = 0; got < DATA_BYTES;) {
            ssize_t w = send(from, block, sent + sizeof(block) <= DATA_BYTES ? sizeof(block) : DATA_BYTES - sent, MSG_NOSIGNAL),
                    r = recv(to, block, sizeof(block), 0);

            sent += w > 0 ? (size_t)w : 0;
            got += r > 0 ? (size_t)r : 0;
            p = (struct pollfd){.fd = to, .events = POLLIN};
            if (r < 0)
                assert_int_equal(poll(&p, 1, PATIENT), 1);
        }
        assert_int_equal(sent, got);
    }
    close(s.ns);
    end(n);
}

/* The first packet to a fresh slot meets no ARP and no carrier that is still to come: a lost SYN would cost a second. */
static void test_first_connect(void **state)
{
    struct net *n = standard();
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 20; i++) {
        struct slot s = slot_make(n, i);
        uint64_t start = clock_mono_ns(), took;
        unsigned repeats;

        assert_int_equal(try_connect_count(-1, s.names.addr, CLOSED, PATIENT, &repeats), ECONNREFUSED);
        took = clock_mono_ns() - start;
        if (i == 0)
            print_message("first connect on a new bridge refused after %.3f ms\n", (double)took / 1e6);
        assert_int_equal(repeats, 0);
        best = took < best ? took : best;
        close(s.ns);
        if (i % 2) { /* with the last port the bridge loses its carrier, and finds it again */
            assert_int_equal(net_slot_remove(n, i, &diag), 0);
            assert_int_equal(net_slot_remove(n, i - 1, &diag), 0);
        }
    }
    print_message("best of 20 first connects refused after %.3f ms\n", (double)best / 1e6);
    assert_true(best < 5 * NS_PER_MS);
    end(n);
}

static void test_no_way_to_host(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0);
    cleanup_fd int outside = listener(-1, PORT), udp = socket_in(-1, SOCK_DGRAM);
    const struct sockaddr_in any = address((struct in_addr){INADDR_ANY}, PORT);

    assert_int_equal(bind(udp, (const struct sockaddr *)&any, sizeof(any)), 0);
    host("ip link add ext type bridge");
    host("ip addr add 192.0.2.1/24 dev ext");
    host("ip link set ext up");
    for (unsigned table = 1; table <= 2; table++) {
        assert_refused_at_once(s.ns, s.names.bridge_addr, PORT);
        assert_refused_at_once(s.ns, addr_of("192.0.2.1"), PORT);
        assert_int_not_equal(try_send(s.ns, s.names.bridge_addr, PORT), 0);
        assert_nothing_came(outside);
        assert_nothing_came(udp);
        assert_serves(s.ns, s.names.addr);
        host("nft flush ruleset"); /* the second time only the slot's own rules are there */
    }
    host("ip link del ext");
    close(s.ns);
    end(n);
}

/* What only somebody with power over a slot's namespace could do, which nobody has: no rules. */
static void open_up(const struct slot *s)
{
    in(s->ns, "nft flush ruleset");
}

static void test_host_table_alone(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0), far = slot_make(n, 1000);
    cleanup_fd int outside = listener(-1, PORT), inside = listener(far.ns, PORT);

    host("ip link add ext type bridge");
    host("ip addr add 169.254.169.254/32 dev ext");
    host("ip link set ext up");
    host("sysctl -q -w net.ipv4.ip_forward=1"); /* switches every interface that is there, so that only the table is left */
    open_up(&s);
    open_up(&far);
    assert_int_equal(try_connect(s.ns, s.names.bridge_addr, PORT, IMPATIENT), ETIMEDOUT);
    assert_int_equal(try_connect(s.ns, addr_of("169.254.169.254"), PORT, IMPATIENT), ETIMEDOUT);
    assert_int_equal(try_connect(s.ns, far.names.addr, PORT, IMPATIENT), ETIMEDOUT);
    assert_int_equal(try_send(s.ns, s.names.bridge_addr, PORT), 0);
    assert_nothing_came(outside);
    assert_nothing_came(inside);
    host("ip link del ext");
    close(s.ns);
    close(far.ns);
    end(n);
}

/* A source that is not the slot's own is dropped at its port, and before anything routes it; the slot's own passes to the chain for the host, and is dropped there. */
static void test_spoofed_source(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0);
    struct net_counters c[2];

    open_up(&s);
    host("sysctl -q -w net.ipv4.conf.fn0.rp_filter=0"); /* another defence */
    c[0] = counted(n);
    assert_int_equal(try_send(s.ns, s.names.bridge_addr, PORT), 0);
    c[1] = counted_after(n, &c[0], 1);
    assert_int_equal(c[1].spoofed_mac_ip, c[0].spoofed_mac_ip);
    assert_int_equal(c[1].to_host, c[0].to_host + 1);
    in(s.ns, "ip addr add 10.231.4.77/32 dev eth0");
    in(s.ns, "ip addr add 10.231.0.3/32 dev eth0");
    for (unsigned i = 0; i < 2; i++) {
        in(s.ns, i ? "ip route replace 10.231.0.1 dev eth0 src 10.231.4.77" : "ip route replace 10.231.0.1 dev eth0 src 10.231.0.3");
        for (unsigned k = 0; k < 2; k++) { /* the second time without the rules at the ports */
            c[0] = counted(n);
            assert_int_equal(try_send(s.ns, s.names.bridge_addr, PORT), 0);
            c[1] = counted_after(n, &c[0], 1);
            assert_int_equal(c[1].spoofed_mac_ip, c[0].spoofed_mac_ip + (k == 0 || i == 1));
            assert_int_equal(c[1].to_host, c[0].to_host + (k == 1 && i == 0)); /* a sibling's address, which the bridge's network has */
            if (k == 0)
                host("nft flush chain bridge fn prerouting");
        }
        assert_int_equal(net_on_event(n, &diag), 1);
    }
    close(s.ns);
    end(n);
}

/* On a host that forwards (for somebody's containers), a bridge does not, whatever happens to the tables. */
static void test_no_forwarding(void **state)
{
    host("sysctl -q -w net.ipv4.ip_forward=1");
    struct net *n = standard();
    struct slot s = slot_make(n, 0), far = slot_make(n, 1000);
    cleanup_fd int inside = listener(far.ns, PORT);

    open_up(&s);
    open_up(&far);
    host("nft flush ruleset");
    assert_int_not_equal(try_connect(s.ns, far.names.addr, PORT, IMPATIENT), 0);
    assert_nothing_came(inside);
    host("sysctl -q -w net.ipv4.conf.fn0.forwarding=1");
    host("sysctl -q -w net.ipv4.conf.fn1.forwarding=1");
    assert_int_equal(try_connect(s.ns, far.names.addr, PORT, PATIENT), 0); /* nothing else was in the way */
    close(s.ns);
    close(far.ns);
    end(n);
}

static void test_siblings(void **state)
{
    struct net *n = standard();
    struct slot a = slot_make(n, 0), b = slot_make(n, 1);
    struct net_counters before, after;
    cleanup_fd int inside = listener(b.ns, PORT);

    assert_refused_at_once(a.ns, b.names.addr, PORT);
    /* With power over both namespaces: frames to the sibling's MAC end at the bridge, which does not pass them between isolated ports. */
    in(a.ns, "nft flush ruleset");
    in(b.ns, "nft flush ruleset");
    in(a.ns, "ip route add 10.231.0.3 dev eth0 src 10.231.0.2");
    in(a.ns, "ip neigh add 10.231.0.3 lladdr 02:66:6e:00:00:01 nud permanent dev eth0");
    in(b.ns, "ip route add 10.231.0.2 dev eth0 src 10.231.0.3");
    in(b.ns, "ip neigh add 10.231.0.2 lladdr 02:66:6e:00:00:00 nud permanent dev eth0");
    assert_int_equal(try_connect(a.ns, b.names.addr, PORT, IMPATIENT), ETIMEDOUT);
    assert_nothing_came(inside);
    assert_int_equal(try_connect(-1, b.names.addr, PORT, PATIENT), 0);
    /* Another MAC gets nothing through its port, not even the sibling's. */
    before = counted(n);
    in(a.ns, "ip link set eth0 address 02:66:6e:00:00:01");
    in(a.ns, "ip neigh replace 10.231.0.1 lladdr 02:66:62:00:00:00 nud permanent dev eth0");
    assert_int_equal(try_send(a.ns, a.names.bridge_addr, PORT), 0);
    after = counted_after(n, &before, 1);
    assert_int_equal(after.to_host, before.to_host);
    assert_int_equal(after.spoofed_mac_ip, before.spoofed_mac_ip + 1);
    assert_int_equal(try_connect(-1, b.names.addr, PORT, PATIENT), 0);
    in(a.ns, "ip link set eth0 address 02:66:6e:00:00:00");
    in(a.ns, "ip neigh replace 10.231.0.1 lladdr 02:66:62:00:00:00 nud permanent dev eth0");
    before = after;
    assert_int_equal(try_send(a.ns, a.names.bridge_addr, PORT), 0);
    after = counted_after(n, &before, 1);
    assert_int_equal(after.to_host, before.to_host + 1);
    close(a.ns);
    close(b.ns);
    end(n);
}

static void test_metadata(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0);
    cleanup_fd int outside = listener(-1, 80);
    char text[1024];

    host("ip link add meta type bridge");
    host("ip addr add 169.254.169.254/32 dev meta");
    host("ip link set meta up");
    assert_int_equal(try_connect(-1, addr_of("169.254.169.254"), 80, PATIENT), 0);
    assert_came(outside);
    assert_int_equal(try_connect(s.ns, addr_of("169.254.169.254"), 80, PATIENT), ECONNREFUSED);
    close(accept4(outside, NULL, NULL, SOCK_CLOEXEC));
    assert_nothing_came(outside);
    assert_int_equal(try_in(s.ns, text, sizeof(text), "ip route show table main"), 0);
    assert_string_equal(text, "default via 10.231.0.1 dev eth0 proto static src 10.231.0.2 \n10.231.0.1 dev eth0 proto static scope link src 10.231.0.2 \n");
    host("ip link del meta");
    close(s.ns);
    end(n);
}

static void test_inside(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 3);
    char text[8192], empty[64];

    assert_int_equal(try_in(s.ns, text, sizeof(text), "sysctl -n net.ipv4.ip_unprivileged_port_start"), 0);
    assert_string_equal(text, "0\n");
    assert_int_equal(try_in(-1, text, sizeof(text), "sysctl -n net.ipv4.ip_unprivileged_port_start net.ipv4.ip_forward"), 0);
    assert_string_equal(text, "1024\n0\n");
    assert_int_equal(try_in(s.ns, text, sizeof(text), "ip -6 addr show"), 0);
    assert_string_equal(text, "");
    assert_int_equal(try_in(-1, text, sizeof(text), "ip -6 addr show dev vf0003"), 0);
    assert_int_equal(try_in(-1, empty, sizeof(empty), "ip -6 addr show dev fn0"), 0);
    assert_string_equal(text, "");
    assert_string_equal(empty, "");
    assert_int_equal(try_in(s.ns, text, sizeof(text), "ip -o link show"), 0);
    assert_non_null(strstr(text, "02:66:6e:00:00:03"));
    assert_int_equal(try_in(-1, text, sizeof(text), "bridge -d link show dev vf0003"), 0);
    assert_non_null(strstr(text, "isolated on locked on"));
    assert_non_null(strstr(text, "learning off flood off mcast_flood off bcast_flood off"));
    assert_int_equal(try_in(-1, text, sizeof(text), "bridge fdb show br fn0"), 0);
    assert_non_null(strstr(text, "02:66:6e:00:00:03 dev vf0003 master fn0 static"));
    assert_int_equal(try_in(-1, text, sizeof(text), "ip neigh show dev fn0"), 0);
    assert_non_null(strstr(text, "10.231.0.5 lladdr 02:66:6e:00:00:03 PERMANENT"));
    assert_int_equal(net_slot_remove(n, 3, &diag), 0);
    assert_int_equal(try_in(-1, text, sizeof(text), "ip neigh show dev fn0"), 0);
    assert_string_equal(text, "");
    close(s.ns);
    end(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reachable),      TEST(test_reachable_with_bridge_netfilter),
        TEST(test_data),           TEST(test_first_connect),
        TEST(test_no_way_to_host), TEST(test_host_table_alone),
        TEST(test_spoofed_source), TEST(test_no_forwarding),
        TEST(test_siblings),       TEST(test_metadata),
        TEST(test_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
