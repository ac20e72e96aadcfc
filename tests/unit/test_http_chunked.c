/* The chunked coding: whatever the cuts, the same payload; every prefix wants more; nothing lax is taken. */
#include "check.h"

#include "../../runner/gateway/http/body.h"
#include "../../runner/gateway/http/trailer.h"
#include "http_guard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BODY    "4\r\nwiki\r\n005;a=\"b c\"\r\npedia\r\nE;x\r\n in\r\n\r\nchunks.\r\n0\r\nX: y\r\nZ:\r\n\r\n"
#define PAYLOAD "wikipedia in\r\n\r\nchunks."

static void any_cut(void **state)
{
    struct guard g = guard_new(sizeof(BODY) + 4);

    for (size_t step = 1; step < sizeof(BODY) + 4; step++) {
        struct chunked c = {0};
        char out[64];
        size_t len = 0, at = 0;
        const size_t all = sizeof(BODY) - 1 + 4;

        while (!chunked_done(&c)) {
            size_t n = all - at < step ? all - at : step, payload;
            char *data = guard_put(&g, &(BODY "next")[at], n);
            ssize_t used = chunked_decode(&c, data, n, &payload);

            assert_true(used > 0 && (size_t)used <= n && (chunked_done(&c) || (size_t)used == n));
            memcpy(out + len, data, payload);
            len += payload;
            at += (size_t)used;
        }
        assert_int_equal(at, sizeof(BODY) - 1); /* what follows the body stays */
        assert_int_equal(len, sizeof(PAYLOAD) - 1);
        assert_memory_equal(out, PAYLOAD, len);
    }
    guard_done(&g);
}

static void every_prefix_wants_more(void **state)
{
    char data[sizeof(BODY)];

    for (size_t n = 0; n < sizeof(BODY) - 1; n++) {
        struct chunked c = {0};
        size_t payload;

        memcpy(data, BODY, n);
        assert_int_equal(chunked_decode(&c, data, n, &payload), n);
        assert_false(chunked_done(&c));
    }
}

static void broken_codings(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
        {"g\r\n", 0},
        {"\r\n", 0},
        {";a\r\n", 0},
        {"-1\r\n", 0},
        {"+1\r\n", 0},
        {" 1\r\n", 0},
        {"1 \r\n", 0},
        {"1\t\r\n", 0},
        {"0x1\r\n", 0},
        {"1\n", 0},
        {"1\rx", 0},
        {"1\r\nab", 0},
        {"1\r\na\n", 0},
        {"1\r\na\rb", 0},
        {"1;\n\r\n", 0},
        {"1;a\rb\r\n", 0},
        {"1;a\x01\r\n", 0},
        {"1;a\x7f\r\n", 0},
        {"1;\0\r\n", 5},
        {"1;\r\n", 0},
        {"1; \r\n", 0},
        {"1;a;\r\n", 0},
        {"1;;a\r\n", 0},
        {"1;a=\r\n", 0},
        {"1;=b\r\n", 0},
        {"1;a b\r\n", 0},
        {"1;a=b c\r\n", 0},
        {"1;a=b =c\r\n", 0},
        {"1;a==b\r\n", 0},
        {"1;a=\"b\r\n", 0},
        {"1;a=\"b\"c\r\n", 0},
        {"1;a=\"\\\r\"\r\n", 0},
        {"1;a=b\"c\"\r\n", 0},
        {"1;a/b\r\n", 0},
        {"1 ;a\r\n", 0},
        {"1,2\r\n", 0},
        {"1_0\r\n", 0},
        {"0\r\n\n", 0},
        {"0\r\nX\r\n", 0},
        {"0\r\n: y\r\n", 0},
        {"0\r\n X: y\r\n", 0},
        {"0\r\nX : y\r\n", 0},
        {"0\r\nX: y\n", 0},
        {"0\r\nX: \0\r\n", 9},
        {"0\r\n\rx", 0},
        {"1000000000000000\r\n", 0},
        {"ffffffffffffffff\r\n", 0},
        {"0000000000000000\r\n", 0},
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct chunked c = {0};
        char data[64];
        size_t len = bad[i].len ? bad[i].len : strlen(bad[i].text), payload;

        memcpy(data, bad[i].text, len);
        if (chunked_decode(&c, data, len, &payload) != -EPROTO)
            fail_msg("\"%s\" was taken", bad[i].text);
        assert_int_equal(chunked_decode(&c, data, 1, &payload), -EPROTO); /* and stays broken */
    }
}

static void bounds(void **state)
{
    char data[8192];
    struct chunked c = {0};
    size_t payload;

    memset(data, 'a', sizeof(data));
    memcpy(data, "1;", 2);
    assert_int_equal(chunked_decode(&c, data, 400, &payload), -EPROTO);
    c = (struct chunked){0};
    memset(data, 'a', sizeof(data));
    memcpy(data, "0\r\nX:", 5);
    assert_int_equal(chunked_decode(&c, data, 6000, &payload), -EPROTO);
}

/* Extensions that the grammar allows, blanks of bad senders included. */
static void good_extensions(void **state)
{
    static const char *const good[] = {"1;a\r\nx", "1;a=b\r\nx", "1;a=\"\"\r\nx", "1;a=\"b;c=\\\"\t\xff\"\r\nx", "1; a\t=\t\"b\" ; c \r\nx", "1;a ;b= c\r\nx"};

    for (size_t i = 0; i < COUNT(good); i++) {
        struct chunked c = {0};
        char data[64];
        size_t payload, len = strlen(good[i]);

        memcpy(data, good[i], len);
        assert_int_equal(chunked_decode(&c, data, len, &payload), len);
        assert_int_equal(payload, 1);
    }
}

/* Small chunks with long extensions: work without data. As much data as extensions may go on for ever. */
static void excess(void **state)
{
    for (int data_bytes = 1; data_bytes <= 250; data_bytes += 249) {
        struct chunked c = {0};
        char chunk[600];
        int n = snprintf(chunk, sizeof(chunk), "%x;%0240d\r\n%0*d\r\n", data_bytes, 0, data_bytes, 0);
        ssize_t r = 0;
        unsigned i;

        for (i = 0; i < 200 && r >= 0; i++) {
            char copy[600];
            size_t payload;

            memcpy(copy, chunk, (size_t)n);
            r = chunked_decode(&c, copy, (size_t)n, &payload);
        }
        assert_int_equal(r >= 0, data_bytes == 250);
        assert_true(i == (data_bytes == 250 ? 200 : 69));
    }
}

static const char *trailers_of(const char *text, size_t step, char *out)
{
    struct body b;
    size_t at = 0, len = strlen(text), n;
    const char *end;

    body_init(&b, BODY_CHUNKED, 0);
    body_keep_trailer(&b);
    while (!b.done) {
        char data[512];
        size_t payload;

        assert_true(at < len);
        n = len - at < step ? len - at : step;
        memcpy(data, text + at, n);
        assert_int_equal(body_take(&b, data, n, &payload), n);
        at += n;
    }
    end = trailer_end(b.chunked.trailer, &n);
    if (end)
        memcpy(out, end, n);
    out[end ? n : 0] = '\0';
    body_free(&b);
    body_free(&b);
    return out;
}

/* What may be sent on, whatever the cuts. */
static void trailers(void **state)
{
    static const struct {
        const char *sent, *kept;
    } cases[] = {
        {"0\r\n\r\n", ""},
        {"0\r\nX: y\r\n\r\n", "\r\n0\r\nX: y\r\n\r\n"},
        {"1;a\r\nx\r\n0;b=c\r\nX:\r\nServer-Timing:  a;dur=1 \r\n\r\n", "\r\n0\r\nX:\r\nServer-Timing:  a;dur=1 \r\n\r\n"},
        {"0\r\nContent-Length: 1\r\n\r\n", ""},
        {"0\r\nA: 1\r\ncontent-TYPE: 1\r\nB: 2\r\n\r\n", "\r\n0\r\nA: 1\r\nB: 2\r\n\r\n"},
    };
    static const char *const dropped[] = {
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Content_Length",
        "Expect",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "Set-cookie",
        "Content-Encoding",
        "Content-Range",
        "Content-Security-Policy",
        "Cache-Control",
        "Age",
        "Expires",
        "Date",
        "Location",
        "Retry-After",
        "Vary",
        "Warning",
        "Pragma",
        "Range",
        "If-Match",
        "if-none-match",
        "Max-Forwards",
        "WWW-Authenticate",
        "X-Forwarded-For",
        "Forwarded",
        "X-Request-Id",
        "Access-Control-Allow-Origin",
        "Proxy",
        "Origin",
    };
    char out[512], text[128];

    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t step = 1; step <= strlen(cases[i].sent); step++)
            assert_string_equal(trailers_of(cases[i].sent, step, out), cases[i].kept);
    for (size_t i = 0; i < COUNT(dropped); i++) {
        snprintf(text, sizeof(text), "0\r\n%s: a\r\n\r\n", dropped[i]);
        if (trailers_of(text, 64, out)[0])
            fail_msg("%s is kept", dropped[i]);
    }
}

/* The most that are taken are kept whole; nobody who does not ask for them pays for them. */
static void many_trailers(void **state)
{
    char text[8192] = "0\r\nX: ";
    struct body b;
    size_t payload, len;

    memset(text + 6, 'a', TRAILER_BYTES_MAX);
    memcpy(text + 3 + TRAILER_BYTES_MAX - 4, "\r\n\r\n", 4);
    body_init(&b, BODY_CHUNKED, 0);
    body_keep_trailer(&b);
    assert_int_equal(body_take(&b, text, 3 + TRAILER_BYTES_MAX, &payload), 3 + TRAILER_BYTES_MAX);
    assert_true(b.done);
    assert_non_null(trailer_end(b.chunked.trailer, &len));
    assert_int_equal(len, 5 + TRAILER_BYTES_MAX);
    body_free(&b);
    body_init(&b, BODY_CHUNKED, 0);
    assert_int_equal(body_take(&b, text, 100, &payload), 100);
    assert_null(b.chunked.trailer);
}

static void other_bodies(void **state)
{
    char data[] = "0123456789";
    struct body b;
    size_t payload;

    body_init(&b, BODY_LENGTH, 4);
    assert_int_equal(body_take(&b, data, 3, &payload), 3);
    assert_false(b.done);
    assert_int_equal(body_take(&b, data + 3, 7, &payload), 1);
    assert_true(b.done && payload == 1 && b.total == 4);
    assert_int_equal(body_take(&b, data + 4, 6, &payload), 0);
    body_init(&b, BODY_LENGTH, 0);
    assert_true(b.done);
    body_init(&b, BODY_NONE, 0);
    assert_true(b.done);
    body_init(&b, BODY_CLOSE, 0);
    assert_int_equal(body_take(&b, data, 10, &payload), 10);
    assert_false(b.done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut),  cmocka_unit_test(every_prefix_wants_more), cmocka_unit_test(broken_codings),
        cmocka_unit_test(bounds),   cmocka_unit_test(good_extensions),         cmocka_unit_test(excess),
        cmocka_unit_test(trailers), cmocka_unit_test(many_trailers),           cmocka_unit_test(other_bodies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
