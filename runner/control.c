/*
 * control.c: see control.h. The peer parses the Internet and may have been taken over: every record is checked (size, type, terminators, bounds) before anything looks into it, and a connection that breaks the
 * protocol is closed. What it can ask for is what the API can ask for.
 *
 * Outgoing records are queued when the socket is full, up to QUEUE_MAX bytes and QUEUE_FDS_MAX descriptors; then the connection is cut, because a picture with a hole is worse than a new snapshot.
 */
#include "control.h"

#include "accounts.h"
#include "config.h"
#include "diag.h"
#include "fd.h"
#include "instance.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "record.h"
#include "str.h"
#include "version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define QUEUE_MAX        (64U << 20) /* a snapshot of 5000 functions, about 10 KB each */
#define QUEUE_FDS_MAX    64U         /* logs that were asked for and not read: the runner needs its descriptors for starting and killing */
#define SOCKET_BUFFER    (1 << 20)
#define RECORDS_PER_TURN 64

struct queued {
    struct queued *next;
    int fd; /* owned, -1 none */
    size_t len;
    char data[];
};

struct control {
    struct control_parts p;
    struct manager *manager;
    struct accounts *accounts;
    int listen_fd, conn_fd;
    struct watch listen_watch, conn_watch;
    uint64_t client; /* number of the connection; grows, so that replies to an older one are recognised */
    bool welcomed;
    struct queued *head, **tail;
    size_t queued_bytes;
    unsigned queued_fds;
    char path[108];
    _Alignas(8) char buffer[RECORD_MAX];
};

static void drop_queue(struct control *c)
{
    while (c->head) {
        struct queued *q = c->head;

        c->head = q->next;
        fd_close(q->fd);
        free(q);
    }
    c->tail = &c->head;
    c->queued_bytes = 0;
    c->queued_fds = 0;
}

static void disconnect(struct control *c, const char *why)
{
    uint64_t gone = c->client;

    if (c->conn_fd < 0)
        return;
    log_msg(LOG_DEBUG, "gateway disconnected", "reason=\"%s\"", why);
    loop_unwatch(&c->conn_watch);
    c->conn_fd = fd_close(c->conn_fd);
    c->welcomed = false;
    c->client++;
    drop_queue(c);
    if (c->manager)
        manager_client_gone(c->manager, gone);
}

static int enqueue(struct control *c, const struct record_head *rec, int fd)
{
    struct queued *q;

    if (c->queued_bytes + rec->size > QUEUE_MAX || (fd >= 0 && c->queued_fds >= QUEUE_FDS_MAX))
        return -ENOBUFS;
    q = malloc(sizeof(*q) + rec->size);
    if (!q)
        return -ENOMEM;
    *q = (struct queued){.fd = -1, .len = rec->size};
    memcpy(q->data, rec, rec->size);
    if (fd >= 0) {
        q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (q->fd < 0) {
            int err = errno;

            free(q);
            return -err;
        }
        c->queued_fds++;
    }
    *c->tail = q;
    c->tail = &q->next;
    c->queued_bytes += q->len;
    return loop_modify(&c->conn_watch, EPOLLIN | EPOLLOUT);
}

static void flush(struct control *c)
{
    while (c->head) {
        struct queued *q = c->head;
        int r = fd_send(c->conn_fd, q->data, q->len, &q->fd, q->fd >= 0, MSG_DONTWAIT);

        if (r == -EAGAIN)
            return;
        if (r < 0) {
            disconnect(c, strerror(-r));
            return;
        }
        c->head = q->next;
        if (!c->head)
            c->tail = &c->head;
        c->queued_bytes -= q->len;
        c->queued_fds -= q->fd >= 0;
        fd_close(q->fd);
        free(q);
    }
    loop_modify(&c->conn_watch, EPOLLIN);
}

/* Disconnecting here would pull the manager's structures from under whoever pushes: the socket is shut down, and the loop sees its end in the next turn. */
static void send_record(struct control *c, const struct record_head *rec, int fd)
{
    int r = c->head ? -EAGAIN : fd_send(c->conn_fd, rec, rec->size, &fd, fd >= 0, MSG_DONTWAIT);

    if (r == -EAGAIN)
        r = enqueue(c, rec, fd);
    if (r < 0)
        shutdown(c->conn_fd, SHUT_RDWR);
}

void control_push(struct control *c, const struct record_head *rec)
{
    control_push_fd(c, rec, -1);
}

void control_push_fd(struct control *c, const struct record_head *rec, int fd)
{
    if (c->conn_fd >= 0 && c->welcomed)
        send_record(c, rec, fd);
}

void control_reply(struct control *c, uint64_t client, const struct record_head *rec, int fd)
{
    if (c->conn_fd >= 0 && client == c->client)
        send_record(c, rec, fd);
}

bool control_is_up(const struct control *c)
{
    return c->conn_fd >= 0 && c->welcomed;
}

static void push_settings(struct control *c)
{
    const struct record_settings rec = {.head = RECORD_INIT(RECORD_SETTINGS, 0), .settings = c->p.config->gateway};

    control_push(c, &rec.head);
}

static void welcome(struct control *c)
{
    const struct config *cf = c->p.config;
    struct record_welcome rec = {
        .head = RECORD_INIT(RECORD_WELCOME, 0),
        .protocol = RECORD_PROTOCOL,
        .start_timeout_ms = (uint32_t)(cf->start_timeout_ns / 1000000),
        .drain_timeout_ms = (uint32_t)(cf->drain_timeout_ns / 1000000),
        .max_body_bytes = cf->max_body_bytes,
        .max_archive_bytes = cf->max_archive_bytes,
        .max_connections = cf->max_connections,
        .max_connections_per_client = cf->max_connections_per_client,
        .max_requests_per_function = cf->max_requests_per_function,
        .threads = cf->threads,
        .metrics_public = cf->metrics_public,
        .runner_version = FND_VERSION,
    };
    struct record_empty synced = {.head = RECORD_INIT(RECORD_SYNCED, 0)};

    c->welcomed = true;
    send_record(c, &rec.head, -1);
    push_settings(c);
    if (c->p.on_snapshot) /* first, while nothing waits: of queued descriptors there are few */
        c->p.on_snapshot(c->p.owner);
    if (c->accounts)
        accounts_snapshot(c->accounts);
    if (c->manager)
        manager_snapshot(c->manager);
    send_record(c, &synced.head, -1);
    c->p.on_gateway(c->p.owner);
}

void control_resend(struct control *c)
{
    if (control_is_up(c))
        welcome(c);
}

static void reload(struct control *c, uint64_t id)
{
    struct record_reply reply = {.head = RECORD_INIT(RECORD_REPLY, id)};
    struct record_text text = {.head = RECORD_INIT(RECORD_TEXT, id)};

    if (!c->p.on_reload)
        diag_set(&reply.diag, ENOTSUP, "not here");
    else if (c->p.on_reload(c->p.owner, text.text, 1024, &reply.diag) >= 0)
        text.len = (uint32_t)strlen(text.text);
    if (text.len > 0)
        send_record(c, &text.head, -1);
    send_record(c, &reply.head, -1);
}

static void send_config(struct control *c, uint64_t id)
{
    struct record_reply reply = {.head = RECORD_INIT(RECORD_REPLY, id)};
    struct config_row row;

    for (unsigned i = 0; config_row(c->p.config, c->p.source, i, &row); i++) {
        struct record_config rec = {.head = RECORD_INIT(RECORD_CONFIG, id)};

        str_copy(rec.key, sizeof(rec.key), row.key);
        str_copy(rec.value, sizeof(rec.value), row.value);
        str_copy(rec.def, sizeof(rec.def), row.def);
        str_copy(rec.origin, sizeof(rec.origin), row.origin);
        send_record(c, &rec.head, -1);
    }
    send_record(c, &reply.head, -1);
}

static bool takes_descriptor(uint32_t type)
{
    return type == RECORD_DEPLOY || type == RECORD_RUNTIME_PUT || type == RECORD_EXEC || type == RECORD_EXPORT;
}

/* Descriptors that come with other records are closed. */
static int dispatch(struct control *c, size_t size, int fd, struct diag *d)
{
    const struct record_head *rec = (const struct record_head *)c->buffer;
    cleanup_fd int passed = fd;
    int r = record_check(c->buffer, size, 1, d);

    if (r < 0)
        return r;
    if (rec->type == RECORD_HELLO) {
        const struct record_hello *hello = (const struct record_hello *)rec;

        if (hello->protocol != RECORD_PROTOCOL)
            return diag_set(d, EPROTO, "gateway speaks protocol %u, this runner %u: install both from one version", hello->protocol, RECORD_PROTOCOL);
        welcome(c);
        return 0;
    }
    if (!c->welcomed)
        return diag_set(d, EPROTO, "%s before hello", record_name(rec->type));
    if (rec->type == RECORD_CONFIG_GET)
        send_config(c, rec->id);
    else if (rec->type == RECORD_RELOAD)
        reload(c, rec->id);
    else if (rec->type == RECORD_LISTENING) {
        if (c->p.on_listening)
            c->p.on_listening(c->p.owner, (const struct record_listening *)rec);
    } else if (c->accounts && accounts_request(c->accounts, c->client, rec))
        return 0;
    else if (c->manager)
        manager_request(c->manager, c->client, rec, takes_descriptor(rec->type) ? take_fd(&passed) : -1);
    return 0;
}

static void on_connection(struct watch *w, uint32_t events)
{
    struct control *c = w->owner;

    if (events & EPOLLOUT)
        flush(c);
    for (int n = 0; n < RECORDS_PER_TURN && c->conn_fd >= 0; n++) {
        struct diag d = {0};
        unsigned nfds = 0;
        int fd = -1;
        ssize_t size = fd_recv(c->conn_fd, c->buffer, sizeof(c->buffer), &fd, 1, &nfds, MSG_DONTWAIT);

        if (size == -EAGAIN)
            return;
        if (size <= 0) {
            disconnect(c, size == 0 ? "closed" : strerror((int)-size));
            return;
        }
        if (dispatch(c, (size_t)size, nfds ? fd : -1, &d) < 0) {
            log_diag(LOG_WARNING, "gateway broke the protocol", &d, NULL);
            disconnect(c, "protocol");
        }
    }
}

static void on_listener(struct watch *w, uint32_t events)
{
    struct control *c = w->owner;
    cleanup_fd int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer;
    socklen_t len = sizeof(peer);
    const int size = SOCKET_BUFFER;

    if (fd < 0)
        return;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || (peer.uid != 0 && peer.uid != c->p.gateway_uid)) {
        log_msg(LOG_WARNING, "gateway refused", "uid=%u", peer.uid);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    disconnect(c, "replaced by a newer connection");
    if (loop_watch(c->p.loop, &c->conn_watch, fd, EPOLLIN, on_connection, c) < 0)
        return;
    c->conn_fd = take_fd(&fd);
}

/* The directory is root's: a gateway that was taken over can neither replace the socket nor lead us elsewhere by a symlink. It must only be able to pass through. */
static int bind_socket(struct control *c, struct diag *d)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char dir[108];

    snprintf(dir, sizeof(dir), "%.90s/gw", c->p.config->run);
    if (fd_mkdir_p(AT_FDCWD, dir, 0755) < 0 || lchown(dir, 0, c->p.gateway_gid) < 0 || chmod(dir, 0750) < 0)
        return diag_errno(d, errno, "%s: cannot prepare", dir);
    snprintf(c->path, sizeof(c->path), "%.80s/%s", c->p.config->run, LISTEN_RUNNER_SOCKET);
    str_copy(addr.sun_path, sizeof(addr.sun_path), c->path);
    if (unlink(c->path) < 0 && errno != ENOENT)
        return diag_errno(d, errno, "%s: cannot remove the old one", c->path);
    if (bind(c->listen_fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || lchown(c->path, c->p.gateway_uid, c->p.gateway_gid) < 0 ||
        chmod(c->path, 0600) < 0 || listen(c->listen_fd, 4) < 0)
        return diag_errno(d, errno, "%s: cannot listen", c->path);
    return 0;
}

static void push_account(void *owner, const struct record_head *rec)
{
    control_push(owner, rec);
}

static void reply_account(void *owner, uint64_t client, const struct record_head *rec)
{
    control_reply(owner, client, rec, -1);
}

int control_open_accounts(struct control *c, struct diag *d)
{
    const struct accounts_parts parts = {.state = c->p.config->state, .loop = c->p.loop, .push = push_account, .reply = reply_account, .owner = c};

    return accounts_open(&parts, &c->accounts, d);
}

int control_new(const struct control_parts *parts, struct control **ret, struct diag *d)
{
    struct control *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return diag_set(d, ENOMEM, "out of memory");
    c->p = *parts;
    c->conn_fd = -1;
    c->client = 1;
    c->tail = &c->head;
    c->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    r = c->listen_fd < 0 ? diag_errno(d, errno, "cannot make the runner's socket") : bind_socket(c, d);
    if (r == 0)
        r = loop_watch(parts->loop, &c->listen_watch, c->listen_fd, EPOLLIN, on_listener, c);
    if (r < 0) {
        control_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

void control_set_manager(struct control *c, struct manager *m)
{
    c->manager = m;
}

void control_free(struct control *c)
{
    if (!c)
        return;
    c->manager = NULL;
    disconnect(c, "the runner ends");
    accounts_close(c->accounts);
    loop_unwatch(&c->listen_watch);
    fd_close(c->listen_fd);
    if (c->path[0])
        unlink(c->path);
    free(c);
}
