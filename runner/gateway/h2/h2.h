/*
 * h2.h: HTTP/2 to clients (RFC 9113), over nghttp2: what http/ and TLS call.
 *
 * A conn whose bytes are frames has a session (conn->session). Each of its streams is a conn of its own without a descriptor (conn_new_stream()): the request is written into its buffer as HTTP/1.1, the answer is read
 * from what it sends, so that everything that is decided about a request is decided in one place. This room knows frames, their limits and the two translations; nothing of routes, functions and instances.
 */
#pragma once

#include <stddef.h>

struct conn;

enum h2_preface { H2_PREFACE_NO, H2_PREFACE_MORE, H2_PREFACE_YES };

/* Are these first bytes of a connection those of HTTP/2 (RFC 9113 section 3.4)? */
enum h2_preface h2_preface(const char *data, size_t len);

/* From now on c's bytes are frames, those in c->in first; no request has been read from it. The caller goes on with conn_run(). 0, -ENOMEM. After ALPN `h2` TLS calls it, for listeners of LISTENER_PUBLIC. */
int h2_start(struct conn *c);

/* ---- called by conn.c of a conn with a session ---- */
void h2_run(struct conn *c);
void h2_stop(struct conn *c); /* takes no further request; closes c behind the last one */
void h2_on_timeout(struct conn *c);
void h2_end(struct conn *c); /* c is about to close: ends its streams, frees the session */
