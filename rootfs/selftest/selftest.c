/*
 * selftest.c: the function of `fnctl doctor --self-test`. GET / makes all attempts and answers one line for each, its fields apart by tabs:
 *
 *   ok|FAIL <attempt> <expected> <result>
 */
#include "selftest.h"

#include "../hello/http_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_MAX 16384

static char report[REPORT_MAX];

static int one_of(int err, const int *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (err == list[i])
            return 1;
    return 0;
}

#define ONE_OF(err, ...) one_of(err, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static int as_expected(enum outcome expected, long result, int err)
{
    if (result >= 0)
        return expected == WORKS;
    switch (expected) {
    case REFUSED:
        return ONE_OF(err, EPERM, EACCES, EROFS, ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, ETXTBSY, ENOENT);
    case ABSENT:
        return err == ENOENT;
    case HIDDEN:
        return ONE_OF(err, ENOENT, ENODATA, EACCES, EPERM);
    case SILENT:
        return ONE_OF(err, ETIMEDOUT, ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EACCES, EPERM, EINVAL);
    case KILLED:
        return err == ENOSYS;
    case WORKS:
        break;
    }
    return 0;
}

static const char *const expectations[] = {
    [REFUSED] = "refused", [ABSENT] = "absent", [HIDDEN] = "hidden", [SILENT] = "no connection", [KILLED] = "killed", [WORKS] = "works",
};

static size_t run_all(void)
{
    size_t len = 0;

    for (size_t i = 0; i < attempts_count && len < sizeof(report) - 256; i++) {
        const struct attempt *a = &attempts[i];
        const long result = a->run(a);
        const int err = errno, good = as_expected(a->expected, result, err);
        const char *why = result >= 0 ? "works" : a->expected == KILLED && good ? "SIGSYS" : err == EPROTO ? "does not" : strerrorname_np(err);

        len += (size_t)snprintf(report + len, sizeof(report) - len, "%s\t%s\t%s\t%s\n", good ? "ok" : "FAIL", a->what, expectations[a->expected],
                                why ? why : "an unknown error");
    }
    return len;
}

static bool more(struct conn *c)
{
    struct http_position *p = http_position(c);

    p->at += http_put(c, report + p->at, strlen(report) - p->at);
    return false;
}

static void on_request(struct conn *c, const char *path, size_t len)
{
    if (http_is(path, len, "/ping"))
        http_answer(c, "200 OK", "OK\n");
    else if (http_is(path, len, "/"))
        http_stream(c, run_all(), more);
    else
        http_answer(c, "404 Not Found", "nothing is here: try /\n");
}

static void on_ready(void)
{
}

int main(void)
{
    const char *port = getenv("PORT");

    return http_serve((uint16_t)strtoul(port ? port : "3000", NULL, 10), on_request, on_ready) < 0;
}
