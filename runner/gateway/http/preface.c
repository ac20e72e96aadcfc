/*
 * preface.c: whose connection it is, and what comes before HTTP: the header of the PROXY protocol. It is read from the bare descriptor, and not one byte more: TLS may begin right behind it. Until it is there the
 * connection is the proxy's, which is not counted.
 */
#include "http.h"

#include "../worker.h"
#include "proxy_header.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* A proxy sends it with its first bytes: there is nothing to wait for but the network. */
#define HEADER_NS (5 * NS_PER_SEC)

bool conn_from_proxy(const struct conn *c)
{
    const struct ip_nets *proxies = &c->worker->picture.settings.trusted_proxies;

    return proxies->count > 0 && c->has_address && ip_nets_hold(proxies, &c->address);
}

/* Of the listener for functions only, and of those that are no proxy: a proxy's connections are many clients'. -EUSERS: it has its share. */
static int count_client(struct conn *c)
{
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6};
    struct sockaddr_storage peer = {0};

    if (c->listener != LISTENER_PUBLIC || !c->has_address || conn_from_proxy(c))
        return 0;
    memcpy(&addr.sin6_addr, c->address.b, sizeof(c->address.b));
    memcpy(&peer, &addr, sizeof(addr));
    c->peer = clients_take(c->worker->picture.gateway->clients, &peer, c->worker->client_conns_max);
    return c->peer ? 0 : -EUSERS;
}

static void set_address(struct conn *c, const struct ip *address)
{
    c->has_address = true;
    c->address = *address;
    ip_format(address, c->client);
}

static void count_refused(const struct conn *c, enum gateway_refusal why)
{
    shared_add(&picture_slot(&c->worker->picture)->refused[why], 1);
}

int preface_begin(struct conn *c, struct listener_type type, const struct sockaddr_storage *peer)
{
    const struct settings *s = &c->worker->picture.settings;
    struct ip address;
    int r = 0;

    if (ip_of(peer, &address) == 0)
        set_address(c, &address);
    c->proxy_header_due = s->proxy_protocol && type.kind == LISTENER_PUBLIC && !type.inner;
    if (c->proxy_header_due) {
        c->deadline_ns = HEADER_NS < s->head_timeout_ns ? HEADER_NS : s->head_timeout_ns;
        r = conn_from_proxy(c) ? 0 : -EPERM;
    } else {
        c->deadline_ns = s->head_timeout_ns;
        r = count_client(c);
    }
    if (r < 0)
        count_refused(c, r == -EPERM ? REFUSED_PROXY : REFUSED_CLIENT);
    return r;
}

void preface_on_timeout(const struct conn *c)
{
    if (c->proxy_header_due)
        count_refused(c, REFUSED_PROXY);
}

static void refuse(struct conn *c, enum gateway_refusal why)
{
    count_refused(c, why);
    conn_abort(c);
}

/* The header's bytes are looked at where they are, as often as more of them come: the kernel keeps what is behind them. */
bool preface_run(struct conn *c)
{
    struct proxy_header header;
    char data[PROXY_HEADER_MAX];
    ssize_t have, len;

    if (!c->sock.readable)
        return false;
    have = recv(c->sock.fd, data, sizeof(data), MSG_PEEK);
    if (have < 0 && (errno == EAGAIN || errno == EINTR)) {
        c->sock.readable = errno == EINTR;
        return errno == EINTR;
    }
    if (have <= 0) { /* somebody looked whether the port is open */
        conn_close(c);
        return false;
    }
    len = proxy_header_parse(data, (size_t)have, &header);
    if (len == 0 && !c->sock.ended) {
        c->sock.readable = false; /* until the next edge: new bytes make one, whether or not the older ones were read */
        return false;
    }
    if (len <= 0 || recv(c->sock.fd, data, (size_t)len, 0) != len) {
        refuse(c, REFUSED_PROXY);
        return false;
    }
    c->proxy_header_due = false;
    c->proxied_tls = header.tls;
    if (header.known)
        set_address(c, &header.client);
    if (count_client(c) < 0) {
        refuse(c, REFUSED_CLIENT);
        return false;
    }
    conn_set_deadline(c, loop_now_ns(c->worker->loop) + c->worker->picture.settings.head_timeout_ns);
    return true;
}
