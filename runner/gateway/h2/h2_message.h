/*
 * h2_message.h: a header block of HTTP/2 becomes the text of an HTTP/1.1 head, and the text of an answer becomes fields and DATA. Pure.
 *
 * Only what cannot be said in HTTP/1.1, or could be read there as something else, is refused here (RFC 9113 sections 8.2 and 8.3); everything else is the parser's to judge, which reads the text next.
 */
#pragma once

#include "str.h"

#include <nghttp2/nghttp2.h>
#include <sys/types.h>

struct buffer;

/* ---- h2_request.c ---- */

enum h2_block_kind { H2_BLOCK_REQUEST, H2_BLOCK_TRAILERS };
enum h2_pseudo { H2_METHOD, H2_SCHEME, H2_AUTHORITY, H2_PATH, H2_PSEUDO_COUNT };
enum h2_verdict { H2_GOOD, H2_MALFORMED, H2_TOO_LARGE };

/* A header block on its way in; one at a time in a session. */
struct h2_block {
    enum h2_block_kind kind;
    enum h2_verdict verdict; /* stays what it became first */
    const char *why;
    struct buffer *buf; /* from its front: values of pseudo-fields, then lines; from its back: cookies */
    struct {
        uint32_t at, len;
    } pseudo[H2_PSEUDO_COUNT];
    uint32_t seen;       /* bits of enum h2_pseudo */
    uint32_t lines;      /* where lines begin */
    uint32_t cookies;    /* where the last cookie begins; the buffer's size: none */
    uint32_t list_bytes; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts them (RFC 9113 section 6.5.2) */
    uint64_t length;
    bool has_length, has_host, has_te, regular;
};

void h2_block_begin(struct h2_block *b, enum h2_block_kind kind, struct buffer *buf);
void h2_block_field(struct h2_block *b, const char *name, size_t name_len, const char *value, size_t value_len, uint32_t list_max);
void h2_block_refuse(struct h2_block *b, enum h2_verdict verdict, const char *why);

/* Writes the whole head into out (empty). ends: no body follows. *ret_chunked: the body is to be chunked. The verdict, also in b. */
enum h2_verdict h2_block_request(struct h2_block *b, bool ends, struct buffer *out, bool *ret_chunked);

/* ---- h2_answer.c ---- */

#define H2_FIELDS_MAX 102U /* HEAD_FIELDS_MAX and :status */

/* Points into the text that it was read from, and into itself. */
struct h2_fields {
    nghttp2_nv nv[H2_FIELDS_MAX];
    size_t n;
    char status[3];
};

enum h2_answer_state {
    H2_ANSWER_HEAD,
    H2_ANSWER_LENGTH, /* `left` bytes of body */
    H2_ANSWER_SIZE,   /* a chunk's size line */
    H2_ANSWER_CHUNK,
    H2_ANSWER_CHUNK_END,
    H2_ANSWER_TRAILERS,
    H2_ANSWER_DONE
};

struct h2_answer {
    enum h2_answer_state state;
    bool to_head; /* answers HEAD */
    uint64_t left;
    uint32_t line; /* bytes of the line that is being read */
    struct strbuf trailers;
};

/* data begins with a whole head (the core writes heads in one piece). Its length; a->state stays HEAD behind an interim one. -EPROTO. */
ssize_t h2_answer_head(struct h2_answer *a, const char *data, size_t len, struct h2_fields *ret);

/* Body of the answer: reads from data, writes payload to `to`; returns how much it read; -EPROTO, -ENOMEM. Stops at the end, and where there is no more room. */
ssize_t h2_answer_body(struct h2_answer *a, const char *data, size_t len, char *to, size_t room, size_t *ret_payload);

/* At DONE. ret->n == 0: there are none. */
int h2_answer_trailers(const struct h2_answer *a, struct h2_fields *ret);
void h2_answer_done(struct h2_answer *a);
