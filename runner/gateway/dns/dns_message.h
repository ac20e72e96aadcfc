/*
 * dns_message.h: DNS messages (RFC 1035, EDNS: RFC 6891, extended errors: RFC 8914) as plain data. Pure: no socket, no clock, no policy.
 *
 * Everything that is read comes from somebody who may be hostile: names are at most 255 bytes, compression pointers go strictly backwards, nothing is read behind the length that was given. An answer is
 * taken apart and built anew for each client; of a response only the records at the asked name, or at the end of the chain of aliases that begins there, are kept.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX 255
#define DNS_HEAD     12U
#define DNS_UDP_MIN  512U   /* RFC 1035: what every client takes */
#define DNS_UDP_MAX  1232U  /* the most that we send or ask for over UDP: no fragments on any path (dnsflagday.net/2020) */
#define DNS_TCP_MAX  65535U /* a length prefix of 16 bits */
#define DNS_RR_MAX   256U   /* records that are kept of one answer */
#define DNS_CHAIN    16U    /* aliases that are followed */
#define DNS_ASK_MAX  (DNS_HEAD + DNS_NAME_MAX + 4U + 11U)

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_AAAA = 28, DNS_OPT = 41 };
enum dns_rcode { DNS_NOERROR, DNS_FORMERR, DNS_SERVFAIL, DNS_NXDOMAIN, DNS_NOTIMP, DNS_REFUSED, DNS_BADVERS = 16 };

#define DNS_EDE_NONE       0xffffU /* 0 is a code of its own */
#define DNS_EDE_PROHIBITED 18U     /* RFC 8914, 4.19 */

/* ---- dns_name.c ---- */

struct dns_name {
    uint16_t len;               /* with the root label */
    uint8_t wire[DNS_NAME_MAX]; /* labels, uncompressed, in the case they came in */
};

/* Reads the name at msg[*at] and moves *at behind it. -EBADMSG. */
int dns_name_read(const uint8_t *msg, size_t len, size_t *at, struct dns_name *ret);
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b); /* ignores case */
/* Is `name` the other one or below it? */
bool dns_name_within(const struct dns_name *name, const uint8_t *zone, size_t zone_len);
uint32_t dns_name_hash(const struct dns_name *name); /* ignores case */
/* "www.example.org" in lower case, "" for the root; -EINVAL if a label holds anything but letters, digits, '-' and '_'. */
int dns_name_text(const struct dns_name *name, char ret[DNS_NAME_MAX + 1]);
/* The reverse; a dot at the end is allowed. -EINVAL. */
int dns_name_parse(const char *text, struct dns_name *ret);

struct dns_question {
    struct dns_name name;
    uint16_t type; /* class IN */
};

/* ---- dns_message.c: queries and replies ---- */

struct dns_query_head {
    uint16_t id;
    bool rd, cd;
    uint16_t edns_size; /* what the client takes over UDP; 0: it knows no EDNS */
    struct dns_question q;
    uint16_t question_len; /* 0: there was no question that could be read */
    uint8_t question[DNS_NAME_MAX + 4];
};

/* A client's query. 0; an enum dns_rcode (> 0) that it is to be refused with, *ret filled as far as it could be read; -EBADMSG: not to be answered at all. */
int dns_query_parse(const uint8_t *msg, size_t len, struct dns_query_head *ret);

struct dns_answer;
struct dns_reply {
    const struct dns_query_head *query;
    unsigned rcode;
    const struct dns_answer *answer;                              /* or NULL */
    uint32_t ttl_s;                                               /* of every record */
    unsigned ede;                                                 /* extended error, DNS_EDE_NONE; only for clients that know EDNS */
    bool (*keep)(void *arg, unsigned type, const uint8_t *rdata); /* NULL: all; asked for A and AAAA alone */
    void *arg;
};

/* Builds the reply in buf (at least DNS_UDP_MIN bytes). If it is larger than `most` (<= size) it is cut to a reply without records that says so (TC). Returns its length. */
size_t dns_reply_build(const struct dns_reply *r, uint8_t *buf, size_t most);

/* A query to a resolver: recursion desired, with or without EDNS. buf of DNS_ASK_MAX. Returns its length. */
size_t dns_ask_build(uint8_t *buf, uint16_t id, const struct dns_question *q, bool edns);

/* ---- dns_answer.c: what a resolver said ---- */

struct dns_rr {
    uint16_t type, rdlen;
    uint32_t owner, rdata; /* offsets into the answer's bytes; names in rdata are uncompressed */
    uint16_t owner_len;
    bool authority; /* the SOA of a negative answer */
};

struct dns_answer {
    unsigned refs;
    unsigned rcode;      /* DNS_NOERROR, DNS_NXDOMAIN; DNS_SERVFAIL: nobody answered, kept for a moment */
    bool negative;       /* no record of the asked type */
    uint32_t ttl_s;      /* the smallest in it; 0: not to be kept */
    uint64_t expires_ns; /* the resolver's */
    size_t size;         /* bytes of memory */
    unsigned nrr;
    struct dns_rr rr[]; /* then the bytes */
};

static inline const uint8_t *dns_answer_bytes(const struct dns_answer *a)
{
    return (const uint8_t *)&a->rr[a->nrr];
}

struct dns_answer *dns_answer_ref(struct dns_answer *a);
void dns_answer_unref(struct dns_answer *a); /* NULL: nothing */

/*
 * Is it a response to this very question? -ENOENT: no, to be ignored as if it had never come. Else 0, and its rcode; ret_cut: it was cut, ask over TCP.
 */
int dns_response_check(const uint8_t *msg, size_t len, uint16_t id, const struct dns_question *q, unsigned *ret_rcode, bool *ret_cut);

/* The answer in a response that dns_response_check accepted, with rcode NOERROR or NXDOMAIN. *ret is the caller's reference. -EBADMSG, -ENOMEM. */
int dns_answer_parse(const uint8_t *msg, size_t len, const struct dns_question *q, struct dns_answer **ret);

/* Addresses of our own for the asked name: n of 4 (A) or 16 bytes (AAAA) each. n 0: none of that type. */
struct dns_answer *dns_answer_make(const struct dns_question *q, unsigned type, const void *addrs, unsigned n);
