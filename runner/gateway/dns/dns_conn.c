/*
 * dns_conn.c: a client's TCP connection (RFC 7766): a length of two bytes before each message, any number of queries one after the other.
 *
 * One query at a time, and the next one is read when the answer before is out: so a connection holds one answer at most, whatever its client sends and does not read. Within CONN_IDLE_NS each must be over. Whoever calls
 * dns_handle() or dns_conn_reply() must not touch the connection afterwards: it may be gone.
 */
#include "dns_private.h"

#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define CONN_IDLE_NS (10 * NS_PER_SEC)

void dns_conn_close(struct dns_conn *c)
{
    if (c->query)
        dns_query_free(c->query);
    *c->prev = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->client->nconns--;
    c->dns->nconns--;
    loop_unwatch(&c->watch);
    loop_disarm(&c->idle);
    loop_disarm(&c->again);
    fd_close(c->fd);
    free(c->out);
    free(c);
}

/* Bytes of the message at the front of the buffer, its length too; 0: not whole yet. */
static size_t message_len(const struct dns_conn *c)
{
    size_t len = 2;

    if (c->in_len >= 2)
        len += (size_t)c->in[0] << 8 | c->in[1];
    return c->in_len >= 2 && len <= c->in_len ? len : 0;
}

static void take_message(struct dns_conn *c)
{
    struct dns_source from = {.client = c->client, .bridge = c->bridge, .fd = -1, .conn = c};
    size_t len = message_len(c);
    uint8_t msg[sizeof(c->in)];

    memcpy(msg, c->in, len);
    memmove(c->in, c->in + len, c->in_len - len);
    c->in_len -= len;
    loop_modify(&c->watch, 0);
    dns_handle(c->dns, &from, msg + 2, len - 2);
}

static void go_on(struct dns_conn *c)
{
    if (message_len(c))
        take_message(c);
    else if (c->in_len == sizeof(c->in) || (c->in_len >= 2 && 2 + ((size_t)c->in[0] << 8 | c->in[1]) > sizeof(c->in)))
        dns_conn_close(c); /* no query is that long */
    else
        loop_modify(&c->watch, EPOLLIN);
}

static void on_again(struct timer *t)
{
    go_on(t->owner);
}

static void on_idle(struct timer *t)
{
    dns_conn_close(t->owner);
}

static void conn_read(struct dns_conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        dns_conn_close(c);
        return;
    }
    c->in_len += (size_t)n;
    go_on(c);
}

/* When all is out, what was read already goes on in a turn of its own: a call from here would nest as deep as the client likes. */
static void conn_write(struct dns_conn *c)
{
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        dns_conn_close(c);
        return;
    }
    c->out_at += n > 0 ? (size_t)n : 0;
    if (c->out_at < c->out_len) {
        loop_modify(&c->watch, EPOLLOUT);
        return;
    }
    free(c->out);
    c->out = NULL;
    loop_modify(&c->watch, 0);
    if (loop_arm_in(c->dns->loop, &c->idle, CONN_IDLE_NS) < 0 || loop_arm_in(c->dns->loop, &c->again, 0) < 0)
        dns_conn_close(c);
}

static void on_event(struct watch *w, uint32_t events)
{
    struct dns_conn *c = w->owner;

    if (c->out)
        conn_write(c);
    else if (c->query || !(events & EPOLLIN)) /* gone, while it waits for its answer */
        dns_conn_close(c);
    else
        conn_read(c);
}

void dns_conn_reply(struct dns_conn *c, const uint8_t *msg, size_t len)
{
    c->out = msg ? malloc(2 + len) : NULL;
    if (!msg || !c->out || loop_arm_in(c->dns->loop, &c->idle, CONN_IDLE_NS) < 0) {
        dns_conn_close(c);
        return;
    }
    c->out[0] = (uint8_t)(len >> 8);
    c->out[1] = (uint8_t)len;
    memcpy(c->out + 2, msg, len);
    c->out_len = 2 + len;
    c->out_at = 0;
    conn_write(c);
}

void dns_conn_new(struct dns *d, uint32_t bridge, struct dns_client *client, int fd)
{
    struct dns_conn *c = NULL;

    if (client->nconns < DNS_CLIENT_CONNS && d->nconns < DNS_CONNS_MAX)
        c = calloc(1, sizeof(*c));
    if (!c) {
        fd_close(fd);
        return;
    }
    c->dns = d;
    c->client = client;
    c->bridge = bridge;
    c->fd = fd;
    c->idle = (struct timer){.on_expire = on_idle, .owner = c};
    c->again = (struct timer){.on_expire = on_again, .owner = c};
    c->next = client->conns;
    c->prev = &client->conns;
    if (c->next)
        c->next->prev = &c->next;
    client->conns = c;
    client->nconns++;
    d->nconns++;
    if (loop_watch(d->loop, &c->watch, fd, EPOLLIN, on_event, c) < 0 || loop_arm_in(d->loop, &c->idle, CONN_IDLE_NS) < 0)
        dns_conn_close(c);
}
