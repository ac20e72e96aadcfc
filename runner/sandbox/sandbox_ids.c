/*
 * sandbox_ids.c: the steps that make the child less than it was: groups, namespaces, ids, capabilities, limits, system calls. Last of all the one that
 * turns it into fn-init.
 *
 * The user namespace is entered with host root's ids, which it does not map; only then are the ids changed, by the full capabilities that entering has
 * given inside. Because the old uid is not the namespace's root, the kernel's fix-up of capabilities does not apply to that change (capabilities(7)).
 * The securebits are locked, so that uid 0 inside means nothing either.
 */
#include "sandbox_private.h"

#include "fd.h"
#include "fninit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SECUREBITS                                                                                                                                             \
    (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |                            \
     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

int step_stdio(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    cleanup_fd int fd = open(plan_str(p, s->str[0]), O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
        if (dup2(fd, i) < 0) /* no CLOEXEC: standard input, output and error of fn-init */
            return -errno;
    return 0;
}

/* From the initial user namespace, so that the function's has no power over it, whatever it becomes inside. */
int step_netns(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return unshare(CLONE_NEWNET) < 0 ? -errno : 0;
}

int step_hostname(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const char *name = plan_str(p, s->str[0]);

    return sethostname(name, strlen(name)) < 0 ? -errno : 0;
}

int step_groups(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return setgroups(0, NULL) < 0 ? -errno : 0;
}

int step_cgroupns(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return unshare(CLONE_NEWCGROUP) < 0 ? -errno : 0;
}

int step_userns(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return setns(c->fds[START_USERNS_FD], CLONE_NEWUSER) < 0 ? -errno : 0;
}

int step_ids(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const uid_t uid = (uid_t)s->num[0];
    const gid_t gid = (gid_t)s->num[1];

    return setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ? -errno : 0;
}

static int capset_words(uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        data[i] = (struct __user_cap_data_struct){
            .effective = (uint32_t)(permitted >> (32 * i)),
            .permitted = (uint32_t)(permitted >> (32 * i)),
            .inheritable = (uint32_t)(inheritable >> (32 * i)),
        };
    return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

int sandbox_act_as(uint32_t euid)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &head, caps) < 0 || syscall(SYS_setresuid, (uid_t)-1, euid, (uid_t)-1) < 0)
        return -errno;
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        caps[i].effective = caps[i].permitted;
    return syscall(SYS_capset, &head, caps) < 0 ? -errno : 0;
}

/* The inheritable set is raised while the bounding set still allows it; ambient needs both; SETPCAP goes last. */
int step_caps(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const uint64_t ambient = s->num[0];
    int r = capset_words(ambient | 1ULL << CAP_SETPCAP, ambient);

    if (r < 0)
        return r;
    for (unsigned long cap = 0; cap < 64; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            if (errno != EINVAL || cap <= CAP_LAST_CAP)
                return -errno;
            break;
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    for (unsigned long cap = 0; cap < 64; cap++)
        if ((ambient >> cap & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
            return -errno;
    if (prctl(PR_SET_SECUREBITS, SECUREBITS) < 0)
        return -errno;
    return capset_words(ambient, ambient);
}

/* A kernel without keys has none to share. */
int step_keyring(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS ? -errno : 0;
}

/* Only down: raising would need a capability over the host, and the host's own limit is there for a reason. */
int step_rlimit(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const int resource = (int)s->num[0];
    struct rlimit limit;

    if (prlimit(0, resource, NULL, &limit) < 0)
        return -errno;
    if (limit.rlim_max > s->num[1])
        limit.rlim_max = s->num[1];
    limit.rlim_cur = limit.rlim_max;
    return prlimit(0, resource, &limit, NULL) < 0 ? -errno : 0;
}

int step_umask(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    umask((mode_t)s->num[0]);
    return 0;
}

int step_setsid(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return setsid() < 0 ? -errno : 0;
}

int step_no_new_privs(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int step_seccomp(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const struct sandbox_filter *kit = &c->kit->filter;
    const struct sock_fprog prog = {
        .len = (unsigned short)(p->filter_len ? p->filter_len : kit->len),
        .filter = p->filter_len ? (struct sock_filter *)((char *)p + p->filter) : kit->code,
    };

    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0 ? -errno : 0;
}

/* Pointers to the strings that follow each other from offset; the arrays live on the stack. */
static void string_array(const struct plan *p, uint32_t offset, uint32_t count, char **array)
{
    char *s = (char *)p + offset;

    for (uint32_t i = 0; i < count; i++, s += strlen(s) + 1)
        array[i] = s;
    array[count] = NULL;
}

/* The channel stays open until exec closes it: that is how the runner knows. */
int step_exec(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    char *argv[FN_STDIO_ARGS + SPEC_ARGS_MAX + 1], *env[SPEC_ENV_MAX + 16 + 1];

    if (p->argc >= sizeof(argv) / sizeof(argv[0]) || p->envc >= sizeof(env) / sizeof(env[0]))
        return -E2BIG;
    string_array(p, p->argv, p->argc, argv);
    string_array(p, p->env, p->envc, env);
    if (dup2(c->fds[START_LOG_FD], FN_INIT_LOG_FD) < 0) /* no CLOEXEC: fn-init's log, or fn-exec's connection, which they mark themselves */
        return -errno;
    if (close_range(FN_INIT_LOG_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return -errno;
    /* no CLOEXEC: fn-init's, which it marks itself. It is not there already: more descriptors came before it */
    if (c->group_fd >= 0 && (c->group_fd == FN_STDIO_GROUP_FD || dup2(c->group_fd, FN_STDIO_GROUP_FD) < 0))
        return c->group_fd == FN_STDIO_GROUP_FD ? -EINVAL : -errno;
    if (c->join_fds[JOIN_MASTER_FD] >= 0 && dup2(c->join_fds[JOIN_MASTER_FD], FN_EXEC_MASTER_FD) < 0) /* no CLOEXEC: fn-exec's, which it marks itself */
        return -errno;
    if (c->join_fds[JOIN_SLAVE_FD] >= 0 && dup2(c->join_fds[JOIN_SLAVE_FD], FN_EXEC_SLAVE_FD) < 0) /* no CLOEXEC: the same */
        return -errno;
    execveat(CHILD_INIT_FD, "", argv, env, AT_EMPTY_PATH);
    return -errno;
}
