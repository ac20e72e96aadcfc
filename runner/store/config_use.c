/* config_use.c: what follows from the configuration. */
#include "config.h"

#include <sched.h>

uint32_t config_threads(const struct config *c)
{
    cpu_set_t set;
    uint32_t n = c->threads;

    if (n == 0)
        n = sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
    return n < CONFIG_THREADS_MAX ? n : CONFIG_THREADS_MAX;
}
