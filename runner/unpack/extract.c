/*
 * extract.c: entries of a package, or of one layer of an image, become files below the image's root.
 *
 * Invariants, whatever the archive says:
 *   - Nothing is written but through a descriptor of the parent directory (entry_path.c) and one last component, which is never followed: O_EXCL for files, O_NOFOLLOW for directories.
 *   - An entry may replace an earlier one of the same name; a directory only if it is empty. A directory entry for a symlink that leads to a directory leaves the symlink (as `tar --keep-directory-symlink`).
 *   - A hard link is made only to a regular file that is already there.
 *   - Mode: no setuid, no setgid; group and others get what the owner has of r and x, because the function is neither of the owners. Owner: at most 65535, the last id of the image range.
 *   - Device nodes, fifos and sockets are refused; below dev/ they are skipped, since every sandbox gets a /dev of its own. Extended attributes, ACLs and times are not kept.
 *   - Bytes, entries and depth are counted before anything is written for them.
 *
 * A layer of an image differs (image_layer.c knows what it takes away): an entry replaces whatever is there, with all below it, but for a directory over a directory; device nodes, fifos and sockets are left out and
 * counted, since whoever deploys an image cannot pack it anew; a hard link may be one to a symlink.
 */
#include "image.h"
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define ID_MAX        65535
#define WHITEOUT      ".wh." /* OCI image layout, layer.md */
#define ENTRY_HEADERS 8192U  /* bytes of a tar that one entry may need besides its data: headers, long names, padding */
#define STREAM_SPARE  (64ULL << 20)

struct extract {
    int root_fd;
    const struct unpack_limits *limits;
    struct stream *stream;
    struct image *image;       /* of a package: it may be one; NULL */
    struct image_layer *layer; /* NULL: a package */
    struct unpack_result *res;
    uint64_t bytes, entries;
};

struct item {
    char path[PATH_MAX];
    char link[PATH_MAX]; /* hard link: the normalised target */
    const char *target;  /* symlink: the target as it is; hard link: link; else "" */
    char type;           /* - d l h, as ls shows them */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    uint64_t size;
};

static uint32_t clamp_id(la_int64_t id)
{
    return id < 0 || id > ID_MAX ? ID_MAX : (uint32_t)id;
}

static mode_t image_mode(mode_t mode)
{
    mode_t rx = mode & 0500;

    return (mode & 01777) | rx >> 3 | rx >> 6;
}

/* ---- what an entry is ---- */

static bool below_dev(const char *path)
{
    return strncmp(path, "dev/", 4) == 0;
}

static int item_link(struct item *it, const char *target, unsigned max_depth, struct diag *d)
{
    int r = entry_path(target, max_depth, it->link, d);

    it->type = 'h';
    it->target = it->link;
    if (r < 0)
        return diag_prefix(d, "entry \"%.200s\": hard link", it->path);
    if (strcmp(it->link, it->path) == 0)
        return diag_set(d, EINVAL, "entry \"%.200s\": a hard link to itself", it->path);
    return 0;
}

static int item_symlink(struct item *it, const char *target, struct diag *d)
{
    it->type = 'l';
    it->target = target;
    if (!target || !*target)
        return diag_set(d, EINVAL, "entry \"%.200s\": a symlink without a target", it->path);
    if (strlen(target) >= PATH_MAX)
        return diag_set(d, ENAMETOOLONG, "entry \"%.200s\": the symlink's target is too long", it->path);
    it->mode = 0777;
    return 0;
}

static int item_file(struct item *it, struct archive_entry *e, struct diag *d)
{
    la_int64_t size = archive_entry_size(e);

    if (size < 0)
        return diag_set(d, EINVAL, "entry \"%.200s\": a size below 0", it->path);
    it->type = '-';
    it->mode &= 0777;
    it->size = (uint64_t)size;
    return 0;
}

static int item_special(const struct extract *x, const struct item *it, unsigned type, struct diag *d)
{
    const char *what = type == AE_IFIFO                       ? "a fifo"
                       : type == AE_IFSOCK                    ? "a socket"
                       : type == AE_IFCHR || type == AE_IFBLK ? "a device node"
                                                              : "of an unknown type";

    if (below_dev(it->path) && type)
        return 0;
    if (x->layer && type) {
        image_layer_skip(x->layer, it->path);
        return 0;
    }
    return diag_set(d, EINVAL, "entry \"%.200s\" is %s: leave it out of the package (tar --exclude); fnd provides /dev", it->path, what);
}

/* A layer says by such a file what it takes away from the one below: nothing that a package could mean. Overlayfs has device nodes and attributes for it, which do not come this far. */
static int item_whiteout(const struct item *it, struct diag *d)
{
    const char *slash = strrchr(it->path, '/');

    if (strncmp(slash ? slash + 1 : it->path, WHITEOUT, strlen(WHITEOUT)) != 0)
        return 0;
    return diag_set(d, EINVAL, "entry \"%.200s\" is a whiteout: this is one layer of an image, deploy the whole (docker export, podman export)", it->path);
}

/* 1: *it is to be unpacked; 0: skipped. */
static int item_make(const struct extract *x, struct archive_entry *e, struct item *it, struct diag *d)
{
    int r = entry_path(archive_entry_pathname(e), x->limits->max_depth, it->path, d);

    if (r == 0)
        r = x->layer ? image_layer_whiteout(x->layer, x->root_fd, it->path, d) : item_whiteout(it, d);
    if (r != 0)
        return r < 0 ? r : 0;
    it->target = "";
    it->size = 0;
    it->mode = image_mode(archive_entry_perm(e));
    it->uid = clamp_id(archive_entry_uid(e));
    it->gid = clamp_id(archive_entry_gid(e));
    if (archive_entry_hardlink(e)) {
        r = item_link(it, archive_entry_hardlink(e), x->limits->max_depth, d);
        return r < 0 ? r : 1;
    }
    switch (archive_entry_filetype(e)) {
    case AE_IFREG:
        r = item_file(it, e, d);
        if (!stream_has_sizes(x->stream)) /* counted when it comes */
            it->size = 0;
        return r < 0 ? r : 1;
    case AE_IFDIR:
        it->type = 'd';
        return 1;
    case AE_IFLNK:
        r = item_symlink(it, archive_entry_symlink(e), d);
        return r < 0 ? r : 1;
    default:
        return item_special(x, it, archive_entry_filetype(e), d);
    }
}

static int count_item(struct extract *x, const struct item *it, struct diag *d)
{
    if (x->entries >= x->limits->max_entries)
        return diag_set(d, EFBIG, "entry \"%.200s\": more than %llu entries", it->path, (unsigned long long)x->limits->max_entries);
    x->entries++;
    if (it->size > x->limits->max_bytes - x->bytes)
        return diag_set(d, EFBIG, "entry \"%.200s\": more than %llu bytes unpacked", it->path, (unsigned long long)x->limits->max_bytes);
    x->bytes += it->size;
    return 0;
}

/* ---- making it ---- */

static int item_errno(const struct item *it, int err, const char *what, struct diag *d)
{
    return diag_errno(d, err, "entry \"%.200s\": %s", it->path, what);
}

/* Removes what an earlier entry left under this name. */
static int make_way(const struct extract *x, const struct item *it, int dir, const char *name, struct diag *d)
{
    int r = x->layer ? fd_remove_tree(dir, name) : 0;

    if (r < 0)
        return item_errno(it, -r, "replacing what is there", d);
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return item_errno(it, errno, "replacing an earlier entry", d);
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return diag_set(d, EINVAL, "entry \"%.200s\" is a directory already, and not an empty one", it->path);
    return item_errno(it, errno, "replacing an earlier entry", d);
}

/* Owner first: changing it may clear bits of the mode. */
static int set_owner_and_mode(const struct item *it, int fd, struct diag *d)
{
    if (fchown(fd, it->uid, it->gid) < 0)
        return item_errno(it, errno, "setting the owner", d);
    if (fchmod(fd, it->mode) < 0)
        return item_errno(it, errno, "setting the mode", d);
    return 0;
}

static int write_at(int fd, const char *data, size_t len, uint64_t offset)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* The entry is as long as what comes of it. */
static int count_more(struct extract *x, struct item *it, uint64_t offset, size_t len, struct diag *d)
{
    uint64_t end, more;

    if (__builtin_add_overflow(offset, len, &end))
        return diag_set(d, EINVAL, "entry \"%.200s\": data outside the file's size", it->path);
    if (end <= it->size)
        return 0;
    more = end - it->size;
    if (more > x->limits->max_bytes - x->bytes)
        return diag_set(d, EFBIG, "entry \"%.200s\": more than %llu bytes unpacked", it->path, (unsigned long long)x->limits->max_bytes);
    x->bytes += more;
    it->size = end;
    return 0;
}

/* Holes stay holes on disk. */
static int write_content(struct extract *x, struct item *it, int fd, struct diag *d)
{
    uint64_t at = 0, offset;
    const void *data;
    size_t len;
    int r;

    while ((r = stream_data(x->stream, &data, &len, &offset, d)) > 0) {
        if (!stream_has_sizes(x->stream)) {
            r = count_more(x, it, offset, len, d);
            if (r < 0)
                return r;
        }
        if (offset < at || offset > it->size || len > it->size - offset)
            return diag_set(d, EINVAL, "entry \"%.200s\": data outside the file's size", it->path);
        at = offset + len;
        r = write_at(fd, data, len, offset);
        if (r < 0)
            return item_errno(it, -r, "writing", d);
        r = jail_check_cpu(x->limits, d);
        if (r < 0)
            return r;
    }
    if (r < 0) {
        diag_prefix(d, "entry \"%.200s\"", it->path);
        return r;
    }
    if (at < it->size && ftruncate(fd, (off_t)it->size) < 0)
        return item_errno(it, errno, "writing", d);
    return 0;
}

static int make_file(struct extract *x, struct item *it, int dir, const char *name, struct diag *d)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    cleanup_fd int fd = openat(dir, name, flags, 0600);
    int r;

    if (fd < 0 && errno == EEXIST) {
        r = make_way(x, it, dir, name, d);
        if (r < 0)
            return r;
        fd = openat(dir, name, flags, 0600);
    }
    if (fd < 0)
        return item_errno(it, errno, "making the file", d);
    r = write_content(x, it, fd, d);
    return r < 0 ? r : set_owner_and_mode(it, fd, d);
}

static int make_directory(const struct extract *x, const struct item *it, int dir, const char *name, struct diag *d)
{
    cleanup_fd int fd = -1;
    struct stat st;
    int r;

    if (mkdirat(dir, name, 0755) < 0) {
        if (errno != EEXIST)
            return item_errno(it, errno, "making the directory", d);
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return item_errno(it, errno, "making the directory", d);
        if (!x->layer && S_ISLNK(st.st_mode) && fstatat(dir, name, &st, 0) == 0 && S_ISDIR(st.st_mode))
            return 0;
        if (!S_ISDIR(st.st_mode)) {
            r = make_way(x, it, dir, name, d);
            if (r < 0)
                return r;
            if (mkdirat(dir, name, 0755) < 0)
                return item_errno(it, errno, "making the directory", d);
        }
    }
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return item_errno(it, errno, "opening the directory", d);
    return set_owner_and_mode(it, fd, d);
}

static int make_symlink(const struct extract *x, const struct item *it, int dir, const char *name, struct diag *d)
{
    int r;

    if (symlinkat(it->target, dir, name) < 0) {
        if (errno != EEXIST)
            return item_errno(it, errno, "making the symlink", d);
        r = make_way(x, it, dir, name, d);
        if (r < 0)
            return r;
        if (symlinkat(it->target, dir, name) < 0)
            return item_errno(it, errno, "making the symlink", d);
    }
    if (fchownat(dir, name, it->uid, it->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return item_errno(it, errno, "setting the owner", d);
    return 0;
}

static int make_hard_link(const struct extract *x, const struct item *it, int dir, const char *name, struct diag *d)
{
    const char *from_name;
    cleanup_fd int from = -1;
    struct stat st, there;
    int r;

    from = entry_parent(x->root_fd, it->link, &from_name, NULL, NULL);
    if (from < 0 || fstatat(from, from_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !(S_ISREG(st.st_mode) || (x->layer && S_ISLNK(st.st_mode))))
        return diag_set(d, EINVAL, "entry \"%.200s\": hard link to \"%.200s\", which is no regular file unpacked before it", it->path, it->link);
    if (fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0) {
        if (there.st_dev == st.st_dev && there.st_ino == st.st_ino) /* the same file by another way: nothing to do, and removing it could lose it */
            return 0;
        r = make_way(x, it, dir, name, d);
        if (r < 0)
            return r;
    }
    if (linkat(from, from_name, dir, name, 0) < 0)
        return item_errno(it, errno, "making the hard link", d);
    return 0;
}

static int make_of_type(struct extract *x, struct item *it, int dir, const char *name, struct diag *d)
{
    switch (it->type) {
    case '-':
        return make_file(x, it, dir, name, d);
    case 'd':
        return make_directory(x, it, dir, name, d);
    case 'l':
        return make_symlink(x, it, dir, name, d);
    default:
        return make_hard_link(x, it, dir, name, d);
    }
}

/* What is left of an image's archive goes there: its files are no part of the root any more. -1: to the root. */
static int beside_root(const struct extract *x)
{
    return x->image ? x->image->dir_fd : -1;
}

static int make_item(struct extract *x, struct item *it, struct diag *d)
{
    const int beside = beside_root(x);
    const char *name;
    cleanup_fd int dir = -1;
    int r;

    if (!*it->path) /* the root itself: package_finish() gives it its owner and mode */
        return it->type == 'd' ? 0 : diag_set(d, EINVAL, "the archive's root is no directory");
    if (beside >= 0)
        dir = entry_parent_plain(beside, it->path, &name, &x->entries, d);
    else
        dir = entry_parent(x->root_fd, it->path, &name, &x->entries, d);
    if (dir < 0) {
        diag_prefix(d, "entry \"%.200s\"", it->path);
        return dir;
    }
    if (x->entries > x->limits->max_entries) /* with the directories that were made on the way */
        return diag_set(d, EFBIG, "entry \"%.200s\": more than %llu entries", it->path, (unsigned long long)x->limits->max_entries);
    r = make_of_type(x, it, dir, name, d);
    return r == 0 && x->layer ? image_layer_made(x->layer, dir, name, d) : r;
}

/* 1: the entry was a layer of an image, and has been unpacked. */
static int offer_image(struct extract *x, struct archive_entry *e, const struct item *it, struct diag *d)
{
    struct unpack_result *res = x->res;
    int r = 0;

    if (it->type == '-' && stream_has_sizes(x->stream) && archive_entry_sparse_count(e) == 0) {
        res->bytes = x->bytes;
        res->entries = x->entries;
        r = image_entry(x->image, x->stream, it->path, it->size, res, d);
        x->bytes = res->bytes;
        x->entries = res->entries;
    }
    if (r == 0 && beside_root(x) >= 0 && it->type != '-' && it->type != 'd')
        return diag_set(d, EINVAL, "entry \"%.200s\": a link behind the first layer of an image: save the image again", it->path);
    return r;
}

static int extract_entry(struct extract *x, struct archive_entry *e, struct diag *d)
{
    struct item it;
    int r = item_make(x, e, &it, d);

    if (r <= 0)
        return r;
    r = x->image ? offer_image(x, e, &it, d) : 0;
    if (r != 0)
        return r < 0 ? r : 0;
    r = count_item(x, &it, d);
    if (r < 0)
        return r;
    return make_item(x, &it, d);
}

/* How much a tar may have that unpacks to no more than the limits. */
static uint64_t stream_limit(const struct unpack_limits *l)
{
    uint64_t v;

    if (__builtin_mul_overflow(l->max_entries, ENTRY_HEADERS, &v) || __builtin_add_overflow(v, l->max_bytes, &v) || __builtin_add_overflow(v, STREAM_SPARE, &v))
        v = UINT64_MAX / 2;
    return v;
}

static int extract_entries(struct extract *x, struct diag *d)
{
    struct archive_entry *e;
    int r;

    while ((r = stream_next(x->stream, &e, d)) > 0) {
        r = extract_entry(x, e, d);
        if (r < 0)
            return r;
        r = jail_check_cpu(x->limits, d);
        if (r < 0)
            return r;
    }
    return r;
}

static int extract_stream(struct extract *x, const struct stream_start *start, struct diag *d)
{
    int r = stream_open(start, &x->stream, d);

    if (r < 0)
        return r;
    if (stream_spooled(x->stream) > x->limits->max_bytes - x->bytes)
        r = diag_set(d, EFBIG, "the archive is larger than what may be unpacked");
    else
        x->bytes += stream_spooled(x->stream);
    if (r == 0)
        r = extract_entries(x, d);
    stream_close(x->stream);
    return r;
}

int extract_all(int archive_fd, struct image *image, struct unpack_result *res, struct diag *d)
{
    const struct stream_start start = {.fd = archive_fd, .may_be_zip = true, .max_out = stream_limit(image->limits)};
    struct extract x = {.root_fd = image->root_fd, .limits = image->limits, .image = image, .res = res};
    int r = extract_stream(&x, &start, d);

    if (r < 0)
        return r;
    if (x.entries == 0)
        return diag_set(d, EINVAL, "the archive holds no entries: a function is a program at least; `fnctl new` makes one to begin with");
    res->bytes = x.bytes;
    res->entries = x.entries;
    return 0;
}

int extract_layer(struct image_layer *layer, int root_fd, const struct unpack_limits *l, struct unpack_result *res, struct diag *d)
{
    const struct stream_start start = {
        .fd = layer->fd, .from = layer->from, .may_lack_end = layer->in || layer->out, .max_out = stream_limit(l), .in = layer->in, .out = layer->out};
    struct extract x = {.root_fd = root_fd, .limits = l, .layer = layer, .res = res, .bytes = res->bytes, .entries = res->entries};
    int r = extract_stream(&x, &start, d);

    res->bytes = x.bytes;
    res->entries = x.entries;
    return r;
}
