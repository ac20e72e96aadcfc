/*
 * session.h: what session.c and session_loop.c share: the relay of one `fnctl exec`, beside the function in its sandbox. The argument why the function cannot get at it: session.c.
 */
#pragma once

#include "execframe.h"
#include "fn_init.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct session {
    struct init in; /* ids, directory, command, environment */
    bool tty;
    bool gone;    /* nobody is at the other end any more: the command is being ended */
    bool ended;   /* the command has been reaped */
    bool in_over; /* the client's input has ended */
    bool said;    /* EXIT is in `to` or has gone out */
    pid_t command;
    int status; /* wait status, when ended */
    struct exec_exit failed;
    int socket_fd, signal_fd;
    int in_fd;      /* the command's input: a pipe, or the terminal's master; -1 closed */
    int out_fds[2]; /* its output and errors; a terminal has [0] alone, the same as in_fd */
    int master_fd;  /* -1 without a terminal */
    uint64_t kill_ns;
    size_t left;    /* bytes that are still read once the command has ended */
    uint32_t taken; /* bytes of input that the client has not been told of */
    size_t in_at, in_len, from_len, to_at, to_len;
    uint8_t from[EXEC_FRAME_MAX]; /* received, not parsed */
    uint8_t to[EXEC_FRAME_MAX];   /* one frame on its way out */
    uint8_t input[EXEC_WINDOW];   /* for the command, from in_at on */
};

/* fn-init executed as FN_EXEC_NAME. */
void session_main(int argc, char **argv) __attribute__((noreturn));

/* Received bytes are taken apart and acted on. -EPROTO. */
int session_receive(struct session *s);

/* Copies until the command has ended and its end has been told, or nobody listens and it is dead. */
void session_loop(struct session *s);
