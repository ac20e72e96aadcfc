/* cg_delegate.c: a group handed over to somebody without privilege, who makes groups of his own below it. */
#include "cgroup.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Neither cgroup.subtree_control nor any limit: a controller that was enabled below would forbid processes beside it. */
int cg_group_delegate(const struct cg_group *g, uint32_t uid, unsigned groups, int *ret_fd, struct diag *d)
{
    cleanup_fd int fd = -1;
    char text[16];
    int r;

    snprintf(text, sizeof(text), "%u", groups);
    r = fd_write_kernel(g->dir_fd, "cgroup.max.descendants", text);
    if (r == 0)
        r = fd_write_kernel(g->dir_fd, "cgroup.max.depth", "1");
    if (r == 0 && (fchownat(g->dir_fd, "cgroup.procs", uid, (gid_t)-1, 0) < 0 || fchown(g->dir_fd, uid, (gid_t)-1) < 0))
        r = -errno;
    if (r == 0) {
        fd = fcntl(g->dir_fd, F_DUPFD_CLOEXEC, 0);
        r = fd < 0 ? -errno : 0;
    }
    if (r < 0)
        return diag_errno(d, -r, "%s: handing the group over", g->name);
    *ret_fd = take_fd(&fd);
    return 0;
}
