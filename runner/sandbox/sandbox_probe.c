/*
 * sandbox_probe.c: has this kernel what sandboxes are made of? Asked once, when the runner starts, by trying, so that the mechanism is named and not a system call of some later start.
 *
 * One child tries all and tells of each that failed. The user namespace comes last: what is made behind it would belong to it.
 */
#include "sandbox_private.h"

#include "diag.h"
#include "fd.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct mechanism {
    const char *name;
    int (*attempt)(int flag);
    int flag;
    uint32_t lack; /* enum sandbox_lack, 0: never to be missing */
    const char *remedy;
};

static int try_namespace(int flag)
{
    return unshare(flag) < 0 ? -errno : 0;
}

static int try_filter(int flag)
{
    const uint32_t action = SECCOMP_RET_KILL_PROCESS;

    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? -errno : 0;
}

static const struct mechanism mechanisms[] = {
    {"seccomp filters", try_filter, 0, 0, "boot a kernel with CONFIG_SECCOMP_FILTER"},
    {"time namespaces", try_namespace, CLONE_NEWTIME, SANDBOX_LACKS_TIMENS,
     "boot a kernel with CONFIG_TIME_NS, or set runner.may_lack = time-namespace: functions then see the host's uptime"},
    {"cgroup namespaces", try_namespace, CLONE_NEWCGROUP, 0, "boot a kernel with CONFIG_CGROUPS; see also user.max_cgroup_namespaces"},
    {"ipc namespaces", try_namespace, CLONE_NEWIPC, 0, "boot a kernel with CONFIG_IPC_NS; see also user.max_ipc_namespaces"},
    {"uts namespaces", try_namespace, CLONE_NEWUTS, 0, "boot a kernel with CONFIG_UTS_NS; see also user.max_uts_namespaces"},
    {"network namespaces", try_namespace, CLONE_NEWNET, 0, "boot a kernel with CONFIG_NET_NS; see also user.max_net_namespaces"},
    {"mount namespaces", try_namespace, CLONE_NEWNS, 0, "see user.max_mnt_namespaces"},
    {"pid namespaces", try_namespace, CLONE_NEWPID, 0, "boot a kernel with CONFIG_PID_NS; see also user.max_pid_namespaces"},
    {"user namespaces", try_namespace, CLONE_NEWUSER, 0,
     "boot a kernel with CONFIG_USER_NS; see also user.max_user_namespaces and kernel.unprivileged_userns_clone"},
};

#define COUNT (sizeof(mechanisms) / sizeof(mechanisms[0]))

static _Noreturn void try_all(int tell_fd)
{
    int results[COUNT];

    for (size_t i = 0; i < COUNT; i++)
        results[i] = mechanisms[i].attempt(mechanisms[i].flag);
    _exit(write(tell_fd, results, sizeof(results)) == (ssize_t)sizeof(results) ? 0 : 1);
}

static int ask_child(int results[COUNT], struct diag *d)
{
    cleanup_fd int hear_fd = -1;
    int ends[2], status;
    ssize_t n;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return diag_errno(d, errno, "sandbox: pipe");
    hear_fd = ends[0];
    pid = fork();
    if (pid == 0)
        try_all(ends[1]);
    fd_close(ends[1]);
    if (pid < 0)
        return diag_errno(d, errno, "sandbox: fork");
    n = read(hear_fd, results, sizeof(int) * COUNT);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return n == (ssize_t)(sizeof(int) * COUNT) ? 0 : diag_set(d, EIO, "sandbox: the process that tries what this kernel has did not answer");
}

int sandbox_probe(uint32_t may_lack, uint32_t *ret_lacks, struct diag *d)
{
    int results[COUNT] = {0}, r = ask_child(results, d);
    uint32_t lacks = 0;

    if (r < 0)
        return r;
    for (size_t i = 0; i < COUNT; i++) {
        const struct mechanism *m = &mechanisms[i];

        if (results[i] == 0)
            continue;
        if (!(m->lack & may_lack))
            return diag_set(d, -results[i], "sandbox: this kernel gives us no %s (%s): %s", m->name, strerrorname_np(-results[i]), m->remedy);
        lacks |= m->lack;
    }
    *ret_lacks = lacks;
    return 0;
}
