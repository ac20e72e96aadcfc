/*
 * hello.c: the sample function: a small HTTP/1.1 server in one thread and without any library but libc. Copy it to begin a function in C.
 *
 *   /       a greeting with the function's name, its version and the instance; the variable GREETING changes it
 *   /ping   200: the health check
 *   /echo   the request's body, byte for byte, while it still arrives
 *   /env    the environment, one variable per line
 *
 * One struct conn per connection, in a table indexed by its descriptor; pages of the table that no connection has used cost no memory. Everything that a
 * connection needs is two buffers of a fixed size: a body of any length flows through them, and a client that does not read its answer is not read from either.
 *
 * A turn for one connection: read once; conn_step() again and again, which consumes input and produces output; write. Several requests that arrive together
 * (pipelining) are answered in their order.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_SIZE    16384 /* also the longest request head */
#define OUT_SIZE   16384
#define HEAD_ROOM  1024 /* an answer is begun when so much of `out` is free: head and page fit */
#define CONNS_MAX  1024
#define OPEN_MAX   (CONNS_MAX - 16) /* some descriptors are no connections */
#define DRAIN_MAX  (1 << 20)        /* bytes read from a client after an error, so that it can read the answer before the connection is reset */
#define EVENTS_MAX 32

extern char **environ;

enum state { HEAD, ENVIRONMENT, BODY, DRAIN, CLOSING };

enum chunk { SIZE_FIRST, SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_FIRST, TRAILER, TRAILER_LF, LAST_LF, COMPLETE };

struct conn {
    bool open, watching_out;
    enum state state;
    /* of the current request */
    bool http10, close, no_body, echo, chunked, expects;
    enum chunk chunk;
    uint64_t left; /* bytes of the body, or of the current chunk, that are still to come */
    /* position in /env */
    char **var;
    size_t var_at;

    size_t in_at, in_end, out_at, out_end;
    char in[IN_SIZE];
    char out[OUT_SIZE];
};

static struct conn conns[CONNS_MAX];
static volatile sig_atomic_t stopping;

/* ---- output ---- */

static size_t out_room(const struct conn *c)
{
    return OUT_SIZE - c->out_end;
}

static void put(struct conn *c, const char *data, size_t len)
{
    memcpy(c->out + c->out_end, data, len);
    c->out_end += len;
}

static void put_text(struct conn *c, const char *text)
{
    put(c, text, strlen(text));
}

static void put_number(struct conn *c, uint64_t n, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits);

    do
        digits[--at] = "0123456789abcdef"[n % base];
    while (n /= base);
    put(c, digits + at, sizeof(digits) - at);
}

/* False: the connection is broken. */
static bool flush(struct conn *c, int fd)
{
    while (c->out_at < c->out_end) {
        ssize_t n = send(fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        c->out_at += (size_t)n;
    }
    c->out_at = c->out_end = 0;
    return true;
}

/* ---- answers ---- */

static void put_head(struct conn *c, const char *status, const char *type)
{
    put_text(c, "HTTP/1.1 ");
    put_text(c, status);
    put_text(c, "\r\nContent-Type: ");
    put_text(c, type);
    if (c->close)
        put_text(c, "\r\nConnection: close");
    else if (c->http10)
        put_text(c, "\r\nConnection: keep-alive");
}

static void put_length(struct conn *c, uint64_t length)
{
    put_text(c, "\r\nContent-Length: ");
    put_number(c, length, 10);
    put_text(c, "\r\n\r\n");
}

static void answer(struct conn *c, const char *status, const char *text)
{
    put_head(c, status, "text/plain; charset=utf-8");
    put_length(c, strlen(text));
    if (!c->no_body)
        put_text(c, text);
}

/* For a request that cannot be understood: where the next one begins is not known, so the connection ends. */
static void refuse(struct conn *c, const char *status, const char *text)
{
    c->close = true;
    answer(c, status, text);
    c->left = DRAIN_MAX;
    c->state = DRAIN;
}

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
    char page[HEAD_ROOM / 2], *end = page + sizeof(page) - 2;
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
    answer(c, "200 OK", page);
}

static void answer_env(struct conn *c)
{
    uint64_t length = 0;

    for (char **v = environ; *v; v++)
        length += strlen(*v) + 1;
    put_head(c, "200 OK", "text/plain; charset=utf-8");
    put_length(c, length);
    if (c->no_body)
        return;
    c->var = environ;
    c->var_at = 0;
    c->state = ENVIRONMENT;
}

/* The environment may be larger than `out`: as much as there is room for, then the request's body comes. */
static bool step_env(struct conn *c)
{
    size_t len, n;

    if (!*c->var) {
        c->state = BODY;
        return true;
    }
    if (out_room(c) < 2)
        return false;
    len = strlen(*c->var) - c->var_at;
    n = len < out_room(c) - 1 ? len : out_room(c) - 1;
    put(c, *c->var + c->var_at, n);
    c->var_at += n;
    if (n == len) {
        put(c, "\n", 1);
        c->var++;
        c->var_at = 0;
    }
    return true;
}

static void answer_echo(struct conn *c)
{
    put_head(c, "200 OK", "application/octet-stream");
    if (c->chunked && !c->http10)
        put_text(c, "\r\nTransfer-Encoding: chunked\r\n\r\n");
    else
        put_length(c, c->left);
    c->echo = !c->no_body;
}

/* ---- the request's head ---- */

static bool is(const char *s, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

static bool has_word(const char *list, size_t len, const char *word)
{
    for (const char *end = list + len; list < end;) {
        const char *comma = memchr(list, ',', (size_t)(end - list)), *stop = comma ? comma : end, *last = stop;

        while (list < last && (*list == ' ' || *list == '\t'))
            list++;
        while (last > list && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (is(list, (size_t)(last - list), word))
            return true;
        list = stop + 1;
    }
    return false;
}

static bool parse_length(const char *s, size_t len, uint64_t *ret)
{
    uint64_t n = 0;

    if (len == 0 || len > 18)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s[i] - '0');
    }
    *ret = n;
    return true;
}

/* One "Name: value". Returns NULL, or the status of a refusal. */
static const char *parse_field(struct conn *c, const char *line, size_t len, bool *has_length)
{
    const char *colon = memchr(line, ':', len), *value, *end = line + len;
    size_t name;

    if (!colon || colon == line || memchr(line, ' ', (size_t)(colon - line)) || memchr(line, '\t', (size_t)(colon - line)))
        return "400 Bad Request";
    name = (size_t)(colon - line);
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
        ;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    len = (size_t)(end - value);
    if (is(line, name, "Content-Length")) {
        if (*has_length || !parse_length(value, len, &c->left))
            return "400 Bad Request";
        *has_length = true;
    } else if (is(line, name, "Transfer-Encoding")) {
        if (c->chunked || !is(value, len, "chunked"))
            return "501 Not Implemented";
        c->chunked = true;
    } else if (is(line, name, "Connection")) {
        if (has_word(value, len, "close"))
            c->close = true;
        else if (c->http10 && has_word(value, len, "keep-alive"))
            c->close = false;
    } else if (is(line, name, "Expect")) {
        c->expects = is(value, len, "100-continue");
    }
    return NULL;
}

/* METHOD SP TARGET SP HTTP/1.x; the path without its query is what remains. */
static const char *parse_request_line(struct conn *c, const char *line, size_t len, const char **ret_path, size_t *ret_len)
{
    const char *end = line + len, *path = memchr(line, ' ', len), *version, *query;

    if (!path || path == line || *++path != '/')
        return "400 Bad Request";
    version = memchr(path, ' ', (size_t)(end - path));
    if (!version || end - version != 9 || memcmp(version, " HTTP/1.", 8) != 0 || (version[8] != '0' && version[8] != '1'))
        return "400 Bad Request";
    c->http10 = c->close = version[8] == '0';
    c->no_body = path - line == 5 && memcmp(line, "HEAD", 4) == 0;
    query = memchr(path, '?', (size_t)(version - path));
    *ret_path = path;
    *ret_len = (size_t)((query ? query : version) - path);
    return NULL;
}

static const char *parse_head(struct conn *c, const char *head, size_t len, const char **ret_path, size_t *ret_len)
{
    const char *end = head + len, *line = head, *status = NULL;
    bool has_length = false;

    c->http10 = c->close = c->no_body = c->echo = c->chunked = c->expects = false;
    c->chunk = SIZE_FIRST;
    c->left = 0;
    while (line < end && !status) {
        const char *cr = memchr(line, '\r', (size_t)(end - line));

        /* every line ends with CR LF: a lone CR or LF is how requests are smuggled */
        if (cr[1] != '\n' || memchr(line, '\n', (size_t)(cr - line)) || memchr(line, '\0', (size_t)(cr - line)))
            return "400 Bad Request";
        if (line == head)
            status = parse_request_line(c, line, (size_t)(cr - line), ret_path, ret_len);
        else
            status = parse_field(c, line, (size_t)(cr - line), &has_length);
        line = cr + 2;
    }
    if (!status && c->chunked && (has_length || c->http10))
        status = "400 Bad Request";
    return status;
}

static void route(struct conn *c, const char *path, size_t len)
{
    c->state = BODY;
    if (is(path, len, "/"))
        answer_greeting(c);
    else if (is(path, len, "/ping"))
        answer(c, "200 OK", "OK\n");
    else if (is(path, len, "/echo"))
        answer_echo(c);
    else if (is(path, len, "/env"))
        answer_env(c);
    else
        answer(c, "404 Not Found", "nothing is here: try / /ping /echo /env\n");
}

static bool step_head(struct conn *c)
{
    const char *head, *blank, *path = NULL, *status;
    size_t len, path_len = 0;

    while (c->in_end - c->in_at >= 2 && memcmp(c->in + c->in_at, "\r\n", 2) == 0) /* RFC 9112 2.2 */
        c->in_at += 2;
    if (out_room(c) < HEAD_ROOM || c->in_at == c->in_end)
        return false;
    head = c->in + c->in_at;
    len = c->in_end - c->in_at;
    blank = memmem(head, len, "\r\n\r\n", 4);
    if (!blank) {
        if (len < IN_SIZE)
            return false;
        refuse(c, "431 Request Header Fields Too Large", "the request's head is too long\n");
        return true;
    }
    len = (size_t)(blank - head) + 2;
    c->in_at += len + 2;
    status = parse_head(c, head, len, &path, &path_len);
    if (stopping)
        c->close = true;
    if (status) {
        refuse(c, status, "this request is not understood\n");
        return true;
    }
    if (c->expects && !c->http10 && c->in_at == c->in_end && (c->chunked || c->left))
        put_text(c, "HTTP/1.1 100 Continue\r\n\r\n");
    route(c, path, path_len);
    return true;
}

/* ---- the request's body ---- */

/* The framing around the chunks' data, byte by byte. False: this is no chunked body. */
static bool chunk_byte(struct conn *c, char byte)
{
    static const enum chunk after_cr[] = {[EXTENSION] = SIZE_LF, [TRAILER_FIRST] = LAST_LF, [TRAILER] = TRAILER_LF};
    const char *hex;

    switch (c->chunk) {
    case SIZE_FIRST:
    case SIZE:
        hex = byte ? strchr("0123456789abcdefABCDEF", byte) : NULL;
        if (hex) {
            unsigned digit = byte <= '9' ? (unsigned)(byte - '0') : (unsigned)((byte | 0x20) - 'a') + 10;

            if (c->left >> 58)
                return false;
            c->left = c->left * 16 + digit;
            c->chunk = SIZE;
            return true;
        }
        if (c->chunk == SIZE_FIRST || (byte != '\r' && byte != ';' && byte != ' ' && byte != '\t'))
            return false;
        c->chunk = byte == '\r' ? SIZE_LF : EXTENSION;
        return true;
    case EXTENSION:
    case TRAILER:
    case TRAILER_FIRST:
        if (byte == '\r')
            c->chunk = after_cr[c->chunk];
        else if (c->chunk == TRAILER_FIRST)
            c->chunk = TRAILER;
        return byte != '\n';
    case SIZE_LF:
        c->chunk = c->left ? DATA : TRAILER_FIRST;
        return byte == '\n';
    case DATA_CR:
        c->chunk = DATA_LF;
        return byte == '\r';
    case DATA_LF:
        c->chunk = SIZE_FIRST;
        return byte == '\n';
    case TRAILER_LF:
        c->chunk = TRAILER_FIRST;
        return byte == '\n';
    case LAST_LF:
        c->chunk = COMPLETE;
        return byte == '\n';
    default:
        return false;
    }
}

/* Takes as much of the data as there is and as the echo has room for. */
static bool take_data(struct conn *c)
{
    size_t n = c->in_end - c->in_at, frame = c->chunked ? 16 : 0; /* "ffff\r\n" ... "\r\n" */

    if (n > c->left)
        n = (size_t)c->left;
    if (c->echo) {
        size_t room = out_room(c) > frame ? out_room(c) - frame : 0;

        n = n < room ? n : room;
    }
    if (n == 0)
        return false;
    if (c->echo && c->chunked) {
        put_number(c, n, 16);
        put_text(c, "\r\n");
    }
    if (c->echo)
        put(c, c->in + c->in_at, n);
    if (c->echo && c->chunked)
        put_text(c, "\r\n");
    c->in_at += n;
    c->left -= n;
    return true;
}

static bool step_chunked(struct conn *c)
{
    if (c->chunk == DATA) {
        if (!take_data(c))
            return false;
        if (c->left == 0)
            c->chunk = DATA_CR;
        return true;
    }
    if (c->in_at == c->in_end)
        return false;
    if (!chunk_byte(c, c->in[c->in_at++])) {
        c->state = CLOSING; /* the answer has begun: all that can still be said is that it is not whole */
        c->out_at = c->out_end = 0;
    }
    return true;
}

static bool step_body(struct conn *c)
{
    if (c->chunked && c->chunk != COMPLETE)
        return step_chunked(c);
    if (!c->chunked && c->left)
        return take_data(c);
    if (c->chunked && c->echo) {
        if (out_room(c) < 5)
            return false;
        put_text(c, "0\r\n\r\n");
    }
    c->state = c->close ? CLOSING : HEAD;
    return true;
}

static bool step_drain(struct conn *c)
{
    size_t n = c->in_end - c->in_at;

    c->in_at = c->in_end;
    if (n >= c->left)
        c->state = CLOSING;
    else
        c->left -= n;
    return n > 0;
}

/* Consumes input or produces output; false when neither is possible. */
static bool conn_step(struct conn *c)
{
    switch (c->state) {
    case HEAD:
        return step_head(c);
    case ENVIRONMENT:
        return step_env(c);
    case BODY:
        return step_body(c);
    case DRAIN:
        return step_drain(c);
    default:
        return false;
    }
}

/* ---- connections ---- */

struct server {
    int epoll_fd, listen_fd;
    unsigned open;
    bool accepting;
};

static void watch(struct server *s, int op, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};

    epoll_ctl(s->epoll_fd, op, fd, &ev);
}

static void set_accepting(struct server *s, bool on)
{
    if (s->accepting != on)
        watch(s, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->listen_fd, EPOLLIN);
    s->accepting = on;
}

static void conn_close(struct server *s, int fd)
{
    conns[fd].open = false;
    close(fd);
    s->open--;
    if (!stopping)
        set_accepting(s, true);
}

/* False: nothing more will come, or the connection is broken. */
static bool conn_read(struct conn *c, int fd)
{
    ssize_t n;

    if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_end - c->in_at);
        c->in_end -= c->in_at;
        c->in_at = 0;
    }
    if (c->in_end == IN_SIZE)
        return true;
    n = recv(fd, c->in + c->in_end, IN_SIZE - c->in_end, 0);
    if (n > 0)
        c->in_end += (size_t)n;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void conn_turn(struct server *s, int fd, uint32_t events)
{
    struct conn *c = &conns[fd];
    bool alive = true, moved, had, out;

    if (!c->watching_out || (events & (EPOLLERR | EPOLLHUP)))
        alive = conn_read(c, fd);
    do {
        for (moved = false; conn_step(c);)
            moved = true;
        had = c->out_end > 0;
        if (!flush(c, fd)) {
            conn_close(s, fd);
            return;
        }
        out = c->out_end > 0;
    } while ((moved || had) && !out); /* a flushed buffer is room for more, even where nothing moved before */
    if (!out && c->state == DRAIN)
        shutdown(fd, SHUT_WR);
    if ((!alive && !out) || (!out && c->state == CLOSING) || (!out && stopping && c->state == HEAD && c->in_at == c->in_end)) {
        conn_close(s, fd);
        return;
    }
    if (out != c->watching_out)
        watch(s, EPOLL_CTL_MOD, fd, out ? EPOLLOUT : EPOLLIN);
    c->watching_out = out;
}

/* When the table or the limit of descriptors is reached, later connections wait in the kernel's queue until one is closed. */
static void accept_all(struct server *s)
{
    while (s->open < OPEN_MAX) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct conn *c = &conns[fd < 0 || fd >= CONNS_MAX ? 0 : fd];

        if (fd < 0 && (errno != EMFILE || s->open == 0))
            return;
        if (fd < 0)
            break;
        if (fd >= CONNS_MAX) { /* started with descriptors that are not ours */
            close(fd);
            return;
        }
        c->open = true;
        c->watching_out = false;
        c->state = HEAD;
        c->in_at = c->in_end = c->out_at = c->out_end = 0;
        s->open++;
        watch(s, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
    set_accepting(s, false);
}

/* ---- the server ---- */

static void on_signal(int sig)
{
    (void)sig;
    stopping = 1;
}

/* Between requests: closed at once. Others finish theirs. */
static void begin_stop(struct server *s)
{
    set_accepting(s, false);
    close(s->listen_fd);
    for (unsigned fd = 0, left = s->open; left > 0 && fd < CONNS_MAX; fd++) {
        struct conn *c = &conns[fd];

        left -= c->open;
        if (c->open && c->state == HEAD && c->out_end == 0 && c->in_at == c->in_end)
            conn_close(s, (int)fd);
    }
}

static void serve(struct server *s, const sigset_t *unblocked)
{
    struct epoll_event events[EVENTS_MAX];
    bool was_stopping = false;

    while (!was_stopping || s->open > 0) {
        int n = epoll_pwait(s->epoll_fd, events, EVENTS_MAX, -1, unblocked);

        if (stopping && !was_stopping) {
            was_stopping = true;
            begin_stop(s);
        }
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd != s->listen_fd && conns[fd].open)
                conn_turn(s, fd, events[i].events);
            else if (fd == s->listen_fd && !stopping)
                accept_all(s);
        }
    }
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted sockets inherit it */
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1024) < 0)
        return -1;
    return fd;
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

int main(void)
{
    const char *port = getenv("PORT");
    struct sigaction stop = {.sa_handler = on_signal};
    struct server s = {0};
    sigset_t blocked, unblocked;
    uint64_t number = 0;

    if (!port)
        port = "3000";
    if (!parse_length(port, strlen(port), &number) || number == 0 || number > 65535) {
        say(STDERR_FILENO, "hello: PORT must be a number from 1 to 65535, not ", port);
        return 2;
    }
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &unblocked); /* they arrive only while epoll_pwait waits */
    sigdelset(&unblocked, SIGTERM);
    sigdelset(&unblocked, SIGINT);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);

    s.listen_fd = listen_on((uint16_t)number);
    s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s.listen_fd < 0 || s.epoll_fd < 0) {
        say(STDERR_FILENO, "hello: cannot listen on port ", port);
        return 1;
    }
    set_accepting(&s, true);
    say(STDOUT_FILENO, "hello: serving on port ", port);
    serve(&s, &unblocked);
    return 0;
}
