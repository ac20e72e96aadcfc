/*
 * privileges_calls.c: the system calls that the runner gives up at its start, and with it everything that it starts: the gateway, the jail, every sandbox. So the list holds only what neither the runner nor any
 * function needs; each of those has a stricter filter of its own on top. An allow-list would not do here: functions are started from this process, and whatever it lacked they would lack.
 *
 * Not on the list, though tempting: keyctl (a sandbox joins a session keyring of its own), everything about namespaces and mounts, and what a word of [sandbox] allow can open to a function (allow.h): ptrace,
 * process_vm_readv and process_vm_writev, io_uring, the placement of memory.
 * None has a rule about arguments: the kernel then keeps the verdict in a bitmap and the program is not run at all (seccomp(2), Linux 5.11).
 */
#include "privileges.h"

#include "diag.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>

struct privileges_group {
    const char *why; /* for people who read this */
    const char *calls;
};

static const struct privileges_group denied[] = {
    {"another kernel, or another code in this one",
     "kexec_load kexec_file_load init_module finit_module delete_module create_module query_module get_kernel_syms bpf"},
    {"the host as a whole", "reboot swapon swapoff acct quotactl quotactl_fd nfsservctl syslog vhangup"},
    {"the clock", "clock_settime clock_settime64 clock_adjtime clock_adjtime64 settimeofday adjtimex stime"},
    {"hardware", "iopl ioperm vm86 vm86old modify_ldt pciconfig_read pciconfig_write pciconfig_iobase"},
    {"files by handle: the way out of a mount namespace", "open_by_handle_at"},
    {"watching and changing other processes", "perf_event_open lookup_dcookie kcmp"},
    {"attack surface that nothing here uses", "userfaultfd fanotify_init fanotify_mark"},
    {"of other times", "uselib ustat sysfs _sysctl"},
};

/* A name that this architecture, or this libseccomp, does not have is no way in either: libseccomp gives such calls a negative number. */
static int deny_group(scmp_filter_ctx ctx, const char *calls, int err)
{
    char name[64];

    while (*calls) {
        size_t len = strcspn(calls, " ");
        int nr, r;

        if (len >= sizeof(name))
            return -EINVAL;
        memcpy(name, calls, len);
        name[len] = '\0';
        nr = seccomp_syscall_resolve_name(name);
        r = nr < 0 ? 0 : seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint32_t)err), nr, 0);
        if (r < 0)
            return r;
        calls += len;
        calls += strspn(calls, " ");
    }
    return 0;
}

const char *privileges_denied(unsigned i)
{
    return i < sizeof(denied) / sizeof(denied[0]) ? denied[i].calls : NULL;
}

int privileges_deny(int err, struct diag *d)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int r = ctx ? 0 : -ENOMEM;

    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); /* i386, x32: two more doors to every kernel bug */
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP,
                             0); /* CAP_SYS_ADMIN does; no_new_privs would be inherited, and on 6.1 an exec under it resets the effective uid */
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]) && r == 0; i++)
        r = deny_group(ctx, denied[i].calls, err);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r < 0 ? diag_errno(d, -r, "the runner's seccomp filter") : 0;
}
