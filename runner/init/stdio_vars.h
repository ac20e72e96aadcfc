/* stdio_vars.h: what a process is told of its request: variables in its environment, as CGI and the classic watchdog have them, or a document on its standard input (marshal_request). Pure. */
#pragma once

#include "stdio_head.h"

#include <sys/types.h>

/* The variables of one request: pointers and the texts that they point to, both the caller's. */
struct stdio_vars {
    char **list; /* `max` places; NULL behind the last when made */
    size_t count, max;
    char *text;
    size_t len, size;
};

/* Puts the request's variables behind the `count` that are there. -E2BIG. */
int stdio_vars_make(struct stdio_vars *v, const struct stdio_request *r);

/* Canonical spelling of a field's name (x-tEst -> X-Test), as Go has it: into out, len bytes. */
void stdio_vars_canonical(const char *name, size_t len, char *out);

/* ---- {"header":{"K":["v"]},"body":{"raw":"BASE64"}} ---- */

typedef int stdio_sink(void *arg, const char *data, size_t len); /* 0 or -errno */

struct stdio_marshal {
    stdio_sink *sink;
    void *arg;
    size_t held; /* bytes in `three` that wait for others */
    unsigned char three[3];
};

int stdio_marshal_begin(struct stdio_marshal *m, const struct stdio_request *r);
int stdio_marshal_body(struct stdio_marshal *m, const char *data, size_t len);
int stdio_marshal_end(struct stdio_marshal *m);
