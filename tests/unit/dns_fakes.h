/* dns_fakes.h: a resolver on loopback that answers by name, instances that ask from addresses of their own, and the runner that opens addresses. All on one loop. */
#pragma once

#include "gateway_fakes.h"

#include "dns_build.h"

#include "../../runner/gateway/dns/dns_private.h"

#define BRIDGE   "127.0.4.1"
#define RESPONSE 0x8180U

static inline uint32_t addr_of(const char *text)
{
    struct in_addr a;

    assert_int_equal(inet_pton(AF_INET, text, &a), 1);
    return a.s_addr;
}

/* A socket of this type at the address; *port: 0, then the one that it got. */
static inline int bound(int type, const char *addr, uint16_t *port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = addr_of(addr), .sin_port = htons(*port)};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    *port = ntohs(sin.sin_port);
    return fd;
}

/* ---- a resolver ---- */

struct upstream {
    struct loop *loop;
    int udp, tcp, conn;
    uint16_t port;
    struct watch udp_watch, tcp_watch, conn_watch;
    unsigned asked, asked_tcp, ids[64];
    uint16_t ports[64];
    unsigned edns;
};

static inline bool asks(const struct dns_query_head *q, const char *name)
{
    char text[DNS_NAME_MAX + 1];

    return dns_name_text(&q->q.name, text) == 0 && strcmp(text, name) == 0;
}

/* 0: no answer. */
static inline size_t upstream_answer(struct upstream *u, const struct dns_query_head *q, bool tcp, struct built *b)
{
    char text[DNS_NAME_MAX + 1];

    assert_int_equal(dns_name_text(&q->q.name, text), 0);
    put_question(b, q->id, RESPONSE, text, q->q.type);
    if (asks(q, "silent.example")) {
        return 0;
    } else if (asks(q, "none.example")) {
        b->data[3] |= DNS_NXDOMAIN;
        put_soa(b, "example", 60, 60);
    } else if (asks(q, "broken.example")) {
        b->data[3] |= DNS_SERVFAIL;
    } else if (asks(q, "old.example") && q->edns_size) {
        b->data[3] |= DNS_FORMERR;
    } else if (asks(q, "inside.example")) {
        put_a(b, NULL, 60, "10.1.2.3");
        put_a(b, NULL, 60, "169.254.169.254");
        put_a(b, NULL, 60, "127.0.0.1");
        put_a(b, NULL, 60, "127.0.4.9");
    } else if (asks(q, "mixed.example")) {
        put_a(b, NULL, 60, "10.1.2.3");
        put_a(b, NULL, 60, "93.184.216.34");
    } else if (asks(q, "big.example")) {
        for (unsigned i = 0; tcp && i < 200; i++)
            put_a(b, NULL, 60, "93.184.216.34");
        if (!tcp)
            b->data[2] |= 2;
    } else if (asks(q, "brief.example")) {
        put_a(b, NULL, 1, "93.184.216.34");
    } else if (q->q.type == DNS_AAAA) {
        put_aaaa(b, NULL, 60, "2606:2800::1");
    } else {
        put_cname(b, NULL, 60, "cdn.example");
        put_a(b, "cdn.example", 60, "93.184.216.34");
        put_a(b, "bank.example", 60, "93.184.216.66");
    }
    return b->len;
}

static inline void upstream_on_udp(struct watch *w, uint32_t events)
{
    struct upstream *u = w->owner;
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    struct dns_query_head q;
    struct built b;
    uint8_t buf[512];
    ssize_t n = recvfrom(u->udp, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &len);

    if (n < 0)
        return;
    assert_int_equal(dns_query_parse(buf, (size_t)n, &q), 0);
    u->ids[u->asked % 64] = q.id;
    u->ports[u->asked++ % 64] = ntohs(peer.sin_port);
    u->edns = q.edns_size;
    if (asks(&q, "forged.example")) { /* before the answer come two that are none */
        put_question(&b, q.id ^ 1U, RESPONSE, "forged.example", DNS_A);
        put_a(&b, NULL, 60, "93.184.216.66");
        sendto(u->udp, b.data, b.len, 0, (struct sockaddr *)&peer, len);
        put_question(&b, q.id, RESPONSE, "other.example", DNS_A);
        put_a(&b, NULL, 60, "93.184.216.66");
        sendto(u->udp, b.data, b.len, 0, (struct sockaddr *)&peer, len);
    }
    if (upstream_answer(u, &q, false, &b))
        sendto(u->udp, b.data, b.len, 0, (struct sockaddr *)&peer, len);
}

static inline void upstream_on_conn(struct watch *w, uint32_t events)
{
    struct upstream *u = w->owner;
    struct dns_query_head q;
    struct built b;
    uint8_t buf[512], head[2];
    ssize_t n = recv(u->conn, buf, sizeof(buf), 0);

    if (n <= 2) {
        loop_unwatch(&u->conn_watch);
        u->conn = fd_close(u->conn);
        return;
    }
    assert_int_equal(dns_query_parse(buf + 2, (size_t)n - 2, &q), 0);
    u->asked_tcp++;
    upstream_answer(u, &q, true, &b);
    head[0] = (uint8_t)(b.len >> 8);
    head[1] = (uint8_t)b.len;
    send(u->conn, head, 1, MSG_NOSIGNAL);
    send(u->conn, head + 1, 1, MSG_NOSIGNAL);
    send(u->conn, b.data, b.len, MSG_NOSIGNAL);
}

static inline void upstream_on_tcp(struct watch *w, uint32_t events)
{
    struct upstream *u = w->owner;

    u->conn = accept4(u->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_int_equal(loop_watch(u->loop, &u->conn_watch, u->conn, EPOLLIN, upstream_on_conn, u), 0);
}

static inline void upstream_start(struct upstream *u, struct loop *loop, const char *addr, uint16_t port)
{
    *u = (struct upstream){.loop = loop, .conn = -1, .port = port};
    u->tcp = bound(SOCK_STREAM, addr, &u->port); /* first: it is TCP's ports that others use up */
    u->udp = bound(SOCK_DGRAM, addr, &u->port);
    assert_int_equal(listen(u->tcp, 4), 0);
    assert_int_equal(loop_watch(loop, &u->udp_watch, u->udp, EPOLLIN, upstream_on_udp, u), 0);
    assert_int_equal(loop_watch(loop, &u->tcp_watch, u->tcp, EPOLLIN, upstream_on_tcp, u), 0);
}

static inline void upstream_end(struct upstream *u)
{
    loop_unwatch(&u->udp_watch);
    loop_unwatch(&u->tcp_watch);
    loop_unwatch(&u->conn_watch);
    u->udp = fd_close(u->udp);
    u->tcp = fd_close(u->tcp);
    u->conn = fd_close(u->conn);
}

/* ---- the whole ---- */

struct net {
    struct loop *loop;
    struct runner runner;
    struct link *link;
    struct picture picture;
    struct dns *dns;
    struct upstream up;
    uint16_t port; /* of the forwarder, UDP and TCP */
    struct record_dns_open open;
    unsigned opens;
    int open_err;
    bool open_silent;
};

static inline void net_on_record(struct runner *r, const struct record_head *rec, int fd)
{
    struct net *n = r->arg;

    fd_close(fd);
    assert_int_equal(rec->type, RECORD_DNS_OPEN);
    n->open = *(const struct record_dns_open *)rec;
    n->opens++;
    if (!n->open_silent)
        runner_reply(r, rec->id, n->open_err, "no room", -1);
}

static inline bool net_linked(void *arg)
{
    return link_is_up(((struct net *)arg)->link);
}

static inline void net_listen(struct net *n, uint32_t kind)
{
    struct record_listener rec = {.head = RECORD_INIT(RECORD_LISTENER, 0), .kind = kind, .addr = addr_of(BRIDGE), .port = n->port};
    struct diag d = {0};
    int fd = bound(kind == RECORD_LISTENER_DNS_UDP ? SOCK_DGRAM : SOCK_STREAM, BRIDGE, &n->port);

    if (kind == RECORD_LISTENER_DNS_TCP)
        assert_int_equal(listen(fd, 16), 0);
    rec.port = n->port;
    assert_int_equal(dns_listen(n->dns, &rec, fd, &d), 0);
}

/* Resolvers at these ports of 127.0.0.1. */
static inline void net_resolvers(struct net *n, const uint16_t *ports, unsigned count)
{
    struct record_resolvers rec = {.head = RECORD_INIT(RECORD_RESOLVERS, 0), .count = count};

    for (unsigned i = 0; i < count; i++) {
        rec.resolvers[i] = (struct record_resolver){.family = AF_INET, .port = ports[i]};
        memcpy(rec.resolvers[i].addr, &(uint32_t){htonl(INADDR_LOOPBACK)}, 4);
    }
    dns_set_resolvers(n->dns, &rec);
}

static inline void net_link_events(void *owner, const struct record_head *rec)
{
}

static inline void net_link_down(void *owner)
{
}

static inline void net_start(struct net *n)
{
    static const struct link_events events = {.on_record = net_link_events, .on_down = net_link_down};

    memset(n, 0, sizeof(*n));
    log_set_level(LOG_CRIT);
    assert_int_equal(loop_new(&n->loop), 0);
    runner_init(&n->runner, n->loop);
    n->runner.arg = n;
    n->runner.on_record = net_on_record;
    runner_listen(&n->runner);
    assert_int_equal(link_open(n->loop, n->runner.path, &events, n, &n->link), 0);
    n->picture.gateway = shared_gateway_new(1);
    assert_non_null(n->picture.gateway);
    assert_int_equal(dns_new(n->loop, n->link, &n->picture, &n->dns), 0);
    upstream_start(&n->up, n->loop, "127.0.0.1", 0);
    net_resolvers(n, &n->up.port, 1);
    net_listen(n, RECORD_LISTENER_DNS_TCP);
    net_listen(n, RECORD_LISTENER_DNS_UDP);
    run_until(n->loop, net_linked, n);
}

static inline void net_end(struct net *n)
{
    for (struct gw_function *f = n->picture.functions; f; f = f->next)
        dns_function_gone(n->dns, f);
    dns_free(n->dns);
    picture_done(&n->picture);
    link_free(n->link);
    upstream_end(&n->up);
    runner_done(&n->runner);
    loop_free(n->loop);
}

/* A function with one READY instance at the address; list: names, by spaces. */
static inline struct gw_instance *net_function(struct net *n, uint64_t number, const char *name, const char *addr, uint32_t egress, bool mesh, const char *list)
{
    struct record_policy rec = {.head = RECORD_INIT(RECORD_POLICY, 0), .function = number, .egress = egress, .mesh = mesh};
    struct gw_function *f = picture_add(&n->picture, number, name, "default");
    struct gw_instance *i = picture_add_instance(&n->picture, f, number, name, INSTANCE_READY);

    while (list && *list) {
        size_t len = strcspn(list, " ");

        memcpy(rec.hosts[rec.nhosts++], list, len);
        list += len + (list[len] == ' ');
    }
    i->rec.addr = addr_of(addr);
    assert_int_equal(dns_set_policy(n->dns, f, &rec), 0);
    assert_int_equal(dns_instance(n->dns, i), 0);
    return i;
}
