/* ctl_request.c: one request to a function, for `invoke` and `run --once`. */
#include "project/project.h"

#include "fd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define REQUEST_FILE_MAX (1U << 20)

static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("!#$%&'*+-.^_`|~", s[i]))
            return false;
    return len > 0;
}

static int check_path(const char *path)
{
    if (*path != '/')
        return ctl_fail(CTL_USAGE, "--path %.80s: it begins with '/'", path);
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '#')
            return ctl_fail(CTL_USAGE, "--path %.80s: write blanks, '#' and what is not ASCII percent-encoded (%%20, %%23)", path);
    return CTL_OK;
}

/* "Name: value", and what libcurl takes for "send it empty" or "do not send it" is what the person sees, too. Framing is not theirs to set. */
static int check_header(const char *header)
{
    size_t len = strcspn(header, ":;");

    if (!is_token(header, len) || !header[len])
        return ctl_fail(CTL_USAGE, "-H '%.80s': 'NAME: VALUE' is needed", header);
    for (const char *p = header; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return ctl_fail(CTL_USAGE, "-H '%.*s': a header's value has no control characters", (int)len, header);
    if ((len == 14 && strncasecmp(header, "content-length", len) == 0) || (len == 17 && strncasecmp(header, "transfer-encoding", len) == 0))
        return ctl_fail(CTL_USAGE, "-H '%.*s': fnctl sets it by the body", (int)len, header);
    return CTL_OK;
}

/* The next line, ended by NUL in place; NULL at the end of the text. */
static char *next_line(char **at)
{
    char *line = *at;
    size_t len = strcspn(line, "\n");

    if (!*line)
        return NULL;
    *at = line + len + (line[len] == '\n');
    line[len] = '\0';
    if (len > 0 && line[len - 1] == '\r')
        line[len - 1] = '\0';
    return line;
}

/* METHOD /PATH, headers, an empty line, the body: into the options that would say the same. */
static int take_request(struct options *o, char *text)
{
    char *line = next_line(&text), *path = line ? strchr(line, ' ') : NULL;

    if (!path || path[1] != '/')
        return ctl_fail(CTL_USAGE, "%s:1: METHOD /PATH is needed, as in: POST /?name=you", o->request_file);
    *path++ = '\0';
    path[strcspn(path, " ")] = '\0'; /* HTTP/1.1 */
    o->method = line;
    o->path = path;
    while ((line = next_line(&text)) && *line)
        if (ctl_list_add(&o->headers, line) < 0)
            return ctl_fail(CTL_FAILED, "out of memory");
    o->body = *text ? text : NULL;
    return CTL_OK;
}

/* A file, or sample:NAME for the one that lies in an example, wherever fnctl has them. */
static int open_request(const char *file)
{
    char dir[PATH_MAX], path[PATH_MAX + 16];
    int fd;

    if (strncmp(file, SAMPLE_PREFIX, strlen(SAMPLE_PREFIX)) == 0) {
        if (share_find(SHARE_EXAMPLES, file + strlen(SAMPLE_PREFIX), dir, sizeof(dir)) < 0)
            return -ENOENT;
        snprintf(path, sizeof(path), "%s/request.txt", dir);
        file = path;
    }
    fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

static int read_request(struct options *o)
{
    cleanup_fd int fd = open_request(o->request_file);
    ssize_t n = fd < 0 ? fd : fd_read_all(fd, REQUEST_FILE_MAX, &o->request_text);

    if (o->method || o->path || o->data)
        return ctl_fail(CTL_USAGE, "--request-file says method, path and body: leave out -X, --path and -d");
    if (n < 0)
        return ctl_fail(CTL_FAILED, "--request-file %s: %s", o->request_file, strerror((int)-n));
    if (!o->request_text || memchr(o->request_text, '\0', (size_t)n))
        return ctl_fail(CTL_USAGE, "--request-file %s: is no text: -d @FILE sends any bytes", o->request_file);
    return take_request(o, o->request_text);
}

int ctl_request_check(struct options *o)
{
    int r = o->request_file && !o->request_text ? read_request(o) : CTL_OK;

    if (r != CTL_OK)
        return r;
    if (o->method && !is_token(o->method, strlen(o->method)))
        return ctl_fail(CTL_USAGE, "-X %.40s: that is no method", o->method);
    if (o->path)
        r = check_path(o->path);
    for (unsigned i = 0; i < o->headers.count && r == CTL_OK; i++)
        r = check_header(o->headers.items[i]);
    return r;
}

/* 1 with a body, 0 without, negative errno. */
static int request_body(struct ctl *ctl, bool piped, struct body *b, struct diag *d)
{
    const char *data = ctl->o->data;
    int fd;

    ctl_body_init(b);
    if (ctl->o->request_file) {
        if (ctl->o->body)
            ctl_body_text(b, ctl->o->body);
        return ctl->o->body != NULL;
    }
    if (!data) {
        bool bodiless = ctl->o->method && (strcmp(ctl->o->method, "GET") == 0 || strcmp(ctl->o->method, "HEAD") == 0);

        return piped && !bodiless ? ctl_body_piped(ctl, b, d) : 0;
    }
    if (strcmp(data, "-") == 0) {
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        if (fd < 0)
            return diag_errno(d, errno, "-d -: standard input");
        ctl_body_fd(b, fd);
    } else if (*data == '@') {
        int r = ctl_body_file(b, data + 1, d);

        if (r < 0)
            return diag_prefix(d, "-d");
    } else {
        ctl_body_text(b, data);
    }
    return 1;
}

static int on_answer(void *arg, const char *data, size_t len)
{
    return ctl_write(arg, data, len);
}

int ctl_request_send(struct ctl *ctl, const char *function, bool piped)
{
    struct strbuf target cleanup_strbuf = {0};
    struct diag d = {0};
    struct body b;
    struct api_call c = {.raw = true, .no_timeout = true, .on_data = on_answer, .arg = ctl};
    int r = request_body(ctl, piped, &b, &d);

    if (r < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    c.body = r ? &b : NULL;
    c.method = ctl->o->method ? ctl->o->method : r ? "POST" : "GET";
    c.headers = ctl->o->headers.items;
    c.nheaders = ctl->o->headers.count;
    strbuf_printf(&target, "/fn/%s%s", function, ctl->o->path ? ctl->o->path : "/");
    c.target = target.failed ? "/" : target.data;
    r = target.failed ? ctl_fail(CTL_FAILED, "out of memory") : ctl_api_perform(ctl, &c);
    if (r == CTL_OK && (c.status < 200 || c.status > 299))
        r = ctl_fail(CTL_FAILED, "%s %s: status %d", c.method, c.target, c.status);
    ctl_api_call_done(&c);
    ctl_body_done(&b);
    return r;
}
