/* What the DNS forwarder decides without a socket: verdicts, addresses that an answer may hold, and the cache with its shares. */
#include "dns_build.h"

#include "../../runner/gateway/dns/dns_private.h"

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>

static struct dns_policy *policy(uint32_t egress, bool mesh, bool ipv6, const char *host)
{
    struct record_policy rec = {.egress = egress, .mesh = mesh, .ipv6 = ipv6, .nhosts = host != NULL};
    struct dns_policy *p;

    if (host)
        snprintf(rec.hosts[0], sizeof(rec.hosts[0]), "%s", host);
    p = dns_policy_new(&rec);
    assert_non_null(p);
    return p;
}

static void expect(const struct dns_policy *p, const char *name, unsigned type, enum dns_verdict_kind kind, unsigned rcode)
{
    struct dns_question q = question_of(name, type);
    struct dns_verdict v = dns_policy_decide(p, &q, NULL, 0);

    assert_int_equal(v.kind, kind);
    if (kind == DNS_SAY)
        assert_int_equal(v.rcode, rcode);
}

static void test_decide(void **state)
{
    struct dns_policy *no = policy(SPEC_EGRESS_NO, false, false, NULL), *mesh = policy(SPEC_EGRESS_NO, true, false, NULL);
    struct dns_policy *net = policy(SPEC_EGRESS_INTERNET, false, false, NULL), *net6 = policy(SPEC_EGRESS_INTERNET, false, true, NULL);
    struct dns_policy *list = policy(SPEC_EGRESS_LIST, false, false, "API.example"), *list6 = policy(SPEC_EGRESS_LIST, false, true, "api.example");

    expect(NULL, "www.example", DNS_A, DNS_SAY, DNS_REFUSED);
    expect(NULL, "localhost", DNS_A, DNS_SAY, DNS_REFUSED);
    expect(no, "www.example", DNS_A, DNS_SAY, DNS_REFUSED);
    expect(mesh, "www.example", DNS_A, DNS_SAY, DNS_REFUSED);
    expect(mesh, "back.fnd.internal", DNS_A, DNS_MESH, 0);
    expect(net, "www.example", DNS_A, DNS_ASK, 0);
    expect(net, "www.example", 16, DNS_ASK, 0);
    expect(net, "www.example", DNS_AAAA, DNS_SAY, DNS_NOERROR);
    expect(net6, "www.example", DNS_AAAA, DNS_ASK, 0);
    expect(net, "x.FND.internal", DNS_A, DNS_MESH, 0);
    expect(net, "xfnd.internal", DNS_A, DNS_ASK, 0);
    expect(net, "a.b.localhost", DNS_AAAA, DNS_LOOPBACK, 0);
    expect(net, "", 2, DNS_ASK, 0);
    expect(list, "api.example", DNS_A, DNS_ASK, 0);
    expect(list, "api.example", DNS_AAAA, DNS_SAY, DNS_NOERROR);
    expect(list6, "api.example", DNS_AAAA, DNS_ASK, 0);
    expect(list, "api.example", 16, DNS_SAY, DNS_NOERROR);
    expect(list, "x.api.example", DNS_A, DNS_SAY, DNS_NXDOMAIN);
    expect(list, "example", DNS_A, DNS_SAY, DNS_NXDOMAIN);
    expect(list, "", DNS_A, DNS_SAY, DNS_NXDOMAIN);
    expect(list, "localhost", DNS_A, DNS_LOOPBACK, 0);
    expect(list, "1.2.0.192.in-addr.arpa", DNS_PTR, DNS_SAY, DNS_NXDOMAIN);
    free(no);
    free(mesh);
    free(net);
    free(net6);
    free(list);
    free(list6);
}

/* A label with a dot or a zero in it is not the name that it looks like. */
static void test_lookalike(void **state)
{
    struct dns_policy *list = policy(SPEC_EGRESS_LIST, false, false, "api.example");
    struct dns_question q = question_of("apixexample", DNS_A);

    q.name.wire[4] = '.';
    assert_int_equal(dns_policy_decide(list, &q, NULL, 0).rcode, DNS_NXDOMAIN);
    q = question_of("api.examplexa", DNS_A);
    q.name.wire[12] = '\0';
    assert_int_equal(dns_policy_decide(list, &q, NULL, 0).rcode, DNS_NXDOMAIN);
    assert_null(dns_policy_host(list, &q));
    free(list);
}

/* What the runner's record does not terminate or does not know is no policy that opens anything. */
static void test_record(void **state)
{
    struct record_policy rec = {.egress = 77, .nhosts = 1000};
    struct dns_policy *p = dns_policy_new(&rec);

    assert_int_equal(p->egress, SPEC_EGRESS_NO);
    assert_int_equal(p->nhosts, 0);
    free(p);
    rec = (struct record_policy){.egress = SPEC_EGRESS_LIST, .nhosts = 2};
    memset(rec.hosts[0], 'x', sizeof(rec.hosts[0]));
    p = dns_policy_new(&rec);
    assert_int_equal(strlen(p->hosts[0].name), sizeof(p->hosts[0].name) - 1);
    expect(p, "", DNS_A, DNS_SAY, DNS_NXDOMAIN); /* the second, empty one is not the root */
    free(p);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *addr;
        bool internet, lan;
    } addrs[] = {
        {"93.184.216.34", true, true},
        {"192.0.2.1", true, true},
        {"10.1.2.3", false, true},
        {"172.15.0.1", true, true},
        {"172.31.255.255", false, true},
        {"172.32.0.1", true, true},
        {"192.168.0.1", false, true},
        {"100.64.0.1", false, true},
        {"100.128.0.1", true, true},
        {"198.19.255.255", false, true},
        {"127.0.0.1", false, false},
        {"0.0.0.0", false, false},
        {"169.254.169.254", false, false},
        {"224.0.0.1", false, false},
        {"255.255.255.255", false, false},
        {"10.99.0.1", false, false}, /* the bridge */
        {"10.99.3.255", false, false},
        {"10.99.4.0", false, true},
        {"2606:2800::1", true, true},
        {"::", false, false},
        {"::1", false, false},
        {"::ffff:127.0.0.1", false, false},
        {"::ffff:10.1.2.3", false, true},
        {"::ffff:93.184.216.34", true, true},
        {"64:ff9b::a9fe:a9fe", false, false},
        {"64:ff9b::5db8:d822", true, true},
        {"2002:7f00:1::", false, false},
        {"2002:5db8:d822::", true, true},
        {"fe80::1", false, false},
        {"febf::1", false, false},
        {"fec0::1", false, false},
        {"ff02::1", false, false},
        {"fd00::1", false, true},
        {"fc00::1", false, true},
        {"fd00:ec2::254", false, false},
        {"fd20:ce::254", false, false},
        {"100.100.100.200", false, false},
        {"168.63.129.16", false, false},
        {"168.63.129.17", true, true},
    };
    struct dns_policy *net = policy(SPEC_EGRESS_INTERNET, false, true, NULL), *lan = policy(SPEC_EGRESS_LAN, false, true, NULL);
    struct dns_policy *list = policy(SPEC_EGRESS_LIST, false, true, "a");
    uint32_t bridge;

    assert_int_equal(inet_pton(AF_INET, "10.99.0.1", &bridge), 1);
    for (size_t i = 0; i < COUNT(addrs); i++) {
        unsigned type = strchr(addrs[i].addr, ':') ? DNS_AAAA : DNS_A;
        uint8_t a[16];

        assert_int_equal(inet_pton(type == DNS_A ? AF_INET : AF_INET6, addrs[i].addr, a), 1);
        if (dns_policy_keeps(net, type, a, &bridge, 1) != addrs[i].internet || dns_policy_keeps(lan, type, a, &bridge, 1) != addrs[i].lan)
            fail_msg("%s", addrs[i].addr);
        assert_int_equal(dns_policy_keeps(list, type, a, &bridge, 1), addrs[i].lan);
    }
    free(net);
    free(lan);
    free(list);
}

/* ---- the cache ---- */

static void put(struct dns_cache *c, uintptr_t function, unsigned number, uint64_t expires_ns, uint64_t now_ns)
{
    char name[32];
    struct dns_question q;
    struct dns_answer *a;

    snprintf(name, sizeof(name), "n%u.example", number);
    q = question_of(name, DNS_A);
    a = dns_answer_make(&q, DNS_A, "\1\2\3\4", 1);
    assert_non_null(a);
    a->expires_ns = expires_ns;
    dns_cache_put(c, (const void *)function, &q, a, now_ns);
    dns_answer_unref(a);
}

static bool has(struct dns_cache *c, uintptr_t function, unsigned number, uint64_t now_ns)
{
    char name[32];
    struct dns_question q;

    snprintf(name, sizeof(name), "N%u.Example", number);
    q = question_of(name, DNS_A);
    return dns_cache_get(c, (const void *)function, &q, now_ns) != NULL;
}

static void test_cache(void **state)
{
    struct dns_cache *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    put(c, 1, 1, 100, 50);
    assert_true(has(c, 1, 1, 99));
    assert_false(has(c, 2, 1, 99)); /* another function's */
    assert_false(has(c, 1, 2, 99));
    assert_false(has(c, 1, 1, 100));
    assert_int_equal(c->count, 0); /* what is over goes */
    put(c, 1, 1, 50, 50);
    assert_int_equal(c->count, 0);
    put(c, 1, 1, 100, 50);
    put(c, 1, 1, 200, 50);
    assert_int_equal(c->count, 1);
    assert_true(has(c, 1, 1, 150));
    put(c, 2, 1, 200, 50);
    dns_cache_drop(c, (const void *)1);
    assert_false(has(c, 1, 1, 150));
    assert_true(has(c, 2, 1, 150));
    dns_cache_done(c);
    assert_int_equal(c->bytes, 0);
    free(c);
}

static void test_cache_bounds(void **state)
{
    struct dns_cache *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    put(c, 7, 0, 100, 50);
    for (unsigned i = 0; i < 5000; i++) { /* one that asks for names without end */
        put(c, 1, i, 100, 50);
        assert_true(has(c, 1, 0, 60) || i >= DNS_CACHE_OWN); /* what is used stays */
    }
    assert_int_equal(c->count, DNS_CACHE_OWN + 1);
    assert_true(has(c, 7, 0, 60)); /* does so at its own cost */
    for (uintptr_t f = 10; f < 40; f++)
        for (unsigned i = 0; i < DNS_CACHE_OWN; i++)
            put(c, f, i, 100, 50);
    assert_true(c->count <= DNS_CACHE_ENTRIES);
    assert_true(c->bytes <= DNS_CACHE_BYTES);
    assert_true(has(c, 39, DNS_CACHE_OWN - 1, 60));
    dns_cache_done(c);
    assert_int_equal(c->count, 0);
    free(c);
}

/* ---- who asks ---- */

static void test_rate(void **state)
{
    struct gw_instance inst = {.rec = {.addr = 0x0100000a}};
    struct dns_clients *c = calloc(1, sizeof(*c));
    struct dns_client *old = NULL, *i;
    unsigned n = 0;

    assert_non_null(c);
    assert_int_equal(dns_client_add(c, &inst, NS_PER_SEC, &old), 1);
    assert_int_equal(dns_client_add(c, &inst, NS_PER_SEC, &old), 0);
    i = dns_client_find(c, inst.rec.addr);
    while (n < 10000 && dns_client_may_ask(i, NS_PER_SEC))
        n++;
    assert_int_equal(n, DNS_CLIENT_RATE);
    n = 0;
    for (uint64_t now_ns = NS_PER_SEC; now_ns < 3 * NS_PER_SEC; now_ns += NS_PER_MS)
        n += dns_client_may_ask(i, now_ns);
    assert_in_range(n, 2 * DNS_CLIENT_RATE - 2, 2 * DNS_CLIENT_RATE);
    assert_ptr_equal(dns_client_remove(c, &inst), i);
    assert_null(dns_client_find(c, inst.rec.addr));
    free(i);
    free(c);
}

static void test_same_address(void **state)
{
    struct gw_instance a = {.rec = {.addr = 0x0100000a}}, b = {.rec = {.addr = 0x0100000a}};
    struct dns_clients *c = calloc(1, sizeof(*c));
    struct dns_client *first, *old = NULL;

    assert_non_null(c);
    assert_int_equal(dns_client_add(c, &a, 0, &old), 1);
    first = dns_client_find(c, a.rec.addr);
    assert_int_equal(dns_client_add(c, &b, 0, &old), 1);
    assert_ptr_equal(old, first);
    assert_null(dns_client_remove(c, &a)); /* the address is another one's by now */
    assert_ptr_equal(dns_client_find(c, a.rec.addr)->inst, &b);
    free(old);
    free(dns_client_remove_any(c));
    assert_null(dns_client_remove_any(c));
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decide), cmocka_unit_test(test_lookalike),    cmocka_unit_test(test_record), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_cache),  cmocka_unit_test(test_cache_bounds), cmocka_unit_test(test_rate),   cmocka_unit_test(test_same_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
