/* route.h: what a path names. Pure: tables and text, no picture, no sockets. */
#pragma once

#include "../gateway.h"

enum route_kind {
    ROUTE_REFUSED,  /* status, code, text */
    ROUTE_FUNCTION, /* id; prefix_len bytes of the path are stripped */
    ROUTE_REDIRECT, /* to the path with a slash behind it */
    ROUTE_ROOT,
    ROUTE_HEALTHZ,
    ROUTE_METRICS,
    ROUTE_API,
    ROUTE_SERVER, /* OPTIONS * */
};

struct route {
    enum route_kind kind;
    struct fn_id id;
    size_t prefix_len; /* "/fn/hello" */
    unsigned status;
    const char *code, *text;
};

void route_find(const char *path, size_t len, enum listener_kind listener, bool metrics_public, struct route *ret);

/* Do dot segments lead out of the path, read in any of the ways that servers read one (percent-encoded, backslashes)? */
bool route_climbs(const char *path, size_t len);

/* ---- error_page.c ---- */

struct strbuf;

/* "Not Found"; "Unknown" for a number without a name. */
const char *status_text(unsigned status);

/* Appends the body of an error: JSON, or one line of text. function may be NULL. */
void error_page(struct strbuf *out, bool json, const char *code, const char *message, const char *function);
