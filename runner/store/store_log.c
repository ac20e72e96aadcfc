/* store_log.c: where the ring logs of instances lie, and how many of the dead ones are kept. */
#include "store_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char log_suffix[] = ".log";

int store_log_dir(struct store *s, const struct fn_id *id, struct diag *d)
{
    char path[2 * NAME_PART_MAX + 2];
    int r, fd;

    snprintf(path, sizeof(path), "%s/%s", id->env, id->name);
    r = fd_mkdir_p(s->logs_fd, path, 0700);
    if (r < 0)
        return diag_errno(d, -r, "logs/%s: cannot make the directory", path);
    fd = openat(s->logs_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? diag_errno(d, errno, "logs/%s: cannot open", path) : fd;
}

/* "INSTANCE.log" -> INSTANCE; false for other names. */
static bool log_instance(const char *name, char *instance)
{
    size_t len = strlen(name), cut = sizeof(log_suffix) - 1;

    if (!str_ends_with(name, log_suffix) || len - cut > NAME_INSTANCE_MAX)
        return false;
    memcpy(instance, name, len - cut);
    instance[len - cut] = '\0';
    return name_instance_valid(instance);
}

struct log_found {
    char instance[NAME_INSTANCE_MAX + 1];
    struct timespec made;
    unsigned count;
};

static bool earlier(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* The oldest or newest log by its last change, of the instances that `alive` does not know; count says how many there are. */
static int find_log(int dirfd_, bool newest, store_alive_fn *alive, void *arg, struct log_found *ret)
{
    DIR *dir = fdopendir(openat(dirfd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *e;

    *ret = (struct log_found){0};
    if (!dir)
        return -errno;
    while ((e = readdir(dir))) {
        char instance[NAME_INSTANCE_MAX + 1];
        struct stat st;

        if (!log_instance(e->d_name, instance) || (alive && alive(arg, instance)) || fstatat(dirfd_, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (ret->count++ == 0 || earlier(newest ? &ret->made : &st.st_mtim, newest ? &st.st_mtim : &ret->made)) {
            ret->made = st.st_mtim;
            str_copy(ret->instance, sizeof(ret->instance), instance);
        }
    }
    closedir(dir);
    return 0;
}

int store_log_newest(struct store *s, const struct fn_id *id, char ret_instance[NAME_INSTANCE_MAX + 1])
{
    cleanup_fd int dir = store_log_dir(s, id, NULL);
    struct log_found found;
    int r = dir < 0 ? dir : find_log(dir, true, NULL, NULL, &found);

    if (r < 0)
        return r;
    return found.count ? str_copy(ret_instance, NAME_INSTANCE_MAX + 1, found.instance) : -ENOENT;
}

void store_log_prune(struct store *s, const struct fn_id *id, store_alive_fn *alive, void *arg)
{
    cleanup_fd int dir = store_log_dir(s, id, NULL);
    struct log_found found;

    while (dir >= 0 && find_log(dir, false, alive, arg, &found) == 0 && found.count > STORE_LOGS_KEPT) {
        char name[NAME_INSTANCE_MAX + sizeof(log_suffix)];

        snprintf(name, sizeof(name), "%s%s", found.instance, log_suffix);
        if (unlinkat(dir, name, 0) < 0)
            return;
    }
}
