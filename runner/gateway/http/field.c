/* field.c: names of fields, and lists in their values. */
#include "head.h"

#include <string.h>

/* clang-format off */
const uint8_t char_folded[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, '!', 0, '#', '$', '%', '&', '\'', 0, 0, '*', '+', 0, '-', '.', 0,
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 0, 0, 0, 0, 0, 0,
    0, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 0, 0, 0, '^', '-',
    '`', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 0, '|', 0, '~', 0,
};
/* clang-format on */

struct known {
    const char *name;
    uint8_t len;
    uint8_t id;
};

#define KNOWN(text, field_id)                                                                                                                                  \
    {                                                                                                                                                          \
        text, sizeof(text) - 1, field_id                                                                                                                       \
    }

/* By length: by_len[n] is the first of length n. */
static const struct known known[] = {
    KNOWN("te", FIELD_TE),
    KNOWN("host", FIELD_HOST),
    KNOWN("date", FIELD_DATE),
    KNOWN("proxy", FIELD_PROXY),
    KNOWN("accept", FIELD_ACCEPT),
    KNOWN("expect", FIELD_EXPECT),
    KNOWN("origin", FIELD_ORIGIN),
    KNOWN("upgrade", FIELD_UPGRADE),
    KNOWN("trailer", FIELD_TRAILER),
    KNOWN("forwarded", FIELD_FORWARDED),
    KNOWN("connection", FIELD_CONNECTION),
    KNOWN("keep-alive", FIELD_KEEP_ALIVE),
    KNOWN("x-request-id", FIELD_X_REQUEST_ID),
    KNOWN("authorization", FIELD_AUTHORIZATION),
    KNOWN("content-length", FIELD_CONTENT_LENGTH),
    KNOWN("sec-fetch-site", FIELD_SEC_FETCH_SITE),
    KNOWN("x-forwarded-for", FIELD_X_FORWARDED_FOR),
    KNOWN("x-forwarded-host", FIELD_X_FORWARDED_HOST),
    KNOWN("x-forwarded-port", FIELD_X_FORWARDED_PORT),
    KNOWN("proxy-connection", FIELD_PROXY_CONNECTION),
    KNOWN("transfer-encoding", FIELD_TRANSFER_ENCODING),
    KNOWN("x-forwarded-proto", FIELD_X_FORWARDED_PROTO),
    KNOWN("x-forwarded-prefix", FIELD_X_FORWARDED_PREFIX),
    KNOWN("proxy-authenticate", FIELD_PROXY_AUTHENTICATE),
    KNOWN("proxy-authorization", FIELD_PROXY_AUTHORIZATION),
};

#define KNOWN_COUNT   (sizeof(known) / sizeof(known[0]))
#define KNOWN_LEN_MAX 19

/* Index + 1; 0: none of that length. */
static const uint8_t by_len[KNOWN_LEN_MAX + 1] = {
    [2] = 1, [4] = 2, [5] = 4, [6] = 5, [7] = 8, [9] = 10, [10] = 11, [12] = 13, [13] = 14, [14] = 15, [15] = 17, [16] = 18, [17] = 21, [18] = 23, [19] = 25,
};

enum field_id field_lookup(const char *name, size_t len)
{
    size_t i = len <= KNOWN_LEN_MAX ? by_len[len] : 0;

    if (i == 0)
        return FIELD_OTHER;
    for (i--; i < KNOWN_COUNT && known[i].len == len; i++) {
        size_t k = 0;

        while (k < len && char_folded[(unsigned char)name[k]] == (unsigned char)known[i].name[k])
            k++;
        if (k == len)
            return memchr(name, '_', len) ? FIELD_LOOKALIKE : (enum field_id)known[i].id;
    }
    return FIELD_OTHER;
}

const struct field *head_field(const struct head *h, enum field_id id, unsigned *ret_count)
{
    const struct field *first = NULL;

    *ret_count = 0;
    for (unsigned i = 0; i < h->nfields; i++) {
        if (h->fields[i].id != id)
            continue;
        first = first ? first : &h->fields[i];
        ++*ret_count;
    }
    return first;
}

bool text_is(const char *text, size_t len, const char *lower)
{
    size_t i = 0;

    for (; i < len && lower[i]; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != (unsigned char)lower[i])
            return false;
    }
    return i == len && !lower[i];
}

bool list_names(const char *value, size_t len, const char *lower)
{
    size_t pos = 0, n;
    const char *element;

    while ((element = list_next(value, len, &pos, &n)))
        if (text_is(element, n, lower))
            return true;
    return false;
}

const char *list_next(const char *value, size_t len, size_t *pos, size_t *ret_len)
{
    while (*pos < len) {
        size_t start = *pos, end = start;

        while (end < len && value[end] != ',')
            end++;
        *pos = end < len ? end + 1 : end;
        while (start < end && (value[start] == ' ' || value[start] == '\t'))
            start++;
        while (end > start && (value[end - 1] == ' ' || value[end - 1] == '\t'))
            end--;
        if (end > start) {
            *ret_len = end - start;
            return value + start;
        }
    }
    return NULL;
}
