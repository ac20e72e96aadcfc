/*
 * package_layer.c: a package that names a runtime is not a root of its own but a layer over the runtime's image: below app/, and by the name code too.
 *
 * Only after unpacking is it known which of the two a package is. Its tree is then moved as a whole into a new root beside it, which takes its place: nothing that the archive has made is opened, followed
 * or walked, and whatever it is called (app, code, a symlink) is inside app/ afterwards.
 */
#include "unpack_internal.h"

#include "diag.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAYER_ROOT "layer" /* beside the image for a moment; the archive has no way there */

static int layer_make(struct diag *d)
{
    if (mkdirat(UNPACK_FD_STAGING, LAYER_ROOT, 0755) < 0)
        return diag_errno(d, errno, "making the layer's root");
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
    return layer_make(d);
}
