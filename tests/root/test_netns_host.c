/* What netns/ does to its host: leftovers, refusals, two daemons side by side, other people's rules, many slots made and removed (whose times are printed). */
#include "root/netns_host.h"

#include <dirent.h>

#define MANY 200

static struct diag diag;

/* A daemon that was killed leaves links and table; the next one with the same names finds and removes them, and nobody else's. */
static void test_leftovers(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0);

    close(slot_make(n, 1000).ns);
    net_free(n);
    host("ip link add vf0005 address 02:66:70:00:00:05 type veth peer name other"); /* killed before it had an alias */
    assert_true(link_there("vf0000") && link_there("fn0") && link_there("fn1"));
    n = standard();
    assert_false(link_there("vf0000") || link_there("fn0") || link_there("fn1") || link_there("vf0005"));
    close(s.ns);
    s = slot_make(n, 0);
    assert_serves(s.ns, s.names.addr);
    close(s.ns);
    end(n);
}

static void test_foreign_link(void **state)
{
    const struct net_options o = options("fn", "vf", "10.231.0.0", 20);
    struct net *n = standard(), *second = NULL;

    close(slot_make(n, 0).ns);
    net_free(n);
    host("ip link add vf0001 type bridge");
    assert_int_equal(net_open(&o, &second, &diag), -EEXIST);
    assert_non_null(strstr(diag.text, "vf0001"));
    assert_non_null(strstr(diag.text, "network.port"));
    assert_true(link_there("fn0") && link_there("vf0001")); /* nothing was touched */
    host("ip link del vf0001");
    end(standard());
}

static void test_subnet_in_use(void **state)
{
    static const struct {
        const char *command, *undo, *says; /* says NULL: not in use */
    } cases[] = {
        {"ip addr add 10.231.3.1/24 dev ext", "ip addr flush dev ext", "10.231.3.1/24 of interface ext"},
        {"ip addr add 10.231.3.1/32 dev ext", "ip addr flush dev ext", "10.231.3.1/32 of interface ext"},
        {"ip addr add 10.1.2.3/8 dev ext", "ip addr flush dev ext", "10.1.2.3/8 of interface ext"},
        {"ip addr add 192.0.2.1/32 peer 10.231.2.2/32 dev ext", "ip addr flush dev ext", "10.231.2.2/32 of interface ext"},
        {"ip route add 10.231.0.0/17 dev ext", "ip route flush dev ext", "10.231.0.0/17 of interface ext"},
        {"ip route add 10.231.8.0/24 dev ext table 99", "ip route flush table 99", "10.231.8.0/24 of interface ext"},
        {"ip route add blackhole 10.231.1.0/26", "ip route del blackhole 10.231.1.0/26", "10.231.1.0/26"},
        {"ip route add unreachable 10.0.0.0/8", "ip route del unreachable 10.0.0.0/8", NULL},
        {"ip route add default dev ext", "ip route flush dev ext", NULL},
        {"ip route add 0.0.0.0/1 dev ext", "ip route flush dev ext", NULL},
        {"ip route add 10.232.0.0/16 dev ext", "ip route flush dev ext", NULL},
    };
    const struct net_options o = options("fn", "vf", "10.231.0.0", 20);

    host("ip link add ext type bridge");
    host("ip link set ext up");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct net *n = NULL;

        host(cases[i].command);
        diag.text[0] = '\0';
        if (net_subnet_free(&o, &diag) != (cases[i].says ? -EADDRINUSE : 0))
            fail_msg("%s: %s", cases[i].command, diag.text);
        if (cases[i].says) {
            assert_non_null(strstr(diag.text, cases[i].says));
            assert_non_null(strstr(diag.text, "10.231.0.0/20"));
            assert_non_null(strstr(diag.text, "network.subnet"));
            assert_int_equal(net_open(&o, &n, &diag), -EADDRINUSE);
        }
        host(cases[i].undo);
    }
    host("ip link del ext");
}

static void test_two_daemons(void **state)
{
    const struct net_options other = options("fnx", "vfx", "10.232.0.0", 22), clash = options("fny", "vfy", "10.231.0.0", 22);
    struct net *a = standard(), *b = network(&other), *c = NULL;
    struct slot in_a = slot_make(a, 0), in_b = slot_make(b, 0);
    cleanup_fd int other_inside = listener(in_b.ns, CLOSED);
    char tables[256];

    assert_int_equal(net_open(&clash, &c, &diag), -EADDRINUSE);
    assert_non_null(strstr(diag.text, "fn0"));
    assert_serves(in_a.ns, in_a.names.addr);
    assert_serves(in_b.ns, in_b.names.addr);
    assert_refused_at_once(in_a.ns, in_b.names.addr, CLOSED);
    assert_nothing_came(other_inside);
    net_free(b); /* killed, and started again: only its own is swept */
    b = network(&other);
    assert_true(link_there("fn0") && link_there("vf0000"));
    assert_false(link_there("fnx0") || link_there("vfx0000"));
    assert_serves(in_a.ns, in_a.names.addr);
    end(b);
    assert_true(link_there("fn0") && link_there("vf0000"));
    assert_int_equal(try_in(-1, tables, sizeof(tables), "nft list tables"), 0);
    assert_string_equal(tables, "table bridge fn\ntable inet fn\n");
    assert_serves(in_a.ns, in_a.names.addr);
    close(in_a.ns);
    close(in_b.ns);
    end(a);
}

/* Other users of nftables keep what they have, through install, replacement and removal. */
static void test_foreign_rules(void **state)
{
    char before[4096], after[4096];
    struct net *n;

    host("nft add table inet filter");
    host("nft add chain inet filter input { type filter hook input priority 0 ; policy drop ; }");
    host("nft add rule inet filter input ct state established,related accept");
    host("nft add rule inet filter input iif lo accept");
    assert_int_equal(try_in(-1, before, sizeof(before), "nft list ruleset"), 0);
    n = standard();
    net_free(n);
    n = standard();
    struct slot s = slot_make(n, 0);
    assert_serves(s.ns, s.names.addr);
    close(s.ns);
    end(n);
    assert_int_equal(try_in(-1, after, sizeof(after), "nft list ruleset"), 0);
    assert_string_equal(before, after);
    host("nft delete table inet filter");
}

static void test_refused(void **state)
{
    struct net *n = standard();
    struct slot s = slot_make(n, 0);
    struct net_slot_names names;
    cleanup_fd int own = host_ns(), full = ns_new(), foreign = -1, wrong = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char path[64], text[256];
    int fds[2], status;
    pid_t pid;

    assert_int_equal(net_slot_make(n, 1, own, &(struct net_policy){0}, &names, &diag), -EINVAL);
    assert_int_equal(try_in(-1, text, sizeof(text), "sysctl -n net.ipv4.ip_unprivileged_port_start"), 0);
    assert_string_equal(text, "1024\n");
    assert_true(net_slot_make(n, 1, wrong, &(struct net_policy){0}, &names, &diag) < 0);
    assert_true(net_slot_make(n, 1, -1, &(struct net_policy){0}, &names, &diag) < 0);
    assert_int_equal(net_slot_make(n, 4000, full, &(struct net_policy){0}, &names, &diag), -ERANGE);
    assert_int_equal(net_slot_remove(n, 4000, &diag), -ERANGE);
    /* A namespace that already has an eth0: refused, and the other end is not left. */
    in(full, "ip link add eth0 type bridge");
    assert_int_equal(net_slot_make(n, 1, full, &(struct net_policy){0}, &names, &diag), -EEXIST);
    assert_non_null(strstr(diag.text, "vf0001"));
    assert_false(link_there("vf0001"));
    /* A slot that is there is not made again, and not harmed. */
    cleanup_fd int again = ns_new();
    assert_int_equal(net_slot_make(n, 0, again, &(struct net_policy){0}, &names, &diag), -EEXIST);
    assert_serves(s.ns, s.names.addr);
    /* A namespace of another user namespace. */
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
            (void)!write(fds[1], "x", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(fds[0], text, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    foreign = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(net_slot_make(n, 1, foreign, &(struct net_policy){0}, &names, &diag), -EPERM);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    close(fds[0]);
    close(fds[1]);
    close(s.ns);
    end(n);
}

static void test_bridge_lost(void **state)
{
    struct net *n = standard();

    close(slot_make(n, 0).ns);
    host("ip link del fn0");
    struct slot s = slot_make(n, 1);
    assert_serves(s.ns, s.names.addr);
    close(s.ns);
    end(n);
}

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void test_repeated(void **state)
{
    unsigned before = count_fds();
    struct net *n = standard();

    assert_int_equal(net_slot_remove(n, 0, &diag), 0); /* never made */
    for (unsigned i = 0; i < 3; i++) {
        struct slot s = slot_make(n, 0);

        assert_false(net_slot_gone(n, 0));
        assert_serves(s.ns, s.names.addr);
        assert_int_equal(net_slot_remove(n, 0, &diag), 0);
        assert_true(net_slot_gone(n, 0));
        assert_int_equal(net_slot_remove(n, 0, &diag), 0);
        close(s.ns);
    }
    assert_int_equal(net_remove(n, &diag), 0);
    assert_int_equal(net_remove(n, &diag), 0);
    close(slot_make(n, 5).ns); /* and it can go on; without its table it is still closed from inside */
    end(n);
    assert_int_equal(count_fds(), before);
}

static int compare_ns(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void print_times(const char *what, uint64_t *ns)
{
    qsort(ns, MANY, sizeof(*ns), compare_ns);
    print_message("%s: median %.3f ms, 99th percentile %.3f ms\n", what, (double)ns[MANY / 2] / 1e6, (double)ns[MANY * 99 / 100] / 1e6);
}

/* Times are printed, not asserted. */
static void test_many(void **state)
{
    static uint64_t make_ns[MANY], remove_ns[MANY];
    static int ns[MANY];
    struct net *n = standard();
    struct net_slot_names names;
    uint64_t start;

    for (unsigned i = 0; i < MANY; i++)
        ns[i] = ns_new();
    for (unsigned i = 0; i < MANY; i++) {
        start = clock_mono_ns();
        assert_int_equal(net_slot_make(n, i, ns[i], &(struct net_policy){0}, &names, &diag), 0);
        make_ns[i] = clock_mono_ns() - start;
    }
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(try_connect(-1, (struct in_addr){htonl(ntohl(names.addr.s_addr) - i)}, CLOSED, PATIENT), ECONNREFUSED);
    start = clock_mono_ns();
    for (unsigned i = 0; i < MANY; i++) {
        close(ns[i]);
        (void)net_slot_gone(n, i); /* lets go of it */
    }
    for (unsigned i = 0; i < MANY; i++)
        while (!net_slot_gone(n, i) && clock_mono_ns() - start < 60 * NS_PER_SEC)
            sched_yield();
    print_message("%u namespaces closed: gone after %.1f ms\n", MANY, (double)(clock_mono_ns() - start) / 1e6);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(net_slot_gone(n, i));
        start = clock_mono_ns();
        assert_int_equal(net_slot_remove(n, i, &diag), 0);
        remove_ns[i] = clock_mono_ns() - start;
    }
    print_times("make", make_ns);
    print_times("remove, gone", remove_ns);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(net_slot_make(n, i, ns[i] = ns_new(), &(struct net_policy){0}, &names, &diag), 0);
    for (unsigned i = 0; i < MANY / 4; i++) {
        start = clock_mono_ns();
        assert_int_equal(net_slot_remove(n, i, &diag), 0);
        remove_ns[i] = clock_mono_ns() - start;
    }
    qsort(remove_ns, MANY / 4, sizeof(*remove_ns), compare_ns);
    print_message("remove, still there: median %.3f ms\n", (double)remove_ns[MANY / 8] / 1e6);
    start = clock_mono_ns();
    assert_int_equal(net_remove(n, &diag), 0);
    print_message("%u slots, bridge and table removed together: %.1f ms\n", MANY - MANY / 4, (double)(clock_mono_ns() - start) / 1e6);
    for (unsigned i = 0; i < MANY; i++)
        close(ns[i]);
    net_free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_leftovers), TEST(test_foreign_link), TEST(test_subnet_in_use), TEST(test_two_daemons), TEST(test_foreign_rules),
        TEST(test_refused),   TEST(test_bridge_lost),  TEST(test_repeated),      TEST(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
