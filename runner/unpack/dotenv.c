/* dotenv.c: the file that env_file names: values that are too long or too awkward for function.ini. */
#include "unpack_internal.h"

#include "diag.h"
#include "str.h"

#include <errno.h>
#include <string.h>

struct dotenv {
    const char *p, *end;
    unsigned line;
    struct diag *d;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool at_line_end(const struct dotenv *s)
{
    return s->p == s->end || *s->p == '\n' || (*s->p == '\r' && s->p + 1 < s->end && s->p[1] == '\n');
}

static void skip_blanks(struct dotenv *s)
{
    while (s->p < s->end && is_blank(*s->p))
        s->p++;
}

static void next_line(struct dotenv *s)
{
    while (s->p < s->end && *s->p != '\n')
        s->p++;
    if (s->p < s->end)
        s->p++;
    s->line++;
}

static int read_key(struct dotenv *s, struct strbuf *key)
{
    const char *start;

    if (s->end - s->p > 7 && memcmp(s->p, "export", 6) == 0 && is_blank(s->p[6])) {
        s->p += 7;
        skip_blanks(s);
    }
    start = s->p;
    while (!at_line_end(s) && *s->p != '=' && !is_blank(*s->p))
        s->p++;
    strbuf_add(key, start, (size_t)(s->p - start));
    skip_blanks(s);
    if (at_line_end(s) || *s->p != '=')
        return diag_set(s->d, EINVAL, "no '=' after the name");
    s->p++;
    skip_blanks(s);
    return 0;
}

/* To the closing quote, over several lines if need be. */
static int read_quoted(struct dotenv *s, struct strbuf *value)
{
    static const char from[] = "ntr\\\"$`", to[] = "\n\t\r\\\"$`";
    char quote = *s->p++;

    for (; s->p < s->end && *s->p != quote; s->p++) {
        const char *known = NULL;

        if (*s->p == '\n')
            s->line++;
        if (quote == '"' && *s->p == '\\' && s->p + 1 < s->end)
            known = memchr(from, s->p[1], sizeof(from) - 1);
        if (known)
            s->p++;
        strbuf_add(value, known ? to + (known - from) : s->p, 1);
    }
    if (s->p == s->end)
        return diag_set(s->d, EINVAL, "the quote %c is not closed", quote);
    s->p++;
    skip_blanks(s);
    if (!at_line_end(s) && *s->p != '#')
        return diag_set(s->d, EINVAL, "text after the closing quote");
    return 0;
}

/* The rest of the line; a comment begins with '#' after a blank. */
static void read_plain(struct dotenv *s, struct strbuf *value)
{
    const char *start = s->p, *stop;

    while (!at_line_end(s) && !(*s->p == '#' && (s->p == start || is_blank(s->p[-1]))))
        s->p++;
    for (stop = s->p; stop > start && is_blank(stop[-1]); stop--)
        ;
    strbuf_add(value, start, (size_t)(stop - start));
}

static int read_pair(struct dotenv *s, struct env_set *seen, struct strbuf *key, struct strbuf *value)
{
    int r = read_key(s, key);

    if (r < 0)
        return r;
    strbuf_add(value, "", 0);
    if (!at_line_end(s) && (*s->p == '"' || *s->p == '\''))
        r = read_quoted(s, value);
    else
        read_plain(s, value);
    if (r < 0)
        return r;
    if (key->failed || value->failed)
        return diag_set(s->d, ENOMEM, "out of memory");
    if (env_set_has(seen, key->data))
        return diag_set(s->d, EINVAL, "%.60s comes twice", key->data);
    return env_set_put(seen, key->data, value->data, s->d);
}

int dotenv_parse(const char *what, const char *text, size_t len, struct env_set *e, struct diag *d)
{
    struct dotenv s = {.p = text, .end = text + len, .line = 1, .d = d};
    struct env_set seen = {0};
    int r = 0;

    if (memchr(text, '\0', len))
        return diag_set(d, EINVAL, "%s: not a text file (NUL byte)", what);
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        s.p += 3;
    while (s.p < s.end && r == 0) {
        cleanup_strbuf struct strbuf key = {0}, value = {0};
        unsigned line = s.line;

        skip_blanks(&s);
        if (!at_line_end(&s) && *s.p != '#')
            r = read_pair(&s, &seen, &key, &value);
        if (r < 0)
            diag_prefix(d, "%s:%u", what, line);
        next_line(&s);
    }
    if (r == 0)
        r = env_set_merge(e, &seen, d);
    env_set_done(&seen);
    return r;
}
