/*
 * log.h: one line a message, to standard error.
 *
 * Lines begin with "<N>" (the syslog priority, sd-daemon(3)) when standard error is a journal stream, and carry key=value pairs. Library code does not log: it returns a diag. The owner of an
 * event loop, a main() or the one place that owns an event does.
 */
#pragma once

#include <stdbool.h>
#include <syslog.h>

struct diag;

/* Messages above this syslog priority are dropped; LOG_INFO at start. The only mutable global of the code base. */
void log_set_level(int priority);
bool log_enabled(int priority);

/* key=value text after an event name: log_msg(LOG_INFO, "instance ready", "function=%s ms=%u", ...). */
void log_msg(int priority, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with error="text of d". */
void log_diag(int priority, const char *event, const struct diag *d, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
