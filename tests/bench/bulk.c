/*
 * bulk.c: the function behind the rows of bench_gateway.py that move large bodies: a thread a connection, large reads and writes, so that what is measured is the proxy before it.
 *
 *   GET /bytes/N   N bytes
 *   POST /...      takes the body, answers 200
 *   /ping          200
 */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define PIECE    (1U << 18)

static char zeros[PIECE];

static int send_bytes(int fd, uint64_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, zeros, n < PIECE ? (size_t)n : PIECE, MSG_NOSIGNAL);

        if (sent <= 0)
            return -1;
        n -= (uint64_t)sent;
    }
    return 0;
}

static int drop_bytes(int fd, uint64_t n)
{
    while (n > 0) {
        ssize_t got = recv(fd, NULL, n < 4 * PIECE ? (size_t)n : 4 * PIECE, MSG_TRUNC);

        if (got <= 0)
            return -1;
        n -= (uint64_t)got;
    }
    return 0;
}

/* One request; head is what has been read of it, always less than HEAD_MAX. */
static int answer(int fd, char *head, size_t *len)
{
    uint64_t body = 0, size = 3;
    char *end, *length, text[128];
    int n;

    while (head[*len] = '\0', !(end = strstr(head, "\r\n\r\n"))) {
        ssize_t got = recv(fd, head + *len, HEAD_MAX - 1 - *len, 0);

        if (got <= 0)
            return -1;
        *len += (size_t)got;
    }
    end += 4;
    length = strcasestr(head, "\r\ncontent-length:");
    if (length && length < end)
        body = strtoull(length + 17, NULL, 10);
    if (strncmp(head, "GET /bytes/", 11) == 0)
        size = strtoull(head + 11, NULL, 10);
    *len -= (size_t)(end - head);
    if (drop_bytes(fd, body - (*len < body ? *len : body)) < 0)
        return -1;
    *len = 0; /* nobody pipelines here */
    n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)size);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL | (size > 3 ? MSG_MORE : 0)) != n)
        return -1;
    return strncmp(head, "HEAD ", 5) == 0 ? 0 : send_bytes(fd, size);
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char head[HEAD_MAX];
    size_t len = 0;

    while (answer(fd, head, &len) == 0)
        ;
    close(fd);
    return NULL;
}

int main(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(3000)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64U * 1024);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0) {
        perror("bulk: port 3000");
        return 1;
    }
    for (;;) {
        int c = accept(fd, NULL, NULL);
        pthread_t t;

        if (c >= 0 && pthread_create(&t, &attr, serve, (void *)(intptr_t)c) != 0)
            close(c);
    }
}
