/* The strict reader of .ini text: everything that inih 55 would cut, misread or skip has a case here. */
#include "unit/check.h"

#include "diag.h"
#include "inifile.h"
#include "str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct record {
    struct strbuf out;  /* "LINE section.key=value\n" */
    const char *refuse; /* a key that the handler refuses */
};

static int record_pair(void *arg, const char *section, const char *key, const char *value, unsigned line, struct diag *d)
{
    struct record *r = arg;

    if (r->refuse && strcmp(r->refuse, key) == 0)
        return diag_set(d, ENOENT, "refused %s", key);
    strbuf_printf(&r->out, "%u %s.%s=%s\n", line, section, key, value);
    return 0;
}

static void expect(const char *text, size_t len, const char *want)
{
    struct record r = {0};
    struct diag d = {0};

    if (inifile_parse("t.ini", text, len, record_pair, &r, &d) != 0)
        fail_msg("%s", d.text);
    assert_string_equal(r.out.data ? r.out.data : "", want);
    strbuf_done(&r.out);
}

/* The message begins with t.ini:LINE: and has `part` in it; nothing was delivered. */
static void expect_refused_len(const char *text, size_t len, unsigned line, const char *part)
{
    struct record r = {0};
    struct diag d = {0};
    char prefix[32];

    snprintf(prefix, sizeof(prefix), "t.ini:%u: ", line);
    assert_int_equal(inifile_parse("t.ini", text, len, record_pair, &r, &d), -EINVAL);
    if (strncmp(d.text, prefix, strlen(prefix)) != 0 || !strstr(d.text, part))
        fail_msg("\"%s\" is not \"%s...%s...\"", d.text, prefix, part);
    assert_int_equal(d.err, EINVAL);
    strbuf_done(&r.out);
}

static void expect_refused(const char *text, unsigned line, const char *part)
{
    expect_refused_len(text, strlen(text), line, part);
}

static void test_values(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"\n\n# c\n; c\n  # indented comment\n\t; another\n", ""},
        {"[a]\nk=v\n", "2 a.k=v\n"},
        {"[a]\nk = v", "2 a.k=v\n"},
        {"[a]\r\nk = v\r\n\r\nl = w\r\n", "2 a.k=v\n4 a.l=w\n"},
        {"k = before any section\n", "1 .k=before any section\n"},
        {"\xef\xbb\xbf[a]\nk=v\n", "2 a.k=v\n"},
        {"[cron nightly]\nschedule = 0 3 * * *\n", "2 cron nightly.schedule=0 3 * * *\n"},
        {"[a]\nk =\nl = \n", "2 a.k=\n3 a.l=\n"},
        {"[a]\nk = v \t \n", "2 a.k=v\n"},
        {"[a]\nurl = http://x/?a=b;c=d#e\n", "2 a.url=http://x/?a=b;c=d#e\n"},
        {"[a]\nk = a # no comment\n", "2 a.k=a # no comment\n"},
        {"[a]\nk =;v\n", "2 a.k=;v\n"},
        {"[a]\nk = [b]\n", "2 a.k=[b]\n"},
        {"[a]\nk = 1\n[b]\nk = 2\n[a]\nl = 3\n", "2 a.k=1\n4 b.k=2\n6 a.l=3\n"},
        {"[a]\nk = 1\nK = 2\n", "2 a.k=1\n3 a.K=2\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect(cases[i][0], strlen(cases[i][0]), cases[i][1]);
}

static void test_quotes(void **state)
{
    static const char *const cases[][2] = {
        {"[a]\nk = \"v\"\n", "2 a.k=v\n"}, {"[a]\nk = \"  v  \"  \n", "2 a.k=  v  \n"},       {"[a]\nk = \"\"\n", "2 a.k=\n"},
        {"[a]\nk = \"\n", "2 a.k=\"\n"},   {"[a]\nk = \"a\" \"b\"\n", "2 a.k=\"a\" \"b\"\n"}, {"[a]\nk = \"a\n", "2 a.k=\"a\n"},
        {"[a]\nk = a\"\n", "2 a.k=a\"\n"}, {"[a]\nk = '\"a\"'\n", "2 a.k='\"a\"'\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect(cases[i][0], strlen(cases[i][0]), cases[i][1]);
}

static void test_traps(void **state)
{
    expect_refused("[a]\nk = v ; w\n", 2, "comment");
    expect_refused("[a]\nk = v\t; w\n", 2, "comment");
    expect_refused("[a]\nk = ;w\n", 2, "comment");
    expect_refused("[a]\nk = \"v ; w\"\n", 2, "env_file");
    expect_refused("[a] ; c\n", 1, "comment");
    expect_refused("[a] b\n", 1, "after the section");
    expect_refused("[a]b]\n", 1, "after the section");
    expect_refused("[a\nk = v\n", 1, "']'");
    expect_refused("[]\n", 1, "no name");
    expect_refused("[a]\nk: v\n", 2, "'='");
    expect_refused("[a]\nk:x = v\n", 2, "':'");
    expect_refused("[a]\nk = v\n  w\n", 3, "indented");
    expect_refused("[a]\nk = v\n\tl = w\n", 3, "indented");
    expect_refused(" [a]\n", 1, "indented");
    expect_refused("[a]\njust text\n", 2, "neither");
    expect_refused("[a]\n= v\n", 2, "no key");
    expect_refused("[a]\nk = v\rl = w\n", 2, "control character");
    expect_refused("[a]\nk = v\x1b[2J\n", 2, "control character");
    expect_refused_len("[a]\nk = v\0w\n", 12, 2, "control character");
    expect_refused_len("# c\0\n", 5, 1, "control character");
}

static void test_twice(void **state)
{
    expect_refused("[a]\nk = 1\nl = 2\nk = 3\n", 4, "[a] k comes twice");
    expect_refused("[a]\nk = 1\n[b]\nk = 2\n[a]\nk = 3\n", 6, "[a] k comes twice");
    expect_refused("k = 1\nk = 1\n", 2, "comes twice");
}

static void test_lengths(void **state)
{
    for (int len = 190; len < 205; len++) {
        char text[512], want[512];

        snprintf(text, sizeof(text), "[a]\nk=%0*d\r\nl = 1\n", len - 2, 7);
        snprintf(want, sizeof(want), "2 a.k=%0*d\n3 a.l=1\n", len - 2, 7);
        if (len <= 198)
            expect(text, strlen(text), want);
        else
            expect_refused(text, 2, "env_file");
        snprintf(text, sizeof(text), "#%0*d\n", len - 1, 7);
        if (len > 198)
            expect_refused(text, 1, "198");
    }
    for (int len = 46; len < 53; len++) {
        char text[512], want[512];

        snprintf(text, sizeof(text), "[%0*d]\nk = v\n", len, 7);
        snprintf(want, sizeof(want), "2 %0*d.k=v\n", len, 7);
        if (len <= 48)
            expect(text, strlen(text), want);
        else
            expect_refused(text, 1, "at most 48");
    }
}

/* Nothing is delivered behind the handler's first error, and its text gets the line. */
static void test_handler_error(void **state)
{
    static const char text[] = "[a]\nk = 1\n\nbad = 2\nl = 3\nbad2 = 4\n";
    struct record r = {.refuse = "bad"};
    struct diag d = {0};

    assert_int_equal(inifile_parse("f.ini", text, strlen(text), record_pair, &r, &d), -ENOENT);
    assert_string_equal(d.text, "f.ini:4: refused bad");
    assert_string_equal(r.out.data, "2 a.k=1\n");
    strbuf_done(&r.out);
    assert_int_equal(inifile_parse("f.ini", text, strlen(text), record_pair, &(struct record){.refuse = "k"}, NULL), -ENOENT);
}

static void test_many(void **state)
{
    struct record r = {0};
    struct strbuf text = {0};
    struct diag d = {0};

    strbuf_puts(&text, "[a]\n");
    for (int i = 0; i < 4097; i++)
        strbuf_printf(&text, "k%d=1\n", i);
    assert_int_equal(inifile_parse("t.ini", text.data, text.len, record_pair, &r, &d), -EINVAL);
    assert_non_null(strstr(d.text, "t.ini:4098: more than 4096 keys"));
    strbuf_done(&r.out);
    strbuf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_quotes),        cmocka_unit_test(test_traps), cmocka_unit_test(test_twice),
        cmocka_unit_test(test_lengths), cmocka_unit_test(test_handler_error), cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
