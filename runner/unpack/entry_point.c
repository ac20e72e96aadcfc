/*
 * entry_point.c: the way to start of a package that says none: the only executable file at its root. Where there is none, the files that are there tell what their author may have meant: the message names the lines of
 * function.ini that would do. Names come from the archive, and are only ever shown.
 */
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FOUND_MAX 6 /* names in the message */

/* What a file is a sign of, the surest first. `lines` goes on with the file's name, without its suffix where `stem` says so, and what follows. */
static const struct {
    const char *suffix; /* a whole name where it does not begin with a dot */
    const char *runtime;
    const char *lines, *after;
    bool stem;
} signs[] = {
    {".py", "python", "handler = ", ".FUNCTION", true}, {".rb", "ruby", "handler = ", ".METHOD", true},
    {".js", "node", "handler = ", ".EXPORT", true},     {".mjs", "node", "handler = ", ".EXPORT", true},
    {".cjs", "node", "handler = ", ".EXPORT", true},    {".sh", "shell", "mode = stdio, command = ./", " (after chmod +x)", false},
    {"index.html", "static", "handler = .", "", true},
};
#define SIGNS (sizeof(signs) / sizeof(signs[0]))

struct found {
    char program[NAME_MAX + 2]; /* "/name" */
    char meant[NAME_MAX + 1];   /* by this file */
    size_t sign;                /* SIGNS: none */
    bool dockerfile;
    unsigned programs, names;
    struct strbuf list, program_list;
};

/* Of several the same whatever the order of the directory. */
static void found_sign(struct found *f, const char *name)
{
    const size_t len = strlen(name);

    for (size_t i = 0; i < SIGNS && i <= f->sign; i++) {
        const char *suffix = signs[i].suffix;
        const size_t n = strlen(suffix);

        if (len < n || strcmp(name + len - n, suffix) != 0 || (*suffix == '.' ? len == n : len != n))
            continue;
        if (i < f->sign || strcmp(name, f->meant) < 0)
            str_copy(f->meant, sizeof(f->meant), name);
        f->sign = i;
        return;
    }
}

static void found_add(struct found *f, const char *name, const struct stat *st)
{
    if (f->names++ < FOUND_MAX)
        strbuf_printf(&f->list, " %.36s%s", name, S_ISDIR(st->st_mode) ? "/" : "");
    if (!S_ISREG(st->st_mode))
        return;
    found_sign(f, name);
    if (strcmp(name, "Dockerfile") == 0)
        f->dockerfile = true;
    if (!(st->st_mode & 0111))
        return;
    if (f->programs++ < FOUND_MAX)
        strbuf_printf(&f->program_list, " %.36s", name);
    f->program[0] = '/';
    str_copy(f->program + 1, sizeof(f->program) - 1, name);
}

static int found_scan(int root_fd, struct found *f, struct diag *d)
{
    int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    struct stat st;

    if (!dir) {
        fd_close(fd);
        return diag_errno(d, errno, "reading the package's root");
    }
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            found_add(f, e->d_name, &st);
    closedir(dir);
    return 0;
}

static bool has_fprocess(const struct function_ini *f, const struct env_set *env)
{
    for (unsigned i = 0; i < env->count; i++)
        if (f->spec.mode == SPEC_MODE_HTTP && strncmp(env->items[i], "fprocess=", 9) == 0 && env->items[i][9])
            return true;
    return false;
}

/* What the user should do, appended to the message. */
static void remedy(const struct function_ini *f, const struct env_set *env, const struct found *found, struct strbuf *out)
{
    if (has_fprocess(f, env)) {
        strbuf_puts(out, "Set mode = stdio in [function]: the variable fprocess counts there alone");
        return;
    }
    strbuf_printf(out, "Set %s in [function]", *f->spec.runtime ? "handler or command" : "command");
    if (found->sign < SIGNS) {
        const size_t n = signs[found->sign].stem ? strlen(found->meant) - strlen(signs[found->sign].suffix) : strlen(found->meant);

        strbuf_printf(out, "; for %.60s: ", found->meant);
        if (!*f->spec.runtime)
            strbuf_printf(out, "runtime = %s, ", signs[found->sign].runtime);
        strbuf_printf(out, "%s%.*s%s", signs[found->sign].lines, n < 60 ? (int)n : 60, found->meant, signs[found->sign].after);
    } else if (found->dockerfile)
        strbuf_puts(out, "; of a Dockerfile: build the image elsewhere, and deploy what `podman save` or `docker save` writes");
    if (!f->is_there && !*f->spec.runtime)
        strbuf_puts(out, " (`fnctl new NAME --runtime R` makes all of it)");
}

int entry_point_find(int root_fd, const struct function_ini *f, const struct env_set *env, struct strbuf *words, struct diag *d)
{
    const char *none = !f->is_there       ? "there is no " UNPACK_INI
                       : *f->spec.runtime ? UNPACK_INI " has neither command nor handler"
                                          : UNPACK_INI " has no command";
    cleanup_strbuf struct strbuf help = {0};
    struct found found = {.sign = SIGNS};
    int r = found_scan(root_fd, &found, d);

    remedy(f, env, &found, &help);
    if (r == 0 && found.programs == 1)
        r = program_check(root_fd, found.program + 1, found.program + 1, d);
    if (r == 0 && found.programs == 1) {
        if (*f->spec.runtime)
            strbuf_puts(words, SPEC_APP);
        strbuf_add(words, found.program, strlen(found.program) + 1);
    } else if (r == 0 && found.programs == 0)
        r = diag_set(d, EINVAL, "no way to start: %s, and there is no executable file at the package's root, only:%s%s. %s", none,
                     found.list.data ? found.list.data : " nothing", found.names > FOUND_MAX ? " ..." : "", help.data ? help.data : "");
    else if (r == 0)
        r = diag_set(d, EINVAL, "no single way to start: %s, and the package's root has %u executable files:%s%s. %s", none, found.programs,
                     found.program_list.data ? found.program_list.data : "", found.programs > FOUND_MAX ? " ..." : "", help.data ? help.data : "");
    strbuf_done(&found.list);
    strbuf_done(&found.program_list);
    return r;
}
