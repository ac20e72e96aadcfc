/* http_guard.h: text that ends at an unmapped page, so that a parser which looks one byte too far dies. */
#pragma once

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
    char *map;
    size_t size; /* before the unmapped page */
};

static inline struct guard guard_new(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
    struct guard g = {.size = room};

    g.map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(g.map != MAP_FAILED);
    munmap(g.map + room, page);
    return g;
}

static inline char *guard_put(const struct guard *g, const void *data, size_t len)
{
    assert(len <= g->size);
    return memcpy(g->map + g->size - len, data, len);
}

static inline void guard_done(struct guard *g)
{
    munmap(g->map, g->size);
}
