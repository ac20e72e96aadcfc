/*
 * slot_known.c: the slots that are there, with what was opened for them: what the tables must hold when they have to be installed again. */
#include "nft_internal.h"

#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int known_add(struct net *n, unsigned number, const struct net_policy *policy, struct net_slot **ret)
{
    struct net_slot *s;

    if (number >= n->slots_room) {
        size_t room = number + 64;
        struct net_slot **grown = reallocarray(n->slots, room, sizeof(struct net_slot *));

        if (!grown)
            return -ENOMEM;
        memset(grown + n->slots_room, 0, (room - n->slots_room) * sizeof(struct net_slot *));
        n->slots = grown;
        n->slots_room = room;
    }
    known_drop(n, number);
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct net_slot){.number = number, .policy = *policy, .nft_fd = -1};
    *ret = n->slots[number] = s;
    return 0;
}

struct net_slot *known_find(const struct net *n, unsigned number)
{
    return number < n->slots_room ? n->slots[number] : NULL;
}

void known_drop(struct net *n, unsigned number)
{
    struct net_slot *s = known_find(n, number);

    if (!s)
        return;
    fd_close(s->nft_fd);
    free(s->opens);
    free(s);
    n->slots[number] = NULL;
}

void known_done(struct net *n)
{
    for (size_t i = 0; i < n->slots_room; i++)
        known_drop(n, (unsigned)i);
    free(n->slots);
    n->slots = NULL;
    n->slots_room = 0;
}

bool known_open_holds(const struct net_open *open, uint64_t now_ns)
{
    return open->until_ns == 0 || open->until_ns > now_ns;
}
