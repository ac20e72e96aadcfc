/* share.c: templates and examples. A fnctl in build/MODE has them beside it, as it has the samples; an installed one in PREFIX/share/fnd. */
#include "project.h"

#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAX 256

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The i-th place; false behind the last. */
static bool place(unsigned i, const char *kind, char *buf, size_t size)
{
    char exe[PATH_MAX];
    int n;

    if (i > 1 || (i == 0 && ctl_exe_dir(exe, sizeof(exe)) < 0))
        return false;
    n = snprintf(buf, size, "%s/%s", i == 0 ? exe : FND_SHARE, kind);
    return n > 0 && (size_t)n < size;
}

int share_find(const char *kind, const char *name, char *buf, size_t size)
{
    char dir[PATH_MAX];

    if (!name_valid(name))
        return -ENOENT;
    for (unsigned i = 0; place(i, kind, dir, sizeof(dir)); i++) {
        int n = snprintf(buf, size, "%s/%s", dir, name);

        if (n > 0 && (size_t)n < size && is_directory(buf))
            return 0;
    }
    return -ENOENT;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void share_names_free(char **names)
{
    for (unsigned i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

static bool known(char **names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static unsigned add_names(const char *dir, char **names, unsigned n)
{
    DIR *stream = opendir(dir);
    struct dirent *e;

    while (stream && n < NAMES_MAX && (e = readdir(stream))) {
        char path[PATH_MAX];
        int len = snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);

        if (name_valid(e->d_name) && len > 0 && (size_t)len < sizeof(path) && is_directory(path) && !known(names, e->d_name) && (names[n] = strdup(e->d_name)))
            n++;
    }
    if (stream)
        closedir(stream);
    return n;
}

int share_names(const char *kind, char ***ret, struct diag *d)
{
    char dir[PATH_MAX], **names = calloc(NAMES_MAX + 1, sizeof(*names));
    unsigned n = 0;

    if (!names)
        return diag_set(d, ENOMEM, "out of memory");
    for (unsigned i = 0; place(i, kind, dir, sizeof(dir)); i++)
        n = add_names(dir, names, n);
    qsort(names, n, sizeof(*names), compare_names);
    *ret = names;
    return (int)n;
}

void share_line(const char *kind, const char *name, char *buf, size_t size)
{
    char dir[PATH_MAX], path[PATH_MAX + 16], text[1024], *line;
    cleanup_fd int fd = -1;
    ssize_t n;

    *buf = '\0';
    if (share_find(kind, name, dir, sizeof(dir)) < 0)
        return;
    snprintf(path, sizeof(path), "%s/README.md", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return;
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    line = strstr(text, ": ");
    if (*text == '#' && line)
        snprintf(buf, size, "%s", line + 2);
    ctl_text_clean(buf);
}
