/* The chunked coding: whatever the cuts, the same payload; every prefix wants more; nothing lax is taken. */
#include "check.h"

#include "../../runner/gateway/http/body.h"
#include "http_guard.h"

#include <errno.h>
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
        cmocka_unit_test(any_cut),      cmocka_unit_test(every_prefix_wants_more), cmocka_unit_test(broken_codings), cmocka_unit_test(bounds),
        cmocka_unit_test(other_bodies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
