/* What [network] in function.ini may say, and the gate of it in the runner. */
#include "unit/check.h"

#include "../../runner/unpack/unpack_internal.h"
#include "diag.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse(const char *keys, struct function_ini *f, struct diag *d)
{
    char text[8192];

    snprintf(text, sizeof(text), "[network]\n%s\n", keys);
    *d = (struct diag){0};
    function_ini_init(f);
    return function_ini_parse(text, strlen(text), f, d);
}

static struct spec *expect(const char *keys, struct function_ini *f)
{
    struct diag d;

    if (parse(keys, f, &d) != 0)
        fail_msg("%s: %s", keys, d.text);
    function_ini_done(f);
    return &f->spec;
}

static void expect_refused(const char *keys, const char *part)
{
    struct function_ini f;
    struct diag d;
    int r = parse(keys, &f, &d);

    if ((r != -EINVAL && r != -E2BIG) || !strstr(d.text, part) || !strstr(d.text, "function.ini") || !strstr(d.text, "[network] "))
        fail_msg("%s: %d \"%s\" has no \"%s\"", keys, r, d.text, part);
    function_ini_done(&f);
}

static void test_words(void **state)
{
    static const struct {
        const char *keys;
        uint32_t egress;
    } cases[] = {
        {"", SPEC_EGRESS_INTERNET},
        {"egress = internet", SPEC_EGRESS_INTERNET},
        {"egress = Internet", SPEC_EGRESS_INTERNET},
        {"egress = lan", SPEC_EGRESS_LAN},
        {"egress = no", SPEC_EGRESS_NO},
        {"egress = off", SPEC_EGRESS_NO},
        {"egress = a.example:1", SPEC_EGRESS_LIST},
    };
    struct function_ini f;

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(expect(cases[i].keys, &f)->egress, cases[i].egress);
    assert_int_equal(expect("mesh = yes\nipv6 = on", &f)->mesh, 1);
    assert_int_equal(f.spec.ipv6, 1);
}

static void test_list(void **state)
{
    struct function_ini f;
    const struct spec *s =
        expect("ipv6 = yes\negress = API.Example.ORG.:443, 192.0.2.7:5432 [2001:DB8:0:0::1]:8080,api.example.org:80 api.example.org:443 _s.x-1.example:1", &f);

    assert_int_equal(s->ndests, 5);
    assert_string_equal(s->dests[0].host, "api.example.org");
    assert_int_equal(s->dests[0].port, 443);
    assert_string_equal(s->dests[1].host, "192.0.2.7");
    assert_int_equal(s->dests[1].port, 5432);
    assert_string_equal(s->dests[2].host, "2001:db8::1");
    assert_string_equal(s->dests[3].host, "api.example.org");
    assert_int_equal(s->dests[3].port, 80);
    assert_string_equal(s->dests[4].host, "_s.x-1.example");
}

static void test_services(void **state)
{
    struct function_ini f;
    const struct spec *s = expect("egress = no\nservices = DB=192.0.2.7:5432, db=192.0.2.7:5433 cache-1=10.0.0.9:6379", &f);
    struct in_addr in;

    assert_int_equal(s->nservices, 3);
    assert_string_equal(s->services[0].name, "db");
    assert_int_equal(s->services[0].port, 5432);
    assert_int_equal(inet_pton(AF_INET, "10.0.0.9", &in), 1);
    assert_int_equal(s->services[2].addr, in.s_addr);
    assert_int_equal(expect("services =", &f)->nservices, 0);
}

static void test_refused(void **state)
{
    static const struct {
        const char *keys, *part;
    } cases[] = {
        {"egress = everything", "say internet, lan, no, or HOST:PORT"},
        {"egress = yes", "say internet"},
        {"egress =", "is empty"},
        {"egress = ,", "is empty"},
        {"egress = lan, a.example:1", "stands alone"},
        {"egress = a.example", "say internet"},
        {"egress = a.example:", "has no port"},
        {"egress = a.example:0", "has no port"},
        {"egress = a.example:65536", "has no port"},
        {"egress = a.example:80x", "has no port"},
        {"egress = :80", "neither a host's name nor an address"},
        {"egress = -a.example:80", "neither"},
        {"egress = a..example:80", "neither"},
        {"egress = a.example..:80", "neither"},
        {"egress = a/b:80", "neither"},
        {"egress = 10.0.0:80", "neither"},
        {"egress = 010.0.0.1:80", "neither"},
        {"egress = 2130706433:80", "neither"},
        {"egress = 0x7f000001:80", "neither"},
        {"egress = [a.example:80", "neither"},
        {"egress = 2001:db8::1:80", "written in brackets"},
        {"egress = [2001:db8::1]:80", "say ipv6 = yes"},
        {"egress = localhost:80", "the function's own"},
        {"egress = x.localhost:80", "the function's own"},
        {"egress = gateway:80", "the function's own"},
        {"egress = 127.0.0.53:53", "loopback"},
        {"egress = 0.0.0.0:80", "no host's address"},
        {"egress = 169.254.169.254:80", "link-local"},
        {"egress = 169.254.0.1:80", "link-local"},
        {"egress = 100.100.100.200:80", "metadata"},
        {"egress = 168.63.129.16:80", "metadata"},
        {"egress = 224.0.0.251:5353", "multicast"},
        {"egress = 239.255.255.255:1", "multicast"},
        {"egress = 255.255.255.255:67", "reserved"},
        {"ipv6 = yes\negress = [::1]:80", "loopback"},
        {"ipv6 = yes\negress = [::]:80", "loopback"},
        {"ipv6 = yes\negress = [::ffff:169.254.169.254]:80", "disguise"},
        {"ipv6 = yes\negress = [64:ff9b::a9fe:a9fe]:80", "disguise"},
        {"ipv6 = yes\negress = [2002:a9fe:a9fe::1]:80", "disguise"},
        {"ipv6 = yes\negress = [fe80::1]:80", "link-local"},
        {"ipv6 = yes\negress = [febf::1]:80", "link-local"},
        {"ipv6 = yes\negress = [ff02::1]:80", "multicast"},
        {"ipv6 = yes\negress = [fd00:ec2::254]:80", "metadata"},
        {"ipv6 = yes\negress = [fd20:ce::254]:80", "metadata"},
        {"services = db", "NAME=ADDRESS:PORT"},
        {"services = =192.0.2.7:1", "NAME=ADDRESS:PORT"},
        {"services = db=192.0.2.7", "has no port"},
        {"services = db=db.example:1", "not an IPv4 address"},
        {"services = db=[2001:db8::1]:1", "not an IPv4 address"},
        {"services = d_b=192.0.2.7:1", "is no name"},
        {"services = d.b=192.0.2.7:1", "is no name"},
        {"services = -db=192.0.2.7:1", "is no name"},
        {"services = localhost=192.0.2.7:1", "choose another"},
        {"services = GATEWAY=192.0.2.7:1", "choose another"},
        {"services = db=127.0.0.1:1", "loopback"},
        {"services = db=169.254.169.254:80", "link-local"},
        {"services = db=192.0.2.7:1 db=192.0.2.8:1", "two addresses"},
        {"mesh = perhaps", "yes or no"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect_refused(cases[i].keys, cases[i].part);
}

static void test_neighbours_of_what_is_refused(void **state)
{
    static const char *const fine[] = {"126.255.255.255", "128.0.0.1", "169.253.0.1", "169.255.0.1", "223.255.255.255", "1.0.0.1", "168.63.129.17"};
    struct in_addr in;
    struct in6_addr in6;

    for (size_t i = 0; i < COUNT(fine); i++) {
        assert_int_equal(inet_pton(AF_INET, fine[i], &in), 1);
        assert_null(spec_addr4_refused(in.s_addr));
    }
    assert_int_equal(inet_pton(AF_INET6, "fec0::1", &in6), 1);
    assert_null(spec_addr6_refused(in6.s6_addr));
    assert_int_equal(inet_pton(AF_INET6, "fd00:ec3::254", &in6), 1);
    assert_null(spec_addr6_refused(in6.s6_addr));
}

/* inifile.h cuts lines at 198 bytes, so many destinations come by the key's parser alone. */
static void test_bounds(void **state)
{
    cleanup_strbuf struct strbuf list = {0}, more = {0};
    struct function_ini f;
    struct diag d = {0};

    for (unsigned i = 0; i < SPEC_DESTS_MAX; i++)
        strbuf_printf(&list, "h%u.example:1 ", i);
    for (unsigned i = 0; i < SPEC_SERVICES_MAX; i++)
        strbuf_printf(&more, "s%u=192.0.2.%u:1,", i, i);
    function_ini_init(&f);
    assert_int_equal(network_keys_egress(&f, list.data, &d), 0);
    assert_int_equal(network_keys_services(&f, more.data, &d), 0);
    assert_int_equal(f.spec.ndests, SPEC_DESTS_MAX);
    assert_int_equal(f.spec.nservices, SPEC_SERVICES_MAX);
    assert_int_equal(spec_network_check(&f.spec, &d), 0);
    assert_int_equal(network_keys_egress(&f, "one.more:1", &d), -E2BIG);
    assert_int_equal(network_keys_services(&f, "more=192.0.2.99:1", &d), -E2BIG);
    list.len = 0;
    for (unsigned i = 0; i < 400; i++)
        strbuf_puts(&list, "a");
    assert_int_equal(network_keys_egress(&f, list.data, &d), -EINVAL);
    function_ini_done(&f);
}

/* Each prefix and each changed byte of a good value is read without harm, and what passes also passes the runner's gate. */
static void test_garbage(void **state)
{
    static const char good[] = "api.example.org:443, [2001:db8::1]:80 192.0.2.7:1";
    struct function_ini f;
    struct diag d;
    char text[sizeof(good)];

    for (size_t len = 0; len < sizeof(good); len++)
        for (int c = 1; c < 256; c++) {
            memcpy(text, good, sizeof(good));
            text[len] = '\0';
            if (len)
                text[len / 2] = (char)c;
            function_ini_init(&f);
            f.spec.ipv6 = 1;
            if (network_keys_egress(&f, text, &d) == 0)
                for (uint32_t i = 0; i < f.spec.ndests; i++)
                    assert_int_not_equal(spec_host_kind(f.spec.dests[i].host), SPEC_HOST_BAD);
            (void)network_keys_services(&f, text, &d);
            function_ini_done(&f);
        }
}

static void expect_format(const char *keys, const char *want)
{
    cleanup_strbuf struct strbuf out = {0};
    struct function_ini f;

    spec_network_format(expect(keys, &f), &out);
    assert_string_equal(out.data, want);
}

static void test_format(void **state)
{
    expect_format("", "internet");
    expect_format("egress = no\nservices = db=192.0.2.7:5432 cache=192.0.2.8:1", "no egress; services db=192.0.2.7:5432 cache=192.0.2.8:1");
    expect_format("egress = lan\nmesh = yes\nipv6 = yes", "internet and lan; mesh; ipv6");
    expect_format("ipv6 = yes\negress = a.example:443 [2001:db8::1]:80", "a.example:443 [2001:db8::1]:80; ipv6");
}

/* What a jail that was taken over could send. */
static void test_gate(void **state)
{
    struct spec *s = calloc(1, sizeof(*s));
    struct diag d;

    spec_init(s);
    s->ndests = 1;
    memcpy(s->dests[0].host, "a.example", 10);
    s->dests[0].port = 1;
    assert_int_equal(spec_network_check(s, &d), -EINVAL); /* beside a word */
    s->egress = SPEC_EGRESS_LIST;
    assert_int_equal(spec_network_check(s, &d), 0);
    memset(s->dests[0].host, 'a', sizeof(s->dests[0].host));
    assert_int_equal(spec_network_check(s, &d), -EPROTO);
    memcpy(s->dests[0].host, "A.example", 10);
    assert_int_equal(spec_network_check(s, &d), -EINVAL);
    memcpy(s->dests[0].host, "a\nb", 4);
    assert_int_equal(spec_network_check(s, &d), -EINVAL);
    s->ndests = 0;
    assert_int_equal(spec_network_check(s, &d), -EINVAL); /* an empty list */
    s->egress = SPEC_EGRESS_NO;
    s->nservices = 1;
    s->services[0] = (struct spec_service){.name = "db", .addr = htonl(0xc0000207), .port = 65536};
    assert_int_equal(spec_network_check(s, &d), -EINVAL);
    s->services[0].port = 1;
    assert_int_equal(spec_network_check(s, &d), 0);
    memcpy(s->services[0].name, "a b", 4); /* a line of /etc/hosts */
    assert_int_equal(spec_network_check(s, &d), -EINVAL);
    memset(s->services[0].name, 'a', sizeof(s->services[0].name));
    assert_int_equal(spec_network_check(s, &d), -EPROTO);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_neighbours_of_what_is_refused),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_gate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
