/*
 * access_log.h: one line a request, into a file that the runner opened. Never waits for the disk: each worker has a ring of its own, a thread of the log empties them. A ring that is full loses lines, which are counted.
 *
 * Lines are in the form that fnd.8 documents: key=value, or JSON. Their order is that of the requests' ends within a worker; between workers it is only nearly so.
 */
#pragma once

#include "str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum access_form { ACCESS_TEXT, ACCESS_JSON };

struct access_log;

struct access_log *access_log_new(unsigned workers); /* NULL: no memory. Off, and without a thread */
void access_log_free(struct access_log *log);        /* what was put comes into the file first, if the disk takes it within a second */

/* By one thread only. Takes fd, a file opened for appending; -1: off. The file before is closed when its lines are in it. */
int access_log_set(struct access_log *log, int fd, enum access_form form);

bool access_log_is_on(const struct access_log *log); /* NULL: no */
enum access_form access_log_form(const struct access_log *log);
void access_log_put(struct access_log *log, unsigned worker, const char *line, size_t len); /* by that worker's thread */
uint64_t access_log_lost(const struct access_log *log);

/* ---- access_line.c: pure ---- */

struct access_request { /* what is known when the request begins; texts are not terminated, and may be absent (len 0) */
    const char *client, *method, *target, *host, *user_agent, *referer, *protocol, *request_id;
    size_t client_len, method_len, target_len, host_len, user_agent_len, referer_len, protocol_len, request_id_len;
};

struct access_end {
    uint64_t real_ns; /* the end */
    uint64_t duration_ns;
    unsigned status;
    uint64_t request_bytes, response_bytes; /* of the bodies */
    const char *function, *instance;        /* NULL: none */
};

/* A line is: its time, what the request said, and how it ended; with its line feed. The middle is written when the request begins, since its head is gone at the end. */
void access_line_middle(struct strbuf *out, enum access_form form, const struct access_request *rq);
void access_line(struct strbuf *out, enum access_form form, const char *middle, const struct access_end *e);
