/*
 * hello.c: the sample function. Copy it, with http_server.c beside it, to begin a function in C: static, one thread, no library but libc.
 *
 *   /       a greeting with the function's name, its version and the instance; the variable GREETING changes it
 *   /ping   200: the health check
 *   /echo   the request's body, byte for byte, while it still arrives
 *   /env    the environment, one variable per line
 */
#include "http_server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void answer_greeting(struct conn *c)
{
    static const struct {
        const char *before, *variable, *otherwise;
    } parts[] = {
        {"", "GREETING", "Hello"},
        {" from ", "FND_FUNCTION", "nowhere"},
        {", version ", "FND_VERSION", "0"},
        {", instance ", "FND_INSTANCE", "none"},
    };
    char page[HTTP_TEXT_MAX], *end = page + sizeof(page) - 2;
    char *p = page;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *value = getenv(parts[i].variable);

        for (const char *s = parts[i].before; *s && p < end; s++)
            *p++ = *s;
        for (const char *s = value ? value : parts[i].otherwise; *s && p < end; s++)
            *p++ = *s;
    }
    *p++ = '\n';
    *p = '\0';
    http_answer(c, "200 OK", page);
}

/* The environment may be larger than what a connection can hold: each call goes on where the last one had no more room. */
static bool more_env(struct conn *c)
{
    struct http_position *p = http_position(c);
    char *const *variable = p->item;
    size_t len = strlen(*variable);

    if (p->at < len)
        p->at += http_put(c, *variable + p->at, len - p->at);
    if (p->at < len || http_put(c, "\n", 1) == 0)
        return false;
    *p = (struct http_position){.item = variable + 1};
    return true;
}

static void answer_env(struct conn *c)
{
    uint64_t length = 0;

    for (char **v = environ; *v; v++)
        length += strlen(*v) + 1;
    http_stream(c, length, more_env);
    http_position(c)->item = environ;
}

static void on_request(struct conn *c, const char *path, size_t len)
{
    if (http_is(path, len, "/"))
        answer_greeting(c);
    else if (http_is(path, len, "/ping"))
        http_answer(c, "200 OK", "OK\n");
    else if (http_is(path, len, "/echo"))
        http_echo(c);
    else if (http_is(path, len, "/env"))
        answer_env(c);
    else
        http_answer(c, "404 Not Found", "nothing is here: try / /ping /echo /env\n");
}

static const char *port_text(void)
{
    const char *port = getenv("PORT");

    return port ? port : "3000";
}

/* One line, with one write: it appears whole in the log. */
static void say(int fd, const char *text, const char *port)
{
    char line[128];
    size_t len = 0;

    for (const char *s = text; *s && len < sizeof(line) - 2; s++)
        line[len++] = *s;
    for (const char *s = port; *s && len < sizeof(line) - 2; s++)
        line[len++] = *s;
    line[len++] = '\n';
    if (write(fd, line, len) < 0)
        return; /* a log that is gone is no reason to stop serving */
}

static void on_ready(void)
{
    say(STDOUT_FILENO, "hello: serving on port ", port_text());
}

int main(void)
{
    char *end;
    unsigned long port = strtoul(port_text(), &end, 10);

    if (*end || port == 0 || port > 65535) {
        say(STDERR_FILENO, "hello: PORT must be a number from 1 to 65535, not ", port_text());
        return 2;
    }
    if (http_serve((uint16_t)port, on_request, on_ready) < 0) {
        say(STDERR_FILENO, "hello: cannot listen on port ", port_text());
        return 1;
    }
    return 0;
}
