/*
 * store_version.c: versions and images.
 *
 * Publishing: the unpacked tree, which the survey has flushed (unpack.h), is renamed to IMAGES/SHA256 unless one with that digest is there; the version's directory is written beside its name and renamed; `current` is flipped
 * later by whoever saw the version work. A kill in between leaves an image that no version names, or a version that is not current: the next prune removes both.
 */
#include "store_internal.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "str.h"
#include "unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

int store_staging_new(struct store *s, struct store_staging *ret, struct diag *d)
{
    cleanup_fd int fd = -1;
    uint64_t nonce;

    if (getrandom(&nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
        return diag_errno(d, errno, "staging: no random number");
    snprintf(ret->name, sizeof(ret->name), ".staging-%016llx", (unsigned long long)nonce);
    if (mkdirat(s->images_fd, ret->name, 0755) < 0)
        return diag_errno(d, errno, "%s/%s: cannot make the staging directory", s->images, ret->name);
    fd = openat(s->images_fd, ret->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fchown(fd, s->image_uid_base, s->image_uid_base) < 0) {
        int err = errno;

        unlinkat(s->images_fd, ret->name, AT_REMOVEDIR);
        return diag_errno(d, err, "%s/%s: cannot prepare the staging directory", s->images, ret->name);
    }
    ret->dir_fd = take_fd(&fd);
    return 0;
}

void store_staging_drop(struct store *s, struct store_staging *st)
{
    if (!st->name[0])
        return;
    st->dir_fd = fd_close(st->dir_fd);
    store_remove_tree(s, st->name);
    st->name[0] = '\0';
}

static bool digest_valid(const char *sha)
{
    return strlen(sha) == 64 && strspn(sha, "0123456789abcdef") == 64;
}

/* The tree becomes IMAGES/SHA256. Somebody else may publish the same one at this moment: then theirs is as good. */
static int publish_image(struct store *s, struct store_staging *st, const char *sha, struct diag *d)
{
    cleanup_fd int there = openat(s->images_fd, sha, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat sb;

    if (there >= 0)
        return 0;
    /* Made by the jail: it must be a directory, of the image range, before anything is believed of it. */
    if (fstatat(st->dir_fd, UNPACK_ROOTFS, &sb, AT_SYMLINK_NOFOLLOW) < 0)
        return diag_errno(d, errno, "image: the unpacked tree");
    if (!S_ISDIR(sb.st_mode) || sb.st_uid != s->image_uid_base || (sb.st_mode & 07777) != 0755)
        return diag_set(d, EPROTO, "image: the unpacked tree is not a directory of mode 0755 owned by the image range");
    if (renameat2(st->dir_fd, UNPACK_ROOTFS, s->images_fd, sha, RENAME_NOREPLACE) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "image: cannot publish %s", sha);
    if (fsync(s->images_fd) < 0)
        return diag_errno(d, errno, "image: cannot flush the directory of images");
    return 0;
}

/* function.ini as it came, for people; written by the jail, so copied only if it is a small regular file. */
static int copy_ini(struct store_staging *st, int to_dir)
{
    cleanup_fd int fd = openat(st->dir_fd, UNPACK_INI, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    cleanup_free char *text = NULL;
    struct stat sb;
    ssize_t n;

    if (fd < 0 || fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode))
        return 0;
    n = fd_read_all(fd, 1 << 20, &text);
    return n < 0 ? (int)n : fd_publish_file(to_dir, UNPACK_INI, text, (size_t)n, 0600);
}

static int write_version(struct store *s, int dir, struct store_staging *st, const struct unpack_result *u, const struct spec *spec)
{
    char image[PATH_MAX], meta[160];
    int r;

    /* In the usual place relative to the version, so that the whole state directory can be moved. */
    snprintf(image, sizeof(image), "%.3800s/%s", s->usual_images ? "../../../../" STORE_IMAGES : s->images, u->sha256);
    snprintf(meta, sizeof(meta), "image_bytes %llu\ndeployed_ns %llu\n", (unsigned long long)u->bytes, (unsigned long long)clock_real_ns());
    r = fd_publish_file(dir, "spec", spec, spec_size(spec), 0600);
    if (r == 0)
        r = fd_publish_file(dir, "meta", meta, strlen(meta), 0600);
    if (r == 0)
        r = fd_publish_symlink(dir, "image", image);
    if (r == 0)
        r = copy_ini(st, dir);
    return r;
}

/* Above every number that is there, so that a version is never written twice. */
static uint32_t next_number(int dir)
{
    DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    uint64_t highest = 0, v;
    struct dirent *e;

    if (!d)
        return 1;
    while ((e = readdir(d)))
        if (str_parse_uint(e->d_name, UINT32_MAX - 2, &v) == 0 && v > highest)
            highest = v;
    closedir(d);
    return (uint32_t)highest + 1;
}

int store_publish(struct store *s, const struct fn_id *id, struct store_staging *st, const struct unpack_result *u, const struct spec *spec,
                  uint32_t *ret_number, struct diag *d)
{
    cleanup_fd int dir = -1, version = -1;
    char name[16], temp[24];
    uint32_t number;
    int r;

    if (!digest_valid(u->sha256))
        return diag_set(d, EPROTO, "image: its digest is not a SHA-256");
    r = publish_image(s, st, u->sha256, d);
    if (r < 0)
        return r;
    dir = store_function_dir(s, id, true, d);
    if (dir < 0)
        return dir;
    number = next_number(dir);
    snprintf(name, sizeof(name), "%u", number);
    snprintf(temp, sizeof(temp), ".new-%u", number);
    fd_remove_tree(dir, temp);
    if (mkdirat(dir, temp, 0700) < 0)
        return diag_errno(d, errno, "version %u: cannot make its directory", number);
    version = openat(dir, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    r = version < 0 ? -errno : write_version(s, version, st, u, spec);
    if (r == 0 && (renameat(dir, temp, dir, name) < 0 || fsync(dir) < 0))
        r = -errno;
    if (r < 0) {
        fd_remove_tree(dir, temp);
        return diag_errno(d, -r, "version %u: cannot write", number);
    }
    *ret_number = number;
    return 0;
}

int store_set_current(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, false, d);
    char name[16];
    int r;

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%u", number);
    r = fd_publish_symlink(dir, "current", name);
    return r < 0 ? diag_errno(d, -r, "version %u: cannot make it current", number) : 0;
}

static void read_meta(int dir, struct store_version *v)
{
    unsigned long long bytes = 0, deployed = 0;
    char text[160];

    if (fd_read_file(dir, "meta", text, sizeof(text)) > 0 && sscanf(text, "image_bytes %llu\ndeployed_ns %llu", &bytes, &deployed) == 2) {
        v->image_bytes = bytes;
        v->deployed_real_ns = deployed;
    }
}

int store_version_open(struct store *s, const struct fn_id *id, uint32_t number, struct store_version *ret, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, false, d), version = -1;
    struct store_version v = {.number = number, .image_fd = -1};
    char name[16], target[PATH_MAX];
    const char *sha;
    ssize_t n;
    int r;

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%u", number);
    version = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (version < 0)
        return diag_errno(d, errno, "%s: version %u", id->name, number);
    n = readlinkat(version, "image", target, sizeof(target) - 1);
    if (n < 0)
        return diag_errno(d, errno, "%s: image of version %u", id->name, number);
    target[n] = '\0';
    sha = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
    if (!digest_valid(sha))
        return diag_set(d, EPROTO, "%s: image of version %u is \"%.80s\", not a SHA-256", id->name, number, sha);
    v.image_fd = openat(s->images_fd, sha, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (v.image_fd < 0)
        return diag_errno(d, errno, "%s: %s/%s: cannot open the image: deploy the function again", id->name, s->images, sha);
    str_copy(v.image, sizeof(v.image), sha);
    read_meta(version, &v);
    r = spec_read(version, "spec", &v.spec, d);
    if (r < 0) {
        fd_close(v.image_fd);
        diag_prefix(d, "%s: version %u", id->name, number);
        return r;
    }
    *ret = v;
    return 0;
}

void store_version_done(struct store_version *v)
{
    free(v->spec);
    v->spec = NULL;
    v->image_fd = fd_close(v->image_fd);
}

int store_drop_version(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, false, d);
    char name[16];
    int r;

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%u", number);
    r = fd_remove_tree(dir, name);
    if (r < 0)
        return diag_errno(d, -r, "%s: cannot remove version %u", id->name, number);
    return store_collect_images(s, d);
}

int store_prune(struct store *s, const struct fn_id *id, uint32_t current, uint32_t keep, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, false, d);

    if (dir < 0)
        return dir;
    for (;;) { /* each pass removes the oldest, until few enough are left */
        DIR *list = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        uint64_t oldest = UINT64_MAX, v;
        unsigned count = 0;
        struct dirent *e;
        char name[16];

        if (!list)
            return diag_errno(d, errno, "%s: cannot list its versions", id->name);
        while ((e = readdir(list))) {
            if (strncmp(e->d_name, ".new-", 5) == 0)
                fd_remove_tree(dir, e->d_name);
            if (str_parse_uint(e->d_name, UINT32_MAX, &v) < 0)
                continue;
            count++;
            if (v != current && v < oldest)
                oldest = v;
        }
        closedir(list);
        if (count <= keep || oldest == UINT64_MAX)
            break;
        snprintf(name, sizeof(name), "%u", (uint32_t)oldest);
        if (fd_remove_tree(dir, name) < 0)
            break;
    }
    return store_collect_images(s, d);
}

/* Does any version of any function name the image? */
static bool image_used(struct store *s, const char *sha)
{
    DIR *envs = fdopendir(openat(s->functions_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    bool used = false;
    struct dirent *e;

    while (envs && !used && (e = readdir(envs))) {
        DIR *functions = e->d_name[0] == '.' ? NULL : fdopendir(openat(dirfd(envs), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        struct dirent *f;

        while (functions && !used && (f = readdir(functions))) {
            DIR *versions = f->d_name[0] == '.' ? NULL : fdopendir(openat(dirfd(functions), f->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            struct dirent *v;

            while (versions && !used && (v = readdir(versions))) {
                char path[NAME_MAX + 8], target[PATH_MAX];
                ssize_t n;

                snprintf(path, sizeof(path), "%s/image", v->d_name);
                n = readlinkat(dirfd(versions), path, target, sizeof(target) - 1);
                if (n > 0) {
                    target[n] = '\0';
                    used = str_ends_with(target, sha);
                }
            }
            if (versions)
                closedir(versions);
        }
        if (functions)
            closedir(functions);
    }
    if (envs)
        closedir(envs);
    return used || !envs;
}

int store_collect_images(struct store *s, struct diag *d)
{
    DIR *dir;
    struct dirent *e;

    if (!s->own_images)
        return 0;
    dir = fdopendir(openat(s->images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir)
        return diag_errno(d, errno, "%s: cannot list the images", s->images);
    while ((e = readdir(dir))) {
        char away[96];

        if (!digest_valid(e->d_name) || image_used(s, e->d_name))
            continue;
        snprintf(away, sizeof(away), ".staging-removed-%.64s", e->d_name); /* a kill while it is removed leaves no half image under its digest */
        if (renameat(s->images_fd, e->d_name, s->images_fd, away) == 0)
            store_remove_tree(s, away);
    }
    closedir(dir);
    return 0;
}
