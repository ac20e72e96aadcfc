/*
 * h2_request.c: see h2_message.h. Nothing gets into the text that could end a line or the head: names are tokens in lower case, values hold no control character, and what a request line is made of holds no blank.
 */
#include "h2_message.h"

#include "../http/buffer.h"
#include "../http/head.h"

#include <string.h>
#include <strings.h>

#define FIELD_COST    32U /* RFC 9113 section 6.5.2 */
#define LENGTH_DIGITS 18U

void h2_block_refuse(struct h2_block *b, enum h2_verdict verdict, const char *why)
{
    if (b->verdict != H2_GOOD)
        return;
    b->verdict = verdict;
    b->why = why;
}

static void malformed(struct h2_block *b, const char *why)
{
    h2_block_refuse(b, H2_MALFORMED, why);
}

void h2_block_begin(struct h2_block *b, enum h2_block_kind kind, struct buffer *buf)
{
    *b = (struct h2_block){.kind = kind, .buf = buf, .cookies = sizeof(buf->data)};
    buf->start = buf->end = 0;
}

static bool room_for(struct h2_block *b, size_t len)
{
    if (b->cookies - b->buf->end >= len)
        return true;
    h2_block_refuse(b, H2_TOO_LARGE, "the head is too large");
    return false;
}

static void add(struct h2_block *b, const void *data, size_t len)
{
    memcpy(b->buf->data + b->buf->end, data, len);
    b->buf->end += (uint32_t)len;
}

static void add_line(struct h2_block *b, const char *name, size_t name_len, const char *value, size_t value_len)
{
    if (!room_for(b, name_len + value_len + 4))
        return;
    add(b, name, name_len);
    add(b, ": ", 2);
    add(b, value, value_len);
    add(b, "\r\n", 2);
}

/* From the back, each with its length behind it, so that they are found again in the order in which they came. */
static void add_cookie(struct h2_block *b, const char *value, size_t len)
{
    const uint16_t len16 = (uint16_t)len;

    if (!room_for(b, len + sizeof(len16)))
        return;
    b->cookies -= sizeof(len16);
    memcpy(b->buf->data + b->cookies, &len16, sizeof(len16));
    b->cookies -= (uint32_t)len;
    memcpy(b->buf->data + b->cookies, value, len);
}

/* ---- pseudo-fields ---- */

static bool visible(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] <= 0x20 || (unsigned char)s[i] >= 0x7f)
            return false;
    return len > 0;
}

static bool token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!char_is_token((unsigned char)s[i]))
            return false;
    return len > 0;
}

static const char *judge_pseudo(enum h2_pseudo which, const char *v, size_t len)
{
    switch (which) {
    case H2_METHOD:
        return token(v, len) ? NULL : ":method is no token";
    case H2_SCHEME:
        return text_is(v, len, "http") || text_is(v, len, "https") ? NULL : ":scheme is neither http nor https";
    case H2_AUTHORITY:
        return visible(v, len) ? NULL : ":authority is empty or holds a character that no host name has";
    default:
        if (!visible(v, len) || memchr(v, '#', len))
            return ":path is empty or holds a character that must be percent-encoded";
        return v[0] == '/' || (v[0] == '*' && len == 1) ? NULL : ":path does not begin with a slash";
    }
}

static void pseudo_field(struct h2_block *b, const char *name, size_t name_len, const char *value, size_t value_len)
{
    static const char *const names[] = {[H2_METHOD] = ":method", [H2_SCHEME] = ":scheme", [H2_AUTHORITY] = ":authority", [H2_PATH] = ":path"};
    const char *why;
    unsigned i = 0;

    if (b->kind == H2_BLOCK_TRAILERS) {
        malformed(b, "a pseudo-field in trailers");
        return;
    }
    if (b->regular) {
        malformed(b, "a pseudo-field behind another field");
        return;
    }
    while (i < H2_PSEUDO_COUNT && (strlen(names[i]) != name_len || memcmp(names[i], name, name_len) != 0))
        i++;
    if (i == H2_PSEUDO_COUNT || b->seen & 1U << i) {
        malformed(b, i == H2_PSEUDO_COUNT ? "an unknown pseudo-field" : "a pseudo-field comes twice");
        return;
    }
    why = judge_pseudo((enum h2_pseudo)i, value, value_len);
    if (why) {
        malformed(b, why);
        return;
    }
    if (!room_for(b, value_len))
        return;
    b->seen |= 1U << i;
    b->pseudo[i].at = b->buf->end;
    b->pseudo[i].len = (uint32_t)value_len;
    add(b, value, value_len);
}

/* ---- other fields ---- */

enum rule { RULE_PLAIN, RULE_CONNECTION, RULE_TE, RULE_HOST, RULE_LENGTH, RULE_COOKIE };

static enum rule rule_of(const char *name, size_t len)
{
    static const struct {
        const char *name;
        enum rule rule;
    } rules[] = {
        {"connection", RULE_CONNECTION},
        {"keep-alive", RULE_CONNECTION},
        {"proxy-connection", RULE_CONNECTION},
        {"transfer-encoding", RULE_CONNECTION},
        {"upgrade", RULE_CONNECTION},
        {"te", RULE_TE},
        {"host", RULE_HOST},
        {"content-length", RULE_LENGTH},
        {"cookie", RULE_COOKIE},
    };

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strlen(rules[i].name) == len && memcmp(rules[i].name, name, len) == 0)
            return rules[i].rule;
    return RULE_PLAIN;
}

static void on_host(struct h2_block *b, const char *value, size_t len)
{
    const char *authority = b->buf->data + b->pseudo[H2_AUTHORITY].at;

    if (b->has_host || !visible(value, len)) {
        malformed(b, b->has_host ? "host comes twice" : "host is empty or holds a character that no host name has");
        return;
    }
    b->has_host = true;
    if (!(b->seen & 1U << H2_AUTHORITY))
        add_line(b, "host", 4, value, len);
    else if (b->pseudo[H2_AUTHORITY].len != len || strncasecmp(authority, value, len) != 0)
        malformed(b, "host differs from :authority");
}

static void on_length(struct h2_block *b, const char *value, size_t len)
{
    if (b->has_length || len == 0 || len > LENGTH_DIGITS) {
        malformed(b, b->has_length ? "content-length comes twice" : "content-length is empty or too large");
        return;
    }
    b->has_length = true;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9') {
            malformed(b, "content-length is not a number");
            return;
        }
        b->length = b->length * 10 + (uint64_t)(value[i] - '0');
    }
    add_line(b, "content-length", 14, value, len);
}

static bool name_ok(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!char_is_token((unsigned char)s[i]) || (s[i] >= 'A' && s[i] <= 'Z'))
            return false;
    return len > 0;
}

static bool value_ok(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f)
            return false;
    return len == 0 || !(s[0] == ' ' || s[0] == '\t' || s[len - 1] == ' ' || s[len - 1] == '\t');
}

static void regular_field(struct h2_block *b, const char *name, size_t name_len, const char *value, size_t value_len)
{
    enum rule rule = rule_of(name, name_len);

    if (!b->regular) {
        b->regular = true;
        b->lines = b->buf->end;
    }
    if (b->kind == H2_BLOCK_TRAILERS && rule != RULE_PLAIN) {
        malformed(b, "a field that is not allowed in trailers");
        return;
    }
    switch (rule) {
    case RULE_CONNECTION:
        malformed(b, "a field of HTTP/1.1 connections");
        break;
    case RULE_TE:
        if (b->has_te || !text_is(value, value_len, "trailers"))
            malformed(b, "te other than trailers");
        b->has_te = true;
        add_line(b, name, name_len, value, value_len);
        break;
    case RULE_HOST:
        on_host(b, value, value_len);
        break;
    case RULE_LENGTH:
        on_length(b, value, value_len);
        break;
    case RULE_COOKIE:
        add_cookie(b, value, value_len);
        break;
    default:
        add_line(b, name, name_len, value, value_len);
        break;
    }
}

void h2_block_field(struct h2_block *b, const char *name, size_t name_len, const char *value, size_t value_len, uint32_t list_max)
{
    size_t cost = name_len + value_len + FIELD_COST;

    b->list_bytes = cost > UINT32_MAX - b->list_bytes ? UINT32_MAX : b->list_bytes + (uint32_t)cost; /* goes on for those who bound a block that was refused */
    if (b->list_bytes > list_max)
        h2_block_refuse(b, H2_TOO_LARGE, "the head is too large");
    if (b->verdict != H2_GOOD)
        return;
    if (name_len > 0 && name[0] == ':')
        pseudo_field(b, name, name_len, value, value_len);
    else if (!name_ok(name, name_len))
        malformed(b, "a field name that is no token in lower case");
    else if (!value_ok(value, value_len))
        malformed(b, "a field value with a control character, or with blanks around it");
    else
        regular_field(b, name, name_len, value, value_len);
}

/* ---- the head ---- */

struct out {
    struct buffer *buf;
    bool full;
};

static void put(struct out *o, const void *data, size_t len)
{
    if (sizeof(o->buf->data) - o->buf->end < len) {
        o->full = true;
        return;
    }
    memcpy(o->buf->data + o->buf->end, data, len);
    o->buf->end += (uint32_t)len;
}

#define PUT(o, text) put(o, text, sizeof(text) - 1)

static void put_pseudo(struct out *o, const struct h2_block *b, enum h2_pseudo which)
{
    put(o, b->buf->data + b->pseudo[which].at, b->pseudo[which].len);
}

/* RFC 9113 section 8.2.3: one field, for those who know HTTP/1.1. */
static void put_cookies(struct out *o, const struct h2_block *b)
{
    uint32_t at = sizeof(b->buf->data);
    const char *before = "cookie: ";

    while (at > b->cookies) {
        uint16_t len;

        at -= sizeof(len);
        memcpy(&len, b->buf->data + at, sizeof(len));
        at -= len;
        put(o, before, strlen(before));
        put(o, b->buf->data + at, len);
        before = "; ";
    }
    if (b->cookies < sizeof(b->buf->data))
        PUT(o, "\r\n");
}

static const char *incomplete(const struct h2_block *b, bool connect, bool ends)
{
    const uint32_t seen = b->seen, target = 1U << H2_SCHEME | 1U << H2_PATH;

    if (!(seen & 1U << H2_METHOD))
        return ":method is missing";
    if (connect ? (seen & target) != 0 || !(seen & 1U << H2_AUTHORITY) : (seen & target) != target)
        return connect ? "CONNECT with a :path or without an :authority" : ":scheme or :path is missing";
    return ends && b->length > 0 ? "content-length without a body" : NULL;
}

enum h2_verdict h2_block_request(struct h2_block *b, bool ends, struct buffer *out, bool *ret_chunked)
{
    const char *method = b->buf->data + b->pseudo[H2_METHOD].at;
    bool connect = b->pseudo[H2_METHOD].len == 7 && memcmp(method, "CONNECT", 7) == 0;
    const char *why = incomplete(b, connect, ends);
    struct out o = {.buf = out};

    if (why)
        malformed(b, why);
    if (b->verdict != H2_GOOD)
        return b->verdict;
    put_pseudo(&o, b, H2_METHOD);
    PUT(&o, " ");
    put_pseudo(&o, b, connect ? H2_AUTHORITY : H2_PATH);
    PUT(&o, " HTTP/1.1\r\n");
    if (b->seen & 1U << H2_AUTHORITY) {
        PUT(&o, "host: ");
        put_pseudo(&o, b, H2_AUTHORITY);
        PUT(&o, "\r\n");
    }
    if (b->regular)
        put(&o, b->buf->data + b->lines, b->buf->end - b->lines);
    put_cookies(&o, b);
    *ret_chunked = !ends && !b->has_length;
    if (*ret_chunked)
        PUT(&o, "transfer-encoding: chunked\r\n");
    PUT(&o, "connection: close\r\n\r\n"); /* a stream carries one request */
    if (o.full)
        h2_block_refuse(b, H2_TOO_LARGE, "the head is too large");
    return b->verdict;
}
