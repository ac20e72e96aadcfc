/* command_words.c: a command line into words: blanks separate, quotes and backslashes as in sh(1); nothing is expanded, and | > & $ * are characters like others, because no shell runs. */
#include "unpack_internal.h"

#include "diag.h"
#include "str.h"

#include <errno.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Appends what a quoted part stands for; p is behind the opening quote. Returns the place behind the closing one, or NULL. */
static const char *quoted(const char *p, char quote, struct strbuf *out)
{
    for (; *p && *p != quote; p++) {
        if (quote == '"' && *p == '\\' && p[1] && strchr("\\\"$`", p[1]))
            p++;
        strbuf_add(out, p, 1);
    }
    return *p ? p + 1 : NULL;
}

static const char *word(const char *p, struct strbuf *out, struct diag *d)
{
    while (*p && !is_blank(*p)) {
        char c = *p++;

        if (c == '\'' || c == '"') {
            p = quoted(p, c, out);
            if (!p) {
                diag_set(d, EINVAL, "the quote %c is not closed", c);
                return NULL;
            }
            continue;
        }
        if (c == '\\') {
            if (!*p) {
                diag_set(d, EINVAL, "a backslash at the end");
                return NULL;
            }
            c = *p++;
        }
        strbuf_add(out, &c, 1);
    }
    strbuf_add(out, "", 1);
    return p;
}

int command_words(const char *text, struct strbuf *out, uint32_t *ret_count, struct diag *d)
{
    uint32_t n = 0;

    for (const char *p = text;;) {
        while (is_blank(*p))
            p++;
        if (!*p)
            break;
        if (++n > SPEC_ARGS_MAX)
            return diag_set(d, E2BIG, "more than %d words", SPEC_ARGS_MAX);
        p = word(p, out, d);
        if (!p)
            return -EINVAL;
    }
    if (out->failed)
        return diag_set(d, ENOMEM, "out of memory");
    if (n == 0)
        return diag_set(d, EINVAL, "the command is empty");
    *ret_count = n;
    return 0;
}
