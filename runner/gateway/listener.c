/* listener.c: accepting. Out of descriptors, or at the bound of connections, it rests for a moment: who waits in the backlog is served late rather than refused. */
#include "team.h"
#include "worker.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "http/http.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ACCEPT_TURN 64
#define PAUSE_NS    (50 * NS_PER_MS)

/* Places beyond conns_max: strangers on the public listener cannot shut out the admin listener, nor the host's users there the API socket. */
static const unsigned reserved[] = {[LISTENER_PUBLIC] = 0, [LISTENER_ADMIN] = 16, [LISTENER_API] = 32};

static void on_connection(struct watch *w, uint32_t events);

static int watch(struct listener *l)
{
    return loop_watch(l->worker->loop, &l->watch, l->fd, EPOLLIN | (l->shared ? (uint32_t)EPOLLEXCLUSIVE : 0U), on_connection, l);
}

/* Not by loop_modify(): EPOLLEXCLUSIVE cannot be changed (epoll_ctl(2)). */
static void pause_listener(struct listener *l)
{
    loop_unwatch(&l->watch);
    loop_arm_in(l->worker->loop, &l->pause, PAUSE_NS);
}

static void on_pause_over(struct timer *t)
{
    struct listener *l = t->owner;

    if (watch(l) < 0)
        loop_arm_in(l->worker->loop, &l->pause, PAUSE_NS);
}

/* The kernel wakes those who share a listener in always the same order: left to it, one worker would have nearly all connections. So they are dealt out, each to the worker that has the fewest. */
static void place(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    struct worker *w = l->worker;
    unsigned to = shared_connection_place(w->picture.gateway, w->picture.worker, l->shared);

    if (to != w->picture.worker)
        team_give_connection(w, to, fd, l->type, peer);
    else if (conn_new(w, fd, l->type, peer) < 0)
        shared_connection_gone(w->picture.gateway, to);
}

static void on_connection(struct watch *watch, uint32_t events)
{
    struct listener *l = watch->owner;
    struct worker *w = l->worker;

    for (int i = 0; i < ACCEPT_TURN; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof(peer);
        int fd;

        if (!shared_connection_enter(w->picture.gateway, w->conns_max + reserved[l->type.kind])) {
            shared_add(&picture_slot(&w->picture)->refused[REFUSED_FULL], 1);
            pause_listener(l);
            return;
        }
        fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            shared_connection_leave(w->picture.gateway);
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_listener(l);
            return;
        }
        place(l, fd, &peer);
    }
}

int listener_open(struct listener *l, struct worker *w, int fd, struct listener_type type, bool shared, struct diag *d)
{
    const int one = 1;
    int r = fd_set_nonblock(fd, 1);

    if (r < 0)
        return diag_errno(d, -r, "listener %d", fd);
    if (type.kind != LISTENER_API) /* what is accepted inherits it: one system call less a connection */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *l = (struct listener){.worker = w, .fd = fd, .type = type, .shared = shared, .pause = {.on_expire = on_pause_over, .owner = l}};
    r = watch(l);
    if (r < 0) {
        l->fd = -1;
        return diag_errno(d, -r, "listener %d", fd);
    }
    return 0;
}

void listener_close(struct listener *l)
{
    loop_unwatch(&l->watch);
    loop_disarm(&l->pause);
    l->fd = fd_close(l->fd);
}
