/*
 * image.c: an image of the container world instead of a package: an OCI image layout, or what docker save writes, as a tar.
 *
 * Neither says at its beginning what it is, and its files come in any order, a configuration after the layers it names. So the archive is unpacked like any other, which counts and bounds it; then, when it turns out to be
 * an image's, its files are moved out of the root to a directory beside it, and the layers are unpacked from there, lowest first, each file given up when it is used for the last time. A package with a function.ini is
 * a package, whatever else it holds.
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

struct layers {
    int dir_fd, root_fd;
    const struct unpack_limits *limits;
    const struct image_manifest *manifest;
    const struct image_config *config;
    struct unpack_result *res;
    uint64_t skipped;
    char first_skipped[100];
};

/* Gives its bytes back, where the file really goes with this name. */
static void forget_blob(struct layers *ls, unsigned i, int fd)
{
    const struct image_blob *b = &ls->manifest->layers[i];
    struct stat st, there;

    if (fstat(fd, &st) < 0)
        return;
    for (unsigned k = i + 1; k < ls->manifest->nlayers; k++) /* docker save has symlinks among them */
        if (fstatat(ls->dir_fd, ls->manifest->layers[k].path, &there, 0) == 0 && there.st_ino == st.st_ino)
            return;
    if (fstatat(ls->dir_fd, b->path, &there, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino != there.st_ino || st.st_nlink != 1)
        return;
    if (unlinkat(ls->dir_fd, b->path, 0) == 0 && (uint64_t)st.st_size <= ls->res->bytes)
        ls->res->bytes -= (uint64_t)st.st_size;
}

static int check_sum(struct digest *g, const char *what, const char *want, struct diag *d)
{
    char hex[65];
    int r = digest_finish(g, hex, d);

    return r < 0 ? r : image_digest_check(what, want, hex, d);
}

static int extract_checked(struct layers *ls, struct image_layer *l, const struct image_blob *b, const char *diff_id, struct diag *d)
{
    int r = *b->sha256 ? digest_new(&l->in, d) : 0;

    if (r == 0 && diff_id)
        r = digest_new(&l->out, d);
    if (r == 0)
        r = extract_layer(l, ls->root_fd, ls->limits, ls->res, d);
    if (r == 0 && l->in)
        r = check_sum(l->in, b->path, b->sha256, d);
    if (r == 0 && l->out)
        r = check_sum(l->out, b->path, diff_id, d);
    digest_free(l->in);
    digest_free(l->out);
    return r;
}

static int apply_layer(struct layers *ls, unsigned i, struct diag *d)
{
    const struct image_blob *b = &ls->manifest->layers[i];
    const char *diff_id = ls->manifest->docker && ls->config->ndiff_ids > 0 ? ls->config->diff_ids[i] : NULL;
    cleanup_fd int fd = image_blob_open(ls->dir_fd, b, d);
    struct image_layer l = {.fd = fd};
    int r = fd < 0 ? fd : i > 0 ? image_names_new(&l.names, d) : 0;

    if (r == 0)
        r = extract_checked(ls, &l, b, diff_id, d);
    image_names_free(l.names);
    if (r < 0)
        return diag_prefix(d, "layer %u of %u of the image (%.20s...)", i + 1, ls->manifest->nlayers, *b->sha256 ? b->sha256 : b->path);
    if (ls->skipped == 0)
        memcpy(ls->first_skipped, l.first_skipped, sizeof(ls->first_skipped));
    ls->skipped += l.skipped;
    forget_blob(ls, i, fd);
    return 0;
}

static int apply_layers(struct layers *ls, struct diag *d)
{
    int r = 0;

    if (ls->config->ndiff_ids > 0 && ls->config->ndiff_ids != ls->manifest->nlayers)
        return diag_set(d, EINVAL, "the image has %u layers, its configuration says %u", ls->manifest->nlayers, ls->config->ndiff_ids);
    for (unsigned i = 0; i < ls->manifest->nlayers && r == 0; i++)
        r = apply_layer(ls, i, d);
    if (r == 0 && ls->skipped > 0)
        unpack_note(ls->res, "%llu device nodes, fifos or sockets of the image were left out, %s first: fnd provides /dev", (unsigned long long)ls->skipped,
                    ls->first_skipped);
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

static int unpack_from(int dir_fd, enum kind kind, int root_fd, const struct unpack_limits *l, struct image *i, struct unpack_result *res, struct diag *d)
{
    struct image_manifest m = {0};
    struct layers ls = {.dir_fd = dir_fd, .root_fd = root_fd, .limits = l, .manifest = &m, .config = &i->config, .res = res};
    int r = kind == KIND_OCI ? image_index_oci(dir_fd, &m, d) : image_index_docker(dir_fd, &m, d);

    if (r == 0)
        r = read_config(dir_fd, &m, &i->config, d);
    if (r == 0)
        r = apply_layers(&ls, d);
    image_manifest_done(&m);
    return r;
}

int image_unpack(int root_fd, const struct unpack_limits *l, struct image *ret, struct unpack_result *res, struct diag *d)
{
    enum kind kind = kind_of(root_fd);
    cleanup_fd int dir = -1;
    int r;

    *ret = (struct image){.is = kind != KIND_PACKAGE};
    if (kind == KIND_PACKAGE)
        return 0;
    dir = image_move(root_fd, d);
    if (dir < 0)
        return dir;
    r = unpack_from(dir, kind, root_fd, l, ret, res, d);
    if (r < 0)
        return r;
    r = fd_remove_tree(UNPACK_FD_STAGING, IMAGE_DIR);
    return r < 0 ? diag_errno(d, -r, "removing the image's archive") : 0;
}

void image_done(struct image *i)
{
    image_config_done(&i->config);
}
