/* dns_policy.h: what the instances of a function may look up, and which addresses an answer may hold. Pure: the runner's record in, verdicts out. */
#pragma once

#include "dns_message.h"
#include "record.h"

/* Addresses of a name of the list that the runner has opened, so that it is not asked for each query again. */
struct dns_opened {
    uint64_t expires_ns; /* 0: none */
    unsigned n;
    uint8_t addrs[RECORD_DNS_ADDRS_MAX][16];
};

struct dns_host {
    char name[SPEC_HOST_MAX + 2];
    struct dns_opened v4, v6;
};

struct dns_policy {
    uint32_t egress; /* enum spec_egress */
    bool mesh, ipv6;
    unsigned nhosts; /* also with another egress, while instances of a version that has a list live beside others */
    struct dns_host hosts[];
};

struct dns_policy *dns_policy_new(const struct record_policy *rec); /* free(3) */

enum dns_verdict_kind {
    DNS_SAY,      /* answer with rcode and no record */
    DNS_ASK,      /* ask a resolver */
    DNS_LOOPBACK, /* localhost */
    DNS_MESH      /* a name below fnd.internal: text of what stands before it in `rest` */
};

struct dns_verdict {
    enum dns_verdict_kind kind;
    unsigned rcode, ede;
    char rest[DNS_NAME_MAX + 1];
};

/* NULL: no policy is known, nothing may be looked up. bridges: the addresses of ours, IPv4 in network byte order. */
struct dns_verdict dns_policy_decide(const struct dns_policy *p, const struct dns_question *q, const uint32_t *bridges, unsigned nbridges);

/* What is known to be open goes from the old policy to the new one, for names that both have. NULL: nothing. */
void dns_policy_carry(const struct dns_policy *old, struct dns_policy *p);

/* The name of the list that is asked for, or NULL. */
struct dns_host *dns_policy_host(struct dns_policy *p, const struct dns_question *q);

/*
 * May an answer hold this address (type DNS_A or DNS_AAAA)? Never one of the host, of our bridges, loopback, link-local, multicast; with egress = internet no private one either. The firewall would not let the
 * packets through; this keeps names of the Internet from meaning something inside (rebinding).
 */
bool dns_policy_keeps(const struct dns_policy *p, unsigned type, const uint8_t *addr, const uint32_t *bridges, unsigned nbridges);
