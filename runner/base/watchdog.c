/* watchdog.c: see watchdog.h. One table of variables; what each holds is read by its kind. */
#include "watchdog.h"

#include <errno.h>
#include <string.h>

#define DURATION_MAX UINT64_C(86400000000000) /* a day */

void watchdog_init(struct watchdog *w)
{
    *w = (struct watchdog){.cgi_headers = true};
}

/* Go's units; the micro sign comes in two spellings, and nobody times a function in it. */
static const struct {
    const char *name;
    uint64_t ns;
} units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"m", 60 * UINT64_C(1000000000)}, {"h", 3600 * UINT64_C(1000000000)}};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static uint64_t unit_of(const char *s, size_t len)
{
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strlen(units[i].name) == len && memcmp(units[i].name, s, len) == 0)
            return units[i].ns;
    return 0;
}

/* One "1.5h" of it: digits, perhaps a fraction, a unit. Returns the bytes used, or 0. */
static size_t duration_part(const char *s, size_t len, uint64_t *sum)
{
    uint64_t whole = 0, fraction = 0, scale = 1, unit;
    size_t i = 0, name;
    bool digits = false;

    for (; i < len && is_digit(s[i]) && whole <= DURATION_MAX; i++, digits = true)
        whole = whole * 10 + (uint64_t)(s[i] - '0');
    if (i < len && s[i] == '.')
        for (i++; i < len && is_digit(s[i]); i++, digits = true)
            if (scale < 1000000) { /* finer is not needed, and would not fit */
                fraction = fraction * 10 + (uint64_t)(s[i] - '0');
                scale *= 10;
            }
    for (name = i; i < len && s[i] >= 'a' && s[i] <= 'z'; i++)
        continue;
    unit = unit_of(s + name, i - name);
    if (!digits || unit == 0 || whole > DURATION_MAX / unit)
        return 0;
    *sum += whole * unit + fraction * unit / scale;
    return *sum > DURATION_MAX ? 0 : i;
}

int watchdog_duration(const char *text, size_t len, uint64_t *ret_ns)
{
    uint64_t ns = 0, seconds = 0;
    size_t at = 0;

    while (at < len && is_digit(text[at]) && seconds <= DURATION_MAX)
        seconds = seconds * 10 + (uint64_t)(text[at++] - '0');
    if (len > 0 && at == len) {
        if (seconds > DURATION_MAX / 1000000000)
            return -EINVAL;
        *ret_ns = seconds * 1000000000;
        return 0;
    }
    for (at = 0; at < len;) {
        size_t n = duration_part(text + at, len - at, &ns);

        if (n == 0)
            return -EINVAL;
        at += n;
    }
    if (len == 0)
        return -EINVAL;
    *ret_ns = ns;
    return 0;
}

static int take_duration(void *field, const char *value)
{
    return watchdog_duration(value, strlen(value), field);
}

static int take_bool(void *field, const char *value)
{
    static const char *const words[] = {"false", "0", "no", "", "true", "1", "yes"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(value, words[i]) == 0) {
            *(bool *)field = i > 3;
            return 0;
        }
    return -EINVAL;
}

static int take_count(void *field, const char *value)
{
    uint32_t n = 0;

    if (!*value)
        return -EINVAL;
    for (; *value; value++) {
        if (!is_digit(*value) || n > 100000)
            return -EINVAL;
        n = n * 10 + (uint32_t)(*value - '0');
    }
    *(uint32_t *)field = n;
    return 0;
}

/* It becomes a field of the answer's head. */
static int take_type(void *field, const char *value)
{
    if (strlen(value) > 200)
        return -EINVAL;
    for (const char *p = value; *p; p++)
        if (*p < 0x20 || *p >= 0x7f)
            return -EINVAL;
    *(const char **)field = *value ? value : NULL;
    return 0;
}

static int take_text(void *field, const char *value)
{
    *(const char **)field = *value ? value : NULL;
    return 0;
}

static int take_mode(void *field, const char *value)
{
    if (strcmp(value, "streaming") == 0)
        *(enum watchdog_mode *)field = WATCHDOG_STREAMING;
    else if (strcmp(value, "serializing") == 0)
        *(enum watchdog_mode *)field = WATCHDOG_SERIALIZING;
    else
        return *value ? -EINVAL : 0;
    return 0;
}

#define DURATION_FORM "a duration: 30s, 1m30s, 500ms, or seconds"
#define BOOL_FORM     "true or false"

static const struct {
    const char *name;
    size_t offset;
    int (*take)(void *field, const char *value);
    const char *form;
} variables[] = {
    {"fprocess", offsetof(struct watchdog, fprocess), take_text, ""},
    {"mode", offsetof(struct watchdog, mode), take_mode, "streaming or serializing; for http say mode = http and port = the server's in [function] instead"},
    {"exec_timeout", offsetof(struct watchdog, exec_timeout_ns), take_duration, DURATION_FORM},
    {"read_timeout", offsetof(struct watchdog, read_timeout_ns), take_duration, DURATION_FORM},
    {"write_timeout", offsetof(struct watchdog, write_timeout_ns), take_duration, DURATION_FORM},
    {"healthcheck_interval", offsetof(struct watchdog, healthcheck_ns), take_duration, DURATION_FORM},
    {"max_inflight", offsetof(struct watchdog, max_inflight), take_count, "a number of requests, 0 for no limit"},
    {"write_debug", offsetof(struct watchdog, write_debug), take_bool, BOOL_FORM},
    {"combine_output", offsetof(struct watchdog, combine_output), take_bool, BOOL_FORM},
    {"cgi_headers", offsetof(struct watchdog, cgi_headers), take_bool, BOOL_FORM},
    {"marshal_request", offsetof(struct watchdog, marshal_request), take_bool, BOOL_FORM},
    {"suppress_lock", offsetof(struct watchdog, suppress_lock), take_bool, BOOL_FORM},
    {"content_type", offsetof(struct watchdog, content_type), take_type, "a media type of at most 200 characters"},
};

const char *watchdog_take(struct watchdog *w, const char *variable)
{
    const size_t n = strcspn(variable, "=");

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]) && variable[n]; i++)
        if (strlen(variables[i].name) == n && memcmp(variables[i].name, variable, n) == 0)
            return variables[i].take((char *)w + variables[i].offset, variable + n + 1) < 0 ? variables[i].form : NULL;
    return NULL;
}
