/* main.c: a function. / says hello, POST /greet sends its body back, /ping is the health check. */
#include "http_server.h"

#include <stdlib.h>

static void on_request(struct conn *c, const char *path, size_t len)
{
    if (http_is(path, len, "/"))
        http_answer(c, "200 OK", "Hello from C\n");
    else if (http_is(path, len, "/ping"))
        http_answer(c, "200 OK", "OK\n");
    else if (http_is(path, len, "/greet"))
        http_echo(c);
    else
        http_answer(c, "404 Not Found", "nothing is here: try / or POST /greet\n");
}

static void on_ready(void)
{
}

int main(void)
{
    const char *port = getenv("PORT");

    return http_serve((uint16_t)(port ? strtoul(port, NULL, 10) : 3000), on_request, on_ready) < 0;
}
