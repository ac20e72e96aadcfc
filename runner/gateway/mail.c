/*
 * mail.c: see mail.h.
 *
 * The box is a stack that senders push to; the reader takes it whole and turns it round. Only who pushes onto an empty stack rings the bell (eventfd): the reader has not looked since. It rings before it is heard: the
 * reader silences the bell first and takes the stack then, so a letter that comes in between rings again.
 */
#include "mail.h"

#include "fd.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static void on_bell(struct watch *w, uint32_t events)
{
    struct mailbox *b = w->owner;
    uint64_t rings;

    if (read(b->event_fd, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
        return;
    mailbox_read(b);
}

int mailbox_open(struct mailbox *b)
{
    *b = (struct mailbox){.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    return b->event_fd < 0 ? -errno : 0;
}

int mailbox_attach(struct mailbox *b, struct loop *loop)
{
    return loop_watch(loop, &b->watch, b->event_fd, EPOLLIN, on_bell, b);
}

void mailbox_detach(struct mailbox *b)
{
    loop_unwatch(&b->watch);
}

static struct letter *take_all(struct mailbox *b)
{
    struct letter *newest = atomic_exchange_explicit(&b->newest, NULL, memory_order_acquire), *oldest = NULL;

    while (newest) {
        struct letter *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

void mailbox_close(struct mailbox *b)
{
    for (struct letter *l = take_all(b), *next; l; l = next) {
        next = l->next;
        l->unread(l);
    }
    b->event_fd = fd_close(b->event_fd);
}

void mailbox_post(struct mailbox *b, struct letter *l)
{
    const uint64_t one = 1;
    struct letter *before = atomic_load_explicit(&b->newest, memory_order_relaxed);

    do
        l->next = before;
    while (!atomic_compare_exchange_weak_explicit(&b->newest, &before, l, memory_order_acq_rel, memory_order_relaxed));
    if (!before && write(b->event_fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: it rings */
}

void mailbox_read(struct mailbox *b)
{
    if (!atomic_load_explicit(&b->newest, memory_order_relaxed))
        return;
    for (struct letter *l = take_all(b), *next; l; l = next) {
        next = l->next;
        l->read(l);
    }
}
