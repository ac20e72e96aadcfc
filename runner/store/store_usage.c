/* store_usage.c: what the store takes on disk, as promised rather than as allocated: images by what they unpacked to, each once; ring logs and volumes by their sizes. */
#include "store_internal.h"

#include "fd.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILES_DEPTH 4 /* logs/ENV/NAME/FILE */

struct image_use {
    char digest[65];
    uint64_t bytes;
};

struct images {
    struct image_use *list;
    size_t count, room;
    bool failed;
};

static void add_image(struct images *all, const char *digest, uint64_t bytes)
{
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        struct image_use *list = reallocarray(all->list, room, sizeof(*list));

        if (!list) {
            all->failed = true;
            return;
        }
        all->list = list;
        all->room = room;
    }
    snprintf(all->list[all->count].digest, sizeof(all->list[0].digest), "%.64s", digest);
    all->list[all->count++].bytes = bytes;
}

static void add_version(struct images *all, int fn_dir, const char *name)
{
    char path[32], target[PATH_MAX], text[160];
    unsigned long long bytes;
    const char *slash;
    ssize_t n;

    snprintf(path, sizeof(path), "%.12s/image", name);
    n = readlinkat(fn_dir, path, target, sizeof(target) - 1);
    if (n <= 0)
        return;
    target[n] = '\0';
    slash = strrchr(target, '/');
    snprintf(path, sizeof(path), "%.12s/meta", name);
    if (fd_read_file(fn_dir, path, text, sizeof(text)) > 0 && sscanf(text, "image_bytes %llu", &bytes) == 1)
        add_image(all, slash ? slash + 1 : target, bytes);
}

static int add_function(void *arg, int dir_fd, const char *name)
{
    uint64_t number;

    if (str_parse_uint(name, UINT32_MAX, &number) == 0)
        add_version(arg, dir_fd, name);
    return 0;
}

typedef int entry_fn(void *arg, int dir_fd, const char *name);

/* Calls fn for what is in the directory; it is closed. */
static void each_entry(int fd, entry_fn *fn, void *arg)
{
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!dir) {
        fd_close(fd);
        return;
    }
    while ((e = readdir(dir)))
        if (e->d_name[0] != '.')
            fn(arg, dirfd(dir), e->d_name);
    closedir(dir);
}

static int open_below(int dir_fd, const char *name)
{
    return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static int each_function(void *arg, int dir_fd, const char *name)
{
    each_entry(open_below(dir_fd, name), add_function, arg);
    return 0;
}

static int each_env(void *arg, int dir_fd, const char *name)
{
    each_entry(open_below(dir_fd, name), each_function, arg);
    return 0;
}

static int by_digest(const void *a, const void *b)
{
    return strcmp(((const struct image_use *)a)->digest, ((const struct image_use *)b)->digest);
}

struct files {
    uint64_t bytes;
    unsigned depth;
};

static int add_file(void *arg, int dir_fd, const char *name)
{
    struct files *f = arg;
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (S_ISREG(st.st_mode)) {
        f->bytes += (uint64_t)st.st_size;
    } else if (S_ISDIR(st.st_mode) && f->depth < FILES_DEPTH) {
        f->depth++;
        each_entry(open_below(dir_fd, name), add_file, f);
        f->depth--;
    }
    return 0;
}

uint64_t store_usage(struct store *s)
{
    struct files files = {0};
    struct images all = {0};

    each_entry(open_below(s->functions_fd, "."), each_env, &all);
    if (all.list)
        qsort(all.list, all.count, sizeof(all.list[0]), by_digest);
    for (size_t i = 0; all.list && i < all.count; i++)
        if (i == 0 || by_digest(&all.list[i], &all.list[i - 1]) != 0)
            files.bytes += all.list[i].bytes;
    free(all.list);
    each_entry(open_below(s->logs_fd, "."), add_file, &files);
    each_entry(open_below(s->state_fd, "volumes"), add_file, &files);
    return files.bytes;
}
