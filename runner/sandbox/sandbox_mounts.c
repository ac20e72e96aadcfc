/*
 * sandbox_mounts.c: the steps that build the file tree. They run in the child, in mount namespaces of its own, as host root.
 *
 * Two kinds of paths: absolute ones lie in the child's scratch tree, which only this code has ever written to; targets below the new root or below
 * /proc are opened by openat2 from a descriptor of that root, without symlinks and magic links, and everything is attached to the descriptor that came
 * back: no path is resolved twice (CVE-2021-30465, CVE-2025-31133).
 */
#include "sandbox_private.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* pivot_root(2): stacked on the same directory the old root needs no place of its own. */
static int pivot_to(const char *path)
{
    if (chdir(path) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}

/* Private first: nothing that is mounted here may show on the host, and nothing that the host mounts later may show here. */
int step_scratch(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    if (mount("tmpfs", c->scratch, "tmpfs", MS_NOSUID, plan_str(p, s->str[0])) < 0)
        return -errno;
    return pivot_to(c->scratch);
}

int step_mkdir(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const char *path = plan_str(p, s->str[0]);

    if (mkdir(path, (mode_t)s->num[0]) < 0 || chown(path, (uid_t)s->num[1], (gid_t)s->num[2]) < 0)
        return -errno;
    return 0;
}

int step_mknod(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return mknod(plan_str(p, s->str[0]), S_IFCHR | (mode_t)s->num[0], makedev((unsigned)s->num[1], (unsigned)s->num[2])) < 0 ? -errno : 0;
}

int step_symlink(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    return symlink(plan_str(p, s->str[1]), plan_str(p, s->str[0])) < 0 ? -errno : 0;
}

int step_file(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const char *text = plan_str(p, s->str[1]);
    cleanup_fd int fd = open(plan_str(p, s->str[0]), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)s->num[0]);
    int r;

    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, text, strlen(text));
    if (r < 0)
        return r;
    return fchown(fd, (uid_t)s->num[1], (gid_t)s->num[2]) < 0 ? -errno : 0;
}

int step_secret(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    cleanup_fd int fd = open(plan_str(p, s->str[0]), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    int r;

    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, plan_str(p, s->str[1]), s->num[0]);
    if (r < 0)
        return r;
    return fchown(fd, (uid_t)s->num[1], (gid_t)s->num[2]) < 0 ? -errno : 0;
}

int step_mount(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const char *type = plan_str(p, s->str[1]);

    return mount(type, plan_str(p, s->str[0]), type, s->num[0], plan_str(p, s->str[2])) < 0 ? -errno : 0;
}

int step_root(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    fd_close(c->root_fd);
    c->root_fd = open(plan_str(p, s->str[0]), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return c->root_fd < 0 ? -errno : 0;
}

int step_image(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    const int fd = s->num[0] == 0 ? START_IMAGE_FD : START_RUNTIME_FD;

    if (s->num[0] > p->nruntimes)
        return -EINVAL;
    return move_mount(c->fds[fd], "", AT_FDCWD, plan_str(p, s->str[0]), MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int open_below(const struct sandbox_child_state *c, const char *path)
{
    const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, c->root_fd, path, &how, sizeof(how));

    return fd < 0 ? -errno : (int)fd;
}

/* A copy of what is at fd (and path), with further attributes, put over the target. */
static int cover(int from_fd, const char *from, int target_fd, uint64_t attributes)
{
    struct mount_attr attr = {.attr_set = attributes};
    cleanup_fd int tree = open_tree(from_fd, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*from ? 0U : (unsigned)AT_EMPTY_PATH));

    if (tree < 0)
        return -errno;
    if (attributes && mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return -errno;
    return move_mount(tree, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}

int step_volume(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    cleanup_fd int target = open_below(c, plan_str(p, s->str[0]));

    if (target < 0)
        return target;
    if (s->num[0] >= p->nvolumes)
        return -EINVAL;
    return move_mount(c->fds[START_FD_COUNT + p->nruntimes + s->num[0]], "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}

int step_bind(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    cleanup_fd int target = open_below(c, plan_str(p, s->str[0]));

    return target < 0 ? target : cover(AT_FDCWD, plan_str(p, s->str[1]), target, 0);
}

/* With everything that is mounted below it. */
int step_move(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    cleanup_fd int target = open_below(c, plan_str(p, s->str[0]));

    if (target < 0)
        return target;
    return move_mount(AT_FDCWD, plan_str(p, s->str[1]), target, "", MOVE_MOUNT_T_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Not every kernel has every file: what is not there need not be hidden. */
int step_mask(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    cleanup_fd int target = open_below(c, plan_str(p, s->str[0]));

    if (target < 0)
        return target == -ENOENT ? 0 : target;
    return cover(AT_FDCWD, plan_str(p, s->str[1]), target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

int step_readonly(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    cleanup_fd int target = open_below(c, plan_str(p, s->str[0]));

    if (target < 0)
        return target == -ENOENT ? 0 : target;
    return cover(target, "", target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* Gone with the old root: the scratch tree, the names of the layers, and the last path to the image. */
int step_pivot(struct sandbox_child_state *c, const struct plan *p, const struct plan_step *s)
{
    c->root_fd = fd_close(c->root_fd);
    return pivot_to(plan_str(p, s->str[0]));
}
