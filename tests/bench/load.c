/*
 * load.c: a client that costs little, for tests/bench: many connections, one thread, one line of JSON at the end.
 *
 *   load PORT PATH [KEY=VALUE ...]
 *     connections=N seconds=S          each connection sends its next request when the answer is whole
 *     rate=R                           instead: R requests a second in all, at even distances; times count from when a request was due (an answer that is late makes others late: that counts)
 *     requests=N                       ends after so many, when that is sooner
 *     close=1                          each request has a connection of its own
 *     upload=BYTES                     each request is a POST with so many bytes
 *     tls=1, tls=2                     TLS 1.3, every handshake new; or resumed, each client with the tickets that it was given itself, each ticket once (RFC 8446 section C.4)
 *     hold=idle                        one request on each connection, then it says "ready" and waits for the end of standard input
 *     hold=slow                        each connection sends a head that never ends, one byte a second; "ready", and so on
 *
 * Bodies of answers are dropped inside the kernel (MSG_TRUNC), except over TLS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX    4096
#define SAMPLES_MAX (8U * 1024 * 1024)
#define PIECE       (1U << 20)
#define SOURCES     200U /* addresses the connections come from: 127.0.1.1 and so on */

struct options {
    unsigned long port, connections, seconds, rate, requests, close, upload, tls;
    const char *path, *hold;
};

struct client {
    int fd;
    unsigned number;
    SSL *ssl;
    SSL_SESSION *session; /* the last ticket, not used yet; NULL: none */
    struct client *next_free;
    bool busy, connected;
    uint64_t since_ns;
    size_t sent, head_len;
    uint64_t upload_left, body_left;
    bool in_body;
    char head[HEAD_MAX];
};

struct load {
    struct options o;
    int epoll_fd;
    struct client *clients, *free_clients;
    char request[HEAD_MAX];
    size_t request_len;
    char *piece;
    uint32_t *samples_us10; /* tenths of a microsecond */
    size_t nsamples;
    uint64_t errors, bytes, start_ns, end_ns, begun, due;
    SSL_CTX *ctx;
    uint64_t resumed;
};

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/* ---- one connection ---- */

static void client_end(struct client *c)
{
    if (c->ssl) {
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session is thrown away */
        SSL_free(c->ssl);
    }
    c->ssl = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->connected = false;
}

static void client_tls(struct load *l, struct client *c)
{
    if (!l->o.tls)
        return;
    c->ssl = SSL_new(l->ctx);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
        die("tls");
    SSL_set_connect_state(c->ssl);
    SSL_set_app_data(c->ssl, c);
    if (!c->session)
        return;
    SSL_set_session(c->ssl, c->session);
    SSL_SESSION_free(c->session); /* OpenSSL's client never resumes one a second time: who shares it between connections sees new handshakes */
    c->session = NULL;
}

static void client_connect(struct load *l, struct client *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->o.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000101U + c->number % SOURCES)};
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    const int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
        die("bind");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        die("connect");
    client_tls(l, c);
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        die("epoll_ctl");
}

static ssize_t client_write(struct client *c, const void *data, size_t len)
{
    int n;

    if (!c->ssl)
        return send(c->fd, data, len, MSG_NOSIGNAL);
    n = SSL_write(c->ssl, data, (int)len);
    if (n > 0)
        return n;
    n = SSL_get_error(c->ssl, n);
    errno = n == SSL_ERROR_WANT_READ || n == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

/* data NULL: dropped. 0: the end. */
static ssize_t client_read(struct load *l, struct client *c, void *data, size_t len)
{
    int n;

    if (!c->ssl)
        return recv(c->fd, data, len, data ? 0 : MSG_TRUNC);
    n = SSL_read(c->ssl, data ? data : l->piece, (int)(len < PIECE ? len : PIECE));
    if (n > 0)
        return n;
    n = SSL_get_error(c->ssl, n);
    if (n == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = n == SSL_ERROR_WANT_READ || n == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct client *c = SSL_get_app_data(ssl);

    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

/* ---- requests ---- */

static void client_send(struct load *l, struct client *c)
{
    while (c->sent < l->request_len || c->upload_left > 0) {
        bool head = c->sent < l->request_len;
        size_t len = head ? l->request_len - c->sent : c->upload_left < PIECE ? (size_t)c->upload_left : PIECE;
        ssize_t n = client_write(c, head ? l->request + c->sent : l->piece, len);

        if (n < 0)
            return;
        if (head)
            c->sent += (size_t)n;
        else
            c->upload_left -= (size_t)n;
    }
}

static void client_begin(struct load *l, struct client *c, uint64_t since_ns)
{
    c->busy = true;
    c->since_ns = since_ns;
    c->sent = c->head_len = 0;
    c->in_body = false;
    c->upload_left = l->o.upload;
    l->begun++;
    if (c->fd < 0)
        client_connect(l, c);
    else
        client_send(l, c);
}

static void client_over(struct load *l, struct client *c, bool ok)
{
    uint64_t now = now_ns(), took = (now - c->since_ns) / 100;

    c->busy = false;
    if (!ok)
        l->errors++;
    else if (l->nsamples < SAMPLES_MAX)
        l->samples_us10[l->nsamples++] = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    if (c->ssl && SSL_session_reused(c->ssl) && l->o.close)
        l->resumed++;
    if (!ok || l->o.close)
        client_end(c);
    if (l->o.rate || l->o.hold) {
        c->next_free = l->free_clients;
        l->free_clients = c;
    } else if (now < l->end_ns && (!l->o.requests || l->begun < l->o.requests)) {
        client_begin(l, c, now);
    }
}

/* The answer's head: whole? Then how long its body is. */
static bool head_whole(struct client *c, bool *ret_ok)
{
    char *end, *length;

    c->head[c->head_len] = '\0';
    end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return false;
    length = strcasestr(c->head, "\r\nContent-Length:");
    *ret_ok = strncmp(c->head, "HTTP/1.1 200", 12) == 0 && length && length < end;
    if (*ret_ok) {
        uint64_t got = c->head_len - (size_t)(end + 4 - c->head);

        c->body_left = strtoull(length + 17, NULL, 10) - got;
        c->in_body = true;
    }
    return true;
}

/* Reads what is there. Returns whether the answer is whole. */
static bool client_receive(struct load *l, struct client *c, bool *ret_ok)
{
    for (;;) {
        ssize_t n = c->in_body ? client_read(l, c, NULL, c->body_left < 4 * PIECE ? (size_t)c->body_left : 4 * PIECE)
                               : client_read(l, c, c->head + c->head_len, HEAD_MAX - 1 - c->head_len);

        *ret_ok = false;
        if (n < 0)
            return errno != EAGAIN;
        if (n == 0)
            return true;
        l->bytes += (uint64_t)n;
        if (c->in_body) {
            c->body_left -= (uint64_t)n;
        } else {
            c->head_len += (size_t)n;
            if (head_whole(c, ret_ok) && !*ret_ok)
                return true;
        }
        *ret_ok = c->in_body && c->body_left == 0;
        if (*ret_ok)
            return true;
    }
}

static void on_client(struct load *l, struct client *c)
{
    bool ok;

    if (!c->busy) { /* a kept connection that the server closed */
        char byte;

        if (c->fd >= 0 && client_read(l, c, &byte, 1) == 0)
            client_end(c);
        return;
    }
    client_send(l, c);
    if (client_receive(l, c, &ok))
        client_over(l, c, ok);
}

/* ---- the run ---- */

/* Requests that are due by now, as far as connections are free. Returns when the next one is. */
static uint64_t begin_due(struct load *l, uint64_t now)
{
    for (;;) {
        uint64_t due = l->start_ns + l->due * 1000000000U / l->o.rate;
        struct client *c = l->free_clients;

        if (due > now || due >= l->end_ns || !c)
            return due;
        l->free_clients = c->next_free;
        l->due++;
        client_begin(l, c, due);
    }
}

static bool any_busy(const struct load *l)
{
    for (unsigned i = 0; i < l->o.connections; i++)
        if (l->clients[i].busy)
            return true;
    return false;
}

static void turn(struct load *l, uint64_t until_ns)
{
    uint64_t now = now_ns(), wait = until_ns > now ? until_ns - now : 0;
    struct timespec ts = {.tv_sec = (time_t)(wait / 1000000000U), .tv_nsec = (long)(wait % 1000000000U)};
    struct epoll_event events[64];
    int n = epoll_pwait2(l->epoll_fd, events, 64, &ts, NULL);

    for (int i = 0; i < n; i++)
        on_client(l, events[i].data.ptr);
}

static void run(struct load *l)
{
    uint64_t stop = l->end_ns + 20000000000U; /* what has begun may end */

    for (unsigned i = 0; i < l->o.connections; i++) {
        if (l->o.rate) {
            l->clients[i].next_free = l->free_clients;
            l->free_clients = &l->clients[i];
        } else if (!l->o.requests || l->begun < l->o.requests) {
            client_begin(l, &l->clients[i], now_ns());
        }
    }
    for (;;) {
        uint64_t now = now_ns(), next = stop;

        if (l->o.rate && now < l->end_ns)
            next = begin_due(l, now);
        if (now >= stop || ((now >= l->end_ns || !l->o.rate) && !any_busy(l)))
            return;
        turn(l, next > now + 1000000000U ? now + 1000000000U : next);
    }
}

static void hold(struct load *l)
{
    bool slow = strcmp(l->o.hold, "slow") == 0;
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

    for (unsigned i = 0; i < l->o.connections; i++) {
        if (slow)
            client_connect(l, &l->clients[i]);
        else
            client_begin(l, &l->clients[i], now_ns());
        while (!slow && any_busy(l) && i % 16 == 15)
            turn(l, now_ns() + 1000000000U);
    }
    while (any_busy(l))
        turn(l, now_ns() + 1000000000U);
    printf("ready %llu\n", (unsigned long long)l->errors);
    fflush(stdout);
    for (size_t at = 0; poll(&in, 1, 0) == 0; at++)
        for (unsigned i = 0; i < l->o.connections; i++) {
            if (slow) /* the last field never ends */
                send(l->clients[i].fd, at < l->request_len - 4 ? &l->request[at] : "x", 1, MSG_NOSIGNAL);
            if (i % 10 == 9)
                poll(&in, 1, (int)(10000 / l->o.connections));
        }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double at_quantile(const struct load *l, double q)
{
    size_t at = (size_t)(q * (double)l->nsamples);

    return l->nsamples == 0 ? 0 : l->samples_us10[at < l->nsamples ? at : l->nsamples - 1] / 10.0;
}

static void report(struct load *l, uint64_t took_ns)
{
    qsort(l->samples_us10, l->nsamples, sizeof(*l->samples_us10), compare);
    printf(
        "{\"requests\": %zu, \"errors\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"resumed\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f}\n",
        l->nsamples, (unsigned long long)l->errors, (unsigned long long)(l->bytes + l->nsamples * l->o.upload), (double)took_ns / 1e9,
        (unsigned long long)l->resumed, at_quantile(l, 0.5), at_quantile(l, 0.99), at_quantile(l, 0.999));
}

static void take_option(struct options *o, const char *text)
{
    const struct {
        const char *name;
        unsigned long *value;
    } numbers[] = {
        {"connections=", &o->connections}, {"seconds=", &o->seconds}, {"rate=", &o->rate}, {"requests=", &o->requests}, {"close=", &o->close},
        {"upload=", &o->upload},           {"tls=", &o->tls},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (strncmp(text, numbers[i].name, strlen(numbers[i].name)) == 0) {
            *numbers[i].value = strtoul(text + strlen(numbers[i].name), NULL, 10);
            return;
        }
    if (strncmp(text, "hold=", 5) == 0) {
        o->hold = text + 5;
        return;
    }
    fprintf(stderr, "load: what is %s?\n", text);
    exit(2);
}

static void set_up(struct load *l)
{
    char length[64] = "";

    if (l->o.upload)
        snprintf(length, sizeof(length), "Content-Length: %lu\r\n", l->o.upload);
    l->request_len = (size_t)snprintf(l->request, sizeof(l->request), "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%lu\r\n%s%s\r\n", l->o.upload ? "POST" : "GET",
                                      l->o.path, l->o.port, length, l->o.close ? "Connection: close\r\n" : "");
    l->clients = calloc(l->o.connections, sizeof(*l->clients));
    l->samples_us10 = malloc(SAMPLES_MAX * sizeof(*l->samples_us10));
    l->piece = calloc(1, PIECE);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!l->clients || !l->samples_us10 || !l->piece || l->epoll_fd < 0)
        die("set up");
    for (unsigned i = 0; i < l->o.connections; i++) {
        l->clients[i].fd = -1;
        l->clients[i].number = i;
    }
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    if (!l->o.tls)
        return;
    l->ctx = SSL_CTX_new(TLS_client_method());
    if (!l->ctx || SSL_CTX_set_min_proto_version(l->ctx, TLS1_3_VERSION) != 1)
        die("tls");
    SSL_CTX_set_mode(l->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (l->o.tls == 2) {
        SSL_CTX_set_session_cache_mode(l->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(l->ctx, on_session);
    }
}

int main(int argc, char **argv)
{
    struct load l = {.o = {.connections = 32, .seconds = 3}};
    uint64_t over;

    if (argc < 3) {
        fprintf(stderr, "usage: load PORT PATH [KEY=VALUE ...]\n");
        return 2;
    }
    l.o.port = strtoul(argv[1], NULL, 10);
    l.o.path = argv[2];
    for (int i = 3; i < argc; i++)
        take_option(&l.o, argv[i]);
    set_up(&l);
    l.start_ns = now_ns();
    l.end_ns = l.start_ns + l.o.seconds * 1000000000U;
    if (l.o.hold) {
        hold(&l);
        return 0;
    }
    run(&l);
    over = now_ns();
    report(&l, over - l.start_ns);
    return 0;
}
