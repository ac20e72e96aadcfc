/*
 * chunked.c: the chunked coding, a byte at a time outside of the data. Strict: hexadecimal digits only, no white space, CRLF only, bounded extensions (checked, dropped) and trailers, no control characters.
 */
#include "body.h"
#include "head.h"
#include "trailer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SIZE_DIGITS_MAX     15U /* fits into 60 bits: no overflow to look for */
#define EXTENSION_BYTES_MAX 256U
#define EXCESS_MAX          16384

enum state {
    SIZE,
    EXT_START,
    EXT_NAME,
    EXT_NAME_END,
    EXT_EQUALS,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_ESCAPED,
    EXT_END,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    DONE,
    BROKEN
};

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool text_ok(unsigned char c)
{
    return (c >= 0x20 || c == '\t') && c != 0x7f;
}

static bool is_blank(unsigned char c)
{
    return c == ' ' || c == '\t';
}

/*
 * ";" name [ "=" value ], again and again (RFC 9112 section 7.1.1), with blanks around "=" and behind ";": bad, but to be taken.
 */
static enum state on_extension_byte(enum state s, unsigned char ch)
{
    switch (s) {
    case EXT_START:
        return char_is_token(ch) ? EXT_NAME : is_blank(ch) ? EXT_START : BROKEN;
    case EXT_NAME:
    case EXT_NAME_END:
        if (s == EXT_NAME && char_is_token(ch))
            return EXT_NAME;
        return ch == '=' ? EXT_EQUALS : ch == ';' ? EXT_START : is_blank(ch) ? EXT_NAME_END : BROKEN;
    case EXT_EQUALS:
        return char_is_token(ch) ? EXT_VALUE : ch == '"' ? EXT_QUOTED : is_blank(ch) ? EXT_EQUALS : BROKEN;
    case EXT_QUOTED:
        return ch == '"' ? EXT_END : ch == '\\' ? EXT_ESCAPED : text_ok(ch) ? EXT_QUOTED : BROKEN;
    case EXT_ESCAPED:
        return text_ok(ch) ? EXT_QUOTED : BROKEN;
    default:
        if (s == EXT_VALUE && char_is_token(ch))
            return EXT_VALUE;
        return ch == ';' ? EXT_START : is_blank(ch) ? EXT_END : BROKEN;
    }
}

/* A chunk may have 256 bytes of them, and all together not much more than there is of data: they cost work and carry nothing. */
static enum state on_extension(struct chunked *c, unsigned char ch)
{
    if (ch == '\r' && (c->state == EXT_NAME || c->state == EXT_NAME_END || c->state == EXT_VALUE || c->state == EXT_END))
        return SIZE_LF;
    if (++c->extension_bytes > EXTENSION_BYTES_MAX || ++c->excess > EXCESS_MAX)
        return BROKEN;
    return on_extension_byte(c->state, ch);
}

static enum state on_size(struct chunked *c, unsigned char ch)
{
    int v = hex_value(ch);

    if (v >= 0) {
        c->left = c->left << 4 | (unsigned)v;
        return ++c->digits > SIZE_DIGITS_MAX ? BROKEN : SIZE;
    }
    if (c->digits == 0)
        return BROKEN;
    c->extension_bytes = 0;
    if (ch == '\r')
        return SIZE_LF;
    return ch == ';' ? EXT_START : BROKEN;
}

static enum state on_size_end(struct chunked *c)
{
    c->digits = 0;
    c->excess = c->left < (uint64_t)c->excess ? c->excess - (int32_t)c->left : 0;
    return c->left ? DATA : TRAILER_START;
}

static enum state on_trailer(struct chunked *c, unsigned char ch)
{
    if (++c->trailer_bytes > TRAILER_BYTES_MAX)
        return BROKEN;
    if (c->keep && (c->state != TRAILER_START || ch != '\r'))
        trailer_add(&c->trailer, (char)ch);
    switch (c->state) {
    case TRAILER_START:
        if (ch == '\r')
            return END_LF;
        return char_is_token(ch) ? TRAILER_NAME : BROKEN;
    case TRAILER_NAME:
        if (ch == ':')
            return TRAILER_VALUE;
        return char_is_token(ch) ? TRAILER_NAME : BROKEN;
    case TRAILER_VALUE:
        if (ch == '\r')
            return TRAILER_LF;
        return text_ok(ch) ? TRAILER_VALUE : BROKEN;
    default:
        return ch == '\n' ? TRAILER_START : BROKEN;
    }
}

/* Every state but DATA. */
static enum state on_byte(struct chunked *c, unsigned char ch)
{
    switch (c->state) {
    case SIZE:
        return on_size(c, ch);
    case EXT_START:
    case EXT_NAME:
    case EXT_NAME_END:
    case EXT_EQUALS:
    case EXT_VALUE:
    case EXT_QUOTED:
    case EXT_ESCAPED:
    case EXT_END:
        return on_extension(c, ch);
    case SIZE_LF:
        return ch == '\n' ? on_size_end(c) : BROKEN;
    case DATA_CR:
        return ch == '\r' ? DATA_LF : BROKEN;
    case DATA_LF:
        return ch == '\n' ? SIZE : BROKEN;
    case END_LF:
        return ch == '\n' ? DONE : BROKEN;
    default:
        return on_trailer(c, ch);
    }
}

bool chunked_done(const struct chunked *c)
{
    return c->state == DONE;
}

ssize_t chunked_decode(struct chunked *c, char *data, size_t len, size_t *ret_payload)
{
    size_t in = 0, out = 0;

    while (in < len && c->state != DONE && c->state != BROKEN) {
        if (c->state == DATA) {
            size_t n = len - in < c->left ? len - in : (size_t)c->left;

            if (in != out)
                memmove(data + out, data + in, n);
            in += n;
            out += n;
            chunked_moved(c, n);
            continue;
        }
        c->state = (uint8_t)on_byte(c, (unsigned char)data[in++]);
    }
    *ret_payload = out;
    return c->state == BROKEN ? -EPROTO : (ssize_t)in;
}

uint64_t chunked_plain(const struct chunked *c)
{
    return c->state == DATA ? c->left : 0;
}

void chunked_moved(struct chunked *c, uint64_t n)
{
    assert(c->state == DATA && n <= c->left);
    c->left -= n;
    if (c->left == 0)
        c->state = DATA_CR;
}
