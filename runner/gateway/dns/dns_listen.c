/* dns_listen.c: the sockets at the bridges' addresses, which the runner made. Who asks is believed by his address alone, so a stranger's packet ends here. */
#include "dns_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#define UDP_TURN    64
#define ACCEPT_TURN 16
#define PAUSE_NS    (50 * NS_PER_MS)
#define QUERY_MAX   1024U /* a name and some options */

static void on_datagrams(struct watch *w, uint32_t events)
{
    struct dns_listener *l = w->owner;
    struct dns *d = l->dns;
    uint8_t buf[QUERY_MAX];

    for (int i = 0; i < UDP_TURN && l->fd >= 0; i++) {
        struct dns_source from = {.bridge = l->addr, .fd = l->fd};
        socklen_t len = sizeof(from.peer);
        ssize_t n = recvfrom(l->fd, buf, sizeof(buf), MSG_TRUNC, (struct sockaddr *)&from.peer, &len);

        if (n < 0)
            return;
        from.client = from.peer.sin_family == AF_INET ? dns_client_find(&d->clients, from.peer.sin_addr.s_addr) : NULL;
        if (from.client && (size_t)n <= sizeof(buf))
            dns_handle(d, &from, buf, (size_t)n);
        else
            shared_add(&d->results[DNS_DROPPED], 1);
    }
}

static void on_pause_over(struct timer *t)
{
    struct dns_listener *l = t->owner;

    loop_modify(&l->watch, EPOLLIN);
}

static void on_connections(struct watch *w, uint32_t events)
{
    struct dns_listener *l = w->owner;
    struct dns *d = l->dns;

    for (int i = 0; i < ACCEPT_TURN; i++) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof(peer);
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct dns_client *client;

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            loop_modify(&l->watch, 0);
            loop_arm_in(d->loop, &l->pause, PAUSE_NS);
        }
        if (fd < 0)
            return;
        client = peer.sin_family == AF_INET ? dns_client_find(&d->clients, peer.sin_addr.s_addr) : NULL;
        if (client)
            dns_conn_new(d, l->addr, client, fd);
        else
            fd_close(fd);
    }
}

static void know_bridges(struct dns *d)
{
    d->nbridges = 0;
    for (unsigned i = 0; i < DNS_LISTENERS_MAX; i++) {
        unsigned at = 0;

        while (at < d->nbridges && d->bridges[at] != d->listeners[i].addr)
            at++;
        if (d->listeners[i].fd >= 0 && at == d->nbridges)
            d->bridges[d->nbridges++] = d->listeners[i].addr;
    }
}

/* Answers that are still to come go out on a socket that is not ours any more: nowhere, and the client asks again. */
static void end_queries(struct dns *d, int fd)
{
    for (unsigned i = 0; i < DNS_CLIENT_BUCKETS; i++)
        for (struct dns_client *c = d->clients.buckets[i]; c; c = c->next)
            dns_client_end_queries(c, fd);
}

static void close_listener(struct dns_listener *l)
{
    if (l->fd < 0)
        return;
    if (l->kind == RECORD_LISTENER_DNS_UDP)
        end_queries(l->dns, l->fd);
    loop_unwatch(&l->watch);
    loop_disarm(&l->pause);
    l->fd = fd_close(l->fd);
}

static struct dns_listener *find_place(struct dns *d, const struct record_listener *rec)
{
    struct dns_listener *unused = NULL;

    for (unsigned i = 0; i < DNS_LISTENERS_MAX; i++) {
        struct dns_listener *l = &d->listeners[i];

        if (l->fd < 0)
            unused = unused ? unused : l;
        else if (l->kind == rec->kind && l->addr == rec->addr && l->port == rec->port)
            return l;
    }
    return unused;
}

int dns_listen(struct dns *d, const struct record_listener *rec, int fd, struct diag *diag)
{
    cleanup_fd int owned = fd;
    struct dns_listener *l = find_place(d, rec);
    int r;

    if (d->stopped)
        return 0;
    if (!l)
        return diag_set(diag, ENOSPC, "more than %u sockets for DNS", DNS_LISTENERS_MAX);
    close_listener(l);
    r = fd_set_nonblock(fd, 1);
    *l = (struct dns_listener){.dns = d, .fd = -1, .kind = rec->kind, .addr = rec->addr, .port = rec->port, .heard = true};
    l->pause = (struct timer){.on_expire = on_pause_over, .owner = l};
    if (r == 0)
        r = loop_watch(d->loop, &l->watch, fd, EPOLLIN, rec->kind == RECORD_LISTENER_DNS_TCP ? on_connections : on_datagrams, l);
    if (r < 0)
        return diag_errno(diag, -r, "socket for DNS");
    l->fd = take_fd(&owned);
    know_bridges(d);
    return 0;
}

void dns_on_welcome(struct dns *d)
{
    for (unsigned i = 0; i < DNS_LISTENERS_MAX; i++)
        d->listeners[i].heard = false;
    for (struct gw_function *f = d->picture->functions; f; f = f->next)
        dns_listed_doubt(f->dns);
}

void dns_on_synced(struct dns *d)
{
    for (unsigned i = 0; i < DNS_LISTENERS_MAX; i++)
        if (!d->listeners[i].heard)
            close_listener(&d->listeners[i]);
    know_bridges(d);
}

void dns_listeners_init(struct dns *d)
{
    for (unsigned i = 0; i < DNS_LISTENERS_MAX; i++)
        d->listeners[i] = (struct dns_listener){.dns = d, .fd = -1};
}

void dns_listeners_close(struct dns *d)
{
    for (unsigned i = 0; i < DNS_LISTENERS_MAX; i++)
        close_listener(&d->listeners[i]);
}
