/*
 * inifile.c: see inifile.h. Two passes over the same lines: a check that refuses everything that inih would cut, misread or skip, then inih, which is fed line
 * by line, so that its handler knows the line (Debian's build does not tell) and nothing is parsed behind the first error (inih goes on).
 */
#include "inifile.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MAX    INIFILE_LINE_MAX /* inih's buffer of 200 holds this, a newline and NUL */
#define SECTION_BYTES_MAX 48               /* 50 with NUL; one less, so that a name that was cut cannot be mistaken for one that fits */
#define KEYS_MAX          4096

struct line {
    const char *text; /* not terminated; without its line end */
    size_t len;
};

struct source {
    const char *next, *end;
    unsigned number; /* of the line handed out last, from 1 */
};

struct parse {
    struct source source;
    inifile_fn *fn;
    void *arg;
    struct diag *d;
    int err;
    struct strbuf seen; /* "section\0key\0" of everything delivered */
    unsigned keys;
};

/* The next line without LF or CR LF. */
static bool source_next(struct source *s, struct line *ret)
{
    const char *lf;

    if (s->next == s->end)
        return false;
    lf = memchr(s->next, '\n', (size_t)(s->end - s->next));
    ret->text = s->next;
    ret->len = (size_t)((lf ? lf : s->end) - s->next);
    s->next = lf ? lf + 1 : s->end;
    s->number++;
    if (ret->len > 0 && ret->text[ret->len - 1] == '\r')
        ret->len--;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct line trim(struct line l)
{
    while (l.len > 0 && is_blank(l.text[0])) {
        l.text++;
        l.len--;
    }
    while (l.len > 0 && is_blank(l.text[l.len - 1]))
        l.len--;
    return l;
}

/* A ';' after a blank begins a comment for inih, wherever it stands. */
static bool has_inline_comment(struct line l)
{
    for (size_t i = 1; i < l.len; i++)
        if (l.text[i] == ';' && is_blank(l.text[i - 1]))
            return true;
    return false;
}

static int check_section(struct line l, struct diag *d)
{
    const char *close = memchr(l.text, ']', l.len);
    size_t len = close ? (size_t)(close - l.text) - 1 : 0;

    if (!close)
        return diag_set(d, EINVAL, "a section's name ends with ']'");
    if (close != l.text + l.len - 1)
        return diag_set(d, EINVAL, "text after the section's ']': a comment has a line of its own");
    if (len == 0)
        return diag_set(d, EINVAL, "the section has no name");
    if (len > SECTION_BYTES_MAX)
        return diag_set(d, EINVAL, "the section's name has %zu bytes, at most %d are allowed", len, SECTION_BYTES_MAX);
    return 0;
}

static int check_pair(struct line l, struct diag *d)
{
    const char *eq = memchr(l.text, '=', l.len), *colon = memchr(l.text, ':', l.len);

    if (!eq && !colon)
        return diag_set(d, EINVAL, "\"%.*s\" is neither [section] nor key = value", l.len > 60 ? 60 : (int)l.len, l.text);
    if (colon && (!eq || colon < eq))
        return diag_set(d, EINVAL, "a key and its value are separated by '=', and a key has no ':' (a variable with such a name goes into the env_file)");
    if (eq == l.text)
        return diag_set(d, EINVAL, "there is no key before '='");
    return 0;
}

static int check_line(struct line raw, struct diag *d)
{
    struct line l = trim(raw);

    if (raw.len > LINE_BYTES_MAX)
        return diag_set(d, EINVAL, "the line has %zu bytes, at most %d are allowed: shorten it (a function's long values go into its env_file)", raw.len,
                        LINE_BYTES_MAX);
    for (size_t i = 0; i < raw.len; i++)
        if (((unsigned char)raw.text[i] < 0x20 && raw.text[i] != '\t') || raw.text[i] == 0x7f)
            return diag_set(d, EINVAL, "control character 0x%02x: this is not a text file, or the value belongs into the env_file", (unsigned char)raw.text[i]);
    if (l.len == 0 || l.text[0] == '#' || l.text[0] == ';')
        return 0;
    if (l.text != raw.text)
        return diag_set(d, EINVAL, "the line is indented: a value is one line; begin keys and sections in the first column");
    if (has_inline_comment(l))
        return diag_set(d, EINVAL, "\" ;\" would begin a comment: put the comment on a line of its own, or the value into the env_file");
    return l.text[0] == '[' ? check_section(l, d) : check_pair(l, d);
}

static int check_all(const char *what, struct source s, struct diag *d)
{
    struct line l;

    while (source_next(&s, &l))
        if (check_line(l, d) < 0)
            return diag_prefix(d, "%s:%u", what, s.number);
    return 0;
}

/* inih's fgets. Comments go to it as empty lines. */
static char *feed(char *buf, int size, void *stream)
{
    struct parse *p = stream;
    struct line l;

    if (p->err || !source_next(&p->source, &l) || l.len + 2 > (size_t)size)
        return NULL;
    if (l.len > 0 && (l.text[0] == '#' || l.text[0] == ';'))
        l.len = 0;
    memcpy(buf, l.text, l.len);
    buf[l.len] = '\n';
    buf[l.len + 1] = '\0';
    return buf;
}

static int remember(struct parse *p, const char *section, const char *key)
{
    size_t section_len = strlen(section) + 1, key_len = strlen(key) + 1;

    for (size_t at = 0; at < p->seen.len;) {
        const char *s = p->seen.data + at, *k = s + strlen(s) + 1;

        if (strcmp(s, section) == 0 && strcmp(k, key) == 0)
            return diag_set(p->d, EINVAL, "[%s] %s comes twice", section, key);
        at = (size_t)(k + strlen(k) + 1 - p->seen.data);
    }
    if (++p->keys > KEYS_MAX)
        return diag_set(p->d, EINVAL, "more than %d keys", KEYS_MAX);
    strbuf_add(&p->seen, section, section_len);
    strbuf_add(&p->seen, key, key_len);
    return p->seen.failed ? diag_set(p->d, ENOMEM, "out of memory") : 0;
}

/* One pair of quotes around the whole value is taken off; quotes that belong to parts of it ("a" "b") stay. */
static void unquote(char *value)
{
    size_t len = strlen(value);

    if (len < 2 || value[0] != '"' || strchr(value + 1, '"') != value + len - 1)
        return;
    memmove(value, value + 1, len - 2);
    value[len - 2] = '\0';
}

static int on_pair(void *user, const char *section, const char *key, const char *value)
{
    char copy[LINE_BYTES_MAX + 1];
    struct parse *p = user;

    if (p->err)
        return 0;
    p->err = str_copy(copy, sizeof(copy), value) < 0 ? diag_set(p->d, EINVAL, "the value is too long") : remember(p, section, key);
    if (p->err == 0) {
        unquote(copy);
        p->err = p->fn(p->arg, section, key, copy, p->source.number, p->d);
    }
    return p->err == 0;
}

int inifile_parse(const char *what, const char *text, size_t len, inifile_fn *fn, void *arg, struct diag *d)
{
    static const char bom[] = "\xef\xbb\xbf";
    struct diag local = {0};
    struct parse p = {.fn = fn, .arg = arg, .d = d ? d : &local};
    int r;

    if (len >= 3 && memcmp(text, bom, 3) == 0) {
        text += 3;
        len -= 3;
    }
    p.source = (struct source){.next = text, .end = text + len};
    r = check_all(what, p.source, p.d);
    if (r < 0)
        return r;
    r = ini_parse_stream(feed, &p, on_pair, &p);
    strbuf_done(&p.seen);
    if (p.err < 0) {
        diag_prefix(p.d, "%s:%u", what, p.source.number);
        return p.err;
    }
    return r == 0 ? 0 : diag_set(p.d, EINVAL, "%s:%u: this line is not understood", what, r > 0 ? (unsigned)r : p.source.number);
}
