/* sandbox_kit.c: what all sandboxes share and what is made once, when the runner starts. */
#include "sandbox_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>

#define INIT_SIZE_MAX (8U << 20)

/* A sealed copy: neither a function nor an upgrade of the package can change what the next sandbox executes (CVE-2019-5736). */
static int load_init(const char *path, struct diag *d)
{
    cleanup_fd int file = open(path, O_RDONLY | O_CLOEXEC);
    cleanup_free char *data = NULL;
    ssize_t n = file < 0 ? -errno : fd_read_all(file, INIT_SIZE_MAX, &data);
    int fd;

    if (n < 0)
        return diag_errno(d, (int)-n, "sandbox: %s", path);
    fd = fd_sealed_memfd("fn-init", data, (size_t)n, 1);
    if (fd == -EACCES)
        return diag_errno(d, EACCES, "sandbox: an executable memfd is refused (sysctl vm.memfd_noexec must be 0 or 1)");
    return fd < 0 ? diag_errno(d, -fd, "sandbox: memfd for fn-init") : fd;
}

int sandbox_kit_new(const char *fn_init_path, struct sandbox_kit **ret, struct diag *d)
{
    struct sandbox_kit *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return diag_errno(d, ENOMEM, "sandbox");
    r = k->init_fd = load_init(fn_init_path, d);
    if (r >= 0)
        r = sandbox_filter_make(&k->filter, d);
    if (r >= 0)
        r = plan_park(&k->park, d);
    if (r < 0) {
        sandbox_kit_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

void sandbox_kit_free(struct sandbox_kit *k)
{
    if (!k)
        return;
    fd_close(k->init_fd);
    free(k->filter.code);
    plan_free(k->park);
    free(k);
}
