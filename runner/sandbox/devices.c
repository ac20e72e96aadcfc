/* devices.c: see device.h. Two tables of what no function gets, by name (told at deploy) and by number (whatever the name, told at the start). */
#include "device.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SEPARATORS " \t,"
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define ALL        0, 0xfffff

#define THE_MEMORY   "the memory and the log of the host's kernel"
#define TERMINALS    "terminals of the host"
#define DISKS        "disks: whoever writes there is the host"
#define VIRTUAL      "makes machines and networks, with much of the kernel behind it"
#define FILE_SYSTEMS "mounts and block devices are the host's"
#define INPUT        "what is typed on the host, or seems to be"
#define MACHINE      "acts on the whole machine"

/* Documentation/admin-guide/devices.txt. */
static const struct {
    const char *name; /* a path below /dev; with a * at its end whatever begins so */
    const char *reason;
} refused_names[] = {
    {"null", "every sandbox has it"},
    {"zero", "every sandbox has it"},
    {"full", "every sandbox has it"},
    {"random", "every sandbox has it"},
    {"urandom", "every sandbox has it"},
    {"shm/*", "every sandbox has its own"},
    {"fd/*", "every sandbox has its own"},
    {"mem", THE_MEMORY},
    {"kmem", THE_MEMORY},
    {"port", THE_MEMORY},
    {"kmsg", THE_MEMORY},
    {"nvram", MACHINE},
    {"tty", TERMINALS},
    {"tty0", TERMINALS},
    {"console", TERMINALS},
    {"ptmx", TERMINALS},
    {"pts/*", TERMINALS},
    {"vcs*", TERMINALS},
    {"sd*", DISKS},
    {"vd*", DISKS},
    {"xvd*", DISKS},
    {"hd*", DISKS},
    {"sr*", DISKS},
    {"sg*", DISKS},
    {"st*", DISKS},
    {"nst*", DISKS},
    {"bsg/*", DISKS},
    {"nvme*", DISKS},
    {"ng*", DISKS},
    {"mmcblk*", DISKS},
    {"mtd*", DISKS},
    {"md*", DISKS},
    {"dm-*", DISKS},
    {"mapper/*", DISKS},
    {"disk/*", DISKS},
    {"loop*", DISKS},
    {"nbd*", DISKS},
    {"ram*", DISKS},
    {"zram*", DISKS},
    {"raw/*", DISKS},
    {"btrfs-control", FILE_SYSTEMS},
    {"fuse", FILE_SYSTEMS},
    {"cuse", FILE_SYSTEMS},
    {"autofs", FILE_SYSTEMS},
    {"kvm", VIRTUAL},
    {"net/*", VIRTUAL},
    {"vhost-*", VIRTUAL},
    {"vfio/*", VIRTUAL},
    {"input/*", INPUT},
    {"uinput", INPUT},
    {"uhid", INPUT},
    {"hidraw*", INPUT},
    {"watchdog*", MACHINE},
    {"snapshot", MACHINE},
    {"cpu/*", MACHINE},
    {"rtc*", MACHINE},
    {"cpu_dma_latency", MACHINE},
    {"ipmi*", MACHINE},
    {"tpm*", MACHINE},
    {"userfaultfd", "no function needs it"},
};

static const struct {
    unsigned major, first, last; /* minors */
    const char *reason;
} refused_numbers[] = {
    {1, ALL, THE_MEMORY},
    {2, ALL, TERMINALS},
    {3, ALL, TERMINALS},
    {4, 0, 63, TERMINALS},
    {5, ALL, TERMINALS},
    {7, ALL, TERMINALS},
    {9, ALL, DISKS},
    {10, 130, 130, MACHINE},
    {10, 135, 135, MACHINE},
    {10, 144, 144, MACHINE},
    {10, 196, 196, VIRTUAL},
    {10, 200, 200, VIRTUAL},
    {10, 203, 203, FILE_SYSTEMS},
    {10, 223, 223, INPUT},
    {10, 224, 224, MACHINE},
    {10, 229, 229, FILE_SYSTEMS},
    {10, 231, 231, MACHINE},
    {10, 232, 232, VIRTUAL},
    {10, 234, 237, FILE_SYSTEMS},
    {10, 238, 238, VIRTUAL},
    {10, 239, 239, INPUT},
    {10, 241, 241, VIRTUAL},
    {13, ALL, INPUT},
    {21, ALL, DISKS},
    {90, ALL, DISKS},
    {136, ALL, TERMINALS},
    {137, ALL, TERMINALS},
    {138, ALL, TERMINALS},
    {139, ALL, TERMINALS},
    {140, ALL, TERMINALS},
    {141, ALL, TERMINALS},
    {142, ALL, TERMINALS},
    {143, ALL, TERMINALS},
    {202, ALL, MACHINE},
    {203, ALL, MACHINE},
};

static bool name_matches(const char *pattern, const char *name)
{
    const size_t len = strlen(pattern);

    return pattern[len - 1] == '*' ? strncmp(pattern, name, len - 1) == 0 : strcmp(pattern, name) == 0;
}

static bool plain_name(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+:@/";

    if (name[strspn(name, plain)])
        return false;
    while (*name) { /* every part has something in it, and is neither . nor .. */
        const size_t len = strcspn(name, "/");

        if (len == 0 || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
            return false;
        name += len;
        if (*name == '/' && *++name == '\0')
            return false;
    }
    return true;
}

int device_path_check(const char *path, struct diag *d)
{
    const char *name = path + strlen("/dev/");

    if (strnlen(path, DEVICE_PATH_MAX) == DEVICE_PATH_MAX)
        return diag_set(d, EINVAL, "\"%.63s...\" is longer than %d characters", path, DEVICE_PATH_MAX - 1);
    if (strncmp(path, "/dev/", strlen("/dev/")) != 0 || !*name || !plain_name(name))
        return diag_set(d, EINVAL, "\"%s\" is no name of a device: one below /dev such as /dev/dri/renderD128, without \"..\", is needed", path);
    for (size_t i = 0; i < COUNT(refused_names); i++)
        if (name_matches(refused_names[i].name, name))
            return diag_set(d, EINVAL, "%s is given to no function: %s", path, refused_names[i].reason);
    return 0;
}

int device_list_next(const char **at, char path[DEVICE_PATH_MAX], struct diag *d)
{
    size_t len;

    *at += strspn(*at, SEPARATORS);
    len = strcspn(*at, SEPARATORS);
    if (len >= DEVICE_PATH_MAX)
        return diag_set(d, EINVAL, "\"%.*s\" is longer than %d characters", (int)(len < 80 ? len : 80), *at, DEVICE_PATH_MAX - 1);
    memcpy(path, *at, len);
    path[len] = '\0';
    *at += len;
    return len > 0;
}

int device_list_check(const char *list, struct diag *d)
{
    char path[DEVICE_PATH_MAX];
    int r;

    while ((r = device_list_next(&list, path, d)) > 0) {
        r = device_path_check(path, d);
        if (r < 0)
            break;
    }
    return r;
}

bool device_list_has(const char *list, const char *path)
{
    char item[DEVICE_PATH_MAX];

    while (device_list_next(&list, item, NULL) > 0)
        if (strcmp(item, path) == 0)
            return true;
    return false;
}

int device_kind_check(mode_t mode, dev_t number, struct diag *d)
{
    if (S_ISBLK(mode))
        return diag_set(d, EPERM, "a block device is given to no function: %s", DISKS);
    if (!S_ISCHR(mode))
        return diag_set(d, ENODEV, "it is no device");
    for (size_t i = 0; i < COUNT(refused_numbers); i++)
        if (major(number) == refused_numbers[i].major && minor(number) >= refused_numbers[i].first && minor(number) <= refused_numbers[i].last)
            return diag_set(d, EPERM, "character device %u:%u is given to no function: %s", major(number), minor(number), refused_numbers[i].reason);
    return 0;
}

int device_find(const char *path, dev_t *ret, struct diag *d)
{
    const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    cleanup_fd int dev = -1, fd = -1;
    struct stat st;
    int r = device_path_check(path, d);

    if (r < 0)
        return r;
    dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dev < 0)
        return diag_errno(d, errno, "/dev");
    fd = (int)syscall(SYS_openat2, dev, path + strlen("/dev/"), &how, sizeof(how));
    if (fd < 0 && errno == ELOOP)
        return diag_set(d, ENODEV, "%s is or goes through a symlink: name the device itself", path);
    if (fd < 0)
        return diag_set(d, ENODEV, "%s is not on this host (%s)", path, strerror(errno));
    if (fstat(fd, &st) < 0)
        return diag_errno(d, errno, "%s", path);
    r = device_kind_check(st.st_mode, st.st_rdev, d);
    if (r < 0) {
        diag_prefix(d, "%s", path);
        return r;
    }
    *ret = st.st_rdev;
    return 0;
}
