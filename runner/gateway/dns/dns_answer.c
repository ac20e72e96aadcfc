/*
 * dns_answer.c: takes a resolver's response apart; see dns_message.h.
 *
 * Kept are: the aliases (CNAME) from the asked name on, each at the name that the one before named; the records of the asked type at the chain's end; for a negative answer the SOA of a zone that the end lies in.
 * Nothing else that a response carries is looked at, so what somebody's name server adds about other names goes nowhere. Names in the data are uncompressed, since the message they point into is gone afterwards.
 */
#include "dns_message.h"

#include "fd.h"
#include "str.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX 512U /* looked at, in a section */
#define TTL_BOUND   0x7fffffffU

/* Data that begins with `before` bytes, has `names` names and ends with `after` bytes: types whose names may be compressed (RFC 3597, 4), and those whose length is fixed. Others are copied as they are. */
static const struct layout {
    uint16_t type;
    uint8_t before, names, after;
} layouts[] = {
    {DNS_A, 4, 0, 0},          {2 /* NS */, 0, 1, 0},  {3 /* MD */, 0, 1, 0},   {4 /* MF */, 0, 1, 0},     {DNS_CNAME, 0, 1, 0},
    {DNS_SOA, 0, 2, 20},       {7 /* MB */, 0, 1, 0},  {8 /* MG */, 0, 1, 0},   {9 /* MR */, 0, 1, 0},     {DNS_PTR, 0, 1, 0},
    {14 /* MINFO */, 0, 2, 0}, {15 /* MX */, 2, 1, 0}, {17 /* RP */, 0, 2, 0},  {18 /* AFSDB */, 2, 1, 0}, {21 /* RT */, 2, 1, 0},
    {26 /* PX */, 2, 2, 0},    {DNS_AAAA, 16, 0, 0},   {33 /* SRV */, 6, 1, 0}, {36 /* KX */, 2, 1, 0},    {39 /* DNAME */, 0, 1, 0},
};

struct raw {
    struct dns_name owner;
    unsigned type, class;
    uint32_t ttl_s;
    size_t rdata, rdlen;
};

struct building {
    const uint8_t *msg;
    size_t len;
    struct dns_rr rr[DNS_RR_MAX];
    unsigned nrr;
    uint32_t ttl_s;
    struct strbuf bytes;
};

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

struct dns_answer *dns_answer_ref(struct dns_answer *a)
{
    a->refs++;
    return a;
}

void dns_answer_unref(struct dns_answer *a)
{
    if (a && --a->refs == 0)
        free(a);
}

static int read_raw(const uint8_t *msg, size_t len, size_t *at, struct raw *ret)
{
    const uint8_t *p;

    if (dns_name_read(msg, len, at, &ret->owner) < 0 || len - *at < 10)
        return -EBADMSG;
    p = msg + *at;
    ret->type = get16(p);
    ret->class = get16(p + 2);
    ret->ttl_s = get32(p + 4);
    if (ret->ttl_s > TTL_BOUND) /* RFC 2181, 8 */
        ret->ttl_s = 0;
    ret->rdlen = get16(p + 8);
    *at += 10;
    ret->rdata = *at;
    if (len - *at < ret->rdlen)
        return -EBADMSG;
    *at += ret->rdlen;
    return 0;
}

static const struct layout *layout_of(unsigned type)
{
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        if (layouts[i].type == type)
            return &layouts[i];
    return NULL;
}

/* A name in record data may point back, but its own bytes may not reach beyond the data. */
static int add_rdata(struct building *b, const struct raw *raw)
{
    const struct layout *l = layout_of(raw->type);
    size_t at = raw->rdata, end = raw->rdata + raw->rdlen;

    if (!l) {
        strbuf_add(&b->bytes, b->msg + at, raw->rdlen);
        return 0;
    }
    if (raw->rdlen < (size_t)l->before + l->after)
        return -EBADMSG;
    strbuf_add(&b->bytes, b->msg + at, l->before);
    at += l->before;
    for (unsigned i = 0; i < l->names; i++) {
        struct dns_name n;

        if (dns_name_read(b->msg, end, &at, &n) < 0)
            return -EBADMSG;
        strbuf_add(&b->bytes, n.wire, n.len);
    }
    if (end - at != l->after)
        return -EBADMSG;
    strbuf_add(&b->bytes, b->msg + at, l->after);
    return 0;
}

static int add_rr(struct building *b, uint32_t owner, const struct raw *raw, bool authority)
{
    uint32_t start = (uint32_t)b->bytes.len;
    int r;

    if (b->nrr == DNS_RR_MAX)
        return -EBADMSG;
    r = add_rdata(b, raw);
    if (r == 0 && b->bytes.len - start > UINT16_MAX)
        r = -EBADMSG;
    if (r < 0)
        return r;
    b->rr[b->nrr++] = (struct dns_rr){
        .type = (uint16_t)raw->type, .rdlen = (uint16_t)(b->bytes.len - start), .owner = owner, .owner_len = raw->owner.len, .rdata = start, .authority = authority};
    if (raw->ttl_s < b->ttl_s)
        b->ttl_s = raw->ttl_s;
    return 0;
}

static uint32_t add_name(struct building *b, const struct dns_name *n)
{
    uint32_t start = (uint32_t)b->bytes.len;

    strbuf_add(&b->bytes, n->wire, n->len);
    return start;
}

/* All records of the type at `name`. Returns how many; the last one in *ret_last. */
static int collect(struct building *b, size_t at, unsigned count, const struct dns_name *name, unsigned type, unsigned most, struct raw *ret_last)
{
    uint32_t owner = 0;
    int n = 0, r;

    for (; count > 0 && (unsigned)n < most; count--) {
        struct raw raw;

        if (read_raw(b->msg, b->len, &at, &raw) < 0)
            return -EBADMSG;
        if (raw.class != 1 || raw.type != type || !dns_name_equal(&raw.owner, name))
            continue;
        if (n++ == 0)
            owner = add_name(b, &raw.owner);
        r = add_rr(b, owner, &raw, false);
        if (r < 0)
            return r;
        *ret_last = raw;
    }
    return n;
}

/* Follows the aliases from *name, which is the chain's end afterwards. Returns how many records of the asked type there are. */
static int follow(struct building *b, size_t at, unsigned count, unsigned type, struct dns_name *name)
{
    for (unsigned i = 0; i <= DNS_CHAIN; i++) {
        struct raw raw = {0};
        int n = collect(b, at, count, name, type, DNS_RR_MAX, &raw);

        if (n != 0)
            return n;
        n = collect(b, at, count, name, DNS_CNAME, 1, &raw);
        if (n <= 0)
            return n;
        if (dns_name_read(b->msg, b->len, &raw.rdata, name) < 0)
            return -EBADMSG;
    }
    return -EBADMSG;
}

/* RFC 2308, 5: a negative answer lives as long as its SOA says, and without one not at all. */
static int add_soa(struct building *b, size_t at, unsigned count, const struct dns_name *name)
{
    for (; count > 0; count--) {
        struct raw raw;
        uint32_t minimum;
        int r;

        if (read_raw(b->msg, b->len, &at, &raw) < 0)
            return -EBADMSG;
        if (raw.type != DNS_SOA || raw.class != 1 || !dns_name_within(name, raw.owner.wire, raw.owner.len))
            continue;
        r = add_rr(b, add_name(b, &raw.owner), &raw, true);
        if (r < 0)
            return r;
        minimum = get32(b->msg + raw.rdata + raw.rdlen - 4);
        if (minimum < b->ttl_s)
            b->ttl_s = minimum;
        return 1;
    }
    return 0;
}

static int skip_records(const uint8_t *msg, size_t len, size_t *at, unsigned count)
{
    struct raw raw;

    for (; count > 0; count--)
        if (read_raw(msg, len, at, &raw) < 0)
            return -EBADMSG;
    return 0;
}

static struct dns_answer *assemble(const struct building *b)
{
    size_t size = sizeof(struct dns_answer) + b->nrr * sizeof(struct dns_rr) + b->bytes.len;
    struct dns_answer *a = b->bytes.failed ? NULL : calloc(1, size);

    if (!a)
        return NULL;
    a->refs = 1;
    a->size = size;
    a->nrr = b->nrr;
    a->ttl_s = b->ttl_s;
    if (b->nrr) {
        memcpy(a->rr, b->rr, b->nrr * sizeof(struct dns_rr));
        memcpy(&a->rr[b->nrr], b->bytes.data, b->bytes.len);
    }
    return a;
}

int dns_response_check(const uint8_t *msg, size_t len, uint16_t id, const struct dns_question *q, unsigned *ret_rcode, bool *ret_cut)
{
    struct dns_name name;
    size_t at = DNS_HEAD;
    unsigned flags;

    if (len < DNS_HEAD || get16(msg) != id)
        return -ENOENT;
    flags = get16(msg + 2);
    if (!(flags & 0x8000) || (flags >> 11 & 0xf) || get16(msg + 4) != 1)
        return -ENOENT;
    if (dns_name_read(msg, len, &at, &name) < 0 || len - at < 4 || !dns_name_equal(&name, &q->name) || get16(msg + at) != q->type || get16(msg + at + 2) != 1)
        return -ENOENT;
    *ret_rcode = flags & 0xf;
    *ret_cut = flags & 0x0200;
    return 0;
}

static int parse_sections(struct building *b, const struct dns_question *q, bool *ret_negative)
{
    struct dns_name name;
    size_t at = DNS_HEAD, answers;
    unsigned nanswers = get16(b->msg + 6), nauthority = get16(b->msg + 8);
    int n;

    if (nanswers > RECORDS_MAX || nauthority > RECORDS_MAX || dns_name_read(b->msg, b->len, &at, &name) < 0)
        return -EBADMSG;
    at += 4;
    answers = at;
    name = q->name;
    if (skip_records(b->msg, b->len, &at, nanswers) < 0)
        return -EBADMSG;
    n = follow(b, answers, nanswers, q->type, &name);
    if (n != 0) {
        *ret_negative = false;
        return n < 0 ? n : 0;
    }
    *ret_negative = true;
    n = add_soa(b, at, nauthority, &name);
    if (n == 0)
        b->ttl_s = 0;
    return n < 0 ? n : 0;
}

int dns_answer_parse(const uint8_t *msg, size_t len, const struct dns_question *q, struct dns_answer **ret)
{
    struct building *b = calloc(1, sizeof(*b));
    struct dns_answer *a = NULL;
    bool negative = false;
    int r;

    if (!b)
        return -ENOMEM;
    *b = (struct building){.msg = msg, .len = len, .ttl_s = TTL_BOUND};
    r = len < DNS_HEAD ? -EBADMSG : parse_sections(b, q, &negative);
    if (r == 0) {
        a = assemble(b);
        r = a ? 0 : -ENOMEM;
    }
    if (a) {
        a->negative = negative;
        a->rcode = negative ? get16(msg + 2) & 0xf : DNS_NOERROR; /* records that are there are there */
        *ret = a;
    }
    strbuf_done(&b->bytes);
    free(b);
    return r;
}

struct dns_answer *dns_answer_make(const struct dns_question *q, unsigned type, const void *addrs, unsigned n)
{
    size_t each = type == DNS_AAAA ? 16 : 4;
    size_t size = sizeof(struct dns_answer) + n * sizeof(struct dns_rr) + q->name.len + n * each;
    struct dns_answer *a = calloc(1, size);
    uint8_t *bytes;

    if (!a)
        return NULL;
    a->refs = 1;
    a->size = size;
    a->nrr = n;
    a->negative = n == 0;
    bytes = (uint8_t *)&a->rr[n];
    memcpy(bytes, q->name.wire, q->name.len);
    if (n)
        memcpy(bytes + q->name.len, addrs, n * each);
    for (unsigned i = 0; i < n; i++)
        a->rr[i] = (struct dns_rr){.type = (uint16_t)type, .rdlen = (uint16_t)each, .owner_len = q->name.len, .rdata = (uint32_t)(q->name.len + i * each)};
    return a;
}
