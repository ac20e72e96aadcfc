/* http_keys.c: the values of [http] in function.ini. Only their form is read here; what may not be claimed is refused by spec_http_check(). */
#include "unpack_internal.h"

#include "clock.h"
#include "diag.h"
#include "str.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#define SEPARATORS   " ,\t"
#define WORD_MAX     300
#define CORS_METHODS (SPEC_METHODS_ALL)
#define CORS_HEADERS "Content-Type, Authorization"

/* Cuts the next word of a list off *at; 0 at its end. */
static int next_word(const char **at, char word[WORD_MAX], struct diag *d)
{
    size_t len;

    *at += strspn(*at, SEPARATORS);
    len = strcspn(*at, SEPARATORS);
    if (len >= WORD_MAX)
        return (diag_set(d, EINVAL, "a word is too long"), -EINVAL);
    memcpy(word, *at, len);
    word[len] = '\0';
    *at += len;
    return len > 0;
}

static void lower(char *s)
{
    for (; *s; s++)
        *s = (char)tolower((unsigned char)*s);
}

static int take_host(struct spec_http *h, char *word, struct diag *d)
{
    size_t len = strlen(word);

    lower(word);
    if (len > 1 && word[len - 1] == '.')
        word[--len] = '\0';
    for (uint32_t i = 0; i < h->nhosts; i++)
        if (strcmp(h->hosts[i], word) == 0)
            return diag_set(d, EINVAL, "%.80s comes twice", word);
    if (h->nhosts == SPEC_HTTP_HOSTS_MAX)
        return diag_set(d, E2BIG, "more than %d hosts", SPEC_HTTP_HOSTS_MAX);
    if (str_copy(h->hosts[h->nhosts], sizeof(h->hosts[0]), word) < 0)
        return diag_set(d, EINVAL, "\"%.80s\" is too long for a host name", word);
    h->nhosts++;
    return 0;
}

int http_keys_hosts(struct function_ini *f, const char *value, struct diag *d)
{
    char word[WORD_MAX];
    int r;

    while ((r = next_word(&value, word, d)) > 0 && (r = take_host(&f->spec.http, word, d)) == 0)
        ;
    return r;
}

/* Methods stand before the path that they are for: GET POST /orders. */
int http_keys_paths(struct function_ini *f, const char *value, struct diag *d)
{
    struct spec_http *h = &f->spec.http;
    uint32_t methods = 0;
    char word[WORD_MAX];
    int r;

    while ((r = next_word(&value, word, d)) > 0) {
        uint32_t bit = spec_method_bit(word, strlen(word));
        size_t len = strlen(word);

        if (word[0] != '/' && !bit)
            return diag_set(d, EINVAL, "\"%.80s\" is neither a path that begins with / nor a method (GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS)", word);
        if (bit) {
            methods |= bit | (bit == 1U << SPEC_METHOD_GET ? 1U << SPEC_METHOD_HEAD : 0);
            continue;
        }
        if (h->npaths == SPEC_HTTP_PATHS_MAX)
            return diag_set(d, E2BIG, "more than %d paths", SPEC_HTTP_PATHS_MAX);
        if (len > 1 && word[len - 1] == '/')
            word[len - 1] = '\0';
        if (str_copy(h->paths[h->npaths].path, sizeof(h->paths[0].path), word) < 0)
            return diag_set(d, EINVAL, "\"%.80s\" is too long", word);
        h->paths[h->npaths++].methods = methods ? methods : SPEC_METHODS_ALL;
        methods = 0;
    }
    return methods ? diag_set(d, EINVAL, "behind the last method a path is missing") : r;
}

static int take_origin(struct spec_http *h, char *word, struct diag *d)
{
    lower(word);
    if (strcmp(word, "*") == 0) {
        h->cors_any = 1;
        return 0;
    }
    if (h->norigins == SPEC_HTTP_ORIGINS_MAX)
        return diag_set(d, E2BIG, "more than %d origins", SPEC_HTTP_ORIGINS_MAX);
    if (str_copy(h->origins[h->norigins], sizeof(h->origins[0]), word) < 0)
        return diag_set(d, EINVAL, "\"%.80s\" is too long", word);
    h->norigins++;
    return 0;
}

int http_keys_cors(struct function_ini *f, const char *value, struct diag *d)
{
    struct spec_http *h = &f->spec.http;
    char word[WORD_MAX];
    bool b;
    int r;

    if (str_parse_bool(value, &b) == 0 && !b)
        return 0;
    while ((r = next_word(&value, word, d)) > 0 && (r = take_origin(h, word, d)) == 0)
        ;
    if (r < 0)
        return r;
    if (!h->cors_any && h->norigins == 0)
        return diag_set(d, EINVAL, "is empty: say *, or the origins: https://example.org");
    if (h->cors_any && h->norigins > 0)
        return diag_set(d, EINVAL, "* stands alone, not in a list");
    if (h->cors_methods == 0)
        h->cors_methods = CORS_METHODS;
    if (!h->cors_headers[0])
        str_copy(h->cors_headers, sizeof(h->cors_headers), CORS_HEADERS);
    return 0;
}

int http_keys_cors_methods(struct function_ini *f, const char *value, struct diag *d)
{
    char word[WORD_MAX];
    int r;

    f->spec.http.cors_methods = 0;
    while ((r = next_word(&value, word, d)) > 0) {
        uint32_t bit = spec_method_bit(word, strlen(word));

        if (!bit)
            return diag_set(d, EINVAL, "\"%.80s\" is no method (GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS)", word);
        f->spec.http.cors_methods |= bit;
    }
    return r;
}

int http_keys_cors_headers(struct function_ini *f, const char *value, struct diag *d)
{
    struct spec_http *h = &f->spec.http;
    char word[WORD_MAX];
    int r;

    h->cors_headers[0] = '\0';
    while ((r = next_word(&value, word, d)) > 0) {
        size_t have = strlen(h->cors_headers);

        if (have + strlen(word) + 3 > sizeof(h->cors_headers))
            return diag_set(d, EINVAL, "is too long");
        if (have)
            memcpy(h->cors_headers + have, ", ", 3);
        str_copy(h->cors_headers + (have ? have + 2 : 0), sizeof(h->cors_headers) - have - 2, word);
    }
    return r;
}

static uint64_t unit_ns(const char *unit)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"s", NS_PER_SEC}, {"m", 60 * NS_PER_SEC}, {"h", 3600 * NS_PER_SEC}, {"d", 86400 * NS_PER_SEC}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(units[i].name, unit) == 0)
            return units[i].ns;
    return 0;
}

/* 100/s, or 100/s burst 20; "no". Without a burst a whole period's worth may come at once. */
static int take_rate(const char *value, struct spec_rate *ret, struct diag *d)
{
    char word[4][WORD_MAX];
    uint64_t n = 0, burst = 0, unit;
    unsigned words = 0;
    char *slash;
    bool b;
    int r;

    if (str_parse_bool(value, &b) == 0 && !b)
        return 0;
    while (words < 4 && (r = next_word(&value, word[words], d)) != 0) {
        if (r < 0)
            return r;
        words++;
    }
    slash = words > 0 ? strchr(word[0], '/') : NULL;
    if (slash)
        *slash++ = '\0';
    unit = slash ? unit_ns(slash) : 0;
    if ((words != 1 && words != 3) || unit == 0 || str_parse_uint(word[0], 1000000, &n) < 0 || n == 0)
        return diag_set(d, EINVAL, "is no rate: write 100/s, 30/m, 1000/h or 5000/d, at most 1000000, and where wanted a burst behind it: 100/s burst 20");
    burst = n;
    if (words == 3 && (strcmp(word[1], "burst") != 0 || str_parse_uint(word[2], 1000000, &burst) < 0 || burst == 0))
        return diag_set(d, EINVAL, "behind the rate only \"burst N\" may stand, N from 1 to 1000000");
    *ret = (struct spec_rate){.interval_ns = unit / n, .burst = burst};
    return 0;
}

int http_keys_rate(struct function_ini *f, const char *value, struct diag *d)
{
    return take_rate(value, &f->spec.http.rate, d);
}

int http_keys_rate_client(struct function_ini *f, const char *value, struct diag *d)
{
    return take_rate(value, &f->spec.http.rate_client, d);
}

int http_keys_access(struct function_ini *f, const char *value, struct diag *d)
{
    if (strcasecmp(value, "public") != 0 && strcasecmp(value, "private") != 0)
        return diag_set(d, EINVAL, "\"%.80s\" is not known: say public or private", value);
    f->spec.http.is_private = strcasecmp(value, "private") == 0;
    return 0;
}
