/*
 * bridge_listener.c: listeners at the addresses of bridges. The runner makes the sockets (the ports need privilege, the bridges come and go) and passes them with RECORD_LISTENER; a function reaches the gateway there as
 * http://gateway:8888/. They are as public as the public listener: the API is not on them.
 *
 * A runner that was started anew brings new sockets for the same places: each replaces the older one. Until it says SYNCED, the older ones go on accepting.
 */
#include "worker.h"

#include "diag.h"
#include "dns/dns.h"
#include "fd.h"
#include "log.h"

#include <arpa/inet.h>
#include <errno.h>

void bridge_listener_init(struct worker *w)
{
    for (unsigned i = 0; i < WORKER_BRIDGES_MAX; i++)
        w->bridges[i].listener.fd = -1;
}

/* The one at this address, or a free one; NULL. */
static struct bridge_listener *find_place(struct worker *w, const struct record_listener *rec)
{
    struct bridge_listener *unused = NULL;

    for (unsigned i = 0; i < WORKER_BRIDGES_MAX; i++) {
        struct bridge_listener *b = &w->bridges[i];

        if (b->listener.fd < 0)
            unused = unused ? unused : b;
        else if (b->addr == rec->addr && b->port == rec->port && b->index == rec->index)
            return b;
    }
    return unused;
}

static int listen_public(struct worker *w, const struct record_listener *rec, int *fd, struct diag *d)
{
    struct bridge_listener *b = find_place(w, rec);
    int r;

    if (!b)
        return diag_set(d, ENOSPC, "more than %d bridges", WORKER_BRIDGES_MAX);
    listener_close(&b->listener);
    r = listener_open(&b->listener, w, *fd, (struct listener_type){.kind = LISTENER_PUBLIC, .inner = true}, false, d);
    if (r < 0)
        return r;
    *fd = -1;
    b->addr = rec->addr;
    b->port = rec->port;
    b->index = rec->index;
    b->heard = true;
    return 0;
}

void worker_bridge_listener(struct worker *w, const struct record_listener *rec, int fd)
{
    cleanup_fd int owned = fd;
    char addr[INET_ADDRSTRLEN];
    struct diag d = {0};
    int r = 0;

    if (w->stopping)
        return;
    switch (rec->kind) {
    case RECORD_LISTENER_PUBLIC:
        r = listen_public(w, rec, &owned, &d);
        break;
    case RECORD_LISTENER_DNS_UDP:
    case RECORD_LISTENER_DNS_TCP:
        r = dns_listen(w->dns, rec, take_fd(&owned), &d);
        break;
    default:
        break;
    }
    if (r < 0)
        log_diag(LOG_ERR, "listener at a bridge refused", &d, "addr=%s port=%u", inet_ntop(AF_INET, &rec->addr, addr, sizeof(addr)), rec->port);
}

void bridge_listener_on_welcome(struct worker *w)
{
    for (unsigned i = 0; i < WORKER_BRIDGES_MAX; i++)
        w->bridges[i].heard = false;
}

void bridge_listener_on_synced(struct worker *w)
{
    for (unsigned i = 0; i < WORKER_BRIDGES_MAX; i++)
        if (w->bridges[i].listener.fd >= 0 && !w->bridges[i].heard)
            listener_close(&w->bridges[i].listener);
}

void bridge_listener_close_all(struct worker *w)
{
    for (unsigned i = 0; i < WORKER_BRIDGES_MAX; i++)
        if (w->bridges[i].listener.fd >= 0)
            listener_close(&w->bridges[i].listener);
}
