/* dns_message.c: queries as clients send them, replies as they get them, and the query that goes to a resolver; see dns_message.h. */
#include "dns_message.h"

#include <errno.h>
#include <string.h>

#define FLAG_QR        0x8000U
#define FLAG_TC        0x0200U
#define FLAG_RD        0x0100U
#define FLAG_RA        0x0080U
#define FLAG_CD        0x0010U
#define CLASS_IN       1U
#define EDE_OPTION     15U /* RFC 8914 */
#define OPT_LEN        11U
#define OPT_EDE_LEN    6U
#define ADDITIONAL_MAX 4U

/* Types that only a query can have, and those that are not data: RFC 6895, 3.1. Zone transfers, ANY and TSIG are among them. */
static bool is_meta(unsigned type)
{
    return type == 0 || type == DNS_OPT || (type >= 128 && type <= 255);
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint8_t *put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    return put16(put16(p, v >> 16), v & 0xffff);
}

/* The one question; its name may not be compressed, there is nothing before it that it could point to. */
static int read_question(const uint8_t *msg, size_t len, size_t *at, struct dns_query_head *ret)
{
    size_t start = *at;

    if (dns_name_read(msg, len, at, &ret->q.name) < 0 || len - *at < 4)
        return -EBADMSG;
    ret->q.type = (uint16_t)get16(msg + *at);
    *at += 4;
    ret->question_len = (uint16_t)(*at - start);
    memcpy(ret->question, msg + start, ret->question_len);
    return get16(msg + *at - 2) == CLASS_IN ? 0 : DNS_REFUSED;
}

/* What follows the question: at most one OPT, and perhaps signatures that are of no use to us. */
static int read_additional(const uint8_t *msg, size_t len, size_t *at, unsigned count, struct dns_query_head *ret)
{
    int r = 0;

    if (count > ADDITIONAL_MAX)
        return DNS_FORMERR;
    for (; count > 0; count--) {
        struct dns_name owner;
        unsigned type, size, version, rdlen;

        if (dns_name_read(msg, len, at, &owner) < 0 || len - *at < 10)
            return DNS_FORMERR;
        type = get16(msg + *at);
        size = get16(msg + *at + 2);
        version = msg[*at + 5];
        rdlen = get16(msg + *at + 8);
        *at += 10;
        if (len - *at < rdlen)
            return DNS_FORMERR;
        *at += rdlen;
        if (type != DNS_OPT)
            continue;
        if (ret->edns_size || owner.len != 1)
            return DNS_FORMERR;
        ret->edns_size = (uint16_t)(size < DNS_UDP_MIN ? DNS_UDP_MIN : size);
        if (version != 0)
            r = DNS_BADVERS;
    }
    return r;
}

int dns_query_parse(const uint8_t *msg, size_t len, struct dns_query_head *ret)
{
    size_t at = DNS_HEAD;
    unsigned flags;
    int r, refused;

    *ret = (struct dns_query_head){0};
    if (len < DNS_HEAD)
        return -EBADMSG;
    flags = get16(msg + 2);
    if (flags & FLAG_QR) /* answers to answers never end */
        return -EBADMSG;
    ret->id = (uint16_t)get16(msg);
    ret->rd = flags & FLAG_RD;
    ret->cd = flags & FLAG_CD;
    if (flags >> 11 & 0xf)
        return DNS_NOTIMP;
    if ((flags & FLAG_TC) || get16(msg + 4) != 1)
        return DNS_FORMERR;
    refused = read_question(msg, len, &at, ret);
    if (refused < 0)
        return DNS_FORMERR;
    if (refused || is_meta(ret->q.type) || !ret->rd) /* without recursion it could only want to know what is in our cache */
        return DNS_REFUSED;
    if (get16(msg + 6) || get16(msg + 8))
        return DNS_FORMERR;
    r = read_additional(msg, len, &at, get16(msg + 10), ret);
    return r == 0 && at != len ? DNS_FORMERR : r;
}

/* ---- replies ---- */

struct out {
    uint8_t *at, *end;
    bool full;
};

static uint8_t *out_take(struct out *o, size_t n)
{
    uint8_t *p = o->at;

    if (o->full || (size_t)(o->end - o->at) < n) {
        o->full = true;
        return NULL;
    }
    o->at += n;
    return p;
}

/* The places that an owner's name may point to: the question's, and that of the last alias. */
struct owners {
    const uint8_t *msg, *alias;
    size_t alias_len;
};

static void put_owner(struct out *o, const struct owners *w, const struct dns_query_head *q, const uint8_t *name, size_t len)
{
    struct dns_name n = {.len = (uint16_t)len};
    size_t offset = 0;
    uint8_t *p;

    memcpy(n.wire, name, len);
    if (dns_name_equal(&n, &q->q.name))
        offset = DNS_HEAD;
    else if (w->alias && w->alias_len == len && memcmp(w->alias, name, len) == 0)
        offset = (size_t)(w->alias - w->msg);
    if (offset > 0 && offset < 0x4000) {
        p = out_take(o, 2);
        if (p)
            put16(p, 0xc000U | (unsigned)offset);
        return;
    }
    p = out_take(o, len);
    if (p)
        memcpy(p, name, len);
}

static void put_rr(struct out *o, struct owners *w, const struct dns_reply *r, const struct dns_rr *rr)
{
    const uint8_t *bytes = dns_answer_bytes(r->answer);
    uint8_t *p;

    put_owner(o, w, r->query, bytes + rr->owner, rr->owner_len);
    p = out_take(o, 10U + rr->rdlen);
    if (!p)
        return;
    p = put16(put16(p, rr->type), CLASS_IN);
    p = put16(put32(p, r->ttl_s), rr->rdlen);
    memcpy(p, bytes + rr->rdata, rr->rdlen);
    if (rr->type == DNS_CNAME) {
        w->alias = p;
        w->alias_len = rr->rdlen;
    }
}

static unsigned put_section(struct out *o, struct owners *w, const struct dns_reply *r, bool authority)
{
    unsigned n = 0;

    for (unsigned i = 0; r->answer && i < r->answer->nrr; i++) {
        const struct dns_rr *rr = &r->answer->rr[i];

        if (rr->authority != authority)
            continue;
        if (r->keep && (rr->type == DNS_A || rr->type == DNS_AAAA) && !r->keep(r->arg, rr->type, dns_answer_bytes(r->answer) + rr->rdata))
            continue;
        put_rr(o, w, r, rr);
        n++;
    }
    return n;
}

static size_t opt_len(const struct dns_reply *r)
{
    return !r->query->edns_size ? 0 : OPT_LEN + (r->ede == DNS_EDE_NONE ? 0 : OPT_EDE_LEN);
}

static uint8_t *put_opt(uint8_t *p, const struct dns_reply *r)
{
    if (!r->query->edns_size)
        return p;
    *p++ = 0;
    p = put16(put16(p, DNS_OPT), DNS_UDP_MAX);
    p = put32(p, (uint32_t)(r->rcode >> 4) << 24);
    p = put16(p, r->ede == DNS_EDE_NONE ? 0 : OPT_EDE_LEN);
    if (r->ede != DNS_EDE_NONE)
        p = put16(put16(put16(p, EDE_OPTION), 2), r->ede);
    return p;
}

static uint8_t *put_head(uint8_t *p, const struct dns_reply *r, bool cut, unsigned answers, unsigned authority)
{
    const struct dns_query_head *q = r->query;

    p = put16(p, q->id);
    p = put16(p, FLAG_QR | FLAG_RA | (q->rd ? FLAG_RD : 0) | (q->cd ? FLAG_CD : 0) | (cut ? FLAG_TC : 0) | (r->rcode & 0xf));
    p = put16(put16(p, q->question_len > 0), answers);
    return put16(put16(p, authority), q->edns_size > 0);
}

size_t dns_reply_build(const struct dns_reply *r, uint8_t *buf, size_t most)
{
    size_t tail = opt_len(r);
    struct out o = {.at = buf + DNS_HEAD + r->query->question_len, .end = buf + most - tail}; /* so much always fits: the least `most` is 512 */
    struct owners w = {.msg = buf};
    unsigned answers, authority;

    memcpy(buf + DNS_HEAD, r->query->question, r->query->question_len);
    answers = put_section(&o, &w, r, false);
    authority = put_section(&o, &w, r, true);
    if (o.full) {
        o.at = buf + DNS_HEAD + r->query->question_len;
        answers = authority = 0;
    }
    put_head(buf, r, o.full, answers, authority);
    return (size_t)(put_opt(o.at, r) - buf);
}

size_t dns_ask_build(uint8_t *buf, uint16_t id, const struct dns_question *q, bool edns)
{
    uint8_t *p = put16(put16(buf, id), FLAG_RD);

    p = put16(put16(p, 1), 0);
    p = put16(put16(p, 0), edns);
    memcpy(p, q->name.wire, q->name.len);
    p = put16(put16(p + q->name.len, q->type), CLASS_IN);
    if (edns) {
        *p++ = 0;
        p = put16(put16(p, DNS_OPT), DNS_UDP_MAX);
        p = put16(put32(p, 0), 0);
    }
    return (size_t)(p - buf);
}
