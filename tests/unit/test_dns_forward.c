/* The DNS forwarder: who is answered what, when resolvers are asked and believed, and what bounds it. */
#include "dns_fakes.h"

#define FN "127.0.4.2" /* an instance */

struct asking {
    struct net *net;
    int fd;
    struct dns_question q;
    uint8_t answer[65536];
    size_t len;
    unsigned rcode;
    bool cut, until_asked, until_opened;
    unsigned asked; /* of the resolver, before */
    uint64_t since_ns;
};

static bool is_answered(void *arg)
{
    struct asking *a = arg;
    ssize_t n = recv(a->fd, a->answer, sizeof(a->answer), MSG_DONTWAIT);

    if (n > 0)
        a->len = (size_t)n;
    if (a->until_asked && a->net->up.asked > a->asked)
        return true;
    if (a->until_opened && a->net->opens > 0)
        return true;
    return n > 0;
}

static void send_query(struct asking *a, struct net *n, const char *from, const char *name, unsigned type, unsigned edns)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = addr_of(BRIDGE), .sin_port = htons(n->port)};
    uint16_t port = 0;
    struct built b;

    *a = (struct asking){.net = n, .q = question_of(name, type), .asked = n->up.asked, .since_ns = clock_mono_ns()};
    a->fd = bound(SOCK_DGRAM, from, &port);
    put_question(&b, 0x4242, 0x0100, name, type);
    if (edns)
        put_opt(&b, edns, 0);
    assert_int_equal(sendto(a->fd, b.data, b.len, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)b.len);
}

static void finish(struct asking *a, char *ret, size_t size)
{
    assert_int_equal(dns_response_check(a->answer, a->len, 0x4242, &a->q, &a->rcode, &a->cut), 0);
    answer_text(a->answer, a->len, &a->q, ret, size);
    if (a->rcode != DNS_NOERROR)
        snprintf(ret, size, "rcode %u", a->rcode);
    else if (a->cut)
        snprintf(ret, size, "cut");
    a->fd = fd_close(a->fd);
}

/* What the instance at `from` is answered: addresses, "", "cut" or "rcode N". */
static const char *ask_from(struct net *n, const char *from, const char *name, unsigned type)
{
    static char text[4096]; /* mutable: the answer, until the next question */
    struct asking a;

    send_query(&a, n, from, name, type, 1232);
    run_until(n->loop, is_answered, &a);
    finish(&a, text, sizeof(text));
    return text;
}

static uint64_t result(const struct net *n, enum dns_result r)
{
    return n->picture.dns_results[r];
}

static void test_internet(void **state)
{
    struct net n;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34"); /* and not what came along of bank.example */
    assert_int_equal(n.up.edns, DNS_UDP_MAX);
    assert_string_equal(ask_from(&n, FN, "WWW.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.up.asked, 1);
    assert_int_equal(result(&n, DNS_FORWARDED), 1);
    assert_int_equal(result(&n, DNS_CACHED), 1);
    assert_string_equal(ask_from(&n, FN, "bank.example", DNS_A), "93.184.216.66"); /* nothing of it was kept */
    assert_int_equal(n.up.asked, 2);
    assert_string_equal(ask_from(&n, FN, "none.example", DNS_A), "rcode 3");
    assert_string_equal(ask_from(&n, FN, "none.example", DNS_A), "rcode 3");
    assert_int_equal(n.up.asked, 3);
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_AAAA), ""); /* no IPv6: nobody is asked */
    assert_int_equal(n.up.asked, 3);
    assert_string_equal(ask_from(&n, FN, "inside.example", DNS_A), "");
    assert_string_equal(ask_from(&n, FN, "mixed.example", DNS_A), "93.184.216.34");
    assert_string_equal(ask_from(&n, FN, "forged.example", DNS_A), "93.184.216.34");
    assert_string_equal(ask_from(&n, FN, "broken.example", DNS_A), "rcode 2");
    assert_string_equal(ask_from(&n, FN, "old.example", DNS_A), "93.184.216.34"); /* a resolver that knows no EDNS */
    net_end(&n);
}

static void test_policies(void **state)
{
    struct net n;

    net_start(&n);
    net_function(&n, 1, "lan", "127.0.4.2", SPEC_EGRESS_LAN, false, NULL);
    net_function(&n, 2, "none", "127.0.4.3", SPEC_EGRESS_NO, false, NULL);
    assert_string_equal(ask_from(&n, "127.0.4.2", "inside.example", DNS_A), "10.1.2.3");
    assert_string_equal(ask_from(&n, "127.0.4.3", "www.example", DNS_A), "rcode 5");
    assert_string_equal(ask_from(&n, "127.0.4.3", "localhost", DNS_A), "rcode 5");
    assert_string_equal(ask_from(&n, "127.0.4.2", "localhost", DNS_A), "127.0.0.1");
    assert_string_equal(ask_from(&n, "127.0.4.2", "www.example", 252), "rcode 5");
    assert_int_equal(n.up.asked, 1);
    assert_int_equal(result(&n, DNS_RESULT_REFUSED), 3);
    assert_int_equal(result(&n, DNS_LOCAL), 1);
    net_end(&n);
}

/* What one function asked is no hint to another. */
static void test_own_cache(void **state)
{
    struct net n;

    net_start(&n);
    net_function(&n, 1, "a", "127.0.4.2", SPEC_EGRESS_INTERNET, false, NULL);
    net_function(&n, 2, "b", "127.0.4.3", SPEC_EGRESS_INTERNET, false, NULL);
    ask_from(&n, "127.0.4.2", "www.example", DNS_A);
    ask_from(&n, "127.0.4.3", "www.example", DNS_A);
    assert_int_equal(n.up.asked, 2);
    assert_int_equal(result(&n, DNS_CACHED), 0);
    net_end(&n);
}

static void test_stranger(void **state)
{
    struct net n;
    struct asking a;
    struct gw_instance *i;

    net_start(&n);
    i = net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    send_query(&a, &n, "127.0.4.9", "www.example", DNS_A, 0); /* no instance's address */
    ask_from(&n, FN, "localhost", DNS_A);                     /* came later and was answered */
    assert_false(is_answered(&a));
    assert_int_equal(n.up.asked, 0);
    assert_int_equal(result(&n, DNS_DROPPED), 1);
    fd_close(a.fd);
    send_query(&a, &n, FN, "silent.example", DNS_A, 0);
    a.until_asked = true;
    run_until(n.loop, is_answered, &a);
    dns_instance_gone(n.dns, i);
    assert_int_equal(n.dns->nqueries, 0); /* what it asked is gone with it */
    fd_close(a.fd);
    net_end(&n);
}

/* ---- lists ---- */

static void test_list(void **state)
{
    struct net n;

    net_start(&n);
    net_function(&n, 7, "fn", FN, SPEC_EGRESS_LIST, false, "www.example brief.example inside.example");
    assert_string_equal(ask_from(&n, FN, "other.example", DNS_A), "rcode 3");
    assert_string_equal(ask_from(&n, FN, "sub.www.example", DNS_A), "rcode 3");
    assert_string_equal(ask_from(&n, FN, "www.example", 16), "");
    assert_int_equal(n.up.asked, 0);
    assert_int_equal(n.opens, 0);
    assert_string_equal(ask_from(&n, FN, "Www.Example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 1);
    assert_int_equal(n.open.function, 7);
    assert_string_equal(n.open.host, "www.example");
    assert_int_equal(n.open.naddrs, 1);
    assert_int_equal(n.open.naddrs6, 0);
    assert_int_equal(n.open.addrs[0], addr_of("93.184.216.34"));
    assert_int_equal(n.open.ttl_s, 60 + DNS_OPEN_GRACE_S);
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 1); /* the runner knows */
    assert_string_equal(ask_from(&n, FN, "brief.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 2);
    assert_int_equal(n.open.ttl_s, DNS_TTL_LIST_S + DNS_OPEN_GRACE_S);
    assert_string_equal(ask_from(&n, FN, "inside.example", DNS_A), "10.1.2.3"); /* a private address that the list names: yes; the host's own: no */
    assert_int_equal(n.open.naddrs, 1);
    net_end(&n);
}

/* While versions change: an instance of the one with the list lives on beside those that may reach everything. */
static void test_list_beside_internet(void **state)
{
    struct net n;

    net_start(&n);
    net_function(&n, 7, "fn", FN, SPEC_EGRESS_INTERNET, false, "www.example");
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 1);
    assert_string_equal(ask_from(&n, FN, "other.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 1);
    net_end(&n);
}

/* The answer waits for the runner. */
static void test_list_waits(void **state)
{
    struct net n;
    struct asking a;
    char text[64];

    net_start(&n);
    net_function(&n, 7, "fn", FN, SPEC_EGRESS_LIST, false, "www.example");
    n.open_silent = true;
    send_query(&a, &n, FN, "www.example", DNS_A, 0);
    a.until_opened = true;
    run_until(n.loop, is_answered, &a);
    assert_int_equal(n.opens, 1);
    assert_int_equal(a.len, 0);
    assert_string_equal(ask_from(&n, FN, "localhost", DNS_A), "127.0.0.1");
    assert_int_equal(recv(a.fd, text, sizeof(text), MSG_DONTWAIT), -1);
    runner_reply(&n.runner, n.open.head.id, 0, "", -1);
    a.until_opened = false;
    run_until(n.loop, is_answered, &a);
    finish(&a, text, sizeof(text));
    assert_string_equal(text, "93.184.216.34");
    net_end(&n);
}

static void test_list_refused(void **state)
{
    struct net n;
    struct gw_instance *i;

    net_start(&n);
    net_function(&n, 7, "fn", FN, SPEC_EGRESS_LIST, false, "www.example");
    n.open_err = ENOSPC;
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "rcode 2");
    n.open_err = 0;
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 2);
    /* An instance that is new was not there when the address was opened. */
    i = picture_add_instance(&n.picture, n.picture.functions, 8, "new", INSTANCE_STARTING);
    i->rec.addr = addr_of("127.0.4.8");
    assert_int_equal(dns_instance(n.dns, i), 0);
    assert_string_equal(ask_from(&n, "127.0.4.8", "www.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 3);
    /* Without a runner nothing can be opened. */
    loop_unwatch(&n.runner.listen_watch);
    runner_hang_up(&n.runner);
    dns_set_policy(n.dns, n.picture.functions,
                   &(struct record_policy){.head = RECORD_INIT(RECORD_POLICY, 0), .egress = SPEC_EGRESS_LIST, .nhosts = 1, .hosts = {"www.example"}});
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "rcode 2");
    net_end(&n);
}

/* ---- names of ours ---- */

static void test_mesh(void **state)
{
    struct net n;
    char first[64];
    struct gw_instance *i;

    net_start(&n);
    net_function(&n, 1, "front", "127.0.4.2", SPEC_EGRESS_INTERNET, true, NULL);
    net_function(&n, 2, "back", "127.0.4.3", SPEC_EGRESS_NO, true, NULL);
    net_function(&n, 3, "alone", "127.0.4.4", SPEC_EGRESS_INTERNET, false, NULL);
    assert_string_equal(ask_from(&n, "127.0.4.2", "back.fnd.internal", DNS_A), "127.0.4.3");
    assert_string_equal(ask_from(&n, "127.0.4.2", "BACK.default.fnd.internal", DNS_A), "127.0.4.3");
    assert_string_equal(ask_from(&n, "127.0.4.2", "back.other.fnd.internal", DNS_A), "rcode 3");
    assert_string_equal(ask_from(&n, "127.0.4.2", "back.default.x.fnd.internal", DNS_A), "rcode 3");
    assert_string_equal(ask_from(&n, "127.0.4.2", "alone.fnd.internal", DNS_A), "rcode 3"); /* says no mesh: it is not there */
    assert_string_equal(ask_from(&n, "127.0.4.2", "nobody.fnd.internal", DNS_A), "rcode 3");
    assert_string_equal(ask_from(&n, "127.0.4.4", "back.fnd.internal", DNS_A), "rcode 3");
    assert_string_equal(ask_from(&n, "127.0.4.2", "back.fnd.internal", DNS_AAAA), "");
    assert_string_equal(ask_from(&n, "127.0.4.4", "gateway.fnd.internal", DNS_A), BRIDGE);
    assert_string_equal(ask_from(&n, "127.0.4.3", "front.fnd.internal", DNS_A), "127.0.4.2"); /* no egress, but mesh */
    assert_string_equal(ask_from(&n, "127.0.4.3", "www.example", DNS_A), "rcode 5");
    assert_string_equal(ask_from(&n, "127.0.4.2", "fnd.internal", DNS_A), "");
    i = picture_add_instance(&n.picture, n.picture.functions->next, 9, "back-2", INSTANCE_READY);
    i->rec.addr = addr_of("127.0.4.5");
    snprintf(first, sizeof(first), "%s", ask_from(&n, "127.0.4.2", "back.fnd.internal", DNS_A));
    assert_int_equal(strlen(first), strlen("127.0.4.3 127.0.4.5"));
    assert_string_not_equal(ask_from(&n, "127.0.4.2", "back.fnd.internal", DNS_A), first); /* in turns */
    i->rec.state = INSTANCE_DRAINING;
    assert_string_equal(ask_from(&n, "127.0.4.2", "back.fnd.internal", DNS_A), "127.0.4.3");
    assert_int_equal(n.up.asked, 0); /* none of this leaves the host */
    net_end(&n);
}

static void test_special(void **state)
{
    static const struct {
        const char *name;
        unsigned type;
        const char *answer;
    } names[] = {
        {"localhost", DNS_A, "127.0.0.1"},
        {"a.localhost", DNS_A, "127.0.0.1"},
        {"localhost", DNS_AAAA, ""},
        {"a.invalid", DNS_A, "rcode 3"},
        {"a.onion", DNS_A, "rcode 3"},
        {"_dns.resolver.arpa", 64, "rcode 3"},
        {"2.4.0.127.in-addr.arpa", DNS_PTR, "rcode 3"},
        {"1.2.0.10.in-addr.arpa", DNS_PTR, "rcode 3"},
        {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa", DNS_PTR, "rcode 3"},
    };
    struct net n;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(ask_from(&n, FN, names[i].name, names[i].type), names[i].answer);
    assert_int_equal(n.up.asked, 0);
    ask_from(&n, FN, "34.216.184.93.in-addr.arpa", DNS_PTR);
    ask_from(&n, FN, "notlocalhost", DNS_A);
    assert_int_equal(n.up.asked, 2);
    net_end(&n);
}

/* ---- resolvers ---- */

static void test_silent_resolver(void **state)
{
    struct net n;
    uint16_t ports[2], silent = 0;
    int fd;
    uint64_t since_ns;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    fd = bound(SOCK_DGRAM, "127.0.0.1", &silent); /* takes everything, says nothing */
    ports[0] = silent;
    ports[1] = n.up.port;
    net_resolvers(&n, ports, 2);
    since_ns = clock_mono_ns();
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34"); /* from the second, after a second */
    assert_in_range(clock_mono_ns() - since_ns, 900 * NS_PER_MS, 4 * NS_PER_SEC);
    net_resolvers(&n, ports, 1);
    since_ns = clock_mono_ns();
    assert_string_equal(ask_from(&n, FN, "other.example", DNS_A), "rcode 2");
    assert_in_range(clock_mono_ns() - since_ns, 4 * NS_PER_SEC, 8 * NS_PER_SEC); /* 4.5: libc waits for 5 */
    assert_int_equal(n.dns->resolve.njobs, 0);
    since_ns = clock_mono_ns();
    assert_string_equal(ask_from(&n, FN, "other.example", DNS_A), "rcode 2"); /* again: at once */
    assert_in_range(clock_mono_ns() - since_ns, 0, NS_PER_SEC);
    assert_int_equal(result(&n, DNS_FAILED), 2);
    fd_close(fd);
    since_ns = clock_mono_ns();
    assert_string_equal(ask_from(&n, FN, "third.example", DNS_A), "rcode 2"); /* nobody there: at once */
    assert_in_range(clock_mono_ns() - since_ns, 0, NS_PER_SEC);
    net_resolvers(&n, ports, 0);
    assert_string_equal(ask_from(&n, FN, "fourth.example", DNS_A), "rcode 2");
    net_end(&n);
}

static void test_together(void **state)
{
    struct net n;
    struct asking a[3];
    char text[64];

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    for (unsigned i = 0; i < COUNT(a); i++)
        send_query(&a[i], &n, FN, "www.example", DNS_A, 0);
    for (unsigned i = 0; i < COUNT(a); i++) {
        run_until(n.loop, is_answered, &a[i]);
        finish(&a[i], text, sizeof(text));
        assert_string_equal(text, "93.184.216.34");
    }
    assert_int_equal(n.up.asked, 1);
    net_end(&n);
}

/* Port and id of each question are new. */
static void test_unpredictable(void **state)
{
    struct net n;
    unsigned same_id = 0, same_port = 0;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    for (unsigned i = 0; i < 32; i++) {
        char name[32];

        snprintf(name, sizeof(name), "n%u.example", i);
        ask_from(&n, FN, name, DNS_A);
    }
    for (unsigned i = 1; i < 32; i++) {
        same_id += n.up.ids[i] == n.up.ids[i - 1] || n.up.ids[i] == n.up.ids[i - 1] + 1;
        same_port += n.up.ports[i] == n.up.ports[i - 1];
    }
    assert_in_range(same_id, 0, 1);
    assert_in_range(same_port, 0, 1);
    net_end(&n);
}

/* ---- bounds ---- */

static void test_rate(void **state)
{
    struct net n;
    struct asking last;
    uint16_t port = 0;
    struct built b;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = addr_of(BRIDGE)};
    uint64_t since_ns = clock_mono_ns(), tokens;
    int fd;

    net_start(&n);
    to.sin_port = htons(n.port);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    net_function(&n, 2, "calm", "127.0.4.3", SPEC_EGRESS_INTERNET, false, NULL);
    fd = bound(SOCK_DGRAM, FN, &port);
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];

        snprintf(name, sizeof(name), "n%u.silent.example", i);
        put_question(&b, i, 0x0100, "silent.example", DNS_A);
        if (i % 2)
            put_question(&b, i, 0x0100, name, DNS_A);
        sendto(fd, b.data, b.len, 0, (struct sockaddr *)&to, sizeof(to));
        if (i % 50 == 49) /* before the socket's buffer is full */
            ask_from(&n, "127.0.4.3", "localhost", DNS_A);
    }
    send_query(&last, &n, "127.0.4.3", "www.example", DNS_A, 0); /* its neighbour does not notice */
    run_until(n.loop, is_answered, &last);
    fd_close(last.fd);
    assert_in_range(n.dns->nqueries, 1, DNS_CLIENT_QUERIES);
    tokens = DNS_CLIENT_RATE + (clock_mono_ns() - since_ns) / (NS_PER_SEC / DNS_CLIENT_RATE) + 1;
    assert_in_range(n.up.asked, 1, tokens + 1);
    assert_in_range(result(&n, DNS_DROPPED), tokens < 1000 ? 1000 - tokens : 0, 1000);
    fd_close(fd);
    net_end(&n);
}

/* ---- TCP, from clients and to resolvers ---- */

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

static void test_listeners(void **state)
{
    struct net n;
    struct asking a;
    uint16_t port;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    send_query(&a, &n, FN, "silent.example", DNS_A, 0);
    a.until_asked = true;
    run_until(n.loop, is_answered, &a);
    port = n.port;
    dns_on_welcome(n.dns);
    dns_on_synced(n.dns); /* a runner that named none */
    assert_int_equal(n.dns->nqueries, 0);
    assert_int_equal(n.dns->nbridges, 0);
    net_listen(&n, RECORD_LISTENER_DNS_UDP);
    net_listen(&n, RECORD_LISTENER_DNS_TCP);
    assert_int_equal(n.port, port);
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    dns_stop(n.dns);
    n.port = 0;
    net_listen(&n, RECORD_LISTENER_DNS_UDP); /* too late: closed */
    assert_int_equal(n.dns->nbridges, 1);
    fd_close(a.fd);
    net_end(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_internet),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_own_cache),
        cmocka_unit_test(test_stranger),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_waits),
        cmocka_unit_test(test_list_beside_internet),
        cmocka_unit_test(test_list_refused),
        cmocka_unit_test(test_mesh),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_silent_resolver),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_unpredictable),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_tcp_bounds),
        cmocka_unit_test(test_listeners),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
