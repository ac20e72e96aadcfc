/*
 * head.c: see head.h. Works a line at a time: memchr finds the line feed, from where the last call stopped; a line is looked at once, when it is whole.
 * Bytes that end no line are never an error by themselves, but for the size and for a first byte that begins no method: a prefix of a good head always says "more".
 */
#include "head.h"

#include <assert.h>
#include <string.h>

#define REQUEST_LINE_REST 64U /* method, version, two blanks */

static_assert(HEAD_BYTES_MAX < UINT16_MAX, "offsets fit into 16 bits");

void head_init(struct head *h, enum head_kind kind)
{
    memset(h, 0, offsetof(struct head, fields));
    h->kind = (uint16_t)kind;
    h->max_bytes = HEAD_BYTES_MAX;
    h->max_target = HEAD_TARGET_MAX;
    h->max_fields = HEAD_FIELDS_MAX;
}

static uint32_t below(uint64_t value, uint32_t most)
{
    return value < most ? (uint32_t)value : most;
}

void head_bound(struct head *h, uint64_t bytes, uint64_t target, uint64_t fields)
{
    h->max_bytes = below(bytes, HEAD_BYTES_MAX);
    h->max_target = (uint16_t)below(target, HEAD_TARGET_MAX);
    h->max_fields = (uint16_t)below(fields, HEAD_FIELDS_MAX);
}

static enum head_result refuse(struct head *h, unsigned status, const char *why)
{
    h->refused = (uint16_t)status;
    h->why = why;
    return HEAD_REFUSED;
}

/* field-content: visible characters, blanks, and bytes above 0x7f. Eight at a time: is any byte below 0x20, or 0x7f? The test may be wrong for bytes behind a hit, so a hit is looked at again. */
static bool value_ok(const char *s, size_t len)
{
    const uint64_t ones = 0x0101010101010101ULL, high = ones * 0x80;
    size_t i = 0;

    for (; i + 8 <= len; i += 8) {
        uint64_t x, del;

        memcpy(&x, s + i, 8);
        del = x ^ ones * 0x7f;
        if (((x - ones * 0x20) & ~x & high) || ((del - ones) & ~del & high))
            break;
    }
    for (; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* "HTTP/1.0" or "HTTP/1.1". */
static enum head_result parse_version(struct head *h, const char *s, size_t len)
{
    if (len != 8 || memcmp(s, "HTTP/", 5) != 0 || s[5] < '0' || s[5] > '9' || s[6] != '.' || s[7] < '0' || s[7] > '9')
        return refuse(h, 400, "the start line names no HTTP version");
    if (s[5] != '1' || s[7] > '1')
        return refuse(h, s[5] == '0' ? 400 : 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    h->minor = (uint8_t)(s[7] - '0');
    return HEAD_MORE;
}

static enum head_result parse_request_line(struct head *h, const char *data, size_t from, size_t to)
{
    size_t i = from, target;

    if (to - from >= h->max_target + REQUEST_LINE_REST) /* as for a line without its end, whose last byte may be the CR */
        return refuse(h, 414, "the request target is too long");
    while (char_is_token((unsigned char)data[i]))
        i++;
    if (i == from || i == to || data[i] != ' ')
        return refuse(h, 400, "the request line has no valid method");
    h->method = (uint16_t)from;
    h->method_len = (uint16_t)(i - from);
    target = ++i;
    while (i < to && (unsigned char)data[i] > 0x20 && (unsigned char)data[i] < 0x7f && data[i] != '#')
        i++;
    if (i == target || i == to || data[i] != ' ')
        return refuse(h, 400, "the request target is empty or holds a character that must be percent-encoded");
    if (i - target > h->max_target)
        return refuse(h, 414, "the request target is too long");
    h->target = (uint16_t)target;
    h->target_len = (uint16_t)(i - target);
    return parse_version(h, data + i + 1, to - i - 1);
}

/* HTTP/1.1 200 reason: the reason and the blank before it may be missing. */
static enum head_result parse_status_line(struct head *h, const char *data, size_t from, size_t to)
{
    const char *s = data + from;
    size_t len = to - from;
    enum head_result r;

    if (len < 12 || s[8] != ' ' || (len > 12 && s[12] != ' '))
        return refuse(h, 502, "the status line is malformed");
    r = parse_version(h, s, 8);
    if (r == HEAD_REFUSED)
        return refuse(h, 502, h->why);
    for (size_t i = 9; i < 12; i++) {
        if (s[i] < '0' || s[i] > '9')
            return refuse(h, 502, "the status is not a number");
        h->status = (uint16_t)(h->status * 10 + (s[i] - '0'));
    }
    if (h->status < 100 || h->status > 599)
        return refuse(h, 502, "the status is not between 100 and 599");
    if (!value_ok(s + 12, len - 12))
        return refuse(h, 502, "the status line holds a control character");
    return r;
}

static enum head_result parse_field(struct head *h, const char *data, size_t from, size_t to)
{
    const unsigned bad = h->kind == HEAD_REQUEST ? 400 : 502;
    size_t i = from, end = to;
    struct field *f;

    if (h->nfields == h->max_fields)
        return refuse(h, 431, "too many fields");
    while (char_is_token((unsigned char)data[i]))
        i++;
    if (i == from || i == to || data[i] != ':') /* also: folded lines, white space before the colon */
        return refuse(h, bad, "a field has no valid name");
    f = &h->fields[h->nfields++];
    f->name = (uint16_t)from;
    f->name_len = (uint16_t)(i - from);
    f->line_len = (uint16_t)(to + 2 - from);
    f->id = (uint16_t)field_lookup(data + from, i - from);
    for (i++; i < end && (data[i] == ' ' || data[i] == '\t'); i++)
        ;
    while (end > i && (data[end - 1] == ' ' || data[end - 1] == '\t'))
        end--;
    f->value = (uint16_t)i;
    f->value_len = (uint16_t)(end - i);
    return value_ok(data + i, end - i) ? HEAD_MORE : refuse(h, bad, "a field holds a control character");
}

static enum head_result parse_line(struct head *h, const char *data, size_t from, size_t to)
{
    if (h->started)
        return parse_field(h, data, from, to);
    h->started = true;
    return h->kind == HEAD_REQUEST ? parse_request_line(h, data, from, to) : parse_status_line(h, data, from, to);
}

static enum head_result check_size(struct head *h, const char *data, size_t len)
{
    if (h->kind == HEAD_REQUEST && !h->started && len > h->line) {
        unsigned char c = (unsigned char)data[h->line];

        if (!char_is_token(c) && c != '\r')
            return refuse(h, 400, "this is not HTTP");
        if (len - h->line > h->max_target + REQUEST_LINE_REST)
            return refuse(h, 414, "the request target is too long");
    }
    return len > h->max_bytes ? refuse(h, 431, "the head is too large") : HEAD_MORE;
}

enum head_result head_parse(struct head *h, const char *data, size_t len)
{
    const unsigned bad = h->kind == HEAD_REQUEST ? 400 : 502;
    const size_t limit = len < h->max_bytes ? len : h->max_bytes;
    const char *lf;

    while (h->scanned < limit && (lf = memchr(data + h->scanned, '\n', limit - h->scanned))) {
        size_t from = h->line, to = (size_t)(lf - data);
        enum head_result r;

        if (to == from || data[to - 1] != '\r')
            return refuse(h, bad, "a line ends with a bare line feed");
        h->line = h->scanned = (uint32_t)(to + 1);
        if (--to > from) {
            r = parse_line(h, data, from, to);
            if (r != HEAD_MORE)
                return r;
        } else if (h->started) {
            h->len = h->line;
            return HEAD_DONE;
        } else if (h->kind == HEAD_RESPONSE || h->blank_skipped) {
            return refuse(h, bad, "an empty line where a start line should be");
        } else {
            h->blank_skipped = true;
        }
    }
    if (h->scanned < limit)
        h->scanned = (uint32_t)limit;
    return check_size(h, data, len);
}
