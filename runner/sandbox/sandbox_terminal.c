/*
 * sandbox_terminal.c: a pair of terminal ends for a command in a sandbox, which has no devpts of its own.
 *
 * The pair comes from an instance of devpts that is made for it and attached nowhere: no name leads to it, and it ends with the last descriptor. A terminal of the host's instance would have a name there
 * (/dev/pts/N, writable by the function's outer uid), and one in the sandbox would let the function make as many as it likes.
 */
#include "sandbox.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int make_devpts(void)
{
    static const struct {
        const char *key, *value;
    } options[] = {{"ptmxmode", "0600"}, {"mode", "0600"}, {"max", "1"}};
    cleanup_fd int fs = fsopen("devpts", FSOPEN_CLOEXEC);
    int fd;

    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_FLAG, "newinstance", NULL, 0) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (fsconfig(fs, FSCONFIG_SET_STRING, options[i].key, options[i].value, 0) < 0)
            return -errno;
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    return fd < 0 ? -errno : fd;
}

int sandbox_terminal(uint32_t uid, uint32_t gid, int *ret_master_fd, int *ret_slave_fd, struct diag *d)
{
    cleanup_fd int mount = make_devpts();
    cleanup_fd int master = mount < 0 ? -1 : openat(mount, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    cleanup_fd int slave = -1;
    const int locked = 0;

    if (mount < 0 || master < 0)
        return diag_errno(d, mount < 0 ? -mount : errno, "terminal: devpts");
    if (ioctl(master, TIOCSPTLCK, &locked) < 0)
        return diag_errno(d, errno, "terminal: unlock");
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC); /* by no path: there is none */
    if (slave < 0 || fchown(slave, uid, gid) < 0)
        return diag_errno(d, errno, "terminal: its other end");
    *ret_master_fd = take_fd(&master);
    *ret_slave_fd = take_fd(&slave);
    return 0;
}
