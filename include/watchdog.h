/*
 * watchdog.h: the variables by which a function of mode stdio is set, under the names that OpenFaaS' watchdogs gave them: fprocess, exec_timeout, ... (https://docs.openfaas.com/architecture/watchdog).
 *
 * They are variables of the function like all others, so they come from [env], env/, the env_file or --env. fnd-unpack refuses a deploy whose values do not fit; fn-init reads them once more at its start.
 * Nothing here allocates or prints: it is part of fn-init.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum watchdog_mode {
    WATCHDOG_CLASSIC,     /* the answer is held back until the process has ended, or wrote more than fits */
    WATCHDOG_STREAMING,   /* it goes out as it comes */
    WATCHDOG_SERIALIZING, /* the whole request first, then the process, then the whole answer */
};

struct watchdog {
    enum watchdog_mode mode;
    uint64_t exec_timeout_ns; /* 0: none, as of the others */
    uint64_t read_timeout_ns, write_timeout_ns, healthcheck_ns;
    uint32_t max_inflight;
    bool write_debug, combine_output, cgi_headers, marshal_request, suppress_lock;
    const char *content_type; /* borrowed; NULL: the request's */
    const char *fprocess;     /* borrowed; NULL: not set */
};

void watchdog_init(struct watchdog *w);

/* Takes NAME=VALUE if it is one of them. NULL, or what the value must be ("a duration: 30s, 1m30s, 500ms"). What it borrows stays the caller's. */
const char *watchdog_take(struct watchdog *w, const char *variable);

/* A duration as Go reads it (1m30s, 1.5h, 250ms), or whole seconds. 0 or -EINVAL. */
int watchdog_duration(const char *text, size_t len, uint64_t *ret_ns);
