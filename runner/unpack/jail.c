/*
 * jail.c: how fnd-unpack gives up everything but one directory, before it reads a byte that somebody else wrote.
 *
 * It begins as root of a user namespace that maps only the image range, in new mount, pid, network, ipc and uts namespaces, so none of this needs privilege on the host, and none is held:
 *
 *   1. the staging directory, which the runner passed as a detached mount (nosuid, nodev, noexec), is put over "/" and becomes the root; the host's tree is detached. There is no /proc.
 *   2. rootfs/ is made in it, and the process changes its root there: from then on the kernel resolves whatever an archive can say (absolute paths, "..", chains of symlinks) inside the image.
 *   3. all capabilities go but three, which reach no further than the ids of the image range below this root:
 *        CHOWN          files get the owners that the archive names
 *        FOWNER         modes are set, and hard links made, after the owner has changed
 *        DAC_OVERRIDE   entries go into directories that the archive made read-only, or somebody else's
 *      The survey and the export write nothing: their mounts are read-only, and they keep DAC_READ_SEARCH alone.
 *      FSETID is not among them: the kernel then clears a setgid bit of a foreign group by itself.
 *   4. no_new_privs, resource limits, and an allow-list of system calls: no exec, no fork or thread (the survey's one, survey_flush.c, and the thread for digests are made before), no socket but the one that is there, no xattr, no mknod. A mode with 06000
 *      is refused for every call that takes one, because a setuid file made here would belong to an id of the host. openat2 takes its mode from memory, where a filter cannot look, and therefore is not on the list.
 */
#include "digest_thread.h"
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define JAIL_ADDRESS_SPACE (1ULL << 30)   /* xz -9e needs 65 MB, zstd --ultra -22 needs 128 MB */
#define JAIL_DATA          (512ULL << 20) /* xz -9e needs 65 MB, zstd --ultra -22 128 MB, a survey of a million names 300 MB; the cgroup has more, for cache */
#define JAIL_FILES         256            /* the survey holds one per directory on its way and some to be flushed, removing a tree two */
#define JAIL_CPU_SPARE     2              /* seconds that the kernel waits longer than jail_check_cpu() */
#define JAIL_CPU_MAX       3600

#ifdef __SANITIZE_ADDRESS__
#define JAIL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define JAIL_ASAN 1
#endif
#endif
#ifndef JAIL_ASAN
#define JAIL_ASAN 0
#endif

static int enter_staging(struct diag *d)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return diag_errno(d, errno, "making mounts private");
    if (move_mount(UNPACK_FD_STAGING, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return diag_errno(d, errno, "mounting the staging directory");
    if (fchdir(UNPACK_FD_STAGING) < 0)
        return diag_errno(d, errno, "entering the staging directory");
    if (syscall(SYS_pivot_root, ".", ".") < 0) /* pivot_root(2): the old root lies over the new one until it is detached */
        return diag_errno(d, errno, "pivot_root");
    if (umount2(".", MNT_DETACH) < 0)
        return diag_errno(d, errno, "detaching the host's tree");
    return 0;
}

static int enter_rootfs(enum jail_job job, int *ret_root_fd, struct diag *d)
{
    cleanup_fd int root = -1;

    if (job == JAIL_EXTRACT && mkdirat(UNPACK_FD_STAGING, UNPACK_ROOTFS, 0755) < 0)
        return diag_errno(d, errno, "making " UNPACK_ROOTFS);
    root = openat(UNPACK_FD_STAGING, job == JAIL_EXPORT ? "." : UNPACK_ROOTFS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0 || fchdir(root) < 0 || chroot(".") < 0)
        return diag_errno(d, errno, "entering " UNPACK_ROOTFS);
    *ret_root_fd = take_fd(&root);
    return 0;
}

static int drop_capabilities(enum jail_job job, struct diag *d)
{
    const uint32_t keep = job != JAIL_EXTRACT ? 1U << CAP_DAC_READ_SEARCH : 1U << CAP_CHOWN | 1U << CAP_FOWNER | 1U << CAP_DAC_OVERRIDE;
    const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                               SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = keep, .permitted = keep}};

    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if ((cap >= 32 || !(keep & 1U << cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return diag_errno(d, errno, "dropping capability %lu", cap);
    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
        return diag_errno(d, errno, "securebits");
    if (syscall(SYS_capset, &head, data) < 0)
        return diag_errno(d, errno, "capset");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return diag_errno(d, errno, "no_new_privs");
    return 0;
}

static int set_limits(struct diag *d)
{
    static const struct {
        int resource;
        rlim_t value;
    } limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_NOFILE, JAIL_FILES},
        {RLIMIT_CPU, JAIL_CPU_MAX},
        {RLIMIT_AS, JAIL_ASAN ? RLIM_INFINITY : JAIL_ADDRESS_SPACE},
        {RLIMIT_DATA, JAIL_ASAN ? RLIM_INFINITY : JAIL_DATA},
    };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct rlimit old, l = {limits[i].value, limits[i].value};

        if (getrlimit((__rlimit_resource_t)limits[i].resource, &old) < 0)
            return diag_errno(d, errno, "getrlimit");
        if (l.rlim_max > old.rlim_max) /* the host is stricter; raising would need a privilege */
            l.rlim_cur = l.rlim_max = old.rlim_max;
        if (setrlimit((__rlimit_resource_t)limits[i].resource, &l) < 0)
            return diag_errno(d, errno, "setrlimit");
    }
    return 0;
}

#define JAIL_ALL (JAIL_EXTRACT | JAIL_SURVEY | JAIL_EXPORT)

struct jail_call {
    int nr;
    int mode_arg; /* which argument is a mode that must not have 06000; -1: none */
    unsigned jobs;
};

static const struct jail_call jail_calls[] = {
    /* the archive, the socket, messages */
    {SCMP_SYS(read), -1, JAIL_ALL},
    {SCMP_SYS(readv), -1, JAIL_EXTRACT},
    {SCMP_SYS(pread64), -1, JAIL_ALL},
    {SCMP_SYS(write), -1, JAIL_ALL},
    {SCMP_SYS(writev), -1, JAIL_EXTRACT},
    {SCMP_SYS(pwrite64), -1, JAIL_EXTRACT},
    {SCMP_SYS(lseek), -1, JAIL_EXTRACT},
    {SCMP_SYS(recvmsg), -1, JAIL_ALL},
    {SCMP_SYS(sendmsg), -1, JAIL_ALL},
    {SCMP_SYS(fcntl), -1, JAIL_ALL},
    {SCMP_SYS(close), -1, JAIL_ALL},
    /* the tree */
    {SCMP_SYS(openat), 3, JAIL_ALL},
    {SCMP_SYS(mkdirat), 2, JAIL_EXTRACT},
    {SCMP_SYS(fchmod), 1, JAIL_EXTRACT},
    {SCMP_SYS(fchmodat), 2, JAIL_EXTRACT},
    {SCMP_SYS(fchown), -1, JAIL_EXTRACT},
    {SCMP_SYS(fchownat), -1, JAIL_EXTRACT},
    {SCMP_SYS(fstat), -1, JAIL_ALL},
    {SCMP_SYS(newfstatat), -1, JAIL_ALL},
    {SCMP_SYS(statx), -1, JAIL_ALL},
    {SCMP_SYS(ftruncate), -1, JAIL_EXTRACT},
    {SCMP_SYS(getdents64), -1, JAIL_ALL},
    {SCMP_SYS(linkat), -1, JAIL_EXTRACT},
    {SCMP_SYS(symlinkat), -1, JAIL_EXTRACT},
    {SCMP_SYS(unlinkat), -1, JAIL_EXTRACT},
    {SCMP_SYS(renameat), -1, JAIL_EXTRACT},
    {SCMP_SYS(renameat2), -1, JAIL_EXTRACT},
    {SCMP_SYS(readlinkat), -1, JAIL_SURVEY | JAIL_EXPORT},
    {SCMP_SYS(fsync), -1, JAIL_SURVEY},
    /* memory, time, the end */
    {SCMP_SYS(brk), -1, JAIL_ALL},
    {SCMP_SYS(mmap), -1, JAIL_ALL},
    {SCMP_SYS(munmap), -1, JAIL_ALL},
    {SCMP_SYS(mremap), -1, JAIL_ALL},
    {SCMP_SYS(madvise), -1, JAIL_ALL},
    {SCMP_SYS(mprotect), -1, JAIL_ALL},
    {SCMP_SYS(futex), -1, JAIL_ALL},
    {SCMP_SYS(getrandom), -1, JAIL_ALL},
    {SCMP_SYS(sysinfo), -1, JAIL_ALL}, /* qsort(3) asks how much memory there is */
    {SCMP_SYS(clock_gettime), -1, JAIL_ALL},
    {SCMP_SYS(gettimeofday), -1, JAIL_ALL},
    {SCMP_SYS(restart_syscall), -1, JAIL_EXTRACT},
    {SCMP_SYS(rt_sigaction), -1, JAIL_ALL},
    {SCMP_SYS(rt_sigprocmask), -1, JAIL_ALL},
    {SCMP_SYS(rt_sigreturn), -1, JAIL_ALL},
    {SCMP_SYS(exit), -1, JAIL_ALL},
    {SCMP_SYS(exit_group), -1, JAIL_ALL},
#if JAIL_ASAN
    {SCMP_SYS(sigaltstack), -1, JAIL_ALL},
    {SCMP_SYS(sched_yield), -1, JAIL_ALL},
    {SCMP_SYS(gettid), -1, JAIL_ALL},
    {SCMP_SYS(getpid), -1, JAIL_ALL},
    {SCMP_SYS(readlinkat), -1, JAIL_EXTRACT},
    {SCMP_SYS(readlink), -1, JAIL_ALL},
#endif
};

/* Memory that could hold new code is never made. */
static int add_memory_rules(scmp_filter_ctx ctx, int nr)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, 4 /* PROT_EXEC */, 0));
}

static int add_rules(scmp_filter_ctx ctx, enum jail_job job)
{
    int r = 0;

    for (size_t i = 0; i < sizeof(jail_calls) / sizeof(jail_calls[0]) && r == 0; i++) {
        const struct jail_call *c = &jail_calls[i];

        if (!(c->jobs & job))
            continue;
        if (c->nr == SCMP_SYS(mmap) || c->nr == SCMP_SYS(mprotect))
            r = add_memory_rules(ctx, c->nr);
        else if (c->mode_arg >= 0)
            r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, c->nr, 1, SCMP_CMP((unsigned)c->mode_arg, SCMP_CMP_MASKED_EQ, 06000, 0));
        else
            r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, c->nr, 0);
    }
    if (r == 0) /* its own limits alone */
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0, 0));
    return r;
}

/*
 * What is not on the list fails with EPERM: libc then takes its other way, and an archive that found one through libarchive gets no further than an error. Another architecture's calls kill (libseccomp's
 * default).
 */
static int install_filter(enum jail_job job, struct diag *d)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int r = ctx ? 0 : -ENOMEM;

    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1); /* the thread for digests too */
    if (r == 0)
        r = add_rules(ctx, job);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r == 0 ? 0 : diag_errno(d, -r, "seccomp filter");
}

int jail_enter(enum jail_job job, struct jail_help *help, int *ret_root_fd, struct diag *d)
{
    cleanup_fd int root = -1;
    int r;

    umask(0);
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is an error of write(2) */
    signal(SIGPIPE, SIG_IGN);
    r = enter_staging(d);
    if (r == 0)
        r = enter_rootfs(job, &root, d);
    if (r == 0)
        r = set_limits(d);
    if (r == 0)
        r = drop_capabilities(job, d);
    if (r == 0 && help->flush)
        r = survey_flush_start(help->flush, root, d);
    if (r == 0 && job != JAIL_EXPORT)
        r = digest_thread_start(&help->digest, d);
    if (r == 0)
        r = install_filter(job, d);
    if (r < 0) {
        diag_prefix(d, "jail");
        return r;
    }
    *ret_root_fd = take_fd(&root);
    return 0;
}

int jail_limit(const struct unpack_limits *l, struct diag *d)
{
    struct rlimit cpu = {l->max_seconds, l->max_seconds}, size = {l->max_bytes, l->max_bytes};

    if (cpu.rlim_cur > JAIL_CPU_MAX - JAIL_CPU_SPARE)
        cpu.rlim_cur = JAIL_CPU_MAX - JAIL_CPU_SPARE;
    cpu.rlim_cur = cpu.rlim_max = cpu.rlim_cur + JAIL_CPU_SPARE;
    if (setrlimit(RLIMIT_CPU, &cpu) < 0 || setrlimit(RLIMIT_FSIZE, &size) < 0)
        return diag_errno(d, errno, "jail: setrlimit");
    return 0;
}

int jail_check_cpu(const struct unpack_limits *l, struct diag *d)
{
    struct timespec used;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) < 0)
        return diag_errno(d, errno, "clock_gettime");
    if ((uint64_t)used.tv_sec >= l->max_seconds)
        return diag_set(d, EFBIG, "unpacking took more than %u s of processor time: use a smaller package, or a faster compression", l->max_seconds);
    return 0;
}
