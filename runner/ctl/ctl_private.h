/* ctl_private.h: the private daemon of `fnctl run`, and the number that all its names derive from. */
#pragma once

#include "ctl.h"

#include <netinet/in.h>

#define SLOT_DIR   "/run/fnd-run" /* root's, 0700: K.lock while number K is in use, K/ the run directory of its daemon */
#define SLOT_FIRST 1U
#define SLOT_LAST  62U /* the ids of 63 would end beyond the last uid */

/*
 * Number K: lock, run directory, interface names, subnet, ids. Held as long as the descriptor is open; what a killed holder left is free by itself.
 */
struct slot {
    unsigned k;
    int lock_fd;
};

/* Takes the first number from `from` on whose lock and state are free. */
int ctl_slot_take(unsigned from, struct slot *ret, struct diag *d);
void ctl_slot_release(struct slot *s); /* with its lock file, and the directory if nobody else is in it */
/* Its network: -EADDRINUSE with who uses it. */
int ctl_slot_subnet_free(unsigned k, struct diag *d);

#define PORT_FIRST 8888U
#define PORT_LAST  8999U

/* Can somebody listen there now? 0, or a negative errno with a message that names the address. */
int ctl_port_free(const char *address, unsigned port, struct diag *d);
/* The first free one from `from` to PORT_LAST. */
int ctl_port_find(const char *address, unsigned from, unsigned *ret, struct diag *d);

#define PRIVATE_SETS    24
#define PRIVATE_SET_MAX 160

struct private_options {
    const char *address; /* of the public listener */
    unsigned port;       /* 0: the first free one */
    unsigned admin;      /* 0: none */
};

struct private_daemon {
    struct ctl *ctl;
    struct slot slot;
    pid_t pid; /* 0: not running */
    int pid_fd, err_fd, notify_fd;
    bool ready, died;
    int status; /* of wait(2), when died */
    unsigned port;
    char program[4096], run[64], socket[96], notify[64];
    char sets[PRIVATE_SETS][PRIVATE_SET_MAX];
    unsigned nsets;
    struct strbuf tail; /* the last it said on standard error */
};

enum ctl_private_stop { STOP_NONE, STOP_SIGNAL, STOP_DAEMON };

/* Starts it and waits until its API answers. On failure nothing is left, and the diag says why. -ECANCELED: ctl->stop. */
int ctl_private_start(struct ctl *ctl, const struct private_options *o, struct private_daemon *p, struct diag *d);
/* SIGTERM, 10 s, SIGKILL; then what a daemon that did not end by itself has left is removed. */
int ctl_private_stop(struct private_daemon *p, struct diag *d);
void ctl_private_print_tail(const struct private_daemon *p);
