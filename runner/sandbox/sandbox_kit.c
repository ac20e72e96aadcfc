/* sandbox_kit.c: what all sandboxes share and what is made once, when the runner starts. */
#include "sandbox_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define INIT_SIZE_MAX (8U << 20)
#define ARGS_MAX      (1U << 20)

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

/* proc_pid_stat(5), fields 48 and 49, counted from behind the name. Where they are not told, nothing is hidden later. */
static void find_arguments(struct sandbox_kit *k)
{
    char text[2048], *at = NULL;
    uintptr_t begin, end;

    if (fd_read_file(AT_FDCWD, "/proc/self/stat", text, sizeof(text)) > 0)
        at = strrchr(text, ')');
    for (int field = 2; at && field < 48; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return;
    begin = strtoull(at, &at, 10);
    end = strtoull(at, NULL, 10);
    if (begin == 0 || end <= begin || end - begin > ARGS_MAX)
        return;
    k->args = (char *)begin; /* NOLINT(performance-no-int-to-ptr): the kernel tells it as a number */
    k->args_len = end - begin;
}

int sandbox_kit_new(const char *fn_init_path, uint32_t lacks, struct sandbox_kit **ret, struct diag *d)
{
    struct sandbox_kit *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return diag_errno(d, ENOMEM, "sandbox");
    k->lacks = lacks;
    find_arguments(k);
    r = k->init_fd = load_init(fn_init_path, d);
    if (r >= 0)
        r = sandbox_filter_make(0, 0, &k->filter, d);
    if (r >= 0)
        r = plan_park(&k->park, d);
    if (r < 0) {
        sandbox_kit_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

int sandbox_kit_init(const struct sandbox_kit *k)
{
    return k->init_fd;
}

void sandbox_kit_free(struct sandbox_kit *k)
{
    if (!k)
        return;
    fd_close(k->init_fd);
    free(k->filter.code);
    while (k->others) {
        struct sandbox_filter *f = k->others;

        k->others = f->next;
        free(f->code);
        free(f);
    }
    plan_free(k->park);
    free(k);
}

static int kit_add_filter(struct sandbox_kit *k, uint64_t allow, struct diag *d)
{
    struct sandbox_filter *f = calloc(1, sizeof(*f));
    int r;

    if (!f)
        return diag_errno(d, ENOMEM, "seccomp");
    r = sandbox_filter_make(0, allow, f, d);
    if (r < 0) {
        free(f);
        return r;
    }
    f->next = k->others;
    k->others = f;
    return 0;
}

int sandbox_kit_filter(struct sandbox_kit *k, uint64_t allow, const struct sandbox_filter **ret, struct diag *d)
{
    const struct sandbox_filter *f;
    int r;

    *ret = NULL;
    if (allow == 0)
        return 0;
    for (f = k->others; f && f->allow != allow; f = f->next)
        continue;
    if (!f) {
        r = kit_add_filter(k, allow, d);
        if (r < 0)
            return r;
        f = k->others;
    }
    *ret = f;
    return 0;
}
