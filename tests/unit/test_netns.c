/* The pure parts of netns/: names and ranges of slots, options, which link is whose, overlapping networks, the host's rules as text, what libnftables' messages become. */
#include "unit/check.h"

#include "../netns/nft_internal.h"

#include "diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct net_options options(const char *subnet, unsigned len)
{
    struct net_options o = {.bridge = "fn", .port = "vf", .prefix_len = len};

    assert_int_equal(inet_pton(AF_INET, subnet, &o.subnet), 1);
    return o;
}

static const char *text_of(struct in_addr a)
{
    static char buf[INET_ADDRSTRLEN];

    return inet_ntop(AF_INET, &a, buf, sizeof(buf));
}

static void test_names(void **state)
{
    static const struct {
        unsigned slot;
        const char *port, *bridge, *addr, *bridge_addr;
        uint8_t mac[6], bridge_mac[6];
    } cases[] = {
        {0, "vf0000", "fn0", "10.231.0.2", "10.231.0.1", {2, 0x66, 0x6e, 0, 0, 0}, {2, 0x66, 0x62, 0, 0, 0}},
        {7, "vf0007", "fn0", "10.231.0.9", "10.231.0.1", {2, 0x66, 0x6e, 0, 0, 7}, {2, 0x66, 0x62, 0, 0, 0}},
        {999, "vf0999", "fn0", "10.231.3.233", "10.231.0.1", {2, 0x66, 0x6e, 0, 3, 0xe7}, {2, 0x66, 0x62, 0, 0, 0}},
        {1000, "vf1000", "fn1", "10.231.4.2", "10.231.4.1", {2, 0x66, 0x6e, 0, 3, 0xe8}, {2, 0x66, 0x62, 0, 0, 1}},
        {63999, "vf63999", "fn63", "10.231.255.233", "10.231.252.1", {2, 0x66, 0x6e, 0, 0xf9, 0xff}, {2, 0x66, 0x62, 0, 0, 63}},
    };
    const struct net_options o = options("10.231.0.0", 16);

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct net_slot_names n;

        assert_int_equal(net_slot_names(&o, cases[i].slot, &n), 0);
        assert_string_equal(n.port, cases[i].port);
        assert_string_equal(n.bridge, cases[i].bridge);
        assert_string_equal(text_of(n.addr), cases[i].addr);
        assert_string_equal(text_of(n.bridge_addr), cases[i].bridge_addr);
        assert_memory_equal(n.mac, cases[i].mac, 6);
        assert_memory_equal(n.bridge_mac, cases[i].bridge_mac, 6);
        assert_int_equal(n.port_mac[2], 'p');
    }
}

/* No two slots share an address, a name or a MAC, no slot has its bridge's address, and all lie in their bridge's network. */
static void test_unique(void **state)
{
    const struct net_options o = options("10.231.0.0", 20);
    struct net_slot_names last = {0};

    for (unsigned slot = 0; slot < net_slots_max(&o); slot++) {
        struct net_slot_names n;

        assert_int_equal(net_slot_names(&o, slot, &n), 0);
        assert_true(ntohl(n.addr.s_addr) > ntohl(last.addr.s_addr));
        assert_true(ntohl(n.addr.s_addr) > ntohl(n.bridge_addr.s_addr));
        assert_true(subnet_overlaps(ntohl(n.addr.s_addr), 32, ntohl(n.bridge_addr.s_addr) - 1, 22));
        assert_true((ntohl(n.addr.s_addr) & 0x3ff) != 0x3ff); /* the network's broadcast address */
        assert_true(memcmp(n.mac, last.mac, 6) > 0);
        assert_string_not_equal(n.port, last.port);
        last = n;
    }
}

static void test_room(void **state)
{
    static const struct {
        unsigned len, slots;
    } cases[] = {{22, 1000}, {21, 2000}, {16, 64000}, {8, 64000}, {23, 0}, {7, 0}, {0, 0}, {33, 0}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct net_options o = options("10.0.0.0", cases[i].len);
        struct net_slot_names n = {.port = "untouched"};

        assert_int_equal(net_slots_max(&o), cases[i].slots);
        assert_int_equal(net_slot_names(&o, cases[i].slots, &n), -ERANGE);
        assert_int_equal(net_slot_names(&o, UINT32_MAX, &n), -ERANGE);
        assert_string_equal(n.port, "untouched");
    }
}

static void test_options(void **state)
{
    static const struct {
        const char *bridge, *port, *subnet;
        unsigned len;
        const char *says; /* NULL: good */
    } cases[] = {
        {"fn", "vf", "10.231.0.0", 16, NULL},
        {"x", "y", "192.168.4.0", 22, NULL},
        {"abcdefg", "f2f", "172.16.0.0", 12, NULL},
        {"", "vf", "10.231.0.0", 16, "network.bridge"},
        {"fn", "", "10.231.0.0", 16, "network.port"},
        {"fn1", "vf", "10.231.0.0", 16, "end with a letter"},
        {"1fn", "vf", "10.231.0.0", 16, "begin"},
        {"f*n", "vf", "10.231.0.0", 16, "letters and digits"},
        {"f/n", "vf", "10.231.0.0", 16, "letters and digits"},
        {"f\"n", "vf", "10.231.0.0", 16, "letters and digits"},
        {"fn", "v%f", "10.231.0.0", 16, "letters and digits"},
        {"fn", "fn", "10.231.0.0", 16, "both"},
        {"fn", "vf", "10.231.0.0", 23, "8 to 22"},
        {"fn", "vf", "10.0.0.0", 7, "8 to 22"},
        {"fn", "vf", "10.231.1.0", 16, "not a network"},
        {"fn", "vf", "127.0.0.0", 8, "cannot be used"},
        {"fn", "vf", "0.0.0.0", 8, "cannot be used"},
        {"fn", "vf", "169.254.0.0", 16, "cannot be used"},
        {"fn", "vf", "169.0.0.0", 8, "cannot be used"},
        {"fn", "vf", "169.254.168.0", 22, "cannot be used"},
        {"fn", "vf", "224.0.0.0", 8, "cannot be used"},
        {"fn", "vf", "255.255.252.0", 22, "cannot be used"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct net_options o = options(cases[i].subnet, cases[i].len);
        struct diag d = {0};
        int r;

        snprintf(o.bridge, sizeof(o.bridge), "%s", cases[i].bridge);
        snprintf(o.port, sizeof(o.port), "%s", cases[i].port);
        r = net_options_check(&o, &d);
        assert_int_equal(r, cases[i].says ? -EINVAL : 0);
        if (cases[i].says)
            assert_non_null(strstr(d.text, cases[i].says));
    }
}

/* A prefix that fills its array has no end. */
static void test_options_unterminated(void **state)
{
    struct net_options o = options("10.231.0.0", 16);

    memset(o.bridge, 'a', sizeof(o.bridge));
    assert_int_equal(net_options_check(&o, NULL), -EINVAL);
}

static void test_owner(void **state)
{
    static const struct {
        const char *name, *alias;
        uint8_t mac[6];
        enum link_owner owner;
    } cases[] = {
        {"fn0", "fnd:fn", {0}, LINK_OURS},
        {"vf0007", "fnd:fn", {0}, LINK_OURS},
        {"vf12345", "fnd:fn", {0}, LINK_OURS},
        {"vf0007", "", {2, 0x66, 0x70, 0, 0, 7}, LINK_OURS}, /* killed between making and naming it */
        {"fn1", "", {2, 0x66, 0x62, 0, 0, 1}, LINK_OURS},
        {"vf0007", "", {2, 0x66, 0x70, 0, 0, 8}, LINK_CLASH},
        {"vf0007", "", {2, 0x66, 0x62, 0, 0, 7}, LINK_CLASH},
        {"fn0", "", {0}, LINK_CLASH},
        {"fn0", "fnd:fx", {2, 0x66, 0x62, 0, 0, 0}, LINK_CLASH}, /* another daemon's */
        {"fn0", "fnd:f", {0}, LINK_CLASH},
        {"fn0", "fnd:fnx", {0}, LINK_CLASH},
        {"fn0", "somebody's", {2, 0x66, 0x62, 0, 0, 0}, LINK_CLASH},
        {"eth0", "fnd:fn", {0}, LINK_FOREIGN},
        {"fn", "fnd:fn", {0}, LINK_FOREIGN},
        {"fnx0", "fnd:fn", {0}, LINK_FOREIGN},
        {"fn00", "fnd:fn", {0}, LINK_FOREIGN},
        {"fn-1", "fnd:fn", {0}, LINK_FOREIGN},
        {"fn64", "fnd:fn", {0}, LINK_FOREIGN}, /* more bridges than there can be */
        {"vf7", "fnd:fn", {0}, LINK_FOREIGN},
        {"vf00007", "fnd:fn", {0}, LINK_FOREIGN},
        {"vf64000", "fnd:fn", {0}, LINK_FOREIGN},
        {"vf0007.5", "fnd:fn", {0}, LINK_FOREIGN},
        {"fn99999999999", "fnd:fn", {0}, LINK_FOREIGN},
        {"", "", {0}, LINK_FOREIGN},
    };
    const struct net_options o = options("10.231.0.0", 16);

    for (size_t i = 0; i < COUNT(cases); i++)
        if (link_owner(&o, cases[i].name, cases[i].alias, cases[i].mac) != cases[i].owner)
            fail_msg("%s, alias \"%s\" (case %zu)", cases[i].name, cases[i].alias, i);
}

static void test_overlap(void **state)
{
    static const struct {
        uint32_t a;
        unsigned a_len;
        uint32_t b;
        unsigned b_len;
        bool overlap;
    } cases[] = {
        {0x0ae70000, 16, 0x0ae70401, 32, true},
        {0x0ae70000, 16, 0x0ae80001, 32, false},
        {0x0ae70000, 16, 0x0ae6ffff, 32, false},
        {0x0ae70000, 16, 0x0a000000, 8, true},
        {0x0ae70000, 16, 0x0b000000, 8, false},
        {0x0ae70000, 16, 0, 0, true},
        {0x0ae70000, 16, 0x80000000, 1, false},
        {0x0ae70000, 16, 0x0ae70000, 16, true},
        {0x0ae70000, 32, 0x0ae70000, 32, true},
        {0x0ae70000, 32, 0x0ae70001, 32, false},
        {0xffffffff, 32, 0, 0, true},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(subnet_overlaps(cases[i].a, cases[i].a_len, cases[i].b, cases[i].b_len), cases[i].overlap);
        assert_int_equal(subnet_overlaps(cases[i].b, cases[i].b_len, cases[i].a, cases[i].a_len), cases[i].overlap);
    }
}

static char *rules_with(const char *subnet, unsigned len, bool forwards, bool notrack, bool timeouts)
{
    struct net n = {.o = options(subnet, len), .forwards = forwards, .notrack = notrack, .listeners = {80, 8889}, .nlisteners = 2};
    char *text = NULL;

    n.o.gateway_port = 8888;
    n.o.dns = true;
    assert_int_equal(rules_text(&n, 0, timeouts, &text), 0);
    return text;
}

static char *rules_of(const char *subnet, unsigned len, bool forwards, bool notrack)
{
    return rules_with(subnet, len, forwards, notrack, true);
}

/* Times of our own are there where something is tracked and the kernel has them; without them the rest of the rules is the same. */
static void test_rules_timeouts(void **state)
{
    static const char *const needles[] = {"ct timeout short_tcp", "ct timeout set \"short_tcp\"", "ct timeout set \"short_udp\"", "chain strangers"};

    for (unsigned i = 0; i < 8; i++) {
        const bool forwards = i & 1, notrack = i & 2, timeouts = i & 4, tracks = forwards || !notrack;
        char *text = rules_with("10.231.0.0", 16, forwards, notrack, timeouts);

        assert_non_null(strstr(text, "set listeners {\n  type inet_service;\n  elements = { 80, 8889 }"));
        for (size_t k = 0; k < COUNT(needles); k++)
            assert_int_equal(strstr(text, needles[k]) != NULL, tracks && timeouts && (k != 2 || !notrack));
        assert_int_equal(strstr(text, "limit rate over 1024/second burst 1024 packets") != NULL, tracks);
        assert_int_equal(strstr(text, "ct count over 1024") != NULL, tracks);
        free(text);
    }
}

static void test_rules_text(void **state)
{
    char *text = rules_of("10.231.0.0", 16, false, true);

    assert_int_equal(strncmp(text, "add table bridge fn\ndelete table bridge fn\nadd table inet fn\ndelete table inet fn\ntable bridge fn {\n", 100), 0);
    assert_non_null(strstr(text, "\"fn63\" }"));
    assert_null(strstr(text, "\"fn64\""));
    assert_non_null(strstr(text, "\"fn0\" . 10.231.0.0/22, \"fn1\" . 10.231.4.0/22"));
    assert_non_null(strstr(text, "\"fn63\" . 10.231.252.0/22 }"));
    assert_non_null(strstr(text, "tcp dport 8888 accept"));
    assert_non_null(strstr(text, "ip daddr 10.231.0.0/16 notrack return"));
    assert_null(strstr(text, "ct state")); /* nothing is tracked before somebody needs it */
    assert_null(strstr(text, "masquerade"));
    free(text);
    text = rules_of("192.168.4.0", 22, true, false);
    assert_non_null(strstr(text, "elements = { \"fn0\" }"));
    assert_non_null(strstr(text, "elements = { \"fn0\" . 192.168.4.0/22 }"));
    assert_non_null(strstr(text, "ip saddr 192.168.4.0/22 oifname != @bridges masquerade"));
    assert_null(strstr(text, "notrack"));
    free(text);
}

/* What nftables asks of a set of intervals: sorted, and those of a class disjoint; also where our subnet holds a row of the table. */
static void test_special_ranges(void **state)
{
    static const char *const subnets[] = {"10.231.0.0", "100.64.0.0"};

    for (size_t i = 0; i < COUNT(subnets); i++)
        for (unsigned six = 0; six < 2; six++) {
            const struct net_options o = options(subnets[i], i ? 10 : 16);
            struct special_range all[SPECIAL_MAX];
            size_t n = special_ranges(&o, six ? AF_INET6 : AF_INET, all);

            for (size_t a = 0; a < n; a++) {
                assert_true(memcmp(all[a].first, all[a].last, 16) <= 0);
                assert_true(a == 0 || memcmp(all[a - 1].first, all[a].first, 16) <= 0);
                for (size_t b = a + 1; b < n; b++)
                    assert_true(all[a].class != all[b].class || memcmp(all[a].last, all[b].first, 16) < 0);
            }
        }
}

static void test_dest_refused(void **state)
{
    static const struct {
        const char *addr;
        bool refused;
    } cases[] = {
        {"::ffff:11.22.33.44", false},
        {"::ffff:192.168.1.1", false},
        {"::ffff:169.254.0.0", true},
        {"::ffff:169.254.255.255", true},
        {"::ffff:169.253.255.255", false},
        {"::ffff:169.255.0.0", false},
        {"::ffff:10.230.255.255", false},
        {"::ffff:10.231.0.0", true},
        {"::ffff:10.231.255.255", true},
        {"::ffff:10.232.0.0", false},
        {"::ffff:127.0.0.1", true},
        {"::ffff:0.0.0.0", true},
        {"::ffff:223.255.255.255", false},
        {"::ffff:224.0.0.0", true},
        {"::ffff:255.255.255.255", true},
        {"::ffff:168.63.129.16", true},
        {"2600::1", false},
        {"::1", true},
        {"::", true},
        {"::7f00:1", true},
        {"fe80::1", true},
        {"febf::1", true},
        {"fec0::1", true},
        {"ff02::1", true},
        {"fd00:ec2::254", true},
        {"fd00:ec2::253", false},
        {"fd66:6e0a:e700::2", true},
        {"fd66:6e0a:e701::2", false},
        {"64:ff9b::808:808", false},
        {"64:ff9b::a9fe:a9fe", true},
    };
    const struct net_options o = options("10.231.0.0", 16);
    struct net_dest d = {.port = 0};

    assert_int_equal(inet_pton(AF_INET6, "::ffff:11.22.33.44", &d.addr), 1);
    assert_non_null(net_dest_refused(&o, &d)); /* port 0 */
    d.port = 443;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(inet_pton(AF_INET6, cases[i].addr, &d.addr), 1);
        if ((net_dest_refused(&o, &d) != NULL) != cases[i].refused)
            fail_msg("%s", cases[i].addr);
    }
}

static void test_names6(void **state)
{
    struct net_options o = options("10.231.0.0", 16);
    struct net_slot_names s;
    char text[INET6_ADDRSTRLEN];

    assert_int_equal(net_slot_names(&o, 2007, &s), 0);
    assert_string_equal(inet_ntop(AF_INET6, &s.addr6, text, sizeof(text)), "fd66:6e0a:e700:2::9");
    assert_string_equal(inet_ntop(AF_INET6, &s.bridge_addr6, text, sizeof(text)), "fd66:6e0a:e700:2::1");
    assert_int_equal(inet_pton(AF_INET6, "fd12:3456:789a::", &o.prefix6), 1);
    assert_int_equal(net_options_check(&o, NULL), 0);
    assert_int_equal(net_slot_names(&o, 0, &s), 0);
    assert_string_equal(inet_ntop(AF_INET6, &s.addr6, text, sizeof(text)), "fd12:3456:789a::2");
    o.prefix6.s6_addr[15] = 1;
    assert_int_equal(net_options_check(&o, NULL), -EINVAL);
    assert_int_equal(inet_pton(AF_INET6, "2600::", &o.prefix6), 1);
    assert_int_equal(net_options_check(&o, NULL), -EINVAL);
}

static void test_rules_explained(void **state)
{
    static const struct {
        const char *output;
        int err;
        const char *says;
    } cases[] = {
        {"netlink: Error: cache initialization failed: Operation not permitted\n", EPERM, "root"},
        {"netlink: Error: cache initialization failed: Protocol not supported\n", EOPNOTSUPP, "CONFIG_NF_TABLES"},
        {"Error: syntax error, unexpected ip\n", EINVAL, "network.bridge"},
        {"Error: Could not process rule: Device or resource busy\nmore\n", EIO, "Device or resource busy"},
        {"", EIO, "without a message"},
    };
    const struct net_options o = options("10.231.0.0", 16);

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct diag d = {0};

        assert_int_equal(rules_host_explain(&o, cases[i].output, &d), -cases[i].err);
        assert_int_equal(d.err, cases[i].err);
        assert_non_null(strstr(d.text, cases[i].says));
        assert_non_null(strstr(d.text, "inet fn"));
        assert_null(strchr(d.text, '\n'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),           cmocka_unit_test(test_unique),         cmocka_unit_test(test_room),
        cmocka_unit_test(test_owner),           cmocka_unit_test(test_options),        cmocka_unit_test(test_options_unterminated),
        cmocka_unit_test(test_overlap),         cmocka_unit_test(test_rules_text),     cmocka_unit_test(test_rules_timeouts),
        cmocka_unit_test(test_rules_explained), cmocka_unit_test(test_special_ranges), cmocka_unit_test(test_dest_refused),
        cmocka_unit_test(test_names6),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
