/* ctl_text.c: times, sizes and foreign text, for people. */
#include "ctl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int ctl_text_parse_time(const char *rfc3339, uint64_t *ret_s)
{
    struct tm tm = {0};
    const char *end = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm);
    time_t t;

    if (!end)
        return -EINVAL;
    if (*end == '.')
        for (end++; isdigit((unsigned char)*end); end++)
            continue;
    if (strcmp(end, "Z") != 0)
        return -EINVAL;
    t = timegm(&tm);
    if (t < 0)
        return -EINVAL;
    *ret_s = (uint64_t)t;
    return 0;
}

const char *ctl_text_age(const char *rfc3339, uint64_t now_s, char *buf)
{
    static const struct {
        uint64_t below, unit;
        char letter;
    } steps[] = {{120, 1, 's'}, {120 * 60, 60, 'm'}, {48 * 3600, 3600, 'h'}, {UINT64_MAX, 86400, 'd'}};
    uint64_t then, age;
    unsigned i = 0;

    if (!rfc3339 || ctl_text_parse_time(rfc3339, &then) < 0) {
        snprintf(buf, TEXT_MAX, "-");
        return buf;
    }
    age = now_s > then ? now_s - then : 0; /* clocks may differ a little */
    while (age >= steps[i].below)
        i++;
    snprintf(buf, TEXT_MAX, "%llu%c", (unsigned long long)(age / steps[i].unit), steps[i].letter);
    return buf;
}

const char *ctl_text_size(uint64_t bytes, char *buf)
{
    return str_format_size(bytes, buf, TEXT_MAX);
}

const char *ctl_text_seconds(double s, char *buf)
{
    if (s > 0 && s < 1)
        snprintf(buf, TEXT_MAX, "%.0fms", s * 1000);
    else
        snprintf(buf, TEXT_MAX, "%.10gs", s);
    return buf;
}

/* How many continuation bytes follow. */
static unsigned sequence_length(unsigned char c)
{
    return c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 0;
}

void ctl_text_clean(char *s)
{
    unsigned left = 0;

    for (unsigned char *p = (unsigned char *)s; *p; p++) {
        if (left && (*p & 0xc0) == 0x80) {
            left--;
            if (p[-1] == 0xc2 && *p < 0xa0) /* C1 */
                p[-1] = *p = '?';
            continue;
        }
        left = sequence_length(*p);
        if (!left && *p != '\n' && *p != '\t' && (*p < 0x20 || *p >= 0x7f))
            *p = '?';
    }
}

unsigned ctl_text_width(const char *s)
{
    unsigned n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

bool ctl_text_is_env(const char *assignment)
{
    const char *p = assignment;

    if (!isalpha((unsigned char)*p) && *p != '_')
        return false;
    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    return *p == '=';
}

/*
 * What a terminal would obey: C0 but newline and tab, DEL, and C1 both as UTF-8 (C2 80..9F) and as bare bytes, which a terminal in an 8-bit mode takes for
 * ESC [ and the like. A lead byte is held back until
 * its sequence goes on, so that a sequence cut by the end of a chunk is judged whole.
 */
void ctl_text_filter(struct text_filter *f, const char *data, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];

        if (f->left && (c & 0xc0) == 0x80) {
            if (f->lead == 0xc2 && c < 0xa0) {
                strbuf_puts(out, "?");
            } else {
                if (f->lead)
                    strbuf_add(out, &f->lead, 1);
                strbuf_add(out, &c, 1);
            }
            f->lead = 0;
            f->left--;
            continue;
        }
        if (f->left && f->lead)
            strbuf_puts(out, "?");
        f->lead = 0;
        f->left = (unsigned char)sequence_length(c);
        if (f->left)
            f->lead = c;
        else if (c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7f))
            strbuf_add(out, &c, 1);
        else if (c < 0x20 && c != '\r')
            strbuf_printf(out, "^%c", c + '@');
        else if (c != '\r')
            strbuf_puts(out, "?");
    }
}

const char *ctl_json_text(const json_t *o, const char *key, const char *missing)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : missing;
}

uint64_t ctl_json_uint(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    json_int_t i = json_integer_value(v);

    if (json_is_real(v))
        return json_real_value(v) > 0 && json_real_value(v) < 1e18 ? (uint64_t)json_real_value(v) : 0;
    return i > 0 ? (uint64_t)i : 0;
}

double ctl_json_real_or(const json_t *o, const char *key, double missing)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : missing;
}

int ctl_print_json(struct ctl *ctl, const json_t *j)
{
    struct strbuf b cleanup_strbuf = {0};
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    if (!text)
        return ctl_fail(CTL_FAILED, "out of memory");
    strbuf_puts(&b, text);
    strbuf_puts(&b, "\n");
    free(text);
    return ctl_flush(ctl, &b);
}
