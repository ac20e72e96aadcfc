/* What a path names, on each listener; dot segments in all their spellings; the forms of an error. */
#include "check.h"

#include "../../runner/gateway/route/route.h"
#include "str.h"

#include <string.h>

static struct route find(const char *path, enum listener_kind listener)
{
    struct route r;

    route_find(path, strlen(path), listener, false, &r);
    return r;
}

static void functions(void **state)
{
    static const struct {
        const char *path, *name, *env;
        size_t prefix_len;
        enum route_kind kind;
    } good[] = {
        {"/fn/hello/", "hello", "default", 9, ROUTE_FUNCTION},       {"/fn/hello/a/b", "hello", "default", 9, ROUTE_FUNCTION},
        {"/faaso/hello//x", "hello", "default", 12, ROUTE_FUNCTION}, {"/function/he-l_lo.staging/", "he-l_lo", "staging", 25, ROUTE_FUNCTION},
        {"/fn/hello", "hello", "default", 9, ROUTE_REDIRECT},        {"/fn/hello/a/..", "hello", "default", 9, ROUTE_FUNCTION},
    };

    for (size_t i = 0; i < COUNT(good); i++) {
        struct route r = find(good[i].path, LISTENER_PUBLIC);

        assert_int_equal(r.kind, good[i].kind);
        assert_string_equal(r.id.name, good[i].name);
        assert_string_equal(r.id.env, good[i].env);
        assert_int_equal(r.prefix_len, good[i].prefix_len);
    }
}

static void refused(void **state)
{
    static const struct {
        const char *path;
        enum listener_kind listener;
        unsigned status;
    } rows[] = {
        {"", LISTENER_PUBLIC, 404},           {"//", LISTENER_PUBLIC, 404},
        {"/fn", LISTENER_PUBLIC, 404},        {"/fn/", LISTENER_PUBLIC, 404},
        {"/fn//", LISTENER_PUBLIC, 404},      {"/fnx/hello/", LISTENER_PUBLIC, 404},
        {"/FN/hello/", LISTENER_PUBLIC, 404}, {"/fn/-a/", LISTENER_PUBLIC, 404},
        {"/fn/a./", LISTENER_PUBLIC, 404},    {"/fn/../fn/a/", LISTENER_PUBLIC, 404},
        {"/fn/a%62/", LISTENER_PUBLIC, 404},  {"/./fn/a/", LISTENER_PUBLIC, 404},
        {"/fn/a/..", LISTENER_PUBLIC, 400},   {"/fn/a/%2e%2e/", LISTENER_PUBLIC, 400},
        {"/admin", LISTENER_PUBLIC, 403},     {"/admin/x", LISTENER_ADMIN, 403},
        {"/api", LISTENER_PUBLIC, 403},       {"/api/v1/x", LISTENER_ADMIN, 403},
        {"/metrics", LISTENER_PUBLIC, 403},   {"/fn/a/", LISTENER_ADMIN, 403},
        {"/healthz/", LISTENER_PUBLIC, 404},  {"/metricsx", LISTENER_PUBLIC, 404},
        {"/apix", LISTENER_PUBLIC, 404},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct route r = find(rows[i].path, rows[i].listener);

        if (r.kind != ROUTE_REFUSED || r.status != rows[i].status)
            fail_msg("%s: kind %d status %u, expected %u", rows[i].path, (int)r.kind, r.status, rows[i].status);
        assert_non_null(r.text);
        assert_non_null(r.code);
    }
}

static void long_names(void **state)
{
    char path[300];

    memset(path, 'a', sizeof(path));
    memcpy(path, "/fn/", 4);
    for (size_t len = 5; len < sizeof(path); len++) {
        struct route r;

        route_find(path, len, LISTENER_PUBLIC, false, &r);
        assert_int_equal(r.kind, len - 4 <= NAME_PART_MAX ? ROUTE_REDIRECT : ROUTE_REFUSED);
    }
}

static void own_pages(void **state)
{
    struct route r;

    assert_int_equal(find("/", LISTENER_PUBLIC).kind, ROUTE_ROOT);
    assert_int_equal(find("/healthz", LISTENER_ADMIN).kind, ROUTE_HEALTHZ);
    assert_int_equal(find("/metrics", LISTENER_ADMIN).kind, ROUTE_METRICS);
    assert_int_equal(find("/metrics", LISTENER_API).kind, ROUTE_METRICS);
    assert_int_equal(find("/api/v1/functions", LISTENER_API).kind, ROUTE_API);
    assert_int_equal(find("/fn/a/", LISTENER_API).kind, ROUTE_FUNCTION);
    assert_int_equal(find("*", LISTENER_PUBLIC).kind, ROUTE_SERVER);
    route_find("/metrics", 8, LISTENER_PUBLIC, true, &r);
    assert_int_equal(r.kind, ROUTE_METRICS);
}

static void climbing(void **state)
{
    static const char *const climbs[] = {
        "/..",          "/../",   "/../a",       "/a/../..", "/a/../../b", "/./..",  "/%2e%2e",          "/%2E.", "/.%2e/a", "/a/./../..", "/a//../..",
        "/a%2f..%2f..", "/..%2f", "/%2e%2e%2fa", "/..\\",    "/\\..\\",    "/..%5c", "/a/%2e%2e/%2e%2e", "//..",
    };
    static const char *const stays[] = {"/",    "/a",   "/a/..",      "/a/../b",      "/...", "/..a", "/a..",   "/.",
                                        "/./.", "/%2e", "/a/b/../..", "/%252e%252e/", "/%",   "/%2",  "/..%zz", "/a%2f.."};

    for (size_t i = 0; i < COUNT(climbs); i++)
        if (!route_climbs(climbs[i], strlen(climbs[i])))
            fail_msg("%s climbs", climbs[i]);
    for (size_t i = 0; i < COUNT(stays); i++)
        if (route_climbs(stays[i], strlen(stays[i])))
            fail_msg("%s stays", stays[i]);
}

static void error_forms(void **state)
{
    struct strbuf b = {0};

    error_page(&b, true, "not_found", "a \"b\" \\ \n \xc3\xa4", NULL);
    assert_string_equal(b.data, "{\"error\": \"not_found\", \"message\": \"a \\\"b\\\" \\\\ \\u000a ??\", \"function\": null}\n");
    strbuf_done(&b);
    error_page(&b, false, "not_found", "gone", "hello.staging");
    assert_string_equal(b.data, "hello.staging: gone\n");
    strbuf_done(&b);
    assert_string_equal(status_text(503), "Service Unavailable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions), cmocka_unit_test(refused),  cmocka_unit_test(long_names),
        cmocka_unit_test(own_pages), cmocka_unit_test(climbing), cmocka_unit_test(error_forms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
