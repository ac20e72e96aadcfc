/*
 * probe.h: a program that runs as the function inside a sandbox and looks about: one verb per check. It prints a line for everything that is not as it
 * must be and exits with the number of such lines (at most 100), so that the log says what was wrong.
 */
#pragma once

#include <stdbool.h>

/* Prints and counts when ok is false. */
void probe_expect(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The result of a call that must be refused: -1 with EPERM or ENOSYS (or `also`, when that is not 0). */
void probe_refused(long result, const char *call, int also);

/* probe_calls.c */
int probe_calls(char **args);
int probe_sockets(char **args);
int probe_foreign(char **args);
int probe_init(char **args);
