/*
 * cg_place.c: the v2 directory that holds the tree: chosen, made where it is missing, its controllers enabled; and the way back.
 *
 * Directories made here are marked with an extended attribute, so that the next daemon removes what a killed one made. Controllers that were enabled in directories above ours stay enabled: systemd or another
 * daemon may rely on them by then.
 */
#include "cg_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define MADE_XATTR "trusted.fnd.made"

bool cg_name_valid(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > CG_NAME_MAX || name[0] == '.')
        return false;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
            return false;
    return true;
}

int cg_open_dir(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

bool cg_file_has(int dirfd, const char *file, const char *word)
{
    char buf[512], *save = NULL;

    if (fd_read_file(dirfd, file, buf, sizeof(buf)) < 0)
        return false;
    for (char *w = strtok_r(buf, " \n", &save); w; w = strtok_r(NULL, " \n", &save))
        if (strcmp(w, word) == 0)
            return true;
    return false;
}

static int write_control(int dirfd, char sign, enum cg_controller c)
{
    char text[32];

    snprintf(text, sizeof(text), "%c%s", sign, cg_controller_name(c));
    return fd_write_kernel(dirfd, "cgroup.subtree_control", text);
}

int cg_enable(int dirfd, const char *label, unsigned *ret_enabled, struct diag *d)
{
    unsigned enabled = 0;

    label += label[0] == '/';
    for (int c = 0; c < CG_ALL_COUNT; c++) {
        const char *name = cg_controller_name(c);
        int r;

        if (!cg_file_has(dirfd, "cgroup.controllers", name) || cg_file_has(dirfd, "cgroup.subtree_control", name))
            continue;
        r = write_control(dirfd, '+', c);
        if (r < 0 && c == CG_IO)
            continue; /* who asks for its limit is told that there is none */
        if (r == -EBUSY)
            return diag_set(d, EBUSY,
                            "cgroup /%s cannot have the %s controller for its children, because it holds processes itself: move them into a leaf below it, "
                            "start the daemon in a unit of its own with "
                            "Delegate=yes, or name another cgroup (runner.cgroup)",
                            label, name);
        if (r < 0)
            return diag_errno(d, -r, "cgroup /%s: enabling the %s controller for its children", label, name);
        enabled |= 1U << c;
        if (ret_enabled)
            *ret_enabled = enabled;
    }
    return 0;
}

static void disable(struct cg_root *r)
{
    for (int c = 0; c < CG_ALL_COUNT; c++)
        if (r->enabled & 1U << c)
            write_control(r->base_fd, '-', c);
    r->enabled = 0;
}

static bool xattr_is_one(int fd, const char *name)
{
    char v[2];

    return fgetxattr(fd, name, v, sizeof(v)) == 1 && v[0] == '1';
}

/* Only the root of the whole hierarchy has no type. */
static bool is_real_root(int fd)
{
    return faccessat(fd, "cgroup.type", F_OK, 0) < 0;
}

/* Opens group `path` and enters it as base. */
static int use_existing(struct cg_root *r, const struct cg_mount *m, const char *path, struct diag *d)
{
    const char *below = cg_mount_below(m, path);
    int fd;

    if (!below)
        return diag_set(d, ENOENT, "cgroup %s is not shown by the mount at %s, whose root is %s", path, m->point, m->root);
    fd = cg_open_dir(r->mount_fd, below);
    if (fd < 0)
        return diag_errno(d, -fd, "cgroup %s", path);
    fd_close(r->base_fd);
    r->base_fd = fd;
    r->kept = strlen(below);
    return str_copy(r->base, sizeof(r->base), below);
}

/* ---- below this process's own group ---- */

static bool only_this_process(int dirfd)
{
    char buf[64], want[32];

    snprintf(want, sizeof(want), "%d\n", (int)getpid());
    return fd_read_file(dirfd, "cgroup.procs", buf, sizeof(buf)) > 0 && strcmp(buf, want) == 0;
}

static void leaf_name(const struct cg_root *r, char buf[CG_NAME_MAX + 16])
{
    snprintf(buf, CG_NAME_MAX + 16, "%s.daemon", r->name);
}

static int move_into(int dirfd, const char *leaf)
{
    cleanup_fd int fd = -1;

    if (mkdirat(dirfd, leaf, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = cg_open_dir(dirfd, leaf);
    return fd < 0 ? fd : fd_write_kernel(fd, "cgroup.procs", "0");
}

/* The process goes back first: a group with controllers for its children takes no processes, and rmdir needs an empty leaf. */
static int undivide(struct cg_root *r)
{
    char leaf[CG_NAME_MAX + 16];
    int x;

    disable(r);
    x = fd_write_kernel(r->base_fd, "cgroup.procs", "0");
    leaf_name(r, leaf);
    if (x == 0 && unlinkat(r->base_fd, leaf, AT_REMOVEDIR) < 0 && errno != ENOENT)
        x = -errno;
    if (x == 0)
        r->divided = false;
    return x;
}

/* The three ways of "auto" return 1 when they chose, 0 when they do not apply. */
static int place_divide(struct cg_root *r, const struct cg_host *h, struct diag *d)
{
    char leaf[CG_NAME_MAX + 16];
    struct diag why = {0};
    bool given;
    int x;

    if (!h->own_v2[0] || use_existing(r, &h->v2, h->own_v2, &why) < 0)
        return 0;
    given =
        xattr_is_one(r->base_fd, "trusted.delegate") || xattr_is_one(r->base_fd, "user.delegate") || (strcmp(h->own_v2, "/") == 0 && !is_real_root(r->base_fd));
    if (!given || !only_this_process(r->base_fd))
        return 0;
    leaf_name(r, leaf);
    x = move_into(r->base_fd, leaf);
    r->divided = x == 0;
    if (x == 0)
        x = cg_enable(r->base_fd, h->own_v2, &r->enabled, &why);
    if (x == 0)
        return 1;
    if (r->divided)
        undivide(r);
    else
        unlinkat(r->base_fd, leaf, AT_REMOVEDIR);
    return 0;
}

/* A process that has been divided from its group already (its predecessor in the same process did not undo it): the same again, and nothing to undo. */
static int place_divided(struct cg_root *r, const struct cg_host *h, struct diag *d)
{
    char own[CG_PATH_MAX], leaf[CG_NAME_MAX + 16], *slash;

    leaf_name(r, leaf);
    if (str_copy(own, sizeof(own), h->own_v2) < 0 || !(slash = strrchr(own, '/')) || strcmp(slash + 1, leaf) != 0)
        return 0;
    *slash = '\0';
    return use_existing(r, &h->v2, *own ? own : "/", NULL) == 0 && cg_enable(r->base_fd, own, NULL, NULL) == 0;
}

static bool offers_controllers(int dirfd)
{
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        if (cg_file_has(dirfd, "cgroup.controllers", cg_controller_name(c)))
            return true;
    return false;
}

/* The own group as it is: when it is the root, which may hold processes beside children, or when the v2 hierarchy has none of our controllers, so that none has to be enabled. */
static int place_own(struct cg_root *r, const struct cg_host *h, struct diag *d)
{
    if (!h->own_v2[0] || use_existing(r, &h->v2, h->own_v2, NULL) < 0)
        return 0;
    if (!is_real_root(r->base_fd) && (offers_controllers(r->base_fd) || offers_controllers(r->mount_fd)))
        return 0;
    return cg_enable(r->base_fd, h->own_v2, NULL, NULL) == 0;
}

static int place_root(struct cg_root *r, const struct cg_host *h, struct diag *d)
{
    int x = use_existing(r, &h->v2, h->v2.root, d);

    if (x == 0)
        x = cg_enable(r->base_fd, h->v2.root, NULL, d);
    return x < 0 ? x : 1;
}

static int place_auto(struct cg_root *r, const struct cg_host *h, struct diag *d)
{
    static int (*const ways[])(struct cg_root *, const struct cg_host *, struct diag *) = {place_divided, place_divide, place_own, place_root};

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        int x = ways[i](r, h, d);

        if (x != 0)
            return x < 0 ? x : 0;
    }
    return diag_set(d, ENOENT, "no cgroup to make %s in", r->name);
}

/* ---- where we are told to ---- */

static bool path_valid(const char *path)
{
    if (path[0] != '/' || strlen(path) >= CG_PATH_MAX)
        return false;
    for (const char *p = path; p; p = strchr(p + 1, '/')) {
        size_t len = strcspn(p + 1, "/");

        if (len == 0 && path[1] != '\0')
            return false;
        if ((len == 1 && p[1] == '.') || (len == 2 && p[1] == '.' && p[2] == '.'))
            return false;
    }
    return true;
}

/* One step of mkdir -p, with controllers for the next: r->base names it already, its first `before` bytes the parent. */
static int step_into(struct cg_root *r, const char *name, size_t before, struct diag *d)
{
    bool made = mkdirat(r->base_fd, name, 0755) == 0;
    int fd;

    if (!made && errno != EEXIST)
        return diag_errno(d, errno, "making cgroup /%s", r->base);
    fd = cg_open_dir(r->base_fd, name);
    if (fd < 0)
        return diag_errno(d, -fd, "cgroup /%s", r->base);
    if (made)
        fsetxattr(fd, MADE_XATTR, "1", 1, 0); /* without it (no CAP_SYS_ADMIN) only this process knows */
    if ((made || xattr_is_one(fd, MADE_XATTR)) && r->kept == SIZE_MAX)
        r->kept = before;
    fd_close(r->base_fd);
    r->base_fd = fd;
    r->enabled = 0;
    return cg_enable(fd, r->base, &r->enabled, d);
}

static int place_explicit(struct cg_root *r, const struct cg_host *h, const char *path, struct diag *d)
{
    char below[CG_PATH_MAX], *save = NULL;
    const char *rest = path_valid(path) ? cg_mount_below(&h->v2, path) : NULL;
    int x;

    if (!path_valid(path))
        return diag_set(d, EINVAL, "%s is not the path of a cgroup: it must begin with / and have no empty, . or .. part", path);
    if (!rest)
        return diag_set(d, ENOENT, "cgroup %s is not shown by the mount at %s, whose root is %s", path, h->v2.point, h->v2.root);
    x = use_existing(r, &h->v2, h->v2.root, d);
    if (x == 0)
        x = cg_enable(r->base_fd, h->v2.root, NULL, d);
    if (x < 0 || strcmp(rest, ".") == 0)
        return x;
    str_copy(below, sizeof(below), rest);
    r->base[0] = '\0';
    r->kept = SIZE_MAX;
    for (char *name = strtok_r(below, "/", &save); name && x == 0; name = strtok_r(NULL, "/", &save)) {
        size_t len = strlen(r->base);

        snprintf(r->base + len, sizeof(r->base) - len, "%s%s", len ? "/" : "", name);
        x = step_into(r, name, len, d);
    }
    if (r->kept == SIZE_MAX)
        r->kept = strlen(r->base);
    return x;
}

int cg_place(struct cg_root *r, const struct cg_host *h, const char *path, struct diag *d)
{
    if (!path || strcmp(path, "auto") == 0)
        return place_auto(r, h, d);
    return place_explicit(r, h, path, d);
}

/*
 * The tree is gone. In the directory that held it, what was enabled here is disabled again: systemd cannot start a unit in a cgroup that has controllers for its children (EBUSY). Failing is fine: then another
 * child uses them.
 */
int cg_place_undo(struct cg_root *r, struct diag *d)
{
    int x;

    if (r->divided) {
        x = undivide(r);
        if (x < 0)
            return diag_errno(d, -x, "leaving the cgroup %s.daemon", r->name);
    }
    disable(r);
    while (strlen(r->base) > r->kept) {
        char *slash = strrchr(r->base, '/');

        if (unlinkat(r->mount_fd, r->base, AT_REMOVEDIR) < 0 && errno != ENOENT)
            return errno == EBUSY ? 0 : diag_errno(d, errno, "removing cgroup %s", r->base);
        if (slash)
            *slash = '\0';
        else
            r->base[0] = '\0';
    }
    return 0;
}
