#include "pipe_pool.h"

#include "clock.h"
#include "fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define REFUSED_FOR_NS NS_PER_SEC

static void pair_free(struct pipe_pool *p, struct pipe_pair *pair)
{
    fd_close(pair->in);
    fd_close(pair->out);
    free(pair);
    p->nall--;
}

/* As large as the kernel allows now, 0 if that is not worth it. */
static uint32_t enlarge(int fd)
{
    for (uint32_t size = PIPE_BYTES; size >= PIPE_WORTH; size /= 2) {
        int got = fcntl(fd, F_SETPIPE_SZ, (int)size);

        if (got > 0)
            return (uint32_t)got;
    }
    return 0;
}

static struct pipe_pair *pair_new(struct pipe_pool *p)
{
    struct pipe_pair *pair = calloc(1, sizeof(*pair));
    int fds[2];

    if (!pair)
        return NULL;
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        free(pair);
        return NULL;
    }
    p->nall++;
    pair->out = fds[0];
    pair->in = fds[1];
    pair->room = enlarge(pair->in);
    if (pair->room)
        return pair;
    pair_free(p, pair);
    return NULL;
}

struct pipe_pair *pipe_pool_take(struct pipe_pool *p, uint64_t now_ns)
{
    struct pipe_pair *pair = p->free;

    if (pair) {
        p->free = pair->next;
        if (--p->nfree < p->low)
            p->low = p->nfree;
        return pair;
    }
    if (p->nall >= p->max || (p->refused_ns && now_ns < p->refused_ns + REFUSED_FOR_NS))
        return NULL;
    pair = pair_new(p);
    p->refused_ns = pair ? 0 : now_ns;
    return pair;
}

void pipe_pool_give(struct pipe_pool *p, struct pipe_pair *pair)
{
    if (!pair)
        return;
    if (pair->bytes > 0) { /* of somebody's body: nobody else may ever see them */
        pair_free(p, pair);
        return;
    }
    pair->next = p->free;
    p->free = pair;
    p->nfree++;
}

static void free_some(struct pipe_pool *p, unsigned n)
{
    for (; n > 0 && p->free; n--) {
        struct pipe_pair *pair = p->free;

        p->free = pair->next;
        p->nfree--;
        pair_free(p, pair);
    }
}

void pipe_pool_trim(struct pipe_pool *p)
{
    free_some(p, p->low);
    p->low = p->nfree;
}

void pipe_pool_done(struct pipe_pool *p)
{
    free_some(p, p->nfree);
}
