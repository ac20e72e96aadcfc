/* DNS messages: what is read of queries and answers, what is refused, and that no input makes the parser look behind its end, or go on for ever. */
#include "dns_build.h"
#include "http_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define QUERY    0x0100U
#define RESPONSE 0x8180U

static int parse(const struct built *b, struct dns_query_head *ret)
{
    return dns_query_parse(b->data, b->len, ret);
}

static void test_query(void **state)
{
    struct built b;
    struct dns_query_head q;
    char text[DNS_NAME_MAX + 1];

    put_question(&b, 0x1234, QUERY | 0x10, "WWW.Example.org", DNS_AAAA);
    assert_int_equal(parse(&b, &q), 0);
    assert_int_equal(q.id, 0x1234);
    assert_true(q.rd && q.cd);
    assert_int_equal(q.edns_size, 0);
    assert_int_equal(q.q.type, DNS_AAAA);
    assert_int_equal(q.question_len, 17 + 4);
    assert_int_equal(dns_name_text(&q.q.name, text), 0);
    assert_string_equal(text, "www.example.org");
    put_opt(&b, 4096, 0);
    assert_int_equal(parse(&b, &q), 0);
    assert_int_equal(q.edns_size, 4096);
    put_question(&b, 1, QUERY, "a", DNS_A);
    put_opt(&b, 10, 0); /* RFC 6891, 6.2.5: less than 512 means 512 */
    assert_int_equal(parse(&b, &q), 0);
    assert_int_equal(q.edns_size, DNS_UDP_MIN);
}

static void expect(unsigned flags, const char *name, unsigned type, int want)
{
    struct built b;
    struct dns_query_head q;

    put_question(&b, 7, flags, name, type);
    assert_int_equal(parse(&b, &q), want);
}

static void test_query_refused(void **state)
{
    struct built b;
    struct dns_query_head q;

    expect(RESPONSE, "a", DNS_A, -EBADMSG);
    expect(QUERY | 0x2800, "a", DNS_A, DNS_NOTIMP); /* update */
    expect(QUERY | 0x0200, "a", DNS_A, DNS_FORMERR);
    expect(0, "a", DNS_A, DNS_REFUSED); /* no recursion: the cache is not to be looked into */
    expect(QUERY, "a", 252, DNS_REFUSED);
    expect(QUERY, "a", 251, DNS_REFUSED);
    expect(QUERY, "a", 255, DNS_REFUSED);
    expect(QUERY, "a", DNS_OPT, DNS_REFUSED);
    expect(QUERY, "a", 0, DNS_REFUSED);
    expect(QUERY, "a", 65, 0);
    for (unsigned n = 0; n < 4; n++) {
        put_question(&b, 7, QUERY, "a", DNS_A);
        set_count(&b, QUESTIONS, n);
        assert_int_equal(parse(&b, &q), n == 1 ? 0 : DNS_FORMERR);
    }
    put_question(&b, 7, QUERY, "a", DNS_A);
    b.data[b.len - 1] = 3; /* class CHAOS: version.bind */
    assert_int_equal(parse(&b, &q), DNS_REFUSED);
    assert_int_equal(q.question_len, 7);
    put_question(&b, 7, QUERY, "a", DNS_A);
    put8(&b, 0);
    assert_int_equal(parse(&b, &q), DNS_FORMERR);
    put_question(&b, 7, QUERY, "a", DNS_A);
    put_opt(&b, 1232, 1);
    assert_int_equal(parse(&b, &q), DNS_BADVERS);
    put_opt(&b, 1232, 0);
    assert_int_equal(parse(&b, &q), DNS_FORMERR);
    put_question(&b, 7, QUERY, "a", DNS_A);
    put_a(&b, "a", 5, "192.0.2.1");
    assert_int_equal(parse(&b, &q), DNS_FORMERR);
}

static void test_names(void **state)
{
    char text[300], label[64];
    struct dns_name n, m;
    struct built b = {0};
    size_t at;

    memset(label, 'x', 63);
    label[63] = '\0';
    snprintf(text, sizeof(text), "%s.%s.%s.%.61s", label, label, label, label); /* 255 bytes on the wire */
    assert_int_equal(dns_name_parse(text, &n), 0);
    assert_int_equal(n.len, 255);
    expect(QUERY, text, DNS_A, 0);
    snprintf(text, sizeof(text), "%s.%s.%s.%.62s", label, label, label, label);
    assert_int_equal(dns_name_parse(text, &n), -EINVAL);
    put_question(&b, 7, QUERY, "a", DNS_A);
    b.len = DNS_HEAD;
    for (int i = 0; i < 128; i++)
        put16(&b, 0x0161); /* "a.", 128 times: 256 bytes and the root */
    put8(&b, 0);
    put32(&b, 0x10001);
    {
        struct dns_query_head q;

        assert_int_equal(parse(&b, &q), DNS_FORMERR);
        assert_int_equal(q.question_len, 0);
    }
    assert_int_equal(dns_name_parse("a..b", &n), -EINVAL);
    assert_int_equal(dns_name_parse(".a", &n), -EINVAL);
    assert_int_equal(dns_name_parse("A.Example.", &n), 0);
    assert_int_equal(dns_name_parse("a.exaMple", &m), 0);
    assert_true(dns_name_equal(&n, &m));
    assert_int_equal(dns_name_hash(&n), dns_name_hash(&m));
    assert_true(dns_name_within(&n, m.wire, m.len));
    assert_true(dns_name_within(&n, m.wire + 2, m.len - 2U));
    assert_true(dns_name_within(&n, m.wire + m.len - 1, 1));
    assert_int_equal(dns_name_parse("ple", &m), 0);
    assert_false(dns_name_within(&n, m.wire, m.len));
    /* Bytes that no host name has are passed on, but never taken for text. */
    put_question(&b, 7, QUERY, "axb", DNS_A);
    b.data[DNS_HEAD + 2] = '.';
    at = DNS_HEAD;
    assert_int_equal(dns_name_read(b.data, b.len, &at, &n), 0);
    assert_int_equal(dns_name_text(&n, text), -EINVAL);
}

static int read_at(const struct built *b, size_t at)
{
    struct dns_name n;

    return dns_name_read(b->data, b->len, &at, &n);
}

static void test_pointers(void **state)
{
    struct built b;
    struct dns_query_head q;
    size_t at;

    put_question(&b, 7, QUERY, "example.org", DNS_A);
    at = b.len;
    put16(&b, 0x0161);
    put_pointer(&b, DNS_HEAD);
    assert_int_equal(read_at(&b, at), 0);
    b.len = at;
    put_pointer(&b, at); /* to itself */
    assert_int_equal(read_at(&b, at), -EBADMSG);
    b.len = at;
    put16(&b, 0x0161);
    put_pointer(&b, at); /* to its own beginning */
    assert_int_equal(read_at(&b, at), -EBADMSG);
    b.len = at;
    put_pointer(&b, at + 2); /* forwards */
    put16(&b, 0);
    assert_int_equal(read_at(&b, at), -EBADMSG);
    b.len = at;
    put_pointer(&b, 4); /* into the header */
    assert_int_equal(read_at(&b, at), -EBADMSG);
    b.len = at;
    for (unsigned i = 0; i < 40; i++) /* pointers to pointers */
        put_pointer(&b, i ? b.len - 2 : DNS_HEAD);
    assert_int_equal(read_at(&b, at + 2 * 20), 0);
    assert_int_equal(read_at(&b, at + 2 * 39), -EBADMSG);
    put_question(&b, 7, QUERY, "a", DNS_A);
    b.len = DNS_HEAD;
    put16(&b, 0x0161);
    put_pointer(&b, DNS_HEAD);
    put32(&b, 0x10001);
    assert_int_equal(parse(&b, &q), DNS_FORMERR);
}

/* ---- answers ---- */

static int take(const struct built *b, const struct dns_question *q, struct dns_answer **ret)
{
    unsigned rcode;
    bool cut;

    assert_int_equal(dns_response_check(b->data, b->len, 7, q, &rcode, &cut), 0);
    return dns_answer_parse(b->data, b->len, q, ret);
}

static void test_response_check(void **state)
{
    struct dns_question q = question_of("www.example.org", DNS_A), other = question_of("www.example.net", DNS_A);
    unsigned rcode = 99;
    bool cut = false;
    struct built b;

    put_question(&b, 7, RESPONSE | 0x203, "WWW.example.org", DNS_A);
    assert_int_equal(dns_response_check(b.data, b.len, 7, &q, &rcode, &cut), 0);
    assert_int_equal(rcode, DNS_NXDOMAIN);
    assert_true(cut);
    assert_int_equal(dns_response_check(b.data, b.len, 8, &q, &rcode, &cut), -ENOENT);
    assert_int_equal(dns_response_check(b.data, b.len, 7, &other, &rcode, &cut), -ENOENT);
    other = q;
    other.type = DNS_AAAA;
    assert_int_equal(dns_response_check(b.data, b.len, 7, &other, &rcode, &cut), -ENOENT);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(dns_response_check(b.data, n, 7, &q, &rcode, &cut), -ENOENT);
    put_question(&b, 7, QUERY, "www.example.org", DNS_A); /* our own query, back */
    assert_int_equal(dns_response_check(b.data, b.len, 7, &q, &rcode, &cut), -ENOENT);
}

/* An answer as an attacker's name server would fill it. */
static void build_chain(struct built *b)
{
    put_question(b, 7, RESPONSE, "www.example.org", DNS_A);
    put_a(b, "bank.example", 3600, "192.0.2.66"); /* of nobody's asking */
    put_a(b, "cdn.example.net", 60, "192.0.2.1"); /* before the alias that leads here */
    put_cname(b, NULL, 300, "edge.example.net");
    put_cname(b, "edge.example.net", 30, "cdn.example.net");
    put_a(b, "CDN.example.net", 40, "192.0.2.2");
    put_a(b, "edge.example.net", 40, "192.0.2.67"); /* beside its alias */
    put_soa(b, "example.net", 1, 1);
}

static void test_chain(void **state)
{
    struct dns_question q = question_of("www.example.org", DNS_A);
    struct dns_answer *a = NULL;
    struct built b;
    char text[128];

    put_question(&b, 7, RESPONSE, "www.example.org", DNS_A);
    put_cname(&b, NULL, 300, "edge.example.net");
    put_a(&b, "bank.example", 3600, "192.0.2.66");
    put_a(&b, "cdn.example.net", 60, "192.0.2.1");
    put_cname(&b, "edge.example.net", 30, "cdn.example.net");
    put_a(&b, "CDN.example.net", 40, "192.0.2.2");
    assert_int_equal(take(&b, &q, &a), 0);
    assert_int_equal(a->nrr, 4);
    assert_int_equal(a->ttl_s, 30);
    assert_false(a->negative);
    dns_answer_unref(a);
    answer_text(b.data, b.len, &q, text, sizeof(text));
    assert_string_equal(text, "192.0.2.1 192.0.2.2");
    build_chain(&b); /* records at the alias itself end the chain there: still a name that was asked for */
    answer_text(b.data, b.len, &q, text, sizeof(text));
    assert_string_equal(text, "192.0.2.67");
}

static void test_chain_endless(void **state)
{
    struct dns_question q = question_of("a.example", DNS_A);
    struct dns_answer *a = NULL;
    struct built b;

    put_question(&b, 7, RESPONSE, "a.example", DNS_A);
    put_cname(&b, "a.example", 300, "b.example");
    put_cname(&b, "b.example", 300, "a.example");
    assert_int_equal(take(&b, &q, &a), -EBADMSG);
    put_question(&b, 7, RESPONSE, "a.example", DNS_A);
    put_cname(&b, "a.example", 300, "a.example");
    assert_int_equal(take(&b, &q, &a), -EBADMSG);
}

static void test_negative(void **state)
{
    struct dns_question q = question_of("a.example", DNS_A);
    struct dns_answer *a = NULL;
    struct built b;

    put_question(&b, 7, RESPONSE | DNS_NXDOMAIN, "a.example", DNS_A);
    put_soa(&b, "example", 600, 20);
    assert_int_equal(take(&b, &q, &a), 0);
    assert_true(a->negative);
    assert_int_equal(a->rcode, DNS_NXDOMAIN);
    assert_int_equal(a->ttl_s, 20);
    assert_int_equal(a->nrr, 1);
    dns_answer_unref(a);
    put_question(&b, 7, RESPONSE, "a.example", DNS_A);
    put_soa(&b, "other", 600, 20); /* somebody else's SOA says nothing here */
    assert_int_equal(take(&b, &q, &a), 0);
    assert_int_equal(a->rcode, DNS_NOERROR);
    assert_int_equal(a->nrr, 0);
    assert_int_equal(a->ttl_s, 0);
    dns_answer_unref(a);
}

static void test_data(void **state)
{
    struct dns_question q = question_of("a.example", 15);
    struct dns_answer *a = NULL;
    struct dns_name n, want;
    struct built b;
    size_t at, zero = 0;

    put_question(&b, 7, RESPONSE, "a.example", 15);
    at = begin_rr(&b, ANSWERS, NULL, 15, 60);
    put16(&b, 10);
    put16(&b, 0x016d);
    put_pointer(&b, DNS_HEAD);
    end_rr(&b, at);
    assert_int_equal(take(&b, &q, &a), 0);
    assert_int_equal(a->nrr, 1);
    assert_int_equal(a->rr[0].rdlen, 2 + 13);
    assert_int_equal(dns_name_read(dns_answer_bytes(a) + a->rr[0].rdata + 2, 13, &zero, &n), 0);
    assert_int_equal(dns_name_parse("m.a.example", &want), 0);
    assert_true(dns_name_equal(&n, &want));
    dns_answer_unref(a);
    b.data[at + 1]--; /* the name's pointer is half outside of its data */
    b.len--;
    assert_int_equal(take(&b, &q, &a), -EBADMSG);
    q = question_of("a.example", DNS_A);
    for (unsigned len = 0; len < 9; len++) {
        put_question(&b, 7, RESPONSE, "a.example", DNS_A);
        at = begin_rr(&b, ANSWERS, NULL, DNS_A, 60);
        for (unsigned i = 0; i < len; i++)
            put8(&b, i);
        end_rr(&b, at);
        assert_int_equal(take(&b, &q, &a), len == 4 ? 0 : -EBADMSG);
    }
    dns_answer_unref(a);
    q = question_of("a.example", 16); /* TXT: as it is */
    put_question(&b, 7, RESPONSE, "a.example", 16);
    at = begin_rr(&b, ANSWERS, NULL, 16, 0x80000001);
    put32(&b, 0x03c00c00);
    end_rr(&b, at);
    assert_int_equal(take(&b, &q, &a), 0);
    assert_int_equal(a->rr[0].rdlen, 4);
    assert_int_equal(a->ttl_s, 0);
    dns_answer_unref(a);
}

static void test_too_many(void **state)
{
    struct dns_question q = question_of("a", DNS_A);
    struct dns_answer *a = NULL;
    struct built b;

    put_question(&b, 7, RESPONSE, "a", DNS_A);
    for (unsigned i = 0; i < DNS_RR_MAX; i++)
        put_a(&b, NULL, 60, "192.0.2.1");
    assert_int_equal(take(&b, &q, &a), 0);
    assert_int_equal(a->nrr, DNS_RR_MAX);
    dns_answer_unref(a);
    put_a(&b, NULL, 60, "192.0.2.1"); /* the rest does not matter: this many is enough */
    assert_int_equal(take(&b, &q, &a), 0);
    assert_int_equal(a->nrr, DNS_RR_MAX);
    dns_answer_unref(a);
    set_count(&b, ANSWERS, 60000);
    assert_int_equal(take(&b, &q, &a), -EBADMSG);
}

/* ---- replies ---- */

static bool keep_odd(void *arg, unsigned type, const uint8_t *addr)
{
    return addr[3] & 1;
}

static void test_reply(void **state)
{
    struct dns_query_head head;
    struct dns_answer *a = NULL;
    struct built b;
    struct dns_reply r = {.query = &head, .ttl_s = 42, .ede = DNS_EDE_NONE};
    uint8_t buf[DNS_UDP_MAX];
    char text[128];
    size_t len;

    put_question(&b, 99, QUERY, "Www.Example.Org", DNS_A);
    assert_int_equal(parse(&b, &head), 0);
    build_chain(&b);
    set_count(&b, ANSWERS, 5); /* without the last, and with a SOA that is none */
    assert_int_equal(dns_answer_parse(b.data, b.len, &head.q, &a), 0);
    r.answer = a;
    len = dns_reply_build(&r, buf, sizeof(buf));
    assert_int_equal(buf[0] << 8 | buf[1], 99);
    assert_int_equal(buf[2] << 8 | buf[3], 0x8180);
    assert_memory_equal(buf + DNS_HEAD, head.question, head.question_len); /* in the client's own case */
    assert_int_equal(get_count(buf, ANSWERS), 4);
    assert_int_equal(get_count(buf, ADDITIONAL), 0);
    answer_text(buf, len, &head.q, text, sizeof(text));
    assert_string_equal(text, "192.0.2.1 192.0.2.2");
    r.keep = keep_odd;
    len = dns_reply_build(&r, buf, sizeof(buf));
    answer_text(buf, len, &head.q, text, sizeof(text));
    assert_string_equal(text, "192.0.2.1");
    dns_answer_unref(a);
    assert_int_equal(dns_answer_parse(buf, len, &head.q, &a), 0);
    assert_int_equal(a->ttl_s, 42);
    dns_answer_unref(a);
}

static void test_reply_cut(void **state)
{
    struct dns_query_head head;
    struct dns_answer *a = NULL;
    struct built b;
    struct dns_reply r = {.query = &head, .ttl_s = 42, .ede = DNS_EDE_NONE};
    uint8_t buf[8192];
    size_t len;

    put_question(&b, 99, QUERY, "a", DNS_A);
    put_opt(&b, 600, 0);
    assert_int_equal(parse(&b, &head), 0);
    put_question(&b, 7, RESPONSE, "a", DNS_A);
    for (unsigned i = 0; i < 36; i++) /* 16 bytes each: 595 in all, 606 with the OPT */
        put_a(&b, NULL, 60, "192.0.2.1");
    assert_int_equal(dns_answer_parse(b.data, b.len, &head.q, &a), 0);
    r.answer = a;
    for (size_t most = DNS_UDP_MIN; most < 700; most++) {
        len = dns_reply_build(&r, buf, most);
        assert_true(len <= most);
        assert_int_equal(buf[2] >> 1 & 1, most < 606);
        assert_int_equal(get_count(buf, ANSWERS), most < 606 ? 0 : 36);
        assert_int_equal(get_count(buf, ADDITIONAL), 1);
        assert_int_equal(len, most < 606 ? 30 : 606);
    }
    dns_answer_unref(a);
}

static void test_reply_error(void **state)
{
    struct dns_query_head head;
    struct built b;
    struct dns_reply r = {.query = &head, .rcode = DNS_NXDOMAIN, .ede = DNS_EDE_PROHIBITED};
    static const uint8_t ede[] = {0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 6, 0, 15, 0, 2, 0, 18};
    uint8_t buf[512];
    size_t len;

    put_question(&b, 99, QUERY, "a", DNS_A);
    assert_int_equal(parse(&b, &head), 0);
    assert_int_equal(dns_reply_build(&r, buf, sizeof(buf)), b.len); /* who knows no EDNS gets none */
    assert_int_equal(buf[3] & 0xf, DNS_NXDOMAIN);
    put_opt(&b, 1232, 0);
    assert_int_equal(parse(&b, &head), 0);
    len = dns_reply_build(&r, buf, sizeof(buf));
    assert_memory_equal(buf + len - sizeof(ede), ede, sizeof(ede));
    put_question(&b, 99, QUERY, "a", DNS_A);
    put_opt(&b, 1232, 1);
    assert_int_equal(parse(&b, &head), DNS_BADVERS);
    r = (struct dns_reply){.query = &head, .rcode = DNS_BADVERS, .ede = DNS_EDE_NONE};
    len = dns_reply_build(&r, buf, sizeof(buf));
    assert_int_equal(buf[3] & 0xf, 0);
    assert_int_equal(buf[len - 6], 1);
    put_question(&b, 99, QUERY, "a", DNS_A);
    b.data[DNS_HEAD] = 0xff; /* a question that cannot be read is not repeated */
    assert_int_equal(parse(&b, &head), DNS_FORMERR);
    r = (struct dns_reply){.query = &head, .rcode = DNS_FORMERR, .ede = DNS_EDE_NONE};
    assert_int_equal(dns_reply_build(&r, buf, sizeof(buf)), DNS_HEAD);
    assert_int_equal(get_count(buf, QUESTIONS), 0);
}

static void test_ask(void **state)
{
    struct dns_question q = question_of("www.example.org", DNS_AAAA);
    struct dns_query_head head;
    uint8_t buf[DNS_ASK_MAX];

    assert_int_equal(dns_query_parse(buf, dns_ask_build(buf, 0xabcd, &q, true), &head), 0);
    assert_int_equal(head.id, 0xabcd);
    assert_int_equal(head.edns_size, DNS_UDP_MAX);
    assert_int_equal(head.q.type, DNS_AAAA);
    assert_true(dns_name_equal(&head.q.name, &q.name));
    assert_int_equal(dns_query_parse(buf, dns_ask_build(buf, 1, &q, false), &head), 0);
    assert_int_equal(head.edns_size, 0);
}

/* ---- hostile input ---- */

/* Whatever it is: no crash, and an answer that was taken can be told on. */
static void feed(const struct guard *g, const uint8_t *msg, size_t len)
{
    const uint8_t *at = (const uint8_t *)guard_put(g, msg, len);
    struct dns_question q = question_of("www.example.org", DNS_A);
    struct dns_query_head head;
    struct dns_answer *a = NULL;
    uint8_t buf[DNS_UDP_MAX];
    unsigned rcode;
    bool cut;

    if (dns_query_parse(at, len, &head) >= 0) {
        const struct dns_reply r = {.query = &head, .rcode = DNS_REFUSED, .ede = DNS_EDE_PROHIBITED};

        assert_true(dns_reply_build(&r, buf, DNS_UDP_MIN) <= DNS_UDP_MIN);
    }
    dns_response_check(at, len, 7, &q, &rcode, &cut);
    if (dns_answer_parse(at, len, &q, &a) == 0) {
        struct dns_reply r = {.query = &head, .answer = a, .ede = DNS_EDE_NONE};

        head = (struct dns_query_head){.q = q, .edns_size = 512};
        assert_true(dns_reply_build(&r, buf, sizeof(buf)) <= sizeof(buf));
        dns_answer_unref(a);
    }
}

static void test_prefixes(void **state)
{
    struct guard g = guard_new(8192);
    struct dns_query_head head;
    struct dns_question q = question_of("www.example.org", DNS_A);
    struct dns_answer *a = NULL;
    struct built b;

    put_question(&b, 7, QUERY, "www.example.org", DNS_A);
    put_opt(&b, 1232, 0);
    for (size_t n = 0; n < b.len; n++) {
        assert_int_not_equal(dns_query_parse((const uint8_t *)guard_put(&g, b.data, n), n, &head), 0);
        feed(&g, b.data, n);
    }
    put_question(&b, 7, RESPONSE, "www.example.org", DNS_A);
    put_cname(&b, NULL, 300, "edge.example.net");
    put_a(&b, "edge.example.net", 300, "192.0.2.1");
    for (size_t n = 0; n < b.len; n++) {
        feed(&g, b.data, n);
        assert_int_not_equal(dns_answer_parse((const uint8_t *)guard_put(&g, b.data, n), n, &q, &a), 0);
    }
    guard_done(&g);
}

static void test_garbage(void **state)
{
    struct guard g = guard_new(8192);
    struct built good[2], b;
    uint32_t seed = 1;

    put_question(&good[0], 7, QUERY, "www.example.org", DNS_A);
    put_opt(&good[0], 1232, 0);
    build_chain(&good[1]);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned changes;

        b = good[i & 1];
        seed = seed * 1664525U + 1013904223U;
        changes = 1 + (seed >> 28);
        for (unsigned k = 0; k < changes; k++) {
            seed = seed * 1664525U + 1013904223U;
            b.data[(seed >> 8) % b.len] = (uint8_t)(seed & 1 ? seed >> 24 : 0xc0U | (seed >> 24));
        }
        feed(&g, b.data, b.len);
    }
    guard_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),          cmocka_unit_test(test_query_refused), cmocka_unit_test(test_names),         cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_response_check), cmocka_unit_test(test_chain),         cmocka_unit_test(test_chain_endless), cmocka_unit_test(test_negative),
        cmocka_unit_test(test_data),           cmocka_unit_test(test_too_many),      cmocka_unit_test(test_reply),         cmocka_unit_test(test_reply_cut),
        cmocka_unit_test(test_reply_error),    cmocka_unit_test(test_ask),           cmocka_unit_test(test_prefixes),      cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
