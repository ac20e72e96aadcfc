/* trailer.h: fields behind a chunked body that are sent on (RFC 9110 section 6.5). Lines come byte by byte, each already checked; those that nobody may say behind a body are left out (section 6.5.1). */
#pragma once

#include <stddef.h>

#define TRAILER_BYTES_MAX 4096U /* with what is left out */

/* malloc'ed at the first byte: few messages have any. */
struct trailer;

/* The next byte of a line that ends with CRLF. *t: NULL before the first; it stays NULL without memory, and the fields are lost, as RFC 9110 allows. */
void trailer_add(struct trailer **t, char c);
void trailer_free(struct trailer *t);

/* All lines are there. "\r\n0\r\n", the lines, "\r\n": what ends a chunk and the body; NULL: no line is left. */
const char *trailer_end(struct trailer *t, size_t *ret_len);
