/* ctl_answer.c: a whole HTTP/1.1 answer in memory, for the rare case in which libcurl could not read it (see ctl_api.c). Pure. */
#include "ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value of a header in a terminated head; NULL. */
static const char *find_header(const char *head, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':')
            return line + len + 1 + strspn(line + len + 1, " \t");
    }
    return NULL;
}

/* In place. The length of what the chunks hold, or -EPROTO where they are broken or not all there. */
static ssize_t join_chunks(char *body, size_t len)
{
    size_t in = 0, out = 0;

    for (;;) {
        char *end = memmem(body + in, len - in, "\r\n", 2), *digits_end;
        unsigned long size;

        if (!end)
            return -EPROTO;
        errno = 0;
        size = strtoul(body + in, &digits_end, 16);
        if (digits_end == body + in || errno)
            return -EPROTO;
        in = (size_t)(end + 2 - body);
        if (size == 0)
            return (ssize_t)out;
        if (size > len - in || len - in - size < 2)
            return -EPROTO;
        memmove(body + out, body + in, size);
        out += size;
        in += size + 2;
    }
}

int ctl_answer_parse(char *raw, size_t len, int *ret_status, char **ret_body, size_t *ret_len)
{
    char *end = memmem(raw, len, "\r\n\r\n", 4);
    size_t rest = end ? len - (size_t)(end + 4 - raw) : 0;
    const char *header;
    uint64_t status = 0;
    char digits[4];

    if (!end || (size_t)(end - raw) < strlen("HTTP/1.1 200") || strncmp(raw, "HTTP/1.", 7) != 0 || raw[8] != ' ')
        return -EPROTO;
    *end = '\0';
    memcpy(digits, raw + 9, 3);
    digits[3] = '\0';
    if (str_parse_uint(digits, 599, &status) < 0 || status < 200)
        return -EPROTO;
    header = find_header(raw, "Transfer-Encoding");
    if (header) {
        ssize_t n = join_chunks(end + 4, rest);

        if (n < 0)
            return (int)n;
        rest = (size_t)n;
    } else if ((header = find_header(raw, "Content-Length"))) {
        unsigned long long n = strtoull(header, NULL, 10);

        if (n > rest)
            return -EPROTO;
        rest = (size_t)n;
    }
    *ret_status = (int)status;
    *ret_body = end + 4;
    *ret_len = rest;
    return 0;
}
