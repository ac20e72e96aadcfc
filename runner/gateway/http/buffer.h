/* buffer.h: fixed buffers from a pool. A connection holds one only while bytes are on their way, so an idle connection costs no buffer. */
#pragma once

#include <stdint.h>

#define BUFFER_ROOM (32768U - 16)

struct buffer {
    struct buffer *next;
    uint32_t start, end; /* data[start, end) has been read and not been used */
    char data[BUFFER_ROOM];
};

/* What a burst needed stays for the next one, until buffer_trim() finds that it was not needed again. */
#define BUFFER_KEEP 32U
struct buffer_pool {
    struct buffer *free;
    unsigned nfree, nused;
    unsigned low; /* the fewest that were free since the last buffer_trim() */
};

/* Empty; NULL without memory. The last one given is the first one taken: it is warm. */
struct buffer *buffer_take(struct buffer_pool *p);
void buffer_give(struct buffer_pool *p, struct buffer *b); /* NULL: nothing */
void buffer_pool_done(struct buffer_pool *p);

/* Frees what was free all the time since the last call, but for BUFFER_KEEP. */
void buffer_trim(struct buffer_pool *p);

static inline uint32_t buffer_len(const struct buffer *b)
{
    return b->end - b->start;
}

static inline char *buffer_at(struct buffer *b)
{
    return b->data + b->start;
}

/* Moves what is there to the front. Nothing may point into the buffer. */
void buffer_compact(struct buffer *b);
