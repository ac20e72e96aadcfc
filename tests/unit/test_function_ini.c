/* What a package says about itself: function.ini, its variables, its command, its user, and the names in an archive. */
#include "unit/check.h"

#include "../../runner/unpack/function_format.h"
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
        "[scale]\ntarget = 8\n",
        "[scale]\nidle = 5m\n",
        "[cron nightly]\nschedule = 0 3 * * *\n",
        "[cron]\nanything = 1\n",
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

static struct spec *reparse(const struct strbuf *ini, const struct strbuf *sets)
{
    struct spec *s = malloc(sizeof(*s));
    struct function_ini f;
    struct diag d;

    if (parse(ini->data, &f, &d) != 0 || (sets->data && function_sets_label(&f, sets->data, &d) != 0))
        fail_msg("%s\n%s%s", d.text, ini->data, sets->data ? sets->data : "");
    assert_non_null(s);
    memcpy(s, &f.spec, sizeof(*s));
    function_ini_done(&f);
    return s;
}

/* Where they stand in a text, and what an image's configuration says, is not what is compared. */
static void forget(struct spec *s)
{
    s->http.hosts_line = s->http.paths_line = 0;
    memset(s->runtime, 0, sizeof(s->runtime));
    memset(s->handler, 0, sizeof(s->handler));
}

static void expect_way_back(const char *text, const char *set, bool long_ones)
{
    cleanup_strbuf struct strbuf ini = {0}, sets = {0};
    struct function_ini f;
    struct spec *again;
    struct diag d;

    if (parse_sets(text, set, set ? strlen(set) + 1 : 0, &f, &d) != 0 || function_ini_format(&f.spec, &ini, &sets, &d) != 0)
        fail_msg("%s", d.text);
    assert_int_equal(sets.len > 0, long_ones);
    again = reparse(&ini, &sets);
    forget(again);
    forget(&f.spec);
    if (memcmp(again, &f.spec, sizeof(*again)) != 0)
        fail_msg("another spec:\n%s\nbecame\n%s%s", text, ini.data, sets.data ? sets.data : "");
    free(again);
    function_ini_done(&f);
}

static void test_way_back(void **state)
{
    static const char *const texts[] = {
        "",
        "[function]\nname=x\nruntime=python\nhandler=app:main\n",
        "[function]\nname=Hello_1\nmode=stdio\nport=80\napplication=shop \xc3\xa9\naccess=private\nwritable=yes\nkeep=2\n",
        "[limits]\nmemory=77M\nmemory_high=70000K\ncpu=1.25\npids=5\ntmp=65537\nio=3G\ntimeout=1500ms\nconcurrency=1\nqueue=0\nqueue_timeout=2m\nstream_idle="
        "0\nbody=1\n",
        "[limits]\ntimeout=0.0015s\ncpu=10m\nstream_idle=1h\n[scale]\nmin=1\nmax=1\n[health]\npath=none\ninterval=10ms\nthreshold=9\n",
        "[network]\negress=no\nmesh=yes\nipv6=yes\nservices=db=192.0.2.7:5432 cache=192.0.2.8:6379\n",
        "[network]\negress=lan\n",
        "[network]\negress=API.example.org:443, [2001:db8::1]:80 192.0.2.1:53\nipv6=yes\n",
        "[http]\nhosts=A.example.org *.example.net\npaths=GET /a POST PUT /b /c HEAD /d\ncors=*\nrate=7/m burst 3\nrate_client=1000000/s\n",
        "[http]\nhosts=a.example.org\npaths=GET HEAD POST PUT PATCH DELETE OPTIONS /all\ncors=https://a.example.org http://b:8080\ncors_methods=GET "
        "HEAD\ncors_headers=X-A,X-B\n"
        "cors_credentials=yes\nrate=86401/d\nrate_client=3/h\n",
        "[secrets]\nnames=a,b-c d_e\n[volumes]\ndata=/data 1G\nmore=/srv/more 1000K\n[sandbox]\nallow=ptrace numa\ndevices=/dev/dri/renderD128, /dev/video0\n",
    };

    for (size_t i = 0; i < COUNT(texts); i++)
        expect_way_back(texts[i], NULL, false);
    expect_way_back("[function]\nname=x\n", "function.application=a ; b", true);
    expect_way_back("[function]\nname=x\n", "function.application= a", true);
    expect_way_back("[function]\nname=x\napplication=;a\n", NULL, true);
    expect_way_back("[http]\ncors_methods=GET\n",
                    "http.cors=https://a-rather-long-name-that-does-not-end-soon.a-rather-long-name-that-does-not-end-soon.example.org "
                    "https://a-rather-long-name-that-does-not-end-soon.a-rather-long-name-that-does-not-end-soon.example.net",
                    true);
    expect_way_back("[function]\nname=x\n",
                    "network.egress=one.a-rather-long-name.example.org:443 two.a-rather-long-name.example.org:443 three.a-rather-long-name.example.org:443 "
                    "four.a-rather-long-name.example.org:443 five.a-rather-long-name.example.org:443 six.a-rather-long-name.example.org:443",
                    true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_way_back), cmocka_unit_test(test_runtime),  cmocka_unit_test(test_every_key), cmocka_unit_test(test_sets),
        cmocka_unit_test(test_volumes),  cmocka_unit_test(test_defaults), cmocka_unit_test(test_later),     cmocka_unit_test(test_allow),
        cmocka_unit_test(test_devices),  cmocka_unit_test(test_refused),  cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
