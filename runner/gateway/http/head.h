/*
 * head.h: the head of an HTTP/1 message: start line and fields (RFC 9112 sections 2 to 5).
 *
 * In place, incremental, allocates nothing: the caller hands over the same bytes again with more behind them; the parser goes on where it stopped. All positions are offsets from the message's first byte, so the
 * caller may move the bytes between two calls. Strict: what two parsers could read in two ways is refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_BYTES_MAX  16384U
#define HEAD_TARGET_MAX 8192U
#define HEAD_FIELDS_MAX 100U
#define HEAD_NAMED_MAX  16U /* fields that Connection may name: each is looked for among all others */

enum head_kind { HEAD_REQUEST, HEAD_RESPONSE };
enum head_result { HEAD_MORE, HEAD_DONE, HEAD_REFUSED };

/* Fields that mean something to a proxy. */
enum field_id {
    FIELD_OTHER,
    FIELD_LOOKALIKE, /* one of those below with '_' for '-': some servers take it for the real one */
    FIELD_ACCEPT,
    FIELD_AUTHORIZATION,
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_DATE,
    FIELD_EXPECT,
    FIELD_FORWARDED,
    FIELD_HOST,
    FIELD_KEEP_ALIVE,
    FIELD_ORIGIN,
    FIELD_PROXY,
    FIELD_PROXY_AUTHENTICATE,
    FIELD_PROXY_AUTHORIZATION,
    FIELD_PROXY_CONNECTION,
    FIELD_SEC_FETCH_SITE,
    FIELD_TE,
    FIELD_TRAILER,
    FIELD_TRANSFER_ENCODING,
    FIELD_UPGRADE,
    FIELD_X_FORWARDED_FOR,
    FIELD_X_FORWARDED_HOST,
    FIELD_X_FORWARDED_PORT,
    FIELD_X_FORWARDED_PREFIX,
    FIELD_X_FORWARDED_PROTO,
    FIELD_X_REQUEST_ID,
    FIELD_COUNT
};

struct field {
    uint16_t name, name_len;   /* the line begins with its name */
    uint16_t value, value_len; /* without the white space around it */
    uint16_t line_len;         /* with its CRLF */
    uint16_t id;               /* enum field_id */
};

struct head {
    uint16_t kind;      /* enum head_kind */
    uint16_t refused;   /* status to answer with */
    const char *why;    /* for people */
    uint32_t line;      /* first byte of the line that is being read */
    uint32_t scanned;   /* no line feed before this one but those that were used */
    uint32_t len;       /* HEAD_DONE: of the whole head */
    bool blank_skipped; /* the one empty line that may precede a request (RFC 9112 section 2.2) */
    bool started;       /* the start line is there */
    uint8_t minor;      /* HTTP/1.minor */
    uint16_t status;    /* of a response */
    uint32_t max_bytes;
    uint16_t max_target, max_fields;
    uint16_t method, method_len, target, target_len;
    uint16_t nfields;
    struct field fields[HEAD_FIELDS_MAX];
};

void head_init(struct head *h, enum head_kind kind);
void head_bound(struct head *h, uint64_t bytes, uint64_t target, uint64_t fields); /* less than the maxima above */
enum head_result head_parse(struct head *h, const char *data, size_t len);

/* The first field of that id, how many there are in *ret_count; NULL: none. */
const struct field *head_field(const struct head *h, enum field_id id, unsigned *ret_count);

/* The field id of a name; FIELD_OTHER for one that is not known. */
enum field_id field_lookup(const char *name, size_t len);

/* Iterates over the elements of a comma-separated list (RFC 9110 section 5.6.1); *pos starts at 0. Returns the element, its length in *ret_len, NULL at the end. Empty elements are skipped. */
const char *list_next(const char *value, size_t len, size_t *pos, size_t *ret_len);

bool list_names(const char *value, size_t len, const char *lower); /* is it an element? */
bool text_is(const char *text, size_t len, const char *lower);     /* ignores the case of text */

extern const uint8_t char_folded[256]; /* tchar of RFC 9110 section 5.6.2 in lower case, '_' as '-'; 0: no such character */
static inline bool char_is_token(unsigned char c)
{
    return char_folded[c] != 0;
}
