/*
 * privileges.c: the runner's capabilities, each with its reason. Parked children are the runner's copies: they have these and no others until they give up all of them.
 */
#include "privileges.h"

#include "diag.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/capability.h>
#include <sys/prctl.h>

static const cap_value_t needed[] = {
    CAP_SYS_ADMIN,        /* namespaces, mounts, setns, sethostname */
    CAP_NET_ADMIN,        /* links, addresses, rules, in our and in the slots' namespaces */
    CAP_SETUID,           /* maps of user namespaces; ids of the gateway and of fn-init */
    CAP_SETGID,           /* the same */
    CAP_SETPCAP,          /* empty bounding sets in sandboxes */
    CAP_CHOWN,            /* staging directories, sockets, the writable places of an instance */
    CAP_DAC_OVERRIDE,     /* trees that belong to the image range */
    CAP_FOWNER,           /* modes of what was given to an instance's range; removing such trees */
    CAP_KILL,             /* instances and the gateway */
    CAP_MKNOD,            /* the five nodes of an instance's own /dev: binds of the host's nodes would share locks between functions */
    CAP_SYS_CHROOT,       /* setns into a mount namespace asks for it beside SYS_ADMIN */
    CAP_NET_BIND_SERVICE, /* listeners below 1024 */
};

static bool is_needed(cap_value_t cap)
{
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (needed[i] == cap)
            return true;
    return false;
}

int privileges_bound(struct diag *d)
{
    cap_t now = cap_get_proc();
    int r = 0;

    if (!now)
        return diag_errno(d, errno, "capabilities");
    for (cap_value_t cap = 0; cap < cap_max_bits() && r == 0; cap++) {
        if (is_needed(cap))
            continue;
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            r = -errno;
        if (cap_set_flag(now, CAP_EFFECTIVE, 1, &cap, CAP_CLEAR) < 0 || cap_set_flag(now, CAP_PERMITTED, 1, &cap, CAP_CLEAR) < 0)
            r = -errno;
    }
    if (r == 0 && (cap_clear_flag(now, CAP_INHERITABLE) < 0 || cap_set_proc(now) < 0))
        r = -errno;
    cap_free(now);
    return r < 0 ? diag_errno(d, -r, "capabilities: cannot drop those that are not needed") : 0;
}
