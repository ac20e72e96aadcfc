/* request_id.h: the name of a request in everybody's logs: the sender's X-Request-Id if it is of a sane form, else 128 random bits. */
#pragma once

#include "head.h"

#define REQUEST_ID_MAX  128U
#define REQUEST_ID_MADE 32U

/* Random bytes are fetched for many at once: a system call a request would be seen. */
struct request_ids {
    uint8_t random[1024];
    unsigned left; /* unused bytes, at the end */
};

/* Writes to out; its length. */
unsigned request_id_choose(struct request_ids *ids, const struct head *h, const char *data, char out[REQUEST_ID_MAX]);
