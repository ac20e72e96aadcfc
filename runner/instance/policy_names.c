/*
 * policy_names.c: what is opened for the slots of a policy beside its words: services and addresses for as long as a slot lives, and for a while the addresses that names of the list were found to have.
 *
 * The gateway asks for the latter (RECORD_DNS_OPEN), and may have been taken over: it can open what a function's own list names, at the ports that stand there, and nothing that could be this host's, another
 * function's, or metadata. What was opened is remembered, so that slots that are made later have it too.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX      512U /* addresses and ports that are remembered for one policy: fewer than netns/ opens for one slot */
#define TTL_MIN_S      60U  /* a program keeps an address for longer than it should */
#define TTL_MAX_S      86400U
#define TTL_SLACK_S    10U
#define ASKED_DESTS    (SPEC_DESTS_MAX * 2 * RECORD_DNS_ADDRS_MAX)
#define SLOT_DESTS_MAX (SPEC_DESTS_MAX + SPEC_SERVICES_MAX)

static struct in6_addr mapped(uint32_t addr)
{
    struct in6_addr in6 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

    memcpy(&in6.s6_addr[12], &addr, sizeof(addr));
    return in6;
}

static bool in_subnet(const struct config *c, uint32_t addr)
{
    return ((ntohl(addr) ^ ntohl(c->subnet.s_addr)) >> (32 - c->prefix_len)) == 0;
}

/* Addresses that a list names stand there by their function's own choice; those of names by somebody's whose name it is. Neither leads here. */
static const char *dest_refused(const struct manager *m, const struct net_dest *dest)
{
    uint32_t addr;

    if (!IN6_IS_ADDR_V4MAPPED(&dest->addr)) {
        const char *why = spec_addr6_refused(dest->addr.s6_addr);

        return why ? why : net_dest_refused(m->p.net_options, dest);
    }
    memcpy(&addr, &dest->addr.s6_addr[12], sizeof(addr));
    if (spec_addr4_refused(addr))
        return spec_addr4_refused(addr);
    return in_subnet(m->p.config, addr) ? "is an address of fnd's own network" : net_dest_refused(m->p.net_options, dest);
}

/* ---- a new slot ---- */

static bool literal(const struct spec_dest *from, struct net_dest *ret)
{
    struct in_addr in;

    ret->port = from->port;
    if (inet_pton(AF_INET, from->host, &in) == 1)
        ret->addr = mapped(in.s_addr);
    else if (inet_pton(AF_INET6, from->host, &ret->addr) != 1)
        return false;
    return true;
}

/* A service in our own network, or on the host, is refused here and by the rules: the function starts, and its log says why it cannot connect. */
static size_t fixed_dests(const struct manager *m, const struct policy *p, struct net_dest *ret)
{
    size_t n = 0;

    for (uint32_t i = 0; i < p->nservices; i++) {
        ret[n] = (struct net_dest){.addr = mapped(p->services[i].addr), .port = (uint16_t)p->services[i].port};
        n += !dest_refused(m, &ret[n]);
    }
    for (uint32_t i = 0; i < p->ndests; i++)
        n += literal(&p->dests[i], &ret[n]) && !dest_refused(m, &ret[n]);
    return n;
}

/* What names have, in runs that end at the same time: one answer makes one. */
static int open_names(struct slot *s, struct diag *d)
{
    const struct policy *p = s->policy;
    const uint64_t now = clock_mono_ns();
    struct net_dest run[64];
    int r = 0;

    for (unsigned i = 0; i < p->nnames && r >= 0;) {
        const uint64_t until = p->names[i].until_ns;
        size_t n = 0;

        for (; i < p->nnames && p->names[i].until_ns == until && n < sizeof(run) / sizeof(run[0]); i++)
            run[n++] = p->names[i].dest;
        if (until > now + NS_PER_SEC)
            r = net_slots_open(s->manager->p.net, &s->number, 1, run, n, (uint32_t)((until - now) / NS_PER_SEC), d);
    }
    return r < 0 ? r : 0;
}

int policy_open_slot(struct slot *s, struct diag *d)
{
    struct net_dest dests[SLOT_DESTS_MAX];
    size_t n = fixed_dests(s->manager, s->policy, dests);
    int r = 0;

    if (n > 0)
        r = net_slots_open(s->manager->p.net, &s->number, 1, dests, n, 0, d);
    return r < 0 ? r : open_names(s, d);
}

/* ---- names ---- */

static bool same_dest(const struct net_dest *a, const struct net_dest *b)
{
    return a->port == b->port && memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0;
}

/* Where the address is or may be put: its own place, a new one, or that of the one that ends first. */
static struct policy_name *name_place(struct policy *p, const struct net_dest *dest)
{
    struct policy_name *first = NULL;

    for (unsigned i = 0; i < p->nnames; i++) {
        if (same_dest(&p->names[i].dest, dest))
            return &p->names[i];
        if (!first || p->names[i].until_ns < first->until_ns)
            first = &p->names[i];
    }
    if (p->nnames == NAMES_MAX || (first && first->until_ns < clock_mono_ns()))
        return first;
    return &p->names[p->nnames++];
}

static int remember(struct policy *p, const struct net_dest *dests, size_t n, uint32_t ttl_s)
{
    const uint64_t until = clock_mono_ns() + ttl_s * NS_PER_SEC;

    if (!p->names)
        p->names = calloc(NAMES_MAX, sizeof(*p->names));
    if (!p->names)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        *name_place(p, &dests[i]) = (struct policy_name){.dest = dests[i], .until_ns = until};
    return 0;
}

static size_t asked_dests(const struct manager *m, const struct policy *p, const struct record_dns_open *rec, struct net_dest *ret)
{
    size_t n = 0;

    for (uint32_t i = 0; i < p->ndests; i++) {
        if (strcmp(p->dests[i].host, rec->host) != 0)
            continue;
        for (uint32_t k = 0; k < rec->naddrs; k++) {
            ret[n] = (struct net_dest){.addr = mapped(rec->addrs[k]), .port = p->dests[i].port};
            n += !dest_refused(m, &ret[n]);
        }
        for (uint32_t k = 0; k < rec->naddrs6 && p->net.ipv6; k++) {
            ret[n] = (struct net_dest){.port = p->dests[i].port};
            memcpy(&ret[n].addr, rec->addrs6[k], sizeof(ret[n].addr));
            n += !IN6_IS_ADDR_V4MAPPED(&ret[n].addr) && !dest_refused(m, &ret[n]);
        }
    }
    return n;
}

/* Every slot that an instance lives in, or that waits for one. */
static int open_for_all(struct manager *m, const struct policy *p, const struct net_dest *dests, size_t ndests, uint32_t ttl_s, struct diag *d)
{
    cleanup_free unsigned *slots = calloc(p->slots + 1, sizeof(*slots));
    size_t n = 0;

    if (!slots)
        return diag_set(d, ENOMEM, "out of memory");
    for (const struct slot *s = m->slots.all; s; s = s->next)
        if (s->policy == p && (s->state == SLOT_READY || s->state == SLOT_TAKEN))
            slots[n++] = s->number;
    return n > 0 ? net_slots_open(m->p.net, slots, n, dests, ndests, ttl_s, d) : 0;
}

static bool names_host(const struct policy *p, const char *host)
{
    for (uint32_t i = 0; i < p->ndests; i++)
        if (strcmp(p->dests[i].host, host) == 0)
            return true;
    return false;
}

int policy_on_dns_open(struct manager *m, const struct record_dns_open *rec, struct diag *d)
{
    const uint32_t ttl_s = (rec->ttl_s < TTL_MIN_S ? TTL_MIN_S : rec->ttl_s > TTL_MAX_S ? TTL_MAX_S : rec->ttl_s) + TTL_SLACK_S;
    cleanup_free struct net_dest *dests = calloc(ASKED_DESTS, sizeof(*dests));
    bool named = false, opened = false;
    int r = 0;

    if (!dests)
        return diag_set(d, ENOMEM, "out of memory");
    for (struct policy *p = m->slots.policies; p && r >= 0; p = p->next) {
        size_t n;

        if (!p->function || p->function != rec->function || p->users == 0 || spec_host_kind(rec->host) != SPEC_HOST_NAME || !names_host(p, rec->host))
            continue;
        named = true;
        n = asked_dests(m, p, rec, dests);
        if (n == 0)
            continue;
        opened = true;
        r = remember(p, dests, n, ttl_s);
        if (r == 0)
            r = open_for_all(m, p, dests, n, ttl_s, d);
    }
    if (r < 0)
        return d->err ? r : diag_errno(d, -r, "%.200s", rec->host);
    if (!named)
        return diag_set(d, ENOENT, "no list of that function names this host");
    return opened ? 0 : diag_set(d, EPERM, "%.200s has no address that may be opened", rec->host);
}

/* ---- what the gateway is told ---- */

static void add_hosts(const struct policy *p, struct record_policy *ret)
{
    for (uint32_t i = 0; i < p->ndests; i++) {
        uint32_t k = 0;

        while (k < ret->nhosts && strcmp(ret->hosts[k], p->dests[i].host) != 0)
            k++;
        if (k == ret->nhosts && k < SPEC_DESTS_MAX && spec_host_kind(p->dests[i].host) == SPEC_HOST_NAME)
            str_copy(ret->hosts[ret->nhosts++], sizeof(ret->hosts[0]), p->dests[i].host);
    }
}

/* While versions change, instances of both live: each must find what it may reach, and what it may reach its slot's rules say. */
static void add_version(const struct version *v, struct record_policy *ret)
{
    static const unsigned width[SPEC_EGRESS_COUNT] = {[SPEC_EGRESS_NO] = 0, [SPEC_EGRESS_LIST] = 1, [SPEC_EGRESS_INTERNET] = 2, [SPEC_EGRESS_LAN] = 3};

    if (!v)
        return;
    if (width[v->policy->net.egress] > width[ret->egress])
        ret->egress = v->policy->net.egress;
    ret->mesh |= v->policy->net.mesh;
    ret->ipv6 |= v->policy->net.ipv6;
    add_hosts(v->policy, ret);
}

void policy_push(const struct function *f)
{
    struct record_policy rec = {.head = RECORD_INIT(RECORD_POLICY, 0), .function = f->number, .egress = SPEC_EGRESS_NO};

    add_version(f->version, &rec);
    if (f->deploy)
        add_version(deploy_version(f->deploy), &rec);
    for (const struct instance *i = f->instances; i; i = i->next)
        add_version(i->version, &rec);
    manager_push(f->manager, &rec.head);
}
