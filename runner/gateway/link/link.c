/*
 * link.c: the gateway's end of the runner protocol (record.h). Owns the socket, its reconnecting, and the requests under way. Knows nothing of what the
 * records mean, but for HELLO, WELCOME and REPLY.
 *
 * States: closed (fd -1, the retry timer armed), greeted (connected, HELLO sent), up (WELCOME came). Whatever breaks the connection is noticed in one
 * place, on_socket(), in a turn of its own: a send that fails inside somebody's call returns the error to him and leaves the rest to the hang-up event,
 * so nobody's callback runs inside his own call into this file.
 *
 * Nothing blocks, and nothing grows without bound when the runner does not read: requests are refused when LINK_OUT_REQUESTS records wait. Reports and
 * DEPLOY_END must not get lost while the connection lives, so they may wait beyond that, up to LINK_OUT_MAX; a runner that lets even those pile up is
 * hung up on, and the next snapshot tells both sides the truth.
 */
#include "link_private.h"

#include "clock.h"
#include "fd.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LINK_RETRY_NS     (100 * NS_PER_MS)
#define LINK_BATCH        64 /* records taken in one turn, so that a snapshot of thousands does not hold up the requests */
#define LINK_OUT_REQUESTS 256U
#define LINK_OUT_MAX      16384U

void link_fail_pending(struct link *l)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, 0)};
    struct link_pending p;

    diag_set(&rec.diag, ECONNRESET, LINK_REPLY_LOST);
    while (link_table_remove_any(&l->pending, &p)) {
        rec.head.id = p.id;
        p.on_reply(p.arg, &rec.head, -1);
    }
}

static void link_down(struct link *l, const struct diag *d)
{
    bool was_up = l->up;

    l->paused = false;
    if (was_up || !l->complained)
        log_diag(LOG_WARNING, "runner link down", d, "path=%s", l->addr.sun_path);
    l->complained = true;
    l->up = false;
    loop_unwatch(&l->watch);
    l->fd = fd_close(l->fd);
    link_out_clear(&l->out);
    if (!l->stays_down)
        loop_arm_in(l->loop, &l->retry, LINK_RETRY_NS);
    link_fail_pending(l);
    if (was_up)
        l->events.on_down(l->owner);
}

static int on_welcome(struct link *l, const struct record_welcome *rec, struct diag *d)
{
    if (rec->protocol != RECORD_PROTOCOL)
        return diag_set(d, EPROTO, "the runner speaks protocol %u, this gateway %u: restart the older of the two", rec->protocol, RECORD_PROTOCOL);
    if (!l->up)
        log_msg(LOG_INFO, "runner link up", "path=%s runner=%s", l->addr.sun_path, rec->runner_version);
    l->up = true;
    l->complained = false;
    return 0;
}

/* To somebody who may have lost interest. */
void link_answer(struct link *l, const struct record_head *rec, int fd)
{
    struct link_pending reply;
    const struct link_pending *p;

    if (rec->type == RECORD_REPLY) {
        if (link_table_remove(&l->pending, rec->id, &reply))
            reply.on_reply(reply.arg, rec, fd);
        else
            fd_close(fd);
        return;
    }
    p = link_table_find(&l->pending, rec->id);
    if (p)
        p->on_reply(p->arg, rec, -1);
}

static void on_answer(struct link *l, struct record_head *rec, int fd)
{
    cleanup_fd int owned = fd;

    if (rec->type == RECORD_REPLY) {
        diag_clean(&((struct record_reply *)rec)->diag);
        if (l->events.hold && l->events.hold(l->owner, (const struct record_reply *)rec, owned)) {
            take_fd(&owned);
            return;
        }
        link_answer(l, rec, take_fd(&owned));
        return;
    }
    link_answer(l, rec, -1);
}

static int dispatch(struct link *l, struct record_head *rec, int fd, struct diag *d)
{
    cleanup_fd int owned = fd;

    switch (rec->type) {
    case RECORD_REPLY:
    case RECORD_TEXT:
    case RECORD_CONFIG:
    case RECORD_IMAGE:
        on_answer(l, rec, take_fd(&owned));
        return 0;
    default:
        break;
    }
    if (rec->type == RECORD_WELCOME) {
        int r = on_welcome(l, (const struct record_welcome *)rec, d);

        if (r < 0)
            return r;
    }
    if (!l->up)
        return diag_set(d, EPROTO, "%s came before welcome", record_name(rec->type));
    if (rec->type != RECORD_LISTENER && rec->type != RECORD_FILE && rec->type != RECORD_SOCKMAP)
        l->events.on_record(l->owner, rec);
    else if (owned < 0)
        return diag_set(d, EPROTO, "%s came without its descriptor", record_name(rec->type));
    else if (l->events.on_descriptor)
        l->events.on_descriptor(l->owner, rec, take_fd(&owned));
    return 0;
}

/* 1: a record was taken; 0: there is none; negative: the connection is over. */
static int receive_one(struct link *l, struct diag *d)
{
    int fd = -1, r;
    unsigned nfds = 0;
    ssize_t n = fd_recv(l->fd, l->buf, sizeof(l->buf), &fd, 1, &nfds, MSG_DONTWAIT);

    if (n == -EAGAIN)
        return 0;
    if (n < 0)
        return diag_errno(d, (int)-n, "receive");
    if (n == 0)
        return diag_set(d, ECONNRESET, "the runner closed the connection");
    r = record_check(l->buf, (size_t)n, 0, d);
    if (r < 0) {
        if (nfds)
            fd_close(fd);
        return r;
    }
    r = dispatch(l, (struct record_head *)l->buf, nfds ? fd : -1, d);
    return r < 0 ? r : 1;
}

static int want_events(struct link *l)
{
    return loop_modify(&l->watch, (l->paused ? 0U : (uint32_t)EPOLLIN) | (l->out.count ? (uint32_t)EPOLLOUT : 0U));
}

static int flush(struct link *l, struct diag *d)
{
    int r = link_out_flush(&l->out, l->fd);

    if (r < 0)
        return diag_errno(d, -r, "send");
    return r == 0 ? want_events(l) : 0;
}

void link_pause(struct link *l, bool pause)
{
    if (l->fd < 0 || l->paused == pause)
        return;
    l->paused = pause;
    want_events(l);
}

static void on_socket(struct watch *w, uint32_t events)
{
    struct link *l = w->owner;
    struct diag d = {0};
    int r = 0;

    /* Reading goes first and to the end: what the runner said before it went away counts. */
    if (events & ~(uint32_t)EPOLLOUT)
        for (int i = 0; i < LINK_BATCH && (!l->paused || events & EPOLLHUP); i++) {
            r = receive_one(l, &d);
            if (r <= 0)
                break;
        }
    if (r >= 0 && (events & EPOLLOUT))
        r = flush(l, &d);
    if (r < 0)
        link_down(l, &d);
}

static int greet(struct link *l, struct diag *d)
{
    struct record_hello hello = {.head = RECORD_INIT(RECORD_HELLO, 0), .protocol = RECORD_PROTOCOL, .pid = (uint32_t)getpid()};
    int r = fd_send(l->fd, &hello, sizeof(hello), NULL, 0, MSG_DONTWAIT);

    return r < 0 ? diag_errno(d, -r, "send hello") : 0;
}

/* connect(2) on a UNIX socket does not wait: it is done, or refused, or EAGAIN while the listener's backlog is full. */
static int link_connect(struct link *l, struct diag *d)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r;

    if (fd < 0)
        return diag_errno(d, errno, "socket");
    if (connect(fd, (const struct sockaddr *)&l->addr, sizeof(l->addr)) < 0)
        return diag_errno(d, errno, "connect");
    r = loop_watch(l->loop, &l->watch, fd, EPOLLIN, on_socket, l);
    if (r < 0)
        return diag_errno(d, -r, "watch");
    l->fd = take_fd(&fd);
    return greet(l, d);
}

static void on_retry(struct timer *t)
{
    struct link *l = t->owner;
    struct diag d = {0};

    if (link_connect(l, &d) < 0)
        link_down(l, &d);
}

int link_open(struct loop *loop, const char *path, const struct link_events *events, void *owner, struct link **ret)
{
    struct link *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->loop = loop;
    l->events = *events;
    l->owner = owner;
    l->fd = -1;
    l->addr.sun_family = AF_UNIX;
    l->retry.on_expire = on_retry;
    l->retry.owner = l;
    r = str_copy(l->addr.sun_path, sizeof(l->addr.sun_path), path);
    if (r == 0)
        r = loop_arm_in(loop, &l->retry, 0);
    if (r < 0) {
        free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    if (l->real)
        stub_forget_all(l);
    loop_disarm(&l->retry);
    loop_unwatch(&l->watch);
    l->fd = fd_close(l->fd);
    l->up = false;
    link_out_clear(&l->out);
    link_fail_pending(l);
    served_clear(l);
    free(l);
}

void link_stay_down(struct link *l)
{
    l->stays_down = true;
    loop_disarm(&l->retry);
}

bool link_is_up(const struct link *l)
{
    return l->real ? l->real->up : l->up;
}

void link_hang_up(struct link *l)
{
    if (l->fd >= 0)
        shutdown(l->fd, SHUT_RDWR);
}

/* Sends at once or queues behind what waits already; never blocks, never calls back. */
static int transmit(struct link *l, const struct record_head *rec, int fd, unsigned limit)
{
    int r = record_check(rec, rec->size, 1, NULL);

    if (r < 0)
        return r;
    if (!l->up)
        return -ENOTCONN;
    if (l->out.count == 0) {
        r = fd_send(l->fd, rec, rec->size, &fd, fd >= 0, MSG_DONTWAIT);
        if (r != -EAGAIN)
            return r == -EPIPE ? -ECONNRESET : r;
    }
    if (l->out.count >= limit)
        return -ENOBUFS;
    r = link_out_push(&l->out, rec, rec->size, fd);
    if (r == 0 && l->out.count == 1)
        r = want_events(l);
    return r;
}

/* For records that must not get lost on a living connection. The hang-up event that follows shutdown(2) does the rest. */
int link_transmit_sure(struct link *l, const struct record_head *rec)
{
    int r = transmit(l, rec, -1, LINK_OUT_MAX);

    if (r < 0 && l->up)
        link_hang_up(l);
    return r;
}

void link_report(struct link *l, uint32_t type, uint64_t instance, const char *text)
{
    struct record_report rec = {.head = RECORD_INIT(type, 0), .instance = instance};
    size_t len = text ? strlen(text) : 0;

    if (len >= sizeof(rec.text))
        len = sizeof(rec.text) - 1;
    if (len)
        memcpy(rec.text, text, len);
    if (l->real)
        stub_report(l, &rec.head);
    else
        link_transmit_sure(l, &rec.head);
}

int link_request(struct link *l, struct record_head *rec, int fd, link_reply_fn *on_reply, void *arg, uint64_t *ret_id)
{
    uint64_t id = l->last_id + 1;
    int r;

    if (l->real)
        return stub_request(l, rec, fd, on_reply, arg, ret_id);
    rec->id = id;
    r = link_table_add(&l->pending, id, on_reply, arg);
    if (r < 0)
        return r;
    r = transmit(l, rec, fd, LINK_OUT_REQUESTS);
    if (r < 0) {
        link_table_remove(&l->pending, id, NULL);
        return r;
    }
    l->last_id = id;
    if (ret_id)
        *ret_id = id;
    return 0;
}

int link_send(struct link *l, const struct record_head *rec)
{
    return l->real ? stub_send(l, rec) : link_transmit_sure(l, rec);
}

void link_forget(struct link *l, uint64_t id)
{
    if (l->real)
        stub_forget(l, id);
    link_table_remove(&l->pending, id, NULL);
}
