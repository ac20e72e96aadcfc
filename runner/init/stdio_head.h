/*
 * stdio_head.h: one HTTP/1 request, as the server of mode stdio reads it (stdio_head.c), and the chunked coding. Pure: nothing here touches a descriptor.
 *
 * The gateway has looked at every request already and is the only one that the network lets in. All of it is checked again, because what connects here need not be what was meant to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STDIO_HEAD_MAX   32768
#define STDIO_FIELDS_MAX 128

struct stdio_text {
    const char *at;
    size_t len;
};

struct stdio_field {
    struct stdio_text name, value;
};

struct stdio_request {
    struct stdio_text method, path, query, host, type; /* type: Content-Type; without: empty */
    bool http10, close, chunked, expects;
    int64_t length; /* -1: none was said */
    unsigned nfields;
    struct stdio_field fields[STDIO_FIELDS_MAX];
};

/* Returns the length of the head, 0 when it is not whole yet, or minus the status (400, 417, 431, 501, 505) to answer with. Texts point into buf. */
int stdio_head_parse(const char *buf, size_t len, struct stdio_request *ret);

/* The first field of this name, in any case; NULL: none. */
const struct stdio_text *stdio_head_field(const struct stdio_request *r, const char *name);
bool stdio_text_is(struct stdio_text t, const char *s);

/* ---- the body ---- */

struct stdio_body {
    uint64_t left; /* of the length, or of the chunk */
    uint64_t taken;
    uint8_t state; /* of the chunked coding */
    bool chunked, done;
    uint16_t trailer; /* bytes of extension and trailer seen: bounded */
};

void stdio_body_init(struct stdio_body *b, const struct stdio_request *r);

/* Takes the coding off buf in place: *ret_payload bytes at its begin are the body's. Returns the bytes consumed, less than len only when the body has ended; -1 for a broken coding. */
int64_t stdio_body_take(struct stdio_body *b, char *buf, size_t len, size_t *ret_payload);
