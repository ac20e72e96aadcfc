/* unpack_note.c: what whoever deployed a package should know, though nothing failed. */
#include "unpack_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void unpack_note(struct unpack_result *res, const char *fmt, ...)
{
    size_t len = strlen(res->notes), room = sizeof(res->notes) - len;
    va_list ap;
    int n;

    if (room < 3)
        return;
    va_start(ap, fmt);
    n = vsnprintf(res->notes + len, room - 1, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room - 1) {
        res->notes[len] = '\0';
        return;
    }
    for (char *p = res->notes + len; *p; p++)
        if (*p == '\n')
            *p = ' ';
    memcpy(res->notes + len + n, "\n", 2);
}
