/* What trusted proxies say of the client, and what the function is told: the nearest untrusted address, never what a stranger put in front of it. */
#include "check.h"

#include "../../runner/gateway/http/buffer.h"
#include "../../runner/gateway/http/message.h"
#include "../../runner/gateway/http/request_id.h"
#include "../../runner/gateway/http/told.h"
#include "http_guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE "GET /fn/a/b HTTP/1.1\r\nHost: h.example:81\r\n"

static struct ip_nets proxies(void)
{
    struct ip_nets n;

    assert_int_equal(ip_nets_parse("10.0.0.0/8 2001:db8::/32", &n), 0);
    return n;
}

static void parse(struct head *h, const char *text, size_t len)
{
    head_init(h, HEAD_REQUEST);
    assert_int_equal(head_parse(h, text, len), HEAD_DONE);
}

/* The client of a head whose peer is trusted; "": the peer itself. */
static unsigned client_of(const char *fields, char text[INET6_ADDRSTRLEN])
{
    struct guard g = guard_new(65536);
    struct ip_nets trusted = proxies();
    char whole[4096];
    int len = snprintf(whole, sizeof(whole), LINE "%s\r\n", fields);
    const char *data = guard_put(&g, whole, (size_t)len);
    struct told t;
    struct head h;

    parse(&h, data, (size_t)len);
    told_read(&h, data, &trusted, &t);
    text[0] = '\0';
    if (t.nhops)
        ip_format(&t.hops[t.nhops - 1], text);
    guard_done(&g);
    return t.nhops;
}

static void clients(void **state)
{
    static const struct {
        const char *fields, *client;
        unsigned hops;
    } cases[] = {
        {"", "", 0},
        {"X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", 1},
        {"X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", "192.0.2.1", 1},
        {"X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.1\r\n", "192.0.2.1", 2},
        {"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1 , 2001:db8::1\r\n", "192.0.2.1", 3},
        {"X-Forwarded-For: 10.0.0.2, 10.0.0.1\r\n", "10.0.0.2", 2},
        {"X-Forwarded-For: 192.0.2.1:4096\r\n", "192.0.2.1", 1},
        {"X-Forwarded-For: [2001:db9::1]:4096\r\n", "2001:db9::1", 1},
        {"X-Forwarded-For: [2001:db9::1]\r\n", "2001:db9::1", 1},
        {"X-Forwarded-For: 2001:db9::1\r\n", "2001:db9::1", 1},
        {"X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1", 1},
        {"X-Forwarded-For: ,, 192.0.2.1 ,,\r\n", "192.0.2.1", 1},
        {"X-Forwarded-For: 192.0.2.1, unknown\r\n", "", 0},
        {"X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.1\r\n", "10.0.0.1", 1},
        {"X-Forwarded-For: 192.0.2.1:\r\n", "", 0},
        {"X-Forwarded-For: 192.0.2.1:x\r\n", "", 0},
        {"X-Forwarded-For: [192.0.2.1]\r\n", "", 0},
        {"X-Forwarded-For: [2001:db9::1\r\n", "", 0},
        {"X-Forwarded-For: []\r\n", "", 0},
        {"X-Forwarded-For: [2001:db9::1]x\r\n", "", 0},
        {"X-Forwarded-For: \"192.0.2.1\r\n", "", 0},
        {"X-Forwarded-For:\r\nForwarded: for=192.0.2.1\r\n", "192.0.2.1", 1},
        {"X-Forwarded-For: 192.0.2.1\r\nForwarded: for=6.6.6.6\r\n", "192.0.2.1", 1},
        {"Forwarded: for=192.0.2.1\r\n", "192.0.2.1", 1},
        {"Forwarded: For=\"192.0.2.1:80\";Proto=https; by=x\r\n", "192.0.2.1", 1},
        {"Forwarded: for=6.6.6.6, by=a;for=\"[2001:db9::1]:80\", for=10.0.0.1\r\n", "2001:db9::1", 2},
        {"Forwarded: for=6.6.6.6\r\nForwarded: for=10.0.0.1\r\n", "6.6.6.6", 2},
        {"Forwarded: for=6.6.6.6, for=_hidden, for=10.0.0.1\r\n", "10.0.0.1", 1},
        {"Forwarded: for=\"a,for=6.6.6.6\"\r\n", "", 0},
        {"Forwarded: for=\"\\1\"\r\n", "", 0},
        {"Forwarded: by=10.0.0.1\r\n", "", 0},
        {"Forwarded: for\r\n", "", 0},
        {"Forwarded: ;;;=;\"\r\n", "", 0},
    };
    char text[INET6_ADDRSTRLEN], many[2048] = "X-Forwarded-For: 6.6.6.6";

    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned hops = client_of(cases[i].fields, text);

        if (hops != cases[i].hops || strcmp(text, cases[i].client) != 0)
            fail_msg("%s: %u %s", cases[i].fields, hops, text);
    }
    for (unsigned i = 0; i < 40; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), ", 10.0.0.%u", i);
    snprintf(many + strlen(many), sizeof(many) - strlen(many), "\r\n");
    assert_int_equal(client_of(many, text), TOLD_HOPS_MAX);
    assert_string_equal(text, "10.0.0.24");
}

/* The lines that the gateway makes, between `Host` and the end. */
static void made(const char *fields, const struct forwarded *with, char *out, size_t size)
{
    static struct buffer b;
    struct ip_nets trusted = proxies();
    struct forwarded f = *with;
    struct request rq;
    struct told t;
    struct head h;
    char text[4096];
    int len = snprintf(text, sizeof(text), LINE "%s\r\n", fields);

    parse(&h, text, (size_t)len);
    assert_int_equal(request_check(&h, text, &rq), 0);
    if (f.told) {
        told_read(&h, text, &trusted, &t);
        f.told = &t;
    }
    f.prefix = text + rq.path;
    f.prefix_len = 5;
    assert_int_equal(rewrite_request(&h, text, &rq, &f, &b), 0);
    b.data[b.end] = '\0';
    snprintf(out, size, "%s", strstr(b.data, "Host: "));
}

static void lines(void **state)
{
    const struct forwarded plain = {.client = "192.0.2.9", .request_id = "abc", .request_id_len = 3}, secure = {.client = "2001:db9::1", .secure = true},
                           proxied = {.client = "10.0.0.1", .told = (const struct told *)&plain}, nobody = {.client = ""};
    char out[2048];

    made("X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Port: 6\r\nX-Request-Id: evil\r\nx_request_id: evil\r\n", &plain, out, sizeof(out));
    assert_string_equal(
        out, "Host: h.example:81\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Host: h.example:81\r\nX-Forwarded-Port: 81\r\nX-Forwarded-Proto: http\r\n"
             "X-Forwarded-Prefix: /fn/a\r\nForwarded: for=192.0.2.9;host=\"h.example:81\";proto=http\r\nX-Request-Id: abc\r\n\r\n");
    made("", &secure, out, sizeof(out));
    assert_string_equal(
        out, "Host: h.example:81\r\nX-Forwarded-For: 2001:db9::1\r\nX-Forwarded-Host: h.example:81\r\nX-Forwarded-Port: 81\r\nX-Forwarded-Proto: https\r\n"
             "X-Forwarded-Prefix: /fn/a\r\nForwarded: for=\"[2001:db9::1]\";host=\"h.example:81\";proto=https\r\n\r\n");
    made("", &nobody, out, sizeof(out));
    assert_non_null(strstr(out, "\r\nForwarded: for=unknown;host="));
    assert_null(strstr(out, "X-Forwarded-For"));
    made("X-Forwarded-For: 6.6.6.6, 192.0.2.9, 2001:db8::2\r\nX-Forwarded-Proto: http, https\r\nX-Forwarded-Host: evil, www.example\r\nX-Forwarded-Prefix: "
         "/outer\r\n",
         &proxied, out, sizeof(out));
    assert_string_equal(out,
                        "Host: h.example:81\r\nX-Forwarded-For: 192.0.2.9, 2001:db8::2, 10.0.0.1\r\nX-Forwarded-Host: www.example\r\nX-Forwarded-Port: 443\r\n"
                        "X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /outer/fn/a\r\n"
                        "Forwarded: for=192.0.2.9;host=\"www.example\";proto=https, for=\"[2001:db8::2]\", for=10.0.0.1\r\n\r\n");
    made("Forwarded: for=192.0.2.9;host=\"w.example:8\";proto=https, for=10.0.0.2\r\nX-Forwarded-Port: 4433\r\n", &proxied, out, sizeof(out));
    assert_non_null(strstr(
        out, "X-Forwarded-For: 192.0.2.9, 10.0.0.2, 10.0.0.1\r\nX-Forwarded-Host: w.example:8\r\nX-Forwarded-Port: 4433\r\nX-Forwarded-Proto: https\r\n"));
}

/* What a proxy passes on unseen cannot become anything but what it looks like. */
static void nonsense(void **state)
{
    static const char *const bad[] = {
        "X-Forwarded-Proto: gopher\r\n",        "X-Forwarded-Host: a/b\r\n",       "X-Forwarded-Host: \"a\"\r\n",
        "X-Forwarded-Port: 123456\r\n",         "X-Forwarded-Port: -1\r\n",        "X-Forwarded-Prefix: /\r\n",
        "X-Forwarded-Prefix: //evil\r\n",       "X-Forwarded-Prefix: /a/../b\r\n", "X-Forwarded-Prefix: a\r\n",
        "X-Forwarded-Prefix: /a/\r\n",          "X-Forwarded-Prefix: /a b\r\n",    "X-Forwarded-Prefix: /<a>\r\n",
        "X-Forwarded-Prefix: https://evil\r\n",
    };
    const struct forwarded proxied = {.client = "10.0.0.1", .told = (const struct told *)&bad};
    char out[2048], want[2048];

    made("", &proxied, want, sizeof(want));
    for (size_t i = 0; i < COUNT(bad); i++) {
        made(bad[i], &proxied, out, sizeof(out));
        assert_string_equal(out, want);
    }
}

static unsigned id_of(struct request_ids *ids, const char *fields, char *out)
{
    char text[1024];
    int len = snprintf(text, sizeof(text), LINE "%s\r\n", fields);
    struct head h;

    parse(&h, text, (size_t)len);
    memset(out, 0, REQUEST_ID_MAX + 1);
    return request_id_choose(ids, &h, text, out);
}

static void request_ids(void **state)
{
    static const char *const replaced[] = {"",
                                           "X-Request-Id:\r\n",
                                           "X-Request-Id: a b\r\n",
                                           "X-Request-Id: a,b\r\n",
                                           "X-Request-Id: \"a\"\r\n",
                                           "X-Request-Id: a\\b\r\n",
                                           "X-Request-Id: \x80\r\n",
                                           "X-Request-Id: a\r\nX-Request-Id: a\r\n",
                                           "X_Request_Id: a\r\n"};
    struct request_ids ids = {.left = 0};
    char out[REQUEST_ID_MAX + 1], before[REQUEST_ID_MAX + 1] = "", text[300];

    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(id_of(&ids, replaced[i % COUNT(replaced)], out), REQUEST_ID_MADE);
        assert_int_equal(strspn(out, "0123456789abcdef"), REQUEST_ID_MADE);
        assert_string_not_equal(out, before);
        memcpy(before, out, sizeof(before));
    }
    id_of(&ids, "x-request-id: a-B_9.z/=:@~\r\n", out);
    assert_string_equal(out, "a-B_9.z/=:@~");
    snprintf(text, sizeof(text), "X-Request-Id: %0128d\r\n", 1);
    assert_int_equal(id_of(&ids, text, out), 128);
    snprintf(text, sizeof(text), "X-Request-Id: %0129d\r\n", 1);
    assert_int_equal(id_of(&ids, text, out), REQUEST_ID_MADE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(clients), cmocka_unit_test(lines), cmocka_unit_test(nonsense), cmocka_unit_test(request_ids)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
