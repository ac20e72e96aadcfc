/* verb_new.c: `fnctl new`: a function to begin with, and what there is to begin with. Needs no daemon. */
#include "project/project.h"

#include "fd.h"
#include "function_facts.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Samples that are no directory of examples/. */
static const struct {
    const char *name, *line;
} packed[] = {
    {"busybox", "a shell, the usual commands and a web server for /www"},
    {"hello", "a small HTTP server in C: /, /ping, /echo, /env"},
};

/* By the runtime that the template's function.ini names, which may be none. */
static const char *state_of(const json_t *runtimes, const char *template)
{
    char dir[PATH_MAX], path[PATH_MAX + 16], text[4096];
    struct function_facts facts;
    ssize_t n = -1;

    if (share_find(SHARE_TEMPLATES, template, dir, sizeof(dir)) == 0) {
        snprintf(path, sizeof(path), "%s/function.ini", dir);
        n = fd_read_file(AT_FDCWD, path, text, sizeof(text));
    }
    if (n < 0 || function_facts_read(text, (size_t)n, &facts, NULL) < 0)
        return "?";
    if (!*facts.runtime)
        return "needs none";
    return !runtimes ? "-" : runtimes_has(runtimes, facts.runtime) ? "yes" : "no";
}

static void list_templates(const json_t *runtimes, char **names, struct table *t)
{
    for (; *names; names++) {
        char line[SHARE_LINE_MAX];

        share_line(SHARE_TEMPLATES, *names, line, sizeof(line));
        ctl_table_cell(t, "%s", *names);
        ctl_table_cell(t, "%s", state_of(runtimes, *names));
        ctl_table_cell(t, "%s", line);
    }
}

static void list_samples(char **names, struct table *t)
{
    for (size_t i = 0; i < CTL_COUNT(packed); i++) {
        ctl_table_cell(t, "sample:%s", packed[i].name);
        ctl_table_cell(t, "%s", packed[i].line);
    }
    for (; *names; names++) {
        char line[SHARE_LINE_MAX];

        share_line(SHARE_EXAMPLES, *names, line, sizeof(line));
        ctl_table_cell(t, "sample:%s", *names);
        ctl_table_cell(t, "%s", line);
    }
}

static int list(struct ctl *ctl)
{
    static const char *const runtime_heads[] = {"RUNTIME", "BUILT", "WHAT"}, *const sample_heads[] = {"SAMPLE", "WHAT"};
    struct strbuf out cleanup_strbuf = {0};
    char **templates = NULL, **examples = NULL;
    json_t *runtimes cleanup_json = runtimes_list(ctl);
    struct table a, b;
    struct diag d = {0};
    int r;

    if (share_names(SHARE_TEMPLATES, &templates, &d) < 0 || share_names(SHARE_EXAMPLES, &examples, &d) < 0) {
        share_names_free(templates);
        return ctl_fail_diag(CTL_FAILED, &d);
    }
    ctl_table_init(&a, runtime_heads, CTL_COUNT(runtime_heads));
    ctl_table_init(&b, sample_heads, CTL_COUNT(sample_heads));
    list_templates(runtimes, templates, &a);
    list_samples(examples, &b);
    ctl_table_format(&a, &out);
    strbuf_puts(&out, "\n");
    ctl_table_format(&b, &out);
    r = a.failed || b.failed ? ctl_fail(CTL_FAILED, "out of memory") : ctl_flush(ctl, &out);
    ctl_table_done(&a);
    ctl_table_done(&b);
    share_names_free(templates);
    share_names_free(examples);
    return r;
}

static int fail_template(const char *runtime)
{
    struct strbuf known cleanup_strbuf = {0};
    char **names = NULL;
    struct diag d = {0};

    if (share_names(SHARE_TEMPLATES, &names, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    for (unsigned i = 0; names[i]; i++)
        strbuf_printf(&known, " %s", names[i]);
    share_names_free(names);
    if (!runtime)
        return ctl_fail(CTL_USAGE, "new: say --runtime R, one of:%s (fnctl new --list)", known.data ? known.data : " none");
    return ctl_fail(CTL_NOT_FOUND, "--runtime %.60s: there is no template of that name; there are:%s (fnctl new --list)", runtime,
                    known.data ? known.data : " none");
}

int verb_new(struct ctl *ctl, const struct text_list *args)
{
    struct strbuf out cleanup_strbuf = {0};
    const char *path, *name;
    char from[PATH_MAX];
    struct diag d = {0};

    if (ctl->o->list)
        return args->count ? ctl_fail(CTL_USAGE, "new --list: takes no name") : list(ctl);
    if (args->count == 0)
        return ctl_fail(CTL_USAGE, "new: a name is needed (or --list)");
    path = args->items[0];
    name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (!name_valid(name))
        return ctl_fail(CTL_USAGE, "new: \"%.60s\" is no name: use letters, digits, '-' and '_', beginning and ending with a letter or digit, at most %d", name,
                        NAME_PART_MAX);
    if (!ctl->o->runtime || share_find(SHARE_TEMPLATES, ctl->o->runtime, from, sizeof(from)) < 0)
        return fail_template(ctl->o->runtime);
    if (template_copy(from, path, name, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    strbuf_printf(&out, "%s is a function; %s/README.md says what is where. Try it: sudo fnctl run %s%s\n", path, path, strchr(path, '/') ? "" : "./", path);
    return ctl_flush(ctl, &out);
}
