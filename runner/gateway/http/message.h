/* message.h: what a checked head means, and the heads that are sent on. */
#pragma once

#include "body.h"
#include "head.h"

struct buffer;
struct iovec;
struct told;

struct request {
    bool http10;
    bool wants_keep_alive; /* the connection may carry another request */
    bool is_head;
    bool idempotent; /* RFC 9110 section 9.2.2: may be sent twice */
    bool expects_continue;
    bool upgrade; /* Connection: upgrade, Upgrade: ..., no body */
    bool names_h2c;
    bool takes_trailers; /* TE: trailers */
    bool exec;           /* ... and that is EXEC_PROTOCOL */
    bool wants_json;
    unsigned names_fields; /* how many fields Connection names, to be removed */
    enum body_kind body;
    uint64_t length;                           /* BODY_LENGTH */
    uint16_t path, path_len, query, query_len; /* offsets; the query begins behind '?', query_len 0 if there is none */
    bool has_query;
    bool server;             /* OPTIONS of no resource: asterisk-form, or an absolute target without a path */
    uint16_t host, host_len; /* offsets */
};

/* Looks at a parsed head as a whole. 0, or the status to answer with and h->why. */
unsigned request_check(struct head *h, const char *data, struct request *ret);

#define AUTHORITY_MAX 512U

/* HOST or HOST:PORT as a Host field may have it; "" is one too. */
bool authority_ok(const char *s, size_t len);
const char *authority_port(const char *s, size_t len, size_t *ret_len); /* of one that is ok; NULL: none */

struct response {
    uint16_t status;
    bool keep_alive; /* the function's connection may be used again */
    unsigned names_fields;
    bool has_date;
    bool has_length; /* length is what the head says, even where no body follows (HEAD, 304) */
    enum body_kind body;
    uint64_t length;
};

/* to: the request that it answers. 0 or -EPROTO and h->why. */
int response_check(struct head *h, const char *data, const struct request *to, struct response *ret);

/* What the gateway says of a request to the function. Texts are not terminated. */
struct forwarded {
    const char *prefix; /* "/fn/hello" */
    size_t prefix_len;
    const char *client;      /* address, terminated; "" unknown */
    bool secure;             /* came by TLS */
    const struct told *told; /* what a trusted proxy says of it, or NULL */
    const char *request_id;
    size_t request_id_len;
    bool hide_authorization; /* it was for the gateway */
};

/* Writes the head that the function gets into `out` (empty): the path without the prefix, fields that are for the next hop only removed. 0, -E2BIG. */
int rewrite_request(const struct head *h, const char *data, const struct request *rq, const struct forwarded *f, struct buffer *out);

/* How the body goes out to the client. */
struct framing {
    bool chunked, close, keep_alive_http10, upgrade;
    const char *date;  /* line with CRLF, for a function that sent none */
    const char *added; /* more lines, or NULL */
    bool own_cors;     /* the function's own CORS fields are not sent on */
    const char *request_id;
    size_t request_id_len; /* 0: none */
};
int rewrite_response(const struct head *h, const char *data, const struct response *rs, const struct framing *f, struct buffer *out);
