/*
 * chunked.c: the chunked coding, a byte at a time outside of the data. Strict: hexadecimal digits only, no white space, CRLF only, bounded extensions and trailers, no control characters.
 */
#include "body.h"
#include "head.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SIZE_DIGITS_MAX     15U /* fits into 60 bits: no overflow to look for */
#define EXTENSION_BYTES_MAX 256U
#define TRAILER_BYTES_MAX   4096U

enum state { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER_NAME, TRAILER_VALUE, TRAILER_LF, END_LF, DONE, BROKEN };

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
    return ch == ';' ? EXTENSION : BROKEN;
}

static enum state on_size_end(struct chunked *c)
{
    c->digits = 0;
    return c->left ? DATA : TRAILER_START;
}

static enum state on_trailer(struct chunked *c, unsigned char ch)
{
    if (++c->trailer_bytes > TRAILER_BYTES_MAX)
        return BROKEN;
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
    case EXTENSION:
        if (ch == '\r')
            return SIZE_LF;
        return text_ok(ch) && ++c->extension_bytes <= EXTENSION_BYTES_MAX ? EXTENSION : BROKEN;
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
