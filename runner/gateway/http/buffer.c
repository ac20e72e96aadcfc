#include "buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* More free ones than this go back to the allocator: a burst must not stay resident. */
#define BUFFER_FREE_MAX 32

static_assert(sizeof(struct buffer) == 32768, "a buffer fills its pages");

struct buffer *buffer_take(struct buffer_pool *p)
{
    struct buffer *b = p->free;

    if (b) {
        p->free = b->next;
        p->nfree--;
    } else {
        b = malloc(sizeof(*b));
        if (!b)
            return NULL;
    }
    b->next = NULL;
    b->start = b->end = 0;
    p->nused++;
    return b;
}

void buffer_give(struct buffer_pool *p, struct buffer *b)
{
    if (!b)
        return;
    p->nused--;
    if (p->nfree >= BUFFER_FREE_MAX) {
        free(b);
        return;
    }
    b->next = p->free;
    p->free = b;
    p->nfree++;
}

void buffer_pool_done(struct buffer_pool *p)
{
    while (p->free) {
        struct buffer *b = p->free;

        p->free = b->next;
        free(b);
    }
    p->nfree = 0;
}

void buffer_compact(struct buffer *b)
{
    if (b->start == 0)
        return;
    memmove(b->data, b->data + b->start, b->end - b->start);
    b->end -= b->start;
    b->start = 0;
}
