/*
 * store_images.c: images, runtimes, and who uses which.
 *
 * An image is used by versions (their link `image`, and with a runtime `runtime`) and by the names of runtimes. All of that is read from the links each time: there is no count that could be wrong. Beside the tree of an
 * image lies .about-SHA256 with what the survey counted in it; images of earlier versions of fnd have none, and are no less usable.
 */
#include "store_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"
#include "unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ABOUT     ".about-"
#define ABOUT_MAX (sizeof(ABOUT) + 64)

bool store_digest_valid(const char *sha)
{
    return strlen(sha) == 64 && strspn(sha, "0123456789abcdef") == 64;
}

int store_link_digest(int dir_fd, const char *link, char ret[65])
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(dir_fd, link, target, sizeof(target) - 1);
    const char *slash;

    if (n < 0)
        return -errno;
    target[n] = '\0';
    slash = strrchr(target, '/');
    if (!store_digest_valid(slash ? slash + 1 : target))
        return -EPROTO;
    return str_copy(ret, 65, slash ? slash + 1 : target);
}

/* In the usual place relative to who links, `up` directories below STATE, so that the whole state directory can be moved. */
static void image_target(const struct store *s, const char *up, const char *digest, char ret[PATH_MAX])
{
    if (s->usual_images)
        snprintf(ret, PATH_MAX, "%s" STORE_IMAGES "/%s", up, digest);
    else
        snprintf(ret, PATH_MAX, "%.3800s/%s", s->images, digest);
}

int store_link_image(const struct store *s, int dir_fd, const char *link, const char *up, const char *digest)
{
    char target[PATH_MAX];

    image_target(s, up, digest, target);
    return fd_publish_symlink(dir_fd, link, target);
}

int store_new_link(const struct store *s, int dir_fd, const char *link, const char *up, const char *digest)
{
    char target[PATH_MAX];

    image_target(s, up, digest, target);
    return symlinkat(target, dir_fd, link) < 0 ? -errno : 0;
}

/* ---- what is known of an image ---- */

void store_image_about(struct store *s, struct store_image *image)
{
    unsigned long long bytes = 0, entries = 0;
    char name[ABOUT_MAX], text[80];

    snprintf(name, sizeof(name), ABOUT "%.64s", image->digest);
    if (fd_read_file(s->images_fd, name, text, sizeof(text)) > 0 && sscanf(text, "bytes %llu\nentries %llu", &bytes, &entries) == 2) {
        image->bytes = bytes;
        image->entries = entries;
    }
}

/* The image is not there yet, so nobody reads it; whoever publishes it flushes the directory. */
static int about_write(const struct store *s, const struct unpack_result *u)
{
    char name[ABOUT_MAX], text[80];

    snprintf(name, sizeof(name), ABOUT "%.64s", u->sha256);
    snprintf(text, sizeof(text), "bytes %llu\nentries %llu\n", (unsigned long long)u->bytes, (unsigned long long)u->entries);
    unlinkat(s->images_fd, name, 0);
    return fd_new_file(s->images_fd, name, text, strlen(text), 0600);
}

/* Somebody else may publish the same one at this moment: then theirs is as good. */
int store_publish_image(struct store *s, struct store_staging *st, const struct unpack_result *u, struct diag *d)
{
    cleanup_fd int there = -1;
    struct stat sb;
    int r;

    if (!store_digest_valid(u->sha256))
        return diag_set(d, EPROTO, "image: its digest is not a SHA-256");
    there = openat(s->images_fd, u->sha256, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (there >= 0)
        return 0;
    /* Made by the jail: it must be a directory, of the image range, before anything is believed of it. */
    if (fstatat(st->dir_fd, UNPACK_ROOTFS, &sb, AT_SYMLINK_NOFOLLOW) < 0)
        return diag_errno(d, errno, "image: the unpacked tree");
    if (!S_ISDIR(sb.st_mode) || sb.st_uid != s->image_uid_base || (sb.st_mode & 07777) != 0755)
        return diag_set(d, EPROTO, "image: the unpacked tree is not a directory of mode 0755 owned by the image range");
    r = about_write(s, u);
    if (r < 0)
        return diag_errno(d, -r, "image: cannot write about %s", u->sha256);
    if (renameat2(st->dir_fd, UNPACK_ROOTFS, s->images_fd, u->sha256, RENAME_NOREPLACE) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "image: cannot publish %s", u->sha256);
    if (fsync(s->images_fd) < 0)
        return diag_errno(d, errno, "image: cannot flush the directory of images");
    return 0;
}

/* ---- runtimes ---- */

static int add_name(void *arg, const char *name, const struct store_image *image)
{
    strbuf_printf(arg, " %s", name);
    return 0;
}

int store_runtime_find(struct store *s, const char *name, char ret_digest[65], struct diag *d)
{
    cleanup_strbuf struct strbuf names = {0};
    struct stat st;
    int r = name_valid(name) ? store_link_digest(s->runtimes_fd, name, ret_digest) : -EINVAL;

    if (r == 0 && fstatat(s->images_fd, ret_digest, &st, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (r != -ENOENT)
        return r < 0 ? diag_errno(d, -r, "runtime %.60s", name) : 0;
    store_each_runtime(s, add_name, &names);
    return diag_set(d, ENOENT, "runtime %s is not here: make it by `fnctl runtime build %s`, or put a tree by `fnctl runtime put %s ARCHIVE`; here %s%.300s",
                    name, name, name, names.len ? "are:" : "is none", names.len ? names.data : "");
}

int store_runtime_put(struct store *s, const char *name, struct store_staging *st, const struct unpack_result *u, struct diag *d)
{
    int r = store_publish_image(s, st, u, d);

    if (r < 0)
        return r;
    r = store_link_image(s, s->runtimes_fd, name, "../", u->sha256);
    if (r < 0)
        return diag_errno(d, -r, "runtime %s: cannot write its name", name);
    return store_collect_images(s, d);
}

int store_runtime_remove(struct store *s, const char *name, struct diag *d)
{
    char digest[65];
    int r = store_runtime_find(s, name, digest, d);

    if (r < 0)
        return r;
    if (unlinkat(s->runtimes_fd, name, 0) < 0 || fsync(s->runtimes_fd) < 0)
        return diag_errno(d, errno, "runtime %s: cannot remove its name", name);
    return store_collect_images(s, d);
}

/* 0 with *ret NULL: there is no such directory, and nothing in it. */
static int open_list(int dir_fd, const char *name, DIR **ret)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), err = errno;

    *ret = fd < 0 ? NULL : fdopendir(fd);
    if (*ret)
        return 0;
    if (fd >= 0) {
        fd_close(fd);
        return -ENOMEM;
    }
    return err == ENOENT || err == ENOTDIR || err == ELOOP ? 0 : -err;
}

int store_each_runtime(struct store *s, store_runtime_fn *fn, void *arg)
{
    struct dirent *e;
    DIR *dir;
    int r = open_list(s->runtimes_fd, ".", &dir);

    while (dir && r == 0 && (e = readdir(dir))) {
        struct store_image image = {0};

        if (!name_valid(e->d_name) || store_link_digest(dirfd(dir), e->d_name, image.digest) < 0)
            continue;
        store_image_about(s, &image);
        r = fn(arg, e->d_name, &image);
    }
    if (dir)
        closedir(dir);
    return r;
}

/* ---- who uses which ---- */

struct uses {
    struct store *store;
    store_use_fn *fn;
    void *arg;
};

static int use_of_runtime(void *arg, const char *name, const struct store_image *image)
{
    const struct uses *all = arg;
    struct store_use u = {.kind = STORE_USED_BY_NAME};

    str_copy(u.image.digest, sizeof(u.image.digest), image->digest);
    str_copy(u.runtime, sizeof(u.runtime), name);
    return all->fn(all->arg, &u);
}

/* What the version's own record says of its image, for those that nothing lies beside. */
static uint64_t version_bytes(int fn_dir, const char *number)
{
    unsigned long long bytes = 0;
    char path[32], text[160];

    snprintf(path, sizeof(path), "%.12s/meta", number);
    return fd_read_file(fn_dir, path, text, sizeof(text)) > 0 && sscanf(text, "image_bytes %llu", &bytes) == 1 ? bytes : 0;
}

static int uses_of_version(const struct uses *all, const struct fn_id *id, int fn_dir, const char *number)
{
    static const struct {
        const char *link;
        enum store_use_kind kind;
    } links[] = {{"image", STORE_USED_AS_IMAGE}, {"runtime", STORE_USED_AS_RUNTIME}};
    uint64_t v;
    int r = 0;

    if (str_parse_uint(number, UINT32_MAX, &v) < 0)
        return 0;
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) && r == 0; i++) {
        struct store_use u = {.kind = links[i].kind, .id = *id, .version = (uint32_t)v};
        char path[32];

        snprintf(path, sizeof(path), "%.12s/%s", number, links[i].link);
        if (store_link_digest(fn_dir, path, u.image.digest) < 0)
            continue;
        if (u.kind == STORE_USED_AS_IMAGE)
            u.image.bytes = version_bytes(fn_dir, number);
        r = all->fn(all->arg, &u);
    }
    return r;
}

static int uses_of_function(const struct uses *all, const struct fn_id *id, int env_dir)
{
    struct dirent *e;
    DIR *dir;
    int r = open_list(env_dir, id->name, &dir);

    while (dir && r == 0 && (e = readdir(dir)))
        r = uses_of_version(all, id, dirfd(dir), e->d_name);
    if (dir)
        closedir(dir);
    return r;
}

static int uses_of_env(const struct uses *all, const char *env)
{
    struct dirent *e;
    struct fn_id id;
    DIR *dir;
    int r = open_list(all->store->functions_fd, env, &dir);

    while (dir && r == 0 && (e = readdir(dir)))
        if (name_make(e->d_name, env, &id, NULL) == 0)
            r = uses_of_function(all, &id, dirfd(dir));
    if (dir)
        closedir(dir);
    return r;
}

int store_each_use(struct store *s, store_use_fn *fn, void *arg)
{
    const struct uses all = {.store = s, .fn = fn, .arg = arg};
    int r = store_each_runtime(s, use_of_runtime, (void *)&all);
    struct dirent *e;
    DIR *dir = NULL;

    if (r == 0)
        r = open_list(s->functions_fd, ".", &dir);
    while (dir && r == 0 && (e = readdir(dir)))
        if (name_valid(e->d_name))
            r = uses_of_env(&all, e->d_name);
    if (dir)
        closedir(dir);
    return r;
}

/* ---- the set of those that are used ---- */

static int add_used(void *arg, const struct store_use *u)
{
    struct store_images *all = arg;

    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        struct store_image *list = reallocarray(all->list, room, sizeof(*list));

        if (!list)
            return -ENOMEM;
        all->list = list;
        all->room = room;
    }
    all->list[all->count++] = u->image;
    return 0;
}

static int by_digest(const void *a, const void *b)
{
    return strcmp(((const struct store_image *)a)->digest, ((const struct store_image *)b)->digest);
}

/* Each once, in the order of their digests. */
int store_images_used(struct store *s, struct store_images *ret)
{
    int r = store_each_use(s, add_used, ret);
    size_t n = 0;

    if (r < 0) {
        store_images_done(ret);
        return r;
    }
    if (ret->count > 0)
        qsort(ret->list, ret->count, sizeof(ret->list[0]), by_digest);
    for (size_t i = 0; i < ret->count; i++) {
        if (n > 0 && by_digest(&ret->list[i], &ret->list[n - 1]) == 0) {
            if (ret->list[n - 1].bytes == 0)
                ret->list[n - 1].bytes = ret->list[i].bytes;
        } else {
            ret->list[n++] = ret->list[i];
        }
    }
    ret->count = n;
    for (size_t i = 0; i < n; i++)
        store_image_about(s, &ret->list[i]);
    return 0;
}

void store_images_done(struct store_images *all)
{
    free(all->list);
    *all = (struct store_images){0};
}

bool store_images_has(const struct store_images *all, const char *digest)
{
    struct store_image key;

    str_copy(key.digest, sizeof(key.digest), digest);
    return all->count > 0 && bsearch(&key, all->list, all->count, sizeof(all->list[0]), by_digest);
}

/* ---- the others ---- */

int store_each_unused(struct store *s, store_image_fn *fn, void *arg, struct diag *d)
{
    struct store_images used = {0};
    struct dirent *e;
    DIR *dir = NULL;
    int r;

    if (!s->own_images)
        return 0;
    r = store_images_used(s, &used);
    if (r == 0)
        r = open_list(s->images_fd, ".", &dir);
    if (r < 0) /* not knowing is no reason to remove one */
        return diag_errno(d, -r, "%s: cannot tell which images are used", s->images);
    while (dir && r >= 0 && (e = readdir(dir))) {
        struct store_image image = {0};

        if (!store_digest_valid(e->d_name) || store_images_has(&used, e->d_name))
            continue;
        str_copy(image.digest, sizeof(image.digest), e->d_name);
        store_image_about(s, &image);
        r = fn(arg, &image);
    }
    if (dir)
        closedir(dir);
    store_images_done(&used);
    return r;
}

struct sweep {
    struct store *store;
    uint32_t images;
    uint64_t bytes;
};

/* A kill in between leaves no half image under its digest. */
static int sweep_image(void *arg, const struct store_image *image)
{
    struct sweep *w = arg;
    char away[96], about[ABOUT_MAX];

    snprintf(away, sizeof(away), ".staging-removed-%.64s", image->digest);
    if (renameat(w->store->images_fd, image->digest, w->store->images_fd, away) < 0)
        return 0;
    snprintf(about, sizeof(about), ABOUT "%.64s", image->digest);
    unlinkat(w->store->images_fd, about, 0);
    store_remove_tree(w->store, away);
    w->images++;
    w->bytes += image->bytes;
    return 0;
}

int store_collect_images(struct store *s, struct diag *d)
{
    struct sweep w = {.store = s};

    return store_each_unused(s, sweep_image, &w, d);
}

int store_sweep(struct store *s, uint32_t *ret_images, uint64_t *ret_bytes, struct diag *d)
{
    struct sweep w = {.store = s};
    int r;

    store_sweep_staging(s);
    r = store_each_unused(s, sweep_image, &w, d);
    if (r < 0)
        return r;
    *ret_images = w.images;
    *ret_bytes = w.bytes;
    return 0;
}
