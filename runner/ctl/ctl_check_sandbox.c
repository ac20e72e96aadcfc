/* ctl_check_sandbox.c: what a sandbox is made of. */
#include "ctl_check.h"

#include "fd.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM_MAX      (64U << 20)
#define NAMESPACES_SPARE 16 /* besides those of the slots: image range, the daemon's own */

int ctl_check_user_namespace(const struct check_env *e, char *detail, struct diag *d)
{
    cleanup_fd int fd = sandbox_userns_new(0, e->config.uid_base, d);

    if (fd < 0)
        return fd;
    ctl_check_say(detail, "made, with 65536 ids from %u", e->config.uid_base);
    return 0;
}

int ctl_check_namespace_room(const struct check_env *e, char *detail, struct diag *d)
{
    static const char *const kinds[] = {"user", "net", "mnt", "pid", "uts", "ipc", "cgroup", "time"};
    uint64_t needed = (uint64_t)e->config.slots_max + NAMESPACES_SPARE, least = UINT64_MAX;

    for (size_t i = 0; i < CTL_COUNT(kinds); i++) {
        char path[64], buf[32] = "";
        uint64_t max = 0;
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces", kinds[i]);
        n = fd_read_file(AT_FDCWD, path, buf, sizeof(buf));
        if (n < 0)
            return diag_errno(d, (int)-n, "%s", path);
        buf[strcspn(buf, "\n")] = '\0';
        if (str_parse_uint(buf, UINT64_MAX, &max) < 0)
            return diag_set(d, EPROTO, "%s: %s is no number", path, buf);
        if (max < needed)
            return diag_set(d, ENOSPC, "user.max_%s_namespaces = %s, but %llu slots (runner.slots_max) need %llu", kinds[i], buf,
                            (unsigned long long)e->config.slots_max, (unsigned long long)needed);
        least = max < least ? max : least;
    }
    ctl_check_say(detail, "%llu of each kind at least, %llu needed", (unsigned long long)least, (unsigned long long)needed);
    return 0;
}

/* The image of the attempts: a directory on the state directory's file system, owned as images are, seen through the map of the first slot. */
static int image_mount(const struct check_env *e, struct diag *d)
{
    uint32_t base = e->config.uid_base - SANDBOX_IDS;
    cleanup_fd int map = -1, dir = -1, fd = -1;
    struct stat st;

    if (mkdir(e->scratch, 0755) < 0)
        return diag_errno(d, errno, "%s", e->scratch);
    dir = open(e->scratch, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || fchown(dir, base, base) < 0)
        return diag_errno(d, errno, "%s", e->scratch);
    map = sandbox_userns_new(base, e->config.uid_base, d);
    if (map < 0)
        return map;
    fd = sandbox_image_mount(dir, map, d);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return diag_errno(d, errno, "%s", e->scratch);
    if (st.st_uid != e->config.uid_base)
        return diag_set(d, EIO, "%s: id %u is seen as %u through the map, not as %u", e->scratch, base, st.st_uid, e->config.uid_base);
    return take_fd(&fd);
}

int ctl_check_idmap(const struct check_env *e, char *detail, struct diag *d)
{
    cleanup_fd int fd = image_mount(e, d);
    struct statvfs vfs;

    if (fd < 0)
        return fd;
    if (fstatvfs(fd, &vfs) == 0 && (vfs.f_flag & ST_NOEXEC))
        return diag_set(d, EACCES, "%s: its file system is mounted noexec: no function could be executed", e->scratch);
    ctl_check_say(detail, "made of %.*s", (int)(strrchr(e->scratch, '/') - e->scratch), e->scratch);
    return 0;
}

/* A root as an instance has it: a small layer over the idmapped image, read-only. All of it below a tmpfs that goes with this mount namespace. */
int ctl_check_overlay(const struct check_env *e, char *detail, struct diag *d)
{
    cleanup_fd int image = image_mount(e, d);
    struct stat st;

    if (image < 0)
        return image;
    if (mount("fnd-doctor", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=1m") < 0)
        return diag_errno(d, errno, "tmpfs");
    if (mkdir("/tmp/image", 0755) < 0 || mkdir("/tmp/layer", 0755) < 0 || mkdir("/tmp/layer/proc", 0755) < 0 || mkdir("/tmp/root", 0755) < 0)
        return diag_errno(d, errno, "directories in a tmpfs");
    if (syscall(SYS_move_mount, image, "", AT_FDCWD, "/tmp/image", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return diag_errno(d, errno, "attaching the image");
    if (mount("fnd-doctor", "/tmp/root", "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, "lowerdir=/tmp/layer:/tmp/image") < 0)
        return diag_errno(d, errno, "overlay");
    if (stat("/tmp/root/proc", &st) < 0)
        return diag_errno(d, errno, "overlay: the upper layer does not show");
    if (mkdir("/tmp/root/x", 0755) == 0 || errno != EROFS)
        return diag_set(d, EIO, "overlay: it is not read-only");
    ctl_check_say(detail, "a layer over an idmapped image, read-only");
    return 0;
}

/* A filter that refuses one harmless call, and the call. Binary, because libseccomp would do more than load it. */
int ctl_check_seccomp(const struct check_env *e, char *detail, struct diag *d)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = CTL_COUNT(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return diag_errno(d, errno, "no_new_privs");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
        return diag_errno(d, errno, "loading a filter");
    if (syscall(SYS_getpgid, 0) >= 0 || errno != EDOM)
        return diag_set(d, EIO, "a filter was loaded and does not filter");
    ctl_check_say(detail, "loaded, and refuses what it should");
    return 0;
}

static int execute(int fd, struct diag *d)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        static char *const argv[] = {(char *)"fnctl", (char *)"--version", NULL}, *const envp[] = {NULL};
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
        _exit(errno & 0x7f ? errno & 0x7f : 127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return diag_errno(d, errno, "fork");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return WIFEXITED(status) ? diag_errno(d, WEXITSTATUS(status), "executing it") : diag_set(d, EIO, "executing it: signal %d", WTERMSIG(status));
}

/* fn-init is executed from a sealed memfd; here it is this program. */
int ctl_check_memfd(const struct check_env *e, char *detail, struct diag *d)
{
    cleanup_fd int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), memory = -1;
    cleanup_free char *data = NULL;
    ssize_t n = self < 0 ? -errno : fd_read_all(self, PROGRAM_MAX, &data);
    int r;

    if (n < 0)
        return diag_errno(d, (int)-n, "/proc/self/exe");
    memory = fd_sealed_memfd("fnd-doctor", data, (size_t)n, 1);
    if (memory < 0)
        return diag_errno(d, -memory, "memfd_create");
    r = execute(memory, d);
    if (r == 0)
        ctl_check_say(detail, "executed from a sealed memfd");
    return r;
}
