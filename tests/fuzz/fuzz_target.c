/* A target, a line feed, a Host: what comes out is one host, and a path that stays below its function however it is decoded. */
#include "fuzz_http.h"

#include "../../runner/gateway/route/route.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* The simplest reader: decodes everything once, takes backslashes for slashes, then walks the segments. */
static bool leaves(const char *path, size_t len)
{
    char *plain = malloc(len + 2);
    size_t n = 0, depth = 0;
    bool out = false;

    if (!plain)
        abort();
    for (size_t i = 0; i < len; i++) {
        char c = path[i];

        if (c == '%' && len - i > 2 && hex(path[i + 1]) >= 0 && hex(path[i + 2]) >= 0) {
            c = (char)(hex(path[i + 1]) << 4 | hex(path[i + 2]));
            i += 2;
        }
        plain[n++] = c == '\\' ? '/' : c;
    }
    plain[n++] = '/';
    for (size_t from = 0, i = 0; i < n && !out; i++) {
        if (plain[i] != '/')
            continue;
        if (i - from == 2 && plain[from] == '.' && plain[from + 1] == '.')
            out = depth-- == 0;
        else if (i > from && !(i - from == 1 && plain[from] == '.'))
            depth++;
        from = i + 1;
    }
    free(plain);
    return out;
}

static void route(const char *path, size_t len)
{
    char *copy = exact_copy(path, len);
    struct route r;

    for (enum listener_kind k = LISTENER_PUBLIC; k <= LISTENER_API; k++) {
        route_find(copy, len, k, false, &r);
        if (r.kind == ROUTE_FUNCTION) {
            assert(r.prefix_len > 0 && r.prefix_len < len && copy[r.prefix_len] == '/' && k != LISTENER_ADMIN);
            assert(!leaves(copy + r.prefix_len, len - r.prefix_len));
        }
        if (r.kind == ROUTE_REFUSED)
            assert(r.status >= 400 && r.code && r.text);
    }
    assert(route_climbs(copy, len) == leaves(copy, len));
    free(copy);
}

static void port(const char *host, size_t len)
{
    size_t digits;
    const char *at = authority_port(host, len, &digits);

    assert(!at || (at > host && at[-1] == ':' && at + digits == host + len));
    for (size_t i = 0; at && i < digits; i++)
        assert(at[i] >= '0' && at[i] <= '9');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *end = memchr(data, '\n', size);
    size_t target = end ? (size_t)(end - (const char *)data) : size, host = size - target;
    size_t room = size + 64;
    char *text = malloc(room), *copy;
    struct head *h = malloc(sizeof(*h));
    struct request rq;
    int n;

    if (!text || !h)
        abort();
    n = snprintf(text, room, "GET ");
    memcpy(text + n, data, target);
    n += (int)target;
    n += snprintf(text + n, room - (size_t)n, " HTTP/1.1\r\nHost: ");
    if (host > 1) {
        memcpy(text + n, end + 1, host - 1);
        n += (int)host - 1;
    }
    memcpy(text + n, "\r\n\r\n", 4);
    copy = exact_copy(text, (size_t)n + 4);
    head_init(h, HEAD_REQUEST);
    if (head_parse(h, copy, (size_t)n + 4) == HEAD_DONE && request_check(h, copy, &rq) == 0) {
        assert(rq.path >= h->target && rq.path + rq.path_len <= h->target + h->target_len);
        assert(!memchr(copy + rq.path, '?', rq.path_len));
        assert(authority_ok(copy + rq.host, rq.host_len));
        for (size_t i = 0; i < rq.host_len; i++)
            assert(copy[rq.host + i] > 0x20 && !strchr("/?#@\\\"<>", copy[rq.host + i]));
        port(copy + rq.host, rq.host_len);
        route(copy + rq.path, rq.path_len);
    }
    free(copy);
    free(text);
    free(h);
    return 0;
}
