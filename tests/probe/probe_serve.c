/*
 * probe_serve.c: the probe as a function. GET /ping is 200; GET /run/VERB?ARGUMENT&ARGUMENT runs the probe with that verb in a process of its own and
 * streams its standard output; the last line is "#exit N" or "#signal N". Standard error stays the function's log. Arguments hold no '&' and no escapes.
 *
 *   serve          as above
 *   serve stubborn the same, deaf to SIGTERM
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define ARGS_MAX 256

static void say(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n <= 0)
            _exit(0); /* whoever asked has gone */
        data += n;
        len -= (size_t)n;
    }
}

static void answer(int fd, const char *status, const char *text)
{
    char head[256];
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status, strlen(text),
                     text);

    say(fd, head, (size_t)n);
}

/* Until the verb's own process has ended and the pipe is empty: what it left behind may still hold the pipe. */
static int relay(int fd, int from, pid_t pid)
{
    struct pollfd p = {.fd = from, .events = POLLIN};
    char buf[16384];
    bool ended = false;
    int status = 0;

    for (;;) {
        ssize_t n = poll(&p, 1, ended ? 0 : 10) > 0 ? read(from, buf, sizeof(buf)) : -1;

        if (n > 0)
            say(fd, buf, (size_t)n);
        else if (n == 0 || ended)
            break;
        else
            ended = waitpid(pid, &status, WNOHANG) == pid;
    }
    if (!ended)
        waitpid(pid, &status, 0);
    return status;
}

static void run(int fd, char *target)
{
    static const char begin[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
    char *argv[ARGS_MAX + 3] = {(char *)"/probe", target}, end[64], *query = strchr(target, '?');
    int pipes[2], n = 2, status;
    pid_t pid;

    while (query && n < ARGS_MAX + 2) {
        *query++ = '\0';
        argv[n++] = query;
        query = strchr(query, '&');
    }
    if (pipe2(pipes, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        answer(fd, "507 Insufficient Storage", "no process\n");
        return;
    }
    if (pid == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        execv("/proc/self/exe", argv);
        _exit(126);
    }
    close(pipes[1]);
    say(fd, begin, sizeof(begin) - 1);
    status = relay(fd, pipes[0], pid);
    n = snprintf(end, sizeof(end), "\n#%s %d\n", WIFEXITED(status) ? "exit" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    say(fd, end, (size_t)n);
}

static void serve_one(int fd)
{
    char head[HEAD_MAX], *target, *end;
    size_t len = 0;

    signal(SIGCHLD, SIG_DFL);
    for (;;) {
        ssize_t n = read(fd, head + len, sizeof(head) - 1 - len);

        if (n <= 0)
            return;
        len += (size_t)n;
        head[len] = '\0';
        if (strstr(head, "\r\n\r\n"))
            break;
    }
    target = strchr(head, ' ');
    end = target ? strchr(target + 1, ' ') : NULL;
    if (!end)
        return;
    *end = '\0';
    if (strncmp(target + 1, "/run/", 5) == 0)
        run(fd, target + 6);
    else
        answer(fd, "200 OK", "probe\n");
    shutdown(fd, SHUT_WR);
}

int probe_serve(char **args)
{
    const char *port = getenv("PORT");
    const struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtol(port ? port : "3000", NULL, 10))};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (args[0] && strcmp(args[0], "stubborn") == 0)
        signal(SIGTERM, SIG_IGN);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 128) < 0) {
        perror("listen");
        _exit(1);
    }
    for (;;) {
        static const struct timeval patience = {.tv_sec = 1};
        static const char busy[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbusy\n";
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        pid_t pid = c < 0 ? 1 : fork();

        if (pid == 0) {
            close(fd);
            serve_one(c);
            _exit(0);
        }
        if (pid < 0) { /* a bomb has taken all processes: still healthy */
            char head[1024];

            setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
            if (read(c, head, sizeof(head)) > 0)
                (void)!write(c, busy, sizeof(busy) - 1);
        }
        close(c);
    }
}
