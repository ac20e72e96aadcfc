#include "route.h"

#include <string.h>

#define ALL    (1U << LISTENER_PUBLIC | 1U << LISTENER_ADMIN | 1U << LISTENER_API)
#define PUBLIC (1U << LISTENER_PUBLIC)
#define ADMIN  (1U << LISTENER_ADMIN)
#define API    (1U << LISTENER_API)

/* How much of the path a row is compared with. */
enum match { WHOLE, SUBTREE };

struct route_row {
    const char *path;
    size_t len;
    enum match match;
    enum route_kind kind;
    unsigned listeners;
    const char *elsewhere; /* what the others say, with 403 */
};

#define PATH(text) text, sizeof(text) - 1

static const struct route_row rows[] = {
    {PATH("/"), WHOLE, ROUTE_ROOT, ALL, NULL},
    {PATH("/healthz"), WHOLE, ROUTE_HEALTHZ, ALL, NULL},
    {PATH("/metrics"), WHOLE, ROUTE_METRICS, ADMIN | API, "/metrics is on the admin listener (metrics = public in the configuration allows it here)"},
    {PATH("/fn"), SUBTREE, ROUTE_FUNCTION, PUBLIC | API, "functions are on the public listener"},
    {PATH("/faaso"), SUBTREE, ROUTE_FUNCTION, PUBLIC | API, "functions are on the public listener"},
    {PATH("/function"), SUBTREE, ROUTE_FUNCTION, PUBLIC | API, "functions are on the public listener"},
    {PATH("/api"), SUBTREE, ROUTE_API, API, "the API is at /admin/api/v1/ here"},
    {PATH("/admin/api"), SUBTREE, ROUTE_API, ALL, NULL},
    {PATH("/admin"), SUBTREE, ROUTE_REFUSED, 0, "the API is at /admin/api/v1/; there is no page here"},
};

static void refuse(struct route *r, unsigned status, const char *code, const char *text)
{
    r->kind = ROUTE_REFUSED;
    r->status = status;
    r->code = code;
    r->text = text;
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character at *i, percent-decoded; *i moves behind it. */
static unsigned char next_char(const char *path, size_t len, size_t *i)
{
    unsigned char c = (unsigned char)path[(*i)++];

    if (c == '%' && *i + 1 < len) {
        int high = hex_value((unsigned char)path[*i]), low = hex_value((unsigned char)path[*i + 1]);

        if (high >= 0 && low >= 0) {
            *i += 2;
            return (unsigned char)(high << 4 | low);
        }
    }
    return c;
}

bool route_climbs(const char *path, size_t len)
{
    size_t i = 0, chars = 0, dots = 0;
    long depth = 0;

    if (!memchr(path, '.', len) && !memchr(path, '%', len))
        return false;
    for (bool last = false; !last;) {
        unsigned char c = '/';

        last = i >= len;
        if (!last)
            c = next_char(path, len, &i);
        if (c != '/' && c != '\\') {
            chars++;
            dots += c == '.';
            continue;
        }
        if (chars == 2 && dots == 2)
            depth--;
        else if (chars > 0 && !(chars == 1 && dots == 1)) /* an empty segment is not counted: some servers drop it */
            depth++;
        if (depth < 0)
            return true;
        chars = dots = 0;
    }
    return false;
}

/* /fn/NAME/rest: the first segment is the function. */
static void find_function(const char *path, size_t len, size_t at, struct route *r)
{
    char name[NAME_FUNCTION_MAX + 1];
    const char *slash = memchr(path + at, '/', len - at);
    size_t n = (slash ? (size_t)(slash - path) : len) - at;

    if (n == 0) {
        refuse(r, 404, "not_found", "no function is named: /fn/NAME/");
        return;
    }
    if (n >= sizeof(name)) {
        refuse(r, 404, "not_found", "no such function");
        return;
    }
    memcpy(name, path + at, n);
    name[n] = '\0';
    if (memchr(name, '\0', n) || name_parse(name, &r->id, NULL) < 0) {
        refuse(r, 404, "not_found", "no such function");
        return;
    }
    r->prefix_len = at + n;
    r->kind = slash ? ROUTE_FUNCTION : ROUTE_REDIRECT;
    if (slash && route_climbs(slash, len - r->prefix_len))
        refuse(r, 400, "bad_request", "the path leads out of the function with dot segments");
}

static bool row_matches(const struct route_row *row, const char *path, size_t len)
{
    const size_t n = row->len;

    return (len == n || (row->match == SUBTREE && len > n && path[n] == '/')) && memcmp(path, row->path, n) == 0;
}

void route_find(const char *path, size_t len, enum listener_kind listener, bool metrics_public, struct route *ret)
{
    *ret = (struct route){.kind = ROUTE_REFUSED};
    if (len == 1 && path[0] == '*') {
        ret->kind = ROUTE_SERVER;
        return;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct route_row *row = &rows[i];

        if (!row_matches(row, path, len))
            continue;
        if (!(row->listeners & 1U << listener) && !(row->kind == ROUTE_METRICS && metrics_public)) {
            refuse(ret, 403, "forbidden", row->elsewhere);
            return;
        }
        ret->kind = row->kind;
        if (row->kind == ROUTE_FUNCTION)
            find_function(path, len, len > row->len ? row->len + 1 : row->len, ret);
        return;
    }
    refuse(ret, 404, "not_found", "nothing is here; functions are at /fn/NAME/");
}
