#include "buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct buffer) == 32768, "a buffer fills its pages");

struct buffer *buffer_take(struct buffer_pool *p)
{
    struct buffer *b = p->free;

    if (b) {
        p->free = b->next;
        if (--p->nfree < p->low)
            p->low = p->nfree;
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
    b->next = p->free;
    p->free = b;
    p->nfree++;
}

static void free_some(struct buffer_pool *p, unsigned n)
{
    for (; n > 0 && p->free; n--) {
        struct buffer *b = p->free;

        p->free = b->next;
        p->nfree--;
        free(b);
    }
}

void buffer_trim(struct buffer_pool *p)
{
    unsigned spare = p->nfree > BUFFER_KEEP ? p->nfree - BUFFER_KEEP : 0;

    free_some(p, spare < p->low ? spare : p->low);
    p->low = p->nfree;
}

void buffer_pool_done(struct buffer_pool *p)
{
    free_some(p, p->nfree);
}

void buffer_compact(struct buffer *b)
{
    if (b->start == 0)
        return;
    memmove(b->data, b->data + b->start, b->end - b->start);
    b->end -= b->start;
    b->start = 0;
}
