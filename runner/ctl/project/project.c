/* project.c: what a directory says about itself before it is sent: its function.ini, and what is no part of it. */
#include "project.h"

#include "foreign.h"

#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INI_BYTES_MAX 262144 /* the jail's limit */

/* What function.ini's messages begin with ("function.ini:3: ...") stands in a directory. */
static int in_directory(const struct project *p, struct diag *d)
{
    struct diag said = *d;

    if (p->converted)
        return diag_set(d, said.err ? said.err : EINVAL, "%s: what was made of another system's file (fnctl deploy --print-ini shows it): %s", p->source.path,
                        said.text);
    return diag_set(d, said.err ? said.err : EINVAL, "%s/%s", p->source.path, said.text);
}

static int read_ini(struct project *p, struct diag *d)
{
    char path[PATH_MAX + 16];
    cleanup_fd int fd = -1;
    ssize_t n;

    snprintf(path, sizeof(path), "%s/function.ini", p->source.path);
    fd = beneath_file(p->source.path, p->source.said, "function.ini");
    if (fd < 0)
        return fd == -ENOENT ? 0 : beneath_refuse(-fd, path, d);
    n = fd_read_all(fd, INI_BYTES_MAX, &p->ini);
    if (n < 0)
        return diag_errno(d, (int)-n, "%s", path);
    if (n > 0 && memchr(p->ini, '\0', (size_t)n))
        return diag_set(d, EINVAL, "%s: is no text", path);
    return 0;
}

static int parse_foreign(const char *dir, const char *name, char *what, size_t size, struct ytree **ret, struct diag *d)
{
    cleanup_free char *text = NULL;
    cleanup_fd int fd = beneath_file(dir, 0, name);
    ssize_t n;

    if (fd == -ENOENT)
        return 0;
    snprintf(what, size, "%s/%s", dir, name);
    if (fd < 0)
        return beneath_refuse(-fd, what, d);
    n = fd_read_all(fd, YTREE_BYTES_MAX, &text);
    if (n < 0)
        return diag_errno(d, (int)-n, "%s", what);
    return ytree_parse(what, text ? text : "", (size_t)n, ret, d) < 0 ? -EINVAL : 1;
}

static int read_beside(void *arg, const char *name, char *what, size_t size, struct ytree **ret, struct diag *d)
{
    return parse_foreign(arg, name, what, size, ret, d);
}

static bool is_stack(const struct ytree *t)
{
    const struct ynode *name = ytree_get(ytree_get(ytree_top(t), "provider"), "name");

    return name && name->kind == YTREE_TEXT && (strcmp(name->text, "openfaas") == 0 || strcmp(name->text, "faas") == 0) && ytree_get(ytree_top(t), "functions");
}

/* `faas-cli new NAME` writes NAME.yml: the one file of the directory that says it is OpenFaaS', by whatever name. What cannot be read is something else. */
static int find_stack(const char *dir, char *what, size_t size, struct ytree **ret, struct diag *d)
{
    DIR *all = opendir(dir);
    const struct dirent *e;
    int r = 0;

    while (all && r >= 0 && (e = readdir(all))) {
        char path[PATH_MAX + 32];
        struct ytree *t = NULL;
        struct diag ignored = {0};

        if (*e->d_name == '.' || (!str_ends_with(e->d_name, ".yml") && !str_ends_with(e->d_name, ".yaml")) ||
            parse_foreign(dir, e->d_name, path, sizeof(path), &t, &ignored) <= 0)
            continue;
        if (!is_stack(t)) {
            ytree_free(t);
        } else if (*ret) {
            ytree_free(t);
            r = diag_set(d, EINVAL, "%s and %s are both OpenFaaS': name the one that is meant stack.yml", what, path);
        } else {
            *ret = t;
            str_copy(what, size, path);
            r = 1;
        }
    }
    if (all)
        closedir(all);
    if (r < 0) {
        ytree_free(*ret);
        *ret = NULL;
    }
    return r;
}

/* The file of another system that lies in the directory: its tree, and which it is; 0 where there is none. */
static int read_foreign(const char *dir, char *what, size_t size, enum foreign_kind *ret_kind, struct ytree **ret, struct diag *d)
{
    for (unsigned i = 0; i < FOREIGN_COUNT * CTL_COUNT(foreign_files[0]); i++) {
        const char *name = foreign_files[i / CTL_COUNT(foreign_files[0])][i % CTL_COUNT(foreign_files[0])];
        int r = name ? parse_foreign(dir, name, what, size, ret, d) : 0;

        *ret_kind = (enum foreign_kind)(i / CTL_COUNT(foreign_files[0]));
        if (r != 0)
            return r;
    }
    *ret_kind = FOREIGN_STACK;
    return find_stack(dir, what, size, ret, d);
}

/* To where the code lies, as the file `what` says. */
static int enter(struct project *p, const char *directory, const char *what, struct diag *d)
{
    size_t len = strlen(p->source.path);
    cleanup_fd int fd = -1;

    if ((size_t)snprintf(p->source.path + len, sizeof(p->source.path) - len, "/%s", directory) >= sizeof(p->source.path) - len)
        return diag_set(d, ENAMETOOLONG, "%s: the path is too long", directory);
    p->source.said = len;
    fd = beneath_dir(p->source.path, len);
    if (fd == -ENOENT)
        return diag_set(d, ENOENT, "%s: %s is not there", what, p->source.path);
    return fd < 0 ? beneath_refuse(-fd, p->source.path, d) : 0;
}

/* A function.ini in memory, where another system's file says what the function is; its code may lie in a directory below. */
static int convert(struct project *p, const char *pick, struct diag *d)
{
    char what[PATH_MAX + 32];
    struct ytree *tree = NULL;
    enum foreign_kind kind = FOREIGN_FUNKO;
    struct foreign f = {0};
    const struct foreign_reader reader = {read_beside, p->source.path};
    int r = read_foreign(p->source.path, what, sizeof(what), &kind, &tree, d);

    if (r <= 0)
        return r;
    r = foreign_convert(kind, what, tree, pick, &reader, &f, d);
    ytree_free(tree);
    if (r < 0)
        return r;
    p->ini = take_ptr(f.ini.data);
    p->notes = take_ptr(f.notes.data);
    p->converted = true;
    if (!p->ini)
        p->ini = strdup("");
    r = p->ini ? 0 : diag_set(d, ENOMEM, "out of memory");
    if (r == 0 && *f.directory)
        r = enter(p, f.directory, what, d);
    foreign_done(&f);
    return r;
}

int project_names(const struct source *s, char ***ret, struct diag *d)
{
    char what[PATH_MAX + 32], **names;
    struct ytree *tree = NULL;
    enum foreign_kind kind = FOREIGN_FUNKO;
    int n = 0, r = s->kind == SOURCE_DIRECTORY ? read_foreign(s->path, what, sizeof(what), &kind, &tree, d) : 0;

    if (r < 0)
        return r;
    while (r > 0 && foreign_name(kind, tree, (unsigned)n))
        n++;
    names = calloc((size_t)n + 1, sizeof(*names));
    for (int i = 0; names && i < n; i++)
        names[i] = strdup(foreign_name(kind, tree, (unsigned)i));
    ytree_free(tree);
    *ret = names;
    return names ? n : diag_set(d, ENOMEM, "out of memory");
}

static int judge_ini(struct project *p, bool check, struct diag *d)
{
    size_t len = strlen(p->ini);
    int r = check ? function_facts_check(p->ini, len, d) : 0;

    if (r == 0)
        r = function_facts_read(p->ini, len, &p->facts, d);
    return r < 0 ? in_directory(p, d) : 0;
}

int project_load(const struct source *s, enum project_check check, const char *pick, struct project *p, struct diag *d)
{
    int r;

    *p = (struct project){.source = *s};
    if (s->kind != SOURCE_DIRECTORY)
        return 0;
    r = read_ini(p, d);
    if (r == 0 && !p->ini)
        r = convert(p, pick, d);
    if (r == 0 && p->ini)
        r = judge_ini(p, check == PROJECT_CHECKED || (check == PROJECT_MADE && p->converted), d);
    if (r == 0)
        r = ignore_read(&p->source, *p->facts.runtime, &p->ignore, d);
    if (r == 0 && !*p->facts.name && !ctl_source_name(s, p->name))
        *p->name = '\0';
    return r;
}

void project_done(struct project *p)
{
    free(p->ini);
    free(p->notes);
    ignore_free(p->ignore);
    dirwatch_close(p->watch);
    *p = (struct project){0};
}

int project_open(const struct project *p, const struct pack_options *o, struct body *b, struct diag *d)
{
    struct pack_options mine = *o;

    if (p->source.kind != SOURCE_DIRECTORY)
        return ctl_source_open(&p->source, b, d);
    mine.ignore = p->ignore;
    mine.said = p->source.said;
    mine.ini = p->converted ? p->ini : NULL;
    mine.uniform |= *p->facts.runtime != '\0'; /* code has no owners */
    return ctl_pack_with(b, p->source.path, &mine, d);
}

void project_print_notes(const struct project *p)
{
    for (char *line = p->notes; line && *line;) {
        size_t len = strcspn(line, "\n");

        ctl_fail(0, "%.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
}
