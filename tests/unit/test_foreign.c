/* Other systems' project files: YAML within bounds, and what becomes of every key. */
#include "check.h"

#include "../../runner/ctl/project/foreign.h"
#include "diag.h"
#include "function_facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- YAML ---- */

static int parse(const char *text, struct ytree **ret, struct diag *d)
{
    return ytree_parse("x", text, strlen(text), ret, d);
}

static void test_tree(void **state)
{
    struct ytree *t;
    const struct ynode *n;

    assert_int_equal(parse("a: 1\nb:\n  - x\n  - 'y'\nc: {d: \"e\"}\nf:\n", &t, NULL), 0);
    assert_string_equal(ytree_get(ytree_top(t), "a")->text, "1");
    assert_true(ytree_get(ytree_top(t), "a")->plain);
    n = ytree_get(ytree_top(t), "b");
    assert_int_equal(n->kind, YTREE_LIST);
    assert_int_equal(n->first->line, 3);
    assert_false(n->first->next->plain);
    assert_string_equal(ytree_get(ytree_get(ytree_top(t), "c"), "d")->text, "e");
    assert_string_equal(ytree_get(ytree_top(t), "f")->text, "");
    assert_null(ytree_get(ytree_top(t), "g"));
    ytree_free(t);
}

static void test_aliases_and_merge(void **state)
{
    struct ytree *t;
    const struct ynode *n;

    assert_int_equal(parse("base: &b {one: 1, two: 2}\nmine:\n  two: 3\n  <<: *b\nlist:\n  <<: [*b, {four: 4}]\n", &t, NULL), 0);
    n = ytree_get(ytree_top(t), "mine");
    assert_string_equal(ytree_get(n, "one")->text, "1");
    assert_string_equal(ytree_get(n, "two")->text, "3");
    n = ytree_get(ytree_top(t), "list");
    assert_string_equal(ytree_get(n, "four")->text, "4");
    ytree_free(t);
}

static void test_bad_yaml(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "x:1: KEY: VALUE lines are expected"},
        {"- a\n", "x:1: KEY: VALUE lines are expected"},
        {"a: 1\na: 2\n", "x:2: a is there twice"},
        {"a: 1\n---\nb: 2\n", "x:2: a second document: one is read"},
        {"a: *b\n", "x:1: an alias of what was not named before"},
        {"a: &b [1, *b]\n", "x:1: an alias within what it names"},
        {"? [a]\n: b\n", "x:1: a key must be a plain text"},
        {"a:\n\t- b\n", "x:2: found character that cannot start any token"},
        {"a: [1\n", "x:2: did not find expected ',' or ']'"},
        {"a: \"b\\0c\"\n", "x:1: a NUL byte"},
        {"a:\n  <<: 3\n", "x:2: << takes a map, or a list of maps"},
        {"a: \xff\n", "x:1: invalid leading UTF-8 octet"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct diag d = {0};
        struct ytree *t;

        assert_int_equal(parse(rows[i].text, &t, &d), -EINVAL);
        assert_string_equal(d.text, rows[i].message);
    }
}

/* Nine lines that stand for a billion; a hundred levels; and a file that is too long. */
static void test_bounds(void **state)
{
    struct strbuf text cleanup_strbuf = {0};
    struct diag d = {0};
    struct ytree *t;

    strbuf_puts(&text, "a0: &a0 [lol, lol]\n");
    for (int i = 1; i < 10; i++) {
        strbuf_printf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            strbuf_printf(&text, "%s*a%d", k ? ", " : "", i - 1);
        strbuf_puts(&text, "]\n");
    }
    assert_int_equal(parse(text.data, &t, &d), -E2BIG);
    assert_non_null(strstr(d.text, "more than 20000 values (an alias counts as what it stands for)"));
    text.len = 0;
    strbuf_puts(&text, "a: ");
    for (int i = 0; i < 100; i++)
        strbuf_puts(&text, "[");
    assert_int_equal(parse(text.data, &t, &d), -EINVAL);
    assert_string_equal(d.text, "x:1: nested too deep");
    assert_int_equal(ytree_parse("x", text.data, YTREE_BYTES_MAX + 1, &t, &d), -EFBIG);
    text.len = 0;
    for (int i = 0; i < 300; i++)
        strbuf_printf(&text, "k%d: &k%d 1\n", i, i);
    assert_int_equal(parse(text.data, &t, &d), -EINVAL);
    assert_string_equal(d.text, "x:257: too many anchors");
}

/* ---- conversion ---- */

struct row {
    enum foreign_kind kind;
    const char *text, *pick, *ini, *notes, *directory;
};

static const struct row rows[] = {
    {FOREIGN_FUNKO, "name: greet\nruntime: flask\n", NULL, "[function]\nname = greet\nruntime = flask\nhandler = funko:app\n", "", ""},
    {FOREIGN_FUNKO, "name: greet\nruntime: express\noptions:\n  ship_packages: [a]\n  devel_packages: [b]\ncolour: red\n", NULL,
     "[function]\nname = greet\nruntime = express\ncommand = node funko.js\n",
     "x:4: ship_packages: not taken over: write the names into a file `packages`, one a line: the builder installs them\n"
     "x:5: devel_packages: not taken over: the builder has what building needs; what is missing goes into the file `packages`\n"
     "x:6: colour: not taken over: not known here\n",
     ""},
    {FOREIGN_FUNKO, "runtime: kemal\n", NULL,
     "", "x:1: runtime: there is no runtime kemal here: the directory is taken as the root filesystem, with its program in it (fnctl new --list names the runtimes)\n",
     ""},
    {FOREIGN_STACK,
     "version: 1.0\nprovider:\n  name: openfaas\nfunctions:\n  wc:\n    skip_build: true\n    fprocess: wc -l\n    handler: ./words/\n    environment:\n      "
     "write_debug: true\n      "
     "exec_timeout: 10s\n"
     "    limits: {memory: 64m, cpu: 500m}\n    labels:\n      com.openfaas.scale.min: \"2\"\n      com.openfaas.scale.max: 4\n      team: x\n    requests:\n  "
     "    memory: 1m\n"
     "    readonly_root_filesystem: false\n",
     NULL,
     "[function]\nname = wc\ncommand = wc -l\nmode = stdio\nruntime = shell\nwritable = yes\n\n[limits]\ntimeout = 10s\nmemory = 64M\ncpu = "
     "500m\n\n[scale]\nmin = 2\nmax = 4\n\n"
     "[env]\nwrite_debug = true\nexec_timeout = 10s\n",
     "x:16: team: not taken over: not known here\nx:17: requests: not taken over: memory and CPU are promised as [limits] says\n", "words/"},
    {FOREIGN_STACK, "functions:\n  a: {lang: python3-http, handler: ./a}\n  b: {lang: dockerfile, image: x/b}\n", "a",
     "[function]\nname = a\nruntime = flask\nhandler = handler.handle\n\n[env]\nHANDLER_CONTRACT = openfaas-http\n",
     "x:2: lang: python3-http is taken as Debian's: runtime = flask, handler = handler.handle, [env] HANDLER_CONTRACT = openfaas-http, which calls "
     "handle(event, "
     "context)\n",
     "a"},
    {FOREIGN_STACK, "functions:\n  a: {lang: python3-http, handler: ./a}\n  b: {lang: dockerfile, image: x/b}\n", "b", "[function]\nname = b\n",
     "x:3: lang: not taken over: build the image elsewhere, and deploy its archive (fnctl deploy IMAGE)\n"
     "x:3: image: not taken over: the image itself is deployed by fnctl import docker://x/b, or by fnctl deploy with an archive of it\n",
     ""},
    {FOREIGN_STACK, "functions:\n  b:\n    lang: dockerfile\n    handler: ./b\n    image: x/b\n    fprocess: cat\n", NULL,
     "[function]\nname = b\ncommand = cat\nmode = stdio\n",
     "x:3: lang: not taken over: build the image elsewhere, and deploy its archive (fnctl deploy IMAGE)\n", "b"},
    {FOREIGN_STACK, "functions:\n  b:\n    handler: .\n", NULL, "[function]\nname = b\n", "", ""},
    {FOREIGN_STACK, "functions:\n  b:\n    handler: ./\n", NULL, "[function]\nname = b\n", "", ""},
    {FOREIGN_STACK, "functions:\n  b:\n    handler: ././/.\n", NULL, "[function]\nname = b\n", "", ""},
    {FOREIGN_STACK, "functions:\n  b:\n    handler: .//b/c\n", NULL, "[function]\nname = b\n", "", "b/c"},
    {FOREIGN_STACK, "x: &e {A: 1}\nfunctions:\n  f:\n    environment:\n      <<: *e\n      B: ' two '\n      C: ${D}\n", NULL,
     "[function]\nname = f\n\n[env]\nB = \" two \"\nC = ${D}\nA = 1\n",
     "x:1: x: not taken over: not known here\nx:7: C: ${...} is not expanded: the value is taken as it stands\n", ""},
    {FOREIGN_SERVERLESS,
     "service: s\nprovider:\n  name: spotinst\nfunctions:\n  hello:\n    runtime: nodejs8.3\n    handler: handler.main\n    memory: 128\n    timeout: 30\n    "
     "access: private\n"
     "    cors:\n      enabled: true\n      methods: [GET, PUT]\n    environmentVariables:\n      K: v\n    activeVersions:\n      - {version: $LATEST, "
     "percentage: 100}\n",
     NULL,
     "[function]\nname = hello\nruntime = node\nhandler = handler.main\naccess = private\n\n[limits]\nmemory = 128M\ntimeout = 30s\n\n"
     "[http]\ncors = *\ncors_headers = Content-Type,Authorization\ncors_methods = GET, PUT\n\n[env]\nHANDLER_CONTRACT = spotinst\nK = v\n",
     "x:6: runtime: nodejs8.3 is taken as Debian's node\nx:16: activeVersions: not taken over: the newest version is the one that is asked\n", ""},
    {FOREIGN_SERVERLESS, "provider: {name: aws}\nfunctions:\n  f: {runtime: java8, cors: {enabled: false}}\n", NULL,
     "[function]\nname = f\n", "x:1: name: read as Spotinst's form: other providers mean other things by the same keys\nx:3: runtime: there is no runtime java8 here (fnctl new --list)\n",
     ""},
};

static int convert(const struct row *row, struct foreign *f, struct diag *d)
{
    struct ytree *t;
    int r = parse(row->text, &t, d);

    if (r == 0) {
        r = foreign_convert(row->kind, "x", t, row->pick, NULL, f, d);
        ytree_free(t);
    }
    return r;
}

static void test_conversions(void **state)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct diag d = {0};
        struct foreign f;

        if (convert(&rows[i], &f, &d) < 0)
            fail_msg("%zu: %s", i, d.text);
        assert_string_equal(f.ini.data ? f.ini.data : "", rows[i].ini);
        assert_string_equal(f.notes.data ? f.notes.data : "", rows[i].notes);
        assert_string_equal(f.directory, rows[i].directory);
        foreign_done(&f);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        enum foreign_kind kind;
        const char *text, *message;
    } bad[] = {
        {FOREIGN_STACK, "a: 1\n", "x:1: there is no function below functions:"},
        {FOREIGN_STACK, "functions:\n", "x:1: there is no function below functions:"},
        {FOREIGN_STACK, "functions: {a: {}, b: {}}\n", "x has several functions, say which with --name, or --all: a b"},
        {FOREIGN_STACK, "functions:\n  a b: {}\n", "x:2: a b: is no name for a function: letters, digits, '-' and '_', at most 57"},
        {FOREIGN_STACK, "functions:\n  a:\n    handler: ../b\n", "x:3: handler: ../b: a directory below this one is expected"},
        {FOREIGN_STACK, "functions:\n  a:\n    handler: /b\n", "x:3: handler: /b: a directory below this one is expected"},
        {FOREIGN_STACK, "functions:\n  a:\n    handler: ././../b\n", "x:3: handler: ../b: a directory below this one is expected"},
        {FOREIGN_STACK, "functions:\n  a:\n    limits: {memory: much}\n", "x:3: memory: \"much\" is no size (128Mi, 128m)"},
        {FOREIGN_STACK, "functions:\n  a:\n    limits: [1]\n", "x:3: limits: KEY: VALUE lines are expected below it"},
        {FOREIGN_STACK, "functions:\n  a:\n    labels: {com.openfaas.scale.min: -1}\n", "x:3: com.openfaas.scale.min: \"-1\" is no whole number"},
        {FOREIGN_STACK, "functions:\n  a:\n    environment: {A: [1]}\n", "x:3: A: one value is expected"},
        {FOREIGN_STACK, "functions:\n  a:\n    environment: {A: \"1\\n2\"}\n",
         "x:3: A: the value is too long for a line of function.ini, or has control characters, \" ;\" or mixed quotes: keep it in the package as a file env/A"},
        {FOREIGN_STACK, "functions:\n  a:\n    environment: {\"A=B\": c}\n", "x:3: A=B: \"A=B\" cannot be a key of function.ini"},
        {FOREIGN_STACK, "functions:\n  a:\n    readonly_root_filesystem: maybe\n", "x:3: readonly_root_filesystem: \"maybe\": true or false is expected"},
        {FOREIGN_FUNKO, "name: [a]\n", "x:1: name: one value is expected"},
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        const struct row row = {.kind = bad[i].kind, .text = bad[i].text};
        struct diag d = {0};
        struct foreign f;

        assert_int_equal(convert(&row, &f, &d), -EINVAL);
        assert_string_equal(d.text, bad[i].message);
    }
}

static void test_names(void **state)
{
    struct ytree *t;

    assert_int_equal(parse("functions: {a: {}, b: {}}\n", &t, NULL), 0);
    assert_string_equal(foreign_name(FOREIGN_STACK, t, 0), "a");
    assert_string_equal(foreign_name(FOREIGN_STACK, t, 1), "b");
    assert_null(foreign_name(FOREIGN_STACK, t, 2));
    assert_null(foreign_name(FOREIGN_FUNKO, t, 0));
    ytree_free(t);
}

/* Every prefix, and every byte changed: an answer, and what is made of it can be read by the parser of .ini texts. */
static void test_prefixes_and_noise(void **state)
{
    static const char noise[] = "\0{}[]&*:-\n\t\"'|>%\xff";

    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t len = strlen(rows[i].text);
        char *text = malloc(len + 1);

        assert_non_null(text);
        for (size_t k = 0; k < len * 2; k++) {
            struct ytree *t;
            struct foreign f;
            size_t n = k < len ? k : len;

            memcpy(text, rows[i].text, len + 1);
            if (k >= len)
                text[k - len] = noise[k % (sizeof(noise) - 1)];
            if (ytree_parse("x", text, n, &t, NULL) < 0)
                continue;
            if (foreign_convert(rows[i].kind, "x", t, rows[i].pick, NULL, &f, NULL) == 0) {
                struct function_facts facts;

                if (f.ini.data)
                    function_facts_read(f.ini.data, f.ini.len, &facts, NULL);
                foreign_done(&f);
            }
            ytree_free(t);
        }
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),   cmocka_unit_test(test_aliases_and_merge),  cmocka_unit_test(test_bad_yaml),
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_conversions),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_names),  cmocka_unit_test(test_prefixes_and_noise),
    };

    return cmocka_run_group_tests_name("foreign", tests, NULL, NULL);
}
