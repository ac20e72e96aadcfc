/*
 * stdio_group.c: the cgroup of each request. The runner has handed the instance's directory over to our id: we may make groups in it and move our children there; its limits stay root's, and the function, which has another
 * id, can write to none of it. A group is used again when it is seen to be empty, unless cgroup.kill was written to it.
 */
#include "stdio_server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void group_name(unsigned number, char name[16])
{
    name[0] = '\0';
    init_putn(init_puts(name, 16, "r"), 16, number);
}

static void group_close(struct stdio_group *g)
{
    if (g->dir_fd >= 0)
        close(g->dir_fd);
    if (g->events_fd >= 0)
        close(g->events_fd);
    g->dir_fd = g->events_fd = -1;
}

static int group_make(struct stdio_groups *all, struct stdio_group *ret)
{
    struct stdio_group g = {.dir_fd = -1, .events_fd = -1, .number = all->next};
    char name[16];
    int r = 0;

    if (all->ndying == STDIO_DYING_MAX)
        return -EAGAIN;
    group_name(g.number, name);
    if (mkdirat(all->base_fd, name, 0755) < 0)
        return -errno;
    all->next++;
    g.dir_fd = openat(all->base_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g.dir_fd >= 0)
        g.events_fd = openat(g.dir_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (g.events_fd < 0) {
        r = -errno;
        group_close(&g);
        unlinkat(all->base_fd, name, AT_REMOVEDIR);
        return r;
    }
    *ret = g;
    return 0;
}

int stdio_group_take(struct stdio_groups *all, struct stdio_group *ret)
{
    if (all->base_fd < 0) {
        *ret = (struct stdio_group){.dir_fd = -1, .events_fd = -1};
        return 0;
    }
    if (all->nfree == 0)
        return group_make(all, ret);
    *ret = all->free[--all->nfree];
    return 0;
}

bool stdio_group_empty(const struct stdio_group *g)
{
    char text[128];
    ssize_t n = g->dir_fd < 0 ? -1 : pread(g->events_fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return g->dir_fd < 0;
    text[n] = '\0';
    return strstr(text, "populated 0") != NULL;
}

void stdio_group_kill(const struct stdio_group *g)
{
    int fd = openat(g->dir_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)!write(fd, "1", 1);
    close(fd);
}

void stdio_group_give(struct stdio_groups *all, struct stdio_group *g, bool killed)
{
    if (g->dir_fd < 0)
        return;
    if (!killed && all->nfree < STDIO_CONNS_MAX) {
        all->free[all->nfree++] = *g;
        g->dir_fd = g->events_fd = -1;
        return;
    }
    group_close(g);
    if (all->ndying < STDIO_DYING_MAX)
        all->dying[all->ndying++] = g->number;
    stdio_groups_tidy(all);
}

void stdio_groups_tidy(struct stdio_groups *all)
{
    for (unsigned i = 0; i < all->ndying;) {
        char name[16];

        group_name(all->dying[i], name);
        if (unlinkat(all->base_fd, name, AT_REMOVEDIR) < 0 && errno == EBUSY)
            i++;
        else
            all->dying[i] = all->dying[--all->ndying];
    }
}
