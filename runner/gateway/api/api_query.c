/* api_query.c: query strings. Pure; everything here comes from the client. */
#include "api_private.h"

#include "diag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUERY_MAX 4096 /* parameters; the length of a head bounds them further */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int percent_decode(char *s, size_t len, size_t *ret_len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_digit(s[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(s[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return -EINVAL;
        s[out++] = c;
    }
    s[out] = '\0';
    if (ret_len)
        *ret_len = out;
    return 0;
}

void query_done(struct query *q)
{
    free(q->params);
    free(q->storage);
    *q = (struct query){0};
}

static unsigned count_parts(const char *text)
{
    unsigned n = 1;

    for (; *text; text++)
        n += *text == '&';
    return n;
}

/* "key=value" of len bytes at part, in the query's own storage. */
static int parse_part(struct query *q, char *part, size_t len, struct diag *d)
{
    char *equals = memchr(part, '=', len);
    size_t key_len = equals ? (size_t)(equals - part) : len;
    char *value = equals ? equals + 1 : part + len;
    size_t value_len = equals ? len - key_len - 1 : 0;

    /* The value first: terminating the key writes where '=' stood. */
    if (percent_decode(value, value_len, NULL) < 0 || percent_decode(part, key_len, NULL) < 0)
        return diag_set(d, EINVAL, "the query has a broken percent-escape (two hexadecimal digits follow each '%%', and not 00)");
    q->params[q->count++] = (struct query_param){.key = part, .value = value};
    return 0;
}

int query_parse(const char *text, struct query *ret, struct diag *d)
{
    unsigned parts = count_parts(text);
    struct query q = {0};
    int r = 0;

    if (parts > QUERY_MAX)
        return diag_set(d, EINVAL, "the query has more than %d parameters", QUERY_MAX);
    q.params = calloc(parts, sizeof(*q.params));
    q.storage = strdup(text);
    if (!q.params || !q.storage) {
        query_done(&q);
        return diag_set(d, ENOMEM, "not enough memory for the query");
    }
    for (char *at = q.storage, *next; at && r == 0; at = next) {
        size_t len = strcspn(at, "&");

        next = at[len] ? at + len + 1 : NULL;
        at[len] = '\0';
        if (len > 0)
            r = parse_part(&q, at, len, d);
    }
    if (r < 0) {
        query_done(&q);
        return r;
    }
    *ret = q;
    return 0;
}

const char *query_get(const struct query *q, const char *key)
{
    for (unsigned i = 0; i < q->count; i++)
        if (strcmp(q->params[i].key, key) == 0)
            return q->params[i].value;
    return NULL;
}

/* 0: not allowed, 1: once, 2: any number of times. */
static int key_rule(const char *allowed, const char *key)
{
    size_t key_len = strlen(key);

    while (*allowed) {
        size_t len = strcspn(allowed, " ");
        bool many = len > 0 && allowed[len - 1] == '*';

        if (key_len == len - many && strncmp(allowed, key, key_len) == 0)
            return many ? 2 : 1;
        allowed += len;
        allowed += strspn(allowed, " ");
    }
    return 0;
}

int query_check(const struct query *q, const char *allowed, struct diag *d)
{
    for (unsigned i = 0; i < q->count; i++) {
        const char *key = q->params[i].key;
        int rule = key_rule(allowed, key);

        if (rule == 0 && !*allowed)
            return diag_set(d, EINVAL, "unknown parameter \"%.60s\": this call takes none", key);
        if (rule == 0)
            return diag_set(d, EINVAL, "unknown parameter \"%.60s\": this call takes %s", key, allowed);
        if (rule == 1 && query_get(q, key) != q->params[i].value)
            return diag_set(d, EINVAL, "parameter \"%.60s\" is there twice", key);
    }
    return 0;
}
