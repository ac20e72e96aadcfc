/* secret.c: see secret.h. The file system is the truth; nothing is kept in memory between two calls. */
#include "secret.h"

#include "store_internal.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SECRETS_DIR "secrets"

static int check_key(const char *key, struct diag *d)
{
    if (name_valid(key))
        return 0;
    return diag_set(d, EINVAL, "secret \"%.60s\": use letters, digits, '-' and '_', beginning and ending with a letter or digit, at most %d", key, NAME_PART_MAX);
}

/* The directory of a function's secrets; -ENOENT without a message. */
static int open_dir(struct store *s, const struct fn_id *id, bool make)
{
    char path[sizeof(SECRETS_DIR) + 2 * (NAME_PART_MAX + 1)];
    int r, fd;

    snprintf(path, sizeof(path), SECRETS_DIR "/%s/%s", id->env, id->name);
    r = make ? fd_mkdir_p(s->state_fd, path, 0700) : 0;
    if (r < 0)
        return r;
    fd = openat(s->state_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

/* Calls fn for each name below dirfd/path that is formed like one of ours. */
typedef int entry_fn(void *arg, int dir, const char *name);
static int each_entry(int dirfd, const char *path, entry_fn *fn, void *arg)
{
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), r = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!dir) {
        r = -errno;
        fd_close(fd);
        return r == -ENOENT ? 0 : r;
    }
    while (r == 0 && (e = readdir(dir)))
        if (name_valid(e->d_name))
            r = fn(arg, fd, e->d_name);
    closedir(dir);
    return r;
}

/* ---- listing ---- */

struct listing {
    const char *env, *name;
    struct strbuf *out; /* NULL: they are counted alone */
    unsigned count;
};

static int list_key(void *arg, int dir, const char *key)
{
    struct listing *l = arg;
    struct stat st;

    l->count++;
    if (l->out && fstatat(dir, key, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        strbuf_printf(l->out, "%s %s %s %" PRIu64 " %llu\n", l->env, l->name, key, (uint64_t)st.st_size,
                      (unsigned long long)st.st_mtim.tv_sec * NS_PER_SEC + (unsigned long long)st.st_mtim.tv_nsec);
    return 0;
}

static int list_name(void *arg, int dir, const char *name)
{
    struct listing *l = arg;

    l->name = name;
    return each_entry(dir, name, list_key, l);
}

static int list_env(void *arg, int dir, const char *env)
{
    struct listing *l = arg;

    l->env = env;
    return each_entry(dir, env, list_name, l);
}

int secret_list(struct store *s, const struct fn_id *id, struct strbuf *out, struct diag *d)
{
    struct listing l = {.out = out};
    char path[sizeof(SECRETS_DIR) + 2 * (NAME_PART_MAX + 1)];
    int r;

    if (id) {
        l.env = id->env;
        l.name = id->name;
        snprintf(path, sizeof(path), SECRETS_DIR "/%s/%s", id->env, id->name);
        r = each_entry(s->state_fd, path, list_key, &l);
    } else {
        r = each_entry(s->state_fd, SECRETS_DIR, list_env, &l);
    }
    if (r == 0 && out->failed)
        r = -ENOMEM;
    return r < 0 ? diag_errno(d, -r, "cannot list the secrets") : 0;
}

/* ---- changes ---- */

int secret_set(struct store *s, const struct fn_id *id, const char *key, const void *value, size_t len, struct diag *d)
{
    cleanup_fd int dir = -1;
    struct listing kept = {0};
    int r = check_key(key, d);

    if (r < 0)
        return r;
    if (len == 0 || len > SECRET_VALUE_MAX)
        return diag_set(d, EINVAL, "secret %s: its value has %zu bytes, 1 to %u are allowed", key, len, SECRET_VALUE_MAX);
    r = each_entry(s->state_fd, SECRETS_DIR, list_env, &kept);
    if (r < 0)
        return diag_errno(d, -r, SECRETS_DIR ": cannot count them");
    dir = open_dir(s, id, kept.count < SECRETS_KEPT_MAX);
    if (dir < 0 || (kept.count >= SECRETS_KEPT_MAX && faccessat(dir, key, F_OK, AT_SYMLINK_NOFOLLOW) < 0))
        return kept.count >= SECRETS_KEPT_MAX ? diag_set(d, ENOSPC, "there are %u secrets already: remove some first (fnctl secret rm)", kept.count)
                                              : diag_errno(d, -dir, SECRETS_DIR "/%s/%s: cannot make the directory", id->env, id->name);
    r = fd_publish_file(dir, key, value, len, 0600);
    return r < 0 ? diag_errno(d, -r, "secret %s: cannot write", key) : 0;
}

int secret_remove(struct store *s, const struct fn_id *id, const char *key, struct diag *d)
{
    cleanup_fd int dir = -1;
    char fn[NAME_FUNCTION_MAX + 1], path[sizeof(SECRETS_DIR) + 2 * (NAME_PART_MAX + 1)];
    int r = check_key(key, d);

    if (r < 0)
        return r;
    dir = open_dir(s, id, false);
    if (dir < 0 || unlinkat(dir, key, 0) < 0)
        return diag_set(d, ENOENT, "%s has no secret %s: `fnctl secret ls` lists them", name_format(id, fn), key);
    snprintf(path, sizeof(path), SECRETS_DIR "/%s/%s", id->env, id->name);
    if (unlinkat(s->state_fd, path, AT_REMOVEDIR) == 0) { /* the last one */
        snprintf(path, sizeof(path), SECRETS_DIR "/%s", id->env);
        (void)unlinkat(s->state_fd, path, AT_REMOVEDIR);
    }
    return 0;
}

/* ---- what a function is given ---- */

static int missing(const struct fn_id *id, const char *key, struct diag *d)
{
    char fn[NAME_FUNCTION_MAX + 1];

    name_format(id, fn);
    return diag_set(d, ENOENT, "%s: the secret %s is not there: `fnctl secret set %s %s`", fn, key, fn, key);
}

int secrets_check(struct store *s, const struct fn_id *id, const struct spec *spec, struct diag *d)
{
    struct secrets read = {0};
    int r = secrets_read(s, id, spec, &read, d);

    secrets_done(&read);
    return r;
}

static int read_one(int dir, const struct fn_id *id, const char *key, struct plan_secret *ret, struct diag *d)
{
    cleanup_fd int fd = dir < 0 ? -1 : openat(dir, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    char *value;
    ssize_t n;

    if (fd < 0)
        return missing(id, key, d);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return diag_set(d, EINVAL, "secret %s is not a file", key);
    n = fd_read_all(fd, SECRET_VALUE_MAX, &value);
    if (n < 0)
        return diag_errno(d, (int)-n, "secret %s", key);
    *ret = (struct plan_secret){.name = key, .value = value, .len = (uint32_t)n};
    return 0;
}

int secrets_read(struct store *s, const struct fn_id *id, const struct spec *spec, struct secrets *ret, struct diag *d)
{
    cleanup_fd int dir = spec->nsecrets ? open_dir(s, id, false) : -1;
    size_t bytes = 0;
    int r = 0;

    *ret = (struct secrets){0};
    for (uint32_t i = 0; i < spec->nsecrets && r == 0; i++) {
        r = read_one(dir, id, spec->secrets[i], &ret->list[i], d);
        bytes += ret->list[i].len;
    }
    if (r == 0 && bytes > SECRETS_BYTES_MAX)
        r = diag_set(d, E2BIG, "%s: its secrets have %zu bytes together, at most %u are allowed", id->name, bytes, SECRETS_BYTES_MAX);
    if (r < 0)
        secrets_done(ret);
    return r;
}

void secrets_done(struct secrets *s)
{
    for (unsigned i = 0; i < SPEC_SECRETS_MAX; i++) {
        if (s->list[i].value)
            explicit_bzero((char *)s->list[i].value, s->list[i].len);
        free((char *)s->list[i].value);
        s->list[i] = (struct plan_secret){0};
    }
}
