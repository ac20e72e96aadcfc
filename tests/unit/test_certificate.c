/* Certificates as bytes: every prefix, every flipped byte, keys of others, times, names; and the keys of session tickets over their life. */
#include "check.h"

#include "../../runner/ctl/ctl_cert.h"
#include "../../runner/gateway/tls/tls_private.h"

#include "certificate.h"
#include "diag.h"
#include "str.h"

#include <errno.h>
#include <string.h>

struct pair {
    struct strbuf certificate, key;
};

static struct pair make(const char *const *names, unsigned n)
{
    struct pair p = {0};
    struct diag d = {0};

    assert_int_equal(ctl_cert_make(names, n, &p.certificate, &p.key, &d), 0);
    return p;
}

static void done(struct pair *p)
{
    strbuf_done(&p->certificate);
    strbuf_done(&p->key);
}

static void names_and_times(void **state)
{
    static const char *const names[] = {"Host.Example", "*.w.example", "192.0.2.7", "2001:db8::1"};
    struct pair p = make(names, 4);
    struct certificate c = {0};
    struct diag d = {0};

    assert_int_equal(certificate_parse(p.certificate.data, p.certificate.len, p.key.data, p.key.len, &c, &d), 0);
    assert_int_equal(c.nnames, 4);
    assert_string_equal(c.names[0].host, "host.example");
    assert_string_equal(c.names[1].host, "*.w.example");
    assert_string_equal(c.names[2].host, "192.0.2.7");
    assert_string_equal(c.names[3].host, "2001:db8::1");
    assert_int_equal(c.not_after - c.not_before, 397 * 86400);
    assert_int_equal(strlen(c.fingerprint), 95);
    assert_int_equal(certificate_valid(&c, c.not_before, &d), 0);
    assert_int_equal(certificate_valid(&c, c.not_before - 1, &d), -EINVAL);
    assert_non_null(strstr(d.text, "not valid before"));
    assert_int_equal(certificate_valid(&c, c.not_after - 1, &d), 0);
    assert_int_equal(certificate_valid(&c, c.not_after, &d), -EINVAL);
    assert_non_null(strstr(d.text, "expired"));
    certificate_done(&c);
    certificate_done(&c);
    done(&p);
}

static void what_is_cut_or_of_another_is_refused(void **state)
{
    static const char *const names[] = {"a.example"};
    struct pair p = make(names, 1), other = make(names, 1);
    struct certificate c;
    struct diag d = {0};

    assert_int_equal(certificate_parse(p.certificate.data, p.certificate.len, other.key.data, other.key.len, &c, &d), -EINVAL);
    assert_non_null(strstr(d.text, "does not belong"));
    assert_int_equal(certificate_parse(p.key.data, p.key.len, p.key.data, p.key.len, &c, &d), -EINVAL);
    assert_int_equal(certificate_parse(p.certificate.data, p.certificate.len, p.certificate.data, p.certificate.len, &c, &d), -EINVAL);
    assert_int_equal(certificate_parse("", 0, "", 0, &c, &d), -EINVAL);
    for (size_t len = 0; len + 1 < p.certificate.len; len++) /* the last line feed may be missing */
        assert_int_equal(certificate_parse(p.certificate.data, len, p.key.data, p.key.len, &c, NULL), -EINVAL);
    for (size_t len = 0; len + 1 < p.key.len; len++)
        assert_int_equal(certificate_parse(p.certificate.data, p.certificate.len, p.key.data, len, &c, NULL), -EINVAL);
    for (size_t i = 0; i < p.certificate.len; i++) { /* nothing crashes; what is taken is whole */
        char old = p.certificate.data[i];

        p.certificate.data[i] ^= 1;
        if (certificate_parse(p.certificate.data, p.certificate.len, p.key.data, p.key.len, &c, NULL) == 0)
            certificate_done(&c);
        p.certificate.data[i] = old;
    }
    done(&p);
    done(&other);
}

static void chains_are_bounded(void **state)
{
    static const char *const names[] = {"a.example"};
    struct pair p = make(names, 1);
    struct strbuf all = {0};
    struct certificate c;
    struct diag d = {0};

    for (unsigned i = 0; i <= CERTIFICATE_CHAIN_MAX; i++)
        strbuf_add(&all, p.certificate.data, p.certificate.len);
    assert_int_equal(certificate_parse(all.data, all.len, p.key.data, p.key.len, &c, &d), 0);
    assert_int_equal(c.nchain, CERTIFICATE_CHAIN_MAX);
    certificate_done(&c);
    strbuf_add(&all, p.certificate.data, p.certificate.len);
    assert_int_equal(certificate_parse(all.data, all.len, p.key.data, p.key.len, &c, &d), -EINVAL);
    strbuf_done(&all);
    done(&p);
}

static void names_that_are_none(void **state)
{
    static const char *const bad[] = {"", ".", "a..b", "-a", "a-", "a b", "a,DNS:b", "*", "*.", "*.*.a", "a.", "a_b", "1.2.3.4.", "::g"};
    struct diag d = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ctl_cert_check_name(bad[i], &d), -EINVAL);
    assert_int_equal(ctl_cert_check_name("xn--bcher-kva.example", &d), 0);
    assert_int_equal(ctl_cert_check_name("*.a", &d), 0);
    assert_int_equal(ctl_cert_check_name("::1", &d), 0);
}

static void ticket_keys_change_and_die(void **state)
{
    const uint64_t begin = TLS_TICKET_ROTATE_NS * 10;
    struct tls_ticket_key first, second, k;
    struct tls_tickets t;

    assert_int_equal(tls_tickets_init(&t), 0);
    assert_int_equal(tls_tickets_newest(&t, begin, &first), 0);
    assert_int_equal(tls_tickets_newest(&t, begin + TLS_TICKET_ROTATE_NS - 1, &k), 0);
    assert_memory_equal(&k, &first, sizeof(k));
    assert_int_equal(tls_tickets_find(&t, begin, first.name, &k), 1);
    assert_int_equal(tls_tickets_newest(&t, begin + TLS_TICKET_ROTATE_NS, &second), 0);
    assert_memory_not_equal(second.name, first.name, sizeof(first.name));
    assert_int_equal(tls_tickets_find(&t, begin + TLS_TICKET_ROTATE_NS, first.name, &k), 2); /* opens, and a new one is due */
    assert_memory_equal(k.cipher, first.cipher, sizeof(k.cipher));
    assert_int_equal(tls_tickets_find(&t, begin + TLS_TICKET_KEYS * TLS_TICKET_ROTATE_NS - 1, first.name, &k), 2);
    assert_int_equal(tls_tickets_find(&t, begin + TLS_TICKET_KEYS * TLS_TICKET_ROTATE_NS, first.name, &k), 0); /* too old, although nothing has pushed it out */
    memset(k.name, 0, sizeof(k.name));
    assert_int_equal(tls_tickets_find(&t, begin, k.name, &k), 0);
    tls_tickets_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_times),     cmocka_unit_test(what_is_cut_or_of_another_is_refused), cmocka_unit_test(chains_are_bounded),
        cmocka_unit_test(names_that_are_none), cmocka_unit_test(ticket_keys_change_and_die),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
