/* The DNS forwarder over TCP: from clients, to resolvers, and what bounds it. */
#include "dns_asking.h"

static int connected(const struct net *n, const char *from)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = addr_of(BRIDGE), .sin_port = htons(n->port)};
    uint16_t port = 0;
    int fd = bound(SOCK_STREAM, from, &port);

    assert_true(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS);
    return fd;
}

static void add_query(struct built *b, unsigned id, const char *name)
{
    struct built q;

    put_question(&q, id, 0x0100, name, DNS_A);
    put16(b, (unsigned)q.len);
    memcpy(b->data + b->len, q.data, q.len);
    b->len += q.len;
}

struct stream {
    int fd;
    unsigned want; /* messages */
    size_t len;
    uint8_t data[32768];
    bool closed;
    struct net *net;
};

static unsigned messages(const struct stream *s, size_t *ret_last)
{
    unsigned n = 0;

    for (size_t at = 0; at + 2 <= s->len && at + 2 + get_count(s->data, (unsigned)at) <= s->len; at += 2U + get_count(s->data, (unsigned)at)) {
        *ret_last = at;
        n++;
    }
    return n;
}

static bool stream_has(void *arg)
{
    struct stream *s = arg;
    ssize_t n = recv(s->fd, s->data + s->len, sizeof(s->data) - s->len, MSG_DONTWAIT);
    size_t last;

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK))
        s->closed = true;
    if (n > 0)
        s->len += (size_t)n;
    return s->closed || (s->want && messages(s, &last) >= s->want);
}

static bool is_connected(void *arg)
{
    struct stream *s = arg;
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);

    return getpeername(s->fd, (struct sockaddr *)&peer, &len) == 0;
}

static void test_tcp(void **state)
{
    struct net n;
    struct stream s = {0};
    struct built b = {0};
    struct dns_question q = question_of("big.example", DNS_A);
    char text[4096];
    size_t last = 0;
    unsigned id = 0;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    assert_string_equal(ask_from(&n, FN, "big.example", DNS_A), "cut"); /* our client asked over UDP; the resolver was asked again over TCP */
    assert_int_equal(n.up.asked_tcp, 1);
    s.fd = connected(&n, FN);
    run_until(n.loop, is_connected, &s);
    add_query(&b, 1, "www.example");
    add_query(&b, 2, "localhost");
    add_query(&b, 3, "big.example");
    for (size_t i = 0; i < 20; i++) /* in pieces */
        assert_int_equal(send(s.fd, b.data + i, 1, 0), 1);
    assert_int_equal(send(s.fd, b.data + 20, b.len - 20, 0), (ssize_t)b.len - 20);
    s.want = 3;
    run_until(n.loop, stream_has, &s);
    assert_int_equal(messages(&s, &last), 3);
    id = get_count(s.data, (unsigned)last + 2);
    assert_int_equal(id, 3);
    answer_text(s.data + last + 2, s.len - last - 2, &q, text, sizeof(text));
    assert_int_equal(strlen(text), 200 * strlen("93.184.216.34 ") - 1);
    assert_int_equal(n.up.asked_tcp, 1); /* from the cache */
    b.len = 0;
    put16(&b, 5000); /* no query is that long */
    assert_int_equal(send(s.fd, b.data, 2, 0), 2);
    s.want = 0;
    run_until(n.loop, stream_has, &s);
    assert_true(s.closed);
    assert_int_equal(n.dns->nconns, 0);
    fd_close(s.fd);
    net_end(&n);
}

static void test_tcp_bounds(void **state)
{
    struct net n;
    struct stream s[DNS_CLIENT_CONNS + 1] = {0}, stranger = {0};
    struct built b = {0};
    struct gw_instance *i;

    net_start(&n);
    i = net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    stranger.fd = connected(&n, "127.0.4.9");
    run_until(n.loop, stream_has, &stranger);
    assert_true(stranger.closed);
    for (unsigned k = 0; k < COUNT(s); k++) {
        s[k].fd = connected(&n, FN);
        run_until(n.loop, is_connected, &s[k]);
    }
    run_until(n.loop, stream_has, &s[DNS_CLIENT_CONNS]);
    assert_true(s[DNS_CLIENT_CONNS].closed);
    assert_int_equal(n.dns->nconns, DNS_CLIENT_CONNS);
    add_query(&b, 1, "silent.example");
    assert_int_equal(send(s[0].fd, b.data, b.len, 0), (ssize_t)b.len);
    s[1].want = 1;
    b.len = 0;
    add_query(&b, 2, "localhost");
    assert_int_equal(send(s[1].fd, b.data, b.len, 0), (ssize_t)b.len);
    run_until(n.loop, stream_has, &s[1]);
    assert_int_equal(n.dns->nqueries, 1);
    dns_instance_gone(n.dns, i);
    assert_int_equal(n.dns->nqueries, 0);
    assert_int_equal(n.dns->nconns, 0);
    for (unsigned k = 0; k < COUNT(s); k++)
        fd_close(s[k].fd);
    fd_close(stranger.fd);
    net_end(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tcp), cmocka_unit_test(test_tcp_bounds)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
