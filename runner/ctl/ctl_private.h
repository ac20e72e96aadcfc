/* ctl_private.h: the private daemon of `fnctl run`, and the number that all its names derive from. */
#pragma once

#include "ctl.h"

#include <netinet/in.h>

#define SLOT_DIR     "/run/fnd-run-" /* then K: the run directory of daemon K, root's, 0700, and the lock of the number */
#define SLOT_DIR_MAX 32
#define SLOT_FIRST   1U
#define SLOT_LAST    62U /* the ids of 63 would end beyond the last uid */

/*
 * Number K: run directory, interface names, subnet, ids. It is held by flock(2) on the directory, through a descriptor that the daemon inherits: so it stays
 * taken until both have gone, whoever is killed, and is then free by itself; what a killed daemon left there, its next taker sweeps.
 */
struct slot {
    unsigned k;
    int lock_fd;
};

/* Takes the first free number from `from` on. */
int ctl_slot_take(unsigned from, struct slot *ret, struct diag *d);
/* With its directory, whose daemon has ended. */
int ctl_slot_release(struct slot *s);
void ctl_slot_dir(unsigned k, char *buf, size_t size);
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
    char program[4096], run[SLOT_DIR_MAX], socket[64], notify[64];
    char sets[PRIVATE_SETS][PRIVATE_SET_MAX];
    unsigned nsets;
    struct strbuf tail; /* the last it said on standard error */
};

enum ctl_private_stop { STOP_NONE, STOP_SIGNAL, STOP_DAEMON };

/* Starts it and waits until its API answers. On failure nothing is left, and the diag says why. -ECANCELED: ctl->stop. */
int ctl_private_start(struct ctl *ctl, const struct private_options *o, struct private_daemon *p, struct diag *d);
/* SIGTERM, 10 s, SIGKILL; then what a daemon that did not end by itself has left is removed. */
int ctl_private_stop(struct private_daemon *p, struct diag *d);
/* From its start to its end, with fn in between, which speaks to it through ctl. fn's exit code, or what went wrong around it; a signal ends what fn waits for. */
int ctl_private_with(struct ctl *ctl, const struct private_options *o, int (*fn)(struct ctl *ctl, void *arg), void *arg);
void ctl_private_print_tail(const struct private_daemon *p);

/* ctl_signals.c: SIGINT, SIGTERM and SIGHUP end what is being waited for (ctl->stop is STOP_SIGNAL), whatever was inherited. *ret_fd is the caller's. */
int ctl_signals_watch(struct ctl *ctl, int *ret_fd);

/* ctl_self_test.c: an exit code */
int ctl_self_test(struct ctl *ctl);
