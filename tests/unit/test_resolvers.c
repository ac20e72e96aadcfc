/* Whom the DNS forwarder asks: addresses as people write them, resolv.conf, and its changes. */
#include "check.h"

#include "../../runner/resolvers.h"
#include "clock.h"
#include "config.h"
#include "diag.h"
#include "fd.h"
#include "loop.h"
#include "resolver.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void expect_text(const struct record_resolver *r, const char *want)
{
    char addr[INET6_ADDRSTRLEN], text[80];

    assert_non_null(inet_ntop((int)r->family, r->addr, addr, sizeof(addr)));
    snprintf(text, sizeof(text), "%s#%u", addr, r->port);
    assert_string_equal(text, want);
}

static void test_words(void **state)
{
    static const struct {
        const char *word, *want; /* NULL: refused */
    } cases[] = {
        {"192.0.2.1", "192.0.2.1#53"},
        {"192.0.2.1:5353", "192.0.2.1#5353"},
        {"2001:db8::1", "2001:db8::1#53"},
        {"[2001:db8::1]", "2001:db8::1#53"},
        {"[2001:db8::1]:5353", "2001:db8::1#5353"},
        {"127.0.0.1", "127.0.0.1#53"},
        {"fe80::1%lo", "fe80::1#53"},
        {"", NULL},
        {"a.example", NULL},
        {"0.0.0.0", NULL},
        {"::", NULL},
        {"224.0.0.1", NULL},
        {"ff02::1", NULL},
        {"255.255.255.255", NULL},
        {"192.0.2.1:", NULL},
        {"192.0.2.1:0", NULL},
        {"192.0.2.1:65536", NULL},
        {"[2001:db8::1", NULL},
        {"[2001:db8::1]x", NULL},
        {"[]", NULL},
        {"fe80::1%nosuch0", NULL},
        {"2001:db8::1%lo", NULL},
        {"1", NULL},
        {"0123456789012345678901234567890123456789012345678901234567890123456789", NULL},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct record_resolver r = {0};
        int e = resolver_parse(cases[i].word, &r);

        if ((e == 0) != (cases[i].want != NULL))
            fail_msg("%s: %d", cases[i].word, e);
        if (e == 0)
            expect_text(&r, cases[i].want);
    }
}

static void test_lists(void **state)
{
    struct record_resolver r[RECORD_RESOLVERS_MAX];

    assert_int_equal(resolver_list(" 192.0.2.1,2001:db8::1  192.0.2.2:54 ", r), 3);
    expect_text(&r[2], "192.0.2.2#54");
    assert_int_equal(resolver_list("", r), 0);
    assert_int_equal(resolver_list("192.0.2.1 x", r), -EINVAL);
    assert_int_equal(resolver_list("192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1", r), -E2BIG);
}

static void test_conf(void **state)
{
    static const char text[] = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # x\n nameserver "
                               "192.0.2.8\nnameserver\nnameserver x\nnameservers 192.0.2.7\n"
                               "nameserver 127.0.0.53\noptions edns0\nnameserver 192.0.2.2";
    struct record_resolver r[RECORD_RESOLVERS_MAX];
    bool stub;

    assert_int_equal(resolver_conf(text, strlen(text), r, &stub), 4);
    expect_text(&r[0], "192.0.2.1#53");
    expect_text(&r[1], "2001:db8::1#53");
    expect_text(&r[2], "127.0.0.53#53");
    expect_text(&r[3], "192.0.2.2#53");
    assert_false(stub);
    assert_int_equal(resolver_conf("nameserver 127.0.0.53\n", 22, r, &stub), 1);
    assert_true(stub);
    assert_int_equal(resolver_conf("", 0, r, &stub), 0);
    assert_false(stub);
    for (size_t len = 0; len < sizeof(text); len++) {
        cleanup_free char *copy = malloc(len + 1); /* ends where it ends, for the sanitizers */

        memcpy(copy, text, len);
        assert_true(resolver_conf(copy, len, r, &stub) <= 4);
    }
}

/* ---- following the files ---- */

static struct world {
    char dir[64], conf[96], systemd[96];
    struct loop *loop;
    struct config config;
    struct resolvers *resolvers;
    unsigned changes;
} w;

static void put(const char *path, const char *text)
{
    char tmp[128];
    cleanup_fd int fd = -1;

    snprintf(tmp, sizeof(tmp), "%s.new", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    assert_int_equal(rename(tmp, path), 0);
}

static void on_change(void *owner)
{
    w.changes++;
}

static void start(const char *dns)
{
    const struct resolvers_parts parts = {.config = &w.config, .loop = w.loop, .conf = w.conf, .systemd = w.systemd, .on_change = on_change};
    struct diag d;

    str_copy(w.config.dns, sizeof(w.config.dns), dns);
    assert_int_equal(resolvers_new(&parts, &w.resolvers, &d), 0);
}

static void out_of_time(struct timer *t)
{
    loop_stop(w.loop, 1);
}

static bool changed(unsigned before)
{
    uint64_t end = clock_mono_ns() + 5 * NS_PER_SEC;
    struct timer turn = {.on_expire = out_of_time};

    while (w.changes == before && clock_mono_ns() < end) {
        loop_arm_in(w.loop, &turn, NS_PER_MS);
        loop_run(w.loop);
        loop_disarm(&turn);
    }
    return w.changes != before;
}

static int set_up(void **state)
{
    char path[128];

    w = (struct world){0};
    snprintf(w.dir, sizeof(w.dir), "/tmp/test-resolvers-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    snprintf(path, sizeof(path), "%s/etc", w.dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/run", w.dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(w.conf, sizeof(w.conf), "%s/etc/resolv.conf", w.dir);
    snprintf(w.systemd, sizeof(w.systemd), "%s/run/resolv.conf", w.dir);
    return loop_new(&w.loop);
}

static int tear_down(void **state)
{
    resolvers_free(w.resolvers);
    loop_free(w.loop);
    return fd_remove_tree(AT_FDCWD, w.dir);
}

static void test_file_changes(void **state)
{
    const struct record_resolvers *r;
    unsigned before;

    put(w.conf, "nameserver 192.0.2.1\n");
    start("auto");
    r = resolvers_record(w.resolvers);
    assert_int_equal(r->count, 1);
    before = w.changes;
    put(w.conf, "nameserver 192.0.2.2\n");
    assert_true(changed(before));
    expect_text(&r->resolvers[0], "192.0.2.2#53");
    before = w.changes;
    assert_int_equal(unlink(w.conf), 0);
    assert_true(changed(before));
    assert_int_equal(r->count, 0);
}

static void test_stub_of_systemd(void **state)
{
    const struct record_resolvers *r;
    unsigned before;
    char stub[128];

    snprintf(stub, sizeof(stub), "%s/run/stub-resolv.conf", w.dir);
    put(stub, "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
    put(w.systemd, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
    assert_int_equal(symlink(stub, w.conf), 0);
    start("auto");
    r = resolvers_record(w.resolvers);
    assert_int_equal(r->count, 2);
    expect_text(&r->resolvers[0], "192.0.2.1#53");
    before = w.changes;
    put(w.systemd, "nameserver 192.0.2.3\n");
    assert_true(changed(before));
    expect_text(&r->resolvers[0], "192.0.2.3#53");
    before = w.changes;
    assert_int_equal(unlink(w.systemd), 0);
    assert_true(changed(before));
    expect_text(&r->resolvers[0], "127.0.0.53#53"); /* better than nobody */
}

static void test_configured(void **state)
{
    put(w.conf, "nameserver 192.0.2.1\n");
    start("192.0.2.7:5353");
    assert_int_equal(resolvers_record(w.resolvers)->count, 1);
    expect_text(&resolvers_record(w.resolvers)->resolvers[0], "192.0.2.7#5353");
}

static void test_none(void **state)
{
    put(w.conf, "nameserver 192.0.2.1\n");
    start("none");
    assert_int_equal(resolvers_record(w.resolvers)->count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_conf),
        cmocka_unit_test_setup_teardown(test_file_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stub_of_systemd, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_configured, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_none, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
