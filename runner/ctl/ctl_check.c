/* ctl_check.c: the table of attempts, and how one is run so that it leaves nothing. */
#include "ctl_check.h"

#include "certdir.h"
#include "clock.h"
#include "ctl_cert.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_TIMEOUT_MS 15000
#define CONFIG_FILE      FND_SYSCONF "/fnd.ini"
#define DISK_TRIED       (64LL << 20)

static int check_config(const struct check_env *e, char *detail, struct diag *d)
{
    if (e->config_diag.err)
        return diag_set(d, e->config_diag.err, "%s", e->config_diag.text);
    ctl_check_say(detail, "%s", e->config_file ? CONFIG_FILE : "defaults, there is no " CONFIG_FILE);
    return 0;
}

/* Room is asked for in a file that has no name. */
static int check_disk(const struct check_env *e, char *detail, struct diag *d)
{
    cleanup_fd int fd = -1;
    struct statvfs vfs;
    char size[TEXT_MAX];

    if (mkdir(e->scratch, 0700) < 0)
        return diag_errno(d, errno, "%s", e->scratch);
    fd = open(e->scratch, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return diag_errno(d, errno, "%s: a file without a name", e->scratch);
    if (fallocate(fd, 0, 0, DISK_TRIED) < 0)
        return diag_errno(d, errno, "%s: 64M", e->scratch);
    if (fstatvfs(fd, &vfs) < 0)
        return diag_errno(d, errno, "%s", e->scratch);
    ctl_check_say(detail, "64M reserved and given back, %s free", ctl_text_size((uint64_t)vfs.f_bavail * vfs.f_frsize, size));
    return 0;
}

static int check_one_certificate(void *arg, int dir, const struct certdir_entry *entry)
{
    const int64_t now = (int64_t)(clock_real_ns() / NS_PER_SEC);
    struct certificate c = {0};
    struct diag *d = arg;
    int r = ctl_cert_read(dir, entry, &c, d);

    if (r == 0)
        r = certificate_valid(&c, now, d);
    certificate_done(&c);
    if (r < 0)
        diag_prefix(d, "%s", entry->name);
    return r;
}

static int check_certificates(const struct check_env *e, char *detail, struct diag *d)
{
    int n = certdir_each(e->config.tls_dir, check_one_certificate, d, d);

    if (n < 0)
        return n;
    ctl_check_say(detail, "%d in %s", n, e->config.tls_dir);
    return 0;
}

const struct check ctl_checks[] = {
    {"configuration", check_config, 0, "correct the line that is named: fnd(8) explains every key"},
    {"certificates", check_certificates, 0, "`fnctl cert ls` shows them all: renew, mend or remove the one that is named"},
    {"cgroup v2", ctl_check_cgroup_v2, 0,
     "mount it read-write: mount -t cgroup2 none /sys/fs/cgroup (hybrid: /sys/fs/cgroup/unified); or boot with systemd.unified_cgroup_hierarchy=1"},
    {"cgroup memory", ctl_check_cgroup_memory, 0,
     "boot with cgroup_enable=memory (and systemd.unified_cgroup_hierarchy=1 for pure v2); or runner.limits = best-effort"},
    {"cgroup pids", ctl_check_cgroup_pids, 0,
     "boot a kernel with CONFIG_CGROUP_PIDS, systemd.unified_cgroup_hierarchy=1 for pure v2; or runner.limits = best-effort"},
    {"cgroup cpu", ctl_check_cgroup_cpu, 0,
     "boot a kernel with CONFIG_CFS_BANDWIDTH, systemd.unified_cgroup_hierarchy=1 for pure v2; or runner.limits = best-effort"},
    {"start in a cgroup", ctl_check_clone_kill, 0,
     "Linux 6.1 or newer is needed (clone3 with CLONE_INTO_CGROUP, cgroup.kill); inside a container, its seccomp profile must allow clone3"},
    {"sockmap", ctl_check_sockmap, 0, "set gateway.sockmap = no in " CONFIG_FILE},
    {"user namespace", ctl_check_user_namespace, 0, "sysctl user.max_user_namespaces=15000; inside a container, run it privileged"},
    {"room for namespaces", ctl_check_namespace_room, 0, "raise the sysctl that is named (in /etc/sysctl.d/, then sysctl --system), or lower runner.slots_max"},
    {"idmapped mount", ctl_check_idmap, 0,
     "put the state directory (runner.state) on ext4, xfs or btrfs, mounted without noexec: NFS, overlayfs and old ZFS have no idmapped mounts"},
    {"overlay mount", ctl_check_overlay, 0, "modprobe overlay (and put \"overlay\" into /etc/modules-load.d/fnd.conf)"},
    {"seccomp filter", ctl_check_seccomp, 0, "boot a kernel with CONFIG_SECCOMP_FILTER; inside a container, its seccomp profile must allow seccomp"},
    {"program in memory", ctl_check_memfd, 0, "sysctl vm.memfd_noexec=0 (1 will do, 2 will not)"},
    {"network slot", ctl_check_network, CLONE_NEWNET, "modprobe veth bridge nf_tables; inside a container, run it privileged"},
    {"firewall table", ctl_check_nftables, CLONE_NEWNET, "modprobe nf_tables nft_ct; boot a kernel with CONFIG_NF_TABLES_INET"},
    {"connection tracking", ctl_check_tracking, CLONE_NEWNET | CHECK_OPTIONAL,
     "modprobe nft_ct; boot a kernel with CONFIG_NF_CONNTRACK_TIMEOUT, or set net.netfilter.nf_conntrack_tcp_timeout_time_wait=5 with sysctl: "
     "else closed connections fill the table"},
    {"other firewalls", ctl_check_foreign, 0,
     "let traffic from and to the bridges pass there, as the line says; what functions may not reach is refused by tables of fnd's own"},
    {"subnet free", ctl_check_subnet, 0, "choose another network.subnet in " CONFIG_FILE ", for example 10.199.0.0/16"},
    {"public port", ctl_check_port_public, 0, "end who listens there (ss -ltnp), or choose another gateway.listen in " CONFIG_FILE},
    {"admin port", ctl_check_port_admin, 0, "end who listens there (ss -ltnp), or choose another gateway.admin in " CONFIG_FILE},
    {"disk space", check_disk, 0, "free some space, or choose another runner.state in " CONFIG_FILE " (doctor --state DIRECTORY tries one)"},
    {0},
};

void ctl_check_say(char *detail, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, CHECK_DETAIL, fmt, ap);
    va_end(ap);
}

/* The state directory, or what of its path is there. */
static void set_scratch(struct check_env *e)
{
    char dir[CONFIG_PATH_MAX], *slash;
    struct stat st;

    str_copy(dir, sizeof(dir), e->config.state);
    while ((stat(dir, &st) < 0 || !S_ISDIR(st.st_mode)) && (slash = strrchr(dir, '/')))
        *slash = '\0';
    snprintf(e->scratch, sizeof(e->scratch), "%s/.fnd-doctor-%d", dir, (int)e->pid);
}

void ctl_check_prepare(struct check_env *e, const char *state)
{
    struct config_source *source = NULL;
    char set[CONFIG_PATH_MAX + 16];
    const char *sets[] = {set};
    unsigned nsets = state != NULL;

    *e = (struct check_env){.pid = getpid(), .config_file = access(CONFIG_FILE, F_OK) == 0};
    snprintf(set, sizeof(set), "runner.state=%s", state ? state : "");
    if (config_load(e->config_file ? CONFIG_FILE : NULL, sets, nsets, &e->config, &source, &e->config_diag) < 0 &&
        config_load(NULL, sets, nsets, &e->config, &source, NULL) < 0)
        config_load(NULL, NULL, 0, &e->config, &source, NULL);
    config_source_free(source);
    set_scratch(e);
}

static void __attribute__((noreturn)) child_main(const struct check *c, const struct check_env *e, int out, pid_t parent)
{
    struct check_result result = {0};

    setsid(); /* a process group that can be ended as one */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (unshare(CLONE_NEWNS | (c->flags & CLONE_NEWNET)) < 0)
        diag_errno(&result.diag, errno, "namespaces");
    else if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        diag_errno(&result.diag, errno, "private mounts");
    else if (c->attempt(e, result.detail, &result.diag) < 0 && !result.diag.err)
        diag_set(&result.diag, EIO, "failed");
    _exit(fd_write_all(out, &result, sizeof(result)) == 0 ? 0 : 1);
}

static void read_result(int fd, struct check_result *ret)
{
    struct check_result got;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, CHECK_TIMEOUT_MS);

    if (n == 0)
        diag_set(&ret->diag, ETIMEDOUT, "no end within %d s", CHECK_TIMEOUT_MS / 1000);
    else if (n < 0 || read(fd, &got, sizeof(got)) != (ssize_t)sizeof(got)) /* less than PIPE_BUF: whole or not at all */
        diag_set(&ret->diag, EIO, "the attempt ended its process");
    else
        *ret = got;
    diag_clean(&ret->diag);
}

void ctl_check_run(const struct check *c, const struct check_env *e, struct check_result *ret)
{
    int out[2];
    pid_t parent = getpid(), pid;

    *ret = (struct check_result){0};
    if (pipe2(out, O_CLOEXEC) < 0) {
        diag_errno(&ret->diag, errno, "pipe");
        return;
    }
    pid = fork();
    if (pid == 0)
        child_main(c, e, out[1], parent);
    fd_close(out[1]);
    if (pid < 0) {
        diag_errno(&ret->diag, errno, "fork");
    } else {
        read_result(out[0], ret);
        kill(-pid, SIGKILL); /* its children, too; the pid is not free before the wait */
        waitpid(pid, NULL, 0);
    }
    fd_close(out[0]);
    fd_remove_tree(AT_FDCWD, e->scratch);
}
