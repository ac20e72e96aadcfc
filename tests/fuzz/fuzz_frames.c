/*
 * Frames of HTTP/2 into a connection of a whole worker, with a function behind it that answers in several ways: whatever comes, what goes out are frames, and nothing is left when the client has gone.
 * An input is a list of steps: a frame of the usual kinds, patched or not, or raw bytes; the client reads or does not.
 */
#include "fuzz_patch.h"

#include "../../runner/gateway/http/http.h"
#include "../../runner/gateway/worker.h"
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX  200
#define TURNS_MAX  2000
#define FRAME_MAX  16384U
#define FRAME_HEAD 9U
#define PREFACE    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    struct watch watch;
    struct world *world;
};

struct world {
    struct loop *loop;
    struct worker *worker;
    struct watch listener;
    struct gw_function *function;
    unsigned answer; /* which one the function gives next */
    uint32_t next_stream;
    uint8_t in[FRAME_HEAD + FRAME_MAX]; /* a frame of the gateway */
    size_t in_len;
};

/* ---- the function ---- */

static void on_request(struct watch *w, uint32_t events)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf of it",
        "HTTP/1.1 204 \r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz",
        "garbage\r\n\r\n",
        "",
    };
    static char body[60000];
    struct peer *p = w->owner;
    unsigned n = p->world->answer++ % 11;
    char buf[4096];
    ssize_t got = recv(w->fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (got > 0 && n < 9)
        send(w->fd, answers[n], strlen(answers[n]), MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (got > 0 && n == 9 && send(w->fd, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", 42, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        send(w->fd, body, sizeof(body), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (got > 0 && n != 5 && n != 6 && n != 10)
        return;
    if (got < 0 && errno == EAGAIN)
        return;
    loop_unwatch(&p->watch);
    close(p->watch.fd);
    free(p);
}

static void on_accept(struct watch *w, uint32_t events)
{
    struct peer *p = calloc(1, sizeof(*p));
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    assert(p && fd >= 0);
    p->world = w->owner;
    assert(loop_watch(p->world->loop, &p->watch, fd, EPOLLIN, on_request, p) == 0);
}

static uint16_t listen_function(struct world *w)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 128) == 0);
    assert(getsockname(fd, (struct sockaddr *)&addr, &len) == 0);
    assert(loop_watch(w->loop, &w->listener, fd, EPOLLIN, on_accept, w) == 0);
    return ntohs(addr.sin_port);
}

/* ---- the world ---- */

static void apply(struct world *w, const void *rec)
{
    assert(picture_apply(&w->worker->picture, rec) == 0);
}

static void add_function(struct world *w)
{
    struct record_function f = {
        .head = RECORD_INIT(RECORD_FUNCTION, 0), .function = 1, .fn = {.env = "default", .name = "f"}, .state = FUNCTION_ACTIVE, .queue = 50, .concurrency = 8};
    struct record_instance i = {
        .head = RECORD_INIT(RECORD_INSTANCE, 0), .instance = 1, .function = 1, .state = INSTANCE_READY, .name = "f-1", .health_path = "/ping"};
    struct record_empty synced = {.head = RECORD_INIT(RECORD_SYNCED, 0)};
    struct record_settings s = {.head = RECORD_INIT(RECORD_SETTINGS, 0)};
    struct record_welcome welcome = {.head = RECORD_INIT(RECORD_WELCOME, 0), .protocol = RECORD_PROTOCOL, .max_body_bytes = 1 << 20};

    f.timeout_ns = f.health_interval_ns = 3600 * NS_PER_SEC;
    f.wanted = f.scale = 1;
    i.addr = htonl(INADDR_LOOPBACK);
    i.port = listen_function(w);
    settings_init(&s.settings);
    s.settings.h2c = true;
    s.settings.h2_idle_frames = 100;
    s.settings.h2_resets = 50;
    s.settings.h2_streams = 20;
    apply(w, &welcome);
    apply(w, &s);
    apply(w, &f);
    apply(w, &i);
    apply(w, &synced);
    w->function = picture_function_by_number(&w->worker->picture, 1);
    assert(w->function && w->function->ready == 1);
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));
    struct worker_parts parts = {.gateway = shared_gateway_new(1), .link_path = "/nonexistent/runner.sock"};
    struct diag d;

    log_set_level(LOG_CRIT);
    assert(w && parts.gateway && loop_new(&w->loop) == 0);
    parts.loop = w->loop;
    assert(worker_new(&parts, &w->worker, &d) == 0);
    w->worker->client_conns_max = 0;
    add_function(w);
    return w;
}

static void stop(struct timer *t)
{
    loop_stop(t->owner, 0);
}

static void turn(struct world *w)
{
    struct timer t = {.on_expire = stop, .owner = w->loop};

    loop_arm_in(w->loop, &t, 0);
    loop_run(w->loop);
    loop_disarm(&t);
}

/* ---- the client ---- */

/* What comes from the gateway are frames; false: it has ended. */
static bool read_frames(struct world *w, int fd)
{
    for (;;) {
        ssize_t n = recv(fd, w->in + w->in_len, sizeof(w->in) - w->in_len, MSG_DONTWAIT);

        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        w->in_len += (size_t)n;
        while (w->in_len >= FRAME_HEAD) {
            size_t len = FRAME_HEAD + ((size_t)w->in[0] << 16 | (size_t)w->in[1] << 8 | w->in[2]);

            assert(len <= sizeof(w->in) && w->in[3] <= 9);
            if (w->in_len < len)
                break;
            w->in_len -= len;
            memmove(w->in, w->in + len, w->in_len);
        }
    }
}

static void put(int fd, const void *data, size_t len)
{
    send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void put_frame(int fd, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t len, struct patches *p)
{
    uint8_t frame[FRAME_HEAD + 300] = {(uint8_t)(len >> 16),    (uint8_t)(len >> 8),     (uint8_t)len,           type,           flags,
                                       (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};

    memcpy(frame + FRAME_HEAD, payload, len);
    if (patch_byte(p) % 8 == 0)
        patch_apply(p, frame, FRAME_HEAD + len);
    put(fd, frame, FRAME_HEAD + len);
}

static size_t copy(uint8_t *to, const void *from, size_t len)
{
    memcpy(to, from, len);
    return len;
}

/* :method, :scheme, :path and :authority as literals of HPACK, and one more field of the input's. */
static size_t make_block(uint8_t *to, struct patches *p)
{
    static const char *const paths[] = {"/fn/f/", "/healthz", "/fn/none/", "/metrics", "/fn/f", "*"};
    const char *path = paths[patch_byte(p) % 6];
    size_t n = 0, len = strlen(path), extra = patch_byte(p) % 40;

    to[n++] = patch_byte(p) % 2 ? 0x82 : 0x83; /* GET, POST */
    to[n++] = 0x86;
    to[n++] = 0x04;
    to[n++] = (uint8_t)len;
    n += copy(to + n, path, len);
    n += copy(to + n, "\x41\x01t", 3);
    for (; extra > 0; extra--)
        to[n++] = patch_byte(p);
    return n;
}

static uint32_t some_stream(struct world *w, struct patches *p)
{
    uint32_t back = patch_byte(p) % 8 * 2;

    return w->next_stream > back + 1 ? w->next_stream - back - 2 : 1;
}

static void step(struct world *w, int fd, struct patches *p)
{
    uint8_t payload[256], op = patch_byte(p);
    size_t n = patch_byte(p) % sizeof(payload);

    memset(payload, op, sizeof(payload));
    switch (op % 12) {
    case 0:
    case 1:
    case 2:
        n = make_block(payload, p);
        put_frame(fd, 1, patch_byte(p) & 5 ? 5 : 4, w->next_stream, payload, n, p);
        w->next_stream += 2;
        break;
    case 3:
        put_frame(fd, 0, patch_byte(p) % 4 == 0, some_stream(w, p), payload, n, p);
        break;
    case 4:
        memset(payload, 0, 4);
        put_frame(fd, 3, 0, some_stream(w, p), payload, 4, p);
        break;
    case 5:
        copy(payload, "\0\0\x10\0", 4);
        put_frame(fd, 8, 0, patch_byte(p) % 2 ? 0 : some_stream(w, p), payload, 4, p);
        break;
    case 6:
        copy(payload, "\0\4\0\0\0\0", 6); /* windows of nothing, or of 255 */
        payload[5] = patch_byte(p);
        put_frame(fd, 4, patch_byte(p) % 4 == 0, 0, payload, patch_byte(p) % 4 ? 6 : 0, p);
        break;
    case 7:
        put_frame(fd, 6, patch_byte(p) % 2, 0, payload, 8, p);
        break;
    case 8: /* trailers, or a head without its end */
        put_frame(fd, 1, patch_byte(p) % 2 ? 5 : 1, some_stream(w, p), "\x40\x01x\x01y", 5, p);
        break;
    case 9:
        put_frame(fd, patch_byte(p) % 12, patch_byte(p), some_stream(w, p), payload, n, p);
        break;
    case 10:
        read_frames(w, fd);
        break;
    default:
        for (size_t i = 0; i < n % 32; i++)
            payload[i] = patch_byte(p);
        put(fd, payload, n % 32);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sockaddr_in from = {.sin_family = AF_INET};
    static struct world *w;
    struct sockaddr_storage addr = {0};
    struct patches p = {.at = data, .left = size};
    int fds[2];

    if (!w)
        w = world_new();
    memcpy(&addr, &from, sizeof(from));
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    assert(conn_new(w->worker, fds[0], (struct listener_type){.kind = LISTENER_PUBLIC}, &addr) == 0);
    w->answer = patch_byte(&p);
    w->next_stream = 1;
    w->in_len = 0;
    put(fds[1], PREFACE "\0\0\0\4\0\0\0\0\0", sizeof(PREFACE) - 1 + FRAME_HEAD);
    for (unsigned i = 0; i < STEPS_MAX && p.left > 0; i++) {
        step(w, fds[1], &p);
        if (patch_byte(&p) % 4 == 0)
            turn(w);
    }
    turn(w);
    read_frames(w, fds[1]);
    close(fds[1]);
    for (unsigned i = 0; i < TURNS_MAX && (w->worker->conns || w->worker->buffers.nused > 0); i++)
        turn(w);
    assert(!w->worker->conns && w->worker->buffers.nused == 0);
    assert(atomic_load(&w->function->shared->requests) == 0);
    return 0;
}
