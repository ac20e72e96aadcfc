/* init_ids.c: the ids of fn-init and of a session's relay: the function's real ones, to signal it; 1 for what protects them from it. */
#include "fn_init.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int init_ids_parse(const char *s, uint32_t *ret)
{
    uint64_t v = 0;

    if (!*s)
        return -EINVAL;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || v > UINT32_MAX)
            return -EINVAL;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    if (v <= FN_INIT_ID || v >= UINT32_MAX)
        return -EINVAL;
    *ret = (uint32_t)v;
    return 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

/* Afterwards the ids can move between the function's and 1 without any capability. */
int init_ids_take(uid_t uid, gid_t gid)
{
    if (setresgid(gid, FN_INIT_ID, FN_INIT_ID) < 0 || setresuid(uid, FN_INIT_ID, FN_INIT_ID) < 0)
        return -errno;
    return drop_capabilities();
}

/*
 * For good, in a process that still has the memory of whoever made it. A change of the effective uid makes that memory what fs.suid_dumpable says, which an administrator may have made 1: then other processes of the
 * function could look into it. So it comes first, while the saved uid still keeps them out, then the flag; the last change touches neither the effective uid nor the flag (commit_creds in the kernel's cred.c).
 */
int init_ids_become(uid_t uid, gid_t gid, const struct init_key *key)
{
    if (syscall(SYS_setresgid, gid, gid, gid, key->word[0], key->word[1]) < 0 ||
        syscall(SYS_setresuid, (uid_t)-1, uid, (uid_t)-1, key->word[0], key->word[1]) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        syscall(SYS_setresuid, uid, uid, uid, key->word[0], key->word[1]) < 0)
        return -errno;
    return 0;
}

/* The saved ids stay 1: what makes files as the function does is still nobody whom the function may look into. */
int init_ids_effective(uid_t uid, gid_t gid, const struct init_key *key)
{
    if (syscall(SYS_setresgid, (gid_t)-1, gid, (gid_t)-1, key->word[0], key->word[1]) < 0 ||
        syscall(SYS_setresuid, (uid_t)-1, uid, (uid_t)-1, key->word[0], key->word[1]) < 0)
        return -errno;
    /* Each change of the effective uid has set this to fs.suid_dumpable, which an administrator may have made 1. */
    return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}
