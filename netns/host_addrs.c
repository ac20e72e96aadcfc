/* host_addrs.c: the host's own addresses, which no slot may reach. The host's table asks the kernel (fib); the slots' own rules have a set each, which is kept current from here. */
#include "nft_internal.h"

#include "diag.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>

void addrs_done(struct host_addrs *a)
{
    free(a->all);
    *a = (struct host_addrs){0};
}

static void addrs_put(struct host_addrs *a, const struct nlattr *at, int family)
{
    struct in6_addr addr = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

    if (!at || nla_len(at) != (family == AF_INET ? 4 : 16))
        return;
    memcpy(addr.s6_addr + (family == AF_INET ? 12 : 0), nla_data(at), (size_t)nla_len(at));
    if (a->n == a->room) {
        size_t room = a->room ? a->room * 2 : 32;
        struct in6_addr *grown = reallocarray(a->all, room, sizeof(*grown));

        if (!grown) {
            a->failed = true;
            return;
        }
        a->all = grown;
        a->room = room;
    }
    a->all[a->n++] = addr;
}

static void on_address(struct nlmsghdr *h, void *arg)
{
    struct nlattr *at[IFA_MAX + 1];
    const struct ifaddrmsg *a = nlmsg_data(h);

    if (h->nlmsg_type != RTM_NEWADDR || nlmsg_parse(h, sizeof(*a), at, IFA_MAX, NULL) < 0 || (a->ifa_family != AF_INET && a->ifa_family != AF_INET6))
        return;
    addrs_put(arg, at[IFA_LOCAL] ? at[IFA_LOCAL] : at[IFA_ADDRESS], a->ifa_family);
}

static int addrs_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct in6_addr));
}

static void addrs_sort(struct host_addrs *a)
{
    size_t kept = 0;

    if (a->n)
        qsort(a->all, a->n, sizeof(*a->all), addrs_compare);
    for (size_t i = 0; i < a->n; i++)
        if (i == 0 || addrs_compare(&a->all[i], &a->all[i - 1]) != 0)
            a->all[kept++] = a->all[i];
    a->n = kept;
}

static bool addrs_have(const struct host_addrs *a, const struct in6_addr *addr)
{
    return a->n && bsearch(addr, a->all, a->n, sizeof(*a->all), addrs_compare);
}

static int addrs_tell(const struct net_slot *s, const struct host_addrs *old, const struct host_addrs *now)
{
    cleanup_nft struct nft_batch b = {0};
    int r;

    if (s->nft_fd < 0)
        return 0;
    nft_begin(&b);
    for (size_t i = 0; i < now->n; i++)
        if (!addrs_have(old, &now->all[i]))
            rules_slot_host_elem(&b, &s->policy, &now->all[i], true);
    for (size_t i = 0; i < old->n; i++)
        if (!addrs_have(now, &old->all[i]))
            rules_slot_host_elem(&b, &s->policy, &old->all[i], false);
    r = nft_send(&b, s->nft_fd);
    return r == -ENOENT ? 0 : r; /* the host's root has removed the rules in the slot */
}

int addrs_refresh(struct net *n, struct diag *d)
{
    struct host_addrs now = {0}, old = n->addrs;
    int r = rt_dump(n->rt, RTM_GETADDR, AF_UNSPEC, on_address, &now, d), failed = 0;

    if (r == 0 && now.failed)
        r = diag_errno(d, ENOMEM, "list of addresses");
    if (r < 0) {
        addrs_done(&now);
        return r;
    }
    addrs_sort(&now);
    r = now.n != old.n || (now.n && memcmp(now.all, old.all, now.n * sizeof(*now.all)) != 0);
    for (size_t i = 0; i < n->slots_room && r; i++) {
        int told = n->slots[i] ? addrs_tell(n->slots[i], &old, &now) : 0;

        failed = told < 0 && failed == 0 ? told : failed;
    }
    n->addrs = failed < 0 ? old : now; /* so that the next time tells all of it again */
    addrs_done(failed < 0 ? &now : &old);
    return failed < 0 ? diag_errno(d, -failed, "the host's addresses in the slots' rules") : r;
}
