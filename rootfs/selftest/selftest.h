/* selftest.h: between selftest.c (the server and the report) and attempts.c (what is tried). */
#pragma once

#include <stddef.h>

/* How an attempt must end. */
enum outcome {
    REFUSED, /* EPERM, EACCES, EROFS, or that the kernel knows no such thing here */
    ABSENT,  /* there is no such file */
    HIDDEN,  /* nothing can be read, from a file that may be there */
    SILENT,  /* no connection */
    KILLED,  /* by SIGSYS */
    WORKS,
};

/* Returns less than 0 with errno set, or 0 and more when it worked. Nothing that is tried would do harm if it worked. */
struct attempt {
    const char *what;
    enum outcome expected;
    long (*run)(const struct attempt *a);
    const char *path;
    long args[6];
};

extern const struct attempt attempts[];
extern const size_t attempts_count;
