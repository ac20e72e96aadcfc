/* fnctl's option parser over tables of its own, its verbs, and the table of exit codes. */
#include "check.h"

#include "../../runner/ctl/ctl.h"

#include <errno.h>
#include <string.h>

static const struct opt_def table[] = {
    {'f', "flag", NULL, OPT_FLAG, offsetof(struct options, follow), 0, 0, ""},
    {'v', "verbose", NULL, OPT_FLAG, offsetof(struct options, verbose), 0, 0, ""},
    {'t', "text", "T", OPT_TEXT, offsetof(struct options, name), 0, 0, ""},
    {'l', "list", "L", OPT_LIST, offsetof(struct options, vars), 0, 0, ""},
    {'n', "number", "N", OPT_NUMBER, offsetof(struct options, lines), 1, 100, ""},
    {0},
};
static const struct opt_def *const tables[] = {table, NULL};

struct parsed {
    struct options o;
    struct text_list args;
    struct diag d;
    int used;
};

static void parse_some(struct parsed *p, bool stop, const char *const *argv)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    *p = (struct parsed){0};
    p->used = ctl_opt_parse(tables, argc, (char **)argv, stop, &p->o, &p->args, &p->d);
}

#define PARSE(p, ...) parse_some(p, false, (const char *const[]){__VA_ARGS__, NULL})

static void parsed_done(struct parsed *p)
{
    ctl_options_done(&p->o);
    ctl_list_done(&p->args);
}

static void test_forms(void **state)
{
    struct parsed p;

    PARSE(&p, "a", "-f", "--text=x=y", "b", "--list", "1", "-l2", "-l", "3", "-n", "7", "-");
    assert_int_equal(p.used, 12);
    assert_true(p.o.follow && !p.o.verbose);
    assert_string_equal(p.o.name, "x=y");
    assert_int_equal(p.o.vars.count, 3);
    assert_string_equal(p.o.vars.items[0], "1");
    assert_string_equal(p.o.vars.items[2], "3");
    assert_true(p.o.lines.set && p.o.lines.value == 7);
    assert_int_equal(p.args.count, 3);
    assert_string_equal(p.args.items[2], "-");
    parsed_done(&p);

    PARSE(&p, "-fvn12", "--", "-f", "--text");
    assert_true(p.o.follow && p.o.verbose && p.o.lines.value == 12);
    assert_int_equal(p.args.count, 2);
    assert_string_equal(p.args.items[1], "--text");
    parsed_done(&p);

    PARSE(&p, "--text=", "-t", "-f");
    assert_string_equal(p.o.name, "-f"); /* the value of an option that needs one, whatever it looks like */
    assert_false(p.o.follow);
    parsed_done(&p);
}

static void test_stops_at_the_verb(void **state)
{
    struct parsed p;

    parse_some(&p, true, (const char *const[]){"-v", "--text", "x", "verb", "-f", NULL});
    assert_int_equal(p.used, 3);
    assert_true(p.o.verbose && !p.o.follow && p.args.count == 0);
    parsed_done(&p);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *argv[4], *says;
    } cases[] = {
        {{"-x"}, "-x"},
        {{"--nothing"}, "--nothing"},
        {{"--tex", "y"}, "--tex"}, /* never abbreviated: a new option must not change what an old one means */
        {{"--flag=yes"}, "no value"},
        {{"--text"}, "needs a value"},
        {{"-t"}, "needs a value"},
        {{"-n", "0"}, "1 to 100"},
        {{"-n", "101"}, "1 to 100"},
        {{"-n", "-1"}, "1 to 100"},
        {{"-n", "1k"}, "1 to 100"},
        {{"--number="}, "1 to 100"},
        {{"-fx"}, "-x"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct parsed p;

        parse_some(&p, false, cases[i].argv);
        if (p.used != -EINVAL || !strstr(p.d.text, cases[i].says))
            fail_msg("%s: %d, \"%s\"", cases[i].argv[0], p.used, p.d.text);
        parsed_done(&p);
    }
}

static void test_verbs(void **state)
{
    static const char *const aliases[][2] = {{"list", "ls"}, {"ps", "ls"}, {"remove", "rm"}, {"delete", "rm"}};
    static const char *const similar[][2] = {{"lgos", "logs"}, {"stauts", "status"}, {"deplyo", "deploy"}, {"inv", "invoke"}, {"restrat", "restart"}};

    for (size_t i = 0; i < COUNT(aliases); i++)
        assert_ptr_equal(verb_find(aliases[i][0]), verb_find(aliases[i][1]));
    assert_null(verb_find("rum"));
    assert_null(verb_find(""));
    for (size_t i = 0; i < COUNT(similar); i++)
        assert_string_equal(verb_similar(similar[i][0]), similar[i][1]);
    assert_null(verb_similar("xylophone"));
    assert_null(verb_similar("a-word-that-is-far-longer-than-any-verb-there-will-be"));
}

/* A verb's tables may not use a letter or a word twice, or the first would hide the second. */
static void test_no_option_is_hidden(void **state)
{
    for (const struct verb *v = ctl_verbs; v->name; v++) {
        char letters[128] = "";
        unsigned long hashes[64];
        unsigned n = 0, nletters = 0;

        for (unsigned t = 0; t <= COUNT(v->opts); t++) {
            const struct opt_def *def = t == 0 ? ctl_opts_common : v->opts[t - 1];

            for (; def && def->long_name; def++) {
                unsigned long h = 5381;

                for (const char *p = def->long_name; *p; p++)
                    h = h * 33 + (unsigned char)*p;
                for (unsigned i = 0; i < n; i++)
                    if (hashes[i] == h && !(v->run == verb_export && strcmp(def->long_name, "version") == 0)) /* --version N; the verb's own counts (fnctl.c) */
                        fail_msg("%s: --%s twice", v->name, def->long_name);
                hashes[n++] = h;
                if (def->short_name && strchr(letters, def->short_name))
                    fail_msg("%s: -%c twice", v->name, def->short_name);
                if (def->short_name)
                    letters[nletters++] = def->short_name;
            }
            if (t > 0 && !v->opts[t - 1])
                break;
        }
    }
}

static void test_exit_codes(void **state)
{
    static const struct {
        int status;
        const char *code;
        int exit;
    } cases[] = {
        {200, NULL, CTL_OK},
        {201, "not_found", CTL_OK},
        {404, "not_found", CTL_NOT_FOUND},
        {404, NULL, CTL_NOT_FOUND},
        {403, "not_allowed", CTL_DENIED},
        {401, NULL, CTL_DENIED},
        {400, "invalid", CTL_FAILED},
        {409, "busy", CTL_FAILED},
        {422, "deploy_failed", CTL_FAILED},
        {503, "no_runner", CTL_NO_DAEMON},
        {503, "overloaded", CTL_FAILED},
        {500, NULL, CTL_FAILED},
        {308, NULL, CTL_FAILED},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        if (ctl_exit_of_answer(cases[i].status, cases[i].code) != cases[i].exit)
            fail_msg("%d %s", cases[i].status, cases[i].code);
    assert_int_equal(ctl_exit_of_connect(ENOENT), CTL_NO_DAEMON);
    assert_int_equal(ctl_exit_of_connect(ECONNREFUSED), CTL_NO_DAEMON);
    assert_int_equal(ctl_exit_of_connect(EACCES), CTL_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms), cmocka_unit_test(test_stops_at_the_verb),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_verbs), cmocka_unit_test(test_no_option_is_hidden), cmocka_unit_test(test_exit_codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
