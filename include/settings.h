/*
 * settings.h: what the configuration says to the gateway, as plain data. Part of struct config (the keys write it), and sent whole as RECORD_SETTINGS: behind WELCOME, and again when the configuration was read
 * anew, after which every request goes by the new one. Numbers are within the bounds of the table of keys (config.c); a gateway without a word from the runner goes by settings_init().
 */
#pragma once

#include "ipnet.h"

#include <stdbool.h>
#include <stdint.h>

struct settings {
    /* Times, in ns */
    uint64_t head_timeout_ns;    /* from a head's first byte to its last */
    uint64_t idle_timeout_ns;    /* between two requests of a connection */
    uint64_t stall_timeout_ns;   /* a client that neither sends nor takes what is due */
    uint64_t connect_timeout_ns; /* until an instance has accepted a connection */
    uint64_t stream_idle_ns;     /* of functions that do not say (SPEC_AS_CONFIGURED); 0: for ever */
    /* Bounds of a request's head; those of head.h are above them */
    uint64_t max_head_bytes, max_target_bytes;
    uint32_t max_fields;
    /* Whose word about the client counts: Forwarded, X-Forwarded-*, the PROXY protocol */
    struct ip_nets trusted_proxies;
    bool proxy_protocol; /* a connection to the public listener begins with a PROXY header */
    /* HTTP/2 to clients, of the public listener */
    bool h2;                                          /* offered behind TLS */
    bool h2c;                                         /* ... and taken without TLS from those who know (RFC 9113 section 3.3) */
    uint32_t h2_streams;                              /* requests of one connection at a time */
    uint32_t h2_requests;                             /* ... and in all; 0: any number */
    uint32_t h2_resets;                               /* streams that a client gives up, or makes us give up, within 10 s; 0: any number */
    uint32_t h2_idle_frames;                          /* frames that move nothing, likewise */
    uint64_t h2_head_bytes;                           /* of one header list */
    uint64_t h2_stream_window_bytes, h2_window_bytes; /* of requests' bodies that have come and were not read: of a stream, of a connection */
    /* TLS */
    bool https_redirect;
    uint32_t https_port;  /* where redirects lead: of public_url, or of tls_listen; 0: nowhere. Derived */
    uint32_t hsts_s;      /* Strict-Transport-Security: max-age; 0: not sent */
    char public_url[256]; /* how the public listener is reached from outside: "https://example.org"; "": as the API's client reaches the host */
    bool access_log_json; /* the form of the access log; else key=value */
};

/* The defaults that the table of keys has too (a test holds them together). */
void settings_init(struct settings *s);
