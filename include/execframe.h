/*
 * execframe.h: what `fnctl exec` and the relay inside the sandbox (runner/init/session.c) say to each other once the API has answered 101 (Upgrade: fnd-exec/1).
 *
 * A stream of frames: type, 0, length of the payload (two bytes, little-endian), payload. Nobody between the two looks into it: gateway and runner hand the connection on. Each side believes nothing of the other:
 * a frame that is not of the other side's types, or not of a length that its type has, ends the session.
 *
 *   START   first, and before it the relay does nothing: rows, columns
 *   STDIN   bytes for the command; empty: the end. At most EXEC_WINDOW bytes that are not TAKEN yet are under way, so that SIZE and SIGNAL never wait behind input that the command does not read
 *   SIZE    rows, columns
 *   SIGNAL  number, for the command's process group
 *   STDOUT  bytes (of a terminal: all of it); STDERR
 *   TAKEN   this many bytes of input have reached the command
 *   EXIT    last: how it ended
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EXEC_PROTOCOL  "fnd-exec/1"
#define EXEC_HEAD      4U
#define EXEC_DATA_MAX  16384U
#define EXEC_FRAME_MAX (EXEC_HEAD + EXEC_DATA_MAX)
#define EXEC_WINDOW    65536U
#define EXEC_TERM_MAX  64 /* of TERM, with its end */

enum exec_type { EXEC_NONE, EXEC_START, EXEC_STDIN, EXEC_SIZE, EXEC_SIGNAL, EXEC_STDOUT, EXEC_STDERR, EXEC_TAKEN, EXEC_EXIT, EXEC_TYPE_COUNT };

enum exec_side { EXEC_FROM_CLIENT = 1, EXEC_FROM_RELAY = 2 };

enum exec_end {
    EXEC_END_EXITED, /* value: its status */
    EXEC_END_SIGNAL, /* value: the signal */
    EXEC_END_FAILED, /* it never ran: value is an errno, step says at what */
    EXEC_END_COUNT
};

enum exec_step { EXEC_STEP_START, EXEC_STEP_CWD, EXEC_STEP_FORK, EXEC_STEP_EXEC, EXEC_STEP_INTERPRETER, EXEC_STEP_COUNT };

struct exec_frame {
    uint8_t type; /* enum exec_type */
    uint16_t len;
    const uint8_t *payload;
};

struct exec_exit {
    uint8_t end;  /* enum exec_end */
    uint8_t step; /* enum exec_step */
    uint16_t value;
};

/* The first frame of what was received from `from`: returns its whole length, 0 when more bytes are needed, -EPROTO. *ret points into data. */
int exec_frame_parse(enum exec_side from, const void *data, size_t len, struct exec_frame *ret);

/* Writes the head of a frame whose payload of len bytes follows it. */
void exec_frame_head(uint8_t to[EXEC_HEAD], enum exec_type type, size_t len);

/* Whole frames into `to` (of EXEC_HEAD + 4 bytes at least); their length. */
size_t exec_frame_size(uint8_t *to, enum exec_type type, unsigned rows, unsigned cols); /* START, SIZE */
size_t exec_frame_signal(uint8_t *to, int sig);
size_t exec_frame_taken(uint8_t *to, uint32_t bytes);
size_t exec_frame_exit(uint8_t *to, const struct exec_exit *e);

/* Of parsed frames of the right type. */
void exec_read_size(const struct exec_frame *f, unsigned *ret_rows, unsigned *ret_cols);
uint32_t exec_read_taken(const struct exec_frame *f);
int exec_read_exit(const struct exec_frame *f, struct exec_exit *ret); /* -EPROTO */
