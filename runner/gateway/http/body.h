/*
 * body.h: where a message's body ends (RFC 9112 section 6), and the chunked coding (section 7), decoded in place.
 *
 * Whatever comes in is decoded, whatever goes out is framed anew: no octet of a sender's framing reaches the other side.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_CLOSE };

struct trailer;

/* State of the decoder between two calls; zero at the start. */
struct chunked {
    uint64_t left; /* of the chunk */
    uint16_t digits, extension_bytes;
    uint16_t trailer_bytes;
    uint8_t state;
    bool keep;               /* trailers are wanted, and body_free() will be called */
    int32_t excess;          /* bytes of extensions, less those of data */
    struct trailer *trailer; /* those that may be sent on; NULL: none so far */
};

/*
 * Reads data[0, len): the payload is moved together at its front, *ret_payload bytes; returns how many bytes were read, all of them unless the body ended (then chunked_done() is true), or -EPROTO. Extensions
 * are checked and dropped, trailers are checked and kept if wanted.
 */
ssize_t chunked_decode(struct chunked *c, char *data, size_t len, size_t *ret_payload);
bool chunked_done(const struct chunked *c);
uint64_t chunked_plain(const struct chunked *c); /* body_plain(), body_moved() */
void chunked_moved(struct chunked *c, uint64_t n);

struct body {
    enum body_kind kind;
    bool done;      /* the last byte has been read */
    uint64_t left;  /* BODY_LENGTH */
    uint64_t total; /* payload so far */
    struct chunked chunked;
};

void body_init(struct body *b, enum body_kind kind, uint64_t length);
void body_keep_trailer(struct body *b);
void body_free(struct body *b); /* of what it keeps; can be repeated */

/*
 * How many of the next bytes are nothing but payload, whatever they are: they may be moved without being looked at. body_moved() then accounts for those that were.
 */
uint64_t body_plain(const struct body *b);
void body_moved(struct body *b, uint64_t n);

/* As chunked_decode, for every kind. BODY_CLOSE is never done: the caller knows the end. */
ssize_t body_take(struct body *b, char *data, size_t len, size_t *ret_payload);
