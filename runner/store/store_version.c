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
    return n < 0 ? (int)n : fd_new_file(to_dir, UNPACK_INI, text, (size_t)n, 0600);
}

#define UP "../../../../"

/* The directory gets its name when all of it is on disk: until then its files need none of their own. */
static int write_version(struct store *s, int dir, struct store_staging *st, const struct unpack_result *u, const struct spec *spec, const char *runtime)
{
    char meta[160];
    int r;

    snprintf(meta, sizeof(meta), "image_bytes %llu\ndeployed_ns %llu\n", (unsigned long long)u->bytes, (unsigned long long)clock_real_ns());
    r = fd_new_file(dir, "spec", spec, spec_size(spec), 0600);
    if (r == 0)
        r = fd_new_file(dir, "meta", meta, strlen(meta), 0600);
    if (r == 0)
        r = store_new_link(s, dir, "image", UP, u->sha256);
    if (r == 0 && *runtime)
        r = store_new_link(s, dir, "runtime", UP, runtime);
    if (r == 0)
        r = copy_ini(st, dir);
    if (r == 0 && fsync(dir) < 0)
        r = -errno;
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
    char name[16], temp[24], runtime[65] = "";
    uint32_t number;
    int r = spec->runtime[0] ? store_runtime_find(s, spec->runtime, runtime, d) : 0;

    if (r == 0)
        r = store_publish_image(s, st, u, d);
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
    r = version < 0 ? -errno : write_version(s, version, st, u, spec, runtime);
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

/* The tree that a link of the version names. */
static int open_image(struct store *s, int version_fd, const char *link, char ret_digest[65], int *ret_fd, struct diag *d)
{
    int r = store_link_digest(version_fd, link, ret_digest);

    if (r < 0)
        return r == -EPROTO ? diag_set(d, EPROTO, "its link `%s` leads to no SHA-256", link) : diag_errno(d, -r, "its link `%s`", link);
    *ret_fd = openat(s->images_fd, ret_digest, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *ret_fd < 0 ? diag_errno(d, errno, "%s/%s: cannot open the %s: deploy the function again", s->images, ret_digest, link) : 0;
}

int store_version_open(struct store *s, const struct fn_id *id, uint32_t number, struct store_version *ret, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, false, d), version = -1;
    struct store_version v = {.number = number, .image_fd = -1, .runtime_fd = -1};
    char name[16];
    int r;

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%u", number);
    version = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (version < 0)
        return diag_errno(d, errno, "%s: version %u", id->name, number);
    read_meta(version, &v);
    r = spec_read(version, "spec", &v.spec, d);
    if (r == 0)
        r = open_image(s, version, "image", v.image, &v.image_fd, d);
    if (r == 0 && v.spec->runtime[0])
        r = open_image(s, version, "runtime", v.runtime, &v.runtime_fd, d);
    if (r < 0) {
        store_version_done(&v);
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
    v->runtime_fd = fd_close(v->runtime_fd);
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

int store_prune(struct store *s, const struct fn_id *id, const struct store_keep *k, struct diag *d)
{
    cleanup_fd int dir = store_function_dir(s, id, false, d);
    bool held = false;
    int r;

    if (dir < 0)
        return dir;
    for (;;) { /* each pass removes the oldest, until few enough are left */
        DIR *list = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        uint64_t oldest = UINT64_MAX, v;
        unsigned all = 0, count = 0; /* count: without those in use, in whose place no other goes */
        struct dirent *e;
        char name[16];

        if (!list)
            return diag_errno(d, errno, "%s: cannot list its versions", id->name);
        while ((e = readdir(list))) {
            if (strncmp(e->d_name, ".new-", 5) == 0)
                fd_remove_tree(dir, e->d_name);
            if (str_parse_uint(e->d_name, UINT32_MAX, &v) < 0)
                continue;
            all++;
            if (v != k->current && k->in_use && k->in_use(k->arg, (uint32_t)v))
                continue;
            count++;
            if (v != k->current && v < oldest)
                oldest = v;
        }
        closedir(list);
        held = all > k->keep;
        if (count <= k->keep || oldest == UINT64_MAX)
            break;
        snprintf(name, sizeof(name), "%u", (uint32_t)oldest);
        if (fd_remove_tree(dir, name) < 0)
            break;
    }
    r = store_collect_images(s, d);
    return r < 0 ? r : held;
}
