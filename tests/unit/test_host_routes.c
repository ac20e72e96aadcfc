/* Which function has a host and a path; and the token buckets behind rate and rate_client. */
#include "check.h"

#include "../../runner/gateway/route/host_routes.h"
#include "../../runner/gateway/route/rate.h"
#include "clock.h"

#include <stdio.h>
#include <string.h>

enum { SHOP, ORDERS, WILD, LOOSE, NFUNCTIONS };

static struct gw_function functions[NFUNCTIONS];
static struct spec_http https[NFUNCTIONS];

static void path(struct spec_http *h, uint32_t methods, const char *text)
{
    h->paths[h->npaths].methods = methods;
    snprintf(h->paths[h->npaths++].path, SPEC_HTTP_PATH_MAX, "%s", text);
}

static void host(struct spec_http *h, const char *name)
{
    snprintf(h->hosts[h->nhosts++], SPEC_HTTP_HOST_MAX, "%s", name);
}

static struct picture make(void)
{
    memset(functions, 0, sizeof(functions));
    memset(https, 0, sizeof(https));
    for (unsigned i = 0; i < NFUNCTIONS; i++) {
        functions[i].http = &https[i];
        functions[i].next = i + 1 < NFUNCTIONS ? &functions[i + 1] : NULL;
    }
    host(&https[SHOP], "shop.example.org");
    host(&https[ORDERS], "shop.example.org");
    host(&https[ORDERS], "orders.example");
    path(&https[ORDERS], SPEC_METHODS_ALL, "/orders");
    path(&https[ORDERS], 1U << SPEC_METHOD_GET, "/orders/get");
    host(&https[WILD], "*.example.org");
    path(&https[LOOSE], 1U << SPEC_METHOD_GET | 1U << SPEC_METHOD_HEAD, "/hello");
    return (struct picture){.functions = functions};
}

static void test_find(void **state)
{
    static const struct {
        const char *host, *path, *method;
        enum host_answer answer;
        int function;
        size_t claimed;
    } cases[] = {
        {"shop.example.org", "/", "GET", HOST_FUNCTION, SHOP, 0},
        {"SHOP.example.ORG:8888", "/x", "BREW", HOST_FUNCTION, SHOP, 0},
        {"shop.example.org.", "/ordersx", "GET", HOST_FUNCTION, SHOP, 0},
        {"shop.example.org.:80", "/orders", "GET", HOST_FUNCTION, ORDERS, 7},
        {"shop.example.org", "/orders/7", "POST", HOST_FUNCTION, ORDERS, 7},
        {"shop.example.org", "/orders/get/7", "GET", HOST_FUNCTION, ORDERS, 11},
        {"shop.example.org", "/orders/get/7", "POST", HOST_FUNCTION, ORDERS, 7},
        {"orders.example", "/", "GET", HOST_NO_PATH, -1, 0},
        {"orders.example", "/orders", "GET", HOST_FUNCTION, ORDERS, 7},
        {"orders.example", "/hello", "GET", HOST_NO_PATH, -1, 0}, /* its own host answers, not who has the path anywhere */
        {"a.example.org", "/fn/x/", "GET", HOST_FUNCTION, WILD, 0},
        {"a.b.example.org", "/", "GET", HOST_UNKNOWN, -1, 0}, /* one label only */
        {"example.org", "/", "GET", HOST_UNKNOWN, -1, 0},
        {".example.org", "/", "GET", HOST_UNKNOWN, -1, 0},
        {"other.example", "/hello", "GET", HOST_FUNCTION, LOOSE, 6},
        {"other.example", "/hello/", "HEAD", HOST_FUNCTION, LOOSE, 6},
        {"", "/hello", "GET", HOST_FUNCTION, LOOSE, 6},
        {"[::1]:8888", "/hello", "GET", HOST_FUNCTION, LOOSE, 6},
        {"other.example", "/hello", "POST", HOST_NO_METHOD, -1, 0},
        {"other.example", "/Hello", "GET", HOST_UNKNOWN, -1, 0},
        {"other.example", "/hell%6f", "GET", HOST_UNKNOWN, -1, 0},
        {"other.example", "/fn/x/", "GET", HOST_UNKNOWN, -1, 0},
    };
    struct picture p = make();
    struct host_routes t = {.stale = true};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gw_function *f = NULL;
        size_t claimed = 99;
        uint32_t methods = 0;
        enum host_answer answer = host_routes_find(&t, &p, cases[i].host, strlen(cases[i].host), cases[i].path, strlen(cases[i].path),
                                                   spec_method_bit(cases[i].method, strlen(cases[i].method)), &f, &claimed, &methods);

        if (answer != cases[i].answer || (f ? (int)(f - functions) : -1) != cases[i].function || (f && claimed != cases[i].claimed))
            fail_msg("%s %s%s: %d, function %d, claimed %zu", cases[i].method, cases[i].host, cases[i].path, (int)answer, f ? (int)(f - functions) : -1, claimed);
        if (answer == HOST_NO_METHOD)
            assert_int_equal(methods, 1U << SPEC_METHOD_GET | 1U << SPEC_METHOD_HEAD);
    }
    host_routes_done(&t);
}

/* A function that went leaves no claim, and no pointer. */
static void test_stale(void **state)
{
    struct picture p = make();
    struct host_routes t = {.stale = true};
    struct gw_function *f = NULL;
    uint32_t methods;
    size_t claimed;

    assert_int_equal(host_routes_find(&t, &p, "a.example.org", 13, "/", 1, 1, &f, &claimed, &methods), HOST_FUNCTION);
    functions[ORDERS].next = NULL;
    memset(&functions[WILD], 0xaa, sizeof(functions[WILD]));
    host_routes_stale(&t);
    assert_int_equal(host_routes_find(&t, &p, "a.example.org", 13, "/", 1, 1, &f, &claimed, &methods), HOST_UNKNOWN);
    p.functions = NULL;
    host_routes_stale(&t);
    assert_int_equal(host_routes_find(&t, &p, "shop.example.org", 16, "/", 1, 1, &f, &claimed, &methods), HOST_UNKNOWN);
    host_routes_done(&t);
}

static void test_rate(void **state)
{
    const struct spec_rate r = {.interval_ns = 10, .burst = 3};
    _Atomic uint64_t full = 0;
    uint64_t wait = 0;

    for (unsigned i = 0; i < 3; i++)
        assert_true(rate_take(&full, &r, 1000, &wait));
    assert_false(rate_take(&full, &r, 1000, &wait));
    assert_int_equal(wait, 10);
    assert_false(rate_take(&full, &r, 1009, &wait));
    assert_int_equal(wait, 1);
    assert_true(rate_take(&full, &r, 1010, &wait));
    assert_false(rate_take(&full, &r, 1010, &wait));
    for (unsigned i = 0; i < 3; i++) /* rested: as many as at first, no more */
        assert_true(rate_take(&full, &r, 5000, &wait));
    assert_false(rate_take(&full, &r, 5000, &wait));
}

static void test_rate_of_clients(void **state)
{
    const struct spec_rate r = {.interval_ns = NS_PER_SEC, .burst = 2};
    struct rate_table *t = rate_table_new();
    uint64_t wait = 0;
    unsigned refused = 0;
    char client[64];

    assert_non_null(t);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(rate_table_take(t, "192.0.2.1", &r, 1, &wait));
        assert_true(rate_table_take(t, "192.0.2.2", &r, 1, &wait));
        assert_true(rate_table_take(t, i ? "2001:db8:1:2:3::1" : "2001:db8:1:2::9", &r, 1, &wait));
    }
    assert_false(rate_table_take(t, "192.0.2.1", &r, 1, &wait));
    assert_false(rate_table_take(t, "192.0.2.2", &r, 1, &wait));
    assert_false(rate_table_take(t, "2001:db8:1:2::1", &r, 1, &wait)); /* the /64 is one client */
    assert_true(rate_table_take(t, "2001:db8:1:3::1", &r, 1, &wait));
    for (unsigned i = 0; i < 100000; i++) { /* any number of them fits, and each one is let in */
        snprintf(client, sizeof(client), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        refused += !rate_table_take(t, client, &r, 2, &wait);
    }
    assert_int_equal(refused, 0);
    rate_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_rate_of_clients),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
