/*
 * dns_listed.c: names of egress lists: what an answer opens, and looking up again.
 *
 * What was opened closes when its time is over. A program may look a name up once and use the address for hours, so as long as its function has instances each name that was asked for is looked up again
 * shortly before: an address that it still has stays open, one that it has no more closes. (Connections that exist go on.) What a runner that was
 * started anew knows of it, and whether a new policy opens the same ports, is not certain: then the runner is asked anew.
 */
#include "dns_private.h"

#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct dns_refresh {
    struct dns_refresh *next, **prev;
    struct dns *dns;
    struct gw_function *function;
    struct dns_question q;
    struct dns_waiter waiter;
    uint64_t open_id;
    struct dns_opened want;
};

static unsigned addr_len(unsigned type)
{
    return type == DNS_AAAA ? 16 : 4;
}

static struct dns_opened *opened_of(struct dns_host *h, unsigned type)
{
    return type == DNS_AAAA ? &h->v6 : &h->v4;
}

uint32_t dns_answer_ttl(const struct dns_answer *a)
{
    uint64_t now_ns = clock_mono_ns();

    return a->expires_ns > now_ns ? (uint32_t)((a->expires_ns - now_ns + NS_PER_SEC / 2) / NS_PER_SEC) : 0;
}

uint32_t dns_listed_ttl(const struct dns_answer *a)
{
    uint32_t ttl_s = dns_answer_ttl(a);

    return ttl_s > DNS_TTL_LIST_S ? ttl_s : DNS_TTL_LIST_S;
}

bool dns_opened_has(const struct dns_opened *o, unsigned type, const uint8_t *addr)
{
    for (unsigned i = 0; i < o->n; i++)
        if (memcmp(o->addrs[i], addr, addr_len(type)) == 0)
            return true;
    return false;
}

void dns_listed_collect(const struct dns *d, const struct dns_policy *p, unsigned type, const struct dns_answer *a, struct dns_opened *ret)
{
    *ret = (struct dns_opened){.expires_ns = clock_mono_ns() + (dns_listed_ttl(a) + DNS_OPEN_GRACE_S) * NS_PER_SEC};
    for (unsigned i = 0; i < a->nrr && ret->n < RECORD_DNS_ADDRS_MAX; i++) {
        const uint8_t *addr = dns_answer_bytes(a) + a->rr[i].rdata;

        if (a->rr[i].type == type && dns_policy_keeps(p, type, addr, d->bridges, d->nbridges))
            memcpy(ret->addrs[ret->n++], addr, addr_len(type));
    }
}

bool dns_listed_is_open(struct dns_host *h, unsigned type, const struct dns_opened *want)
{
    const struct dns_opened *o = opened_of(h, type);

    if (o->expires_ns < want->expires_ns - DNS_OPEN_GRACE_S / 2 * NS_PER_SEC)
        return false;
    for (unsigned i = 0; i < want->n; i++)
        if (!dns_opened_has(o, type, want->addrs[i]))
            return false;
    return true;
}

int dns_listed_request(struct dns *d, const struct gw_function *f, const struct dns_host *h, unsigned type, const struct dns_opened *want,
                       link_reply_fn *on_reply, void *arg, uint64_t *ret_id)
{
    struct record_dns_open rec = {.head = RECORD_INIT(RECORD_DNS_OPEN, 0), .function = f->rec.function};

    memcpy(rec.host, h->name, sizeof(rec.host));
    rec.ttl_s = (uint32_t)((want->expires_ns - clock_mono_ns() + NS_PER_SEC / 2) / NS_PER_SEC);
    for (unsigned i = 0; i < want->n; i++)
        if (type == DNS_AAAA)
            memcpy(rec.addrs6[rec.naddrs6++], want->addrs[i], 16);
        else
            memcpy(&rec.addrs[rec.naddrs++], want->addrs[i], 4);
    return link_request(d->link, &rec.head, -1, on_reply, arg, ret_id);
}

static void turn_soon(struct dns *d)
{
    if (!d->refresh_timer.loop)
        loop_arm_in(d->loop, &d->refresh_timer, DNS_REFRESH_TURN_S * NS_PER_SEC);
}

void dns_listed_opened(struct dns *d, struct dns_host *h, unsigned type, const struct dns_opened *o)
{
    *opened_of(h, type) = *o;
    turn_soon(d);
}

/* ---- looking up again ---- */

static void refresh_free(struct dns_refresh *r)
{
    dns_waiter_cancel(&r->waiter);
    if (r->open_id)
        link_forget(r->dns->link, r->open_id);
    *r->prev = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->dns->nrefreshes--;
    free(r);
}

static void on_opened(void *arg, const struct record_head *rec, int fd)
{
    struct dns_refresh *r = arg;
    struct dns_host *h = dns_policy_host(r->function->dns, &r->q);

    fd_close(fd);
    if (rec->type != RECORD_REPLY)
        return;
    r->open_id = 0;
    if (h && ((const struct record_reply *)rec)->diag.err == 0)
        dns_listed_opened(r->dns, h, r->q.type, &r->want);
    refresh_free(r);
}

/* A failure is tried again in the next turn, until what was opened has closed. */
static void on_resolved(struct dns_waiter *w, struct dns_answer *a)
{
    struct dns_refresh *r = w->owner;
    struct dns_host *h = dns_policy_host(r->function->dns, &r->q);

    if (a && h)
        dns_listed_collect(r->dns, r->function->dns, r->q.type, a, &r->want);
    if (!h || r->want.n == 0 || dns_listed_request(r->dns, r->function, h, r->q.type, &r->want, on_opened, r, &r->open_id) < 0)
        refresh_free(r);
}

static bool is_under_way(const struct dns *d, const struct gw_function *f, const struct dns_question *q)
{
    for (const struct dns_refresh *r = d->refreshes; r; r = r->next)
        if (r->function == f && r->q.type == q->type && dns_name_equal(&r->q.name, &q->name))
            return true;
    return false;
}

static void refresh(struct dns *d, struct gw_function *f, const struct dns_host *h, unsigned type)
{
    struct dns_question q = {.type = (uint16_t)type};
    struct dns_refresh *r;

    if (d->nrefreshes >= DNS_REFRESHES_MAX || dns_name_parse(h->name, &q.name) < 0 || is_under_way(d, f, &q))
        return;
    r = calloc(1, sizeof(*r));
    if (!r)
        return;
    *r = (struct dns_refresh){.dns = d, .function = f, .q = q, .waiter = {.on_done = on_resolved, .owner = r}, .next = d->refreshes, .prev = &d->refreshes};
    if (r->next)
        r->next->prev = &r->next;
    d->refreshes = r;
    d->nrefreshes++;
    if (dns_resolve_ask(&d->resolve, f, &q, &r->waiter) < 0)
        refresh_free(r);
}

/* Is there still something open? */
static bool look_at(struct dns *d, struct gw_function *f, struct dns_host *h, unsigned type)
{
    struct dns_opened *o = opened_of(h, type);
    uint64_t now_ns = clock_mono_ns();

    if (o->expires_ns <= now_ns)
        o->expires_ns = 0;
    else if (o->expires_ns - now_ns <= DNS_REFRESH_S * NS_PER_SEC && f->instances)
        refresh(d, f, h, type);
    return o->expires_ns > 0;
}

void dns_refresh_turn(struct dns *d)
{
    bool any = false;

    for (struct gw_function *f = d->picture->functions; f; f = f->next) {
        struct dns_policy *p = f->dns;

        for (unsigned i = 0; p && i < p->nhosts; i++) {
            any |= look_at(d, f, &p->hosts[i], DNS_A);
            any |= look_at(d, f, &p->hosts[i], DNS_AAAA);
        }
    }
    if (any)
        turn_soon(d);
}

static void on_turn(struct timer *t)
{
    dns_refresh_turn(t->owner);
}

static void doubt(struct dns_opened *o, uint64_t until_ns)
{
    if (o->expires_ns > until_ns)
        o->expires_ns = until_ns;
}

void dns_listed_doubt(struct dns_policy *p)
{
    uint64_t until_ns = clock_mono_ns() + DNS_REFRESH_S * NS_PER_SEC;

    for (unsigned i = 0; p && i < p->nhosts; i++) {
        doubt(&p->hosts[i].v4, until_ns);
        doubt(&p->hosts[i].v6, until_ns);
    }
}

void dns_refresh_init(struct dns *d)
{
    d->refresh_timer = (struct timer){.on_expire = on_turn, .owner = d};
}

void dns_refresh_forget(struct dns *d, const struct gw_function *f)
{
    for (struct dns_refresh *r = d->refreshes, *next; r; r = next) {
        next = r->next;
        if (r->function == f)
            refresh_free(r);
    }
}

void dns_refresh_done(struct dns *d)
{
    while (d->refreshes)
        refresh_free(d->refreshes);
    loop_disarm(&d->refresh_timer);
}
