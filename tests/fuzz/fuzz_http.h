/* fuzz_http.h: what the targets of the gateway's HTTP share. An input lies in memory of its very size, so that the sanitizer sees a byte too far. */
#pragma once

#include "../../runner/gateway/http/buffer.h"
#include "../../runner/gateway/http/message.h"
#include "../../runner/gateway/http/told.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Without bytes too: the parser must not look. */
static inline char *exact_copy(const void *data, size_t len)
{
    char *copy = malloc(len ? len : 1);

    if (!copy)
        abort();
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

/* At once, and in pieces at another address each time: the outcome is the same, but for what a refusal says. */
static inline enum head_result parse_both_ways(struct head *h, enum head_kind kind, const char *data, size_t len, size_t step)
{
    enum head_result whole, r = HEAD_MORE;
    struct head *other = malloc(sizeof(*other));

    if (!other)
        abort();
    head_init(h, kind);
    whole = head_parse(h, data, len);
    head_init(other, kind);
    for (size_t n = step; r == HEAD_MORE; n += step) {
        size_t have = n < len ? n : len;
        char *copy = exact_copy(data, have);

        r = head_parse(other, copy, have);
        free(copy);
        if (have == len)
            break;
    }
    assert(r == whole);
    if (whole == HEAD_DONE) {
        assert(h->len <= len && other->len == h->len && other->nfields == h->nfields);
        assert(memcmp(h->fields, other->fields, sizeof(struct field) * h->nfields) == 0);
    } else if (whole == HEAD_REFUSED) {
        assert(h->refused >= 400 && h->refused <= 599 && h->why);
    }
    free(other);
    return whole;
}

/* What is sent on: nothing in it that another reader could take for a line's end, and one empty line, at the end. */
static inline void assert_plain(const struct buffer *out)
{
    const char *s = out->data;
    size_t len = out->end;

    assert(len > 4 && memcmp(s + len - 4, "\r\n\r\n", 4) == 0);
    for (size_t i = 0; i < len; i++) {
        assert(s[i] != '\0');
        assert((s[i] == '\r') == (i + 1 < len && s[i + 1] == '\n'));
        if (s[i] == '\n' && i + 3 < len)
            assert(s[i + 1] != '\r' && s[i + 1] != ' ' && s[i + 1] != '\t');
    }
}
