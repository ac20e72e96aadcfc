#include "trailer.h"

#include "head.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN     "\r\n0\r\n"
#define BEGIN_LEN (sizeof(BEGIN) - 1)

struct trailer {
    size_t len, line; /* of the text; where the line begins that is being read */
    char text[BEGIN_LEN + TRAILER_BYTES_MAX + 2];
};

/*
 * What says how a message is to be taken, to whom it goes and who may have it, must be known before its body. The fields that mean something to a proxy (head.h) are all of that kind. With '*': all that begin so.
 */
static const char *const forbidden[] = {
    "access-control-*", "age",    "cache-control", "content-*",   "cookie",     "expires", "if-*",    "location",
    "max-forwards",     "pragma", "range",         "retry-after", "set-cookie", "vary",    "warning", "www-authenticate",
};

static bool is_forbidden(const char *name, size_t len)
{
    if (field_lookup(name, len) != FIELD_OTHER)
        return true;
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        size_t n = strlen(forbidden[i]);

        if (forbidden[i][n - 1] == '*' ? len >= n && strncasecmp(name, forbidden[i], n - 1) == 0 : text_is(name, len, forbidden[i]))
            return true;
    }
    return false;
}

void trailer_add(struct trailer **t, char c)
{
    struct trailer *x = *t;
    const char *colon;

    if (!x) {
        x = *t = malloc(sizeof(*x));
        if (!x)
            return;
        memcpy(x->text, BEGIN, BEGIN_LEN);
        x->len = x->line = BEGIN_LEN;
    }
    assert(x->len < BEGIN_LEN + TRAILER_BYTES_MAX);
    x->text[x->len++] = c;
    if (c != '\n')
        return;
    colon = memchr(x->text + x->line, ':', x->len - x->line);
    if (!colon || is_forbidden(x->text + x->line, (size_t)(colon - x->text) - x->line))
        x->len = x->line;
    x->line = x->len;
}

void trailer_free(struct trailer *t)
{
    free(t);
}

const char *trailer_end(struct trailer *t, size_t *ret_len)
{
    if (!t || t->len == BEGIN_LEN)
        return NULL;
    memcpy(t->text + t->len, "\r\n", 2);
    *ret_len = t->len + 2;
    return t->text;
}
