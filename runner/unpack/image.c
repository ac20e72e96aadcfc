/*
 * image.c: an image of the container world instead of a package: an OCI image layout, or what docker save writes, as a tar.
 *
 * Neither says at its beginning what it is, and its files come in any order, a configuration after the layers it names. So the archive is unpacked like any other, which counts and bounds it; then, when it turns out to be
 * an image's, its files are moved out of the root to a directory beside it, and the layers are unpacked from there, lowest first, each file given up when it is used for the last time. A package with a function.ini is
 * a package, whatever else it holds.
 *
 * Where the small files came first (fnctl sends them so), it turns out before the first layer: then a layer whose turn it is is unpacked while it comes, and never stored. Nothing else differs: the same digests are
 * checked, and one that comes too early, or is named twice, is stored as ever. From then on the archive's files go to that directory, which is not below the process's root: on the way to them no symlink is followed, and
 * what is left of the archive may be nothing but files and directories.
 *
 * The blobs are named by what comes out of the archive, but opened where only the archive's own files are: the jail.
 */
#include "image.h"

#include "diag.h"
#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define IMAGE_DIR "image" /* in the staging directory, while it is read */

#define LOOKS_MAX 16 /* before the archive's end: each reads what may be an index */

enum kind { KIND_PACKAGE, KIND_OCI, KIND_DOCKER };

static bool has_file(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static enum kind kind_of(int root_fd)
{
    struct stat st;

    if (fstatat(root_fd, UNPACK_INI, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return KIND_PACKAGE;
    if (has_file(root_fd, "oci-layout") && has_file(root_fd, "index.json"))
        return KIND_OCI;
    return image_index_is_docker(root_fd) ? KIND_DOCKER : KIND_PACKAGE;
}

/* ---- moving the archive out of the way ---- */

static int move_all(int from, int to, struct diag *d)
{
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    bool moved = true;

    if (!list) {
        r = diag_errno(d, errno, "reading the image's archive");
        fd_close(fd);
        return r;
    }
    while (r == 0 && moved) { /* again, until a pass finds nothing: names may move while they are read */
        moved = false;
        rewinddir(list);
        while (r == 0 && (e = readdir(list))) {
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            moved = true;
            if (renameat(from, e->d_name, to, e->d_name) < 0)
                r = diag_errno(d, errno, "moving the image's \"%.100s\"", e->d_name);
        }
    }
    closedir(list);
    return r;
}

static int image_move(int root_fd, struct diag *d)
{
    cleanup_fd int dir = -1;
    int r;

    if (mkdirat(UNPACK_FD_STAGING, IMAGE_DIR, 0700) < 0)
        return diag_errno(d, errno, "a place for the image's archive");
    dir = openat(UNPACK_FD_STAGING, IMAGE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return diag_errno(d, errno, "a place for the image's archive");
    r = move_all(root_fd, dir, d);
    return r < 0 ? r : take_fd(&dir);
}

/* ---- the layers ---- */

/* Gives its bytes back, where the file really goes with this name. */
static void forget_blob(const struct image *im, unsigned i, int fd, struct unpack_result *res)
{
    const struct image_blob *b = &im->manifest.layers[i];
    struct stat st, there;

    if (fstat(fd, &st) < 0)
        return;
    for (unsigned k = i + 1; k < im->manifest.nlayers; k++) /* docker save has symlinks among them */
        if (fstatat(im->dir_fd, im->manifest.layers[k].path, &there, 0) == 0 && there.st_ino == st.st_ino)
            return;
    if (fstatat(im->dir_fd, b->path, &there, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != there.st_ino || st.st_nlink != 1)
        return;
    if (unlinkat(im->dir_fd, b->path, 0) == 0 && (uint64_t)st.st_size <= res->bytes)
        res->bytes -= (uint64_t)st.st_size;
}

static int check_sum(struct digest *g, const char *what, const char *want, struct diag *d)
{
    char hex[65];
    int r = digest_finish(g, hex, d);

    return r < 0 ? r : image_digest_check(what, want, hex, d);
}

static int extract_checked(const struct image *im, struct image_layer *l, const struct image_blob *b, const char *diff_id, struct unpack_result *res,
                           struct diag *d)
{
    int r = *b->sha256 ? digest_new(&l->in, d) : 0;

    if (r == 0 && diff_id && strcmp(diff_id, b->sha256) != 0) /* else it is not compressed, or its configuration contradicts itself: one digest says what it is */
        r = digest_new(&l->out, d);
    if (l->in)
        digest_by_thread(l->in, im->digest_thread);
    if (l->out)
        digest_by_thread(l->out, im->digest_thread);
    if (r == 0)
        r = extract_layer(l, im->root_fd, im->limits, res, d);
    if (r == 0 && l->in)
        r = check_sum(l->in, b->path, b->sha256, d);
    if (r == 0 && l->out)
        r = check_sum(l->out, b->path, diff_id, d);
    digest_free(l->in);
    digest_free(l->out);
    return r;
}

/* The next layer, from the archive as it comes or (NULL) from its file. */
static int apply_layer(struct image *im, struct stream *from, struct unpack_result *res, struct diag *d)
{
    const unsigned i = im->applied;
    const struct image_blob *b = &im->manifest.layers[i];
    const char *diff_id = im->manifest.docker && im->config.ndiff_ids > 0 ? im->config.diff_ids[i] : NULL;
    cleanup_fd int fd = from ? -1 : image_blob_open(im->dir_fd, b, d);
    struct image_layer l = {.fd = fd, .from = from};
    int r = fd < 0 && !from ? fd : i > 0 ? image_names_new(&l.names, d) : 0;

    if (r == 0)
        r = extract_checked(im, &l, b, diff_id, res, d);
    image_names_free(l.names);
    if (r < 0)
        return diag_prefix(d, "layer %u of %u of the image (%.20s...)", i + 1, im->manifest.nlayers, *b->sha256 ? b->sha256 : b->path);
    if (im->skipped == 0)
        memcpy(im->first_skipped, l.first_skipped, sizeof(im->first_skipped));
    im->skipped += l.skipped;
    im->applied++;
    if (!from)
        forget_blob(im, i, fd, res);
    return 0;
}

static int apply_rest(struct image *im, struct unpack_result *res, struct diag *d)
{
    int r = 0;

    while (im->applied < im->manifest.nlayers && r == 0)
        r = apply_layer(im, NULL, res, d);
    if (r == 0 && im->skipped > 0)
        unpack_note(res, "%llu device nodes, fifos or sockets of the image were left out, %s first: fnd provides /dev", (unsigned long long)im->skipped,
                    im->first_skipped);
    return r;
}

/* ---- together ---- */

static int check_platform(const struct image_config *c, struct diag *d)
{
    if (*c->os && strcmp(c->os, "linux") != 0)
        return diag_set(d, EINVAL, "the image is for %s, this host is Linux: take the one for linux/" IMAGE_ARCH, c->os);
    if (*c->architecture && strcmp(c->architecture, IMAGE_ARCH) != 0)
        return diag_set(d, EINVAL, "the image is for %s, this host is " IMAGE_ARCH_TEXT ": take the one for linux/" IMAGE_ARCH, c->architecture);
    return 0;
}

static int read_config(int dir_fd, const struct image_manifest *m, struct image_config *ret, struct diag *d)
{
    cleanup_free char *text = NULL;
    size_t len = 0;
    int r = image_blob_read(dir_fd, &m->config, &text, &len, d);

    if (r == 0)
        r = image_config_parse(text, len, ret, d);
    return r < 0 ? r : check_platform(ret, d);
}

/* What the archive in dir_fd says that it is. */
static int read_index(struct image *im, int dir_fd, enum kind kind, struct diag *d)
{
    int r = kind == KIND_OCI ? image_index_oci(dir_fd, &im->manifest, d) : image_index_docker(dir_fd, &im->manifest, d);

    if (r == 0)
        r = read_config(dir_fd, &im->manifest, &im->config, d);
    if (r == 0 && im->config.ndiff_ids > 0 && im->config.ndiff_ids != im->manifest.nlayers)
        r = diag_set(d, EINVAL, "the image has %u layers, its configuration says %u", im->manifest.nlayers, im->config.ndiff_ids);
    return r;
}

/* ---- while the archive comes ---- */

/* Each layer is a file of its own, or not yet there: docker save may have one twice, or as a symlink to another. */
static bool layers_are_plain(const struct image *im, int dir_fd)
{
    const struct image_manifest *m = &im->manifest;
    struct stat st;

    for (unsigned i = 0; i < m->nlayers; i++) {
        for (unsigned k = 0; k < i; k++)
            if (strcmp(m->layers[i].path, m->layers[k].path) == 0)
                return false;
        if (fstatat(dir_fd, m->layers[i].path, &st, AT_SYMLINK_NOFOLLOW) == 0 && !(S_ISREG(st.st_mode) && st.st_nlink == 1))
            return false;
    }
    return true;
}

/* Is it known by now what the archive is? Then its files make way for the image's own. */
static int look_early(struct image *im, struct diag *d)
{
    enum kind kind = kind_of(im->root_fd);
    struct diag not_yet = {0};

    if (kind == KIND_PACKAGE)
        return 0;
    if (read_index(im, im->root_fd, kind, &not_yet) < 0 ||
        !layers_are_plain(im, im->root_fd)) { /* whatever is wrong is found again, and said, at the archive's end */
        image_config_done(&im->config);
        im->config = (struct image_config){0};
        image_manifest_done(&im->manifest);
        return 0;
    }
    im->dir_fd = image_move(im->root_fd, d);
    if (im->dir_fd < 0)
        return im->dir_fd;
    im->is = true;
    return 0;
}

int image_entry(struct image *im, struct stream *s, const char *path, uint64_t size, struct unpack_result *res, struct diag *d)
{
    unsigned i = im->applied;
    int r = 0;

    if (!im->is && size > IMAGE_JSON_MAX && im->looks < LOOKS_MAX) { /* none of the files that say what it is */
        im->looks++;
        r = look_early(im, d);
    }
    if (r < 0 || !im->is)
        return r;
    while (i < im->manifest.nlayers && strcmp(im->manifest.layers[i].path, path) != 0)
        i++;
    if (i == im->manifest.nlayers || has_file(im->dir_fd, path))
        return 0;
    while (im->applied < i && has_file(im->dir_fd, im->manifest.layers[im->applied].path)) {
        r = apply_layer(im, NULL, res, d);
        if (r < 0)
            return r;
    }
    if (im->applied < i)
        return 0;
    r = apply_layer(im, s, res, d);
    return r < 0 ? r : 1;
}

/* ---- at its end ---- */

static int unpack_stored(struct image *im, enum kind kind, struct diag *d)
{
    im->dir_fd = image_move(im->root_fd, d);
    if (im->dir_fd < 0)
        return im->dir_fd;
    im->is = true;
    return read_index(im, im->dir_fd, kind, d);
}

int image_unpack(struct image *im, struct unpack_result *res, struct diag *d)
{
    enum kind kind = im->is ? KIND_PACKAGE : kind_of(im->root_fd);
    struct stat st;
    int r = 0;

    if (!im->is && kind == KIND_PACKAGE)
        return 0;
    if (im->is && fstatat(im->dir_fd, UNPACK_INI, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return diag_set(d, EINVAL, UNPACK_INI " comes behind the layers of an image: put it first into the archive, or leave it out");
    if (!im->is)
        r = unpack_stored(im, kind, d);
    if (r == 0)
        r = apply_rest(im, res, d);
    if (r < 0)
        return r;
    r = fd_remove_tree(UNPACK_FD_STAGING, IMAGE_DIR);
    return r < 0 ? diag_errno(d, -r, "removing the image's archive") : 0;
}

void image_done(struct image *im)
{
    image_config_done(&im->config);
    image_manifest_done(&im->manifest);
    im->dir_fd = fd_close(im->dir_fd);
}
