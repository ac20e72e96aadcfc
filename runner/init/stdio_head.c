/*
 * stdio_head.c: the head of a request, strictly (RFC 9112): no bare LF, no folding, no blank before a colon, one Host, one length; what is in doubt is refused and the connection closed. The chunked coding is one
 * automaton by byte; data is moved in pieces.
 */
#include "stdio_head.h"

#include <string.h>
#include <strings.h>

bool stdio_text_is(struct stdio_text t, const char *s)
{
    return t.len == strlen(s) && memcmp(t.at, s, t.len) == 0;
}

static bool text_same(struct stdio_text t, const char *s)
{
    return t.len == strlen(s) && strncasecmp(t.at, s, t.len) == 0;
}

const struct stdio_text *stdio_head_field(const struct stdio_request *r, const char *name)
{
    for (unsigned i = 0; i < r->nfields; i++)
        if (text_same(r->fields[i].name, name))
            return &r->fields[i].value;
    return NULL;
}

/* RFC 9110 section 5.6.2 */
static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static struct stdio_text token_at(const char *p, const char *end)
{
    struct stdio_text t = {p, 0};

    while (p + t.len < end && is_token(p[t.len]))
        t.len++;
    return t;
}

/* METHOD SP /path?query SP HTTP/1.x */
static int parse_line(const char *p, const char *end, struct stdio_request *r)
{
    const char *q;

    r->method = token_at(p, end);
    p += r->method.len;
    if (r->method.len == 0 || r->method.len > 32 || p == end || *p++ != ' ')
        return -400;
    for (q = p; q < end && (unsigned char)*q > 0x20 && *q != 0x7f; q++)
        continue;
    if (q == p || *p != '/' || q == end || *q != ' ')
        return -400;
    r->path = (struct stdio_text){p, (size_t)(q - p)};
    r->query = (struct stdio_text){q, 0};
    for (const char *mark = p; mark < q; mark++)
        if (*mark == '?') {
            r->path.len = (size_t)(mark - p);
            r->query = (struct stdio_text){mark + 1, (size_t)(q - mark - 1)};
            break;
        }
    q++;
    if (end - q != 8 || memcmp(q, "HTTP/", 5) != 0)
        return -400;
    if (memcmp(q, "HTTP/1.", 7) != 0)
        return -505;
    if (q[7] != '0' && q[7] != '1')
        return q[7] >= '2' && q[7] <= '9' ? -505 : -400;
    r->http10 = q[7] == '0';
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int parse_field(const char *p, const char *end, struct stdio_field *f)
{
    f->name = token_at(p, end);
    p += f->name.len;
    if (f->name.len == 0 || p == end || *p++ != ':')
        return -400;
    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    f->value = (struct stdio_text){p, (size_t)(end - p)};
    for (; p < end; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return -400;
    return 0;
}

static int take_length(struct stdio_request *r, struct stdio_text v)
{
    int64_t n = 0;

    if (r->length >= 0 || v.len == 0 || v.len > 18)
        return -400;
    for (size_t i = 0; i < v.len; i++) {
        if (v.at[i] < '0' || v.at[i] > '9')
            return -400;
        n = n * 10 + (v.at[i] - '0');
    }
    r->length = n;
    return 0;
}

/* Is the word one of a list with commas? */
static bool list_has(struct stdio_text list, const char *word)
{
    const char *p = list.at, *end = p + list.len;

    while (p < end) {
        struct stdio_text item;

        while (p < end && (is_blank(*p) || *p == ','))
            p++;
        item = token_at(p, end);
        if (text_same(item, word))
            return true;
        p += item.len ? item.len : p < end;
    }
    return false;
}

static int take_field(struct stdio_request *r, const struct stdio_field *f)
{
    if (text_same(f->name, "content-length"))
        return take_length(r, f->value);
    if (text_same(f->name, "transfer-encoding")) {
        if (!text_same(f->value, "chunked"))
            return -501;
        if (r->chunked || r->http10)
            return -400;
        r->chunked = true;
    } else if (text_same(f->name, "host")) {
        if (r->host.at)
            return -400;
        r->host = f->value;
    } else if (text_same(f->name, "connection")) {
        r->close |= list_has(f->value, "close");
    } else if (text_same(f->name, "expect")) {
        if (!text_same(f->value, "100-continue"))
            return -417;
        r->expects = true;
    } else if (text_same(f->name, "content-type") && !r->type.at) {
        r->type = f->value;
    }
    return 0;
}

/* The end of the line that begins at p, where its CR stands; NULL: it is not there yet. *ret_bad: a CR or LF that is none. */
static const char *line_end(const char *p, const char *end, bool *ret_bad)
{
    for (; p < end; p++) {
        if (*p == '\n')
            *ret_bad = true;
        if (*p == '\r' && p + 1 < end && p[1] != '\n')
            *ret_bad = true;
        if (*ret_bad)
            return NULL;
        if (*p == '\r')
            return p + 1 < end ? p : NULL;
    }
    return NULL;
}

static int finish(struct stdio_request *r)
{
    if (r->chunked && r->length >= 0)
        return -400;
    if (!r->host.at && !r->http10)
        return -400;
    r->close |= r->http10; /* nobody who would keep it speaks to us in that version */
    return 0;
}

static int parse_whole(const char *buf, const char *end, struct stdio_request *r)
{
    bool bad = false;
    int status;

    for (const char *p = buf, *line; (line = line_end(p, end, &bad)); p = line + 2) {
        if (p == line && p != buf) {
            status = finish(r);
            return status < 0 ? status : (int)(line + 2 - buf);
        }
        if (p == buf) {
            status = parse_line(p, line, r);
        } else if (r->nfields == STDIO_FIELDS_MAX) {
            status = -431;
        } else {
            status = parse_field(p, line, &r->fields[r->nfields]);
            if (status == 0)
                status = take_field(r, &r->fields[r->nfields++]);
        }
        if (status < 0)
            return status;
    }
    return bad ? -400 : 0;
}

int stdio_head_parse(const char *buf, size_t len, struct stdio_request *ret)
{
    const char *end = buf + (len < STDIO_HEAD_MAX ? len : STDIO_HEAD_MAX);
    int r;

    ret->method = ret->path = ret->query = ret->host = ret->type = (struct stdio_text){NULL, 0};
    ret->http10 = ret->close = ret->chunked = ret->expects = false;
    ret->length = -1;
    ret->nfields = 0;
    r = parse_whole(buf, end, ret);
    return r == 0 && len >= STDIO_HEAD_MAX ? -431 : r;
}

/* ---- the body ---- */

enum chunk { SIZE_FIRST, SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_FIRST, TRAILER, TRAILER_LF, LAST_LF };

#define TRAILER_MAX 8192 /* of all chunk extensions and trailers together */

void stdio_body_init(struct stdio_body *b, const struct stdio_request *r)
{
    *b = (struct stdio_body){.chunked = r->chunked, .state = SIZE_FIRST, .left = r->length > 0 ? (uint64_t)r->length : 0};
    b->done = !b->chunked && b->left == 0;
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int size_byte(struct stdio_body *b, char c)
{
    const int digit = hex_of(c);

    if (digit >= 0) {
        if (b->left >> 56)
            return -1;
        b->left = b->left << 4 | (unsigned)digit;
        return SIZE;
    }
    if (b->state == SIZE_FIRST)
        return -1;
    return c == '\r' ? SIZE_LF : c == ';' ? EXTENSION : -1;
}

/* A text that is skipped, to its CR. */
static int skipped_byte(struct stdio_body *b, char c, int next)
{
    if (++b->trailer > TRAILER_MAX || ((unsigned char)c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
        return -1;
    return c == '\r' ? next : b->state == TRAILER_FIRST ? TRAILER : b->state;
}

/* The next state after a byte of the coding, or -1. */
static int coding_byte(struct stdio_body *b, char c)
{
    switch (b->state) {
    case SIZE_FIRST:
    case SIZE:
        return size_byte(b, c);
    case EXTENSION:
        return skipped_byte(b, c, SIZE_LF);
    case SIZE_LF:
        return c != '\n' ? -1 : b->left ? DATA : TRAILER_FIRST;
    case DATA_CR:
        return c == '\r' ? DATA_LF : -1;
    case DATA_LF:
        return c == '\n' ? SIZE_FIRST : -1;
    case TRAILER_FIRST:
        return c == '\r' ? LAST_LF : skipped_byte(b, c, TRAILER_LF);
    case TRAILER:
        return skipped_byte(b, c, TRAILER_LF);
    case TRAILER_LF:
        return c == '\n' ? TRAILER_FIRST : -1;
    default: /* LAST_LF */
        b->done = c == '\n';
        return b->done ? LAST_LF : -1;
    }
}

int64_t stdio_body_take(struct stdio_body *b, char *buf, size_t len, size_t *ret_payload)
{
    size_t at = 0, out = 0;

    *ret_payload = 0;
    while (at < len && !b->done) {
        if (!b->chunked || b->state == DATA) {
            const size_t n = len - at < b->left ? len - at : (size_t)b->left;

            memmove(buf + out, buf + at, n);
            at += n;
            out += n;
            b->left -= n;
            b->taken += n;
            if (b->left == 0 && b->chunked)
                b->state = DATA_CR;
            else if (b->left == 0)
                b->done = true;
        } else {
            const int next = coding_byte(b, buf[at++]);

            if (next < 0)
                return -1;
            b->state = (uint8_t)next;
        }
    }
    *ret_payload = out;
    return (int64_t)at;
}
