/*
 * What fnctl reads of a directory that somebody else wrote: funko.yml, stack.yml and serverless.yml, .fndignore, a template's request.txt.
 *
 * The first byte says which. Whatever another system's file has is a function.ini that its parser takes as it was meant: no key twice, no line that a value or a name has broken, and each variable with the value that it had.
 */
#include "../../runner/ctl/ctl.h"
#include "../../runner/ctl/project/foreign.h"
#include "../../runner/ctl/project/project.h"
#include "diag.h"
#include "fd.h"
#include "inifile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KIND_IGNORE = FOREIGN_COUNT, KIND_REQUEST, KIND_COUNT };

#define PICKS_MAX 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void broken(const char *what, const char *ini)
{
    dprintf(STDERR_FILENO, "%s\n%s", what, ini);
    abort();
}

/* The maps that say the variables of a function. */
struct variables {
    const struct ynode *maps[3];
};

static const char beside[] = "environment: {A: of the file, HANDLER_CONTRACT: x}\n";

static int read_beside(void *arg, const char *name, char *what, size_t size, struct ytree **ret, struct diag *d)
{
    if (*name == '/' || strcmp(name, "..") == 0 || strncmp(name, "../", 3) == 0 || strstr(name, "/../"))
        broken("a file above", name);
    snprintf(what, size, "%s", name);
    return *name == 'n' ? 0 : ytree_parse(what, beside, sizeof(beside) - 1, ret, d) < 0 ? -EINVAL : 1;
}

static int on_pair(void *arg, const char *section, const char *key, const char *value, unsigned line, struct diag *d)
{
    const struct variables *v = arg;
    const struct ynode *n = NULL;

    if (strcmp(section, "env") != 0)
        return 0;
    for (size_t i = 0; i < sizeof(v->maps) / sizeof(v->maps[0]) && !n; i++)
        n = ytree_get(v->maps[i], key);
    return n ? strcmp(n->text, value) == 0 ? 0 : -EINVAL : strcmp(key, "HANDLER_CONTRACT") == 0 ? 0 : -ENOENT;
}

static void convert(enum foreign_kind kind, const struct ytree *t, const char *pick)
{
    static const struct foreign_reader reader = {read_beside, NULL};
    const struct ynode *all = ytree_get(ytree_top(t), "functions"), *one, *named;
    struct ytree *file = NULL;
    struct foreign f;
    struct diag d = {0};

    if (foreign_convert(kind, "x", t, pick, &reader, &f, &d) < 0) {
        if (!*d.text)
            broken("refused without a word", "");
        return;
    }
    one = all && kind != FOREIGN_FUNKO ? ytree_get(all, f.function) : NULL;
    named = kind == FOREIGN_STACK ? ytree_get(one, "environment_file") : NULL;
    if (named && (*named->text || named->first) && ytree_parse("y", beside, sizeof(beside) - 1, &file, &d) < 0)
        broken(d.text, beside);
    if (f.ini.data) {
        struct variables v = {{file ? ytree_get(ytree_top(file), "environment") : NULL, ytree_get(one, "environment"), ytree_get(one, "environmentVariables")}};

        if (inifile_parse("function.ini", f.ini.data, f.ini.len, on_pair, &v, &d) < 0)
            broken(d.text, f.ini.data);
    }
    if (*f.directory == '/' || strstr(f.directory, ".."))
        for (const char *p = f.directory; *p; p += strcspn(p, "/"), p += *p == '/')
            if (p == f.directory ? *p == '/' || strcmp(p, "..") == 0 || strncmp(p, "../", 3) == 0 : strcmp(p, "..") == 0 || strncmp(p, "../", 3) == 0)
                broken("a directory above", f.directory);
    ytree_free(file);
    foreign_done(&f);
}

static void read_foreign(enum foreign_kind kind, const char *text, size_t len)
{
    struct ytree *t;
    struct diag d = {0};
    const char *name;

    if (ytree_parse("x", text, len, &t, &d) < 0) {
        if (!*d.text)
            broken("refused without a word", "");
        return;
    }
    convert(kind, t, NULL);
    convert(kind, t, "f");
    for (unsigned i = 0; i < PICKS_MAX && (name = foreign_name(kind, t, i)); i++)
        convert(kind, t, name);
    ytree_free(t);
}

/* Rules, and behind a NUL the paths that they are asked for, a line each. */
static void read_ignore(char *text, size_t len)
{
    size_t rules = strlen(text);
    struct ignore *g = NULL;
    struct diag d = {0};

    if (ignore_parse("x", text, true, &g, &d) < 0) {
        if (!*d.text)
            broken("refused without a word", "");
        return;
    }
    if (rules < len)
        for (char *next, *path = strtok_r(text + rules + 1, "\n", &next); path; path = strtok_r(NULL, "\n", &next)) {
            ignore_match(g, path, false);
            ignore_match(g, path, true);
        }
    ignore_free(g);
}

/* From a file of its own; what it says on standard error is a FILE's, which leads nowhere: the sanitizers write to the descriptor. */
static void read_request(const char *text, size_t len)
{
    cleanup_fd int fd = memfd_create("request", MFD_CLOEXEC);
    struct options o = {0};
    char path[64];

    if (fd < 0 || fd_write_all(fd, text, len) < 0)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    o.request_file = path;
    if (ctl_request_check(&o) == CTL_OK) {
        if (!o.method || !*o.method || strpbrk(o.method, "\r\n ") || !o.path || *o.path != '/' || strpbrk(o.path, "\r\n "))
            broken("a request line", o.method ? o.method : "");
        for (unsigned i = 0; i < o.headers.count; i++)
            if (strpbrk(o.headers.items[i], "\r\n"))
                broken("a header", o.headers.items[i]);
    }
    free(o.request_text);
    ctl_list_done(&o.headers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = NULL;
    static bool quiet;
    unsigned kind;

    if (size == 0)
        return 0;
    if (!quiet) {
        stderr = fopen("/dev/null", "we");
        quiet = true;
    }
    kind = *data++ % KIND_COUNT;
    size--;
    text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (kind == KIND_IGNORE)
        read_ignore(text, size);
    else if (kind == KIND_REQUEST)
        read_request(text, size);
    else
        read_foreign((enum foreign_kind)kind, text, size);
    return 0;
}
