/* The server of mode stdio, in its pure parts: heads, bodies, variables, the document of marshal_request, the settings. */
#include "unit/check.h"

#include "../../runner/init/fn_init.h"
#include "../../runner/init/stdio_vars.h"
#include "watchdog.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A copy that ends where memory does: reading behind it is a crash. */
static char *at_edge(const char *text, size_t len)
{
    const size_t page = 4096, pages = (len / page + 1) * page;
    char *map = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + pages, page, PROT_NONE), 0);
    memcpy(map + pages - len, text, len);
    return map + pages - len;
}

static void edge_free(char *at, size_t len)
{
    const size_t page = 4096, pages = (len / page + 1) * page;

    munmap(at + len - pages, pages + page);
}

static int parse(const char *text, struct stdio_request *r)
{
    const size_t len = strlen(text);
    char *at = at_edge(text, len);
    int n;

    for (size_t i = 0; i < len; i++) { /* every prefix: needs more, or is refused as the whole is */
        char *prefix = at_edge(text, i);

        n = stdio_head_parse(prefix, i, r);
        edge_free(prefix, i);
        if (n != 0)
            break;
    }
    n = stdio_head_parse(at, len, r);
    edge_free(at, len);
    return n;
}

static void test_heads(void **state)
{
    static const char good[] = "POST /a/b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nX-A:  v w \t\r\nContent-Type: a/b\r\nConnection: x, Close\r\n\r\n";
    static const char twice[] = "GET / HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nExpect: 100-Continue\r\nContent-Type: c/d\r\n\r\n";
    struct stdio_request r;
    char *at = at_edge(good, strlen(good));

    for (size_t i = 0; i < strlen(good); i++) {
        char *prefix = at_edge(good, i);

        assert_int_equal(stdio_head_parse(prefix, i, &r), 0);
        edge_free(prefix, i);
    }
    assert_int_equal(stdio_head_parse(at, strlen(good), &r), (int)strlen(good));
    assert_true(stdio_text_is(r.method, "POST") && stdio_text_is(r.path, "/a/b") && stdio_text_is(r.query, "x=1") && stdio_text_is(r.host, "h"));
    assert_true(stdio_text_is(r.type, "a/b") && stdio_text_is(*stdio_head_field(&r, "x-a"), "v w") && r.length == 12 && r.close && !r.chunked);
    assert_int_equal(r.nfields, 5);
    edge_free(at, strlen(good));
    assert_int_equal(stdio_head_parse(twice, strlen(twice), &r), (int)strlen(twice));
    assert_true(r.expects && stdio_text_is(r.type, "a/b"));
    assert_true(parse("GET / HTTP/1.0\r\n\r\n", &r) > 0 && r.http10 && r.close);
    assert_true(parse("GET / HTTP/1.1\r\nHost: h\r\n\r\n", &r) > 0 && !r.http10 && !r.close);
}

static void test_bad_heads(void **state)
{
    static const struct {
        const char *head;
        int status;
    } bad[] = {
        {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET x HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", -400},
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", -505},
        {"GET / HTTP/1.2\r\nHost: h\r\n\r\n", -505},
        {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET /a\x01 HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET /a\x7f HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET /a\t HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7f\r\n\r\n", -400},
        {"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", -400},
        {"GET / HTTP/1.1\nHost: h\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: a\x01\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", -501},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", -501},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n", -417},
    };
    struct stdio_request r;

    for (size_t i = 0; i < COUNT(bad); i++)
        if (parse(bad[i].head, &r) != bad[i].status)
            fail_msg("%s: not %d", bad[i].head, bad[i].status);
}

static void test_long_heads(void **state)
{
    static char head[STDIO_HEAD_MAX + 64];
    struct stdio_request r;
    int n = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: h\r\nX: ");

    memset(head + n, 'x', sizeof(head) - (size_t)n);
    assert_int_equal(stdio_head_parse(head, STDIO_HEAD_MAX - 1, &r), 0);
    assert_int_equal(stdio_head_parse(head, STDIO_HEAD_MAX, &r), -431);
    n = snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 1; i < STDIO_FIELDS_MAX; i++)
        n += snprintf(head + n, sizeof(head) - (size_t)n, "A: b\r\n");
    memcpy(head + n, "\r\n", 3);
    assert_int_equal(stdio_head_parse(head, (size_t)n + 2, &r), n + 2);
    memcpy(head + n, "A: b\r\n\r\n", 9);
    assert_int_equal(stdio_head_parse(head, (size_t)n + 8, &r), -431);
}

/* Behind what is in `out`, which has room for 512. */
static void add(char *out, const char *data, size_t len)
{
    const size_t at = strlen(out);

    assert_true(at + len < 512);
    memcpy(out + at, data, len);
    out[at + len] = '\0';
}

/* Taken in pieces of `step` bytes; the payload, "!" for a broken one, "..." behind one that has not ended. */
static void chunked(const char *wire, size_t step, char *out)
{
    const struct stdio_request r = {.chunked = true};
    size_t len = strlen(wire), at = 0;
    struct stdio_body b;

    out[0] = '\0';
    stdio_body_init(&b, &r);
    while (at < len && !b.done) {
        const size_t n = len - at < step ? len - at : step;
        char *piece = at_edge(wire + at, n);
        size_t payload;
        const int64_t used = stdio_body_take(&b, piece, n, &payload);

        add(out, piece, payload);
        edge_free(piece, n);
        if (used < 0) {
            add(out, "!", 1);
            return;
        }
        at += (size_t)used;
    }
    if (!b.done)
        add(out, "...", 3);
    else
        add(out, wire + at, strlen(wire + at));
}

static void test_bodies(void **state)
{
    static const struct {
        const char *wire, *payload;
    } cases[] = {
        {"0\r\n\r\n", ""},
        {"3\r\nabc\r\n0\r\n\r\nGET", "abcGET"},
        {"3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\nU: y\r\n\r\n|", "abc0123456789|"},
        {"3\r\nab", "ab..."},
        {"3\r\nabcd", "!"},
        {"\r\n", "!"},
        {"x\r\n", "!"},
        {"3\nabc", "!"},
        {"3\rXabc\r\n0\r\n\r\n", "!"},
        {"3\r\nabc\rX0\r\n\r\n", "!"},
        {"3\r\nabcX\n0\r\n\r\n", "!"},
        {"3\r\nabc\r\n0\r\n\rx", "!"},
        {"FFFFFFFFFFFFFFFFF\r\n", "!"},
        {"0\r\nT: \x01\r\n\r\n", "!"},
    };
    char out[512];

    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t step = 1; step < 40; step++) {
            chunked(cases[i].wire, step, out);
            if (strcmp(cases[i].payload, "!") == 0)
                assert_int_equal(out[strlen(out) - 1], '!');
            else
                assert_string_equal(out, cases[i].payload);
        }
}

/* Extensions and trailers are dropped, as long as they are short. */
static void test_skipped(void **state)
{
    static const char *const begins[] = {"3;", "0\r\nT: "};
    const struct stdio_request r = {.chunked = true};

    for (size_t i = 0; i < COUNT(begins); i++)
        for (size_t n = 8000; n <= 9000; n += 1000) {
            char wire[10000];
            struct stdio_body b;
            size_t payload, len = strlen(begins[i]);

            memcpy(wire, begins[i], len);
            memset(wire + len, 'x', n);
            stdio_body_init(&b, &r);
            assert_int_equal(stdio_body_take(&b, wire, len + n, &payload), n == 8000 ? (int64_t)(len + n) : -1);
        }
}

static void make_vars(const char *head, char *out, size_t size)
{
    static char text[65536];
    char *list[64];
    struct stdio_request r;
    struct stdio_vars v = {.list = list, .max = COUNT(list), .text = text, .size = sizeof(text)};

    assert_true(stdio_head_parse(head, strlen(head), &r) > 0);
    assert_int_equal(stdio_vars_make(&v, &r), 0);
    out[0] = '\0';
    for (size_t i = 0; i < v.count; i++)
        snprintf(out + strlen(out), size - strlen(out), "%s\n", list[i]);
    assert_null(list[v.count]);
}

static void test_vars(void **state)
{
    char out[4096];

    make_vars("GET /a%20b%2Fc?q=%31 HTTP/1.1\r\nHost: h:80\r\nx-tEST-a: 1\r\nX-Test-A: 2\r\nX_1: forged\r\nX-1: 3\r\nMethod: forged\r\nPROXY: "
              "evil\r\nlower_case: 4\r\n\r\n",
              out, sizeof(out));
    assert_string_equal(out, "Http_Method=GET\nHttp_Host=h:80\nHttp_ContentLength=0\nHttp_Content_Length=0\nHttp_Query=q=%31\nHttp_Path=/a b/c\n"
                             "Http_X_Test_A=1\nHttp_X_1=3\nHttp_Lower_case=4\n");
    make_vars("POST /%00x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", out, sizeof(out));
    assert_string_equal(out, "Http_Method=POST\nHttp_Host=h\nHttp_ContentLength=-1\nHttp_Content_Length=-1\nHttp_Transfer_Encoding=chunked\nHttp_Path=/%00x\n");
    make_vars("POST /%4 HTTP/1.0\r\nContent-Length: 123456789012\r\n\r\n", out, sizeof(out));
    assert_string_equal(out, "Http_Method=POST\nHttp_ContentLength=123456789012\nHttp_Content_Length=123456789012\nHttp_Path=/%4\n");
}

/* Whatever room there is, it is enough or -E2BIG. */
static void test_vars_room(void **state)
{
    static const char head[] = "GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 2\r\n\r\n";
    struct stdio_request r;
    bool fitted = false;

    assert_true(stdio_head_parse(head, strlen(head), &r) > 0);
    for (size_t size = 1; size < 256; size++) {
        char *list[32], *text = malloc(size);
        struct stdio_vars v = {.list = list, .max = COUNT(list), .text = text, .size = size};
        const int e = stdio_vars_make(&v, &r);

        assert_true(e == 0 || e == -E2BIG);
        assert_true(e == 0 || !fitted);
        fitted |= e == 0;
        free(text);
    }
    for (size_t max = 1; max < 12; max++) {
        char **list = calloc(max, sizeof(*list)), text[512];
        struct stdio_vars v = {.list = list, .max = max, .text = text, .size = sizeof(text)};

        assert_int_equal(stdio_vars_make(&v, &r), max >= 9 ? 0 : -E2BIG);
        free(list);
    }
    assert_true(fitted);
}

static int append(void *arg, const char *data, size_t len)
{
    add(arg, data, len);
    return 0;
}

static void test_marshal(void **state)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\nx-a: 1\r\nX-B: q\"\\\t\xc3\xa9\xff\r\nX-A: 2\r\n\r\n";
    static const char *const raw[] = {"", "YQ==", "YWI=", "YWJj", "YWJjZA=="};
    struct stdio_request r;

    assert_true(stdio_head_parse(head, strlen(head), &r) > 0);
    for (size_t n = 0; n < COUNT(raw); n++) {
        char out[512] = "", expected[512];
        struct stdio_marshal m = {.sink = append, .arg = out};

        assert_int_equal(stdio_marshal_begin(&m, &r), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(stdio_marshal_body(&m, "abcd" + i, 1), 0);
        assert_int_equal(stdio_marshal_end(&m), 0);
        snprintf(expected, sizeof(expected), "{\"header\":{\"X-A\":[\"1\",\"2\"],\"X-B\":[\"q\\\"\\\\\\u0009\xc3\xa9\\ufffd\"]},\"body\":{\"raw\":\"%s\"}}",
                 raw[n]);
        assert_string_equal(out, expected);
    }
}

/* What stands in a value, in the document: UTF-8 as it came (RFC 3629), all else so that any reader of JSON takes it. */
static void test_marshal_values(void **state)
{
    static const struct {
        const char *value, *quoted;
    } cases[] = {
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xc0\xafx", "\\ufffd\\ufffdx"}, /* overlong */
        {"\xe0\x80\xafx", "\\ufffd\\ufffd\\ufffdx"},
        {"\xf0\x80\x80\xafx", "\\ufffd\\ufffd\\ufffd\\ufffdx"},
        {"\xed\xa0\x80x", "\\ufffd\\ufffd\\ufffdx"},            /* a surrogate */
        {"\xf4\x90\x80\x80x", "\\ufffd\\ufffd\\ufffd\\ufffdx"}, /* behind U+10FFFF */
        {"\xf5x", "\\ufffdx"},
        {"x\xe2\x82", "x\\ufffd\\ufffd"}, /* cut off by the end */
        {"\xe2(\xa1", "\\ufffd(\\ufffd"},
        {"a\tb", "a\\u0009b"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[512] = "", expected[512];
        struct stdio_marshal m = {.sink = append, .arg = out};
        char *value = at_edge(cases[i].value, strlen(cases[i].value)); /* reading behind it is a crash */
        const struct stdio_request r = {.nfields = 1, .fields = {{{"X", 1}, {value, strlen(cases[i].value)}}}};

        assert_int_equal(stdio_marshal_begin(&m, &r), 0);
        assert_int_equal(stdio_marshal_end(&m), 0);
        snprintf(expected, sizeof(expected), "{\"header\":{\"X\":[\"%s\"]},\"body\":{\"raw\":\"\"}}", cases[i].quoted);
        assert_string_equal(out, expected);
        edge_free(value, strlen(cases[i].value));
    }
}

static void test_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {{"0", 0},      {"20", 20000000000}, {"20s", 20000000000},  {"1m30s", 90000000000}, {"1.5s", 1500000000}, {"250ms", 250000000},
                {"5us", 5000}, {"7ns", 7},          {"1h", 3600000000000}, {".5s", 500000000}};
    static const char *const bad[] = {
        "", "x", "s", "1x", "1m30", "20h20h", "86401s", "86401", "-1s", "1 s", "1.", ".", ".s", "100000h", "99999999999999999999", "99999999999999999999s"};
    uint64_t ns;

    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(watchdog_duration(good[i].text, strlen(good[i].text), &ns), 0);
        assert_true(ns == good[i].ns);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        if (watchdog_duration(bad[i], strlen(bad[i]), &ns) != -EINVAL)
            fail_msg("%s is taken", bad[i]);
}

static void test_settings(void **state)
{
    static const char *const bad[] = {"mode=http",         "exec_timeout=soon",  "max_inflight=many", "max_inflight=", "max_inflight=99999999999",
                                      "write_debug=maybe", "content_type=a\r\nb"};
    struct watchdog w;

    watchdog_init(&w);
    assert_true(w.cgi_headers && !w.combine_output && w.mode == WATCHDOG_CLASSIC);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_non_null(watchdog_take(&w, bad[i]));
    assert_null(watchdog_take(&w, "mode=streaming"));
    assert_null(watchdog_take(&w, "exec_timeout=1m"));
    assert_null(watchdog_take(&w, "combine_output=true"));
    assert_null(watchdog_take(&w, "cgi_headers=false"));
    assert_null(watchdog_take(&w, "max_inflight=7"));
    assert_null(watchdog_take(&w, "fprocess=cat x"));
    assert_null(watchdog_take(&w, "modest=x"));
    assert_null(watchdog_take(&w, "mod=x"));
    assert_true(w.mode == WATCHDOG_STREAMING && w.exec_timeout_ns == 60000000000 && w.combine_output && !w.cgi_headers && w.max_inflight == 7);
    assert_string_equal(w.fprocess, "cat x");
}

/* Empty is as if it were not there; the words for yes and no. */
static void test_settings_forms(void **state)
{
    static const char *const yes[] = {"suppress_lock=true", "suppress_lock=1", "suppress_lock=yes"}, *const no[] = {"cgi_headers=false", "cgi_headers=0",
                                                                                                                    "cgi_headers=no", "cgi_headers="};
    char type[300] = "content_type=";
    struct watchdog w;

    for (size_t i = 0; i < COUNT(yes); i++) {
        watchdog_init(&w);
        assert_null(watchdog_take(&w, yes[i]));
        assert_true(w.suppress_lock);
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        watchdog_init(&w);
        assert_null(watchdog_take(&w, no[i]));
        assert_false(w.cgi_headers);
    }
    watchdog_init(&w);
    assert_null(watchdog_take(&w, "content_type="));
    assert_null(watchdog_take(&w, "fprocess="));
    assert_null(watchdog_take(&w, "mode="));
    assert_true(!w.content_type && !w.fprocess && w.mode == WATCHDOG_CLASSIC);
    assert_null(watchdog_take(&w, "mode=serializing"));
    assert_null(watchdog_take(&w, "healthcheck_interval=7"));
    assert_true(w.mode == WATCHDOG_SERIALIZING && w.healthcheck_ns == 7000000000);
    memset(type + strlen(type), 'x', 200);
    assert_null(watchdog_take(&w, type));
    type[strlen(type)] = 'x';
    assert_non_null(watchdog_take(&w, type));
}

/* What each call of the lock gets with this key: 0, or its errno. clone3 is asked for with a size of nothing, which the kernel refuses (EINVAL) when it gets to see it. */
static bool locked_as(const struct init_key *k, int ids, int clone3)
{
    const int got[] = {
        syscall(SYS_setresuid, -1, -1, -1, k->word[0], k->word[1]) < 0 ? errno : 0,
        syscall(SYS_setresgid, -1, -1, -1, k->word[0], k->word[1]) < 0 ? errno : 0,
        syscall(SYS_clone3, NULL, 0, 0, k->word[0], k->word[1]) < 0 ? errno : 0,
    };

    return got[0] == ids && got[1] == ids && got[2] == clone3;
}

/* In a child, since the filter stays: 0, or the line of what was wrong. */
static int try_key(void)
{
    const struct init_key key = {.word = {0x0123456789abcdef, 0xfedcba9876543210}};
    struct init_key wrong;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || init_filter_keyed(&key) < 0)
        return __LINE__;
    if (!locked_as(&key, 0, EINVAL))
        return __LINE__;
    for (unsigned bit = 0; bit < 128; bit++) {
        wrong = key;
        wrong.word[bit / 64] ^= UINT64_C(1) << bit % 64;
        if (!locked_as(&wrong, EPERM, ENOSYS))
            return __LINE__;
    }
    wrong = (struct init_key){0};
    if (!locked_as(&wrong, EPERM, ENOSYS))
        return __LINE__;
    if (syscall(SYS_setuid, getuid(), 0, 0, key.word[0], key.word[1]) == 0 || errno != EPERM || syscall(SYS_capset, NULL, NULL) == 0 || errno != EPERM)
        return __LINE__;
    return getpid() > 0 ? 0 : __LINE__;
}

/* Every one of the 128 bits counts; what has no key is refused whatever is said. */
static void test_keyed_filter(void **state)
{
    const pid_t child = fork();
    int status;

    (void)state;
    if (child == 0)
        _exit(try_key() & 0xff);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- ids ---- */

/* What a child of ours called between its stop and its end: numbers and three arguments; how many. */
static unsigned watch_calls(pid_t child, struct __ptrace_syscall_info *calls, unsigned max)
{
    struct __ptrace_syscall_info info;
    unsigned n = 0;
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
    while (ptrace(PTRACE_SYSCALL, child, NULL, NULL) == 0 && waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info) > 0);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY && n < max)
            calls[n++] = info;
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return n;
}

/* Its memory is made unreadable while the saved uid still protects it: what comes last changes the real and the saved uid alone, which leaves the flag as it is. */
static void test_ids_become(void **state)
{
    const struct init_key key = {.word = {1, 2}};
    struct __ptrace_syscall_info calls[16] = {0};
    const pid_t child = fork();
    const uint32_t uid = getuid(), keep = UINT32_MAX;
    unsigned n, at = 0;

    (void)state;
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME) < 0 || raise(SIGSTOP) != 0)
            _exit(1);
        _exit(init_ids_become(uid, getgid(), &key) < 0 || prctl(PR_GET_DUMPABLE) != 0);
    }
    n = watch_calls(child, calls, 16);
    while (at < n && calls[at].entry.nr != SYS_setresgid)
        at++;
    assert_true(at + 3 < n);
    assert_int_equal(calls[at + 1].entry.nr, SYS_setresuid);
    assert_int_equal((uint32_t)calls[at + 1].entry.args[0], keep);
    assert_int_equal((uint32_t)calls[at + 1].entry.args[1], uid);
    assert_int_equal((uint32_t)calls[at + 1].entry.args[2], keep);
    assert_int_equal(calls[at + 2].entry.nr, SYS_prctl);
    assert_int_equal(calls[at + 2].entry.args[0], PR_SET_DUMPABLE);
    assert_int_equal(calls[at + 2].entry.args[1], 0);
    assert_int_equal(calls[at + 3].entry.nr, SYS_setresuid);
    assert_int_equal((uint32_t)calls[at + 3].entry.args[2], uid);
    for (unsigned i = at + 1; i <= at + 3; i += 2)
        assert_true(calls[i].entry.args[3] == key.word[0] && calls[i].entry.args[4] == key.word[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),          cmocka_unit_test(test_bad_heads),  cmocka_unit_test(test_long_heads), cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_skipped),        cmocka_unit_test(test_vars),       cmocka_unit_test(test_vars_room),  cmocka_unit_test(test_marshal),
        cmocka_unit_test(test_marshal_values), cmocka_unit_test(test_durations),  cmocka_unit_test(test_settings),   cmocka_unit_test(test_keyed_filter),
        cmocka_unit_test(test_settings_forms), cmocka_unit_test(test_ids_become),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
