/* cg_group.c: one group: making, attaching, killing, removing. What the directories are: cg_tree.c. */
#include "cg_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

/* cgroup-v1/memory.rst section 9: "<event_fd> <fd of memory.oom_control>". The group keeps what it needs; oom_control may be closed. */
static int watch_oom(struct cg_group *g)
{
    cleanup_fd int control = openat(g->v1_fd[CG_MEMORY], "memory.oom_control", O_RDONLY | O_CLOEXEC), fd = -1;
    char text[32];
    int r;

    if (control < 0)
        return -errno;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    snprintf(text, sizeof(text), "%d %d", fd, control);
    r = fd_write_kernel(g->v1_fd[CG_MEMORY], "cgroup.event_control", text);
    if (r == 0)
        g->oom_fd = take_fd(&fd);
    return r;
}

static int make_v1(struct cg_group *g, enum cg_controller c, struct diag *d)
{
    const struct cg_v1 *v = &g->root->v1[c];
    int r = 0;

    if (v->dir_fd < 0)
        return 0;
    if (!v->shared)
        r = mkdirat(v->dir_fd, g->name, 0755);
    /* A name that is new in v2 and old here is what a killed daemon was about to remove: empty, or its processes would be in v2 too. Limits and counters in it are another life's. */
    if (r < 0 && errno == EEXIST && unlinkat(v->dir_fd, g->name, AT_REMOVEDIR) == 0)
        r = mkdirat(v->dir_fd, g->name, 0755);
    if (r < 0)
        return diag_errno(d, errno, "making group %s in the v1 hierarchy of %s", g->name, cg_controller_name(c));
    g->v1_fd[c] = cg_open_dir(v->dir_fd, g->name);
    return g->v1_fd[c] < 0 ? diag_errno(d, -g->v1_fd[c], "group %s in the v1 hierarchy of %s", g->name, cg_controller_name(c)) : 0;
}

int cg_group_make(struct cg_root *r, const char *name, struct cg_group *ret, struct diag *d)
{
    struct cg_group g = {.root = r, .dir_fd = -1, .oom_fd = -1};
    int x = 0;

    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        g.v1_fd[c] = -1;
    if (!cg_name_valid(name) || str_copy(g.name, sizeof(g.name), name) < 0)
        return diag_set(d, EINVAL, "%s is not a name for a cgroup", name);
    if (mkdirat(r->dir_fd, name, 0755) < 0)
        return diag_errno(d, errno, "making %s/%s", r->path, name);
    g.dir_fd = cg_open_dir(r->dir_fd, name);
    if (g.dir_fd < 0)
        x = diag_errno(d, -g.dir_fd, "%s/%s", r->path, name);
    for (int c = 0; c < CG_CONTROLLER_COUNT && x == 0; c++)
        x = make_v1(&g, c, d);
    if (x == 0 && g.v1_fd[CG_MEMORY] >= 0) {
        x = watch_oom(&g);
        if (x < 0)
            diag_errno(d, -x, "%s: watching memory.oom_control", name);
    }
    if (x < 0) {
        cg_group_remove(&g);
        unlinkat(r->dir_fd, name, AT_REMOVEDIR);
        return x;
    }
    *ret = g;
    return 0;
}

int cg_group_attach_open(const struct cg_group *g, int ret_fds[CG_CONTROLLER_COUNT], struct diag *d)
{
    int n = 0;

    for (int c = 0; c < CG_CONTROLLER_COUNT; c++) {
        int fd;

        if (g->v1_fd[c] < 0 || g->root->v1[c].shared)
            continue;
        fd = openat(g->v1_fd[c], "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (fd < 0) {
            int err = errno;

            while (n > 0)
                fd_close(ret_fds[--n]);
            return diag_errno(d, err, "group %s of the v1 hierarchy of %s", g->name, cg_controller_name(c));
        }
        ret_fds[n++] = fd;
    }
    return n;
}

int cg_group_kill(struct cg_group *g)
{
    int r;

    if (g->dir_fd < 0)
        return 0;
    g->killed = true;
    r = fd_write_kernel(g->dir_fd, "cgroup.kill", "1");
    if (r != -ENOENT)
        return r;
    return faccessat(g->dir_fd, "cgroup.procs", F_OK, 0) < 0 ? 0 : -ENOTSUP; /* the group itself is gone: nobody is in it */
}

bool cg_group_populated(const struct cg_group *g)
{
    char buf[256];

    return g->dir_fd >= 0 && fd_read_file(g->dir_fd, "cgroup.events", buf, sizeof(buf)) > 0 && strstr(buf, "populated 1");
}

/* Closes a directory once it is removed; one that stays is kept for the next call. */
static int remove_dir(int *fd, int parent_fd, const char *name)
{
    int r;

    if (*fd < 0)
        return 0;
    r = cg_remove_below(*fd);
    if (r == 0 && parent_fd >= 0 && unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = -errno;
    if (r == 0)
        *fd = fd_close(*fd);
    return r;
}

int cg_group_remove(struct cg_group *g)
{
    int r;

    if (cg_group_populated(g))
        return -EBUSY;
    r = remove_dir(&g->dir_fd, g->root->dir_fd, g->name);
    for (int c = 0; c < CG_CONTROLLER_COUNT && r == 0; c++)
        r = remove_dir(&g->v1_fd[c], g->root->v1[c].dir_fd, g->name);
    if (r == 0)
        g->oom_fd = fd_close(g->oom_fd);
    return r;
}
