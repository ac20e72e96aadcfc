/*
 * sandbox_child.c: the life of the child between clone and exec: park, wait, obey. After the clone nothing allocates, parses or decides: the child runs
 * a loop over steps, and reports the first that fails.
 *
 * It keeps three things from the runner: the channel, fn-init's memfd, and the memory as it was at the clone (the kit with the filter and the parking
 * plan; a function that loosens something brings its own filter in the plan). All other descriptors are closed before anything else, since a parked child lives for a long time and would pin what the runner meant to
 * close. The end of the channel while it waits means that the runner is gone: it exits. As PID 1 of its namespace with default dispositions it can be
 * ended from outside by SIGKILL alone.
 */
#include "sandbox_private.h"

#include "fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static plan_handler *const handlers[] = {
    [PLAN_SCRATCH] = step_scratch, [PLAN_MKDIR] = step_mkdir,       [PLAN_MKNOD] = step_mknod,   [PLAN_SYMLINK] = step_symlink,
    [PLAN_FILE] = step_file,       [PLAN_SECRET] = step_secret,     [PLAN_MOUNT] = step_mount,   [PLAN_ROOT] = step_root,
    [PLAN_IMAGE] = step_image,     [PLAN_VOLUME] = step_volume,     [PLAN_BIND] = step_bind,     [PLAN_MOVE] = step_move,
    [PLAN_MASK] = step_mask,       [PLAN_READONLY] = step_readonly, [PLAN_PIVOT] = step_pivot,   [PLAN_STDIO] = step_stdio,
    [PLAN_NETNS] = step_netns,     [PLAN_HOSTNAME] = step_hostname, [PLAN_GROUPS] = step_groups, [PLAN_CGROUPNS] = step_cgroupns,
    [PLAN_USERNS] = step_userns,   [PLAN_IDS] = step_ids,           [PLAN_CAPS] = step_caps,     [PLAN_KEYRING] = step_keyring,
    [PLAN_RLIMIT] = step_rlimit,   [PLAN_UMASK] = step_umask,       [PLAN_SETSID] = step_setsid, [PLAN_NO_NEW_PRIVS] = step_no_new_privs,
    [PLAN_SECCOMP] = step_seccomp, [PLAN_EXEC] = step_exec,         [PLAN_JOIN] = step_join,     [PLAN_BIRTH] = step_birth,
};

static_assert(sizeof(handlers) / sizeof(handlers[0]) == PLAN_OP_COUNT, "every operation has a handler");

/* Plain write(2): the filter that may already be loaded allows it, and there is nobody to tell when it fails. */
void sandbox_child_failed(uint32_t op, int err, const char *what)
{
    struct child_report report = {.kind = CHILD_FAILED, .err = err, .op = op};

    if (what)
        memcpy(report.what, what, strnlen(what, sizeof(report.what) - 1));
    if (write(CHILD_CHANNEL_FD, &report, sizeof(report)) < 0)
        _exit(126);
    _exit(125);
}

void sandbox_child_obey(struct sandbox_child_state *c, const struct plan *p)
{
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct plan_step *s = &p->steps[i];
        int r = s->op < PLAN_OP_COUNT ? handlers[s->op](c, p, s) : -EINVAL;

        if (r < 0)
            sandbox_child_failed(s->op, -r, plan_str(p, s->str[0]));
    }
}

int sandbox_child_keep(int *const *kept, int n)
{
    for (int i = 0; i < n; i++) {
        if (*kept[i] < 0)
            continue;
        *kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, KEEP_ABOVE_FD);
        if (*kept[i] < 0)
            return -errno;
    }
    if (close_range(0, KEEP_ABOVE_FD - 1, 0) < 0)
        return -errno;
    for (int i = 0; i < n; i++)
        if (*kept[i] >= 0) {
            *kept[i] = dup3(*kept[i], CHILD_CHANNEL_FD + i, O_CLOEXEC);
            if (*kept[i] < 0)
                return -errno;
        }
    if (close_range(KEEP_ABOVE_FD, ~0U, 0) < 0)
        return -errno;
    /* 0 to 3 must not be given to what is opened next; these hold nothing of the host's mounts. */
    for (int fd = 0; fd < CHILD_CHANNEL_FD; fd++)
        if (dup3(CHILD_INIT_FD, fd, O_CLOEXEC) < 0)
            return -errno;
    return 0;
}

/*
 * First of all, since entering the v1 groups takes a grace period of the kernel each: copies of the runner's locks and listeners that live on in a child would keep the next daemon out when this one is killed.
 */
static int keep_descriptors(int channel_fd, int init_fd, const struct sandbox_park *where, int attach[PARK_ATTACH_MAX])
{
    int channel = channel_fd, init = init_fd, *kept[2 + PARK_ATTACH_MAX] = {&channel, &init};

    if (where->nattach > PARK_ATTACH_MAX)
        return -E2BIG;
    for (unsigned i = 0; i < where->nattach; i++) {
        attach[i] = where->attach_fds[i];
        kept[2 + i] = &attach[i];
    }
    return sandbox_child_keep(kept, 2 + (int)where->nattach);
}

/* The clone has reset handlers, but what the runner ignores would stay ignored through every exec. */
void sandbox_child_signals(void)
{
    /* The kernel's structure (rt_sigaction(2)), all zero: SIG_DFL. By the raw call, since the C library refuses the two signals that it keeps for itself, and these can have been inherited ignored like any other. */
    static const struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } dfl;

    for (int sig = 1; sig < NSIG; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            syscall(SYS_rt_sigaction, sig, &dfl, NULL, sizeof(dfl.mask));
}

static void say_parked(void)
{
    const struct child_report report = {.kind = CHILD_PARKED, .op = PLAN_OP_COUNT};
    cleanup_fd int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int r = netns < 0 ? -errno : fd_send(CHILD_CHANNEL_FD, &report, sizeof(report), &netns, 1, 0);

    if (r < 0)
        sandbox_child_failed(PLAN_NETNS, -r, "/proc/self/ns/net");
}

/* Blocks for as long as the child is parked. The memory for the plan is touched only when one comes. */
static const struct plan *await_plan(struct sandbox_child_state *c)
{
    struct plan *p = mmap(NULL, PLAN_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned nfds = 0;
    ssize_t n;

    if (p == MAP_FAILED)
        sandbox_child_failed(PLAN_OP_COUNT, errno, "memory for the plan");
    n = fd_recv(CHILD_CHANNEL_FD, p, PLAN_MAX, c->fds, START_FDS_MAX, &nfds, 0);
    if (n == 0 || n == -ECONNRESET)
        _exit(0);
    if (n < 0)
        sandbox_child_failed(PLAN_OP_COUNT, (int)-n, "receiving the plan");
    if ((size_t)n < sizeof(*p) || p->magic != PLAN_MAGIC || p->size != (size_t)n || p->nruntimes > 1 || p->nvolumes > SPEC_VOLUMES_MAX || p->ngroups > 1 ||
        nfds != START_FD_COUNT + p->nruntimes + p->nvolumes + p->ngroups)
        sandbox_child_failed(PLAN_OP_COUNT, EPROTO, "receiving the plan");
    if (p->ngroups)
        c->group_fd = c->fds[nfds - 1];
    return p;
}

/* Into the v1 groups, while no descriptor has been closed yet: what follows is limited there too. */
int sandbox_child_attach(int *fds, unsigned n)
{
    int r = 0;

    for (unsigned i = 0; i < n; i++) {
        if (r == 0 && write(fds[i], "0", 1) != 1)
            r = -errno;
        fds[i] = fd_close(fds[i]);
    }
    return r;
}

void sandbox_child_init(struct sandbox_child_state *c, const struct sandbox_kit *kit)
{
    *c = (struct sandbox_child_state){.kit = kit, .root_fd = -1, .group_fd = -1};
    for (size_t i = 0; i < sizeof(c->fds) / sizeof(c->fds[0]); i++)
        c->fds[i] = -1;
    for (size_t i = 0; i < JOIN_FD_COUNT; i++)
        c->join_fds[i] = -1;
}

void sandbox_child_main(const struct sandbox_kit *kit, int channel_fd, const void *arg)
{
    const struct sandbox_park *where = arg;
    struct sandbox_child_state c;
    int attach[PARK_ATTACH_MAX], attached;

    sandbox_child_init(&c, kit);
    c.scratch = where->scratch_dir;
    if (keep_descriptors(channel_fd, kit->init_fd, where, attach) < 0)
        _exit(126);
    attached = sandbox_child_attach(attach, where->nattach);
    if (attached < 0)
        sandbox_child_failed(PLAN_OP_COUNT, -attached, "entering its v1 cgroups");
    umask(0);
    sandbox_child_signals();
    sandbox_child_obey(&c, kit->park);
    c.root_fd = fd_close(c.root_fd); /* of the parking plan; the new root has its own */
    say_parked();
    sandbox_child_obey(&c, await_plan(&c));
    _exit(125); /* the last step of a plan is exec, which does not return without a failure */
}
