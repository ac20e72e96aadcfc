/* http_conn.h: between http_conn.c (one connection: the protocol) and http_server.c (all of them: sockets and the loop). */
#pragma once

#include "http_server.h"

#include <signal.h>
#include <sys/types.h>

#define IN_SIZE  16384 /* also the longest request head */
#define OUT_SIZE 16384

enum state { HEAD, STREAM, SENDFILE, BODY, DRAIN, CLOSING };

enum chunk { SIZE_FIRST, SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_FIRST, TRAILER, TRAILER_LF, LAST_LF, COMPLETE };

struct conn {
    bool open, watching_out;
    enum state state;
    /* of the current request */
    bool http10, close, no_body, echo, chunked, expects;
    enum chunk chunk;
    uint64_t left; /* bytes of the body, or of the current chunk, that are still to come */
    /* of an answer that is produced piece by piece */
    http_more_fn *more;
    struct http_position position;
    uint64_t more_left;
    /* of SENDFILE: http_server.c sends it behind what is in `out` */
    int file_fd;
    off_t file_at;
    uint64_t file_left;
    /* the request's head, while http_handler runs */
    const char *head;
    size_t head_len;

    size_t in_at, in_end, out_at, out_end;
    char in[IN_SIZE];
    char out[OUT_SIZE];
};

/* What a connection needs to know of the whole: the function, and whether this request is its last. */
extern http_request_fn *http_handler;
extern volatile sig_atomic_t http_stopping;

/* Consumes input or produces output; false when neither is possible. */
bool conn_step(struct conn *c);
