/* What fnctl prints: times, tables, and foreign text on a terminal. */
#include "check.h"

#include "../../runner/ctl/ctl.h"

#include <stdlib.h>
#include <string.h>

static void test_ages(void **state)
{
    static const struct {
        const char *then;
        const char *age;
    } cases[] = {
        {"2026-11-20T19:46:02.123Z", "0s"},
        {"2026-11-20T19:45:02Z", "60s"},
        {"2026-11-20T19:30:00Z", "16m"},
        {"2026-11-20T00:00:00Z", "19h"},
        {"2026-11-01T00:00:00.5Z", "19d"},
        {"2027-01-01T00:00:00Z", "0s"},
        {"2026-11-20 19:46:02Z", "-"},
        {"2026-11-20T19:46:02", "-"},
        {"2026-11-20T19:46:02+01:00", "-"},
        {"", "-"},
        {"yesterday", "-"},
    };
    char buf[TEXT_MAX];
    uint64_t now = 0;

    assert_int_equal(ctl_text_parse_time("2026-11-20T19:46:02.9Z", &now), 0);
    assert_int_equal(now, 1795203962);
    for (size_t i = 0; i < COUNT(cases); i++)
        if (strcmp(ctl_text_age(cases[i].then, now, buf), cases[i].age) != 0)
            fail_msg("%s: %s, not %s", cases[i].then, buf, cases[i].age);
    assert_string_equal(ctl_text_age(NULL, now, buf), "-");
    assert_string_equal(ctl_text_seconds(0.5, buf), "500ms");
    assert_string_equal(ctl_text_seconds(60, buf), "60s");
}

static void check_filter(const char *in, const char *out)
{
    size_t len = strlen(in);

    /* Whole, and cut at every place. */
    for (size_t cut = 0; cut <= len; cut++) {
        struct strbuf b cleanup_strbuf = {0};
        struct text_filter f = {0};

        ctl_text_filter(&f, in, cut, &b);
        ctl_text_filter(&f, in + cut, len - cut, &b);
        if (strcmp(b.data ? b.data : "", out) != 0)
            fail_msg("cut at %zu: \"%s\"", cut, b.data);
    }
}

static void test_filter(void **state)
{
    check_filter("plain\ttext\n", "plain\ttext\n");
    check_filter("\x1b[2J\x1b]0;title\x07\n", "^[[2J^[]0;title^G\n");
    check_filter("a\r\nb\x7f", "a\nb?");
    check_filter("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x88\n", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x88\n");
    check_filter("\xc2\x9b"
                 "31m\n",
                 "?31m\n"); /* CSI as UTF-8 */
    check_filter("\x9b"
                 "31m\n",
                 "?31m\n");                  /* CSI as one byte */
    check_filter("\xc3\x1b[m\n", "?^[[m\n"); /* a sequence that breaks off */
    check_filter("\xc2\xa0\n", "\xc2\xa0\n");
    check_filter("\xff\xfe\n", "??\n");
}

static void test_clean(void **state)
{
    char text[] = "a\x1b[31m\xc2\x9b"
                  "b\x9b"
                  "c\xc3\xa4\n";

    ctl_text_clean(text);
    assert_string_equal(text, "a?[31m??b?c\xc3\xa4\n");
}

static void test_table(void **state)
{
    static const char *const heads[] = {"NAME", ">SIZE", "URL"};
    struct strbuf out cleanup_strbuf = {0};
    struct table t;

    ctl_table_init(&t, heads, COUNT(heads));
    ctl_table_cell(&t, "%s", "hello");
    ctl_table_cell(&t, "%d", 7);
    ctl_table_cell(&t, "/fn/hello/");
    ctl_table_cell(&t, "%s",
                   "gr\xc3\xbc\xc3\x9f"
                   "e");
    ctl_table_cell(&t, "%d", 123456);
    ctl_table_cell(&t, "%s", "two\nlines\x1b[0m");
    ctl_table_format(&t, &out);
    ctl_table_done(&t);
    assert_string_equal(out.data, "NAME     SIZE  URL\n"
                                  "hello       7  /fn/hello/\n"
                                  "gr\xc3\xbc\xc3\x9f"
                                  "e  123456  two lines?[0m\n");
}

static void test_env(void **state)
{
    assert_true(ctl_text_is_env("A=1") && ctl_text_is_env("_a1=") && ctl_text_is_env("A=b=c"));
    assert_false(ctl_text_is_env("A") || ctl_text_is_env("=1") || ctl_text_is_env("1A=x") || ctl_text_is_env("A B=1") || ctl_text_is_env(""));
}

static void test_quote(void **state)
{
    struct strbuf b cleanup_strbuf = {0};

    ctl_api_quote(&b, "A=b c&d/\xc3\xa4\n~");
    assert_string_equal(b.data, "A%3Db%20c%26d%2F%C3%A4%0A~");
}

/* Each answer, and each prefix of it, which is never mistaken for a whole one. */
static void test_answer(void **state)
{
    static const struct {
        const char *raw;
        int status;
        const char *body;
    } cases[] = {
        {"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nbody", 413, "body"},
        {"HTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding:chunked\r\n\r\n3\r\nbod\r\n1;x=y\r\ny\r\n0\r\n\r\n", 200, "body"},
        {"HTTP/1.0 204\r\nContent-Length:0\r\n\r\n", 204, ""},
    };
    static const char *const broken[] = {
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "\r\n\r\n",
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nbody\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t whole = strlen(cases[i].raw), chunked_end = strstr(cases[i].raw, "chunked") ? 2 : 0;

        for (size_t len = 0; len <= whole; len++) {
            char *raw = malloc(len + 1), *body = NULL;
            size_t body_len = 0;
            int status = 0, r;

            memcpy(raw, cases[i].raw, len);
            r = ctl_answer_parse(raw, len, &status, &body, &body_len);
            if ((r == 0) != (len >= whole - chunked_end))
                fail_msg("%zu: %zu of %zu bytes: %d", i, len, whole, r);
            if (r == 0)
                assert_true(status == cases[i].status && body_len == strlen(cases[i].body) && memcmp(body, cases[i].body, body_len) == 0);
            free(raw);
        }
    }
    for (size_t i = 0; i < COUNT(broken); i++) {
        char *raw = strdup(broken[i]), *body = NULL;
        size_t body_len = 0;
        int status = 0;

        if (ctl_answer_parse(raw, strlen(raw), &status, &body, &body_len) == 0)
            fail_msg("%s", broken[i]);
        free(raw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ages), cmocka_unit_test(test_filter), cmocka_unit_test(test_clean),  cmocka_unit_test(test_table),
        cmocka_unit_test(test_env),  cmocka_unit_test(test_quote),  cmocka_unit_test(test_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
