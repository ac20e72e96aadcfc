#include "str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct str_unit {
    const char *name;
    uint64_t factor;
};

/* Digits at s; *ret_end is behind them. */
static int parse_digits(const char *s, uint64_t *ret, const char **ret_end)
{
    uint64_t v = 0;
    const char *p = s;

    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return -ERANGE;
    *ret = v;
    *ret_end = p;
    return 0;
}

int str_parse_uint(const char *s, uint64_t max, uint64_t *ret)
{
    const char *end;
    uint64_t v;
    int r = parse_digits(s, &v, &end);

    if (r < 0)
        return r;
    if (*end)
        return -EINVAL;
    if (v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

/* NUMBER[.DIGITS]UNIT; the fraction counts at most nine digits and is rounded down. */
static int parse_with_unit(const char *s, const struct str_unit *units, size_t nunits, uint64_t *ret)
{
    uint64_t whole, frac = 0, scale = 1, v;
    const char *p;
    int r = parse_digits(s, &whole, &p);

    if (r < 0)
        return r;
    if (*p == '.') {
        if (!isdigit((unsigned char)*++p))
            return -EINVAL;
        for (; isdigit((unsigned char)*p); p++)
            if (scale < 1000000000) {
                frac = frac * 10 + (uint64_t)(*p - '0');
                scale *= 10;
            }
    }
    for (size_t i = 0; i < nunits; i++) {
        if (strcmp(p, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(whole, units[i].factor, &v))
            return -ERANGE;
        if (__builtin_add_overflow(v, (uint64_t)((unsigned __int128)frac * units[i].factor / scale), &v))
            return -ERANGE;
        *ret = v;
        return 0;
    }
    return -EINVAL;
}

int str_parse_size(const char *s, uint64_t *ret_bytes)
{
    static const struct str_unit units[] = {
        {"", 1}, {"K", 1ULL << 10}, {"Ki", 1ULL << 10}, {"M", 1ULL << 20}, {"Mi", 1ULL << 20}, {"G", 1ULL << 30}, {"Gi", 1ULL << 30},
    };

    return parse_with_unit(s, units, COUNT(units), ret_bytes);
}

int str_parse_duration(const char *s, uint64_t *ret_ns)
{
    static const struct str_unit units[] = {
        {"", 1000000000ULL}, {"ms", 1000000ULL}, {"s", 1000000000ULL}, {"m", 60000000000ULL}, {"h", 3600000000000ULL},
    };

    return parse_with_unit(s, units, COUNT(units), ret_ns);
}

int str_parse_cpu(const char *s, uint64_t *ret_milli)
{
    static const struct str_unit units[] = {{"", 1000}, {"m", 1}};

    return parse_with_unit(s, units, COUNT(units), ret_milli);
}

int str_parse_bool(const char *s, bool *ret)
{
    static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};

    for (size_t i = 0; i < COUNT(yes); i++) {
        if (strcasecmp(s, yes[i]) == 0 || strcasecmp(s, no[i]) == 0) {
            *ret = strcasecmp(s, yes[i]) == 0;
            return 0;
        }
    }
    return -EINVAL;
}

const char *str_format_size(uint64_t bytes, char *buf, size_t size)
{
    static const char units[] = {'K', 'M', 'G', 'T'};
    double v = (double)bytes;
    size_t unit = 0;

    if (bytes < 1024) {
        snprintf(buf, size, "%u B", (unsigned)bytes);
        return buf;
    }
    v /= 1024;
    while (v >= 1024 && unit + 1 < COUNT(units)) {
        v /= 1024;
        unit++;
    }
    snprintf(buf, size, v < 10 && (uint64_t)(v * 10) % 10 ? "%.1f%c" : "%.0f%c", v, units[unit]);
    return buf;
}

int str_copy(char *dst, size_t size, const char *src)
{
    size_t len = strlen(src);

    if (len >= size) {
        dst[0] = '\0';
        return -ENAMETOOLONG;
    }
    memcpy(dst, src, len + 1);
    return 0;
}

bool str_ends_with(const char *s, const char *suffix)
{
    size_t len = strlen(s), n = strlen(suffix);

    return len >= n && memcmp(s + len - n, suffix, n) == 0;
}

void strbuf_done(struct strbuf *b)
{
    free(b->data);
    *b = (struct strbuf){0};
}

char *strbuf_reserve(struct strbuf *b, size_t n)
{
    size_t need;

    if (__builtin_add_overflow(b->len, n + 1, &need) || n + 1 < n)
        b->failed = true;
    if (b->failed)
        return NULL;
    if (need > b->room) {
        size_t room = b->room ? b->room : 64;
        char *grown;

        while (room < need)
            room *= 2;
        grown = realloc(b->data, room);
        if (!grown) {
            b->failed = true;
            return NULL;
        }
        b->data = grown;
        b->room = room;
    }
    return b->data + b->len;
}

void strbuf_add(struct strbuf *b, const void *data, size_t len)
{
    char *p = strbuf_reserve(b, len);

    if (!p)
        return;
    memcpy(p, data, len);
    p[len] = '\0';
    b->len += len;
}

void strbuf_puts(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...)
{
    va_list ap, again;
    char *p;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    p = n < 0 ? NULL : strbuf_reserve(b, (size_t)n);
    if (p) {
        vsnprintf(p, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}
