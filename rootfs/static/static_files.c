/*
 * static_files.c: the runtime static: /usr/lib/fnd/start DIRECTORY serves the files below that directory of the package.
 *
 * A directory is answered with its index.html; nothing is listed. Files are opened below the directory's descriptor with RESOLVE_BENEATH: a symlink may lead to another file in it, and nowhere else.
 */
#include "static_http.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TRIES 100

static int root_fd;                                 /* mutable: set once, before the first request */
static const char *version = "", *health = "/ping"; /* mutable: set once, before the first request */

static int open_below(const char *path, struct stat *st)
{
    const struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = -1;

    while (*path == '/')
        path++;
    /* EAGAIN: somewhere on the host something was renamed or mounted while the ".." of a symlink was walked, and the kernel cannot tell whether it led out (openat2(2)). */
    for (int tries = 0; fd < 0 && tries < TRIES; tries++) {
        fd = (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
        if (fd < 0 && errno != EAGAIN)
            break;
    }
    if (fd >= 0 && fstat(fd, st) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void answer_missing(struct conn *c, int error)
{
    if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN)
        http_answer(c, "503 Service Unavailable", "this file cannot be opened now; try again\n");
    else
        http_answer(c, "404 Not Found", "there is no such file\n");
}

/* To the same name with a slash, relative: the client knows this place by another prefix. */
static void answer_redirect(struct conn *c, const char *path, size_t len)
{
    const char *name = memrchr(path, '/', len);
    char lines[HTTP_LINES_MAX];
    int n;

    name = name ? name + 1 : path;
    n = snprintf(lines, sizeof(lines), "Location: ./%.*s/\r\n", (int)(path + len - name), name);
    if (n < 0 || (size_t)n >= sizeof(lines))
        http_answer(c, "404 Not Found", "there is no such file\n");
    else
        http_head(c, "308 Permanent Redirect", NULL, lines, 0);
}

static void answer_path(struct conn *c, const char *path, size_t len)
{
    char file[PATH_MAX];
    struct static_file told;
    struct stat st;
    size_t n;
    int fd;

    if (!static_path(path, len, file, sizeof(file) - sizeof("/index.html"))) {
        http_answer(c, "404 Not Found", "there is no such file\n");
        return;
    }
    n = strlen(file);
    if (n == 0 || file[n - 1] == '/')
        memcpy(file + n, "index.html", sizeof("index.html"));
    fd = open_below(file, &st);
    if (fd >= 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        answer_redirect(c, path, len);
        return;
    }
    if (fd < 0 || !S_ISREG(st.st_mode)) {
        answer_missing(c, fd < 0 ? errno : ENOENT);
        if (fd >= 0)
            close(fd);
        return;
    }
    static_describe(&told, file, &st, version);
    static_answer(c, fd, &told);
}

static void on_request(struct conn *c, const char *path, size_t len)
{
    if (http_is(path, len, health))
        http_answer(c, "200 OK", "OK\n");
    else if (!http_method_is(c, "GET") && !http_method_is(c, "HEAD"))
        http_head(c, "405 Method Not Allowed", NULL, "Allow: GET, HEAD\r\n", 0);
    else
        answer_path(c, path, len);
}

static void on_ready(void)
{
}

static int fail(const char *directory, const char *text)
{
    fprintf(stderr, "fnd: handler = %s: %s: `handler` in function.ini names the directory of the files (`.`: the whole package)\n", directory, text);
    return 1;
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 && *argv[1] ? argv[1] : ".", *port = getenv("PORT"), *v = getenv("FND_VERSION"), *h = getenv("FND_HEALTH_PATH");
    char *end;
    unsigned long number = port ? strtoul(port, &end, 10) : 3000;

    root_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return fail(directory, errno == ENOTDIR ? "this is a file, no directory" : errno == ENOENT ? "the package has no such directory" : strerror(errno));
    version = v ? v : version;
    health = h ? h : health;
    if (http_serve((uint16_t)number, on_request, on_ready) < 0) {
        fprintf(stderr, "fnd: cannot listen on port %lu: %s\n", number, strerror(errno));
        return 1;
    }
    return 0;
}
