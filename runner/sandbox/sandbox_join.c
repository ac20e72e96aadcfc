/*
 * sandbox_join.c: one more process in a sandbox that runs: the clone into the instance's cgroup, the joining of its namespaces, the birth.
 *
 * Two processes come of it. The first is born limited (CLONE_INTO_CGROUP, v1 groups by itself) but in the host's pid namespace, where the function cannot see it; it closes all descriptors, joins by fn-init's
 * pidfd, enters the user namespace, sheds ids and capabilities, and only then gives birth to the second, by CLONE_PARENT a child of the runner: a child of the first would go to the host's init, and the pid
 * namespace cannot end while somebody has a dead process of it that he does not reap. That one executes fn-init as a relay. What the function can see of it meanwhile: session.c.
 *
 * The order is that of a start (sandbox_ids.c) and for the same reasons. setns(CLONE_NEWNS) sets root and working directory to the namespace's root, which pivot_root has made the sandbox's own (CVE-2024-21626 was a
 * working directory that survived); no path is resolved between that and the end of all privilege.
 */
#include "sandbox_private.h"

#include "diag.h"
#include "fd.h"
#include "fninit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define JOIN_FLAGS (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_NEWTIME)

/* The kernel asks for the right to trace fn-init: the owner of its user namespace has it (user_namespaces(7)), so the runner needs no CAP_SYS_PTRACE over the whole host. */
int step_join(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const int flags = c->kit->lacks & SANDBOX_LACKS_TIMENS ? JOIN_FLAGS & ~CLONE_NEWTIME : JOIN_FLAGS;
    int r = sandbox_act_as(p->uid_base);

    if (r == 0 && setns(c->join_fds[JOIN_PID_FD], flags) < 0)
        r = -errno;
    if (r == 0)
        r = sandbox_act_as(0);
    if (r < 0)
        return r;
    c->join_fds[JOIN_PID_FD] = fd_close(c->join_fds[JOIN_PID_FD]);
    return 0;
}

/* The runner finds the second by its process group, should this one not live to tell. */
int step_birth(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    struct clone_args args = {.flags = CLONE_PARENT};
    struct child_report report = {.kind = CHILD_BORN, .op = PLAN_OP_COUNT};
    long pid = syscall(SYS_clone3, &args, sizeof(args));

    if (pid < 0)
        return -errno;
    if (pid == 0)
        return 0;
    report.err = (int32_t)pid;
    _exit(write(CHILD_CHANNEL_FD, &report, sizeof(report)) == sizeof(report) ? 0 : 126);
}

static int keep_descriptors(struct sandbox_child_state *c, int channel_fd, const struct sandbox_park *at, int attach[PARK_ATTACH_MAX])
{
    int channel = channel_fd, init = c->kit->init_fd;
    int *kept[7 + PARK_ATTACH_MAX] = {
        &channel, &init, &c->fds[START_USERNS_FD], &c->fds[START_LOG_FD], &c->join_fds[JOIN_PID_FD], &c->join_fds[JOIN_MASTER_FD], &c->join_fds[JOIN_SLAVE_FD]};

    if (at->nattach > PARK_ATTACH_MAX)
        return -E2BIG;
    for (unsigned i = 0; i < at->nattach; i++) {
        attach[i] = at->attach_fds[i];
        kept[7 + i] = &attach[i];
    }
    return sandbox_child_keep(kept, 7 + (int)at->nattach);
}

static void joiner_main(const struct sandbox_kit *k, int channel_fd, const void *arg)
{
    const struct sandbox_join *j = arg;
    struct sandbox_child_state c;
    int attach[PARK_ATTACH_MAX], attached;

    sandbox_child_init(&c, k);
    c.fds[START_USERNS_FD] = j->userns_fd;
    c.fds[START_LOG_FD] = j->socket_fd;
    c.join_fds[JOIN_PID_FD] = j->pid_fd;
    c.join_fds[JOIN_MASTER_FD] = j->master_fd;
    c.join_fds[JOIN_SLAVE_FD] = j->slave_fd;
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NAME, FN_EXEC_NAME);
    if (k->args) /* /proc/PID/cmdline is read without asking for rights, and this one's is the runner's; the memory is our own copy */
        memset(k->args, 0, k->args_len);
    if (keep_descriptors(&c, channel_fd, j->at, attach) < 0)
        _exit(126);
    attached = sandbox_child_attach(attach, j->at->nattach);
    if (attached < 0)
        sandbox_child_failed(PLAN_OP_COUNT, -attached, "entering its v1 cgroups");
    umask(0);
    sandbox_child_signals();
    sandbox_child_obey(&c, j->plan);
    _exit(125);
}

int sandbox_join(const struct sandbox_kit *k, const struct sandbox_join *j, struct sandbox_child *ret, struct diag *d)
{
    return sandbox_channel_clone(k, 0, j->at->cgroup_fd, joiner_main, j, ret, d);
}

static int join_dead(struct sandbox_child *c, int err)
{
    c->stage = SANDBOX_DEAD;
    return err;
}

int sandbox_join_on_channel(struct sandbox_child *c, pid_t *ret_born, struct diag *d)
{
    struct child_report report;
    unsigned nfds = 0;
    ssize_t n;

    if (c->stage != SANDBOX_PARKING && c->stage != SANDBOX_PARKED)
        return -EAGAIN;
    n = fd_recv(c->channel_fd, &report, sizeof(report), NULL, 0, &nfds, MSG_DONTWAIT);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n == 0 && c->stage == SANDBOX_PARKED) {
        c->stage = SANDBOX_RUNNING;
        return 0;
    }
    if (n == 0 || n == -ECONNRESET)
        return join_dead(c, diag_set(d, ECHILD, "sandbox: the process ended while it was joining: the instance is ending, or out of memory"));
    if (n == sizeof(report) && report.kind == CHILD_BORN && c->stage == SANDBOX_PARKING && report.err > 1) {
        *ret_born = report.err;
        c->stage = SANDBOX_PARKED;
        return 0;
    }
    if (n != sizeof(report) || report.kind != CHILD_FAILED)
        return join_dead(c, diag_set(d, EPROTO, "sandbox: unexpected report of the child"));
    report.what[sizeof(report.what) - 1] = '\0';
    if (report.err <= 0 || report.err > 4095)
        report.err = EIO;
    return join_dead(c, diag_errno(d, report.err, "sandbox: joining: %s%s%s", report.op < PLAN_OP_COUNT ? plan_op_info(report.op)->name : "child",
                                   report.what[0] ? " " : "", report.what));
}
