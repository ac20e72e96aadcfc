/*
 * pipe_pool.h: pipes through which large bodies go from socket to socket without a copy (splice(2)). A flow holds one only while bytes are in it.
 *
 * Pages in pipes are bounded per user by /proc/sys/fs/pipe-user-pages-soft (16384, which is 64 MB; pipe(7)): beyond it a pipe of somebody without privilege has 8 KB and cannot grow. So there are few, and who gets none
 * copies. Small ones are not worth having: measured on loopback, a pipe of 64 KB costs as much CPU per GB as copying through 32 KB, one of 1 MB half of it.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define PIPE_POOL_ALL 48U          /* of all workers: 48 of those 64 MB */
#define PIPE_POOL_MAX 24U          /* of one */
#define PIPE_BYTES    (1U << 20)   /* asked for: pipe-max-size of an unprivileged user, by default */
#define PIPE_WORTH    (256U << 10) /* less is no gain */

struct pipe_pair {
    struct pipe_pair *next;
    int in, out;    /* written to; read from */
    uint32_t bytes; /* in it */
    uint32_t room;  /* of an empty one */
};

struct pipe_pool {
    struct pipe_pair *free;
    unsigned nfree, nall, max;
    unsigned low;        /* the fewest that were free since the last pipe_pool_trim() */
    uint64_t refused_ns; /* when the kernel gave none that is worth it; 0: it has not */
};

/* The most that one of so many workers may have. */
static inline unsigned pipe_pool_share(unsigned workers)
{
    return PIPE_POOL_ALL / workers < PIPE_POOL_MAX ? PIPE_POOL_ALL / workers : PIPE_POOL_MAX;
}

/* An empty pipe, or NULL: copy. */
struct pipe_pair *pipe_pool_take(struct pipe_pool *p, uint64_t now_ns);
void pipe_pool_give(struct pipe_pool *p, struct pipe_pair *pair); /* what is still in it is thrown away; NULL: nothing */
void pipe_pool_trim(struct pipe_pool *p);                         /* closes what was free all the time since the last call */
void pipe_pool_done(struct pipe_pool *p);
