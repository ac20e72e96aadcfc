/* Addresses and networks: one form for both families, nothing accepted that could be meant otherwise. */
#include "check.h"

#include "ipnet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct ip ip(const char *text)
{
    struct ip r;

    assert_int_equal(ip_parse(text, strlen(text), &r), 0);
    return r;
}

static void addresses(void **state)
{
    static const char *const bad[] = {"",          "1",      "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ",  " 1.2.3.4", "01.2.3.4",
                                      "1.2.3.4/8", "::1%lo", "[::1]", "1:2",       ":::",       "localhost", "unknown",  "1.2.3.4:80"};
    char buf[INET6_ADDRSTRLEN];
    struct ip a;

    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(ip_parse(bad[i], strlen(bad[i]), &a), -EINVAL);
    assert_int_equal(ip_parse("1.2.3.4\0", 8, &a), -EINVAL);
    assert_int_equal(ip_parse("1.2.3.4", 6, &a), -EINVAL);
    a = ip("::ffff:192.0.2.1");
    assert_string_equal(ip_format(&a, buf), "192.0.2.1");
    a = ip("2001:DB8::1");
    assert_string_equal(ip_format(&a, buf), "2001:db8::1");
}

static void nets(void **state)
{
    static const struct {
        const char *nets, *ip;
        bool held;
    } cases[] = {
        {"", "1.2.3.4", false},
        {"1.2.3.4", "1.2.3.4", true},
        {"1.2.3.4", "1.2.3.5", false},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.128.0.0/9", "10.127.255.255", false},
        {"10.128.0.0/9", "10.128.0.0", true},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "1.2.3.4", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::ffff:10.0.0.1", "10.0.0.1", true},
        {"192.0.2.1, 2001:db8::1\t10.0.0.0/8", "10.1.1.1", true},
        {",, 192.0.2.1 ,", "192.0.2.1", true},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ip_nets n;
        struct ip a = ip(cases[i].ip);

        assert_int_equal(ip_nets_parse(cases[i].nets, &n), 0);
        assert_int_equal(ip_nets_hold(&n, &a), cases[i].held);
    }
}

static void refused_nets(void **state)
{
    static const char *const bad[] = {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/",      "10.0.0.0/-1",   "10.0.0.0/8/8",    "10.0.0.0/ 8", "/8",
                                      "x",          "::/129",      "2001:db8::1/64", "10.0.0.0/0008", "1.2.3.4;1.2.3.5", "auto"};
    struct ip_nets n = {.count = 7};
    char text[IP_NETS_TEXT], many[1024] = "";

    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(ip_nets_parse(bad[i], &n), -EINVAL);
    for (unsigned i = 0; i < 33; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "10.0.0.%u ", i);
    assert_int_equal(ip_nets_parse(many, &n), -E2BIG);
    many[0] = '\0';
    for (unsigned i = 0; i < 14; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "1111:2222:3333:4444:5555:6666:7777:%u ", 8000 + i);
    assert_int_equal(ip_nets_parse(many, &n), -E2BIG); /* cannot be printed */
    assert_int_equal(n.count, 7);
    assert_int_equal(ip_nets_parse("10.0.0.0/8, ::1", &n), 0);
    ip_nets_format(&n, text);
    assert_string_equal(text, "10.0.0.0/8 ::1/128");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(addresses), cmocka_unit_test(nets), cmocka_unit_test(refused_nets)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
