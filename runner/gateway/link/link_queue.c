/*
 * link_queue.c: the two small containers of the link: records that wait for the socket, and requests that wait for their REPLY. Knows nothing of the
 * connection's state.
 */
#include "link_private.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct link_out_item {
    struct link_out_item *next;
    size_t size;
    int fd;
    char data[];
};

int link_out_push(struct link_out *o, const void *data, size_t size, int fd)
{
    struct link_out_item *item = malloc(sizeof(*item) + size);

    if (!item)
        return -ENOMEM;
    *item = (struct link_out_item){.size = size, .fd = -1};
    if (fd >= 0) {
        item->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (item->fd < 0) {
            int err = errno;

            free(item);
            return -err;
        }
    }
    memcpy(item->data, data, size);
    if (o->last)
        o->last->next = item;
    else
        o->head = item;
    o->last = item;
    o->count++;
    return 0;
}

static void out_drop_first(struct link_out *o)
{
    struct link_out_item *item = o->head;

    o->head = item->next;
    if (!o->head)
        o->last = NULL;
    o->count--;
    fd_close(item->fd);
    free(item);
}

int link_out_flush(struct link_out *o, int sock)
{
    while (o->head) {
        int r = fd_send(sock, o->head->data, o->head->size, &o->head->fd, o->head->fd >= 0, MSG_DONTWAIT);

        if (r == -EAGAIN)
            return 1;
        if (r < 0)
            return r;
        out_drop_first(o);
    }
    return 0;
}

void link_out_clear(struct link_out *o)
{
    while (o->head)
        out_drop_first(o);
}

static struct link_pending **table_place(struct link_table *t, uint64_t id)
{
    struct link_pending **at = &t->buckets[id % LINK_BUCKETS];

    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static void table_unlink(struct link_table *t, struct link_pending **at, struct link_pending *ret)
{
    struct link_pending *p = *at;

    *at = p->next;
    t->count--;
    if (ret)
        *ret = *p;
    free(p);
}

int link_table_add(struct link_table *t, uint64_t id, link_reply_fn *on_reply, void *arg)
{
    struct link_pending **at = table_place(t, id);
    struct link_pending *p;

    if (t->count >= LINK_PENDING_MAX)
        return -ENOBUFS;
    p = malloc(sizeof(*p));
    if (!p)
        return -ENOMEM;
    *p = (struct link_pending){.id = id, .on_reply = on_reply, .arg = arg};
    *at = p;
    t->count++;
    return 0;
}

const struct link_pending *link_table_find(const struct link_table *t, uint64_t id)
{
    const struct link_pending *p = t->buckets[id % LINK_BUCKETS];

    while (p && p->id != id)
        p = p->next;
    return p;
}

bool link_table_remove(struct link_table *t, uint64_t id, struct link_pending *ret)
{
    struct link_pending **at = table_place(t, id);

    if (!*at)
        return false;
    table_unlink(t, at, ret);
    return true;
}

bool link_table_remove_any(struct link_table *t, struct link_pending *ret)
{
    for (size_t i = 0; t->count > 0 && i < LINK_BUCKETS; i++) {
        if (!t->buckets[i])
            continue;
        table_unlink(t, &t->buckets[i], ret);
        return true;
    }
    return false;
}
