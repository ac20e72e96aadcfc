/* h2_answer.c: see h2_message.h. The text is our own, made by rewrite.c, flow.c or exchange.c: what does not fit ends the stream rather than be guessed at. */
#include "h2_message.h"

#include "../http/head.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SIZE_DIGITS    15U
#define TRAILERS_MAX   16384U
#define TRAILERS_START "HTTP/1.1 200 \r\n" /* so that the parser of heads reads them */

static_assert(H2_FIELDS_MAX > HEAD_FIELDS_MAX, "a head's fields and :status");

/* RFC 9113 section 8.2.2; the parser's names for them. */
static bool of_the_connection(unsigned id)
{
    return id == FIELD_CONNECTION || id == FIELD_KEEP_ALIVE || id == FIELD_PROXY_CONNECTION || id == FIELD_TRANSFER_ENCODING || id == FIELD_UPGRADE;
}

static void add(struct h2_fields *to, const char *name, size_t name_len, const char *value, size_t value_len)
{
    to->nv[to->n++] = (nghttp2_nv){.name = (uint8_t *)name, .namelen = name_len, .value = (uint8_t *)value, .valuelen = value_len};
}

static void add_fields(const struct head *h, const char *data, struct h2_fields *to)
{
    for (unsigned i = 0; i < h->nfields; i++) {
        const struct field *f = &h->fields[i];

        if (!of_the_connection(f->id))
            add(to, data + f->name, f->name_len, data + f->value, f->value_len);
    }
}

static int parse_length(const char *s, size_t len, uint64_t *ret)
{
    uint64_t v = 0;

    if (len == 0 || len > 18)
        return -EPROTO;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -EPROTO;
        v = v * 10 + (uint64_t)(s[i] - '0');
    }
    *ret = v;
    return 0;
}

/* What follows the head. */
static int choose_body(struct h2_answer *a, const struct head *h, const char *data)
{
    bool has_length = false;

    a->state = H2_ANSWER_DONE;
    if (a->to_head || h->status == 204 || h->status == 304)
        return 0;
    for (unsigned i = 0; i < h->nfields; i++) {
        const struct field *f = &h->fields[i];

        if (f->id == FIELD_TRANSFER_ENCODING)
            a->state = H2_ANSWER_SIZE;
        if (f->id == FIELD_CONTENT_LENGTH && parse_length(data + f->value, f->value_len, &a->left) < 0)
            return -EPROTO;
        has_length = has_length || f->id == FIELD_CONTENT_LENGTH;
    }
    if (a->state == H2_ANSWER_SIZE) {
        a->left = 0;
        return has_length ? -EPROTO : 0;
    }
    if (has_length && a->left > 0)
        a->state = H2_ANSWER_LENGTH;
    return has_length ? 0 : -EPROTO;
}

ssize_t h2_answer_head(struct h2_answer *a, const char *data, size_t len, struct h2_fields *ret)
{
    struct head h;

    head_init(&h, HEAD_RESPONSE);
    if (head_parse(&h, data, len < HEAD_BYTES_MAX ? len : HEAD_BYTES_MAX) != HEAD_DONE || h.status == 101)
        return -EPROTO;
    if (h.status >= 200 && choose_body(a, &h, data) < 0)
        return -EPROTO;
    ret->n = 0;
    memcpy(ret->status, data + 9, sizeof(ret->status));
    add(ret, ":status", 7, ret->status, sizeof(ret->status));
    add_fields(&h, data, ret);
    return (ssize_t)h.len;
}

/* ---- body ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1f4\r\n", as flow.c and exchange_write() write it. Bytes read. */
static ssize_t read_size(struct h2_answer *a, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int digit = hex(data[i]);

        if (digit >= 0 && a->line < SIZE_DIGITS) {
            a->left = a->left << 4 | (unsigned)digit;
            a->line++;
        } else if (data[i] == '\r' && a->line > 0 && a->line <= SIZE_DIGITS) {
            a->line = SIZE_DIGITS + 1;
        } else if (data[i] == '\n' && a->line == SIZE_DIGITS + 1) {
            a->line = 0;
            a->state = a->left > 0 ? H2_ANSWER_CHUNK : H2_ANSWER_TRAILERS;
            return (ssize_t)i + 1;
        } else {
            return -EPROTO;
        }
    }
    return (ssize_t)len;
}

static ssize_t read_chunk_end(struct h2_answer *a, const char *data, size_t len)
{
    size_t n = len < 2 - a->line ? len : 2 - a->line;

    if (memcmp(data, &"\r\n"[a->line], n) != 0)
        return -EPROTO;
    a->line += (uint32_t)n;
    if (a->line == 2) {
        a->line = 0;
        a->state = H2_ANSWER_SIZE;
    }
    return (ssize_t)n;
}

/* One line of them at most. The empty one ends the answer; where it is the only one, nothing is kept. */
static ssize_t read_trailers(struct h2_answer *a, const char *data, size_t len)
{
    const char *lf = memchr(data, '\n', len);
    size_t n = lf ? (size_t)(lf - data) + 1 : len;

    if (a->trailers.len == 0 && len >= 2 && memcmp(data, "\r\n", 2) == 0) {
        a->state = H2_ANSWER_DONE;
        return 2;
    }
    if (a->trailers.len == 0)
        strbuf_puts(&a->trailers, TRAILERS_START);
    strbuf_add(&a->trailers, data, n);
    if (a->trailers.failed || a->trailers.len > TRAILERS_MAX)
        return a->trailers.failed ? -ENOMEM : -EPROTO;
    a->line += (uint32_t)n;
    if (!lf)
        return (ssize_t)n;
    if (a->line == 2)
        a->state = H2_ANSWER_DONE;
    a->line = 0;
    return (ssize_t)n;
}

static ssize_t read_payload(struct h2_answer *a, const char *data, size_t len, char *to, size_t room)
{
    size_t n = len < room ? len : room;

    if (n > a->left)
        n = (size_t)a->left;
    memcpy(to, data, n);
    a->left -= n;
    if (a->left == 0)
        a->state = a->state == H2_ANSWER_LENGTH ? H2_ANSWER_DONE : H2_ANSWER_CHUNK_END;
    return (ssize_t)n;
}

ssize_t h2_answer_body(struct h2_answer *a, const char *data, size_t len, char *to, size_t room, size_t *ret_payload)
{
    size_t at = 0, payload = 0;

    while (at < len && a->state != H2_ANSWER_DONE) {
        ssize_t n;

        switch (a->state) {
        case H2_ANSWER_LENGTH:
        case H2_ANSWER_CHUNK:
            n = read_payload(a, data + at, len - at, to + payload, room - payload);
            if (n == 0) { /* no room */
                *ret_payload = payload;
                return (ssize_t)at;
            }
            payload += (size_t)n;
            break;
        case H2_ANSWER_SIZE:
            n = read_size(a, data + at, len - at);
            break;
        case H2_ANSWER_CHUNK_END:
            n = read_chunk_end(a, data + at, len - at);
            break;
        case H2_ANSWER_TRAILERS:
            n = read_trailers(a, data + at, len - at);
            break;
        default:
            n = -EPROTO;
            break;
        }
        if (n < 0)
            return n;
        at += (size_t)n;
    }
    *ret_payload = payload;
    return (ssize_t)at;
}

int h2_answer_trailers(const struct h2_answer *a, struct h2_fields *ret)
{
    struct head h;

    ret->n = 0;
    if (a->trailers.len == 0)
        return 0;
    head_init(&h, HEAD_RESPONSE);
    if (head_parse(&h, a->trailers.data, a->trailers.len) != HEAD_DONE || h.len != a->trailers.len)
        return -EPROTO;
    add_fields(&h, a->trailers.data, ret);
    return 0;
}

void h2_answer_done(struct h2_answer *a)
{
    strbuf_done(&a->trailers);
}
