/*
 * volume.c: which volumes there are, on disk and mounted; see volume.h. The file system in a file, and its loop device: volume_disk.c.
 *
 * A volume stays mounted until its function is removed or the daemon ends: unmounting flushes, which would block the runner between two instances. What has been written is on disk after the journal's
 * interval (5 s), as everywhere.
 */
#include "volume_disk.h"

#include "config.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define SUFFIX ".ext4"
/* For what we unmounted a moment ago: the kernel lets go of the mounts of instances that have ended when its work queue comes to it, and flushes then. */
#define DROPPED_PATIENCE_MS 1000

struct mounted {
    struct mounted *next;
    struct fn_id id;
    char name[64];
    char point[2 * NAME_PART_MAX + 80]; /* below points_fd */
    int root_fd;                        /* O_PATH */
};

struct volumes {
    int files_fd;  /* STATE/volumes */
    int points_fd; /* RUN/volumes */
    char points[CONFIG_PATH_MAX];
    uint32_t image_uid_base;
    struct mounted *mounted;
};

static int open_dir(const char *parent, int *ret_fd, char *path, size_t size, struct diag *d)
{
    int r;

    snprintf(path, size, "%.200s/volumes", parent);
    r = fd_mkdir_p(AT_FDCWD, path, 0700);
    if (r < 0)
        return diag_errno(d, -r, "%s: cannot make the directory", path);
    *ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? diag_errno(d, errno, "%s: cannot open the directory", path) : 0;
}

/* The mounts went with the namespace of the daemon that made them. */
static void sweep_points(struct volumes *v)
{
    DIR *dir = fdopendir(openat(v->points_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *e;

    if (!dir)
        return;
    while ((e = readdir(dir)))
        unlinkat(v->points_fd, e->d_name, AT_REMOVEDIR); /* . and .. are refused */
    closedir(dir);
}

int volumes_open(const struct config *c, struct volumes **ret, struct diag *d)
{
    struct volumes *v = calloc(1, sizeof(*v));
    char state[CONFIG_PATH_MAX];
    int r;

    if (!v)
        return diag_errno(d, ENOMEM, "volumes");
    v->files_fd = v->points_fd = -1;
    v->image_uid_base = c->uid_base - 65536;
    r = open_dir(c->state, &v->files_fd, state, sizeof(state), d);
    if (r == 0)
        r = open_dir(c->run, &v->points_fd, v->points, sizeof(v->points), d);
    if (r < 0) {
        volumes_close(v);
        return r;
    }
    sweep_points(v);
    *ret = v;
    return 0;
}

/* Lazily: an instance that is still ending holds its own mount of it, and its end flushes. */
static void unmount(struct volumes *v, struct mounted *m)
{
    char path[PATH_MAX];

    m->root_fd = fd_close(m->root_fd);
    snprintf(path, sizeof(path), "%s/%s", v->points, m->point);
    if (umount2(path, UMOUNT_NOFOLLOW) < 0 && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        log_msg(LOG_WARNING, "volume not unmounted", "path=%s error=\"%s\"", path, strerror(errno));
    unlinkat(v->points_fd, m->point, AT_REMOVEDIR);
}

static void drop(struct volumes *v, struct mounted *m)
{
    struct mounted **at = &v->mounted;

    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    unmount(v, m);
    free(m);
}

void volumes_close(struct volumes *v)
{
    if (!v)
        return;
    while (v->mounted)
        drop(v, v->mounted);
    if (v->points_fd >= 0)
        rmdir(v->points);
    fd_close(v->points_fd);
    fd_close(v->files_fd);
    free(v);
}

static int function_dir(struct volumes *v, const struct fn_id *id, bool make, int *ret_fd, struct diag *d)
{
    char path[2 * NAME_PART_MAX + 2];
    int r;

    snprintf(path, sizeof(path), "%s/%s", id->env, id->name);
    r = make ? fd_mkdir_p(v->files_fd, path, 0700) : 0;
    if (r < 0)
        return diag_errno(d, -r, "volumes/%s: cannot make the directory", path);
    *ret_fd = openat(v->files_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*ret_fd >= 0)
        return 0;
    return errno == ENOENT && !make ? -ENOENT : diag_errno(d, errno, "volumes/%s: cannot open the directory", path);
}

static struct mounted *find(struct volumes *v, const struct fn_id *id, const char *name)
{
    for (struct mounted *m = v->mounted; m; m = m->next)
        if (name_equal(&m->id, id) && strcasecmp(m->name, name) == 0)
            return m;
    return NULL;
}

/* A newer version may run as another user. */
static int own(const struct volumes *v, const struct mounted *m, const struct spec *spec, struct diag *d)
{
    const struct volume_owner owner = {.user = v->image_uid_base + spec->uid, .group = v->image_uid_base + spec->gid};

    return volume_disk_own(m->root_fd, &owner, d);
}

static int attach(struct volumes *v, struct mounted *m, int file_fd, const struct spec *spec, struct diag *d)
{
    char path[PATH_MAX];
    int r;

    snprintf(path, sizeof(path), "%s/%s", v->points, m->point);
    if (mkdirat(v->points_fd, m->point, 0700) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "%s: cannot make the mount point", path);
    r = volume_disk_mount(file_fd, path, d);
    if (r == 0) {
        m->root_fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = m->root_fd < 0 ? diag_errno(d, errno, "%s", path) : own(v, m, spec, d);
        if (r < 0)
            unmount(v, m);
    } else {
        unlinkat(v->points_fd, m->point, AT_REMOVEDIR);
    }
    return r;
}

static int mount_new(struct volumes *v, int dir, const struct fn_id *id, const struct spec *spec, const struct spec_volume *sv, unsigned patience_ms,
                     int *ret_root, struct diag *d)
{
    struct mounted *m = calloc(1, sizeof(*m));
    cleanup_fd int file = -1;
    char name[80];
    int r;

    if (!m)
        return diag_errno(d, ENOMEM, "volume");
    *m = (struct mounted){.id = *id, .root_fd = -1};
    snprintf(m->name, sizeof(m->name), "%s", sv->name);
    snprintf(m->point, sizeof(m->point), "%s.%s.%s", id->env, id->name, sv->name);
    snprintf(name, sizeof(name), "%s" SUFFIX, sv->name);
    r = volume_disk_open(dir, name, sv->bytes, patience_ms, &file, d);
    if (r == 0)
        r = attach(v, m, file, spec, d);
    if (r < 0) {
        free(m);
        return r;
    }
    m->next = v->mounted;
    v->mounted = m;
    *ret_root = m->root_fd;
    return 0;
}

/* One that is mounted with another size than it should have grows while nobody has it. */
static int drop_to_grow(struct volumes *v, int dir, struct mounted *m, const struct spec_volume *sv, bool in_use, struct diag *d)
{
    char name[80];
    struct stat sb;

    snprintf(name, sizeof(name), "%s" SUFFIX, sv->name);
    if (fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
        return diag_errno(d, errno, "%s", name);
    if ((uint64_t)sb.st_size == sv->bytes)
        return 0;
    if ((uint64_t)sb.st_size > sv->bytes)
        return volume_disk_too_large(sv->name, (uint64_t)sb.st_size, d);
    if (in_use)
        return diag_set(d, EBUSY, "to grow it, no instance may use it: fnctl stop %s, deploy again, fnctl start %s", m->id.name, m->id.name);
    drop(v, m);
    return 1;
}

int volumes_mount(struct volumes *v, const struct fn_id *id, const struct spec *spec, bool in_use, int *ret_dirs, struct diag *d)
{
    cleanup_fd int dir = -1;
    int r = spec->nvolumes ? function_dir(v, id, true, &dir, d) : 0;

    for (uint32_t i = 0; r >= 0 && i < spec->nvolumes; i++) {
        const struct spec_volume *sv = &spec->volumes[i];
        struct mounted *m = find(v, id, sv->name);
        unsigned patience_ms = m ? DROPPED_PATIENCE_MS : 0;

        r = m ? drop_to_grow(v, dir, m, sv, in_use, d) : 1;
        if (r == 0) {
            ret_dirs[i] = m->root_fd;
            r = own(v, m, spec, d);
        } else if (r > 0) {
            r = mount_new(v, dir, id, spec, sv, patience_ms, &ret_dirs[i], d);
        }
        if (r < 0)
            diag_prefix(d, "volume %s", sv->name);
    }
    return r;
}

int volumes_check(struct volumes *v, const struct fn_id *id, const struct spec *spec, struct diag *d)
{
    cleanup_fd int dir = -1;
    int r = spec->nvolumes ? function_dir(v, id, false, &dir, d) : -ENOENT;

    if (r < 0) /* none is there yet */
        return r == -ENOENT ? (spec->nvolumes ? volume_disk_can_make(d) : 0) : r;
    for (uint32_t i = 0; i < spec->nvolumes; i++) {
        const struct spec_volume *sv = &spec->volumes[i];
        struct stat sb;
        char name[80];

        snprintf(name, sizeof(name), "%s" SUFFIX, sv->name);
        if (fstatat(dir, name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
            r = volume_disk_can_make(d);
        else if ((uint64_t)sb.st_size > sv->bytes)
            r = volume_disk_too_large(sv->name, (uint64_t)sb.st_size, d);
        else
            r = 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int count_files(int dir)
{
    DIR *files = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *e;
    int n = 0;

    if (!files)
        return 0;
    while ((e = readdir(files)))
        n += strstr(e->d_name, SUFFIX) != NULL;
    closedir(files);
    return n;
}

int volumes_remove(struct volumes *v, const struct fn_id *id, bool erase, struct diag *d)
{
    cleanup_fd int dir = -1, env = -1;
    int n, r;

    for (struct mounted *m = v->mounted, *next; m; m = next) {
        next = m->next;
        if (name_equal(&m->id, id))
            drop(v, m);
    }
    r = function_dir(v, id, false, &dir, d);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    n = count_files(dir);
    if (!erase)
        return n;
    env = openat(v->files_fd, id->env, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    r = env < 0 ? -errno : fd_remove_tree(env, id->name);
    return r < 0 ? diag_errno(d, -r, "volumes of %s: cannot remove", id->name) : n;
}
