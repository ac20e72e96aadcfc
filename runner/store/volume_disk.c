/*
 * volume_disk.c: see volume_disk.h.
 *
 * The file system is made under a temporary name and renamed, so that a kill leaves none or a whole one. The descriptor that carries the lock is the one that the loop device gets: the lock lives as long as the
 * device has the file, whoever dies. The device is taken by LOOP_CTL_GET_FREE, a race that every user of loop devices has: whoever comes second gets EBUSY and asks again.
 */
#include "volume_disk.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define LOOP_TRIES    16
#define LOCK_STEP_MS  5
#define MOUNT_OPTIONS "errors=remount-ro,discard" /* what a function deletes goes back to the host */

int volume_disk_too_large(const char *name, uint64_t has, struct diag *d)
{
    char size[16];

    return diag_set(d, EFBIG, "volume %s has %s and cannot become smaller: ask for at least that, or remove it (fnctl rm --volumes)", name,
                    str_format_size(has, size, sizeof(size)));
}

static const char *find_program(const char *name, char path[64])
{
    static const char *const dirs[] = {"/usr/sbin", "/sbin"};

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        snprintf(path, 64, "%s/%s", dirs[i], name);
        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

int volume_disk_can_make(struct diag *d)
{
    char path[64];

    return find_program("mke2fs", path) ? 0 : diag_set(d, ENOENT, "volumes need mke2fs: install the package e2fsprogs");
}

#define TARGET "/proc/self/fd/0"

/* A program of e2fsprogs on the file, which it has as its standard input: no path of ours is in its arguments. `most`: the highest exit status that is success. */
static int run_on(int fd, const char *const *argv, int most, struct diag *d)
{
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    char program[64];
    int status;
    pid_t pid;

    if (!find_program(argv[0], program))
        return diag_set(d, ENOENT, "volumes need %s: install the package e2fsprogs", argv[0]);
    pid = fork();
    if (pid < 0)
        return diag_errno(d, errno, "%s: fork", argv[0]);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(fd, STDIN_FILENO) < 0) /* no CLOEXEC: what the program works on */
            _exit(127);
        execve(program, (char *const *)argv, (char *const *)env);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return diag_errno(d, errno, "%s", argv[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > most)
        return diag_set(d, EIO, "%s failed (%s %d)", program, WIFEXITED(status) ? "status" : "signal",
                        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return 0;
}

/* Uninitialised tables are zeroed by the kernel in the background, which in a sparse file costs nothing. */
static int make_file_system(int fd, struct diag *d)
{
    static const char *const argv[] = {"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
                                       TARGET,   NULL};

    return run_on(fd, argv, 0, d);
}

/* Not mounted: growing a mounted one needs CAP_SYS_RESOURCE, which the runner has no other use for. Exit status 1 of e2fsck(8): errors were corrected. */
static int grow_file_system(int fd, struct diag *d)
{
    static const char *const check[] = {"e2fsck", "-f", "-p", TARGET, NULL}, *const grow[] = {"resize2fs", TARGET, NULL};
    int r = run_on(fd, check, 1, d);

    return r < 0 ? r : run_on(fd, grow, 0, d);
}

static int make_file(int dir, const char *name, uint64_t bytes, struct diag *d)
{
    cleanup_fd int fd = -1;
    char temporary[96];
    int r;

    snprintf(temporary, sizeof(temporary), ".%s.new", name);
    unlinkat(dir, temporary, 0);
    fd = openat(dir, temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
        r = diag_errno(d, errno, "cannot make a file of that size");
    else
        r = make_file_system(fd, d);
    if (r == 0 && (fsync(fd) < 0 || renameat(dir, temporary, dir, name) < 0 || fsync(dir) < 0))
        r = diag_errno(d, errno, "cannot publish its file");
    if (r < 0)
        unlinkat(dir, temporary, 0);
    return r;
}

static int lengthen(int fd, const char *name, uint64_t bytes, struct diag *d)
{
    struct stat sb;

    if (fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode))
        return diag_set(d, EIO, "%s is not a regular file", name);
    if ((uint64_t)sb.st_size > bytes)
        return volume_disk_too_large(name, (uint64_t)sb.st_size, d);
    if ((uint64_t)sb.st_size == bytes)
        return 0;
    if (ftruncate(fd, (off_t)bytes) < 0)
        return diag_errno(d, errno, "%s: cannot grow", name);
    return grow_file_system(fd, d);
}

static int lock(int fd, unsigned patience_ms)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};

    for (unsigned waited = 0;; waited += LOCK_STEP_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK || waited >= patience_ms)
            return -errno;
        nanosleep(&step, NULL);
    }
}

int volume_disk_open(int dir, const char *name, uint64_t bytes, unsigned patience_ms, int *ret_fd, struct diag *d)
{
    cleanup_fd int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int r;

    if (fd < 0 && errno == ENOENT) {
        r = make_file(dir, name, bytes, d);
        if (r < 0)
            return r;
        fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd < 0)
        return diag_errno(d, errno, "%s: cannot open", name);
    r = lock(fd, patience_ms);
    if (r < 0)
        return r == -EWOULDBLOCK ? diag_set(d, EBUSY, "%s is still mounted by somebody else, or an instance that has just ended: try again", name)
                                 : diag_errno(d, -r, "%s: cannot lock", name);
    r = lengthen(fd, name, bytes, d);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

static int attach_loop(int file_fd, char path[32], int *ret_fd, struct diag *d)
{
    cleanup_fd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const struct loop_config config = {.fd = (uint32_t)file_fd, .block_size = 4096, .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};

    if (control < 0)
        return diag_errno(d, errno, "/dev/loop-control: volumes need loop devices (the kernel module loop)");
    for (int i = 0; i < LOOP_TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE), fd;

        if (number < 0)
            return diag_errno(d, errno, "no free loop device");
        snprintf(path, 32, "/dev/loop%d", number);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            *ret_fd = fd;
            return 0;
        }
        if (fd < 0 || errno != EBUSY) {
            int err = errno;

            fd_close(fd);
            return diag_errno(d, err, "%s: cannot attach", path);
        }
        fd_close(fd);
    }
    return diag_set(d, EBUSY, "no free loop device: others take them faster than we can");
}

int volume_disk_mount(int file_fd, const char *path, struct diag *d)
{
    cleanup_fd int loop = -1;
    char device[32];
    int r = attach_loop(file_fd, device, &loop, d);

    if (r < 0)
        return r;
    if (mount(device, path, "ext4", MS_NOSUID | MS_NODEV, MOUNT_OPTIONS) < 0)
        return diag_errno(d, errno, "%s: cannot mount its file system (fsck.ext4 may help)", device);
    return 0;
}

int volume_disk_own(int root_fd, const struct volume_owner *o, struct diag *d)
{
    cleanup_fd int dir = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat sb;

    if (dir < 0 || fstat(dir, &sb) < 0)
        return diag_errno(d, errno, "its top directory");
    if (sb.st_uid == o->user && sb.st_gid == o->group)
        return 0;
    unlinkat(dir, "lost+found", AT_REMOVEDIR);
    if (fchown(dir, o->user, o->group) < 0)
        return diag_errno(d, errno, "its top directory: cannot give it to the function's user");
    return 0;
}
