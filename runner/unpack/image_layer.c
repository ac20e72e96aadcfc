/*
 * image_layer.c: what a layer takes away from the layers below it (OCI layer.md): .wh.NAME hides NAME, .wh..wh..opq all that its directory holds.
 *
 * A whiteout is about lower layers alone, wherever in the layer it stands: what the layer itself has made stays. So the names that it makes are remembered, as hashes of the directory's inode and the name. A name is
 * looked for only once it may be there, so that nothing is kept for the lowest layer, and a removal is plain as long as the layer has made nothing. Ways are walked inside the root as everywhere (entry_path.c); a whiteout
 * whose directory is not there takes nothing away.
 */
#include "image.h"

#include "diag.h"
#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WHITEOUT        ".wh."
#define WHITEOUT_META   ".wh..wh." /* aufs kept books under such names; but for OPAQUE they mean nothing */
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define NAMES_FIRST     1024U
#define REMOVE_DEPTH    60U /* a descriptor each */

/* ---- the names ---- */

struct image_names {
    uint64_t *slots; /* 0: free */
    size_t count, room;
};

int image_names_new(struct image_names **ret, struct diag *d)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? 0 : diag_set(d, ENOMEM, "out of memory");
}

void image_names_free(struct image_names *n)
{
    if (n)
        free(n->slots);
    free(n);
}

/* FNV-1a, and a last stir for the low bits. Two names that meet cost an image that was made for it one of its own files. */
static uint64_t name_hash(ino_t dir, const char *name)
{
    uint64_t h = 0xcbf29ce484222325ULL ^ (uint64_t)dir;

    h *= 0x100000001b3ULL;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3ULL;
    h ^= h >> 32;
    return h ? h : 1;
}

static bool slot_put(uint64_t *slots, size_t room, uint64_t h)
{
    size_t i = (size_t)(h * 0x9e3779b97f4a7c15ULL) & (room - 1);

    for (; slots[i]; i = (i + 1) & (room - 1))
        if (slots[i] == h)
            return false;
    slots[i] = h;
    return true;
}

static int names_grow(struct image_names *n, struct diag *d)
{
    size_t room = n->room ? 2 * n->room : NAMES_FIRST;
    uint64_t *slots = calloc(room, sizeof(*slots));

    if (!slots)
        return diag_set(d, ENOMEM, "out of memory");
    for (size_t i = 0; i < n->room; i++)
        if (n->slots[i])
            slot_put(slots, room, n->slots[i]);
    free(n->slots);
    n->slots = slots;
    n->room = room;
    return 0;
}

static bool names_has(const struct image_names *n, ino_t dir, const char *name)
{
    uint64_t h = name_hash(dir, name);

    if (n->count == 0)
        return false;
    for (size_t i = (size_t)(h * 0x9e3779b97f4a7c15ULL) & (n->room - 1); n->slots[i]; i = (i + 1) & (n->room - 1))
        if (n->slots[i] == h)
            return true;
    return false;
}

int image_layer_made(struct image_layer *l, int dir, const char *name, struct diag *d)
{
    struct stat st;
    int r;

    if (!l->names)
        return 0;
    if (fstat(dir, &st) < 0)
        return diag_errno(d, errno, "looking at a directory");
    if (2 * (l->names->count + 1) > l->names->room) {
        r = names_grow(l->names, d);
        if (r < 0)
            return r;
    }
    l->names->count += slot_put(l->names->slots, l->names->room, name_hash(st.st_ino, name));
    return 0;
}

/* ---- taking away ---- */

static int remove_lower(const struct image_names *n, int dir, const char *name, unsigned depth, struct diag *d);

static int remove_lower_children(const struct image_names *n, int fd, unsigned depth, struct diag *d)
{
    DIR *list = fdopendir(fd); /* takes fd */
    struct dirent *e;
    int r = 0;

    if (!list) {
        r = diag_errno(d, errno, "reading a directory");
        fd_close(fd);
        return r;
    }
    while (r == 0 && (e = readdir(list)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = remove_lower(n, dirfd(list), e->d_name, depth, d);
    closedir(list);
    return r;
}

static int remove_lower_tree(const struct image_names *n, int dir, const char *name, bool made, unsigned depth, struct diag *d)
{
    int fd, r;

    if (depth == REMOVE_DEPTH)
        return diag_set(d, EINVAL, "a directory below what is taken away is nested too deep");
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return diag_errno(d, errno, "\"%.100s\"", name);
    r = remove_lower_children(n, fd, depth + 1, d);
    if (r == 0 && !made && unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        r = diag_errno(d, errno, "removing \"%.100s\"", name);
    return r;
}

/* Whatever the layer itself has not made. */
static int remove_lower(const struct image_names *n, int dir, const char *name, unsigned depth, struct diag *d)
{
    bool made = false;
    struct stat st;

    if (n->count == 0) {
        int r = fd_remove_tree(dir, name);

        return r < 0 ? diag_errno(d, -r, "removing \"%.100s\"", name) : 0;
    }
    if (fstat(dir, &st) < 0)
        return diag_errno(d, errno, "looking at a directory");
    made = names_has(n, st.st_ino, name);
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : diag_errno(d, errno, "\"%.100s\"", name);
    if (S_ISDIR(st.st_mode))
        return remove_lower_tree(n, dir, name, made, depth, d);
    return !made && unlinkat(dir, name, 0) < 0 && errno != ENOENT ? diag_errno(d, errno, "removing \"%.100s\"", name) : 0;
}

static int whiteout(struct image_layer *l, int dir, const char *name, struct diag *d)
{
    int fd;

    if (strcmp(name, WHITEOUT_OPAQUE) != 0)
        return remove_lower(l->names, dir, name + strlen(WHITEOUT), 0, d);
    fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? diag_errno(d, errno, "opening the directory") : remove_lower_children(l->names, fd, 0, d);
}

int image_layer_whiteout(struct image_layer *l, int root_fd, const char *path, struct diag *d)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *hidden = name + strlen(WHITEOUT);
    cleanup_fd int dir = -1;
    int r;

    if (strncmp(name, WHITEOUT, strlen(WHITEOUT)) != 0)
        return 0;
    if (strncmp(name, WHITEOUT_META, strlen(WHITEOUT_META)) == 0 && strcmp(name, WHITEOUT_OPAQUE) != 0)
        return 1;
    if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return diag_set(d, EINVAL, "entry \"%.200s\": a whiteout of nothing that has a name", path);
    if (!l->names)
        return 1;
    dir = entry_parent(root_fd, path, &name, NULL, NULL);
    if (dir < 0)
        return 1;
    r = whiteout(l, dir, name, d);
    return r < 0 ? (diag_prefix(d, "entry \"%.200s\"", path), r) : 1;
}

void image_layer_skip(struct image_layer *l, const char *path)
{
    if (l->skipped++ == 0)
        snprintf(l->first_skipped, sizeof(l->first_skipped), "%.99s", path);
}
