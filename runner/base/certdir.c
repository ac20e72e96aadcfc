#include "certdir.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What an entry of the directory ends in, and what its name is followed by in the paths of its two files. */
static const struct layout {
    const char *ends, *certificate, *key;
} layouts[] = {
    {".pem", ".pem", ".key"},
    {"", "/fullchain.pem", "/privkey.pem"},
};

/* Not O_NOFOLLOW: certbot's files are symlinks, and who can write here is root anyhow. */
int certdir_open(int dir, const char *path, int is_key, struct diag *d)
{
    cleanup_fd int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return diag_errno(d, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return diag_set(d, EINVAL, "%s is no regular file", path);
    if (is_key && (st.st_mode & (S_IRWXO | S_IWGRP)))
        return diag_set(d, EACCES, "%s has mode %04o, so others can read or change the key: chmod 0600 it (and if somebody may have read it, make a new one)",
                        path, (unsigned)st.st_mode & 07777);
    return take_fd(&fd);
}

static bool find(int dir, const char *entry, struct certdir_entry *ret)
{
    const size_t len = strlen(entry);

    if (entry[0] == '.')
        return false;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        const struct layout *l = &layouts[i];
        const int stem = (int)(len - strlen(l->ends));

        if (!str_ends_with(entry, l->ends) || stem <= 0)
            continue;
        snprintf(ret->name, sizeof(ret->name), "%.*s", stem, entry);
        snprintf(ret->certificate, sizeof(ret->certificate), "%.255s%s", ret->name, l->certificate);
        snprintf(ret->key, sizeof(ret->key), "%.255s%s", ret->name, l->key);
        if (faccessat(dir, ret->certificate, F_OK, 0) == 0)
            return true;
    }
    return false;
}

static int walk(int dir, struct dirent **list, int n, certdir_fn *each, void *arg, struct diag *d)
{
    struct certdir_entry e;
    int count = 0, r = 0;

    for (int i = 0; i < n && r >= 0; i++) {
        if (!find(dir, list[i]->d_name, &e))
            continue;
        if (count == CERTDIR_MAX)
            return diag_set(d, E2BIG, "more than %d certificates: %s and those behind it are left out", CERTDIR_MAX, e.name);
        count++;
        r = each(arg, dir, &e);
    }
    return r < 0 ? r : count;
}

int certdir_each(const char *path, certdir_fn *each, void *arg, struct diag *d)
{
    cleanup_fd int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent **list = NULL;
    int n, r;

    if (dir < 0)
        return errno == ENOENT ? 0 : diag_errno(d, errno, "%s", path);
    n = scandirat(dir, ".", &list, NULL, alphasort);
    if (n < 0)
        return diag_errno(d, errno, "%s", path);
    r = walk(dir, list, n, each, arg, d);
    if (r < 0)
        diag_prefix(d, "%s", path);
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
    return r;
}
