/*
 * sandbox_park.c: the runner's side of a child: the clone, the channel, the start.
 *
 * No CLONE_NEWUSER: a child made with it could not enter the slot's namespaces and could not idmap an image (tried on 6.1 and 6.18); it enters one as
 * its last but one act. No CLONE_NEWNET: the network namespace is unshared by the child later, so that the clone, which the runner waits for, stays
 * short. No CLONE_NEWCGROUP: its root is to be the group in which the instance then is.
 */
#include "sandbox_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#define PARK_NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWTIME)

int sandbox_park(const struct sandbox_kit *k, const struct sandbox_park *where, struct sandbox_child *ret, struct diag *d)
{
    const uint64_t namespaces = k->lacks & SANDBOX_LACKS_TIMENS ? PARK_NAMESPACES & ~(uint64_t)CLONE_NEWTIME : PARK_NAMESPACES;

    return sandbox_channel_clone(k, namespaces, where->cgroup_fd, sandbox_child_main, where, ret, d);
}

static int child_dead(struct sandbox_child *c, int err)
{
    c->stage = SANDBOX_DEAD;
    return err;
}

static int on_failed(struct sandbox_child *c, struct child_report *report, struct diag *d)
{
    const struct plan_op_info *info = plan_op_info(report->op);
    const char *when = c->stage == SANDBOX_PARKING ? "sandbox: parking" : "sandbox: start";

    report->what[sizeof(report->what) - 1] = '\0';
    if (report->err <= 0 || report->err > 4095)
        report->err = EIO;
    child_dead(c, diag_errno(d, report->err, "%s: %s%s%s", when, info ? info->name : "child", report->what[0] ? " " : "", report->what));
    return report->err == EAGAIN ? -EBUSY : -report->err; /* EAGAIN is "nothing there yet" to who asked */
}

static int on_end(struct sandbox_child *c, struct diag *d)
{
    if (c->stage == SANDBOX_STARTING) {
        c->stage = SANDBOX_RUNNING;
        return 0;
    }
    return child_dead(c, diag_set(d, ECHILD, "sandbox: the child ended while it was %s", c->stage == SANDBOX_PARKING ? "parking" : "parked"));
}

int sandbox_on_channel(struct sandbox_child *c, struct diag *d)
{
    struct child_report report;
    cleanup_fd int netns = -1;
    unsigned nfds = 0;
    ssize_t n;

    if (c->stage == SANDBOX_DEAD || c->stage == SANDBOX_RUNNING)
        return -EAGAIN;
    n = fd_recv(c->channel_fd, &report, sizeof(report), &netns, 1, &nfds, MSG_DONTWAIT);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n == 0 || n == -ECONNRESET) /* reset: it ended before it had read the plan */
        return n == 0 ? on_end(c, d) : child_dead(c, diag_set(d, ECHILD, "sandbox: the child ended before it had its plan"));
    if (n < 0)
        return child_dead(c, diag_errno(d, (int)-n, "sandbox: channel"));
    if (n == sizeof(report) && report.kind == CHILD_FAILED)
        return on_failed(c, &report, d);
    if (n != sizeof(report) || report.kind != CHILD_PARKED || c->stage != SANDBOX_PARKING || nfds != 1)
        return child_dead(c, diag_set(d, EPROTO, "sandbox: unexpected report of the child"));
    c->netns_fd = take_fd(&netns);
    c->stage = SANDBOX_PARKED;
    return 0;
}

void sandbox_child_close(struct sandbox_child *c)
{
    c->pid_fd = fd_close(c->pid_fd);
    c->channel_fd = fd_close(c->channel_fd);
    c->netns_fd = fd_close(c->netns_fd);
}

int sandbox_start(struct sandbox_child *c, const struct sandbox_start *s, struct diag *d)
{
    int fds[START_FDS_MAX] = {[START_IMAGE_FD] = s->image_mount_fd, [START_USERNS_FD] = s->userns_fd, [START_LOG_FD] = s->log_fd};
    unsigned n = START_FD_COUNT;
    int r;

    if (c->stage != SANDBOX_PARKED)
        return diag_set(d, EINVAL, "sandbox: start of a child that is not parked");
    if (s->plan->nruntimes)
        fds[n++] = s->runtime_mount_fd;
    for (uint32_t i = 0; i < s->plan->nvolumes; i++)
        fds[n++] = s->volume_fds[i];
    if (s->plan->ngroups)
        fds[n++] = s->group_fd;
    r = fd_send(c->channel_fd, s->plan, s->plan->size, fds, n, MSG_DONTWAIT);
    if (r < 0)
        return child_dead(c, diag_errno(d, -r, "sandbox: sending the plan"));
    c->stage = SANDBOX_STARTING;
    return 0;
}
