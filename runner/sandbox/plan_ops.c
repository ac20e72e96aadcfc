/* plan_ops.c: what the steps of a plan are called and how they are printed. */
#include "sandbox_private.h"

#include <assert.h>

static const struct plan_op_info ops[] = {
    [PLAN_SCRATCH] = {"scratch", "leave the host's mounts: private tree, own tmpfs {s0}, pivot_root, detach"},
    [PLAN_MKDIR] = {"mkdir", "{s0} mode {o0} owner {d1}:{d2}"},
    [PLAN_MKNOD] = {"mknod", "{s0} mode {o0} char {d1}:{d2}"},
    [PLAN_SYMLINK] = {"symlink", "{s0} -> {s1}"},
    [PLAN_FILE] = {"file", "{s0} mode {o0} owner {d1}:{d2} \"{s1}\""},
    [PLAN_SECRET] = {"secret", "{s0} mode 0400 owner {d1}:{d2}"},
    [PLAN_MOUNT] = {"mount", "{s0} type {s1} {s2} ({f0})"},
    [PLAN_ROOT] = {"root", "{s0}: what follows is resolved below it, without symlinks"},
    [PLAN_IMAGE] = {"image", "{s0}: the {s1}, idmapped (ro,nosuid,nodev)"},
    [PLAN_VOLUME] = {"volume", "{s1} on {s0}, idmapped (rw,nosuid,nodev)"},
    [PLAN_BIND] = {"bind", "{s1} on {s0}"},
    [PLAN_MOVE] = {"move", "{s1} to {s0}"},
    [PLAN_MASK] = {"mask", "{s0} by {s1}"},
    [PLAN_READONLY] = {"readonly", "{s0}"},
    [PLAN_PIVOT] = {"pivot_root", "{s0}, detach the old one"},
    [PLAN_STDIO] = {"stdio", "{s0}"},
    [PLAN_NETNS] = {"netns", "new, owned by the initial user namespace"},
    [PLAN_HOSTNAME] = {"hostname", "{s0}"},
    [PLAN_GROUPS] = {"setgroups", "none"},
    [PLAN_CGROUPNS] = {"cgroupns", "new"},
    [PLAN_USERNS] = {"userns", "the slot's"},
    [PLAN_IDS] = {"ids", "{d0}:{d1}"},
    [PLAN_CAPS] = {"capabilities", "ambient {s0}; bounding set empty; securebits locked"},
    [PLAN_KEYRING] = {"keyring", "own session keyring"},
    [PLAN_RLIMIT] = {"rlimit", "{s0} at most {d1}"},
    [PLAN_UMASK] = {"umask", "{o0}"},
    [PLAN_SETSID] = {"setsid", ""},
    [PLAN_NO_NEW_PRIVS] = {"no_new_privs", ""},
    [PLAN_SECCOMP] = {"seccomp", "the allow-list below"},
    [PLAN_EXEC] = {"exec", "fn-init"},
    [PLAN_JOIN] = {"join", "the namespaces of the running instance"},
    [PLAN_BIRTH] = {"fork", "into its pid namespace"},
};

static_assert(sizeof(ops) / sizeof(ops[0]) == PLAN_OP_COUNT, "every operation has a name");

const struct plan_op_info *plan_op_info(uint32_t op)
{
    return op < PLAN_OP_COUNT ? &ops[op] : NULL;
}
