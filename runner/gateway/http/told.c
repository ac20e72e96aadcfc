#include "told.h"

#include "message.h"

#include <string.h>

struct text {
    const char *at;
    size_t len;
};

/* The last elements of a list that may be spread over several fields, in their order. */
struct tail {
    struct text elements[TOLD_HOPS_MAX];
    unsigned count; /* of all that there were */
};

/* As list_next, but a comma in a quoted string is none, and empty elements are told. */
static bool next_quoted(struct text *rest, char separator, struct text *ret)
{
    bool quoted = false;
    size_t i = 0;

    if (!rest->at)
        return false;
    for (; i < rest->len && (quoted || rest->at[i] != separator); i++) {
        if (rest->at[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->at[i] == '\\' && i + 1 < rest->len)
            i++;
    }
    *ret = (struct text){rest->at, i};
    *rest = i < rest->len ? (struct text){rest->at + i + 1, rest->len - i - 1} : (struct text){NULL, 0};
    while (ret->len > 0 && (ret->at[0] == ' ' || ret->at[0] == '\t')) {
        ret->at++;
        ret->len--;
    }
    while (ret->len > 0 && (ret->at[ret->len - 1] == ' ' || ret->at[ret->len - 1] == '\t'))
        ret->len--;
    return true;
}

static void collect(const struct head *h, const char *data, enum field_id id, struct tail *t)
{
    t->count = 0;
    for (unsigned i = 0; i < h->nfields; i++) {
        struct text rest = {data + h->fields[i].value, h->fields[i].value_len}, element;

        while (h->fields[i].id == id && next_quoted(&rest, ',', &element))
            if (element.len > 0)
                t->elements[t->count++ % TOLD_HOPS_MAX] = element;
    }
}

/* n from the end; NULL: there are not as many. */
static const struct text *from_end(const struct tail *t, unsigned n)
{
    return n < t->count && n < TOLD_HOPS_MAX ? &t->elements[(t->count - 1 - n) % TOLD_HOPS_MAX] : NULL;
}

static bool port_ok(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return len > 0 && len <= 5;
}

/* ADDRESS, IPV4:PORT, [IPV6], [IPV6]:PORT. */
static bool parse_node(struct text t, struct ip *ret)
{
    const char *end = t.len > 0 && t.at[0] == '[' ? memchr(t.at, ']', t.len) : memchr(t.at, ':', t.len);
    size_t addr = end ? (size_t)(end - t.at) : t.len, i;

    if (t.len > 0 && t.at[0] == '[') {
        i = addr + 1;
        if (!end || (i < t.len && (t.at[i] != ':' || !port_ok(t.at + i + 1, t.len - i - 1))))
            return false;
        return ip_parse(t.at + 1, addr - 1, ret) == 0 && !ip_is_v4(ret);
    }
    if (!end || memchr(end + 1, ':', t.len - addr - 1)) /* an IPv6 address without brackets has no port */
        return ip_parse(t.at, t.len, ret) == 0;
    return port_ok(end + 1, t.len - addr - 1) && ip_parse(t.at, addr, ret) == 0;
}

/* Another address from the right. False: it is the last that counts. */
static bool add_hop(struct told *ret, const struct ip_nets *trusted, const struct ip *ip)
{
    ret->hops[ret->nhops++] = *ip;
    return ret->nhops < TOLD_HOPS_MAX && ip_nets_hold(trusted, ip);
}

static uint8_t scheme_of(struct text t)
{
    if (text_is(t.at, t.len, "https") || text_is(t.at, t.len, "wss"))
        return TOLD_HTTPS;
    return text_is(t.at, t.len, "http") || text_is(t.at, t.len, "ws") ? TOLD_HTTP : TOLD_NO_SCHEME;
}

static void set_host(struct told *ret, struct text t)
{
    if (t.len == 0 || !authority_ok(t.at, t.len))
        return;
    ret->host = t.at;
    ret->host_len = t.len;
}

/* ---- Forwarded ---- */

/* A quoted string that needs its backslashes is none that we need. */
static struct text unquoted(struct text v)
{
    if (v.len < 2 || v.at[0] != '"' || v.at[v.len - 1] != '"' || memchr(v.at, '\\', v.len))
        return v;
    return (struct text){v.at + 1, v.len - 2};
}

struct element {
    struct text from, host, proto;
};

static struct element parse_element(struct text e)
{
    struct element ret = {0};
    struct text pair;

    while (next_quoted(&e, ';', &pair)) {
        const char *eq = memchr(pair.at, '=', pair.len);
        size_t name = eq ? (size_t)(eq - pair.at) : pair.len;
        struct text value = eq ? unquoted((struct text){eq + 1, pair.len - name - 1}) : (struct text){0};

        if (text_is(pair.at, name, "for"))
            ret.from = value;
        else if (text_is(pair.at, name, "host"))
            ret.host = value;
        else if (text_is(pair.at, name, "proto"))
            ret.proto = value;
    }
    return ret;
}

static void read_forwarded(const struct tail *t, const struct ip_nets *trusted, struct told *ret)
{
    const struct text *at;

    for (unsigned n = 0; (at = from_end(t, n)); n++) {
        struct element e = parse_element(*at);
        struct ip ip;

        if (e.proto.len > 0)
            ret->scheme = scheme_of(e.proto);
        set_host(ret, e.host);
        if (e.from.len == 0 || !parse_node(e.from, &ip) || !add_hop(ret, trusted, &ip))
            return;
    }
}

/* ---- X-Forwarded-* ---- */

static void read_list(const struct tail *t, const struct ip_nets *trusted, struct told *ret)
{
    const struct text *at;
    struct ip ip;

    for (unsigned n = 0; (at = from_end(t, n)); n++)
        if (!parse_node(*at, &ip) || !add_hop(ret, trusted, &ip))
            return;
}

/* "/a/b": what a path may be made of, and nothing that names a host, leads out, or ends with a slash. */
static bool prefix_ok(struct text t)
{
    if (t.len < 2 || t.at[0] != '/' || t.at[t.len - 1] == '/')
        return false;
    for (size_t i = 0; i < t.len; i++) {
        if (!char_is_token((unsigned char)t.at[i]) && (!t.at[i] || !strchr("/@:=,()", t.at[i])))
            return false;
        if (t.at[i] == '/' && (t.at[i + 1] == '/' || t.at[i + 1] == '.'))
            return false;
    }
    return true;
}

static void read_others(const struct head *h, const char *data, struct told *ret)
{
    const struct text *last;
    struct tail t;

    collect(h, data, FIELD_X_FORWARDED_PROTO, &t);
    if ((last = from_end(&t, 0)) && scheme_of(*last))
        ret->scheme = scheme_of(*last);
    collect(h, data, FIELD_X_FORWARDED_HOST, &t);
    if ((last = from_end(&t, 0)))
        set_host(ret, *last);
    collect(h, data, FIELD_X_FORWARDED_PORT, &t);
    if ((last = from_end(&t, 0)) && port_ok(last->at, last->len)) {
        ret->port = last->at;
        ret->port_len = last->len;
    }
    collect(h, data, FIELD_X_FORWARDED_PREFIX, &t);
    if ((last = from_end(&t, 0)) && prefix_ok(*last)) {
        ret->prefix = last->at;
        ret->prefix_len = last->len;
    }
}

void told_read(const struct head *h, const char *data, const struct ip_nets *trusted, struct told *ret)
{
    struct tail t;

    memset(ret, 0, offsetof(struct told, hops));
    collect(h, data, FIELD_X_FORWARDED_FOR, &t);
    if (t.count > 0) {
        read_list(&t, trusted, ret);
    } else {
        collect(h, data, FIELD_FORWARDED, &t);
        read_forwarded(&t, trusted, ret);
    }
    read_others(h, data, ret);
}
