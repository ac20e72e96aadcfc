/* dns_build.h: DNS messages byte by byte, as an honest or a hostile peer would send them. */
#pragma once

#include "check.h"

#include "../../runner/gateway/dns/dns_message.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct built {
    uint8_t data[8192];
    size_t len;
};

static inline void put8(struct built *b, unsigned v)
{
    assert_true(b->len < sizeof(b->data));
    b->data[b->len++] = (uint8_t)v;
}

static inline void put16(struct built *b, unsigned v)
{
    put8(b, v >> 8);
    put8(b, v & 0xff);
}

static inline void put32(struct built *b, uint32_t v)
{
    put16(b, v >> 16);
    put16(b, v & 0xffff);
}

static inline void put_name(struct built *b, const char *text)
{
    struct dns_name n;

    assert_int_equal(dns_name_parse(text, &n), 0);
    for (unsigned i = 0; i < n.len; i++)
        put8(b, n.wire[i]);
}

static inline void put_pointer(struct built *b, size_t to)
{
    put16(b, 0xc000U | (unsigned)to);
}

/* Header and question; counts are set by set_count. */
static inline void put_question(struct built *b, unsigned id, unsigned flags, const char *name, unsigned type)
{
    b->len = 0;
    put16(b, id);
    put16(b, flags);
    put16(b, 1);
    put16(b, 0);
    put32(b, 0);
    put_name(b, name);
    put16(b, type);
    put16(b, 1);
}

enum { QUESTIONS = 4, ANSWERS = 6, AUTHORITY = 8, ADDITIONAL = 10 };

static inline unsigned get_count(const uint8_t *msg, unsigned at)
{
    return (unsigned)msg[at] << 8 | msg[at + 1];
}

static inline void set_count(struct built *b, unsigned at, unsigned n)
{
    b->data[at] = (uint8_t)(n >> 8);
    b->data[at + 1] = (uint8_t)n;
}

/* Owner (NULL: a pointer to the question's), type and ttl; returns where the length of its data stands, which end_rr fills in. */
static inline size_t begin_rr(struct built *b, unsigned section, const char *owner, unsigned type, uint32_t ttl_s)
{
    set_count(b, section, get_count(b->data, section) + 1);
    if (owner)
        put_name(b, owner);
    else
        put_pointer(b, DNS_HEAD);
    put16(b, type);
    put16(b, 1);
    put32(b, ttl_s);
    put16(b, 0);
    return b->len - 2;
}

static inline void end_rr(struct built *b, size_t at)
{
    set_count(b, (unsigned)at, (unsigned)(b->len - at - 2));
}

static inline void put_a(struct built *b, const char *owner, uint32_t ttl_s, const char *addr)
{
    size_t at = begin_rr(b, ANSWERS, owner, DNS_A, ttl_s);
    struct in_addr a;

    assert_int_equal(inet_pton(AF_INET, addr, &a), 1);
    put32(b, ntohl(a.s_addr));
    end_rr(b, at);
}

static inline void put_aaaa(struct built *b, const char *owner, uint32_t ttl_s, const char *addr)
{
    size_t at = begin_rr(b, ANSWERS, owner, DNS_AAAA, ttl_s);
    uint8_t a[16];

    assert_int_equal(inet_pton(AF_INET6, addr, a), 1);
    for (unsigned i = 0; i < 16; i++)
        put8(b, a[i]);
    end_rr(b, at);
}

static inline void put_cname(struct built *b, const char *owner, uint32_t ttl_s, const char *target)
{
    size_t at = begin_rr(b, ANSWERS, owner, DNS_CNAME, ttl_s);

    put_name(b, target);
    end_rr(b, at);
}

static inline void put_soa(struct built *b, const char *zone, uint32_t ttl_s, uint32_t minimum)
{
    size_t at = begin_rr(b, AUTHORITY, zone, DNS_SOA, ttl_s);

    put_name(b, "ns.example");
    put_name(b, "mail.example");
    for (unsigned i = 0; i < 4; i++)
        put32(b, i);
    put32(b, minimum);
    end_rr(b, at);
}

static inline void put_opt(struct built *b, unsigned size, unsigned version)
{
    set_count(b, ADDITIONAL, get_count(b->data, ADDITIONAL) + 1);
    put8(b, 0);
    put16(b, DNS_OPT);
    put16(b, size);
    put8(b, 0);
    put8(b, version);
    put16(b, 0);
    put16(b, 0);
}

static inline struct dns_question question_of(const char *name, unsigned type)
{
    struct dns_question q = {.type = (uint16_t)type};

    assert_int_equal(dns_name_parse(name, &q.name), 0);
    return q;
}

/* The addresses (type A) of a message's answer section, as text: "1.2.3.4 5.6.7.8". Asserts that the message is sound. */
static inline void answer_text(const uint8_t *msg, size_t len, const struct dns_question *q, char *ret, size_t size)
{
    struct dns_answer *a = NULL;
    size_t at = 0;

    ret[0] = '\0';
    assert_int_equal(dns_answer_parse(msg, len, q, &a), 0);
    for (unsigned i = 0; i < a->nrr; i++) {
        char addr[INET6_ADDRSTRLEN];

        if (a->rr[i].type != DNS_A && a->rr[i].type != DNS_AAAA)
            continue;
        inet_ntop(a->rr[i].type == DNS_A ? AF_INET : AF_INET6, dns_answer_bytes(a) + a->rr[i].rdata, addr, sizeof(addr));
        at += (size_t)snprintf(ret + at, size - at, "%s%s", at ? " " : "", addr);
        assert_true(at < size);
    }
    dns_answer_unref(a);
}
