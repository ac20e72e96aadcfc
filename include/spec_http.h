/*
 * spec_http.h: what [http], `access` and the limits of [limits] that the gateway holds say, as plain data: part of struct spec, and sent whole to the gateway as RECORD_HTTP.
 *
 * A request for a host that a function claims goes to that function, whole path and all. A path is claimed with what is below it, at the function's hosts, or, where it names none, at every host that nobody claims.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SPEC_HTTP_HOSTS_MAX   16
#define SPEC_HTTP_PATHS_MAX   16
#define SPEC_HTTP_ORIGINS_MAX 16
#define SPEC_HTTP_HOST_MAX    254 /* RFC 1035: 253 characters */
#define SPEC_HTTP_PATH_MAX    256

struct diag;

/* Bits of methods; GET stands for HEAD too. */
enum spec_method {
    SPEC_METHOD_GET,
    SPEC_METHOD_HEAD,
    SPEC_METHOD_POST,
    SPEC_METHOD_PUT,
    SPEC_METHOD_PATCH,
    SPEC_METHOD_DELETE,
    SPEC_METHOD_OPTIONS,
    SPEC_METHOD_COUNT
};
#define SPEC_METHODS_ALL ((1U << SPEC_METHOD_COUNT) - 1)

struct spec_path {
    uint32_t methods;              /* never 0; all and others: SPEC_METHODS_ALL */
    char path[SPEC_HTTP_PATH_MAX]; /* begins with /, has no / at its end but alone, no dot segments, no query; as it comes on the wire */
};

/* A token bucket: one request every interval_ns, `burst` at once. interval_ns 0: none. */
struct spec_rate {
    uint64_t interval_ns; /* 1 us to 1 day */
    uint64_t burst;       /* 1 to 1000000 */
};

struct spec_http {
    uint32_t nhosts, npaths, norigins;
    uint32_t is_private;             /* 0, 1: a request needs a token */
    uint32_t hosts_line, paths_line; /* of function.ini, for messages; 0: not there */
    uint32_t cors_any;               /* 0, 1: every origin */
    uint32_t cors_credentials;       /* 0, 1: not beside cors_any */
    uint32_t cors_methods;           /* what a preflight answers; 0 where there is no cors */
    uint32_t reserved;
    struct spec_rate rate;                               /* of all requests to the function */
    struct spec_rate rate_client;                        /* of one client's address (an IPv6 client is its /64) */
    uint64_t max_body_bytes;                             /* 0: the gateway's max_body alone */
    char cors_headers[256];                              /* field names, ", " between them */
    char hosts[SPEC_HTTP_HOSTS_MAX][SPEC_HTTP_HOST_MAX]; /* lower case; "*.example.org": exactly one label more */
    struct spec_path paths[SPEC_HTTP_PATHS_MAX];
    char origins[SPEC_HTTP_ORIGINS_MAX][SPEC_HTTP_HOST_MAX + 16]; /* SCHEME://HOST[:PORT], lower case */
};

/* The part of spec_check() that looks at it; its messages are for the author of a function.ini. */
int spec_http_check(const struct spec_http *h, struct diag *d);

/* Do two functions want the same requests? The first place that both claim goes to ret ("hello.example.org/shop"), whose size is SPEC_HTTP_CLAIM_MAX. */
#define SPEC_HTTP_CLAIM_MAX (SPEC_HTTP_HOST_MAX + SPEC_HTTP_PATH_MAX)
int spec_http_overlap(const struct spec_http *a, const struct spec_http *b, char ret[SPEC_HTTP_CLAIM_MAX]);

/* "GET"; NULL behind the last. */
const char *spec_method_name(unsigned method);
/* The bit of a method's name; 0 for one that has none. */
uint32_t spec_method_bit(const char *name, size_t len);
