/* What others do to the tables, addresses and firewalls of the host, and what becomes of it; and frames that no honest slot sends. */
#include "root/netns_world.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <signal.h>

static struct diag diag;

static void assert_tables(bool there)
{
    char text[256];

    assert_int_equal(try_in(-1, text, sizeof(text), "nft list tables"), 0);
    assert_int_equal(strstr(text, "inet fn") && strstr(text, "bridge fn"), there);
}

/* A connection through masquerade that talks all the time, one to the gateway's side, slots with elements of every kind: after a flush all is as before within a second, and what must not be is not meanwhile. */
static void test_flush_under_traffic(void **state)
{
    static const char *const blows[] = {"nft flush ruleset",           "nft delete table inet fn",
                                        "nft delete table bridge fn",  "nft flush chain inet fn forward",
                                        "nft flush set inet fn open4", "nft flush map inet fn policies4"};
    struct world w = world_make();
    struct net *n = world_network();
    struct slot lan = policy_slot(n, 0, NET_EGRESS_LAN, true, true), list = policy_slot(n, 1, NET_EGRESS_LIST, true, false),
                no = policy_slot(n, 2, NET_EGRESS_NO, false, false);
    const struct net_dest dest = dest_of("11.22.33.44", WORLD_PORT), forever = dest_of("192.168.77.2", WORLD_PORT);
    struct sockaddr_storage sa = endpoint("11.22.33.44", WORLD_PORT);
    cleanup_fd int here = any_socket(-1, SOCK_STREAM, WORLD_PORT), sibling = any_socket(no.ns, SOCK_STREAM, PORT),
                   talk = family_socket(lan.ns, AF_INET, SOCK_STREAM), peer = -1;
    struct pollfd p = {.fd = w.tcp, .events = POLLIN};
    cleanup_fd int sibling_udp = any_socket(no.ns, SOCK_DGRAM, PORT);
    uint64_t slowest = 0, before;
    char byte;

    assert_int_equal(net_slots_open(n, &(unsigned){1}, 1, &dest, 1, 600, &diag), 1);
    assert_int_equal(net_slots_open(n, &(unsigned){1}, 1, &forever, 1, 0, &diag), 1);
    (void)connect(talk, (struct sockaddr *)&sa, sizeof(sa));
    assert_int_equal(poll(&p, 1, PATIENT), 1);
    peer = accept4(w.tcp, NULL, NULL, SOCK_CLOEXEC);
    in(w.ns, "ip route add 10.231.0.0/20 via 11.22.33.1");
    serve_pending(n);
    for (size_t i = 0; i < COUNT(blows); i++) {
        uint64_t took;

        before = counted(n).installs;
        host(blows[i]);
        assert_int_not_equal(reach_tcp(no.ns, "10.231.0.1", WORLD_PORT, IMPATIENT), 0);
        assert_int_not_equal(reach_tcp(lan.ns, "11.22.33.1", WORLD_PORT, IMPATIENT), 0);
        assert_int_not_equal(reach_tcp(lan.ns, "10.231.0.4", PORT, IMPATIENT), 0);
        assert_int_not_equal(reach_udp(lan.ns, "10.231.0.4", PORT, sibling_udp, IMPATIENT), 0);
        assert_int_not_equal(reach_tcp(w.ns, "10.231.0.4", PORT, IMPATIENT), 0);
        assert_int_not_equal(reach_tcp(lan.ns, "169.254.169.254", WORLD_PORT, IMPATIENT), 0);
        assert_int_not_equal(reach_tcp(list.ns, "100.64.3.4", WORLD_PORT, IMPATIENT), 0);
        took = serve_events(n, 1);
        slowest = took > slowest ? took : slowest;
        serve_pending(n);
        assert_int_equal(counted(n).installs, before + 1); /* our own installation is not answered by another */
        assert_tables(true);
        assert_int_equal(send(talk, "x", 1, MSG_NOSIGNAL), 1);
        p = (struct pollfd){.fd = peer, .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENT), 1);
        assert_int_equal(recv(peer, &byte, 1, 0), 1);
        assert_int_equal(reach_tcp(lan.ns, "2a00:1:2:3::44", WORLD_PORT, PATIENT), 0);
        assert_int_equal(reach_tcp(list.ns, "11.22.33.44", WORLD_PORT, PATIENT), 0);
        assert_int_equal(reach_udp(list.ns, "192.168.77.2", WORLD_PORT, w.udp, PATIENT), 0);
        assert_int_not_equal(reach_tcp(no.ns, "11.22.33.44", WORLD_PORT, IMPATIENT), 0);
        if (i >= 2) /* the pause grows with somebody who does it again and again */
            assert_true(took < 10 * NS_PER_SEC);
        else
            assert_true(took < NS_PER_SEC);
    }
    print_message("tables put back after at most %.1f ms\n", (double)slowest / 1e6);
    assert_nothing_came(here);
    assert_nothing_came(sibling);
    close(lan.ns);
    close(list.ns);
    close(no.ns);
    end(n);
    world_end(&w);
}

/* Making and removing slots, and opening, is nobody else's doing; but all of them find a table that was removed. */
static void test_own_changes(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    const struct net_dest dest = dest_of("11.22.33.44", WORLD_PORT);
    struct slot s;

    for (unsigned i = 0; i < 5; i++) {
        s = policy_slot(n, i, i % NET_EGRESS_COUNT, i % 2, i % 3 == 0);
        assert_int_equal(net_slots_open(n, &i, 1, &dest, 1, 5, &diag), 1);
        assert_int_equal(net_slot_remove(n, i, &diag), 0);
        close(s.ns);
    }
    serve_pending(n);
    assert_int_equal(counted(n).installs, 0);
    host("nft flush ruleset");
    s = policy_slot(n, 0, NET_EGRESS_LIST, false, false);
    assert_tables(true);
    host("nft flush ruleset");
    assert_int_equal(net_slots_open(n, &(unsigned){0}, 1, &dest, 1, 5, &diag), 1);
    assert_tables(true);
    assert_int_equal(reach_tcp(s.ns, "11.22.33.44", WORLD_PORT, PATIENT), 0);
    close(s.ns);
    end(n);
    world_end(&w);
}

/* Addresses that the host gets later are its own too, for the slots' own rules as well. */
static void test_new_address(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    struct slot s = policy_slot(n, 0, NET_EGRESS_LAN, false, true);
    cleanup_fd int here = any_socket(-1, SOCK_STREAM, WORLD_PORT);

    serve_pending(n);
    host("ip addr add 192.168.77.3/24 dev ext");
    host("ip -6 addr add 2a00:1:2:3::3/64 dev ext nodad");
    serve_pending(n);
    host("nft flush ruleset");
    assert_int_equal(reach_tcp(s.ns, "192.168.77.3", WORLD_PORT, PATIENT), ECONNREFUSED);
    assert_int_not_equal(reach_tcp(s.ns, "2a00:1:2:3::3", WORLD_PORT, IMPATIENT), 0);
    assert_nothing_came(here);
    serve_events(n, 1);
    host("ip addr del 192.168.77.3/24 dev ext");
    in(w.ns, "ip addr add 192.168.77.3/24 dev far");
    serve_pending(n);
    assert_int_equal(reach_tcp(s.ns, "192.168.77.3", WORLD_PORT, PATIENT), 0); /* now it is somebody else's */
    close(s.ns);
    end(n);
    world_end(&w);
}

/* An uplink that comes later forwards; a host that its administrator makes a router is one. */
static void test_new_uplink(void **state)
{
    struct world w = world_make();
    struct net *n;
    struct slot s;
    char text[64];

    host("ip route del default");
    n = world_network();
    s = policy_slot(n, 0, NET_EGRESS_INTERNET, false, false);
    assert_int_equal(try_in(-1, text, sizeof(text), "sysctl -n net.ipv4.conf.ext.forwarding"), 0);
    assert_string_equal(text, "0\n");
    serve_pending(n);
    host("ip route add default via 11.22.33.44");
    for (unsigned i = 0; i < 100 && reach_tcp(s.ns, "11.22.33.44", WORLD_PORT, IMPATIENT) != 0; i++)
        serve_pending(n);
    assert_int_equal(reach_tcp(s.ns, "11.22.33.44", WORLD_PORT, PATIENT), 0);
    assert_int_equal(try_in(-1, text, sizeof(text), "nft list set inet fn uplinks4"), 0);
    host("sysctl -q -w net.ipv4.ip_forward=1");
    for (unsigned i = 0; i < 100; i++) {
        char set[512];

        serve_pending(n);
        assert_int_equal(try_in(-1, set, sizeof(set), "nft list set inet fn uplinks4"), 0);
        if (!strstr(set, "ext"))
            break;
        assert_true(i < 99);
    }
    close(s.ns);
    end(n);
    assert_int_equal(try_in(-1, text, sizeof(text), "sysctl -n net.ipv4.conf.ext.forwarding"), 0);
    assert_string_equal(text, "1\n");
    world_end(&w);
}

/* A firewall that comes later, with policy drop and "established": answers of slots are established for it. */
static void test_foreign_firewall(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    struct slot s = policy_slot(n, 0, NET_EGRESS_INTERNET, false, false);
    char before[4096], after[4096];

    serve_pending(n);
    assert_int_equal(net_foreign_policy(&(struct net_options){.bridge = "fn"}, &diag), 0);
    host("nft add table inet filter");
    host("nft add chain inet filter input { type filter hook input priority 0 ; policy drop ; }");
    host("nft add rule inet filter input ct state established,related accept");
    host("nft add rule inet filter input iif lo accept");
    assert_int_equal(try_in(-1, before, sizeof(before), "nft list table inet filter"), 0);
    serve_events(n, 1);
    assert_int_equal(counted(n).installs, 0); /* renewed: nobody had touched ours */
    assert_serves(s.ns, s.names.addr);
    assert_int_equal(try_in(-1, after, sizeof(after), "nft list table inet filter"), 0);
    assert_string_equal(before, after);
    host("nft delete table inet filter");
    close(s.ns);
    end(n);
    world_end(&w);
}

/* Somebody publishes a port of the host (as Docker does): for a slot it stays the host's, though it leads to what the slot may reach. */
static void test_foreign_dnat(void **state)
{
    struct world w = world_make();
    struct net *n = world_network();
    struct slot s = policy_slot(n, 0, NET_EGRESS_LAN, false, false);

    host("nft add table ip published");
    host("nft add chain ip published in { type nat hook prerouting priority dstnat ; }");
    host("nft add rule ip published in fib daddr type local tcp dport 4080 dnat to 192.168.77.2:4000");
    in(w.ns, "ip route add 11.22.33.1/32 dev far");
    serve_pending(n);
    assert_int_equal(reach_tcp(s.ns, "192.168.77.2", WORLD_PORT, PATIENT), 0);
    assert_int_equal(reach_tcp(s.ns, "11.22.33.1", 4080, PATIENT), ECONNREFUSED);
    in(s.ns, "nft flush ruleset"); /* the host's tables alone */
    assert_int_not_equal(reach_tcp(s.ns, "11.22.33.1", 4080, IMPATIENT), 0);
    host("nft delete table ip published");
    close(s.ns);
    end(n);
    world_end(&w);
}

static void test_foreign_policy_explained(void **state)
{
    static const struct {
        const char *commands[5];
        const char *says; /* NULL: nothing is in the way */
    } cases[] = {
        {{"nft add table ip filter", "nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }"},
         "iptables -I FORWARD -i fn+ -j ACCEPT"},
        {{"nft add table ip filter", "nft add chain ip filter INPUT { type filter hook input priority 0 ; policy drop ; }"}, "ufw allow in on fn0"},
        {{"nft add table ip filter", "nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy accept ; }"}, NULL},
        {{"nft add table inet mine", "nft add chain inet mine f { type filter hook forward priority 0 ; policy drop ; }"}, "nft insert rule inet mine f iifname"},
        {{"nft add table inet mine", "nft add chain inet mine f { type filter hook forward priority 0 ; policy drop ; }",
          "nft add rule inet mine f iifname fn* accept"},
         NULL},
        {{"nft add table inet mine", "nft add chain inet mine f { type filter hook forward priority 0 ; policy drop ; }",
          "nft add rule inet mine f iifname eth0 accept"},
         "inet mine f"},
        {{"nft add table inet firewalld", "nft add chain inet firewalld filter_INPUT { type filter hook input priority 10 ; policy accept ; }",
          "nft add rule inet firewalld filter_INPUT reject with icmpx type admin-prohibited"},
         "firewall-cmd --permanent --zone=trusted --add-interface=fn0"},
    };
    const struct net_options o = world_options();

    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t k = 0; cases[i].commands[k]; k++)
            host(cases[i].commands[k]);
        if (net_foreign_policy(&o, &diag) != (cases[i].says ? -EPERM : 0))
            fail_msg("case %zu: %s", i, diag.text);
        if (cases[i].says && !strstr(diag.text, cases[i].says))
            fail_msg("case %zu: %s", i, diag.text);
        host("nft flush ruleset");
    }
}

/* Somebody who removes the table again and again does not keep us busy. */
static void test_fight(void **state)
{
    struct net *n = world_network();
    uint64_t start = clock_mono_ns(), passed = 0;
    struct pollfd p = {.fd = net_watch_fd(n), .events = POLLIN};

    while (passed < 2 * NS_PER_SEC || (passed < 60 * NS_PER_SEC && counted(n).installs < 3)) { /* a busy machine takes longer for three, and no more of them */
        passed = clock_mono_ns() - start;
        host("nft flush ruleset");
        if (poll(&p, 1, 10) == 1)
            assert_true(net_on_event(n, &diag) >= 0);
    }
    assert_in_range(counted(n).installs, 3, 12);
    end(n);
}

static void send_frame(int ns, const uint8_t *frame, size_t len)
{
    cleanup_fd int s = family_socket(ns, AF_PACKET, SOCK_RAW), back = host_ns();
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};

    assert_int_equal(setns(ns, CLONE_NEWNET), 0);
    to.sll_ifindex = (int)if_nametoindex("eth0");
    assert_int_equal(setns(back, CLONE_NEWNET), 0);
    assert_int_equal(sendto(s, frame, len, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)len);
}

/* Nothing from slot 0: a packet socket also shows what its own host and the bridge say. */
static void assert_heard_nothing(int heard)
{
    static const uint8_t from_slot[6] = {2, 0x66, 0x6e, 0, 0, 0};
    struct sockaddr_ll from = {0};
    socklen_t len = sizeof(from);
    char byte;

    while (recvfrom(heard, &byte, 1, 0, (struct sockaddr *)&from, &len) >= 0)
        assert_memory_not_equal(from.sll_addr, from_slot, sizeof(from_slot));
}

/* Announcing the sibling's or the bridge's address by ARP, another MAC, VLAN tags, other protocols, router advertisements, DHCP: dropped, counted, and the sibling hears and feels nothing. */
static void test_forged_frames(void **state)
{
    enum { ARP_LEN = 42, IP_LEN = 60 };
    struct net *n = world_network();
    struct slot s = policy_slot(n, 0, NET_EGRESS_LAN, false, true), sibling = policy_slot(n, 1, NET_EGRESS_LAN, false, true);
    static const uint8_t arp[ARP_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x66, 0x6e, 0, 0, 0,    8,    6,    0,    1,    8,    0,  6,   4, 0,
                                         2,    2,    0x66, 0x6e, 0,    0,    0, 10,   231,  0, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 10, 231, 0, 3};
    uint8_t ip[IP_LEN] = {2, 0x66, 0x62, 0, 0, 0, 2, 0x66, 0x6e, 0, 0, 0, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 10, 231, 0, 2, 10, 231, 0, 1};
    struct net_counters c[2];
    cleanup_fd int heard = family_socket(sibling.ns, AF_PACKET, SOCK_DGRAM);
    struct sockaddr_ll all = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};

    assert_int_equal(bind(heard, (struct sockaddr *)&all, sizeof(all)), 0);
    c[0] = counted(n);
    send_frame(s.ns, arp, sizeof(arp));
    send_frame(s.ns, ip, sizeof(ip)); /* from whom it says */
    ip[11] = 1;                       /* the sibling's MAC */
    send_frame(s.ns, ip, sizeof(ip));
    ip[11] = 0;
    ip[29] = 3; /* the sibling's address */
    send_frame(s.ns, ip, sizeof(ip));
    memset(ip, 0xff, 6); /* a DHCP server's broadcast */
    ip[29] = 1;
    send_frame(s.ns, ip, sizeof(ip));
    ip[12] = 0x88;
    ip[13] = 0xcc; /* LLDP */
    send_frame(s.ns, ip, sizeof(ip));
    ip[12] = 0x81;
    ip[13] = 0x00; /* a VLAN tag */
    ip[14] = 0x00;
    ip[15] = 0x07;
    ip[16] = 0x08;
    ip[17] = 0x00;
    send_frame(s.ns, ip, sizeof(ip));
    ip[12] = 0x86;
    ip[13] = 0xdd; /* IPv6 from fe80::1: a router's advertisement */
    ip[14] = 0x60;
    ip[22] = 0xfe;
    ip[23] = 0x80;
    send_frame(s.ns, ip, sizeof(ip));
    c[1] = counted_after(n, &c[0], 7);
    assert_int_equal(c[1].spoofed_arp - c[0].spoofed_arp, 1);
    assert_int_equal(c[1].spoofed_mac_ip - c[0].spoofed_mac_ip, 4);
    assert_int_equal(c[1].other_frames - c[0].other_frames, 2);
    assert_heard_nothing(heard);
    assert_serves(sibling.ns, sibling.names.addr);
    close(s.ns);
    close(sibling.ns);
    end(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_flush_under_traffic),      TEST(test_own_changes),  TEST(test_new_address), TEST(test_new_uplink),    TEST(test_foreign_firewall),
        TEST(test_foreign_policy_explained), TEST(test_foreign_dnat), TEST(test_fight),       TEST(test_forged_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
