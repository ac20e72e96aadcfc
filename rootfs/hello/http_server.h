/*
 * http_server.h: a small HTTP/1.1 server for one thread: keep-alive, pipelining, HEAD, bodies with Content-Length and chunked.
 *
 * The function is one callback, which begins exactly one answer for each request. Everything that a connection needs is two buffers of a fixed size: a body of any length flows through them, and a client
 * that does not read its answer is not read from either.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_TEXT_MAX  512  /* of http_answer */
#define HTTP_LINES_MAX 1024 /* of http_head */
#define HTTP_NO_LENGTH UINT64_MAX

struct conn;

/* path is not terminated, and without the query. */
typedef void http_request_fn(struct conn *c, const char *path, size_t len);

/* Puts more of the answer's body; false when there is no room for more now, or nothing left. */
typedef bool http_more_fn(struct conn *c);

/* Serves until SIGTERM or SIGINT, then finishes the requests that are running. on_ready is called once, when connections are accepted. -1: cannot listen, see errno. */
int http_serve(uint16_t port, http_request_fn *on_request, void (*on_ready)(void));

/* ---- answers: one of these for each request; a HEAD request gets no body ---- */

/* A short text. status is "200 OK"; text has at most HTTP_TEXT_MAX bytes. */
void http_answer(struct conn *c, const char *status, const char *text);

/* The request's body, while it still arrives. */
void http_echo(struct conn *c);

/* `length` bytes of text that `more` puts piece by piece with http_put, when there is room. */
void http_stream(struct conn *c, uint64_t length, http_more_fn *more);

/* Bytes of the body of http_stream: takes as many as there is room for, and returns how many. */
size_t http_put(struct conn *c, const char *data, size_t len);

/* A place for the callback's own position in what it streams; {NULL, 0} when http_stream begins. */
struct http_position {
    const void *item;
    size_t at;
};
struct http_position *http_position(struct conn *c);

/* Any head; more may be NULL, or whole lines ("ETag: x\r\n"). For an answer without a body, or before http_file. HTTP_NO_LENGTH: none is said, as of 304. */
void http_head(struct conn *c, const char *status, const char *type, const char *more, uint64_t length);

/* The body: so many bytes of a regular file, which is closed then. A file that turns out to be shorter ends the connection. */
void http_file(struct conn *c, int fd, uint64_t at, uint64_t length);

/* ---- the request, while the callback runs ---- */

bool http_method_is(const struct conn *c, const char *method);

/* The value of the first field of that name; false: there is none. Not terminated. */
bool http_field(const struct conn *c, const char *name, const char **ret, size_t *ret_len);

bool http_is(const char *s, size_t len, const char *word); /* ignores case */
