/*
 * diag.h: the one shape of an error.
 *
 * A function that can fail returns 0 or more on success and a negative errno on failure; where a person may have to read the reason it also takes a
 * `struct diag *` as its last parameter. The text is written where the failure happens and prefixed on the way up ("hello: veth: bridge fn0: ..."). The record has a fixed
 * size, so that it travels unchanged from a child to its parent, from the daemon to the gateway and into the log. NULL is accepted everywhere.
 */
#pragma once

#include <stdint.h>

#define DIAG_TEXT_MAX 508

struct diag {
    int32_t err; /* positive errno of the first cause, 0 when nothing failed */
    char text[DIAG_TEXT_MAX];
};

/* Replaces the text; returns -err, so that `return diag_set(d, EINVAL, ...)` is one statement. */
int diag_set(struct diag *d, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": strerror(err)" appended. Takes the number, never reads errno: say diag_errno(d, errno, ...) in the statement after the call. */
int diag_errno(struct diag *d, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "text: " before what is there. Returns -d->err (-EIO if nobody had set it). */
int diag_prefix(struct diag *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Makes a record that came from another process safe to print: terminated, and control characters replaced. */
void diag_clean(struct diag *d);
