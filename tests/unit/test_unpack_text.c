/* What the jail reads of a package besides function.ini: command lines, variables, accounts, names of entries. */
#include "unit/check.h"

#include "../../runner/unpack/unpack_internal.h"
#include "diag.h"
#include "str.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- command ---- */

static void test_words(void **state)
{
    static const struct {
        const char *text, *words; /* separated by | */
    } cases[] = {
        {"a", "a|"},
        {"  a \t b  ", "a|b|"},
        {"/bin/sh -c 'echo \"$HOME\" | wc'", "/bin/sh|-c|echo \"$HOME\" ! wc|"},
        {"a \"b c\" 'd e'", "a|b c|d e|"},
        {"a\"b\"'c'd", "abcd|"},
        {"a '' \"\"", "a|||"},
        {"a\\ b \\\\ \\\"", "a b|\\|\"|"},
        {"\"a\\\"b\\\\c\\d\\$e\"", "a\"b\\c\\d$e|"},
        {"'a\\'", "a\\|"},
        {"a $HOME *.c # x ; y > z", "a|$HOME|*.c|#|x|;|y|>|z|"},
        {"a=b&c", "a=b&c|"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct strbuf out = {0};
        uint32_t n = 0, want = 0;
        struct diag d = {0};

        assert_int_equal(command_words(cases[i].text, &out, &n, &d), 0);
        for (size_t k = 0; k < out.len; k++) {
            if (out.data[k] == '|')
                out.data[k] = '!';
            else if (out.data[k] == '\0')
                out.data[k] = '|';
        }
        assert_string_equal(out.data, cases[i].words);
        for (const char *p = cases[i].words; *p; p++)
            want += *p == '|';
        assert_int_equal(n, want);
        strbuf_done(&out);
    }
}

static void test_words_refused(void **state)
{
    static const char *const cases[] = {"", "   ", "'a", "\"a", "a \"b\\\"", "a\\"};
    struct strbuf many = {0}, out = {0};
    struct diag d = {0};
    uint32_t n;

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(command_words(cases[i], &out, &n, &d), -EINVAL);
        assert_true(d.text[0]);
    }
    for (int i = 0; i < SPEC_ARGS_MAX + 1; i++)
        strbuf_puts(&many, "a ");
    assert_int_equal(command_words(many.data, &out, &n, &d), -E2BIG);
    strbuf_done(&many);
    strbuf_done(&out);
}

/* ---- dotenv ---- */

static void test_dotenv(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"# c\n\n  # c\nA=1", "A=1\n"},
        {"A=1\r\nB = 2 \r\n", "A=1\nB=2\n"},
        {"export A=1\nexport\tB=2\nexport=3\n", "A=1\nB=2\nexport=3\n"},
        {"  A=1\n", "A=1\n"},
        {"A=\nB=''\nC=\"\"\n", "A=\nB=\nC=\n"},
        {"A=x # comment\nB=x#y\nC=#\n", "A=x\nB=x#y\nC=\n"},
        {"A=a ; b\n", "A=a ; b\n"},
        {"A='a # b \\n $C'\n", "A=a # b \\n $C\n"},
        {"A=\"a # b\" # comment\n", "A=a # b\n"},
        {"A=\"1\\n2\\t3\\\\n\\\"\\$B\\x\"\n", "A=1\n2\t3\\n\"$B\\x\n"},
        {"A=\"1\n2\"\nB='3\n4'\nC=5\n", "A=1\n2\nB=3\n4\nC=5\n"},
        {"A=$B ${C} `d`\n", "A=$B ${C} `d`\n"},
        {"A==b=c\n", "A==b=c\n"},
        {"\xef\xbb\xbf"
         "A=1\n",
         "A=1\n"},
        {"A=it's\n", "A=it's\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct env_set e = {0};
        struct strbuf out = {0};
        struct diag d = {0};

        if (dotenv_parse(".env", cases[i][0], strlen(cases[i][0]), &e, &d) != 0)
            fail_msg("%s: %s", cases[i][0], d.text);
        strbuf_puts(&out, "");
        for (unsigned k = 0; k < e.count; k++)
            strbuf_printf(&out, "%s\n", e.items[k]);
        assert_string_equal(out.data, cases[i][1]);
        strbuf_done(&out);
        env_set_done(&e);
    }
}

static void test_dotenv_refused(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        const char *part;
    } cases[] = {
        {"A=1\nB\n", 6, ".env:2: no '='"},
        {"A=1\nB C=2\n", 10, ".env:2: no '='"},
        {"=1\n", 3, ".env:1: \"\" is no name"},
        {"1A=1\n", 5, ".env:1: \"1A\" is no name"},
        {"A=1\nA=2\n", 8, ".env:2: A comes twice"},
        {"A='1\n2", 6, ".env:1: the quote ' is not closed"},
        {"A=\"1\\\"\n", 7, ".env:1: the quote \" is not closed"},
        {"A=\"1\n\"\nB='2' x\n", 15, ".env:3: text after the closing quote"},
        {"A=\"1\0\"\n", 7, "NUL"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct env_set e = {0};
        struct diag d = {0};

        assert_int_equal(dotenv_parse(".env", cases[i].text, cases[i].len, &e, &d), -EINVAL);
        if (!strstr(d.text, cases[i].part))
            fail_msg("\"%s\" has no \"%s\"", d.text, cases[i].part);
        assert_int_equal(e.count, 0);
    }
}

/* A text that ends anywhere is read to there and no further (sanitizers watch). */
static void test_dotenv_prefixes(void **state)
{
    static const char text[] = "export A=\"a\\nb\" # c\r\nB='x\ny'\nC = plain # c\n";

    for (size_t len = 0; len < sizeof(text); len++) {
        char *copy = malloc(len ? len : 1);
        struct env_set e = {0};
        struct diag d = {0};

        memcpy(copy, text, len);
        dotenv_parse("t", copy, len, &e, &d);
        env_set_done(&e);
        free(copy);
    }
}

static void test_env_set(void **state)
{
    struct env_set e = {0}, other = {0};
    struct diag d = {0};
    char key[16];

    assert_int_equal(env_set_put(&e, "A", "1", &d), 0);
    assert_int_equal(env_set_put(&e, "AB", "2", &d), 0);
    assert_int_equal(env_set_put(&e, "A", "3", &d), 0);
    assert_int_equal(env_set_put(&other, "AB", "=4", &d), 0);
    assert_int_equal(env_set_merge(&e, &other, &d), 0);
    assert_int_equal(e.count, 2);
    assert_string_equal(e.items[0], "A=3");
    assert_string_equal(e.items[1], "AB==4");
    assert_false(env_set_has(&e, "B"));
    assert_int_equal(env_set_put(&e, "", "x", &d), -EINVAL);
    assert_int_equal(env_set_put(&e, "A=B", "x", &d), -EINVAL);
    for (int i = e.count; i < SPEC_ENV_MAX; i++) {
        snprintf(key, sizeof(key), "K%d", i);
        assert_int_equal(env_set_put(&e, key, "", &d), 0);
    }
    assert_int_equal(env_set_put(&e, "ONE_MORE", "", &d), -E2BIG);
    assert_int_equal(env_set_put(&e, "A", "still", &d), 0);
    env_set_done(&e);
    env_set_done(&other);
}

/* ---- user ---- */

static void test_user(void **state)
{
    static const char text[] =
        "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:9:9::\napp:x:500:600:App:/:/bin/sh\napp:x:501:601::/:\nopen:x:700:0::/:\nnobody:x:65534:65534::/:\n"
        "big:x:4294967296:1::/:\nlast:x:800:801";
    static const struct {
        const char *user;
        int result;
        uint32_t uid, gid;
        const char *part;
    } cases[] = {
        {"app", 0, 500, 600, NULL},
        {"last", 0, 800, 801, NULL},
        {"500", 0, 500, 600, NULL},
        {"1234", 0, 1234, 1234, NULL},
        {"700", 0, 700, 700, NULL},
        {"2", 0, 2, 2, NULL},
        {"65533", 0, 65533, 65533, NULL},
        {"0", -EINVAL, 0, 0, "never runs as root"},
        {"00", -EINVAL, 0, 0, "never runs as root"},
        {"root", -EINVAL, 0, 0, "never runs as root"},
        {"1", -EINVAL, 0, 0, "allowed is 2 to 65533"},
        {"65534", -EINVAL, 0, 0, "allowed is"},
        {"nobody", -EINVAL, 0, 0, "is user 65534"},
        {"open", -EINVAL, 0, 0, "in group 0"},
        {"big", -EINVAL, 0, 0, "not in the package's etc/passwd"},
        {"missing", -EINVAL, 0, 0, "not in the package's etc/passwd"},
        {"12x", -EINVAL, 0, 0, "neither a number nor a name"},
        {"4294967296", -EINVAL, 0, 0, "neither a number nor a name"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint32_t uid = 7, gid = 7;
        struct diag d = {0};

        assert_int_equal(passwd_resolve(cases[i].user, text, sizeof(text) - 1, &uid, &gid, &d), cases[i].result);
        assert_int_equal(uid, cases[i].result ? 7 : cases[i].uid);
        assert_int_equal(gid, cases[i].result ? 7 : cases[i].gid);
        if (cases[i].part && !strstr(d.text, cases[i].part))
            fail_msg("\"%s\" has no \"%s\"", d.text, cases[i].part);
    }
    {
        uint32_t uid, gid;

        assert_int_equal(passwd_resolve("1000", NULL, 0, &uid, &gid, NULL), 0);
        assert_int_equal(passwd_resolve("app", NULL, 0, &uid, &gid, NULL), -EINVAL);
    }
}

/* ---- names in an archive ---- */

static void test_entry_path(void **state)
{
    static const char *const good[][2] = {
        {"a", "a"}, {"./a", "a"}, {"/a", "a"}, {"//a//b/", "a/b"}, {"a/./b/.", "a/b"}, {".", ""}, {"./", ""}, {"/", ""}, {"..a/b..", "..a/b.."}, {"...", "..."},
    };
    static const char *const bad[] = {"..", "../a", "a/..", "a/../b", "/..", "./../a", "a//../b", ""};
    char out[PATH_MAX], *huge = malloc(3 * PATH_MAX);
    struct diag d = {0};

    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(entry_path(good[i][0], 10, out, &d), 0);
        assert_string_equal(out, good[i][1]);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(entry_path(bad[i], 10, out, &d), -EINVAL);
    assert_int_equal(entry_path(NULL, 10, out, &d), -EINVAL);
    assert_int_equal(entry_path("1/2/3", 3, out, &d), 0);
    assert_int_equal(entry_path("1/2/3/4", 3, out, &d), -ENAMETOOLONG);
    assert_int_equal(entry_path("1/./2//3/.", 3, out, &d), 0);
    for (size_t len = NAME_MAX - 1; len < NAME_MAX + 3; len++) {
        memset(huge, 'n', len);
        huge[len] = '\0';
        assert_int_equal(entry_path(huge, 10, out, &d), len <= NAME_MAX ? 0 : -ENAMETOOLONG);
    }
    for (size_t len = PATH_MAX - 5; len < PATH_MAX + 5; len++) {
        for (size_t i = 0; i < len; i++)
            huge[i] = i % 100 == 99 ? '/' : 'p';
        huge[len] = '\0';
        if (entry_path(huge, 1000, out, &d) == 0)
            assert_true(strlen(out) < PATH_MAX);
        else
            assert_true(len >= PATH_MAX - 2);
    }
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),           cmocka_unit_test(test_words_refused), cmocka_unit_test(test_dotenv), cmocka_unit_test(test_dotenv_refused),
        cmocka_unit_test(test_dotenv_prefixes), cmocka_unit_test(test_env_set),       cmocka_unit_test(test_user),   cmocka_unit_test(test_entry_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
