/* stdio_marshal.c: the request as one JSON document, written to a sink as it is made: the body may be as long as it likes. */
#include "stdio_vars.h"

#include <string.h>
#include <strings.h>

static int put(struct stdio_marshal *m, const char *s)
{
    return m->sink(m->arg, s, strlen(s));
}

/* The length of the UTF-8 sequence at p; 0: it is none (RFC 3629). */
static size_t utf8_at(const unsigned char *p, size_t len)
{
    const size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

    if (p[0] < 0xc2 || p[0] > 0xf4 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

/* One character, escaped where JSON wants it; what is not UTF-8 becomes the replacement character. Returns the bytes used. */
static size_t put_character(struct stdio_marshal *m, const unsigned char *p, size_t len, int *r)
{
    static const char digits[] = "0123456789abcdef";
    char escape[] = "\\u00xx", quoted[] = {'\\', (char)*p};
    size_t n;

    if (*p == '"' || *p == '\\') {
        *r = m->sink(m->arg, quoted, 2);
        return 1;
    }
    if (*p < 0x20 || *p == 0x7f) {
        escape[4] = digits[*p >> 4];
        escape[5] = digits[*p & 15];
        *r = put(m, escape);
        return 1;
    }
    n = *p < 0x80 ? 1 : utf8_at(p, len);
    *r = n ? m->sink(m->arg, (const char *)p, n) : put(m, "\\ufffd");
    return n ? n : 1;
}

static int put_string(struct stdio_marshal *m, struct stdio_text t)
{
    const unsigned char *p = (const unsigned char *)t.at;
    int r = put(m, "\"");

    for (size_t i = 0; i < t.len && r == 0;)
        i += put_character(m, p + i, t.len - i, &r);
    return r < 0 ? r : put(m, "\"");
}

static bool same_name(const struct stdio_field *a, const struct stdio_field *b)
{
    return a->name.len == b->name.len && strncasecmp(a->name.at, b->name.at, a->name.len) == 0;
}

/* All values of the name that comes first at `first`. */
static int put_field(struct stdio_marshal *m, const struct stdio_request *r, unsigned first, bool comma)
{
    const struct stdio_field *f = &r->fields[first];
    char name[256];
    bool more = false;
    int e = put(m, comma ? ",\"" : "\"");

    for (size_t i = 0; i < f->name.len && e == 0; i += sizeof(name)) { /* a token: nothing in it is escaped */
        const size_t n = f->name.len - i < sizeof(name) ? f->name.len - i : sizeof(name);

        stdio_vars_canonical(f->name.at + i, n, name);
        e = m->sink(m->arg, name, n);
    }
    if (e == 0)
        e = put(m, "\":[");
    for (unsigned i = first; i < r->nfields && e == 0; i++)
        if (same_name(&r->fields[i], f)) {
            e = more ? put(m, ",") : 0;
            if (e == 0)
                e = put_string(m, r->fields[i].value);
            more = true;
        }
    return e < 0 ? e : put(m, "]");
}

static bool is_first(const struct stdio_request *r, unsigned at)
{
    for (unsigned i = 0; i < at; i++)
        if (same_name(&r->fields[i], &r->fields[at]))
            return false;
    return true;
}

static bool is_host(const struct stdio_field *f)
{
    return f->name.len == 4 && strncasecmp(f->name.at, "host", 4) == 0;
}

int stdio_marshal_begin(struct stdio_marshal *m, const struct stdio_request *r)
{
    bool comma = false;
    int e = put(m, "{\"header\":{");

    m->held = 0;
    for (unsigned i = 0; i < r->nfields && e == 0; i++)
        if (!is_host(&r->fields[i]) && is_first(r, i)) {
            e = put_field(m, r, i, comma);
            comma = true;
        }
    return e < 0 ? e : put(m, "},\"body\":{\"raw\":\"");
}

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int put_three(struct stdio_marshal *m)
{
    const unsigned char *t = m->three;
    const char four[4] = {letters[t[0] >> 2], letters[(t[0] & 3) << 4 | t[1] >> 4], m->held > 1 ? letters[(t[1] & 15) << 2 | t[2] >> 6] : '=',
                          m->held > 2 ? letters[t[2] & 63] : '='};

    m->held = 0;
    return m->sink(m->arg, four, sizeof(four));
}

int stdio_marshal_body(struct stdio_marshal *m, const char *data, size_t len)
{
    int r = 0;

    for (size_t i = 0; i < len && r == 0; i++) {
        m->three[m->held++] = (unsigned char)data[i];
        if (m->held == 3)
            r = put_three(m);
    }
    return r;
}

int stdio_marshal_end(struct stdio_marshal *m)
{
    int r = 0;

    if (m->held > 0) {
        memset(m->three + m->held, 0, sizeof(m->three) - m->held);
        r = put_three(m);
    }
    return r < 0 ? r : put(m, "\"}}");
}
