/*
 * slot_policy.c: which slots are made. A slot's network is made for a policy, and only instances of that policy take it, so that nothing of the network is on the path of a start.
 *
 * Two functions with the same words (egress, mesh, ipv6) share a policy and its slots. Where a function opens destinations of its own (a list, services) the policy is the function's: what is opened for one is
 * opened for no other. Versions hold a policy as its users, slots as what they were made for; it goes when nobody does.
 *
 * What is made next: first a slot for the instance that has waited longest, then spares: `slots_ready` of the policy that the most instances have, POLICY_SPARES of every other that is used, those first that have the
 * fewest. Spares are in nobody's way: where all slots are in use, one of another policy is ended for an instance that waits. A policy whose network cannot be made waits alone.
 */
#include "manager.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert((int)NET_EGRESS_NO == SPEC_EGRESS_NO && (int)NET_EGRESS_INTERNET == SPEC_EGRESS_INTERNET && (int)NET_EGRESS_LAN == SPEC_EGRESS_LAN &&
                  (int)NET_EGRESS_LIST == SPEC_EGRESS_LIST && (int)NET_EGRESS_COUNT == SPEC_EGRESS_COUNT,
              "a policy of the spec is one of the slot");

#define POLICY_SPARES  2U
#define OTHERS_MIN     16U /* spares of all policies but the first, at least; and at most a quarter of all slots */
#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS (5 * NS_PER_SEC)

/* ---- the table ---- */

static bool same_policy(const struct policy *p, uint64_t function, const struct spec *s)
{
    return p->function == function && p->net.egress == s->egress && p->net.mesh == s->mesh && p->net.ipv6 == s->ipv6 && p->ndests == s->ndests &&
           p->nservices == s->nservices && (s->ndests == 0 || memcmp(p->dests, s->dests, s->ndests * sizeof(*p->dests)) == 0) &&
           (s->nservices == 0 || memcmp(p->services, s->services, s->nservices * sizeof(*p->services)) == 0);
}

static void policy_free(struct policy *p)
{
    struct policy **at = p->manager ? &p->manager->slots.policies : NULL;

    while (at && *at != p)
        at = &(*at)->next;
    if (at)
        *at = p->next;
    free(p->dests);
    free(p->services);
    free(p->names);
    free(p);
}

static struct policy *policy_new(struct manager *m, uint64_t function, const struct spec *s)
{
    struct policy *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->function = function;
    p->net = (struct net_policy){.egress = s->egress, .mesh = s->mesh, .ipv6 = s->ipv6};
    p->ndests = s->ndests;
    p->nservices = s->nservices;
    p->dests = calloc(s->ndests + 1, sizeof(*p->dests));
    p->services = calloc(s->nservices + 1, sizeof(*p->services));
    if (!p->dests || !p->services) {
        policy_free(p);
        return NULL;
    }
    memcpy(p->dests, s->dests, s->ndests * sizeof(*p->dests));
    memcpy(p->services, s->services, s->nservices * sizeof(*p->services));
    p->manager = m;
    p->next = m->slots.policies;
    m->slots.policies = p;
    return p;
}

struct policy *policy_get(struct manager *m, uint64_t function, const struct spec *s)
{
    const uint64_t owner = s->ndests || s->nservices ? function : 0;
    struct policy *p = m->slots.policies;

    while (p && !same_policy(p, owner, s))
        p = p->next;
    if (!p)
        p = policy_new(m, owner, s);
    if (p)
        p->users++;
    return p;
}

static void policy_check_gone(struct policy *p)
{
    if (p->users == 0 && p->slots == 0)
        policy_free(p);
}

void policy_put(struct policy *p)
{
    if (!p)
        return;
    p->users--;
    if (p->users == 0 && p->function && p->slots > 0 && p->manager && !p->manager->stopping)
        slots_fill_soon(p->manager); /* which ends its spares: no other function can use them */
    policy_check_gone(p);
}

void slot_set_policy(struct slot *s, struct policy *p)
{
    struct policy *before = s->policy;

    s->policy = p;
    if (p) {
        p->slots++;
        p->counts[s->state]++;
    }
    if (before) {
        before->slots--;
        before->counts[s->state]--;
        policy_check_gone(before);
    }
}

/* Instances that are freed at the end of the turn may hold policies beyond the manager's end. */
void policies_done(struct manager *m)
{
    while (m->slots.policies) {
        struct policy *p = m->slots.policies;

        m->slots.policies = p->next;
        p->manager = NULL;
        policy_check_gone(p);
    }
}

/* ---- pauses after a failure ---- */

void backoff_failed(struct backoff *b, uint64_t now_ns)
{
    b->delay_ns = b->delay_ns ? b->delay_ns * 2 : BACKOFF_MIN_NS;
    if (b->delay_ns > BACKOFF_MAX_NS)
        b->delay_ns = BACKOFF_MAX_NS;
    b->until_ns = now_ns + b->delay_ns;
}

/* ---- what is needed ---- */

static void count_needs(struct manager *m)
{
    for (struct policy *p = m->slots.policies; p; p = p->next)
        p->waiting = p->demand = 0;
    for (const struct function *f = m->functions; f; f = f->next) {
        if (f->version)
            f->version->policy->demand += function_wanted(f);
        for (struct instance *i = f->instances; i; i = i->next) {
            struct policy *p = i->version->policy;

            if (i->state != INSTANCE_PLANNED || i->stop != STOP_NONE)
                continue;
            if (p->waiting++ == 0 || i->number < p->first->number)
                p->first = i;
        }
    }
}

static bool is_default(const struct policy *p)
{
    return !p->function && p->net.egress == SPEC_EGRESS_INTERNET && !p->net.mesh && !p->net.ipv6;
}

/* The policy that most instances have; where none has more, the one of a function that says nothing. */
static struct policy *first_policy(struct manager *m)
{
    struct policy *first = NULL;

    for (struct policy *p = m->slots.policies; p; p = p->next)
        if (!first || p->demand > first->demand || (p->demand == first->demand && is_default(p)))
            first = p;
    return first;
}

static unsigned spares_of(const struct policy *p)
{
    const unsigned have = p->counts[SLOT_READY] + p->counts[SLOT_PARKING];

    return have > p->waiting ? have - p->waiting : 0;
}

static unsigned spares_wanted(const struct manager *m, const struct policy *p, const struct policy *first)
{
    const unsigned ready = m->p.config->slots_ready;

    if (p == first)
        return ready;
    return p->users == 0 ? 0 : ready < POLICY_SPARES ? ready : POLICY_SPARES;
}

static struct policy *next_waiting(struct manager *m, uint64_t now_ns, uint64_t *wake_ns)
{
    struct policy *best = NULL;

    for (struct policy *p = m->slots.policies; p; p = p->next) {
        if (p->waiting <= p->counts[SLOT_PARKING])
            continue;
        if (p->backoff.until_ns > now_ns)
            *wake_ns = p->backoff.until_ns < *wake_ns ? p->backoff.until_ns : *wake_ns;
        else if (!best || p->first->number < best->first->number)
            best = p;
    }
    return best;
}

static struct policy *next_spare(struct manager *m, uint64_t now_ns, uint64_t *wake_ns)
{
    const unsigned quarter = m->p.config->slots_max / 4, most_others = quarter > OTHERS_MIN ? quarter : OTHERS_MIN;
    struct policy *first = first_policy(m), *best = NULL;
    unsigned others = 0;

    for (struct policy *p = m->slots.policies; p; p = p->next)
        others += p == first ? 0 : spares_of(p);
    for (struct policy *p = m->slots.policies; p; p = p->next) {
        if (spares_of(p) >= spares_wanted(m, p, first) || (p != first && others >= most_others))
            continue;
        if (p->backoff.until_ns > now_ns)
            *wake_ns = p->backoff.until_ns < *wake_ns ? p->backoff.until_ns : *wake_ns;
        else if (!best || spares_of(p) < spares_of(best))
            best = p;
    }
    return best;
}

struct policy *policy_next(struct manager *m, bool spares, uint64_t now_ns, uint64_t *ret_wake_ns)
{
    struct policy *p;

    *ret_wake_ns = UINT64_MAX;
    count_needs(m);
    p = next_waiting(m, now_ns, ret_wake_ns);
    return p || !spares ? p : next_spare(m, now_ns, ret_wake_ns);
}

/* ---- ending what is in the way ---- */

static struct slot *ready_slot(struct manager *m, const struct policy *p)
{
    struct slot *s = m->slots.all;

    while (s && (s->state != SLOT_READY || s->policy != p))
        s = s->next;
    return s;
}

bool policy_make_room(struct manager *m, const struct policy *wanted)
{
    struct policy *victim = NULL;
    struct slot *s;

    for (struct policy *p = m->slots.policies; p; p = p->next) {
        if (p == wanted || p->counts[SLOT_READY] == 0)
            continue;
        if (!victim || (p->users == 0) > (victim->users == 0) || ((p->users == 0) == (victim->users == 0) && p->counts[SLOT_READY] > victim->counts[SLOT_READY]))
            victim = p;
    }
    if (!victim || (wanted->waiting == 0 && victim->users > 0))
        return false;
    s = ready_slot(m, victim);
    if (s)
        slot_end(s);
    return s != NULL;
}

void policy_end_orphans(struct manager *m)
{
    struct slot *s = m->slots.all;

    for (; s; s = s->next)
        if (s->state == SLOT_READY && s->policy->function && s->policy->users == 0)
            slot_end(s);
}
