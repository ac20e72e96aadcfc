/* The DNS forwarder: who is answered what, when resolvers are asked and believed, and what bounds it. */
#include "dns_asking.h"

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

    net_start(&n);
    net_function(&n, 7, "fn", FN, SPEC_EGRESS_LIST, false, "www.example");
    n.open_err = ENOSPC;
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "rcode 2");
    n.open_err = 0;
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 2);
    /* Without a runner nothing can be opened. */
    loop_unwatch(&n.runner.listen_watch);
    runner_hang_up(&n.runner);
    dns_set_policy(n.dns, n.picture.functions,
                   &(struct record_policy){.head = RECORD_INIT(RECORD_POLICY, 0), .egress = SPEC_EGRESS_LIST, .nhosts = 1, .hosts = {"www.example"}});
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "rcode 2");
    net_end(&n);
}

static bool is_opened_again(void *arg)
{
    struct net *n = arg;

    return n->opens == 2 && n->dns->nrefreshes == 0;
}

/* What a program looked up once stays open while the name has that address. */
static void test_list_again(void **state)
{
    struct net n;
    struct gw_instance *i;
    struct dns_policy *p;

    net_start(&n);
    i = net_function(&n, 7, "fn", FN, SPEC_EGRESS_LIST, false, "unasked.example www.example");
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    p = n.picture.functions->dns;
    dns_refresh_turn(n.dns); /* not yet */
    assert_int_equal(n.dns->nrefreshes, 0);
    p->hosts[1].v4.expires_ns = clock_mono_ns() + DNS_REFRESH_S * NS_PER_SEC;
    dns_refresh_turn(n.dns);
    dns_refresh_turn(n.dns);
    assert_int_equal(n.dns->nrefreshes, 1);
    run_until(n.loop, is_opened_again, &n);
    assert_int_equal(n.up.asked, 2);
    assert_string_equal(n.open.host, "www.example");
    assert_int_equal(n.open.addrs[0], addr_of("93.184.216.34"));
    assert_true(p->hosts[1].v4.expires_ns > clock_mono_ns() + 80 * NS_PER_SEC);
    assert_int_equal(result(&n, DNS_FORWARDED) + result(&n, DNS_CACHED), 1); /* no function asked */
    p->hosts[1].v4.expires_ns = clock_mono_ns();
    dns_refresh_turn(n.dns); /* closed */
    assert_int_equal(n.dns->nrefreshes, 0);
    assert_int_equal(p->hosts[1].v4.expires_ns, 0);
    p->hosts[1].v4.expires_ns = clock_mono_ns() + NS_PER_SEC;
    dns_refresh_turn(n.dns);
    assert_int_equal(n.dns->nrefreshes, 1);
    dns_function_gone(n.dns, n.picture.functions); /* in the middle of it */
    assert_int_equal(n.dns->nrefreshes, 0);
    dns_instance_gone(n.dns, i);
    net_end(&n);
}

/* A new version's list may have other ports, a new runner may know nothing: it is asked again. */
static void test_list_in_doubt(void **state)
{
    const struct record_policy rec = {.head = RECORD_INIT(RECORD_POLICY, 0), .egress = SPEC_EGRESS_LIST, .nhosts = 2, .hosts = {"other.example", "www.example"}};
    struct net n;
    struct dns_policy *p;

    net_start(&n);
    net_function(&n, 7, "fn", FN, SPEC_EGRESS_LIST, false, "www.example");
    ask_from(&n, FN, "www.example", DNS_A);
    ask_from(&n, FN, "www.example", DNS_A);
    assert_int_equal(n.opens, 1);
    assert_int_equal(dns_set_policy(n.dns, n.picture.functions, &rec), 0);
    p = n.picture.functions->dns;
    assert_int_equal(p->hosts[0].v4.expires_ns, 0);
    assert_true(p->hosts[1].v4.expires_ns > 0); /* and will be refreshed */
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 2);
    dns_on_welcome(n.dns);
    assert_string_equal(ask_from(&n, FN, "www.example", DNS_A), "93.184.216.34");
    assert_int_equal(n.opens, 3);
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
    assert_int_equal(str_copy(first, sizeof(first), ask_from(&n, "127.0.4.2", "back.fnd.internal", DNS_A)), 0);
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
    assert_string_equal(ask_from(&n, FN, "other.example", DNS_A), "rcode 2"); /* again: at once, and not after those 4.5 s */
    assert_in_range(clock_mono_ns() - since_ns, 0, 4 * NS_PER_SEC);
    assert_int_equal(result(&n, DNS_FAILED), 2);
    fd_close(fd);
    since_ns = clock_mono_ns();
    assert_string_equal(ask_from(&n, FN, "third.example", DNS_A), "rcode 2"); /* nobody there: at once */
    assert_in_range(clock_mono_ns() - since_ns, 0, 4 * NS_PER_SEC);
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

/* So many queries of one name from the instance; the neighbour asks in between, so that the socket's buffer is never full. */
static int send_many(struct net *n, const char *name, unsigned count)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = addr_of(BRIDGE), .sin_port = htons(n->port)};
    uint16_t port = 0;
    int fd = bound(SOCK_DGRAM, FN, &port);
    struct built b;

    for (unsigned i = 0; i < count; i++) {
        put_question(&b, i, 0x0100, name, DNS_A);
        assert_int_equal(sendto(fd, b.data, b.len, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)b.len);
        if (i % 50 == 49)
            assert_string_equal(ask_from(n, "127.0.4.3", "localhost", DNS_A), "127.0.0.1");
    }
    return fd;
}

static void test_rate(void **state)
{
    uint64_t since_ns = clock_mono_ns(), tokens;
    struct net n;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    net_function(&n, 2, "calm", "127.0.4.3", SPEC_EGRESS_INTERNET, false, NULL);
    fd_close(send_many(&n, "localhost", 1000));
    tokens = DNS_CLIENT_RATE + (clock_mono_ns() - since_ns) / (NS_PER_SEC / DNS_CLIENT_RATE) + 1;
    assert_in_range(result(&n, DNS_LOCAL), DNS_CLIENT_RATE, tokens + 20);
    assert_int_equal(result(&n, DNS_LOCAL) + result(&n, DNS_DROPPED), 1020);
    net_end(&n);
}

static void test_under_way(void **state)
{
    struct net n;

    net_start(&n);
    net_function(&n, 1, "fn", FN, SPEC_EGRESS_INTERNET, false, NULL);
    net_function(&n, 2, "calm", "127.0.4.3", SPEC_EGRESS_INTERNET, false, NULL);
    fd_close(send_many(&n, "silent.example", 100));
    assert_int_equal(n.dns->nqueries, DNS_CLIENT_QUERIES);
    assert_int_equal(result(&n, DNS_DROPPED), 100 - DNS_CLIENT_QUERIES);
    assert_string_equal(ask_from(&n, "127.0.4.3", "www.example", DNS_A), "93.184.216.34"); /* the neighbour does not notice */
    net_end(&n);
}

/* ---- sockets ---- */

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
    net_listen(&n, RECORD_LISTENER_DNS_TCP);
    net_listen(&n, RECORD_LISTENER_DNS_UDP);
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
        cmocka_unit_test(test_list_again),
        cmocka_unit_test(test_list_in_doubt),
        cmocka_unit_test(test_list_beside_internet),
        cmocka_unit_test(test_list_refused),
        cmocka_unit_test(test_mesh),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_silent_resolver),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_unpredictable),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_under_way),

        cmocka_unit_test(test_listeners),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
