/* manager_net.h: the part of manager_world.h that is netns.h: networks that were made, for which policy, and what was opened for them. */
#pragma once

int net_slot_make(struct net *n, unsigned slot, int netns_fd, const struct net_policy *policy, struct net_slot_names *ret, struct diag *d)
{
    *ret = (struct net_slot_names){.port = "vf"};
    assert_true(slot < KIDS_MAX && !w.networks[slot]);
    if (w.net_err && policy->egress == w.bad_egress)
        return diag_errno(d, w.net_err, "making a network");
    w.policies[slot] = *policy;
    w.networks[slot] = true;
    return 0;
}

int net_slot_remove(struct net *n, unsigned slot, struct diag *d)
{
    w.networks[slot] = false;
    w.removed_networks++;
    return 0;
}

int net_slots_open(struct net *n, const unsigned *slots, size_t nslots, const struct net_dest *dests, size_t ndests, uint32_t ttl_s, struct diag *d)
{
    assert_true(nslots <= KIDS_MAX && ndests <= COUNT(w.opened.dests));
    w.opened.calls++;
    w.opened.nslots = (unsigned)nslots;
    w.opened.ndests = (unsigned)ndests;
    w.opened.ttl_s = ttl_s;
    memcpy(w.opened.slots, slots, nslots * sizeof(*slots));
    memcpy(w.opened.dests, dests, ndests * sizeof(*dests));
    return (int)(nslots * ndests);
}

int net_counters(struct net *n, struct net_counters *ret, struct diag *d)
{
    *ret = (struct net_counters){.to_host = 3, .installs = 1};
    return 0;
}

const char *net_dest_refused(const struct net_options *o, const struct net_dest *dest)
{
    return NULL;
}
