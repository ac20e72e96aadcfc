/* log.c: the only writer of log lines. A line is built in one buffer and written by one write(2), so that lines of several processes do not mix. */
#include "log.h"

#include "diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int log_level = LOG_INFO;

void log_set_level(int priority)
{
    log_level = priority;
}

bool log_enabled(int priority)
{
    return priority <= log_level;
}

__attribute__((format(printf, 4, 0))) static void log_write(int priority, const char *event, const char *error, const char *fmt, va_list ap)
{
    char line[1600];
    const size_t room = sizeof(line) - 1;
    size_t len = 0;

    if (getenv("JOURNAL_STREAM"))
        len += (size_t)snprintf(line, room, "<%d>", priority);
    len += (size_t)snprintf(line + len, room - len, "%s", event);
    if (fmt && *fmt && len < room) {
        line[len++] = ' ';
        len += (size_t)vsnprintf(line + len, room - len, fmt, ap);
    }
    if (error && len < room)
        len += (size_t)snprintf(line + len, room - len, " error=\"%s\"", error);
    if (len > room)
        len = room;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = ' ';
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* nobody is left to tell */
}

void log_msg(int priority, const char *event, const char *fmt, ...)
{
    va_list ap;

    if (!log_enabled(priority))
        return;
    va_start(ap, fmt);
    log_write(priority, event, NULL, fmt, ap);
    va_end(ap);
}

void log_diag(int priority, const char *event, const struct diag *d, const char *fmt, ...)
{
    va_list ap;

    if (!log_enabled(priority))
        return;
    va_start(ap, fmt);
    log_write(priority, event, d->text, fmt, ap);
    va_end(ap);
}
