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
    struct store_images all = {0};

    if (store_images_used(s, &all) == 0)
        for (size_t i = 0; i < all.count; i++)
            files.bytes += all.list[i].bytes;
    store_images_done(&all);
    each_entry(open_below(s->logs_fd, "."), add_file, &files);
    each_entry(open_below(s->state_fd, "volumes"), add_file, &files);
    return files.bytes;
}
