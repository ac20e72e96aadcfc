/* ctl_exec.c: the call that begins a session: one request on a connection of its own, since libcurl keeps what it has upgraded. */
#include "ctl.h"

#include "api.h"
#include "execframe.h"
#include "fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ANSWER_MAX (1U << 20)
#define TIMEOUT_S  30

static int connect_daemon(const struct ctl *ctl)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -ctl_fail(CTL_FAILED, "socket: %s", strerror(errno));
    if (str_copy(sa.sun_path, sizeof(sa.sun_path), ctl->socket) < 0)
        return -ctl_fail(CTL_USAGE, "--socket %.40s...: a socket's path has at most 107 bytes", ctl->socket);
    if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        return -ctl_fail_connect(ctl, errno);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return take_fd(&fd);
}

static void format_request(const struct exec_call *c, struct strbuf *out)
{
    const char *separator = "?", *term = getenv("TERM");

    strbuf_printf(out, "POST " API_PREFIX "/functions/%s/exec", c->function);
    if (c->instance) {
        strbuf_puts(out, "?instance=");
        ctl_api_quote(out, c->instance);
        separator = "&";
    }
    for (unsigned i = 0; i < c->argc; i++, separator = "&") {
        strbuf_printf(out, "%sarg=", separator);
        ctl_api_quote(out, c->argv[i]);
    }
    if (c->tty)
        strbuf_puts(out, "&terminal=1");
    if (c->tty && term && strlen(term) < EXEC_TERM_MAX) {
        strbuf_puts(out, "&term=");
        ctl_api_quote(out, term);
    }
    strbuf_puts(out, " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: " EXEC_PROTOCOL "\r\nAccept: application/json\r\n\r\n");
}

/* Until its head is there (an upgrade has no more), or, of another answer, all of it. 0 or -errno. */
static int read_answer(int fd, struct strbuf *raw)
{
    char c;

    /* Byte by byte while it is 101: what follows belongs to the session. Nothing does before we have begun it, but that is the other side's promise. */
    while (raw->len < ANSWER_MAX && !raw->failed) {
        const char *end = raw->data ? strstr(raw->data, "\r\n\r\n") : NULL, *length;
        ssize_t n;

        if (end && strncmp(raw->data, "HTTP/1.1 101 ", 13) == 0)
            return 0;
        length = end ? strcasestr(raw->data, "\r\nContent-Length:") : NULL;
        if (end && (!length || length > end || raw->len - (size_t)(end + 4 - raw->data) >= strtoul(length + 17, NULL, 10)))
            return 0;
        n = read(fd, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        strbuf_add(raw, &c, 1);
    }
    return -EMSGSIZE;
}

static int fail_answer(struct strbuf *raw)
{
    json_t *error cleanup_json = NULL;
    const char *text, *code;
    char *body = NULL;
    size_t len = 0;
    int status = 0;

    if (ctl_answer_parse(raw->data, raw->len, &status, &body, &len) < 0)
        return ctl_fail(CTL_FAILED, "exec: the answer cannot be read: is the daemon of the same version? (fnctl version)");
    if (status == 414)
        return ctl_fail(CTL_USAGE, "exec: the command is longer than 8 KB: send it to a shell's standard input (fnctl exec -i NAME sh < FILE)");
    error = json_loadb(body, len, 0, NULL);
    text = ctl_json_text(error, "message", NULL);
    code = ctl_json_text(error, "error", NULL);
    if (!text)
        return ctl_fail(CTL_FAILED, "exec: the daemon answered with status %d", status);
    return ctl_fail(ctl_exit_of_answer(status, code), "%s", text);
}

static void note_instance(struct exec_call *c, const char *head)
{
    static const char field[] = "\r\nFnd-Instance: ";
    const char *at = strcasestr(head, field);

    if (at)
        snprintf(c->chosen, sizeof(c->chosen), "%.*s", (int)strcspn(at + sizeof(field) - 1, "\r"), at + sizeof(field) - 1);
}

int ctl_exec(struct ctl *ctl, struct exec_call *c)
{
    struct strbuf request cleanup_strbuf = {0}, raw cleanup_strbuf = {0};
    const struct timeval none = {0};
    cleanup_fd int fd = -1;
    int r = ctl_remote_refuse(ctl, "exec");

    if (r != CTL_OK)
        return r;
    fd = connect_daemon(ctl);

    if (fd < 0)
        return -fd;
    format_request(c, &request);
    if (request.failed)
        return ctl_fail(CTL_FAILED, "out of memory");
    r = fd_write_all(fd, request.data, request.len);
    if (r == 0 || r == -EPIPE) /* refused before it was read to its end: the reason is there */
        r = read_answer(fd, &raw);
    if (r < 0 || !raw.data)
        return ctl_fail(CTL_FAILED, "exec: the daemon does not answer: %s", strerror(-r));
    if (strncmp(raw.data, "HTTP/1.1 101 ", 13) != 0)
        return fail_answer(&raw);
    note_instance(c, raw.data);
    if (ctl->o->verbose)
        fprintf(stderr, "exec in %s\n", c->chosen);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
    c->sock = fd;
    return ctl_session(c);
}
