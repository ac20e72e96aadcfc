/* diag.c: building the text of an error. Never logs, never touches errno's meaning for the caller. */
#include "diag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int diag_set(struct diag *d, int err, const char *fmt, ...)
{
    if (d) {
        va_list ap;

        d->err = err;
        va_start(ap, fmt);
        vsnprintf(d->text, sizeof(d->text), fmt, ap);
        va_end(ap);
    }
    return -err;
}

int diag_errno(struct diag *d, int err, const char *fmt, ...)
{
    if (d) {
        va_list ap;
        size_t len;

        d->err = err;
        va_start(ap, fmt);
        vsnprintf(d->text, sizeof(d->text), fmt, ap);
        va_end(ap);
        len = strlen(d->text);
        snprintf(d->text + len, sizeof(d->text) - len, ": %s", strerror(err));
    }
    return -err;
}

int diag_prefix(struct diag *d, const char *fmt, ...)
{
    char old[DIAG_TEXT_MAX];
    va_list ap;
    size_t len;

    if (!d)
        return -EIO;
    memcpy(old, d->text, sizeof(old));
    old[sizeof(old) - 1] = '\0';
    va_start(ap, fmt);
    vsnprintf(d->text, sizeof(d->text), fmt, ap);
    va_end(ap);
    len = strlen(d->text);
    snprintf(d->text + len, sizeof(d->text) - len, ": %s", old);
    return d->err ? -d->err : -EIO;
}

void diag_clean(struct diag *d)
{
    d->text[sizeof(d->text) - 1] = '\0';
    for (char *p = d->text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    if (d->err < 0 || d->err > 4095)
        d->err = EIO;
}
