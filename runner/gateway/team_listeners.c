/*
 * team_listeners.c: which worker serves which listener.
 *
 * Listeners of one kind at one address are a group: one per thread where the runner made them (SO_REUSEPORT: the kernel deals connections out), a single one where systemd did. As many as workers or more: each worker has its
 * own. Fewer: several workers share one, each in its own epoll (EPOLLEXCLUSIVE), and deal out what they accept. Nothing is left unserved either way. The admin listener and the API's are worker 0's.
 */
#include "team_private.h"

#include "diag.h"
#include "fd.h"
#include "http/http.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool same_group(const struct team_listener *a, const struct team_listener *b)
{
    struct sockaddr_storage addrs[2] = {0};
    socklen_t lens[2] = {sizeof(addrs[0]), sizeof(addrs[1])};

    if (a->type.kind != b->type.kind || a->type.tls != b->type.tls)
        return false;
    if (getsockname(a->fd, (struct sockaddr *)&addrs[0], &lens[0]) < 0 || getsockname(b->fd, (struct sockaddr *)&addrs[1], &lens[1]) < 0)
        return false;
    return lens[0] == lens[1] && memcmp(&addrs[0], &addrs[1], lens[0]) == 0;
}

/* Place of listener j in its group, and the group's size. */
static unsigned place_in_group(const struct team *t, unsigned j, unsigned *ret_size)
{
    unsigned place = 0, size = 0;

    for (unsigned i = 0; i < t->nlisteners; i++) {
        if (!same_group(&t->listeners[i], &t->listeners[j]))
            continue;
        place += i < j;
        size++;
    }
    *ret_size = size;
    return place;
}

static void give(struct member *m, const struct team_listener *l, bool shared)
{
    struct team_listener *grown = realloc(m->listeners, (m->nlisteners + 1) * sizeof(*grown));
    int fd = grown ? fcntl(l->fd, F_DUPFD_CLOEXEC, 0) : -1;

    if (grown)
        m->listeners = grown;
    if (fd < 0)
        log_msg(LOG_ERR, "a listener is not served by a worker", "worker=%u error=\"%s\"", m->number, strerror(grown ? errno : ENOMEM));
    else
        m->listeners[m->nlisteners++] = (struct team_listener){.fd = fd, .type = l->type, .shared = shared};
}

void team_share_listeners(struct team *t)
{
    const unsigned n = t->gateway->workers > 0 ? t->gateway->workers : 1;

    for (unsigned j = 0; j < t->nlisteners; j++) {
        const struct team_listener *l = &t->listeners[j];
        unsigned size, place = place_in_group(t, j, &size);

        if (l->type.kind != LISTENER_PUBLIC)
            give(&t->members[0], l, false);
        else if (size >= n)
            give(&t->members[place % n], l, false);
        else
            for (unsigned i = place; i < n; i += size)
                give(&t->members[i], l, place + size < n);
    }
}

void team_serve_listeners(struct team *t, unsigned number)
{
    struct member *m = &t->members[number];
    struct diag d = {0};

    worker_unlisten(m->worker);
    for (unsigned i = 0; i < m->nlisteners; i++)
        if (worker_listen(m->worker, take_fd(&m->listeners[i].fd), m->listeners[i].type, m->listeners[i].shared, &d) < 0)
            log_diag(LOG_ERR, "a listener is not served", &d, "worker=%u", number);
    for (unsigned i = 0; i < t->nlisteners; i++)
        t->listeners[i].fd = fd_close(t->listeners[i].fd);
    t->nlisteners = 0;
}

struct connection_letter {
    struct letter letter;
    struct member *to;
    int fd;
    struct listener_type type;
    struct sockaddr_storage peer;
};

static void connection_lost(struct letter *l)
{
    struct connection_letter *m = (struct connection_letter *)l;

    fd_close(m->fd);
    shared_connection_gone(m->to->team->gateway, m->to->number);
    free(m);
}

static void read_connection(struct letter *l)
{
    struct connection_letter *m = (struct connection_letter *)l;
    struct worker *w = m->to->worker;

    if (conn_new(w, take_fd(&m->fd), m->type, &m->peer) < 0)
        shared_connection_gone(m->to->team->gateway, m->to->number);
    free(m);
}

void team_give_connection(struct worker *w, unsigned number, int fd, struct listener_type type, const struct sockaddr_storage *peer)
{
    struct member *to = &w->team->members[number];
    struct connection_letter *m = malloc(sizeof(*m));

    if (!m) {
        fd_close(fd);
        shared_connection_gone(w->picture.gateway, number);
        return;
    }
    *m = (struct connection_letter){.letter = {.read = read_connection, .unread = connection_lost}, .to = to, .fd = fd, .type = type, .peer = *peer};
    mailbox_post(&to->box, &m->letter);
}

/* What the runner is told. */
static void note_port(struct record_listening *rec, int fd)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);
    uint16_t port;

    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0 || (sa.ss_family != AF_INET && sa.ss_family != AF_INET6))
        return;
    port = ntohs(sa.ss_family == AF_INET ? ((struct sockaddr_in *)&sa)->sin_port : ((struct sockaddr_in6 *)&sa)->sin6_port);
    for (uint32_t i = 0; i < rec->count; i++)
        if (rec->ports[i] == port)
            return;
    if (rec->count < RECORD_PORTS_MAX)
        rec->ports[rec->count++] = port;
}

int team_listen(struct team *t, int fd, struct listener_type type, struct diag *d)
{
    cleanup_fd int owned = fd, mine = -1;

    if (t->nlisteners == WORKER_LISTENERS_MAX)
        return diag_set(d, ENOSPC, "more than %d listeners", WORKER_LISTENERS_MAX);
    mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (mine < 0)
        return diag_errno(d, errno, "listener %d", fd);
    note_port(&t->gateway->listening, mine);
    t->listeners[t->nlisteners++] = (struct team_listener){.fd = take_fd(&owned), .type = type};
    return worker_listen(t->first, take_fd(&mine), type, false, d);
}

void team_forget_listeners(struct team *t)
{
    for (unsigned i = 0; i < t->nlisteners; i++)
        fd_close(t->listeners[i].fd);
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        for (unsigned k = 0; k < t->members[i].nlisteners; k++)
            fd_close(t->members[i].listeners[k].fd);
        free(t->members[i].listeners);
    }
}
