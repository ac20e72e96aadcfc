/* Heads: every prefix wants more, nothing is read behind the end, what is ambiguous is refused with its status. */
#include "check.h"

#include "../../runner/gateway/http/message.h"
#include "http_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOOD                                                                                                                                                   \
    "POST /fn/hello/a%20b?x=1&y=/../ HTTP/1.1\r\nHost: example.org:8888\r\nAccept: text/html, application/json;q=0.8\r\nX-Empty:\r\nx-pad: \t  v a l \t \r\n"  \
    "Content-Length: 12\r\nConnection: keep-alive, X-Gone\r\nX-Gone: 1\r\n\r\n"

static enum head_result parse_whole(struct head *h, enum head_kind kind, const char *data, size_t len)
{
    head_init(h, kind);
    return head_parse(h, data, len);
}

/* The status that a head is refused with; 0: it is good. */
static unsigned status_of(const char *text, size_t len, struct request *rq)
{
    struct guard g = guard_new(len + 1);
    const char *data = guard_put(&g, text, len);
    struct head h;
    enum head_result r = parse_whole(&h, HEAD_REQUEST, data, len);
    unsigned status = 0;

    if (r == HEAD_MORE)
        fail_msg("wants more: %.60s", text);
    else if (r == HEAD_REFUSED)
        status = h.refused;
    else
        status = request_check(&h, data, rq);
    if (status)
        assert_non_null(h.why);
    guard_done(&g);
    return status;
}

static void a_good_head(void **state)
{
    struct request rq;
    struct head h;

    assert_int_equal(parse_whole(&h, HEAD_REQUEST, GOOD "rest", sizeof(GOOD) + 3), HEAD_DONE);
    assert_int_equal(h.len, sizeof(GOOD) - 1);
    assert_int_equal(h.nfields, 7);
    assert_int_equal(request_check(&h, GOOD, &rq), 0);
    assert_int_equal(rq.body, BODY_LENGTH);
    assert_int_equal(rq.length, 12);
    assert_true(rq.wants_keep_alive && rq.names_fields && rq.wants_json && !rq.idempotent && !rq.upgrade && rq.has_query);
    assert_memory_equal(GOOD + rq.path, "/fn/hello/a%20b", rq.path_len);
    assert_memory_equal(GOOD + rq.query, "x=1&y=/../", rq.query_len);
    assert_memory_equal(GOOD + h.fields[3].value, "v a l", h.fields[3].value_len);
    assert_int_equal(h.fields[2].value_len, 0);
}

static void every_prefix_wants_more(void **state)
{
    static const char response[] = "HTTP/1.1 200 \r\nContent-Length: 3\r\nX: y\r\n\r\n";
    struct guard g = guard_new(sizeof(GOOD));
    struct head h;

    for (size_t n = 0; n < sizeof(GOOD) - 1; n++)
        assert_int_equal(parse_whole(&h, HEAD_REQUEST, guard_put(&g, GOOD, n), n), HEAD_MORE);
    for (size_t n = 0; n < sizeof(response) - 1; n++)
        assert_int_equal(parse_whole(&h, HEAD_RESPONSE, guard_put(&g, response, n), n), HEAD_MORE);
    assert_int_equal(parse_whole(&h, HEAD_RESPONSE, response, sizeof(response) - 1), HEAD_DONE);
    guard_done(&g);
}

/* In pieces of every size, at another address each time: the outcome is the same as in one piece. */
static void goes_on_where_it_stopped(void **state)
{
    struct guard g = guard_new(sizeof(GOOD));
    struct head whole, h;

    parse_whole(&whole, HEAD_REQUEST, GOOD, sizeof(GOOD) - 1);
    for (size_t step = 1; step < sizeof(GOOD); step++) {
        enum head_result r = HEAD_MORE;

        head_init(&h, HEAD_REQUEST);
        for (size_t n = step; r == HEAD_MORE; n += step) {
            size_t len = n < sizeof(GOOD) - 1 ? n : sizeof(GOOD) - 1;

            r = head_parse(&h, guard_put(&g, GOOD, len), len);
        }
        assert_int_equal(r, HEAD_DONE);
        assert_int_equal(h.len, whole.len);
        assert_int_equal(h.nfields, whole.nfields);
        assert_memory_equal(h.fields, whole.fields, sizeof(struct field) * h.nfields);
    }
    guard_done(&g);
}

#define LINE "POST / HTTP/1.1\r\n"
#define HOST "Host: t\r\n"

struct refusal {
    unsigned status;
    const char *text;
    size_t len; /* 0: strlen */
};

static const struct refusal refusals[] = {
    {400, LINE "\r\n", 0},
    {0, "POST / HTTP/1.0\r\n\r\n", 0},
    {0, LINE HOST "\r\n", 0},
    {0, "\r\n" LINE HOST "\r\n", 0},
    {400, "\r\n\r\n" LINE HOST "\r\n", 0},
    {0, LINE "Host:\r\n\r\n", 0},
    {0, LINE "Host: [::1]:80\r\n\r\n", 0},
    {400, LINE HOST HOST "\r\n", 0},
    {0, LINE "Host: a:\r\n\r\n", 0},
    {0, LINE "Host: A-b_c.~!$&'()*+,;=%2fZ:65535\r\n\r\n", 0},
    {0, LINE "Host: [2001:db8::192.0.2.1]\r\n\r\n", 0},
    {400, LINE "Host: :80\r\n\r\n", 0},
    {400, LINE "Host: a:b\r\n\r\n", 0},
    {400, LINE "Host: a:1:2\r\n\r\n", 0},
    {400, LINE "Host: a:123456\r\n\r\n", 0},
    {400, LINE "Host: a:-1\r\n\r\n", 0},
    {400, LINE "Host: a%2\r\n\r\n", 0},
    {400, LINE "Host: a%zz\r\n\r\n", 0},
    {400, LINE "Host: ::1\r\n\r\n", 0},
    {400, LINE "Host: [::1\r\n\r\n", 0},
    {400, LINE "Host: []\r\n\r\n", 0},
    {400, LINE "Host: [::1]a\r\n\r\n", 0},
    {400, LINE "Host: [::1%25lo]\r\n\r\n", 0},
    {400, LINE "Host: a[::1]\r\n\r\n", 0},
    {400, LINE "Host: a/b\r\n\r\n", 0},
    {400, LINE "Host: a@b\r\n\r\n", 0},
    {400, LINE "Host: a b\r\n\r\n", 0},
    {400, LINE "Host: a\\b\r\n\r\n", 0},
    {400, LINE "Host: a, b\xc3\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: 1, 1\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: +1\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: -1\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: 1a\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: 0x1\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: 1 1\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: \r\n\r\n", 0},
    {413, LINE HOST "Content-Length: 18446744073709551617\r\n\r\n", 0},
    {400, LINE HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 0},
    {0, LINE HOST "tRANSFER-eNCODING: cHUNKED\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: identity\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: chunked;a=b\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding: xchunked\r\n\r\n", 0},
    {400, LINE HOST "Transfer-Encoding:\r\n\r\n", 0},
    {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
    {400, LINE HOST "Content-Length : 1\r\n\r\n", 0},
    {400, LINE HOST "X: a\r\n b\r\n\r\n", 0},
    {400, LINE HOST "X: a\r\n\tb\r\n\r\n", 0},
    {400, LINE " Host: t\r\n\r\n", 0},
    {400, LINE HOST "X: a\n\r\n", 0},
    {400, "POST / HTTP/1.1\nHost: t\r\n\r\n", 0},
    {400, LINE HOST "X: a\rb\r\n\r\n", 0},
    {400, LINE HOST "X: a\r\r\n\r\n", 0},
    {400, LINE HOST "X: a\0b\r\n\r\n", sizeof(LINE HOST "X: a\0b\r\n\r\n") - 1},
    {400, LINE HOST "X: 0123456789abcdef\x1f\r\n\r\n", 0},
    {400, LINE HOST "X: 0123456789abcdef\x7f\r\n\r\n", 0},
    {0, LINE HOST "X: 0123456789\tabcdef\x80\xff\r\n\r\n", 0},
    {400, LINE HOST "X\r\n\r\n", 0},
    {400, LINE HOST ": a\r\n\r\n", 0},
    {400, LINE HOST "X[]: a\r\n\r\n", 0},
    {400, LINE HOST "X\x80: a\r\n\r\n", 0},
    {0, LINE HOST "Connection: close,a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p\r\n\r\n", 0},
    {431, LINE HOST "Connection: a,b,c,d,e,f,g,h\r\nConnection: i,j,k,l,m,n,o,p,q\r\n\r\n", 0},
    {417, LINE HOST "Expect: 200-ok\r\n\r\n", 0},
    {400, "POST  / HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST /  HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST\t/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST / HTTP/1.1 \r\n" HOST "\r\n", 0},
    {400, "POST /\r\n" HOST "\r\n", 0},
    {400, "POST /#a HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST /\x80 HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST /\x7f HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST a HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST * HTTP/1.1\r\n" HOST "\r\n", 0},
    {0, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "P(ST / HTTP/1.1\r\n" HOST "\r\n", 0},
    {405, "TRACE / HTTP/1.1\r\n" HOST "\r\n", 0},
    {405, "CONNECT t:1 HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST / http/1.1\r\n" HOST "\r\n", 0},
    {400, "POST / HTTP/11\r\n" HOST "\r\n", 0},
    {400, "POST / HTTP/0.9\r\n" HOST "\r\n", 0},
    {505, "POST / HTTP/1.2\r\n" HOST "\r\n", 0},
    {505, "POST / HTTP/2.0\r\n" HOST "\r\n", 0},
    {0, "POST http://t/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {0, "POST HTTPS://T/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST http://u/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {0, "POST http://t HTTP/1.1\r\n" HOST "\r\n", 0},
    {0, "POST http://t?x HTTP/1.1\r\n" HOST "\r\n", 0},
    {0, "POST http://t/ HTTP/1.0\r\n\r\n", 0},
    {400, "POST http://t/ HTTP/1.1\r\n\r\n", 0},
    {400, "POST http://a@t/ HTTP/1.0\r\n\r\n", 0},
    {400, "POST http://t:/x:1/ HTTP/1.1\r\nHost: t:1\r\n\r\n", 0},
    {400, "POST http://t:80/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST http:/t/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST http:// HTTP/1.1\r\nHost:\r\n\r\n", 0},
    {400, "POST ://t/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST //t HTTP/1.0\r\nHost: a/\r\n\r\n", 0},
    {400, "GET t:80 HTTP/1.1\r\nHost: t:80\r\n\r\n", 0},
    {400, "oPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "POST http:/// HTTP/1.1\r\nHost:\r\n\r\n", 0},
    {400, "POST ftp://t/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {400, "\x16\x03\x01", 0},
};

static void refused_heads(void **state)
{
    struct request rq;

    for (size_t i = 0; i < COUNT(refusals); i++) {
        const struct refusal *x = &refusals[i];
        unsigned status = status_of(x->text, x->len ? x->len : strlen(x->text), &rq);

        if (status != x->status)
            fail_msg("%s: %u, expected %u", x->text, status, x->status);
    }
}

/* Where the path and the host are found in a target of each form. */
/* One table says what may be in a name and how it is compared. */
static void token_characters(void **state)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (unsigned c = 0; c < 256; c++) {
        bool upper = c >= 'A' && c <= 'Z', plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && c < 0x80 && strchr(others, (int)c));

        assert_int_equal(char_is_token((unsigned char)c), upper || plain);
        assert_int_equal(char_folded[c], upper ? c + 32 : c == '_' ? '-' : plain ? c : 0);
    }
}

static void targets(void **state)
{
    static const struct {
        const char *text, *path, *query, *host;
        bool server;
    } cases[] = {
        {"GET /a?b HTTP/1.1\r\nHost: t\r\n\r\n", "/a", "b", "t", false},
        {"GET //a HTTP/1.1\r\nHost: t\r\n\r\n", "//a", NULL, "t", false},
        {"GET http://t:1/a?b HTTP/1.1\r\nHost: T:1\r\n\r\n", "/a", "b", "T:1", false},
        {"GET http://t HTTP/1.1\r\nHost: t\r\n\r\n", "/", NULL, "t", false},
        {"GET https://t HTTP/1.0\r\n\r\n", "/", NULL, "t", false},
        {"GET http://[::1]:8?b/c HTTP/1.0\r\n\r\n", "/", "b/c", "[::1]:8", false},
        {"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", "*", NULL, "t", true},
        {"OPTIONS http://t HTTP/1.1\r\nHost: t\r\n\r\n", "/", NULL, "t", true},
        {"OPTIONS http://t? HTTP/1.1\r\nHost: t\r\n\r\n", "/", "", "t", false},
        {"OPTIONS http://t/ HTTP/1.1\r\nHost: t\r\n\r\n", "/", NULL, "t", false},
        {"OPTIONS /* HTTP/1.1\r\nHost: t\r\n\r\n", "/*", NULL, "t", false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *text = cases[i].text;
        struct request rq;

        assert_int_equal(status_of(text, strlen(text), &rq), 0);
        assert_int_equal(rq.path_len, strlen(cases[i].path));
        assert_memory_equal(text + rq.path, cases[i].path, rq.path_len);
        assert_int_equal(rq.host_len, strlen(cases[i].host));
        assert_memory_equal(text + rq.host, cases[i].host, rq.host_len);
        assert_int_equal(rq.has_query, cases[i].query != NULL);
        if (cases[i].query) {
            assert_int_equal(rq.query_len, strlen(cases[i].query));
            assert_memory_equal(text + rq.query, cases[i].query, rq.query_len);
        }
        assert_int_equal(rq.server, cases[i].server);
    }
}

/* Lower bounds than the compiled ones: the same refusals. */
static void configured_sizes(void **state)
{
    static const struct {
        unsigned bytes, target, fields, status;
    } cases[] = {{62, 16, 2, 0}, {61, 16, 2, 431}, {62, 15, 2, 414}, {62, 16, 1, 431}, {1 << 30, 1 << 30, 1 << 30, 0}};
    static const char text[] = "GET /fn/aaaaaaaaaaaa HTTP/1.1\r\nHost: t\r\nX: 0123456789abcde\r\n\r\n";

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct head h;
        enum head_result r;

        head_init(&h, HEAD_REQUEST);
        head_bound(&h, cases[i].bytes, cases[i].target, cases[i].fields);
        r = head_parse(&h, text, sizeof(text) - 1);
        assert_int_equal(r == HEAD_DONE ? 0 : h.refused, cases[i].status);
    }
}

static void sizes(void **state)
{
    size_t room = 40000;
    char *text = malloc(room);
    struct request rq;
    size_t n;

    assert_non_null(text);
    n = (size_t)snprintf(text, room, "GET /%0*d HTTP/1.1\r\n" HOST "\r\n", (int)HEAD_TARGET_MAX - 1, 0);
    assert_int_equal(status_of(text, n, &rq), 0);
    n = (size_t)snprintf(text, room, "GET /%0*d HTTP/1.1\r\n" HOST "\r\n", (int)HEAD_TARGET_MAX, 0);
    assert_int_equal(status_of(text, n, &rq), 414);
    memset(text, 'a', room);
    assert_int_equal(status_of(text, HEAD_TARGET_MAX + 100, &rq), 414); /* without an end */
    n = (size_t)snprintf(text, room, LINE HOST "X: ");
    memset(text + n, 'a', room - n);
    assert_int_equal(status_of(text, HEAD_BYTES_MAX + 1, &rq), 431);
    memcpy(text + HEAD_BYTES_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(status_of(text, HEAD_BYTES_MAX, &rq), 0);
    for (unsigned fields = HEAD_FIELDS_MAX - 1; fields <= HEAD_FIELDS_MAX; fields++) {
        n = (size_t)snprintf(text, room, LINE HOST);
        for (unsigned i = 0; i < fields; i++)
            n += (size_t)snprintf(text + n, room - n, "X: y\r\n");
        n += (size_t)snprintf(text + n, room - n, "\r\n");
        assert_int_equal(status_of(text, n, &rq), fields < HEAD_FIELDS_MAX ? 0 : 431);
    }
    free(text);
}

static void known_fields(void **state)
{
    static const struct {
        const char *name;
        enum field_id id;
    } names[] = {
        {"te", FIELD_TE},
        {"Host", FIELD_HOST},
        {"DATE", FIELD_DATE},
        {"Proxy", FIELD_PROXY},
        {"Accept", FIELD_ACCEPT},
        {"Expect", FIELD_EXPECT},
        {"Upgrade", FIELD_UPGRADE},
        {"Trailer", FIELD_TRAILER},
        {"Forwarded", FIELD_FORWARDED},
        {"Connection", FIELD_CONNECTION},
        {"Keep-Alive", FIELD_KEEP_ALIVE},
        {"Content-Length", FIELD_CONTENT_LENGTH},
        {"X-Forwarded-For", FIELD_X_FORWARDED_FOR},
        {"X-Forwarded-Host", FIELD_X_FORWARDED_HOST},
        {"X-Forwarded-Port", FIELD_X_FORWARDED_PORT},
        {"Proxy-Connection", FIELD_PROXY_CONNECTION},
        {"Transfer-Encoding", FIELD_TRANSFER_ENCODING},
        {"X-Forwarded-Proto", FIELD_X_FORWARDED_PROTO},
        {"X-Forwarded-Prefix", FIELD_X_FORWARDED_PREFIX},
        {"X-Request-Id", FIELD_X_REQUEST_ID},
        {"Proxy-Authenticate", FIELD_PROXY_AUTHENTICATE},
        {"Proxy-Authorization", FIELD_PROXY_AUTHORIZATION},
        {"Content_Length", FIELD_LOOKALIKE},
        {"transfer_encoding", FIELD_LOOKALIKE},
        {"X_Forwarded-For", FIELD_LOOKALIKE},
        {"X-Other", FIELD_OTHER},
        {"Content-Lengthy", FIELD_OTHER},
        {"", FIELD_OTHER},
        {"a-name-that-is-longer-than-any-other", FIELD_OTHER},
    };

    for (size_t i = 0; i < COUNT(names); i++)
        if (field_lookup(names[i].name, strlen(names[i].name)) != names[i].id)
            fail_msg("%s", names[i].name);
}

static int response_of(const char *text, const struct request *to, struct response *rs)
{
    struct guard g = guard_new(strlen(text) + 1);
    const char *data = guard_put(&g, text, strlen(text));
    struct head h;
    int r = -EPROTO;

    if (parse_whole(&h, HEAD_RESPONSE, data, strlen(text)) == HEAD_DONE)
        r = response_check(&h, data, to, rs);
    guard_done(&g);
    return r;
}

static void response_framing(void **state)
{
    const struct request get = {0}, head = {.is_head = true}, ws = {.upgrade = true};
    struct response rs;

    assert_int_equal(response_of("HTTP/1.1 200 OK\r\n\r\n", &get, &rs), 0);
    assert_true(rs.body == BODY_CLOSE && !rs.keep_alive);
    assert_int_equal(response_of("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", &get, &rs), 0);
    assert_true(rs.body == BODY_LENGTH && rs.length == 5 && rs.keep_alive);
    assert_int_equal(response_of("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", &get, &rs), 0);
    assert_false(rs.keep_alive);
    assert_int_equal(response_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", &get, &rs), 0);
    assert_true(rs.body == BODY_CHUNKED && !rs.keep_alive);
    assert_int_equal(response_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &head, &rs), 0);
    assert_true(rs.body == BODY_NONE && rs.has_length && rs.length == 5 && rs.keep_alive);
    assert_int_equal(response_of("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", &get, &rs), 0);
    assert_true(rs.body == BODY_NONE && rs.keep_alive);
    assert_int_equal(response_of("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", &get, &rs), 0);
    assert_int_equal(response_of("HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n", &get, &rs), -EPROTO);
    assert_int_equal(response_of("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", &get, &rs), -EPROTO);
    assert_int_equal(response_of("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", &get, &rs), -EPROTO);
    assert_int_equal(response_of("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &get, &rs), -EPROTO);
    assert_int_equal(response_of("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", &get, &rs), -EPROTO);
    assert_int_equal(response_of("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", &ws, &rs), 0);
    assert_int_equal(response_of("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n\r\n", &ws, &rs), -EPROTO);
    assert_int_equal(response_of("HTTP/1.1 20 OK\r\n\r\n", &get, &rs), -EPROTO);
    assert_int_equal(response_of("HTTP/1.1 2000 OK\r\n\r\n", &get, &rs), -EPROTO);
    assert_int_equal(response_of("\r\nHTTP/1.1 200 OK\r\n\r\n", &get, &rs), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_head),
        cmocka_unit_test(every_prefix_wants_more),
        cmocka_unit_test(goes_on_where_it_stopped),
        cmocka_unit_test(refused_heads),
        cmocka_unit_test(token_characters),
        cmocka_unit_test(targets),
        cmocka_unit_test(configured_sizes),
        cmocka_unit_test(sizes),
        cmocka_unit_test(known_fields),
        cmocka_unit_test(response_framing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
