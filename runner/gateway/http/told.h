/* told.h: what a proxy in front says about the client: X-Forwarded-*, and Forwarded of RFC 7239. Pure; whether it is believed is the caller's to say. */
#pragma once

#include "head.h"
#include "ipnet.h"

#define TOLD_HOPS_MAX 16U

/* Texts are in the head's bytes, and not terminated. */
struct told {
    uint8_t scheme;                   /* enum told_scheme */
    unsigned nhops;                   /* how many addresses there are behind the peer: the last one is the client, those before it are proxies */
    const char *host, *port, *prefix; /* NULL: nothing is said */
    size_t host_len, port_len, prefix_len;
    struct ip hops[TOLD_HOPS_MAX];
};

enum told_scheme { TOLD_NO_SCHEME, TOLD_HTTP, TOLD_HTTPS };

/*
 * The peer is a trusted proxy, so the last address of the list is true; as long as that is a trusted proxy too, the one before it is. What comes before the first that is none was said by a stranger, and is not
 * looked at; nor is what stands before something that is no address. X-Forwarded-For counts, and Forwarded where there is none. Of the other fields the last element counts, of Forwarded that of the client.
 */
void told_read(const struct head *h, const char *data, const struct ip_nets *trusted, struct told *ret);
