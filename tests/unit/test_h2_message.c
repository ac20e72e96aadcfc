/* Heads of HTTP/2 as text of HTTP/1.1 and back: what may be said, what is refused, and that whatever the cuts the same body comes out. */
#include "check.h"

#include "../../runner/gateway/h2/h2_message.h"
#include "../../runner/gateway/http/buffer.h"
#include "../../runner/gateway/http/head.h"
#include "http_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "name: value" lines; a pseudo-field's colon is its first character. */
static void feed(struct h2_block *b, const char *fields, uint32_t list_max)
{
    for (const char *line = fields; *line;) {
        const char *end = strchr(line, '\n'), *colon = strchr(line + 1, ':');
        size_t len = (size_t)(end - line);

        assert_true(end && colon && colon < end);
        h2_block_field(b, line, (size_t)(colon - line), colon + 2, len - (size_t)(colon + 2 - line), list_max);
        line = end + 1;
    }
}

#define START ":method: GET\n:scheme: http\n:path: /a?b\n"
#define HOST  ":authority: h.example\n"

static void good_requests(void **state)
{
    static const struct {
        const char *fields;
        bool ends;
        const char *text; /* without the last line, which all have */
    } good[] = {
        {START HOST, true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\n"},
        {":path: *\n:authority: h\n:scheme: https\n:method: OPTIONS\n", true, "OPTIONS * HTTP/1.1\r\nhost: h\r\n"},
        {START HOST "accept: */*\nx-a: \n", true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\naccept: */*\r\nx-a: \r\n"},
        {START "host: h.example\n", true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\n"},
        {START, true, "GET /a?b HTTP/1.1\r\n"}, /* the parser refuses it, as in HTTP/1.1 */
        {START HOST "host: H.Example\n", true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\n"},
        {START HOST "te: trailers\n", true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\nte: trailers\r\n"},
        {START HOST "cookie: a=1\nx: y\ncookie: b=2\ncookie: c=3; d=4\n", true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\nx: y\r\ncookie: a=1; b=2; c=3; d=4\r\n"},
        {START HOST "content-length: 12\n", false, "GET /a?b HTTP/1.1\r\nhost: h.example\r\ncontent-length: 12\r\n"},
        {START HOST "content-length: 0\n", true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\ncontent-length: 0\r\n"},
        {START HOST, false, "GET /a?b HTTP/1.1\r\nhost: h.example\r\ntransfer-encoding: chunked\r\n"},
        {":method: CONNECT\n:authority: h:443\n", true, "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n"}, /* 405 */
        {START HOST "x: a\tb \xc3\xa4\n", true, "GET /a?b HTTP/1.1\r\nhost: h.example\r\nx: a\tb \xc3\xa4\r\n"},
    };
    struct buffer *buf = malloc(sizeof(*buf)), *out = malloc(sizeof(*out));

    assert_true(buf && out);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct h2_block b;
        bool chunked = false;
        struct head h;
        size_t len = strlen(good[i].text);

        out->start = out->end = 0;
        h2_block_begin(&b, H2_BLOCK_REQUEST, buf);
        feed(&b, good[i].fields, 1000);
        assert_int_equal(h2_block_request(&b, good[i].ends, out, &chunked), H2_GOOD);
        assert_true(out->end == len + strlen("connection: close\r\n\r\n"));
        assert_memory_equal(out->data, good[i].text, len);
        assert_memory_equal(out->data + len, "connection: close\r\n\r\n", out->end - len);
        assert_int_equal(chunked, !good[i].ends && !strstr(good[i].fields, "content-length"));
        head_init(&h, HEAD_REQUEST);
        assert_int_equal(head_parse(&h, out->data, out->end), HEAD_DONE);
        assert_int_equal(h.len, out->end);
    }
    free(buf);
    free(out);
}

static void malformed_requests(void **state)
{
    static const char *const bad[] = {
        ":method: GET\n:scheme: http\n" HOST, /* no path */
        ":method: GET\n:path: /\n" HOST,      /* no scheme */
        ":scheme: http\n:path: /\n" HOST,     /* no method */
        START ":method: GET\n" HOST,          /* twice */
        START HOST ":path: /\n",
        START HOST HOST,
        START ":scheme: http\n" HOST,
        START "x: y\n" HOST,                 /* behind another field */
        START HOST ":protocol: websocket\n", /* not offered */
        START HOST ":status: 200\n",
        START HOST ":Path: /\n",
        ":method: G T\n:scheme: http\n:path: /\n" HOST,
        ":method: \n:scheme: http\n:path: /\n" HOST,
        ":method: GET\r\n:scheme: http\n:path: /\n" HOST,
        ":method: GET\n:scheme: ftp\n:path: /\n" HOST,
        ":method: GET\n:scheme: \n:path: /\n" HOST,
        ":method: GET\n:scheme: http\n:path: \n" HOST,
        ":method: GET\n:scheme: http\n:path: a\n" HOST,
        ":method: GET\n:scheme: http\n:path: http://h.example/\n" HOST,
        ":method: GET\n:scheme: http\n:path: *a\n" HOST,
        ":method: GET\n:scheme: http\n:path: / HTTP/1.1\n" HOST,
        ":method: GET\n:scheme: http\n:path: /\t\n" HOST,
        ":method: GET\n:scheme: http\n:path: /\r\n" HOST,
        ":method: GET\n:scheme: http\n:path: /\x7f\n" HOST,
        ":method: GET\n:scheme: http\n:path: /\xc3\xa4\n" HOST,
        ":method: GET\n:scheme: http\n:path: /a#b\n" HOST,
        START ":authority: \n",
        START ":authority: h x\n",
        START ":authority: h\r\n",
        START HOST "host: other\n",
        START HOST "host: h.example\nhost: h.example\n",
        START HOST "host: \n",
        START HOST "connection: close\n",
        START HOST "keep-alive: 1\n",
        START HOST "proxy-connection: close\n",
        START HOST "transfer-encoding: chunked\n",
        START HOST "upgrade: websocket\n",
        START HOST "te: gzip\n",
        START HOST "te: trailers, gzip\n",
        START HOST "te: trailers\nte: trailers\n",
        START HOST "Accept: a\n",
        START HOST "x y: a\n",
        START HOST "x\r: a\n",
        START HOST "x(: a\n",
        START HOST "x:  a\n", /* blanks around a value */
        START HOST "x: a \n",
        START HOST "x: a\t\n",
        START HOST "x: a\rb\n",
        START HOST "x: a\x01\n",
        START HOST "x: a\x7f\n",
        START HOST "cookie: a\rb\n",
        START HOST "content-length: 1\n", /* it ends with the head */
        START HOST "content-length: 0\ncontent-length: 0\n",
        START HOST "content-length: \n",
        START HOST "content-length: +1\n",
        START HOST "content-length: 1,1\n",
        START HOST "content-length: 0x1\n",
        START HOST "content-length: 1234567890123456789\n",
        ":method: CONNECT\n",
        ":method: CONNECT\n:authority: h\n:path: /\n",
        ":method: CONNECT\n:authority: h\n:scheme: http\n",
    };
    struct buffer *buf = malloc(sizeof(*buf)), *out = malloc(sizeof(*out));

    assert_true(buf && out);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct h2_block b;
        bool chunked;

        out->start = out->end = 0;
        h2_block_begin(&b, H2_BLOCK_REQUEST, buf);
        feed(&b, bad[i], 1000);
        if (h2_block_request(&b, true, out, &chunked) != H2_MALFORMED)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(b.why);
    }
    free(buf);
    free(out);
}

/* What strings cannot say: NUL and LF, in every place. */
static void bytes_that_end_lines(void **state)
{
    static const char bytes[] = {'\0', '\n', '\r'};
    static const char *const names[] = {":method", ":scheme", ":authority", ":path", "x", "cookie", "host", "te", "content-length"};
    struct buffer *buf = malloc(sizeof(*buf));

    assert_non_null(buf);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (size_t k = 0; k < sizeof(bytes); k++) {
            for (size_t at = 0; at < 3; at++) {
                char value[4] = "/ab", name[4] = "xyz";
                struct h2_block b;

                value[at] = bytes[k];
                h2_block_begin(&b, H2_BLOCK_REQUEST, buf);
                h2_block_field(&b, names[i], strlen(names[i]), value, 3, 1000);
                assert_int_equal(b.verdict, H2_MALFORMED);
                name[at] = bytes[k];
                h2_block_begin(&b, H2_BLOCK_REQUEST, buf);
                h2_block_field(&b, name, 3, "v", 1, 1000);
                assert_int_equal(b.verdict, H2_MALFORMED);
            }
        }
    }
    free(buf);
}

static void sizes(void **state)
{
    struct buffer *buf = malloc(sizeof(*buf)), *out = malloc(sizeof(*out));
    char value[4000];
    struct h2_block b;
    bool chunked;

    assert_true(buf && out);
    memset(value, 'v', sizeof(value));
    h2_block_begin(&b, H2_BLOCK_REQUEST, buf);
    h2_block_field(&b, "x", 1, value, 10, 43);
    assert_int_equal(b.verdict, H2_GOOD); /* 1 + 10 + 32 */
    h2_block_field(&b, "", 0, "", 0, 43);
    assert_int_equal(b.verdict, H2_TOO_LARGE);
    assert_int_equal(b.list_bytes, 75);                  /* goes on */
    for (unsigned cookies = 0; cookies < 2; cookies++) { /* more than a buffer has room for */
        out->start = out->end = 0;
        h2_block_begin(&b, H2_BLOCK_REQUEST, buf);
        feed(&b, START HOST, UINT32_MAX);
        for (unsigned i = 0; i < 9; i++)
            h2_block_field(&b, cookies ? "cookie" : "x", cookies ? 6 : 1, value, sizeof(value), UINT32_MAX);
        assert_int_equal(h2_block_request(&b, true, out, &chunked), H2_TOO_LARGE);
    }
    for (unsigned n = 0; n < 40000; n += 97) { /* whatever fits in is refused or fits out */
        out->start = out->end = 0;
        h2_block_begin(&b, H2_BLOCK_REQUEST, buf);
        feed(&b, START HOST, UINT32_MAX);
        for (unsigned left = n; left > 0;) {
            unsigned len = left < sizeof(value) ? left : sizeof(value);

            h2_block_field(&b, left % 2 ? "cookie" : "x", left % 2 ? 6 : 1, value, len, UINT32_MAX);
            left -= len;
        }
        if (h2_block_request(&b, false, out, &chunked) == H2_GOOD)
            assert_memory_equal(out->data + out->end - 4, "\r\n\r\n", 4);
        assert_true(n < 32768 || b.verdict == H2_TOO_LARGE);
    }
    free(buf);
    free(out);
}

static void trailers(void **state)
{
    static const char *const bad[] = {
        ":path: /\n", "x: y\n:method: GET\n", "content-length: 1\n", "host: h\n", "te: trailers\n", "transfer-encoding: chunked\n", "X: y\n"};
    struct buffer *buf = malloc(sizeof(*buf));
    struct h2_block b;

    assert_non_null(buf);
    h2_block_begin(&b, H2_BLOCK_TRAILERS, buf);
    feed(&b, "x-sum: 1\nb: 2\n", 1000);
    assert_int_equal(b.verdict, H2_GOOD);
    assert_int_equal(buf->end - b.lines, 16);
    assert_memory_equal(buf->data + b.lines, "x-sum: 1\r\nb: 2\r\n", 16);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        h2_block_begin(&b, H2_BLOCK_TRAILERS, buf);
        feed(&b, bad[i], 1000);
        assert_int_equal(b.verdict, H2_MALFORMED);
    }
    free(buf);
}

/* ---- answers ---- */

static bool has(const struct h2_fields *f, const char *name, const char *value)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->nv[i].namelen == strlen(name) && memcmp(f->nv[i].name, name, f->nv[i].namelen) == 0 && f->nv[i].valuelen == strlen(value) &&
            memcmp(f->nv[i].value, value, f->nv[i].valuelen) == 0)
            return true;
    return false;
}

#define HEAD_TEXT "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\nKeep-Alive: 1\r\nUpgrade: x\r\nProxy-Connection: y\r\n"

static void answer_heads(void **state)
{
    static const struct {
        const char *text;
        bool to_head;
        enum h2_answer_state then;
        size_t fields;
    } heads[] = {
        {HEAD_TEXT "Content-Length: 3\r\n\r\n", false, H2_ANSWER_LENGTH, 3},
        {HEAD_TEXT "Content-Length: 0\r\n\r\n", false, H2_ANSWER_DONE, 3},
        {HEAD_TEXT "Content-Length: 3\r\n\r\n", true, H2_ANSWER_DONE, 3},
        {HEAD_TEXT "Transfer-Encoding: chunked\r\n\r\n", false, H2_ANSWER_SIZE, 2},
        {HEAD_TEXT "Transfer-Encoding: chunked\r\n\r\n", true, H2_ANSWER_DONE, 2},
        {"HTTP/1.1 100 Continue\r\n\r\n", false, H2_ANSWER_HEAD, 1},
        {"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", false, H2_ANSWER_HEAD, 2},
        {"HTTP/1.1 204 \r\n\r\n", false, H2_ANSWER_DONE, 1},
        {"HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n", false, H2_ANSWER_DONE, 2},
    };
    static const char *const bad[] = {"HTTP/1.1 200 OK\r\n\r\n",
                                      "HTTP/1.1 101 Up\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
                                      "garbage\r\n\r\n",
                                      ""};
    struct h2_fields f;

    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        struct h2_answer a = {.to_head = heads[i].to_head};
        char text[512];

        snprintf(text, sizeof(text), "%sbody", heads[i].text);
        assert_int_equal(h2_answer_head(&a, text, strlen(text), &f), strlen(heads[i].text));
        assert_int_equal(a.state, heads[i].then);
        assert_int_equal(f.n, heads[i].fields);
        assert_memory_equal(f.nv[0].name, ":status", 7);
        assert_memory_equal(f.nv[0].value, heads[i].text + 9, 3);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct h2_answer a = {0};

        assert_int_equal(h2_answer_head(&a, bad[i], strlen(bad[i]), &f), -EPROTO);
    }
}

#define CHUNKS "5\r\nhello\r\n1\r\n \r\n10\r\n0123456789abcdef\r\n0\r\n"
#define PLAIN  "hello 0123456789abcdef"

/* In pieces of `step` bytes, with so much room each time. */
static void run_body(const char *text, size_t step, size_t room, bool with_trailers)
{
    struct guard g = guard_new(64);
    struct h2_answer a = {.state = H2_ANSWER_SIZE};
    size_t all = strlen(text), at = 0, len = 0;
    char out[64] = "";
    struct h2_fields f;

    while (a.state != H2_ANSWER_DONE) {
        size_t n = all - at < step ? all - at : step, payload = 0;
        ssize_t used = h2_answer_body(&a, guard_put(&g, text + at, n), n, out + len, room, &payload);

        assert_true(used > 0 && (size_t)used <= n && payload <= room);
        at += (size_t)used;
        len += payload;
    }
    assert_int_equal(at, all);
    assert_string_equal(out, PLAIN);
    assert_int_equal(h2_answer_trailers(&a, &f), 0);
    assert_int_equal(f.n, with_trailers ? 2 : 0);
    assert_true(!with_trailers || (has(&f, "X", "1") && has(&f, "y", "two words")));
    h2_answer_done(&a);
    guard_done(&g);
}

static void bodies_any_cut(void **state)
{
    for (size_t step = 1; step < 60; step++) {
        for (size_t room = 1; room < 30; room++) {
            run_body(CHUNKS "\r\n", step, room, false);
            run_body(CHUNKS "X: 1\r\ny:  two words \r\n\r\n", step, room, true);
        }
    }
}

static void broken_bodies(void **state)
{
    static const char *const bad[] = {"g\r\n", "\r\n", "1\n", "1\rx", "1;a\r\n", "-1\r\n", "1\r\nab", "1\r\na\rb", "A\r\n", "1234567890abcdef\r\n"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct h2_answer a = {.state = H2_ANSWER_SIZE};
        size_t payload;
        char out[64];

        assert_int_equal(h2_answer_body(&a, bad[i], strlen(bad[i]), out, sizeof(out), &payload), -EPROTO);
    }
}

static void endless_trailers(void **state)
{
    struct h2_answer a = {.state = H2_ANSWER_TRAILERS};
    size_t payload;
    ssize_t r = 0;
    char out[1];

    for (unsigned i = 0; r >= 0 && i < 10000; i++)
        r = h2_answer_body(&a, "x: y\r\n", 6, out, 1, &payload);
    assert_int_equal(r, -EPROTO);
    h2_answer_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_requests),  cmocka_unit_test(malformed_requests), cmocka_unit_test(bytes_that_end_lines),
        cmocka_unit_test(sizes),          cmocka_unit_test(trailers),           cmocka_unit_test(answer_heads),
        cmocka_unit_test(bodies_any_cut), cmocka_unit_test(broken_bodies),      cmocka_unit_test(endless_trailers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
