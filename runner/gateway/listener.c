/* listener.c: accepting. Out of descriptors, or at the bound of connections, it rests for a moment: who waits in the backlog is served late rather than refused. */
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

static void pause_listener(struct listener *l)
{
    loop_modify(&l->watch, 0);
    loop_arm_in(l->worker->loop, &l->pause, PAUSE_NS);
}

static void on_pause_over(struct timer *t)
{
    struct listener *l = t->owner;

    loop_modify(&l->watch, EPOLLIN);
}

static void on_connection(struct watch *w, uint32_t events)
{
    struct listener *l = w->owner;

    for (int i = 0; i < ACCEPT_TURN; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof(peer);
        int fd;

        if (atomic_load_explicit(&l->worker->picture.gateway->connections, memory_order_relaxed) >= l->worker->conns_max + reserved[l->type.kind]) {
            shared_add(&picture_slot(&l->worker->picture)->refused[REFUSED_FULL], 1);
            pause_listener(l);
            return;
        }
        fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_listener(l);
            return;
        }
        conn_new(l->worker, fd, l->type, &peer);
    }
}

int listener_open(struct listener *l, struct worker *w, int fd, struct listener_type type, struct diag *d)
{
    const int one = 1;
    int r = fd_set_nonblock(fd, 1);

    if (r < 0)
        return diag_errno(d, -r, "listener %d", fd);
    if (type.kind != LISTENER_API) /* what is accepted inherits it: one system call less a connection */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *l = (struct listener){.worker = w, .fd = fd, .type = type, .pause = {.on_expire = on_pause_over, .owner = l}};
    r = loop_watch(w->loop, &l->watch, fd, EPOLLIN, on_connection, l);
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
