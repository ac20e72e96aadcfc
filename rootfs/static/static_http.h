/* static_http.h: between static_files.c (which file) and static_http.c (which part of it, and whether at all): RFC 9110, sections 13 and 14. */
#pragma once

#include "http_server.h"

#include <sys/stat.h>

/* What is told of a file, from its path's last segment and its status. */
struct static_file {
    const char *type;
    char etag[80];
    char modified[40]; /* empty: not known */
    time_t mtime;
    uint64_t size;
};

void static_describe(struct static_file *f, const char *name, const struct stat *st, const char *version);

/* Answers with the file, a part of it, or that it is as the client has it. Takes fd. */
void static_answer(struct conn *c, int fd, const struct static_file *f);

/* Octets of %XX in place of them, into `ret` of `size` bytes, terminated. False: no path, for a file system: too long, or with a NUL, a control character, a segment `.` or `..`, or a hidden one. */
bool static_path(const char *path, size_t len, char *ret, size_t size);
