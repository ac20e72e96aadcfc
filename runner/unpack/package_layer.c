/*
 * package_layer.c: a package that names a runtime is not a root of its own but a layer over the runtime's image: below app/, and by the name code too.
 *
 * Only after unpacking is it known which of the two a package is. Its tree is then moved as a whole into a new root beside it, which takes its place: nothing that the archive has made is opened, followed
 * or walked, and whatever it is called (app, code, a symlink) is inside app/ afterwards. A directory rootfs/ of the package is what it lays over the runtime's root itself: it becomes the layer's root, once it is
 * known to have nothing where the sandbox or the runtime has something that the function cannot do without.
 */
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAYER_ROOT   "layer"  /* beside the image for a moment; the archive has no way there */
#define PACKAGE_ROOT "rootfs" /* in the package */

/* In this order: nothing is looked up below what was not yet found to be a directory. */
static const struct {
    const char *path;
    bool directory; /* may be one, and nothing else */
    const char *why;
} reserved[] = {
    {"app", false, "the package itself is there: move it out of rootfs/"},
    {"code", false, "the package itself is there: move it out of rootfs/"},
    {"dev", false, "fnd makes it"},
    {"proc", false, "fnd makes it"},
    {"run", false, "it is the instance's own, and empty at its start"},
    {"tmp", false, "it is the instance's own, and empty at its start"},
    {"bin", false, "it would hide the runtime's /bin: put programs into rootfs/usr/bin"},
    {"sbin", false, "it would hide the runtime's /sbin: put programs into rootfs/usr/sbin"},
    {"lib", false, "it would hide the runtime's /lib: put libraries into rootfs/usr/lib"},
    {"lib32", false, "it would hide the runtime's /lib32: put libraries into rootfs/usr/lib32"},
    {"lib64", false, "it would hide the runtime's /lib64: put libraries into rootfs/usr/lib64"},
    {"libx32", false, "it would hide the runtime's /libx32: put libraries into rootfs/usr/libx32"},
    {"etc", true, "it would hide the runtime's /etc: it must be a directory"},
    {"usr", true, "it would hide the runtime's /usr: it must be a directory"},
    {"usr/bin", true, "it would hide the runtime's programs: it must be a directory"},
    {"usr/lib", true, "it would hide the runtime's libraries: it must be a directory"},
    {"usr/lib/fnd", false, "the runtime has there what starts functions"},
};

static int check_root(int fd, struct diag *d)
{
    struct stat st;

    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (fstatat(fd, reserved[i].path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno != ENOENT)
                return diag_errno(d, errno, PACKAGE_ROOT "/%s", reserved[i].path);
        } else if (!reserved[i].directory || !S_ISDIR(st.st_mode))
            return diag_set(d, EINVAL, PACKAGE_ROOT "/%s is in the package, which is laid over the runtime's /: %s", reserved[i].path, reserved[i].why);
    }
    if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0755) < 0)
        return diag_errno(d, errno, "setting the mode of " PACKAGE_ROOT "/");
    return 0;
}

/* What the package has for the runtime's root, or an empty directory. */
static int root_make(int root_fd, struct diag *d)
{
    cleanup_fd int fd = openat(root_fd, PACKAGE_ROOT, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r;

    if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP) /* something else of that name is the package's */
        return diag_errno(d, errno, PACKAGE_ROOT "/");
    if (fd < 0)
        return mkdirat(UNPACK_FD_STAGING, LAYER_ROOT, 0755) < 0 ? diag_errno(d, errno, "making the layer's root") : 0;
    r = check_root(fd, d);
    if (r == 0 && renameat(root_fd, PACKAGE_ROOT, UNPACK_FD_STAGING, LAYER_ROOT) < 0)
        r = diag_errno(d, errno, "moving " PACKAGE_ROOT "/ to the layer's root");
    return r;
}

static int layer_make(int root_fd, struct diag *d)
{
    int r = root_make(root_fd, d);

    if (r < 0)
        return r;
    if (renameat(UNPACK_FD_STAGING, UNPACK_ROOTFS, UNPACK_FD_STAGING, LAYER_ROOT SPEC_APP) < 0)
        return diag_errno(d, errno, "moving the package to " SPEC_APP);
    if (symlinkat(&SPEC_APP[1], UNPACK_FD_STAGING, LAYER_ROOT SPEC_CODE) < 0)
        return diag_errno(d, errno, "making " SPEC_CODE);
    if (renameat(UNPACK_FD_STAGING, LAYER_ROOT, UNPACK_FD_STAGING, UNPACK_ROOTFS) < 0)
        return diag_errno(d, errno, "putting the layer in its place");
    return 0;
}

int package_layer(int root_fd, struct diag *d)
{
    if (fchown(root_fd, 0, 0) < 0 || fchmod(root_fd, 0755) < 0)
        return diag_errno(d, errno, "setting the mode of " SPEC_APP);
    return layer_make(root_fd, d);
}
