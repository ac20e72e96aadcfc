/* What a package says about itself: function.ini, its variables, its command, its user, and the names in an archive. */
#include "unit/check.h"

#include "../../runner/unpack/unpack_internal.h"
#include "allow.h"
#include "clock.h"
#include "diag.h"
#include "str.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse(const char *text, struct function_ini *f, struct diag *d)
{
    *d = (struct diag){0};
    function_ini_init(f);
    return function_ini_parse(text, strlen(text), f, d);
}

static void expect_refused(const char *text, int err, const char *part)
{
    struct function_ini f;
    struct diag d;
    int r = parse(text, &f, &d);

    if (r != -err || !strstr(d.text, part))
        fail_msg("%s: %d \"%s\" is not %d \"...%s...\"", text, r, d.text, -err, part);
    function_ini_done(&f);
}

static int parse_sets(const char *text, const char *sets, size_t len, struct function_ini *f, struct diag *d)
{
    *d = (struct diag){0};
    function_ini_init(f);
    f->sets = sets;
    f->sets_len = len;
    return function_ini_parse(text, strlen(text), f, d);
}

#define SETS(text, sets, f, d) parse_sets(text, sets, sizeof(sets), f, d)

static void refuse_set(const char *text, const char *set, const char *part)
{
    struct function_ini f;
    struct diag d;

    if (parse_sets(text, set, strlen(set) + 1, &f, &d) >= 0 || !strstr(d.text, part))
        fail_msg("%s: \"%s\" is not \"...%s...\"", set, d.text, part);
    function_ini_done(&f);
}

static void test_sets(void **state)
{
    char large[1100] = "env.A=";
    struct function_ini f;
    struct diag d;

    if (SETS("", "function.port=80\0health.path=none\0env.a.b=x=y", &f, &d) != 0)
        fail_msg("%s", d.text);
    assert_int_equal(f.spec.port, 80);
    assert_string_equal(f.spec.health_path, "");
    assert_string_equal(f.env.items[0], "a.b=x=y");
    function_ini_done(&f);
    /* in place of what is there: lists are not made longer, a bad value that is not used is not judged */
    if (SETS("[function]\nport = many\nname = web\n[http]\nhosts = a.example b.example\n[volumes]\nv = /v 1G\n[scale]\nmin = 20\n",
             "function.port=81\0http.hosts=c.example\0volumes.v=/w 2G\0scale.max=30", &f, &d) != 0)
        fail_msg("%s", d.text);
    assert_int_equal(f.spec.port, 81);
    assert_string_equal(f.spec.name, "web");
    assert_int_equal(f.spec.http.nhosts, 1);
    assert_string_equal(f.spec.http.hosts[0], "c.example");
    assert_int_equal(f.spec.nvolumes, 1);
    assert_string_equal(f.spec.volumes[0].path, "/w");
    function_ini_done(&f);
    refuse_set("", "function.port=0", "--set function.port: [function] port: 0 is too small");
    refuse_set("", "function.prot=80", "--set function.prot: [function] has no key prot");
    refuse_set("", "port=80", "SECTION.KEY=VALUE");
    refuse_set("", "function.=80", "SECTION.KEY=VALUE");
    refuse_set("", ".port=80", "SECTION.KEY=VALUE");
    refuse_set("", "function=a.b", "SECTION.KEY=VALUE");
    refuse_set("", "", "SECTION.KEY=VALUE");
    refuse_set("", "env.A=\x1b[1m", "control characters");
    refuse_set("", "scale.min=20", "--set");
    memset(large + 6, 'x', sizeof(large) - 7);
    refuse_set("", large, "more than");
    assert_true(SETS("", "function.port=80\0function.port=81", &f, &d) < 0);
    assert_non_null(strstr(d.text, "--set function.port comes twice"));
    function_ini_done(&f);
}

static void test_volumes(void **state)
{
    struct function_ini f;
    struct diag d;

    if (parse("[volumes]\ndata = /srv/data 1G\nCache-2 = /c   64M\n", &f, &d) != 0)
        fail_msg("%s", d.text);
    assert_int_equal(f.spec.nvolumes, 2);
    assert_string_equal(f.spec.volumes[0].name, "data");
    assert_string_equal(f.spec.volumes[0].path, "/srv/data");
    assert_int_equal(f.spec.volumes[0].bytes, 1ULL << 30);
    assert_string_equal(f.spec.volumes[1].name, "Cache-2");
    assert_int_equal(f.spec.volumes[1].bytes, 64 << 20);
    function_ini_done(&f);
    expect_refused("[volumes]\ndata = /data\n", EINVAL, "PATH SIZE");
    expect_refused("[volumes]\ndata = /data many\n", EINVAL, "PATH SIZE");
    expect_refused("[volumes]\ndata =\n", EINVAL, "PATH SIZE");
    expect_refused("[volumes]\nda/ta = /data 1G\n", EINVAL, "no name");
    expect_refused("[volumes]\na=/1 1G\nb=/2 1G\nc=/3 1G\nd=/4 1G\ne=/5 1G\nf=/6 1G\ng=/7 1G\nh=/8 1G\ni=/9 1G\n", EINVAL, "at most 8");
}

static void test_every_key(void **state)
{
    static const char text[] =
        "# comment\n[function]\nname = hello\ncommand = /app/server --port \"30 00\"\nmode = http\nport = 8080\nuser = app\napplication = my shop\n"
        "access = public\nwritable = yes\nenv_file = conf/.env\nkeep = 7\n"
        "[limits]\nmemory = 256M\ncpu = 0.5\npids = 32\ntmp = 16Mi\ntimeout = 1.5s\nconcurrency = 9\nqueue = 11\nqueue_timeout = 2s\nstream_idle = 1m\n"
        "[scale]\nmin = 2\nmax = 3\n[health]\npath = /healthz?x=1\ninterval = 250ms\nthreshold = 4\n"
        "[network]\negress = no\nmesh = off\nipv6 = false\n[env]\nGREETING = hello\nA_b.c-d = \" x \"\nEMPTY =\n[sandbox]\nallow =\n";
    struct function_ini f;
    struct diag d;

    if (parse(text, &f, &d) != 0)
        fail_msg("%s", d.text);
    assert_string_equal(f.spec.name, "hello");
    assert_string_equal(f.command, "/app/server --port \"30 00\"");
    assert_int_equal(f.spec.mode, SPEC_MODE_HTTP);
    assert_int_equal(f.spec.port, 8080);
    assert_string_equal(f.user, "app");
    assert_string_equal(f.spec.application, "my shop");
    assert_int_equal(f.spec.writable, 1);
    assert_string_equal(f.env_file, "conf/.env");
    assert_int_equal(f.spec.keep, 7);
    assert_int_equal(f.spec.memory_bytes, 256 << 20);
    assert_int_equal(f.spec.cpu_milli, 500);
    assert_int_equal(f.spec.pids, 32);
    assert_int_equal(f.spec.tmp_bytes, 16 << 20);
    assert_int_equal(f.spec.timeout_ns, 1500 * NS_PER_MS);
    assert_int_equal(f.spec.concurrency, 9);
    assert_int_equal(f.spec.queue, 11);
    assert_int_equal(f.spec.queue_timeout_ns, 2 * NS_PER_SEC);
    assert_int_equal(f.spec.stream_idle_ns, 60 * NS_PER_SEC);
    assert_int_equal(f.spec.scale_min, 2);
    assert_int_equal(f.spec.scale_max, 3);
    assert_string_equal(f.spec.health_path, "/healthz?x=1");
    assert_int_equal(f.spec.health_interval_ns, 250 * NS_PER_MS);
    assert_int_equal(f.spec.health_threshold, 4);
    assert_int_equal(f.env.count, 3);
    assert_string_equal(f.env.items[0], "GREETING=hello");
    assert_string_equal(f.env.items[1], "A_b.c-d= x ");
    assert_string_equal(f.env.items[2], "EMPTY=");
    function_ini_done(&f);
}

static void test_defaults(void **state)
{
    struct spec *want = calloc(1, sizeof(*want));
    struct function_ini f;
    struct diag d;

    spec_init(want);
    assert_int_equal(parse("", &f, &d), 0);
    assert_memory_equal(&f.spec, want, sizeof(*want));
    assert_string_equal(f.command, "");
    function_ini_done(&f);
    assert_int_equal(parse("[health]\npath = none\n", &f, &d), 0);
    assert_string_equal(f.spec.health_path, "");
    function_ini_done(&f);
    free(want);
}

static void test_allow(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        {"[sandbox]\nallow =\n", 0},
        {"[sandbox]\nallow = , ,\n", 0},
        {"[sandbox]\nallow = ptrace\n", ALLOW_BIT(ALLOW_PTRACE)},
        {"[sandbox]\nallow = ptrace,io_uring netlink-route\n", ALLOW_BIT(ALLOW_PTRACE) | ALLOW_BIT(ALLOW_IO_URING) | ALLOW_BIT(ALLOW_NETLINK_ROUTE)},
        {"[sandbox]\nallow = numa numa\n", ALLOW_BIT(ALLOW_NUMA)},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct function_ini f;
        struct diag d;

        assert_int_equal(parse(cases[i].text, &f, &d), 0);
        assert_int_equal(f.spec.allow, cases[i].want);
        function_ini_done(&f);
    }
}

static void test_devices(void **state)
{
    struct function_ini f;
    struct diag d;

    assert_int_equal(parse("[sandbox]\ndevices = /dev/dri/renderD128, /dev/nvidia0\n", &f, &d), 0);
    assert_int_equal(f.spec.ndevices, 2);
    assert_string_equal(f.spec.devices[0].path, "/dev/dri/renderD128");
    assert_string_equal(f.spec.devices[1].path, "/dev/nvidia0");
    function_ini_done(&f);
    assert_int_equal(parse("[sandbox]\ndevices =\n", &f, &d), 0);
    assert_int_equal(f.spec.ndevices, 0);
    function_ini_done(&f);
}

static void test_runtime(void **state)
{
    struct function_ini f;
    struct diag d;

    assert_int_equal(parse("[function]\nruntime = python\nhandler = a.b:main\nuser = 33\n", &f, &d), 0);
    assert_string_equal(f.spec.runtime, "python");
    assert_string_equal(f.spec.handler, "a.b:main");
    function_ini_done(&f);
    assert_int_equal(parse("[function]\nruntime = python\ncommand = ./serve -x\n", &f, &d), 0);
    assert_string_equal(f.spec.handler, "");
    function_ini_done(&f);
}

static void test_later(void **state)
{
    static const char *const cases[] = {
        "[function]\nmode = stdio\n", "[scale]\ntarget = 8\n", "[scale]\nidle = 5m\n", "[cron nightly]\nschedule = 0 3 * * *\n", "[cron]\nanything = 1\n",
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_refused(cases[i], ENOTSUP, "needs a later version of fnd");
        expect_refused(cases[i], ENOTSUP, "function.ini:2: [");
    }
}

static void test_refused(void **state)
{
    static const char *const cases[][2] = {
        {"[secrets]\nnames =\n", "function.ini:2: [secrets] names: is empty"},
        {"[secrets]\nnames = a ../b\n", "function.ini:2: [secrets] names: \"../b\" is no name"},
        {"[secrets]\nnames = a b c d e f g h i j k l m n o p q\n", "function.ini:2: [secrets] names: at most 16 secrets"},
        {"[secrets]\nnames = a, A\n", "function.ini:2: [secrets] names: A is there twice"},
        {"[function]\nnmae = x\n", "function.ini:2: [function] has no key nmae: known are name runtime"},
        {"[functions]\nname = x\n", "function.ini:2: there is no section [functions]"},
        {"[crony]\nname = x\n", "there is no section [crony]"},
        {"name = x\n", "function.ini:1: name stands before any section"},
        {"[function]\nname = a\n\nname = b\n", "function.ini:4: [function] name comes twice"},
        {"[function]\nname = -x\n", "is no name"},
        {"[function]\nname = a.b\n", "is no name"},
        {"[function]\nname = a23456789012345678901234567890123456789012345678901234567x\n", "is no name"},
        {"[function]\nname =\n", "is no name"},
        {"[function]\nruntime = ../../etc\n", "is no name"},
        {"[function]\nruntime = a/b\n", "is no name"},
        {"[function]\nruntime =\n", "is no name"},
        {"[function]\nhandler = a.b\n", "function.ini:2: [function] handler: it needs a runtime"},
        {"[function]\nhandler = a\nruntime = r\ncommand = x\n", "function.ini:2: [function] handler: command is there too"},
        {"[function]\nruntime = r\nuser = www-data\n", "function.ini:3: [function] user: it is a name, and a package with a runtime has no passwd"},
        {"[function]\ncommand =\n", "the command is empty"},
        {"[function]\ncommand = 'a\n", "not closed"},
        {"[function]\ncommand = a \\\n", "backslash at the end"},
        {"[function]\nmode = tcp\n", "\"tcp\" is not known: say http"},
        {"[function]\naccess = secret\n", "\"secret\" is not known: say public"},
        {"[function]\nport = 0\n", "too small"},
        {"[function]\nport = 65536\n", "too large"},
        {"[function]\nport = 99999999999999999999\n", "too large"},
        {"[function]\nport = -1\n", "is not a whole number"},
        {"[function]\nport = 80 # web\n", "is not a whole number"},
        {"[function]\nuser =\n", "is empty"},
        {"[function]\napplication = 0123456789012345678901234567890123456789012345678901234567890123\n", "is too long"},
        {"[function]\nwritable = maybe\n", "is not yes or no"},
        {"[function]\nenv_file = /etc/env\n", "no path inside the package"},
        {"[function]\nenv_file = a/../../b\n", "no path inside the package"},
        {"[function]\nkeep = 0\n", "too small"},
        {"[limits]\nmemory = 1M\n", "too small"},
        {"[limits]\nmemory = lots\n", "is not a size"},
        {"[limits]\ncpu = 0\n", "too small"},
        {"[limits]\nmemory_high = 128M\n", "memory_high = 128M is not below memory = 128M"},
        {"[limits]\nmemory_high = 4K\n", "at least 1M"},
        {"[limits]\nmemory_high = much\n", "is not a size"},
        {"[limits]\nio = 100\n", "at least 64K"},
        {"[limits]\nio = 10M/s\n", "is not a size"},
        {"[limits]\ncpu = 1 cpu\n", "is not a number of CPUs"},
        {"[limits]\ntimeout = 60 s\n", "is not a duration"},
        {"[limits]\ntimeout = 0\n", "too small"},
        {"[scale]\nmin = 11\n", "min = 11 is above max = 10"},
        {"[scale]\nmax = 0\n", "too small"},
        {"[health]\npath = ping\n", "neither a path"},
        {"[health]\npath = /a b\n", "neither a path"},
        {"[health]\npath = /\xc3\xa9\n", "neither a path"},
        {"[network]\nmesh = perhaps\n", "\"perhaps\" is not yes or no"},
        {"[sandbox]\nallow = everything\n", "function.ini:2: [sandbox] allow: \"everything\" is not known: known words are netlink-route ptrace io_uring"},
        {"[sandbox]\nallow = ptrace ptrac\n", "\"ptrac\" is not known"},
        {"[sandbox]\ndevices = /dev/mem\n", "function.ini:2: [sandbox] devices: /dev/mem is given to no function: the memory"},
        {"[sandbox]\ndevices = /dev/dri/../mem\n", "is no name of a device"},
        {"[sandbox]\ndevices = renderD128\n", "is no name of a device"},
        {"[sandbox]\ndevices = /dev/a, /dev/a\n", "/dev/a comes twice"},
        {"[sandbox]\ndevices = /dev/a /dev/b /dev/c /dev/d /dev/e /dev/f /dev/g /dev/h /dev/i\n", "more than 8 devices"},
        {"[sandbox]\nallow = PTRACE\n", "\"PTRACE\" is not known"},
        {"[env]\n1A = x\n", "[env]: \"1A\" is no name for a variable"},
        {"[env]\nA B = x\n", "is no name for a variable"},
        {"[env]\nA = x\nA = y\n", "function.ini:3: [env] A comes twice"},
        {"[env]\nA = x ; y\n", "env_file"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect_refused(cases[i][0], EINVAL, cases[i][1]);
}

/* What is let through here is let through by the runner's gate too. */
static void test_bounds(void **state)
{
    static const char *const lowest =
        "[function]\nport=1\nkeep=1\n[limits]\nmemory=4M\ncpu=10m\npids=4\ntmp=64K\ntimeout=1ms\nconcurrency=0\nqueue=0\nqueue_timeout=0\nstream_idle=0\n"
        "[scale]\nmin=0\nmax=1\n[health]\ninterval=10ms\nthreshold=1\n";
    static const char *const highest = "[function]\nport=65535\nkeep=1000\n[limits]\nmemory=65536G\ncpu=1024\npids=4194304\ntmp=65536G\ntimeout="
                                       "24h\nconcurrency=100000\nqueue=1000000\nqueue_timeout=24h\nstream_idle=24h\n"
                                       "[scale]\nmin=10000\nmax=10000\n[health]\ninterval=24h\nthreshold=1000\n";

    for (int i = 0; i < 2; i++) {
        struct function_ini f;
        struct spec *s;
        struct diag d;

        if (parse(i ? highest : lowest, &f, &d) != 0)
            fail_msg("%s", d.text);
        s = calloc(1, sizeof(*s) + 2);
        memcpy(s, &f.spec, sizeof(*s));
        s->strings[0] = 'x';
        s->strings_len = 2;
        s->argc = 1;
        if (spec_check(s, spec_size(s), &d) != 0)
            fail_msg("%s", d.text);
        free(s);
        function_ini_done(&f);
    }
}

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
        cmocka_unit_test(test_runtime), cmocka_unit_test(test_every_key),      cmocka_unit_test(test_sets),
        cmocka_unit_test(test_volumes), cmocka_unit_test(test_defaults),       cmocka_unit_test(test_later),
        cmocka_unit_test(test_allow),   cmocka_unit_test(test_devices),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bounds),  cmocka_unit_test(test_words),          cmocka_unit_test(test_words_refused),
        cmocka_unit_test(test_dotenv),  cmocka_unit_test(test_dotenv_refused), cmocka_unit_test(test_dotenv_prefixes),
        cmocka_unit_test(test_env_set), cmocka_unit_test(test_user),           cmocka_unit_test(test_entry_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
