/* ctl_source.c: what the argument of `run` and `deploy` means. */
#include "project/project.h"

#include "project/foreign.h"

#include "fd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAR_BLOCK     512
#define TAR_SUM_AT    148
#define TAR_SUM_LEN   8
#define SAMPLE_SUFFIX ".tar.gz"
#define SAMPLES_SHOWN 16
#define INI_MAX       262144

int ctl_exe_dir(char *buf, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", buf, size - 1);
    char *slash;

    if (n < 0)
        return -errno;
    buf[n] = '\0';
    slash = strrchr(buf, '/');
    if (!slash)
        return -ENOENT;
    *slash = '\0';
    return 0;
}

/* The header's checksum (tar(5)): covers archives of every age. A block of zeros is an empty archive's end. */
static bool is_tar(const unsigned char *block)
{
    unsigned sum = 0, stored = 0, i = TAR_SUM_AT;

    for (unsigned k = 0; k < TAR_BLOCK; k++)
        sum += k >= TAR_SUM_AT && k < TAR_SUM_AT + TAR_SUM_LEN ? ' ' : block[k];
    while (i < TAR_SUM_AT + TAR_SUM_LEN && block[i] == ' ')
        i++;
    for (; i < TAR_SUM_AT + TAR_SUM_LEN && block[i] >= '0' && block[i] <= '7'; i++)
        stored = stored * 8 + (block[i] - '0');
    return block[0] && sum == stored;
}

bool ctl_source_is_archive(const char *path)
{
    static const struct {
        const char *bytes;
        unsigned len;
    } magics[] = {{"\x1f\x8b", 2},
                  {"\xfd"
                   "7zXZ\0",
                   6},
                  {"\x28\xb5\x2f\xfd", 4},
                  {"PK\3\4", 4}};
    unsigned char head[TAR_BLOCK];
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* never waits for a FIFO's writer */
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    n = pread(fd, head, sizeof(head), 0);
    for (size_t i = 0; i < CTL_COUNT(magics); i++)
        if (n >= (ssize_t)magics[i].len && memcmp(head, magics[i].bytes, magics[i].len) == 0)
            return true;
    return n == TAR_BLOCK && is_tar(head);
}

static int take(struct source *ret, enum source_kind kind, const char *path, struct diag *d)
{
    struct source s = {.kind = kind};

    if (str_copy(s.path, sizeof(s.path), path) < 0)
        return diag_set(d, ENAMETOOLONG, "%.80s...: the path is too long", path);
    *ret = s;
    return 0;
}

static int find_path(const char *path, struct source *ret, struct diag *d)
{
    struct stat st;

    if (stat(path, &st) < 0 && errno == ENOENT && strstr(path, "://"))
        return diag_set(d, ENOENT, "%.200s: what is elsewhere is fetched by skopeo: fnctl import %.200s", path, path);
    if (stat(path, &st) < 0)
        return diag_errno(d, errno, "%s", path);
    if (S_ISDIR(st.st_mode))
        return take(ret, SOURCE_DIRECTORY, path, d);
    if (!S_ISREG(st.st_mode))
        return diag_set(d, EINVAL, "%s: is neither a directory nor a file", path);
    if (access(path, R_OK) < 0)
        return diag_errno(d, errno, "%s", path);
    if (!ctl_source_is_archive(path))
        return diag_set(d, EINVAL, "%s: is no archive: a directory, a tar, plain or compressed by gzip, xz or zstd, or a zip is needed", path);
    return take(ret, SOURCE_ARCHIVE, path, d);
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

    return n > 0 && (size_t)n < sizeof(path) && is_file(path);
}

static bool is_function_directory(const char *name)
{
    for (size_t i = 0; i < FOREIGN_COUNT; i++)
        for (const char *const *file = foreign_files[i]; *file; file++)
            if (has_file(name, *file))
                return true;
    return has_file(name, "function.ini") || has_file(name, "oci-layout");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A packed one, or the directory of an example. */
static int find_sample(const char *name, const char *const *places, size_t count, struct source *ret)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < count && name_valid(name); i++) {
        int n = snprintf(path, sizeof(path), "%s/%s" SAMPLE_SUFFIX, places[i], name);

        if (n > 0 && (size_t)n < sizeof(path) && is_file(path))
            return take(ret, SOURCE_ARCHIVE, path, NULL);
    }
    return share_find(SHARE_EXAMPLES, name, path, sizeof(path)) < 0 ? -ENOENT : take(ret, SOURCE_DIRECTORY, path, NULL);
}

/* " (samples: busybox hello)", so that a slip of the pen is seen. */
static void list_samples(const char *const *places, size_t count, struct strbuf *out)
{
    const char *names[SAMPLES_SHOWN];
    struct dirent *entry;
    unsigned n = 0;

    for (size_t i = 0; i < count; i++) {
        DIR *dir = opendir(places[i]);

        while (dir && n < SAMPLES_SHOWN && (entry = readdir(dir))) {
            char *copy = str_ends_with(entry->d_name, SAMPLE_SUFFIX) ? strndup(entry->d_name, strlen(entry->d_name) - strlen(SAMPLE_SUFFIX)) : NULL;

            if (copy)
                names[n++] = copy;
        }
        if (dir)
            closedir(dir);
    }
    qsort(names, n, sizeof(names[0]), compare_names);
    for (unsigned i = 0; i < n; i++) {
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            strbuf_printf(out, "%s%s", out->len ? " " : " (samples: ", names[i]);
    }
    if (out->len)
        strbuf_puts(out, ")");
    while (n > 0)
        free((char *)names[--n]);
}

int ctl_source_find_in(const char *arg, const char *samples, const char *share, struct source *ret, struct diag *d)
{
    const char *const places[] = {samples, share};
    struct strbuf known cleanup_strbuf = {0};

    if (!*arg)
        return diag_set(d, EINVAL, "an empty name: a directory, an archive or a sample is needed");
    if (strncmp(arg, SAMPLE_PREFIX, strlen(SAMPLE_PREFIX)) == 0) {
        if (find_sample(arg + strlen(SAMPLE_PREFIX), places, CTL_COUNT(places), ret) == 0)
            return 0;
        return diag_set(d, ENOENT, "%.60s: there is no such sample in %s or %s: fnctl new --list names them", arg, samples, share);
    }
    if (strchr(arg, '/') || strcmp(arg, ".") == 0 || strcmp(arg, "..") == 0)
        return find_path(arg, ret, d);
    if (is_function_directory(arg))
        return take(ret, SOURCE_DIRECTORY, arg, d);
    if (ctl_source_is_archive(arg))
        return take(ret, SOURCE_ARCHIVE, arg, d);
    if (find_sample(arg, places, CTL_COUNT(places), ret) == 0)
        return 0;
    list_samples(places, CTL_COUNT(places), &known);
    return diag_set(d, ENOENT,
                    "%.60s: there is neither %.60s/function.ini nor an archive %.60s in this directory, nor a sample %.60s" SAMPLE_SUFFIX
                    " in %s or %s%s; a path has a '/' (./%.60s), and fnctl new --list names all samples",
                    arg, arg, arg, arg, samples, share, known.data ? known.data : "", arg);
}

int ctl_source_find(const char *arg, struct source *ret, struct diag *d)
{
    char dir[PATH_MAX];
    int r = ctl_exe_dir(dir, sizeof(dir));

    if (r < 0)
        return diag_errno(d, -r, "/proc/self/exe");
    return ctl_source_find_in(arg, dir, FND_SHARE, ret, d);
}

int ctl_source_find_tree(const char *arg, struct source *ret, struct diag *d)
{
    struct stat st;

    return stat(arg, &st) == 0 && S_ISDIR(st.st_mode) ? find_path(arg, ret, d) : ctl_source_find(arg, ret, d);
}

static bool is_layout(const char *path)
{
    return has_file(path, "oci-layout") && !has_file(path, "function.ini");
}

int ctl_source_open(const struct source *s, struct body *b, struct diag *d)
{
    int r = s->kind == SOURCE_ARCHIVE ? ctl_body_file(b, s->path, d)
            : is_layout(s->path)      ? ctl_image_directory(b, s->path, d)
                                      : ctl_pack_directory(b, s->path, d);

    if (r == 0 && s->kind == SOURCE_ARCHIVE) {
        ctl_body_image(b);
        b->name = s->path;
    }
    return r;
}

/* Does a line of [function] begin with "name ="? Whether it is well-formed is judged in the jail. */
static bool names_itself(const char *ini)
{
    bool in_function = false;

    for (const char *line = ini; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *p = line + strspn(line, " \t");

        if (*p == '[')
            in_function = strncmp(p, "[function]", 10) == 0;
        else if (in_function && strncmp(p, "name", 4) == 0 && p[4 + strspn(p + 4, " \t")] == '=')
            return true;
    }
    return false;
}

/* What is no part of a name becomes '-'. */
static bool make_name(const char *path, char *buf)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t n = 0;

    for (; *base && n < NAME_PART_MAX; base++)
        if (isalnum((unsigned char)*base) || n > 0)
            buf[n++] = isalnum((unsigned char)*base) || *base == '_' ? *base : '-';
    while (n > 0 && !isalnum((unsigned char)buf[n - 1]))
        n--;
    buf[n] = '\0';
    return n > 0;
}

bool ctl_source_name(const struct source *s, char *buf)
{
    cleanup_fd int fd = -1;
    cleanup_free char *ini = NULL, *path = NULL;

    if (s->kind != SOURCE_DIRECTORY)
        return false;
    fd = beneath_file(s->path, s->said, "function.ini");
    if (fd >= 0 && (fd_read_all(fd, INI_MAX, &ini) < 0 || names_itself(ini)))
        return false;
    path = realpath(s->path, NULL);
    return path && make_name(path, buf);
}
