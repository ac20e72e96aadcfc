/*
 * stdio_vars.c: the variables of a request. Those that the server makes come first and nothing overrides them: a field `Method: x`, or `X_Forwarded_For` beside the gateway's X-Forwarded-For, would otherwise say what only
 * the server may say. So fields with an underscore come last, and a name that is taken stays as it is.
 */
#include "stdio_vars.h"

#include <errno.h>
#include <string.h>

#define PREFIX "Http_"

static void add_bytes(struct stdio_vars *v, const char *s, size_t len)
{
    if (len < v->size - v->len)
        memcpy(v->text + v->len, s, len);
    v->len = len < v->size - v->len ? v->len + len : v->size; /* full: stays so */
}

static int begin(struct stdio_vars *v, const char *name)
{
    if (v->count + 1 >= v->max || v->len >= v->size)
        return -E2BIG;
    v->list[v->count] = v->text + v->len;
    add_bytes(v, PREFIX, strlen(PREFIX));
    add_bytes(v, name, strlen(name));
    return 0;
}

static int end(struct stdio_vars *v)
{
    add_bytes(v, "", 1);
    if (v->len >= v->size)
        return -E2BIG;
    v->count++;
    return 0;
}

static int add(struct stdio_vars *v, const char *name, struct stdio_text value)
{
    if (begin(v, name) < 0)
        return -E2BIG;
    add_bytes(v, "=", 1);
    add_bytes(v, value.at, value.len);
    return end(v);
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that an escape at p stands for; -1: it is none, and -2: it is NUL, which no variable holds. */
static int escape_at(const char *p, const char *last)
{
    int byte;

    if (*p != '%')
        return -1;
    if (last - p < 3 || hex_of(p[1]) < 0 || hex_of(p[2]) < 0)
        return -2;
    byte = hex_of(p[1]) << 4 | hex_of(p[2]);
    return byte ? byte : -2;
}

/* Decoded, as Go's URL.Path is; as it came where it cannot be. */
static int add_path(struct stdio_vars *v, struct stdio_text path)
{
    const char *last = path.at + path.len;

    for (const char *p = path.at; p < last; p++)
        if (escape_at(p, last) == -2)
            return add(v, "Path", path);
    if (begin(v, "Path=") < 0)
        return -E2BIG;
    for (const char *p = path.at; p < last; p++) {
        const int byte = escape_at(p, last);
        const char c = byte < 0 ? *p : (char)byte;

        add_bytes(v, &c, 1);
        p += byte < 0 ? 0 : 2;
    }
    return end(v);
}

static int add_length(struct stdio_vars *v, int64_t n)
{
    char digits[24];
    size_t at = sizeof(digits);
    const bool minus = n < 0;
    int r;

    for (uint64_t u = (uint64_t)(minus ? -n : n); u || at == sizeof(digits); u /= 10)
        digits[--at] = (char)('0' + u % 10);
    if (minus)
        digits[--at] = '-';
    r = add(v, "ContentLength", (struct stdio_text){digits + at, sizeof(digits) - at});
    return r < 0 ? r : add(v, "Content_Length", (struct stdio_text){digits + at, sizeof(digits) - at});
}

static int add_own(struct stdio_vars *v, const struct stdio_request *r)
{
    int e = add(v, "Method", r->method);

    if (e == 0 && r->host.at)
        e = add(v, "Host", r->host);
    if (e == 0)
        e = add_length(v, r->chunked ? -1 : r->length > 0 ? r->length : 0);
    if (e == 0 && r->chunked)
        e = add(v, "Transfer_Encoding", (struct stdio_text){"chunked", 7});
    if (e == 0 && r->query.len)
        e = add(v, "Query", r->query);
    return e < 0 ? e : add_path(v, r->path);
}

void stdio_vars_canonical(const char *name, size_t len, char *out)
{
    bool upper = true;

    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (upper && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (!upper && c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        upper = c == '-';
        out[i] = c;
    }
}

static bool taken(const struct stdio_vars *v, size_t from, const char *var, size_t len)
{
    for (size_t i = from; i < v->count; i++)
        if (strncmp(v->list[i], var, len) == 0 && v->list[i][len] == '=')
            return true;
    return false;
}

static int add_field(struct stdio_vars *v, size_t from, const struct stdio_field *f)
{
    const size_t begun = v->len;
    char *name;

    if (begin(v, "") < 0)
        return -E2BIG;
    add_bytes(v, f->name.at, f->name.len);
    if (v->len >= v->size)
        return -E2BIG;
    name = v->list[v->count] + strlen(PREFIX);
    stdio_vars_canonical(f->name.at, f->name.len, name);
    for (size_t i = 0; i < f->name.len; i++)
        if (name[i] == '-')
            name[i] = '_';
    /* The second: no program may take the client's word for the proxy to use (https://httpoxy.org). */
    if (taken(v, from, v->list[v->count], strlen(PREFIX) + f->name.len) || (f->name.len == 5 && memcmp(name, "Proxy", 5) == 0)) {
        v->len = begun;
        return 0;
    }
    add_bytes(v, "=", 1);
    add_bytes(v, f->value.at, f->value.len);
    return end(v);
}

int stdio_vars_make(struct stdio_vars *v, const struct stdio_request *r)
{
    const size_t from = v->count;
    int e = add_own(v, r);

    for (int doubtful = 0; doubtful < 2; doubtful++)
        for (unsigned i = 0; i < r->nfields && e == 0; i++)
            if ((memchr(r->fields[i].name.at, '_', r->fields[i].name.len) != NULL) == doubtful)
                e = add_field(v, from, &r->fields[i]);
    v->list[v->count] = NULL;
    return e;
}
