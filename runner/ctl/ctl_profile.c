/*
 * ctl_profile.c: ~/.config/fnd: profiles/NAME, one daemon each (url, secret, functions, cacert, insecure), and `current`, the name of the one in use. The directory is 0700 and the files 0600, and what others could read or have
 * written is refused, not repaired: who reads a message about it will also change the password.
 */
#include "ctl.h"

#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PROFILE_BYTES_MAX 8192

static int directory_path(char *buf, size_t size, struct diag *d)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n;

    if (config && *config == '/')
        n = snprintf(buf, size, "%s/fnd", config);
    else if (home && *home == '/')
        n = snprintf(buf, size, "%s/.config/fnd", home);
    else
        return diag_set(d, ENOENT, "profiles: HOME is not set");
    return n > 0 && (size_t)n < size ? 0 : diag_set(d, ENAMETOOLONG, "profiles: HOME is too long");
}

/* Ours, and nobody else's to read or write. */
static int check_private(int fd, const char *path, const char *name, struct diag *d)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return diag_errno(d, errno, "%s/%s", path, name);
    if (st.st_uid != geteuid())
        return diag_set(d, EPERM, "%s/%s belongs to somebody else (uid %u): it is not used", path, name, st.st_uid);
    if (st.st_mode & 077)
        return diag_set(d, EPERM, "%s/%s can be read or written by others (mode %04o): chmod go= it, and change what was in it", path, name, st.st_mode & 07777U);
    return 0;
}

/* The directory of profiles; with make it is made. -ENOENT, without a message, where there is none. */
static int open_directory(char *path, size_t size, bool make, struct diag *d)
{
    cleanup_fd int top = -1, fd = -1;
    int r = directory_path(path, size, d);

    if (r < 0)
        return r;
    r = make ? fd_mkdir_p(AT_FDCWD, path, 0700) : 0;
    if (r < 0)
        return diag_errno(d, -r, "%s: cannot make the directory", path);
    top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0)
        return errno == ENOENT ? -ENOENT : diag_errno(d, errno, "%s", path);
    r = check_private(top, path, ".", d);
    if (r < 0)
        return r;
    if (make && mkdirat(top, "profiles", 0700) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "%s/profiles: cannot make the directory", path);
    fd = openat(top, "profiles", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : diag_errno(d, errno, "%s/profiles", path);
    r = check_private(fd, path, "profiles", d);
    return r < 0 ? r : take_fd(&fd);
}

/* The text of a file of ours; -ENOENT without a message. */
static int read_file(int dir, const char *path, const char *name, char *buf, size_t size, struct diag *d)
{
    cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    cleanup_free char *text = NULL;
    ssize_t n;
    int r;

    if (fd < 0)
        return errno == ENOENT ? -ENOENT : diag_errno(d, errno, "%s/%s", path, name);
    r = check_private(fd, path, name, d);
    if (r < 0)
        return r;
    n = fd_read_all(fd, size - 1, &text);
    if (n < 0 || strlen(text) != (size_t)n)
        return diag_set(d, EINVAL, "%s/%s is not a profile", path, name);
    memcpy(buf, text, (size_t)n + 1);
    explicit_bzero(text, (size_t)n);
    return 0;
}

static int set_key(struct remote *r, const char *key, const char *value, struct diag *d)
{
    struct remote parsed = {0};
    int e = 0;

    if (strcmp(key, "url") == 0) {
        e = ctl_remote_parse(value, &parsed, d);
        if (e == 0) {
            memcpy(r->origin, parsed.origin, sizeof(r->origin));
            memcpy(r->path, parsed.path, sizeof(r->path));
            r->https = parsed.https;
            r->loopback = parsed.loopback;
        }
        return e;
    }
    if (strcmp(key, "secret") == 0)
        e = str_copy(r->secret, sizeof(r->secret), value);
    else if (strcmp(key, "functions") == 0)
        e = ctl_remote_parse(value, &parsed, d) < 0 ? -EINVAL : str_copy(r->functions, sizeof(r->functions), value);
    else if (strcmp(key, "cacert") == 0)
        e = str_copy(r->cacert, sizeof(r->cacert), value);
    else if (strcmp(key, "insecure") == 0)
        e = str_parse_bool(value, &r->insecure);
    else
        e = -EINVAL;
    return e < 0 ? diag_set(d, EINVAL, "the key %.40s is not known, or its value is not valid", key) : 0;
}

/* "key = value" lines, as ctl_profile_save() writes them. */
static int parse_profile(char *text, struct remote *ret, struct diag *d)
{
    *ret = (struct remote){0};
    for (char *line = text, *next; line && *line; line = next) {
        size_t len = strcspn(line, "\n");
        char *equals;
        int r;

        next = line[len] ? line + len + 1 : NULL;
        line[len] = '\0';
        equals = strstr(line, " = ");
        if (!equals)
            return diag_set(d, EINVAL, "a line that is not \"key = value\"");
        *equals = '\0';
        r = set_key(ret, line, equals + 3, d);
        if (r < 0)
            return r;
    }
    return *ret->origin ? 0 : diag_set(d, EINVAL, "the url is missing");
}

int ctl_profile_load(const char *name, struct remote *ret, struct diag *d)
{
    char path[PATH_MAX], text[PROFILE_BYTES_MAX] = "";
    cleanup_fd int dir = -1;
    int r;

    if (!name_valid(name))
        return diag_set(d, EINVAL, "profile %.80s: that is no name of a profile", name);
    dir = open_directory(path, sizeof(path), false, d);
    r = dir < 0 ? dir : read_file(dir, path, name, text, sizeof(text), d);
    if (r == -ENOENT)
        return diag_set(d, ENOENT, "there is no profile %s: fnctl login URL %s makes it", name, name);
    if (r < 0)
        return r;
    r = parse_profile(text, ret, d);
    explicit_bzero(text, sizeof(text));
    return r < 0 ? diag_prefix(d, "%s/profiles/%s", path, name) : 0;
}

int ctl_profile_save(const char *name, const struct remote *p, struct diag *d)
{
    struct strbuf text cleanup_strbuf = {0};
    char path[PATH_MAX];
    cleanup_fd int dir = open_directory(path, sizeof(path), true, d);
    int r;

    if (dir < 0)
        return dir;
    strbuf_printf(&text, "url = %s%s\nsecret = %s\n", p->origin, p->path, p->secret);
    if (*p->functions)
        strbuf_printf(&text, "functions = %s\n", p->functions);
    if (*p->cacert)
        strbuf_printf(&text, "cacert = %s\n", p->cacert);
    if (p->insecure)
        strbuf_puts(&text, "insecure = yes\n");
    r = text.failed ? -ENOMEM : fd_publish_file(dir, name, text.data, text.len, 0600);
    if (text.data)
        explicit_bzero(text.data, text.len);
    return r < 0 ? diag_errno(d, -r, "%s/profiles/%s", path, name) : 0;
}

int ctl_profile_use(const char *name, struct diag *d)
{
    char path[PATH_MAX], line[NAME_PART_MAX + 2];
    cleanup_fd int dir = open_directory(path, sizeof(path), true, d);
    int r;

    if (dir < 0)
        return dir;
    snprintf(line, sizeof(line), "%s\n", name);
    r = fd_publish_file(dir, ".current", line, strlen(line), 0600);
    return r < 0 ? diag_errno(d, -r, "%s/profiles/.current", path) : 0;
}

int ctl_profile_current(char *buf, struct diag *d)
{
    char path[PATH_MAX];
    cleanup_fd int dir = directory_path(path, sizeof(path), NULL) < 0 ? -ENOENT : open_directory(path, sizeof(path), false, d);
    int r = dir < 0 ? dir : read_file(dir, path, ".current", buf, NAME_PART_MAX + 1, d);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    buf[strcspn(buf, "\n")] = '\0';
    return strcmp(buf, PROFILE_LOCAL) != 0 && name_valid(buf);
}

int ctl_profile_remove(const char *name, struct diag *d)
{
    char path[PATH_MAX];
    cleanup_fd int dir = name_valid(name) ? open_directory(path, sizeof(path), false, d) : -ENOENT;

    if (dir < 0 && dir != -ENOENT)
        return dir;
    if (dir < 0 || unlinkat(dir, name, 0) < 0)
        return diag_set(d, ENOENT, "there is no profile %.80s", name);
    return 0;
}

int ctl_profile_each(int (*fn)(void *arg, const char *name), void *arg, struct diag *d)
{
    char path[PATH_MAX];
    int fd = open_directory(path, sizeof(path), false, d), r = 0;
    struct dirent **list = NULL;
    int n;

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    n = scandirat(fd, ".", &list, NULL, alphasort);
    fd_close(fd);
    for (int i = 0; i < n; i++) {
        if (r == 0 && name_valid(list[i]->d_name))
            r = fn(arg, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    return r;
}
