/* cg_disk.c: the disk that io limits are for. Limits hold where requests are queued: at a whole disk, never at a partition (io.max answers ENODEV). */
#include "cg_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SYS_BLOCK "/sys/dev/block"

/* Digits, a colon, digits: what is pasted into io.max. */
static bool is_device(const char *s)
{
    size_t n = strspn(s, "0123456789"), m = s[n] == ':' ? strspn(s + n + 1, "0123456789") : 0;

    return n > 0 && m > 0 && s[n + 1 + m] == '\0';
}

int cg_disk_find(int sys_fd, unsigned major, unsigned minor, char *ret, size_t size, struct diag *d)
{
    char name[24], text[32];
    cleanup_fd int dir = -1;
    ssize_t n;

    if (major == 0)
        return diag_set(d, ENOTSUP, "the file system of the state directory has no disk of its own");
    snprintf(name, sizeof(name), "%u:%u", major, minor);
    dir = openat(sys_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return diag_errno(d, errno, SYS_BLOCK "/%s", name);
    n = fd_read_file(dir, faccessat(dir, "partition", F_OK, 0) == 0 ? "../dev" : "dev", text, sizeof(text));
    if (n < 0)
        return diag_errno(d, (int)-n, SYS_BLOCK "/%s: no whole disk", name);
    text[strcspn(text, "\n")] = '\0';
    if (!is_device(text))
        return diag_set(d, EPROTO, SYS_BLOCK "/%s names no disk", name);
    return str_copy(ret, size, text);
}

static int find_disk(struct cg_root *r, int dir_fd, struct diag *d)
{
    cleanup_fd int sys = -1;
    char disk[sizeof(r->disk)], value[sizeof(disk) + 32];
    struct stat st;
    int x;

    if (r->where[CG_IO] != CG_V2)
        return diag_set(d, ENOTSUP, "cgroup v2 has no io controller on this host");
    if (fstat(dir_fd, &st) < 0)
        return diag_errno(d, errno, "the state directory");
    sys = open(SYS_BLOCK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sys < 0)
        return diag_errno(d, errno, SYS_BLOCK);
    x = cg_disk_find(sys, major(st.st_dev), minor(st.st_dev), disk, sizeof(disk), d);
    if (x < 0)
        return x;
    /* "max" limits nothing, and tells whether the kernel takes this disk. */
    snprintf(value, sizeof(value), "%s rbps=max wbps=max", disk);
    x = fd_write_kernel(r->dir_fd, "io.max", value);
    return x < 0 ? diag_errno(d, -x, "disk %s takes no io limit", disk) : str_copy(r->disk, sizeof(r->disk), disk);
}

int cg_root_disk(struct cg_root *r, int dir_fd, struct diag *d)
{
    struct diag why = {0};
    int x = find_disk(r, dir_fd, &why);

    if (x == 0)
        return 0;
    r->disk[0] = '\0';
    snprintf(r->no_disk, sizeof(r->no_disk), "%.90s", why.text);
    return diag_set(d, ENOTSUP, "%s", why.text);
}
