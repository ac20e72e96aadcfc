/* store.c: the store's frame: directories, lock, format, functions and their desired state. Versions and images: store_version.c. */
#include "store_internal.h"

#include "config.h"
#include "diag.h"
#include "fd.h"
#include "remover.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define LOCK_TRIES   100U
#define LOCK_WAIT_NS 10000000L

static int make_dir(const char *path, mode_t mode, int *ret_fd, struct diag *d)
{
    int r = fd_mkdir_p(AT_FDCWD, path, 0755), fd;

    if (r < 0)
        return diag_errno(d, -r, "%s: cannot make the directory", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, mode) < 0) {
        r = -errno;
        fd_close(fd);
        return diag_errno(d, -r, "%s: cannot open the directory", path);
    }
    *ret_fd = fd;
    return 0;
}

static int make_sub(int dirfd, const char *name, int *ret_fd, struct diag *d)
{
    if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "%s: cannot make the directory", name);
    *ret_fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *ret_fd < 0 ? diag_errno(d, errno, "%s: cannot open the directory", name) : 0;
}

static int take_lock(struct store *s, const char *state, struct diag *d)
{
    s->lock_fd = openat(s->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return diag_errno(d, errno, "%s/lock: cannot open", state);
    /* Children of a daemon that was killed a moment ago have a copy of the descriptor until they notice. */
    for (unsigned i = 0; i < LOCK_TRIES && flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK; i++)
        nanosleep(&(struct timespec){.tv_nsec = LOCK_WAIT_NS}, NULL);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? diag_set(d, EBUSY, "%s is in use by another fnd: stop it first (systemctl stop fnd), or set runner.state to another directory", state)
                   : diag_errno(d, errno, "%s/lock: cannot lock", state);
    return 0;
}

static int check_format(struct store *s, const char *state, struct diag *d)
{
    char text[32];
    uint64_t format;
    ssize_t n = fd_read_file(s->state_fd, "format", text, sizeof(text));
    int r;

    if (n == -ENOENT) {
        snprintf(text, sizeof(text), "%u\n", STORE_FORMAT);
        r = fd_publish_file(s->state_fd, "format", text, strlen(text), 0600);
        return r < 0 ? diag_errno(d, -r, "%s/format: cannot write", state) : 0;
    }
    if (n < 0)
        return diag_errno(d, (int)-n, "%s/format: cannot read", state);
    text[strcspn(text, "\n")] = '\0';
    if (str_parse_uint(text, UINT32_MAX, &format) < 0)
        return diag_set(d, EPROTO, "%s/format: \"%.20s\" is not a number: is this the state directory of fnd?", state, text);
    if (format > STORE_FORMAT)
        return diag_set(d, ENOTSUP, "%s has format %llu, this fnd knows up to %u: install the version of fnd that wrote it", state, (unsigned long long)format,
                        STORE_FORMAT);
    return 0;
}

/* Staging directories are locked by who unpacks into them: what can be locked belongs to nobody. */
void store_sweep_staging(struct store *s)
{
    DIR *dir = fdopendir(openat(s->images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *e;

    if (!dir)
        return;
    while ((e = readdir(dir))) {
        cleanup_fd int fd = -1;

        if (strncmp(e->d_name, ".staging-", 9) != 0)
            continue;
        fd = openat(s->images_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            store_remove_tree(s, e->d_name);
    }
    closedir(dir);
}

/* What a kill in the middle of store_remove left: directories that were renamed away. */
static void sweep_removed(struct store *s)
{
    DIR *dir = fdopendir(openat(s->functions_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *e;

    if (!dir)
        return;
    while ((e = readdir(dir)))
        if (strncmp(e->d_name, ".removed-", 9) == 0)
            fd_remove_tree(s->functions_fd, e->d_name);
    closedir(dir);
}

int store_open(const struct config *c, struct store **ret, struct diag *d)
{
    struct store *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return diag_set(d, ENOMEM, "store: out of memory");
    *s = (struct store){.state_fd = -1, .functions_fd = -1, .images_fd = -1, .logs_fd = -1, .lock_fd = -1, .runtimes_fd = -1};
    s->image_uid_base = c->uid_base - 65536;
    s->own_images = strncmp(c->images, c->state, strlen(c->state)) == 0 && c->images[strlen(c->state)] == '/';
    s->usual_images = s->own_images && strcmp(c->images + strlen(c->state), "/" STORE_IMAGES) == 0;
    str_copy(s->images, sizeof(s->images), c->images);
    r = make_dir(c->state, 0700, &s->state_fd, d);
    if (r == 0)
        r = take_lock(s, c->state, d);
    if (r == 0)
        r = check_format(s, c->state, d);
    if (r == 0)
        r = make_sub(s->state_fd, "functions", &s->functions_fd, d);
    if (r == 0)
        r = make_sub(s->state_fd, "logs", &s->logs_fd, d);
    if (r == 0)
        r = make_sub(s->state_fd, "runtimes", &s->runtimes_fd, d);
    if (r == 0)
        r = make_dir(c->images, 0700, &s->images_fd, d);
    if (r < 0) {
        store_free(s);
        return r;
    }
    store_sweep_staging(s);
    sweep_removed(s);
    *ret = s;
    return 0;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    fd_close(s->functions_fd);
    fd_close(s->images_fd);
    fd_close(s->logs_fd);
    fd_close(s->runtimes_fd);
    fd_close(s->state_fd);
    fd_close(s->lock_fd);
    free(s);
}

void store_set_remover(struct store *s, struct remover *r)
{
    s->remover = r;
}

void store_remove_tree(struct store *s, const char *name)
{
    if (s->remover)
        remover_take(s->remover, s->images_fd, name);
    else
        fd_remove_tree(s->images_fd, name);
}

static int sub_dir(int dirfd, const char *name, bool make)
{
    int fd;

    if (make && mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int store_function_dir(struct store *s, const struct fn_id *id, bool make, struct diag *d)
{
    cleanup_fd int env = sub_dir(s->functions_fd, id->env, make);
    int fd = env < 0 ? env : sub_dir(env, id->name, make);

    return fd < 0 ? diag_errno(d, -fd, "functions/%s/%s", id->env, id->name) : fd;
}

static uint32_t read_current(int dir)
{
    char target[32];
    ssize_t n = readlinkat(dir, "current", target, sizeof(target) - 1);
    uint64_t v = 0;

    if (n <= 0)
        return 0;
    target[n] = '\0';
    return str_parse_uint(target, UINT32_MAX - 1, &v) < 0 ? 0 : (uint32_t)v;
}

static uint32_t read_scale(int dir)
{
    char text[32];
    uint64_t v;

    if (fd_read_file(dir, "scale", text, sizeof(text)) < 0)
        return STORE_SCALE_AUTO;
    text[strcspn(text, "\n")] = '\0';
    return str_parse_uint(text, UINT32_MAX - 1, &v) < 0 ? STORE_SCALE_AUTO : (uint32_t)v;
}

static int each_in_env(struct store *s, const char *env, store_fn *fn, void *arg, struct diag *d)
{
    int fd = sub_dir(s->functions_fd, env, false);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int r = 0;

    if (!dir) {
        fd_close(fd);
        return diag_errno(d, errno, "functions/%s: cannot read", env);
    }
    while (r == 0 && (e = readdir(dir))) {
        struct store_function f = {0};
        cleanup_fd int sub = -1;

        if (name_make(e->d_name, env, &f.id, NULL) < 0)
            continue;
        sub = sub_dir(dirfd(dir), e->d_name, false);
        if (sub < 0)
            continue;
        f.current = read_current(sub);
        f.scale = read_scale(sub);
        f.stopped = faccessat(sub, "stopped", F_OK, 0) == 0;
        if (f.current > 0)
            r = fn(arg, &f);
    }
    closedir(dir);
    return r;
}

int store_each(struct store *s, store_fn *fn, void *arg, struct diag *d)
{
    int fd = openat(s->functions_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int r = 0;

    if (!dir) {
        fd_close(fd);
        return diag_errno(d, errno, "functions: cannot read");
    }
    while (r == 0 && (e = readdir(dir)))
        if (name_valid(e->d_name))
            r = each_in_env(s, e->d_name, fn, arg, d);
    closedir(dir);
    return r;
}

int store_set_scale(struct store *s, const struct fn_id *id, uint32_t scale, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, true, d);
    char text[32] = "auto\n";
    int r;

    if (dir < 0)
        return dir;
    if (scale != STORE_SCALE_AUTO)
        snprintf(text, sizeof(text), "%u\n", scale);
    r = fd_publish_file(dir, "scale", text, strlen(text), 0600);
    return r < 0 ? diag_errno(d, -r, "%s: cannot write its scale", id->name) : 0;
}

int store_set_stopped(struct store *s, const struct fn_id *id, bool stopped, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, false, d);
    int r = 0;

    if (dir < 0)
        return dir;
    if (stopped)
        r = fd_publish_file(dir, "stopped", "", 0, 0600);
    else if (unlinkat(dir, "stopped", 0) < 0 && errno != ENOENT)
        r = -errno;
    return r < 0 ? diag_errno(d, -r, "%s: cannot write whether it is stopped", id->name) : 0;
}

/* What a deploy that was refused has not come to make is not missed. */
static int remove_function_dir(struct store *s, const struct fn_id *id)
{
    cleanup_fd int env = sub_dir(s->functions_fd, id->env, false);
    char away[160];

    if (env < 0)
        return env == -ENOENT ? 0 : env;
    snprintf(away, sizeof(away), ".removed-%s.%s", id->env, id->name);
    fd_remove_tree(s->functions_fd, away);
    if (renameat(env, id->name, s->functions_fd, away) < 0 && errno != ENOENT)
        return -errno;
    fsync(s->functions_fd);
    fd_remove_tree(s->functions_fd, away);
    unlinkat(s->functions_fd, id->env, AT_REMOVEDIR); /* the last of its environment */
    return 0;
}

int store_remove(struct store *s, const struct fn_id *id, struct diag *d)
{
    cleanup_fd int logs = -1;
    int r = remove_function_dir(s, id);

    if (r < 0)
        return diag_errno(d, -r, "functions/%s/%s: cannot remove", id->env, id->name);
    logs = sub_dir(s->logs_fd, id->env, false);
    if (logs >= 0)
        fd_remove_tree(logs, id->name);
    unlinkat(s->logs_fd, id->env, AT_REMOVEDIR);
    return store_collect_images(s, d);
}
