/* audit.c: see audit.h. The texts are the gateway's, who has them from clients: what is no plain character becomes '?', so that a line is a line and a word a word. */
#include "audit.h"

#include "clock.h"
#include "fd.h"
#include "log.h"
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define AUDIT_NAME      "audit.log"
#define AUDIT_OLD       "audit.log.1"
#define AUDIT_BYTES_MAX (8 << 20)

struct audit {
    int state_fd, fd;
    bool complained;
};

int audit_new(int state_fd, struct audit **ret)
{
    struct audit *a = calloc(1, sizeof(*a));

    if (!a)
        return -ENOMEM;
    *a = (struct audit){.state_fd = state_fd, .fd = -1};
    *ret = a;
    return 0;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    fd_close(a->fd);
    free(a);
}

/* Opened when there is something to write, and again when somebody has moved it away (logrotate). */
static int open_log(struct audit *a)
{
    struct stat st, named;

    if (a->fd >= 0 && fstat(a->fd, &st) == 0 && fstatat(a->state_fd, AUDIT_NAME, &named, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == named.st_ino) {
        if (st.st_size < AUDIT_BYTES_MAX)
            return 0;
        renameat(a->state_fd, AUDIT_NAME, a->state_fd, AUDIT_OLD);
    }
    fd_close(a->fd);
    a->fd = openat(a->state_fd, AUDIT_NAME, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return a->fd < 0 ? -errno : 0;
}

static const char *word(const char *text, char *buf, size_t size)
{
    size_t n = 0;

    for (; text[n] && n + 1 < size; n++)
        buf[n] = text[n] > ' ' && text[n] < 0x7f && text[n] != '"' && text[n] != '=' ? text[n] : '?';
    buf[n] = '\0';
    return n ? buf : "-";
}

void audit_write(struct audit *a, const struct record_audit *rec)
{
    char who[sizeof(rec->who)], from[sizeof(rec->from)], what[sizeof(rec->what)], target[sizeof(rec->target)], time[CLOCK_RFC3339_MAX], line[512];
    int r = open_log(a), n;

    clock_format_rfc3339(clock_real_ns(), time);
    n = snprintf(line, sizeof(line), "%s who=%s from=%s what=%s target=%s status=%u\n", time, word(rec->who, who, sizeof(who)),
                 word(rec->from, from, sizeof(from)), word(rec->what, what, sizeof(what)), word(rec->target, target, sizeof(target)), rec->status);
    if (r == 0)
        r = fd_write_all(a->fd, line, (size_t)n);
    if (r < 0 && !a->complained)
        log_msg(LOG_ERR, "audit log not written", "error=\"%s\"", strerror(-r));
    a->complained = r < 0;
}
