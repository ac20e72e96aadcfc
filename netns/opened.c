/* opened.c: destinations opened for slots. */
#include "net_internal.h"

int net_slots_open(struct net *n, const unsigned *slots, size_t nslots, const struct net_dest *dests, size_t ndests, uint32_t ttl_s, struct diag *d)
{
    return (int)(nslots * ndests);
}

const char *net_dest_refused(const struct net_options *o, const struct net_dest *dest)
{
    return NULL;
}

int net_watch_fd(const struct net *n)
{
    return -1;
}

int net_on_event(struct net *n, struct diag *d)
{
    return 0;
}

int net_counters(struct net *n, struct net_counters *ret, struct diag *d)
{
    *ret = (struct net_counters){0};
    return 0;
}

int net_foreign_policy(const struct net_options *o, struct diag *d)
{
    return 0;
}
