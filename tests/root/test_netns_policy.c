/* What each policy lets a slot reach, by real connections and datagrams into a world behind the host: with both tables, with the host's alone, with the slot's alone. */
#include "root/netns_world.h"

static struct diag diag;

enum { N = 1U << NET_EGRESS_NO, I = 1U << NET_EGRESS_INTERNET, L = 1U << NET_EGRESS_LAN, O = 1U << NET_EGRESS_LIST };

static const struct destination {
    const char *to;
    unsigned reached_by;
    bool here; /* the host's own: never, whatever has become of the other table */
} destinations[] = {
    {"11.22.33.44", I | L, false},    {"192.168.77.2", L, false},     {"100.64.3.4", L, false},        {"198.51.100.7", 0, false},
    {"100.100.100.200", 0, true},     {"169.254.169.254", 0, true},   {"11.22.33.1", 0, true},         {"192.168.77.1", 0, true},
    {"10.231.0.1", 0, true},          {"10.231.4.1", 0, true},        {"10.231.0.9", 0, true},         {"127.0.0.53", 0, false},
    {"2a00:1:2:3::44", I | L, false}, {"fd55::2", L, false},          {"fd00:ec2::254", 0, true},      {"2a00:1:2:3::1", 0, true},
    {"fd66:6e0a:e700::1", 0, true},   {"fd66:6e0a:e700::9", 0, true}, {"64:ff9b::a9fe:a9fe", 0, true},
};

static const char *const egress_names[] = {"no", "internet", "lan", "list"};

static void check_one(const struct slot *s, const struct world *w, const struct destination *d, bool wanted, const char *what, bool at_once)
{
    const int patience = wanted ? PATIENT : 60; /* many, and nothing is slow here */
    uint64_t start = clock_mono_ns();
    int tcp = reach_tcp(s->ns, d->to, WORLD_PORT, patience), udp = reach_udp(s->ns, d->to, WORLD_PORT, w->udp, patience);

    if ((tcp == 0) != wanted || (udp == 0) != wanted)
        fail_msg("%s to %s: tcp %s, udp %s", what, d->to, strerror(tcp), strerror(udp));
    if (at_once && !wanted && tcp == ETIMEDOUT && reach_tcp(s->ns, d->to, WORLD_PORT, PATIENT) == ETIMEDOUT) /* or the machine was slow */
        fail_msg("%s to %s: the connection hangs instead of being refused (%llu ms)", what, d->to, (unsigned long long)((clock_mono_ns() - start) / NS_PER_MS));
}

static void drain(int listening)
{
    int c;

    while ((c = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        close(c);
}

static void matrix(bool bridge_nf)
{
    struct world w = world_make();
    struct net *n;
    struct slot slots[NET_EGRESS_COUNT], other;
    cleanup_fd int tcp = any_socket(-1, SOCK_STREAM, WORLD_PORT), udp = any_socket(-1, SOCK_DGRAM, WORLD_PORT);

    bridge_netfilter(bridge_nf ? "1" : "0");
    n = world_network();
    for (uint32_t e = 0; e < NET_EGRESS_COUNT; e++)
        slots[e] = policy_slot(n, e, e, false, true);
    other = policy_slot(n, 7, NET_EGRESS_LAN, false, true); /* 10.231.0.9 */
    cleanup_fd int sibling_tcp = any_socket(other.ns, SOCK_STREAM, WORLD_PORT), sibling_udp = any_socket(other.ns, SOCK_DGRAM, WORLD_PORT);
    close(policy_slot(n, 1000, NET_EGRESS_LAN, false, true).ns); /* so that there is another bridge */
    serve_pending(n);
    for (uint32_t e = 0; e < NET_EGRESS_COUNT; e++)
        for (size_t i = 0; i < COUNT(destinations); i++)
            check_one(&slots[e], &w, &destinations[i], destinations[i].reached_by & (1U << e), egress_names[e], true);
    for (uint32_t e = 0; e < NET_EGRESS_COUNT; e++) { /* the host's tables alone */
        in(slots[e].ns, "nft flush ruleset");
        for (size_t i = 0; i < COUNT(destinations); i++)
            check_one(&slots[e], &w, &destinations[i], destinations[i].reached_by & (1U << e), egress_names[e], false);
    }
    drain(sibling_tcp);
    for (uint32_t e = 0; e < NET_EGRESS_COUNT; e++) /* made anew: the slot's own rules alone */
        close(slots[e].ns);
    for (uint32_t e = 0; e < NET_EGRESS_COUNT; e++)
        slots[e] = policy_slot(n, 20 + e, e, false, true);
    serve_pending(n);
    host("nft flush ruleset");
    for (uint32_t e = 0; e < NET_EGRESS_COUNT; e++) {
        for (size_t i = 0; i < COUNT(destinations); i++)
            if (destinations[i].here)
                check_one(&slots[e], &w, &destinations[i], false, egress_names[e], true);
        close(slots[e].ns);
    }
    assert_nothing_came(tcp);
    assert_nothing_came(udp);
    assert_nothing_came(sibling_tcp);
    assert_nothing_came(sibling_udp);
    close(other.ns);
    end(n);
    world_end(&w);
}

static void test_matrix(void **state)
{
    matrix(false);
}

static void test_matrix_with_bridge_netfilter(void **state)
{
    matrix(true);
}

/* The bridge's address, and there the gateway's port, and DNS unless egress is `no`; by no other address of the host. */
static void test_gateway_and_dns(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    cleanup_fd int gateway = any_socket(-1, SOCK_STREAM, GATEWAY_PORT), dns_tcp = any_socket(-1, SOCK_STREAM, 53), dns_udp = any_socket(-1, SOCK_DGRAM, 53),
                   gateway_udp = any_socket(-1, SOCK_DGRAM, GATEWAY_PORT), admin = any_socket(-1, SOCK_STREAM, GATEWAY_PORT + 1);

    for (uint32_t e = 0; e < NET_EGRESS_COUNT; e++) {
        struct slot s = policy_slot(n, e, e, false, false);

        for (unsigned alone = 0; alone < 2; alone++) {
            const int patience = alone ? IMPATIENT : PATIENT;

            assert_int_equal(reach_tcp(s.ns, "10.231.0.1", GATEWAY_PORT, PATIENT), 0);
            assert_int_not_equal(reach_udp(s.ns, "10.231.0.1", GATEWAY_PORT, gateway_udp, IMPATIENT), 0);
            assert_int_not_equal(reach_tcp(s.ns, "10.231.0.1", GATEWAY_PORT + 1, patience), 0);
            assert_int_not_equal(reach_tcp(s.ns, "11.22.33.1", GATEWAY_PORT, patience), 0);
            assert_int_not_equal(reach_tcp(s.ns, "10.231.4.1", GATEWAY_PORT, patience), 0);
            assert_int_not_equal(reach_udp(s.ns, "11.22.33.1", 53, dns_udp, IMPATIENT), 0);
            assert_int_equal(reach_udp(s.ns, "10.231.0.1", 53, dns_udp, e ? PATIENT : IMPATIENT) == 0, e != NET_EGRESS_NO);
            assert_int_equal(reach_tcp(s.ns, "10.231.0.1", 53, e ? PATIENT : IMPATIENT) == 0, e != NET_EGRESS_NO);
            in(s.ns, "nft flush ruleset");
        }
        close(s.ns);
    }
    assert_came(gateway);
    assert_came(dns_tcp);
    assert_nothing_came(admin);
    end(n);
    world_end(&w);
}

static void test_mesh(void **state)
{
    struct net *n = world_network();
    struct slot a = policy_slot(n, 0, NET_EGRESS_NO, true, true), b = policy_slot(n, 1, NET_EGRESS_LAN, true, true),
                far = policy_slot(n, 1000, NET_EGRESS_LIST, true, false), alone = policy_slot(n, 2, NET_EGRESS_LAN, false, true);
    struct slot *all[] = {&a, &b, &far, &alone};
    int tcp[4], udp[4];
    static const char *const four[] = {"10.231.0.2", "10.231.0.3", "10.231.4.2", "10.231.0.4"}, *const six[] = {"fd66:6e0a:e700::2", "fd66:6e0a:e700::3", NULL,
                                                                                                                "fd66:6e0a:e700::4"};
    cleanup_fd int host_tcp = any_socket(-1, SOCK_STREAM, PORT);

    for (unsigned i = 0; i < 4; i++) {
        tcp[i] = any_socket(all[i]->ns, SOCK_STREAM, PORT);
        udp[i] = any_socket(all[i]->ns, SOCK_DGRAM, PORT);
    }
    for (unsigned open = 0; open < 2; open++) { /* the second time without the slots' own rules */
        for (unsigned from = 0; from < 4; from++)
            for (unsigned to = 0; to < 4; to++) {
                const bool wanted = from != 3 && to != 3;

                if (from == to)
                    continue;
                if ((reach_tcp(all[from]->ns, four[to], PORT, wanted ? PATIENT : IMPATIENT) == 0) != wanted)
                    fail_msg("tcp, %u to %u", from, to);
                if ((reach_udp(all[from]->ns, four[to], PORT, udp[to], wanted ? PATIENT : IMPATIENT) == 0) != wanted)
                    fail_msg("udp, %u to %u", from, to);
                if (six[from] && six[to] && (reach_tcp(all[from]->ns, six[to], PORT, wanted ? PATIENT : IMPATIENT) == 0) != wanted)
                    fail_msg("tcp over IPv6, %u to %u", from, to);
            }
        assert_int_not_equal(reach_tcp(a.ns, "10.231.0.1", PORT, IMPATIENT), 0);
        assert_int_not_equal(reach_tcp(a.ns, "10.231.4.1", PORT, IMPATIENT), 0);
        assert_nothing_came(host_tcp);
        for (unsigned i = 0; i < 4; i++)
            in(all[i]->ns, "nft flush ruleset");
    }
    for (unsigned i = 0; i < 4; i++) {
        close(tcp[i]);
        close(udp[i]);
        close(all[i]->ns);
    }
    end(n);
}

static int open_one(struct net *n, unsigned slot, const char *to, uint32_t ttl_s)
{
    const struct net_dest dest = dest_of(to, WORLD_PORT);

    return net_slots_open(n, &slot, 1, &dest, 1, ttl_s, &diag);
}

static void test_opened(void **state)
{
    static const char *const refused[] = {"169.254.169.254",   "100.100.100.200",    "127.0.0.1",     "10.231.0.1", "10.231.0.3", "0.0.0.0",
                                          "255.255.255.255",   "224.0.0.1",          "fd00:ec2::254", "fe80::1",    "::1",        "ff02::1",
                                          "fd66:6e0a:e700::2", "64:ff9b::a9fe:a9fe", "::127.0.0.1"};
    struct world w = world_make();
    struct net *n = world_network();
    struct slot s[3] = {policy_slot(n, 0, NET_EGRESS_LIST, false, true), policy_slot(n, 1, NET_EGRESS_NO, false, false),
                        policy_slot(n, 2, NET_EGRESS_LIST, false, true)};
    const struct net_dest dests[] = {dest_of("11.22.33.44", WORLD_PORT), dest_of("192.168.77.2", WORLD_PORT), dest_of("2a00:1:2:3::44", WORLD_PORT)};
    const unsigned both[] = {0, 1, 55};
    cleanup_fd int other_port = any_socket(w.ns, SOCK_STREAM, WORLD_PORT + 1), here = any_socket(-1, SOCK_STREAM, WORLD_PORT);

    assert_int_not_equal(reach_tcp(s[0].ns, "11.22.33.44", WORLD_PORT, PATIENT), 0);
    assert_int_equal(net_slots_open(n, both, 3, dests, 3, 0, &diag), 5); /* slot 1 has no IPv6, slot 55 is not there */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(reach_tcp(s[i].ns, "11.22.33.44", WORLD_PORT, PATIENT), 0);
        assert_int_equal(reach_udp(s[i].ns, "192.168.77.2", WORLD_PORT, w.udp, PATIENT), 0);
        assert_int_equal(reach_tcp(s[i].ns, "11.22.33.44", WORLD_PORT + 1, PATIENT), ECONNREFUSED);
    }
    assert_int_equal(reach_tcp(s[0].ns, "2a00:1:2:3::44", WORLD_PORT, PATIENT), 0);
    assert_int_not_equal(reach_tcp(s[2].ns, "11.22.33.44", WORLD_PORT, PATIENT), 0);
    assert_nothing_came(other_port);
    for (size_t i = 0; i < COUNT(refused); i++) {
        const struct net_dest dest = dest_of(refused[i], WORLD_PORT);
        const struct net_options o = world_options();

        if (!net_dest_refused(&o, &dest) || open_one(n, 0, refused[i], 60) != 0)
            fail_msg("%s was opened", refused[i]);
    }
    assert_int_equal(open_one(n, 0, "11.22.33.1", 60), 1); /* the host's own: an element, and refused all the same */
    assert_int_not_equal(reach_tcp(s[0].ns, "11.22.33.1", WORLD_PORT, IMPATIENT), 0);
    in(s[0].ns, "nft flush ruleset");
    assert_int_not_equal(reach_tcp(s[0].ns, "11.22.33.1", WORLD_PORT, IMPATIENT), 0);
    assert_nothing_came(here);
    for (unsigned i = 0; i < 3; i++)
        close(s[i].ns);
    end(n);
    world_end(&w);
}

static int reach_and_drain(const struct slot *s, const struct world *w)
{
    int r = reach_tcp(s->ns, "11.22.33.44", WORLD_PORT, 500);

    drain(w->tcp);
    (void)poll(NULL, 0, 5); /* a slot that begins more than conns_max a second is made to wait */
    return r;
}

/* What was opened for two seconds at that time is reached for the first `ms` of them. A machine that stood still for the others has shown nothing; what is closed is refused, and what says nothing once was slow. */
static void assert_reached(const struct slot *s, const struct world *w, uint64_t since_ns, uint64_t ms)
{
    unsigned silent = 0;

    while (clock_mono_ns() - since_ns < ms * NS_PER_MS) {
        int r = reach_and_drain(s, w);

        if (r != 0 && clock_mono_ns() - since_ns >= 2 * NS_PER_SEC)
            return;
        silent = r == ETIMEDOUT ? silent + 1 : 0;
        if (silent > 1 || (r != 0 && r != ETIMEDOUT))
            fail_msg("%s after %llu ms", strerror(r), (unsigned long long)((clock_mono_ns() - since_ns) / NS_PER_MS));
    }
}

/* Time ends it, opening again sets the time anew; a connection goes on; a slot's successor inherits nothing. */
static void test_opened_for_a_time(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    struct slot s = policy_slot(n, 0, NET_EGRESS_LIST, false, false);
    struct sockaddr_storage sa = endpoint("11.22.33.44", WORLD_PORT);
    cleanup_fd int kept = family_socket(s.ns, AF_INET, SOCK_STREAM);
    struct pollfd p = {.fd = kept, .events = POLLOUT};
    uint64_t opened = clock_mono_ns();

    assert_int_equal(open_one(n, 0, "11.22.33.44", 2), 1);
    assert_int_equal(connect(kept, (struct sockaddr *)&sa, sizeof(sa)), -1);
    assert_int_equal(poll(&p, 1, PATIENT), 1);
    cleanup_fd int peer = accept4(w.tcp, NULL, NULL, SOCK_CLOEXEC);
    assert_reached(&s, &w, opened, 1500);
    opened = clock_mono_ns();
    assert_int_equal(open_one(n, 0, "11.22.33.44", 2), 1); /* anew */
    assert_reached(&s, &w, opened, 1300);                  /* longer than the first time allowed */
    while (reach_and_drain(&s, &w) == 0 && clock_mono_ns() - opened < 30 * NS_PER_SEC)
        continue;
    assert_int_not_equal(reach_udp(s.ns, "11.22.33.44", WORLD_PORT, w.udp, IMPATIENT), 0);
    assert_int_equal(send(kept, "x", 1, MSG_NOSIGNAL), 1);
    assert_came(peer);
    assert_int_equal(open_one(n, 0, "11.22.33.44", 600), 1);
    assert_int_equal(open_one(n, 0, "192.168.77.2", 0), 1);
    assert_int_equal(net_slot_remove(n, 0, &diag), 0);
    close(s.ns);
    s = policy_slot(n, 0, NET_EGRESS_LIST, false, false);
    in(s.ns, "nft flush ruleset"); /* the host's tables alone */
    assert_int_not_equal(reach_tcp(s.ns, "11.22.33.44", WORLD_PORT, IMPATIENT), 0);
    assert_int_not_equal(reach_udp(s.ns, "192.168.77.2", WORLD_PORT, w.udp, IMPATIENT), 0);
    close(s.ns);
    end(n);
    world_end(&w);
}

/* A slot that used up its connections hurts nobody else. */
static void test_connections(void **state)
{
    struct world w = world_make();
    struct net_options o = world_options();
    int held[8];
    struct net *n;

    o.conns_max = 5;
    n = network(&o);
    struct slot greedy = policy_slot(n, 0, NET_EGRESS_INTERNET, false, false), other = policy_slot(n, 1, NET_EGRESS_INTERNET, false, false);
    struct sockaddr_storage sa = endpoint("11.22.33.44", WORLD_PORT);

    for (unsigned i = 0; i < COUNT(held); i++) {
        held[i] = family_socket(greedy.ns, AF_INET, SOCK_STREAM);
        struct pollfd p = {.fd = held[i], .events = POLLOUT};

        (void)connect(held[i], (struct sockaddr *)&sa, sizeof(sa));
        assert_int_equal(poll(&p, 1, i < 5 ? PATIENT : IMPATIENT), i < 5);
    }
    assert_int_equal(reach_tcp(other.ns, "11.22.33.44", WORLD_PORT, PATIENT), 0);
    assert_true(counted(n).conns_refused >= 3);
    for (unsigned i = 0; i < COUNT(held); i++)
        close(held[i]);
    close(greedy.ns);
    close(other.ns);
    end(n);
    world_end(&w);
}

/* Nobody outside connects to a slot, by IPv4 or IPv6, even one that could route there; and nobody uses the host as a router because its uplink forwards now. */
static void test_from_outside(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    struct slot s = policy_slot(n, 0, NET_EGRESS_LAN, false, true);
    cleanup_fd int inside = any_socket(s.ns, SOCK_STREAM, PORT), third = ns_new(), third_tcp = -1;
    char command[80], text[64];

    host("ip link add inner type veth peer name end");
    snprintf(command, sizeof(command), "ip link set end netns /proc/%d/fd/%d", (int)getpid(), third);
    host(command);
    host("ip addr add 10.9.9.1/24 dev inner");
    host("ip link set inner up");
    in(third, "ip addr add 10.9.9.2/24 dev end");
    in(third, "ip link set end up");
    in(third, "ip route add default via 10.9.9.1");
    third_tcp = any_socket(third, SOCK_STREAM, PORT);
    in(w.ns, "ip route add 10.231.0.0/20 via 11.22.33.1");
    in(w.ns, "ip route add 10.9.9.0/24 via 11.22.33.1");
    in(w.ns, "ip -6 route add fd66:6e0a:e700::/48 via 2a00:1:2:3::1");
    serve_pending(n);
    assert_int_equal(try_in(-1, text, sizeof(text),
                            "sysctl -n net.ipv4.ip_forward net.ipv4.conf.ext.forwarding net.ipv4.conf.fn0.forwarding net.ipv4.conf.default.forwarding"),
                     0);
    assert_string_equal(text, "0\n1\n1\n0\n");
    assert_int_not_equal(reach_tcp(w.ns, "10.231.0.2", PORT, IMPATIENT), 0);
    assert_int_not_equal(reach_tcp(w.ns, "fd66:6e0a:e700::2", PORT, IMPATIENT), 0);
    assert_int_not_equal(reach_tcp(w.ns, "10.9.9.2", PORT, IMPATIENT), 0);
    assert_nothing_came(inside);
    assert_nothing_came(third_tcp);
    assert_true(counted(n).from_outside >= 2);
    assert_int_equal(reach_tcp(s.ns, "10.9.9.2", PORT, PATIENT), 0); /* `lan` does reach it */
    net_free(n);                                                     /* killed: the next one knows what the last one switched on */
    n = world_network();
    assert_int_not_equal(reach_tcp(w.ns, "10.9.9.2", PORT + 1, IMPATIENT), ECONNREFUSED);
    close(s.ns);
    end(n);
    assert_int_equal(try_in(-1, text, sizeof(text), "sysctl -n -e net.ipv4.conf.ext.forwarding net.ipv6.conf.ext.force_forwarding"), 0);
    assert_true(strcmp(text, "0\n0\n") == 0 || strcmp(text, "0\n") == 0); /* the second only where there is one */
    host("ip link del inner");
    world_end(&w);
}

static void test_no_ipv6_unless_asked(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    struct slot without = policy_slot(n, 0, NET_EGRESS_LAN, false, false), with = policy_slot(n, 1, NET_EGRESS_LAN, false, true);
    char text[1024];

    assert_int_not_equal(reach_tcp(without.ns, "2a00:1:2:3::44", WORLD_PORT, PATIENT), 0);
    assert_int_equal(reach_tcp(with.ns, "2a00:1:2:3::44", WORLD_PORT, PATIENT), 0);
    assert_int_equal(try_in(without.ns, text, sizeof(text), "ip -6 addr show"), 0);
    assert_string_equal(text, "");
    assert_int_equal(try_in(with.ns, text, sizeof(text), "ip -6 -o addr show dev eth0"), 0);
    assert_non_null(strstr(text, "fd66:6e0a:e700::3/128"));
    assert_null(strstr(text, "fe80"));
    assert_int_equal(net_slot_make(n, 2, with.ns, &(struct net_policy){.egress = NET_EGRESS_COUNT}, &with.names, &diag), -EINVAL);
    close(without.ns);
    close(with.ns);
    end(n);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_matrix),
        TEST(test_matrix_with_bridge_netfilter),
        TEST(test_gateway_and_dns),
        TEST(test_mesh),
        TEST(test_opened),
        TEST(test_opened_for_a_time),
        TEST(test_connections),
        TEST(test_from_outside),
        TEST(test_no_ipv6_unless_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
