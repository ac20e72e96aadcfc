/* The daemon's configuration: defaults, file, command line, refusals with their place, printing. */
#include "unit/check.h"

#include "config.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int load(const char *text, const char *const *sets, unsigned nsets, struct config *c, struct config_source **s, struct diag *d)
{
    char path[] = "/tmp/fnd-config-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC), r;

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    fd_close(fd);
    r = config_load(path, sets, nsets, c, s, d);
    unlink(path);
    return r;
}

static bool row_of(const struct config *c, const struct config_source *s, const char *key, struct config_row *row)
{
    for (unsigned i = 0; config_row(c, s, i, row); i++)
        if (strcmp(row->key, key) == 0)
            return true;
    return false;
}

static void test_defaults(void **state)
{
    struct config_source *s;
    struct config_row row;
    struct settings unheard;
    struct config c;
    struct diag d;

    assert_int_equal(config_load(NULL, NULL, 0, &c, &s, &d), 0);
    assert_string_equal(c.images, "/var/lib/fnd/images");
    assert_int_equal(c.uid_base, 0x70000000);
    assert_int_equal(c.prefix_len, 16);
    settings_init(&unheard);
    assert_memory_equal(&c.gateway, &unheard, sizeof(unheard)); /* a gateway without its runner goes by the same */
    for (unsigned i = 0; config_row(&c, s, i, &row); i++) {     /* what is printed is what was meant */
        if (row.def[0])
            assert_string_equal(row.value, row.def);
        assert_string_equal(row.origin, "default");
    }
    config_source_free(s);
}

static void test_host(void **state)
{
    static const char *const sets[] = {"host.memory=4G", "host.cpu=150%", "host.disk=0"};
    static const char *const good[] = {"host.memory=4G", "host.cpu=1.5", "host.disk=50%"};
    struct config_source *s;
    struct config_row row;
    struct config c;
    struct diag d;

    assert_int_equal(config_load(NULL, sets, 3, &c, &s, &d), -EINVAL);
    assert_int_equal(config_load(NULL, good, 3, &c, &s, &d), 0);
    assert_int_equal(config_share(c.host_memory, 1), 4ULL << 30);
    assert_int_equal(config_share(c.host_cpu, 64000), 1500);
    assert_int_equal(config_share(c.host_disk, 1ULL << 50), (1ULL << 50) / 100 * 50);
    assert_true(row_of(&c, s, "host.cpu", &row));
    assert_string_equal(row.value, "1.5");
    assert_true(row_of(&c, s, "host.disk", &row));
    assert_string_equal(row.value, "50%");
    config_source_free(s);
}

static void test_origins(void **state)
{
    static const char *const sets[] = {"gateway.listen=127.0.0.1:9000"};
    struct config_source *s;
    struct config_row row;
    struct config c;
    struct diag d;

    assert_int_equal(
        load("[gateway]\nlisten = 127.0.0.1:1\nadmin = none\n[runner]\nstart_timeout = 1500ms\nlimits = best-effort\n[network]\nsubnet = 10.9.0.0/20\n", sets,
             1, &c, &s, &d),
        0);
    assert_string_equal(c.listen, "127.0.0.1:9000");
    assert_int_equal(c.start_timeout_ns, 1500000000);
    assert_true(c.best_effort);
    assert_true(row_of(&c, s, "gateway.listen", &row));
    assert_string_equal(row.origin, "command line");
    assert_true(row_of(&c, s, "gateway.admin", &row));
    assert_non_null(strstr(row.origin, ":3"));
    assert_true(row_of(&c, s, "network.subnet", &row));
    assert_string_equal(row.value, "10.9.0.0/20");
    config_source_free(s);
}

struct bad {
    const char *text, *message;
};

static void test_refusals(void **state)
{
    static const struct bad cases[] = {
        {"[runner]\nstatus = /x\n", "not a key"},
        {"[nowhere]\nstate = /x\n", "not a key"},
        {"[runner]\nstate = relative\n", "absolute"},
        {"[runner]\nstate = /a/../b\n", "absolute"},
        {"[runner]\nstate = /a\nstate = /b\n", ":3"},
        {"[runner]\nuid_base = 70000\n", "range"},
        {"[runner]\nuid_base = 1879048193\n", "multiple"},
        {"[runner]\nslots_max = 30000\nslot_base = 10000\n", "ids would end"},
        {"[runner]\nslots_ready = 10\nslots_max = 5\n", "above"},
        {"[runner]\nstart_timeout = 1 s\n", "duration"},
        {"[runner]\nstart_timeout = 2h\n", "range"},
        {"[runner]\nmax_image = lots\n", "size"},
        {"[runner]\nallow = ptrace everything\n", "runner.allow: \"everything\" is not known: known words are netlink-route"},
        {"[runner]\ndevices = /dev/mem\n", "runner.devices: /dev/mem is given to no function"},
        {"[runner]\ndevices = /dev/dri/*\n", "is no name of a device"},
        {"[runner]\nlimits = some\n", "best-effort"},
        {"[gateway]\nlisten = 8888\n", "ADDRESS:PORT"},
        {"[gateway]\nlisten = localhost:8888\n", "numeric"},
        {"[gateway]\nlisten = 127.0.0.1:0\n", "ADDRESS:PORT"},
        {"[gateway]\nlisten = 127.0.0.1:65536\n", "ADDRESS:PORT"},
        {"[gateway]\nspawn = perhaps\n", "yes or no"},
        {"[gateway]\ntrusted_proxies = 10.0.0.1/8\n", "addresses and networks"},
        {"[gateway]\nproxy_protocol = yes\n", "needs gateway.trusted_proxies"},
        {"[gateway]\nmax_head = 32K\n", "range"},
        {"[host]\nmemory = 101%\n", "from 1% to 100%"},
        {"[host]\nmemory = 0%\n", "from 1% to 100%"},
        {"[host]\nmemory = 1K\n", "at least 64M"},
        {"[host]\nmemory = most\n", "or 0 for none"},
        {"[host]\nmemory = %\n", "percentage"},
        {"[host]\ncpu = 50000000%\n", "percentage"},
        {"[host]\ncpu = 0.01\n", "at least 0.1"},
        {"[host]\nmemory_overcommit = 0\n", "range"},
        {"[network]\nsubnet = 10.0.0.1/16\n", "bits set"},
        {"[network]\nsubnet = 10.0.0.0/24\n", "8 to 22"},
        {"[network]\nsubnet = 10.0.0.0\n", "network such as"},
        {"[network]\nbridge = toolongname\n", "characters"},
        {"[network]\nbridge = f-\n", "letters"},
        {"[network]\nbridge = 1a\n", "begins"},
        {"[network]\nbridge = vf\n", "both"},
        {"[network]\ndns = 127.0.0.53 resolver.example\n", "addresses of resolvers"},
        {"[network]\ndns = 0.0.0.0\n", "addresses of resolvers"},
        {"[network]\ngateway_port = 53\n", "choose another"},
        {"[network]\ngateway_port = 0\n", "range"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config c = {.slots_max = 4711};
        struct config_source *s = NULL;
        struct diag d = {0};

        if (load(cases[i].text, NULL, 0, &c, &s, &d) != -EINVAL)
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(d.text, cases[i].message))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, d.text, cases[i].message);
        assert_int_equal(c.slots_max, 4711);
    }
}

static void test_bad_sets(void **state)
{
    static const char *const bad[] = {"", "x", "runner.state", "state=/x", "runner.nothing=1", "=.x", "runner.state=relative"};
    struct config_source *s;
    struct config c;
    struct diag d;

    for (size_t i = 0; i < COUNT(bad); i++) {
        const char *sets[] = {bad[i]};

        assert_int_equal(config_load(NULL, sets, 1, &c, &s, &d), -EINVAL);
        assert_non_null(strstr(d.text, "--set"));
    }
    assert_int_equal(config_load("/nonexistent/fnd.ini", NULL, 0, &c, &s, &d), -ENOENT);
}

/* What can change is taken over, what cannot is named and stays; a broken file changes nothing. */
static void test_reload(void **state)
{
    static const char *const first[] = {"gateway.max_body=1M", "gateway.listen=127.0.0.1:80", "runner.stop_timeout=5s"};
    static const char *const second[] = {"gateway.max_body=2M", "gateway.listen=127.0.0.1:81", "runner.stop_timeout=5s", "network.bridge=br"};
    static const char *const broken[] = {"gateway.max_body=3M", "gateway.head_timeout=never"};
    static const char *const senseless[] = {"gateway.tls_listen=127.0.0.1:82", "gateway.https_redirect=yes"};
    struct config_source *s;
    struct config_row row;
    struct config c;
    char restart[128];
    struct diag d = {0};

    assert_int_equal(config_load(NULL, first, 3, &c, &s, &d), 0);
    assert_int_equal(config_reload(NULL, first, 3, &c, s, restart, sizeof(restart), &d), 0);
    assert_string_equal(restart, "");
    assert_int_equal(config_reload(NULL, second, 4, &c, s, restart, sizeof(restart), &d), 1);
    assert_string_equal(restart, "gateway.listen network.bridge");
    assert_int_equal(c.max_body_bytes, 2 << 20);
    assert_string_equal(c.listen, "127.0.0.1:80");
    assert_true(row_of(&c, s, "network.bridge", &row));
    assert_string_equal(row.value, "fn");
    assert_string_equal(row.origin, "default");
    assert_int_equal(config_reload(NULL, broken, 2, &c, s, restart, sizeof(restart), &d), -EINVAL);
    assert_non_null(strstr(d.text, "head_timeout"));
    assert_int_equal(config_reload(NULL, senseless, 2, &c, s, restart, sizeof(restart), &d), -EINVAL); /* good as a whole, but one half takes a restart */
    assert_non_null(strstr(d.text, "gateway.tls_listen"));
    assert_int_equal(c.max_body_bytes, 2 << 20);
    assert_false(c.gateway.https_redirect);
    assert_int_equal(config_reload(NULL, NULL, 0, &c, s, restart, sizeof(restart), &d), 2); /* back to the defaults */
    assert_true(row_of(&c, s, "gateway.max_body", &row));
    assert_string_equal(row.origin, "default");
    assert_string_equal(row.value, row.def);
    config_source_free(s);
}

static void test_threads(void **state)
{
    static const char *const good[] = {"gateway.threads=64"}, *const bad[] = {"gateway.threads=65", "gateway.threads=0", "gateway.threads=two"};
    struct config_source *s;
    struct config c;
    struct diag d;

    assert_int_equal(config_load(NULL, good, 1, &c, &s, &d), 0);
    assert_int_equal(config_threads(&c), 64);
    config_source_free(s);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(config_load(NULL, &bad[i], 1, &c, &s, &d), -EINVAL);
    assert_int_equal(config_load(NULL, NULL, 0, &c, &s, &d), 0);
    assert_in_range(config_threads(&c), 1, CONFIG_THREADS_MAX);
    config_source_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reload),  cmocka_unit_test(test_threads), cmocka_unit_test(test_defaults),
                                       cmocka_unit_test(test_host),    cmocka_unit_test(test_origins), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_bad_sets)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
