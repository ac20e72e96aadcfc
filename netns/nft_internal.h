/*
 * nft_internal.h: nfnetlink transactions over libnftnl, and what is built with them.
 *
 * nft_*     nft_batch.c     a transaction; nft_expr.c: rules from expressions
 * special_* special.c       which addresses are not public
 * known_*   slot_known.c    the slots that are there and what was opened for them
 * rules_*   rules_text.c    the host's tables as text; rules_host.c: installing them; rules_sets.c: elements; rules_slot.c: the table in a slot
 */
#pragma once

#include "net_internal.h"

#include <libmnl/libmnl.h>
#include <stdint.h>

struct nftnl_rule;
struct strbuf;

struct nft_batch {
    char *buf;
    size_t used, room, last; /* last: offset of the message begun last */
    uint32_t seq;
    int err; /* errno of the first failure while building; nothing is sent then */
};

void nft_begin(struct nft_batch *b);
/* Room for a message of NFT_MESSAGE_MAX bytes; NULL when building has failed. Closed by nft_message_end. */
#define NFT_MESSAGE_MAX (16U * 1024)
struct nlmsghdr *nft_message(struct nft_batch *b, uint16_t type, uint16_t family, uint16_t flags);
void nft_message_end(struct nft_batch *b, const struct nlmsghdr *h);
/* One transaction: all or nothing. 0 or -errno. */
int nft_send(struct nft_batch *b, int sock);
void nft_batch_done(struct nft_batch *b);
#define cleanup_nft __attribute__((cleanup(nft_batch_done)))

/* Adds or deletes one element; `jump` is the chain of a verdict map's element, or NULL. timeout_ms 0: none. */
struct nft_elem {
    uint16_t family; /* NFPROTO_INET, NFPROTO_BRIDGE */
    const char *set;
    uint8_t key[48];
    uint32_t key_len;
    const char *jump;
    uint64_t timeout_ms;
};
void nft_put_elem(struct nft_batch *b, const char *table, const struct nft_elem *e, bool add);
/* Whether it is there or not: added, and deleted, in one transaction. */
void nft_put_elem_gone(struct nft_batch *b, const char *table, const struct nft_elem *e);

/* Appends a field, padded to 4 bytes, to the key of a concatenation. */
void nft_key(struct nft_elem *e, const void *data, size_t len);

/* Calls fn for every message of a dump of `type` (NFT_MSG_GETCHAIN ...) restricted to one table where `table` is not NULL (GETSETELEM: and one set). 0, or -errno: -EINTR when something changed meanwhile. */
#define NFT_DUMP_TRIES 10
int nft_dump(int sock, uint16_t type, uint16_t family, const char *table, const char *set, mnl_cb_t fn, void *arg);

struct nft_rule {
    struct nftnl_rule *r;
    bool failed; /* a rule that lost an expression would mean something else */
};

void ex_meta(struct nft_rule *r, uint32_t key);
void ex_payload(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg);
void ex_mask(struct nft_rule *r, const void *mask, uint32_t len);
void ex_cmp(struct nft_rule *r, uint32_t op, const void *data, uint32_t len);
void ex_lookup(struct nft_rule *r, const char *set);
void ex_limit(struct nft_rule *r, uint32_t packets);
void ex_verdict(struct nft_rule *r, int verdict, const char *chain);
void ex_reject(struct nft_rule *r, uint32_t type, uint8_t code);

/* Why a range is not public: it is opened by nothing; by a list alone; by `lan` too. */
enum special_class { SPECIAL_NEVER, SPECIAL_RESERVED, SPECIAL_PRIVATE, SPECIAL_CLASS_COUNT };

struct special_range {
    uint8_t first[16], last[16]; /* IPv4: 4 bytes */
    uint8_t class;
    const char *what;
};

#define SPECIAL_MAX 96
/* Our own subnet and prefix among them. Sorted; ranges of one class are disjoint. Returns how many. */
size_t special_ranges(const struct net_options *o, int family, struct special_range ret[SPECIAL_MAX]);
bool special_holds(const struct special_range *r, int family, const uint8_t *addr);

struct net_open {
    struct net_dest dest;
    uint64_t until_ns; /* monotonic; 0: while the slot lives */
};

struct net_slot {
    unsigned number;
    struct net_policy policy;
    int nft_fd; /* a socket of its namespace, until it is let go */
    struct net_open *opens;
    size_t nopens, opens_room;
};

int known_add(struct net *n, unsigned number, const struct net_policy *policy, struct net_slot **ret);
struct net_slot *known_find(const struct net *n, unsigned number);
void known_drop(struct net *n, unsigned number);
void known_done(struct net *n);
/* Of the elements of `opens`: does this one still hold? */
bool known_open_holds(const struct net_open *open, uint64_t now_ns);

#define NFT_CHUNK        200U /* elements that change in a transaction: three messages of some 150 bytes each, and a socket sends 212992 */
#define NFT_SEND_BUFFER  (1 << 20)
#define RULES_SLOT_TABLE "fnd" /* inet, in a slot */

/* The element of an opened destination in the host's table. */
void open_host_elem(const struct net *n, const struct net_slot *s, const struct net_open *o, uint64_t now_ns, struct nft_elem *ret);

/* Adds, or removes, the elements of a slot (without what was opened when adding) in the host's sets. -ENOENT: a table is not there. */
int rules_slot_add(struct net *n, const struct net_slot *s);
int rules_slot_remove(struct net *n, const struct net_slot *s);

/* The chain that a slot's policy leads to, NULL: none. */
const char *rules_policy_chain(const struct net_slot *s);
bool rules_resolves(const struct net_options *o, const struct net_slot *s);

/* One of the host's own addresses in the slot's set. */
void rules_slot_host_elem(struct nft_batch *b, const struct net_policy *p, const struct in6_addr *addr, bool add);

struct rules_counter {
    uint16_t family;
    const char *name;
    size_t offset; /* in struct net_counters */
};
extern const struct rules_counter rules_counters[];
extern const size_t rules_counters_n;
int rules_counters_read(struct net *n, struct net_counters *ret);

/* The text that libnftables gets; *ret is the caller's. `timeouts`: with times of our own for what is tracked. Pure. */
int rules_text(const struct net *n, uint64_t now_ns, bool timeouts, char **ret);
