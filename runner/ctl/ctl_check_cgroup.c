/* ctl_check_cgroup.c: groups, controllers, starting in a group and ending it. The same code as the daemon's, in a tree of doctor's own. */
#include "ctl_check.h"

#include "cgroup.h"
#include "fd.h"
#include "sockmaps.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_MS 5000

struct tree {
    struct cg_root *root;
    struct cg_group group;
    bool made;
};

static int tree_make(const struct check_env *e, struct tree *t, struct diag *d)
{
    char path[64], name[32];
    struct cg_options o = {.path = path, .name = name};
    int r;

    *t = (struct tree){0};
    snprintf(name, sizeof(name), "fnd-doctor-%d", (int)e->pid);
    snprintf(path, sizeof(path), "/%s", name);
    r = cg_root_open(&o, &t->root, d);
    if (r < 0)
        return r;
    r = cg_group_make(t->root, "attempt", &t->group, d);
    t->made = r == 0;
    return r;
}

/* The first failure is the one to tell: an error of removing only where nothing else failed. */
static int tree_remove(struct tree *t, int r, struct diag *d)
{
    struct diag removal = {0};

    if (t->made) {
        int e = cg_group_remove(&t->group);

        if (e < 0 && r == 0)
            r = diag_errno(d, -e, "removing a group");
    }
    if (t->root && cg_root_remove(t->root, &removal) < 0 && r == 0) {
        *d = removal;
        r = -removal.err;
    }
    cg_root_free(t->root);
    return r;
}

int ctl_check_cgroup_v2(const struct check_env *e, char *detail, struct diag *d)
{
    struct tree t;
    int r = tree_make(e, &t, d);

    if (r == 0)
        ctl_check_say(detail, "a group made and removed in %s", cg_root_path(t.root));
    return tree_remove(&t, r, d);
}

struct limit_file {
    const char *name, *value, *reads; /* what the kernel says afterwards */
};

static const struct limit_file limit_files[CG_CONTROLLER_COUNT][2] = {
    [CG_MEMORY] = {{"memory.max", "67108864", "67108864\n"}, {"memory.limit_in_bytes", "67108864", "67108864\n"}},
    [CG_PIDS] = {{"pids.max", "64", "64\n"}, {"pids.max", "64", "64\n"}},
    [CG_CPU] = {{"cpu.max", "50000 100000", "50000 100000\n"}, {"cpu.cfs_quota_us", "50000", "50000\n"}},
};

static int try_limit(const struct tree *t, enum cg_controller c, char *detail, struct diag *d)
{
    enum cg_where where = cg_root_where(t->root, c);
    const struct limit_file *f = &limit_files[c][where == CG_V1];
    int dirfd = where == CG_V1 ? t->group.v1_fd[c] : t->group.dir_fd;
    char buf[64] = "";
    int r;

    if (where == CG_ABSENT)
        return diag_set(d, ENOTSUP, "the %s controller is in no hierarchy of this host", cg_controller_name(c));
    r = fd_write_kernel(dirfd, f->name, f->value);
    if (r < 0)
        return diag_errno(d, -r, "writing %s to %s", f->value, f->name);
    r = (int)fd_read_file(dirfd, f->name, buf, sizeof(buf));
    if (r < 0)
        return diag_errno(d, -r, "%s", f->name);
    if (strcmp(buf, f->reads) != 0)
        return diag_set(d, EIO, "%s: %s was written, %.*s is there", f->name, f->value, (int)strcspn(buf, "\n"), buf);
    ctl_check_say(detail, "%s = %s in a group (cgroup %s)", f->name, f->value, where == CG_V1 ? "v1" : "v2");
    return 0;
}

static int check_limit(const struct check_env *e, enum cg_controller c, char *detail, struct diag *d)
{
    struct tree t;
    int r = tree_make(e, &t, d);

    if (r == 0)
        r = try_limit(&t, c, detail, d);
    return tree_remove(&t, r, d);
}

int ctl_check_cgroup_memory(const struct check_env *e, char *detail, struct diag *d)
{
    return check_limit(e, CG_MEMORY, detail, d);
}

int ctl_check_cgroup_pids(const struct check_env *e, char *detail, struct diag *d)
{
    return check_limit(e, CG_PIDS, detail, d);
}

int ctl_check_cgroup_cpu(const struct check_env *e, char *detail, struct diag *d)
{
    return check_limit(e, CG_CPU, detail, d);
}

/* A process that is born in the group and sleeps; then the group is killed, and the process must be gone. */
static int try_kill(struct tree *t, char *detail, struct diag *d)
{
    int pid_fd = -1;
    const uint64_t flags = CLONE_PIDFD | CLONE_INTO_CGROUP;
    struct clone_args args = {.flags = flags, .pidfd = (uintptr_t)&pid_fd, .exit_signal = SIGCHLD, .cgroup = (unsigned)t->group.dir_fd};
    struct pollfd p = {.events = POLLIN};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    int r;

    if (pid == 0)
        for (;;)
            pause();
    if (pid < 0)
        return diag_errno(d, errno, "clone3 with CLONE_INTO_CGROUP");
    p.fd = pid_fd;
    r = cg_group_populated(&t->group) ? cg_group_kill(&t->group) : -ENOTSUP;
    if (r < 0)
        diag_errno(d, -r, "cgroup.kill");
    else if (poll(&p, 1, END_MS) != 1)
        r = diag_set(d, ETIMEDOUT, "cgroup.kill: the process goes on");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fd_close(pid_fd);
    if (r == 0)
        ctl_check_say(detail, "clone3 with CLONE_INTO_CGROUP, ended by cgroup.kill");
    return r;
}

int ctl_check_clone_kill(const struct check_env *e, char *detail, struct diag *d)
{
    struct tree t;
    int r = tree_make(e, &t, d);

    if (r == 0)
        r = try_kill(&t, detail, d);
    return tree_remove(&t, r, d);
}

/* Nothing that is needed: the line says which way requests go. */
int ctl_check_sockmap(const struct check_env *e, char *detail, struct diag *d)
{
    struct sockmaps *maps = NULL;
    struct diag why = {0};
    struct tree t;
    int r;

    if (!e->config.sockmap || !e->config.spawn) {
        ctl_check_say(detail, "requests go by TCP: %s", e->config.sockmap ? "gateway.spawn = no" : "gateway.sockmap = no");
        return 0;
    }
    r = tree_make(e, &t, d);
    if (r == 0 && sockmaps_open(t.root, &maps, &why) < 0)
        ctl_check_say(detail, "requests go by TCP: %s", why.text);
    else if (r == 0)
        ctl_check_say(detail, "small requests go from socket to socket: real connections passed the trial");
    sockmaps_free(maps);
    return tree_remove(&t, r, d);
}
