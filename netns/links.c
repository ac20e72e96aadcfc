/* links.c: which links of the host are ours, and removing them. Ours are the links that have one of our names and our alias (or no alias yet, and the MAC that goes with the name). */
#include "net_internal.h"

#include "diag.h"
#include "str.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>

#define REMOVAL_GROUP 0x666e0000U

static bool number_after(const char *name, const char *prefix, uint64_t *ret)
{
    size_t len = strlen(prefix);

    return strncmp(name, prefix, len) == 0 && str_parse_uint(name + len, UINT32_MAX, ret) == 0;
}

enum link_owner link_owner(const struct net_options *o, const char *name, const char *alias, const uint8_t mac[ETH_ALEN])
{
    char want[IFNAMSIZ], want_alias[NET_ALIAS_MAX];
    uint8_t want_mac[ETH_ALEN];
    uint64_t number = 0;

    if (number_after(name, o->bridge, &number) && number < net_bridges_max(o)) {
        net_bridge_name(o, (unsigned)number, want);
        net_bridge_mac((unsigned)number, want_mac);
    } else if (number_after(name, o->port, &number) && number < net_slots_max(o)) {
        net_port_name(o, (unsigned)number, want);
        net_port_mac((unsigned)number, want_mac);
    } else {
        return LINK_FOREIGN;
    }
    if (strcmp(name, want) != 0) /* fn01, vf7 */
        return LINK_FOREIGN;
    net_alias(o, want_alias);
    if (*alias ? strcmp(alias, want_alias) == 0 : memcmp(mac, want_mac, ETH_ALEN) == 0)
        return LINK_OURS;
    return LINK_CLASH;
}

void link_list_done(struct link_list *l)
{
    free(l->rows);
    *l = (struct link_list){0};
}

static struct link_row *link_list_add(struct link_list *l)
{
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 32;
        struct link_row *grown = reallocarray(l->rows, room, sizeof(*grown));

        if (!grown)
            return NULL;
        l->rows = grown;
        l->room = room;
    }
    return memset(&l->rows[l->n++], 0, sizeof(*l->rows));
}

static void on_link(struct nlmsghdr *h, void *arg)
{
    static const uint8_t no_mac[ETH_ALEN];
    struct nlattr *at[IFLA_MAX + 1];
    const struct ifinfomsg *i = nlmsg_data(h);
    struct link_list *l = arg;
    struct link_row *row;
    const char *alias;

    if (h->nlmsg_type != RTM_NEWLINK || nlmsg_parse(h, sizeof(*i), at, IFLA_MAX, NULL) < 0 || !at[IFLA_IFNAME])
        return;
    row = link_list_add(l);
    if (!row) {
        l->failed = true;
        return;
    }
    row->ifindex = i->ifi_index;
    row->group = at[IFLA_GROUP] ? nla_get_u32(at[IFLA_GROUP]) : 0;
    nla_strlcpy(row->name, at[IFLA_IFNAME], sizeof(row->name));
    alias = at[IFLA_IFALIAS] ? nla_get_string(at[IFLA_IFALIAS]) : "";
    row->owner = link_owner(l->o, row->name, alias, at[IFLA_ADDRESS] && nla_len(at[IFLA_ADDRESS]) == ETH_ALEN ? nla_data(at[IFLA_ADDRESS]) : no_mac);
}

int link_list_read(struct nl_sock *s, const struct net_options *o, struct link_list *l, struct diag *d)
{
    int r;

    l->o = o;
    r = rt_dump(s, RTM_GETLINK, AF_UNSPEC, on_link, l, d);
    if (r == 0 && l->failed)
        r = diag_errno(d, ENOMEM, "list of links");
    return r < 0 ? diag_prefix(d, "links") : 0;
}

const struct link_row *link_list_find(const struct link_list *l, int ifindex)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->rows[i].ifindex == ifindex)
            return &l->rows[i];
    return NULL;
}

/* A group that no link is in: made for this removal alone. */
static uint32_t link_list_free_group(const struct link_list *l)
{
    uint32_t group = REMOVAL_GROUP;

    for (size_t i = 0; i < l->n; i++)
        if (l->rows[i].group == group) {
            group++;
            i = (size_t)-1; /* from the start */
        }
    return group;
}

/* Returns how many links of ours there were. A link that has gone meanwhile is no error: a port goes by itself when its slot's namespace ends. */
static int link_list_set_group(struct nl_sock *s, const struct link_list *l, uint32_t group, struct diag *d)
{
    int found = 0;

    for (size_t i = 0; i < l->n;) {
        cleanup_batch struct rt_batch b = {0};
        int r;

        for (; i < l->n && b.n < RT_BATCH_MAX && !b.err; i++) {
            const struct ifinfomsg head = {.ifi_index = l->rows[i].ifindex};

            if (l->rows[i].owner != LINK_OURS)
                continue;
            rt_request(&b, l->rows[i].name, RTM_NEWLINK, 0, &head, sizeof(head));
            rt_put_u32(&b, IFLA_GROUP, group);
            rt_tolerate(&b, ENODEV);
            found++;
        }
        r = rt_send(s, &b, d);
        if (r < 0)
            return r;
    }
    return found;
}

/*
 * One by one, each removal waits for RCU callbacks (rcu_barrier), 16 ms on a small machine, so a thousand leftovers would take as many times that. The kernel removes the links of a group together,
 * with one wait.
 */
int link_list_remove(struct nl_sock *s, const struct link_list *l, struct diag *d)
{
    const uint32_t group = link_list_free_group(l);
    const struct ifinfomsg head = {0};
    cleanup_batch struct rt_batch b = {0};
    int r = link_list_set_group(s, l, group, d);

    if (r <= 0)
        return r < 0 ? diag_prefix(d, "links to be removed") : 0;
    rt_request(&b, "removing links", RTM_DELLINK, 0, &head, sizeof(head));
    rt_put_u32(&b, IFLA_GROUP, group);
    rt_tolerate(&b, ENODEV);
    return rt_send(s, &b, d);
}
