/* proxy_header.h: the header of the PROXY protocol, versions 1 and 2 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). Pure. */
#pragma once

#include "ipnet.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROXY_HEADER_MAX 4096U /* with the TLVs of version 2; version 1 has at most 107 */

struct proxy_header {
    bool known; /* client is there; else the proxy speaks for itself (LOCAL, UNKNOWN, a unix socket) */
    bool tls;   /* the client came by TLS to the proxy (PP2_TYPE_SSL) */
    struct ip client;
};

/* The header's length, 0: more is needed, -EPROTO: no such header, -E2BIG. Reads nothing behind it. A line of version 1 is looked at once it is whole. */
ssize_t proxy_header_parse(const void *data, size_t len, struct proxy_header *ret);
