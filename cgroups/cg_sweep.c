/*
 * cg_sweep.c: ending and removing groups, ours or a killed daemon's, with whatever was made below them.
 *
 * A group ends by one write to cgroup.kill, which reaches everything below it and frozen processes too (6.1 and later; no thawing first: it would let them run). What is left is empty and goes with
 * rmdir(2), deepest first. Names and depth below a group are a stranger's choice: nothing here recurses or keeps a descriptor or a name per level.
 */
#include "cg_internal.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

typedef int child_fn(int dirfd, const char *name, void *arg);

/* Calls fn for each group in dirfd until it returns something else than 0. A directory that has been removed is empty. */
static int for_children(int dirfd, child_fn *fn, void *arg)
{
    cleanup_fd int fd = cg_open_dir(dirfd, ".");
    struct dirent *e;
    DIR *dir;
    int r = 0;

    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    dir = fdopendir(fd);
    if (!dir)
        return -errno;
    take_fd(&fd);
    while (r == 0 && (e = readdir(dir)))
        if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = fn(dirfd, e->d_name, arg);
    closedir(dir);
    return r;
}

struct pass {
    unsigned removed;
    char busy[NAME_MAX + 1];
};

/* 1 at the first that cannot be removed yet. */
static int remove_child(int dirfd, const char *name, void *arg)
{
    struct pass *p = arg;

    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        p->removed++;
        return 0;
    }
    if (errno != EBUSY)
        return -errno;
    return str_copy(p->busy, sizeof(p->busy), name) < 0 ? -ENAMETOOLONG : 1;
}

/*
 * One directory at a time: goes down into the first child that rmdir(2) finds busy, up again by ".." when all children are gone. A child that was busy and turns out to have no children holds processes.
 */
int cg_remove_below(int dirfd)
{
    cleanup_fd int cur = cg_open_dir(dirfd, ".");
    unsigned depth = 0;
    bool went_down = false;

    if (cur == -ENOENT)
        return 0;
    if (cur < 0)
        return cur;
    for (;;) {
        struct pass p = {0};
        int next, r = for_children(cur, remove_child, &p);

        if (r < 0)
            return r;
        if (r == 0 && depth == 0)
            return 0;
        if (r == 0 && went_down && p.removed == 0)
            return -EBUSY;
        next = cg_open_dir(cur, r == 1 ? p.busy : "..");
        if (next < 0 && next != -ENOENT)
            return next;
        went_down = r == 1;
        if (next < 0) { /* somebody else removed it */
            if (r == 0)
                return -ENOENT;
            went_down = false;
            continue;
        }
        depth = r == 1 ? depth + 1 : depth - 1;
        fd_close(cur);
        cur = next;
    }
}

static int kill_child(int dirfd, const char *name, void *arg)
{
    cleanup_fd int fd = cg_open_dir(dirfd, name);
    unsigned *count = arg;
    int r;

    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    (*count)++;
    r = fd_write_kernel(fd, "cgroup.kill", "1");
    return r == -ENOENT && faccessat(fd, "cgroup.procs", F_OK, 0) < 0 ? 0 : r;
}

static int ms_until(uint64_t deadline_ns)
{
    uint64_t now = clock_mono_ns();

    return now >= deadline_ns ? 0 : (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* cgroup.events tells poll(2) of a change since it was last read (cgroup-v2.rst, "populated"). */
static int wait_empty(int dirfd, uint64_t deadline_ns)
{
    cleanup_fd int fd = openat(dirfd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    char buf[256];

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

        if (n < 0)
            return errno == ENODEV ? 0 : -errno;
        buf[n] = '\0';
        if (strstr(buf, "populated 0"))
            return 0;
        n = poll(&p, 1, ms_until(deadline_ns));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0 && ms_until(deadline_ns) == 0)
            return -ETIMEDOUT;
    }
}

/* The first process of a group as this pid namespace sees it: 0 one of another namespace, -ENOENT none. */
static int first_pid(int dirfd, const char *name)
{
    char path[NAME_MAX + sizeof("/cgroup.procs")];
    cleanup_fd int fd = -1;
    char buf[16];
    ssize_t n;

    snprintf(path, sizeof(path), "%s/cgroup.procs", name);
    fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENODEV ? -ENOENT : -errno;
    n = read(fd, buf, sizeof(buf) - 1);
    if (n < 0)
        return errno == ENODEV ? -ENOENT : -errno;
    if (n == 0)
        return -ENOENT;
    buf[n] = '\0';
    return (int)strtol(buf, NULL, 10);
}

struct v1_sweep {
    uint64_t deadline_ns;
    struct diag *d;
};

/*
 * v1 has no cgroup.kill. Members of our groups are members of the v2 tree too and are gone by now; one that somebody moved out of that is ended here, by pidfd: between the two reads of cgroup.procs the number
 * belongs to the group's process, so the descriptor made between them is that process's (or a later member's).
 */
static int end_v1_child(int dirfd, const char *name, void *arg)
{
    struct v1_sweep *s = arg;
    int pid;

    while ((pid = first_pid(dirfd, name)) != -ENOENT) {
        cleanup_fd int pidfd = -1;
        struct pollfd p = {.events = POLLIN};

        if (pid < 0)
            return diag_errno(s->d, -pid, "v1 group %s", name);
        if (pid == 0 || ms_until(s->deadline_ns) == 0)
            return diag_set(s->d, EBUSY, "v1 group %s still holds process %d: end it by hand", name, pid);
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0 || first_pid(dirfd, name) != pid)
            continue;
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        p.fd = pidfd;
        poll(&p, 1, ms_until(s->deadline_ns));
    }
    return 0;
}

static int sweep_v1(struct cg_root *r, uint64_t deadline_ns, struct diag *d)
{
    struct v1_sweep s = {.deadline_ns = deadline_ns, .d = d};

    for (int c = 0; c < CG_CONTROLLER_COUNT; c++) {
        int x;

        if (r->v1[c].dir_fd < 0 || r->v1[c].shared)
            continue;
        x = for_children(r->v1[c].dir_fd, end_v1_child, &s);
        if (x < 0)
            return x;
        x = cg_remove_below(r->v1[c].dir_fd);
        if (x < 0)
            return diag_errno(d, -x, "removing the v1 groups of %s below %s", cg_controller_name(c), r->name);
    }
    return 0;
}

int cg_root_sweep(struct cg_root *r, struct diag *d)
{
    uint64_t deadline_ns = clock_mono_ns() + CG_WAIT_MS * NS_PER_MS;
    unsigned count = 0;
    int x;

    if (r->dir_fd >= 0) {
        x = for_children(r->dir_fd, kill_child, &count);
        if (x < 0)
            return diag_errno(d, -x, "%s: cgroup.kill", r->path);
        x = wait_empty(r->dir_fd, deadline_ns);
        if (x < 0)
            return diag_errno(d, -x, "%s: killed processes do not go", r->path);
        x = cg_remove_below(r->dir_fd);
        if (x < 0)
            return diag_errno(d, -x, "%s: removing groups", r->path);
    }
    x = sweep_v1(r, deadline_ns, d);
    return x < 0 ? x : (int)count;
}
