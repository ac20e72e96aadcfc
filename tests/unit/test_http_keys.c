/* What [http] in function.ini may say, the gate of it in the runner, and which claims of two functions meet. */
#include "unit/check.h"

#include "../../runner/unpack/unpack_internal.h"
#include "clock.h"
#include "diag.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int parse(const char *keys, struct function_ini *f, struct diag *d)
{
    char text[8192];

    snprintf(text, sizeof(text), "[http]\n%s\n", keys);
    *d = (struct diag){0};
    function_ini_init(f);
    return function_ini_parse(text, strlen(text), f, d);
}

static struct spec_http expect(const char *keys)
{
    struct function_ini f;
    struct diag d;

    if (parse(keys, &f, &d) != 0)
        fail_msg("%s: %s", keys, d.text);
    function_ini_done(&f);
    return f.spec.http;
}

static void test_hosts_and_paths(void **state)
{
    const uint32_t get = 1U << SPEC_METHOD_GET | 1U << SPEC_METHOD_HEAD;
    struct spec_http h = expect("hosts = Hello.Example.ORG., *.shop.example\npaths = GET /hello/, GET POST /orders /all");

    assert_int_equal(h.nhosts, 2);
    assert_string_equal(h.hosts[0], "hello.example.org");
    assert_string_equal(h.hosts[1], "*.shop.example");
    assert_int_equal(h.hosts_line, 2);
    assert_int_equal(h.paths_line, 3);
    assert_int_equal(h.npaths, 3);
    assert_string_equal(h.paths[0].path, "/hello");
    assert_int_equal(h.paths[0].methods, get);
    assert_int_equal(h.paths[1].methods, get | 1U << SPEC_METHOD_POST);
    assert_int_equal(h.paths[2].methods, SPEC_METHODS_ALL);
    assert_string_equal(expect("hosts = a.example\npaths = /").paths[0].path, "/");
}

static void test_cors_and_rates(void **state)
{
    struct spec_http h = expect("cors = *");

    assert_int_equal(h.cors_any, 1);
    assert_int_equal(h.cors_methods, SPEC_METHODS_ALL);
    assert_string_equal(h.cors_headers, "Content-Type, Authorization");
    h = expect("cors_headers = X-A x-b\ncors = HTTPS://A.example http://b.example:8080\ncors_methods = GET, PUT\ncors_credentials = yes");
    assert_int_equal(h.norigins, 2);
    assert_string_equal(h.origins[0], "https://a.example");
    assert_string_equal(h.cors_headers, "X-A, x-b");
    assert_int_equal(h.cors_methods, 1U << SPEC_METHOD_GET | 1U << SPEC_METHOD_PUT);
    h = expect("rate = 100/s\nrate_client = 30/m burst 5");
    assert_int_equal(h.rate.interval_ns, 10 * NS_PER_MS);
    assert_int_equal(h.rate.burst, 100);
    assert_int_equal(h.rate_client.interval_ns, 2 * NS_PER_SEC);
    assert_int_equal(h.rate_client.burst, 5);
    assert_int_equal(expect("rate = no\ncors = no").rate.interval_ns, 0);
}

static void test_refused(void **state)
{
    static const char *const cases[][2] = {
        {"hosts = a_b.example/", "is no host name"},
        {"hosts = 192.0.2.1", "is no host name"},
        {"hosts = a.example:80", "is no host name"},
        {"hosts = *.example.", "whole top level domain"},
        {"hosts = a.*.example", "is no host name"},
        {"hosts = a.example A.example", "comes twice"},
        {"paths = hello", "neither a path"},
        {"paths = GET", "a path is missing"},
        {"paths = /a/../b", "is no path"},
        {"paths = /a/./b", "is no path"},
        {"paths = /a//b", "is no path"},
        {"paths = /a?b", "is no path"},
        {"paths = /", "name the host"},
        {"paths = /fn/x", "the gateway's own"},
        {"paths = /admin", "the gateway's own"},
        {"paths = /.well-known", "the gateway's own"},
        {"cors = example.org", "is no origin"},
        {"cors = https://a.example/", "is no origin"},
        {"cors = * https://a.example", "stands alone"},
        {"cors = *\ncors_credentials = yes", "could act as its visitor"},
        {"cors_methods = GET", "say nothing without cors"},
        {"cors = *\ncors_methods = FETCH", "is no method"},
        {"rate = 100", "is no rate"},
        {"rate = 0/s", "is no rate"},
        {"rate = 1/w", "is no rate"},
        {"rate = -1/s", "is no rate"},
        {"rate = 1000001/s", "is no rate"},
        {"rate = 1/s burst", "is no rate"},
        {"rate = 1/s brust 3", "only \"burst N\""},
        {"rate_client = 1/s burst 0", "only \"burst N\""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct function_ini f;
        struct diag d;
        int r = parse(cases[i][0], &f, &d);

        if (r != -EINVAL || !strstr(d.text, cases[i][1]) || !strstr(d.text, "function.ini") || !strstr(d.text, "[http] "))
            fail_msg("%s: %d \"%s\" has no \"%s\"", cases[i][0], r, d.text, cases[i][1]);
        function_ini_done(&f);
    }
}

static void test_overlap(void **state)
{
    static const struct {
        const char *a, *b, *claim;
    } cases[] = {
        {"hosts = a.example", "hosts = b.example a.example", "a.example"},
        {"hosts = a.example", "hosts = a.example\npaths = /x", NULL}, /* the longer path wins: a part is handed out on purpose */
        {"hosts = a.example\npaths = /x", "hosts = a.example\npaths = /y /x", "a.example/x"},
        {"hosts = a.example\npaths = GET /x", "hosts = a.example\npaths = POST /x", NULL},
        {"hosts = a.example\npaths = GET /x", "paths = /x", NULL},
        {"paths = /x", "paths = HEAD /x", "/x"},
        {"paths = /x", "paths = /x/y", NULL},
        {"", "hosts = a.example", NULL},
        {"hosts = *.a.example", "hosts = b.a.example", NULL},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct spec_http a = expect(cases[i].a), b = expect(cases[i].b);
        char claim[SPEC_HTTP_CLAIM_MAX] = "";

        if (spec_http_overlap(&a, &b, claim) != (cases[i].claim != NULL) || spec_http_overlap(&b, &a, claim) != (cases[i].claim != NULL))
            fail_msg("%s | %s: \"%s\"", cases[i].a, cases[i].b, claim);
        if (cases[i].claim)
            assert_string_equal(claim, cases[i].claim);
    }
}

/* A record from a jail or a runner that was taken over. */
static void test_broken_records(void **state)
{
    struct spec_http good = expect("hosts = a.example\npaths = /x\ncors = https://a.example"), h;
    struct diag d;

    assert_int_equal(spec_http_check(&good, &d), 0);
#define BREAK(change)                                                                                                                                          \
    do {                                                                                                                                                       \
        h = good;                                                                                                                                              \
        change;                                                                                                                                                \
        if (spec_http_check(&h, &d) >= 0)                                                                                                                      \
            fail_msg("%s passed", #change);                                                                                                                    \
    } while (0)
    BREAK(h.nhosts = SPEC_HTTP_HOSTS_MAX + 1);
    BREAK(h.npaths = UINT32_MAX);
    BREAK(h.norigins = SPEC_HTTP_ORIGINS_MAX + 1);
    BREAK(h.is_private = 2);
    BREAK(memset(h.hosts[0], 'a', sizeof(h.hosts[0])));
    BREAK(memset(h.paths[0].path, '/', sizeof(h.paths[0].path)));
    BREAK(h.paths[0].methods = 0);
    BREAK(h.paths[0].methods = SPEC_METHODS_ALL + 1);
    BREAK(memset(h.origins[0], 'a', sizeof(h.origins[0])));
    BREAK(memcpy(h.origins[0], "https://a\r\nSet-Cookie: x", 25));
    BREAK(h.cors_methods = SPEC_METHODS_ALL + 1);
    BREAK(memset(h.cors_headers, 'a', sizeof(h.cors_headers)));
    BREAK(memcpy(h.cors_headers, "A\r\nB: c", 8));
    BREAK(h.rate.interval_ns = 1);
    BREAK((h.rate.interval_ns = NS_PER_SEC, h.rate.burst = 0));
    BREAK(h.max_body_bytes = UINT64_MAX);
#undef BREAK
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts_and_paths), cmocka_unit_test(test_cors_and_rates), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_overlap),         cmocka_unit_test(test_broken_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
