/* verb_deploy.c: `fnctl deploy`: a directory, an archive or a sample as a new version. What a directory's dependencies need is built by the same daemon first. */
#include "ctl_private.h"
#include "project/project.h"

#include "fd.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int print(struct ctl *ctl, const json_t *fn)
{
    struct strbuf out cleanup_strbuf = {0};
    char size[TEXT_MAX];

    if (ctl->o->json)
        return ctl_print_json(ctl, fn);
    strbuf_printf(&out, "%s version %" PRIu64 " is ready (%s): %s\n", ctl_json_text(fn, "name", "?"), ctl_json_uint(fn, "version"),
                  ctl_text_size(ctl_json_uint(fn, "image_bytes"), size), ctl_json_text(fn, "url", "-"));
    ctl_text_clean(out.data);
    return ctl_flush(ctl, &out);
}

/* A signal must not leave the builder on the server. */
static int body_of_builder(struct ctl *ctl, const struct project *p, const char *why, struct body *b)
{
    cleanup_fd int signals = -1;
    sigset_t before;
    int r;

    sigprocmask(SIG_BLOCK, NULL, &before);
    r = ctl_signals_watch(ctl, &signals) < 0 ? ctl_fail(CTL_FAILED, "signalfd: %s", strerror(errno)) : builder_body(ctl, p, why, NULL, b);
    ctl_unwatch(ctl, signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

/* Which runtime an archive names is known when the daemon has read it: one that nobody has is ours to explain. */
static int send_package(struct ctl *ctl, struct body *b, json_t **ret)
{
    char missing[NAME_PART_MAX + 1];
    int r = ctl_deploy_asking(ctl, b, runtimes_unheard_of, missing, ret);

    if (!*missing)
        return r;
    r = runtimes_ask(ctl, missing);
    return r == CTL_OK ? ctl_fail(CTL_FAILED, "runtime %s is not here (fnctl runtime ls)", missing) : r;
}

static int deploy(struct ctl *ctl, const struct project *p)
{
    json_t *fn cleanup_json = NULL;
    const char *why = needs_builder(p);
    struct progress bar;
    struct diag d = {0};
    struct body b;
    int r = runtimes_ask(ctl, runtimes_of(ctl, p));

    if (r != CTL_OK)
        return r;
    ctl_body_init(&b);
    progress_begin(&bar, "sending");
    if (why)
        r = body_of_builder(ctl, p, why, &b);
    else if (project_open(p, &(struct pack_options){.on_bytes = progress_bytes, .arg = &bar}, &b, &d) < 0)
        r = ctl_fail_diag(CTL_FAILED, &d);
    if (r == CTL_OK)
        r = send_package(ctl, &b, &fn);
    progress_end(&bar);
    ctl_body_done(&b);
    return r == CTL_OK ? print(ctl, fn) : r;
}

/* Which function of another system's file is meant by --name: its name without the environment. */
static const char *picked(const char *name, char *buf, size_t size)
{
    if (!name)
        return NULL;
    snprintf(buf, size, "%.*s", (int)strcspn(name, "."), name);
    return buf;
}

/* pick: a function of another system's file, NULL for what there is. */
static int load_and_deploy(struct ctl *ctl, const struct source *source, const char *pick)
{
    const char *name = ctl->o->name;
    struct project project = {0};
    char buf[NAME_FUNCTION_MAX + 1];
    struct diag d = {0};
    int r = CTL_OK;

    if (project_load(source, ctl->o->print_ini ? PROJECT_UNCHECKED : PROJECT_MADE, pick ? pick : picked(name, buf, sizeof(buf)), &project, &d) < 0) {
        r = ctl_fail_diag(CTL_FAILED, &d);
    } else {
        project_print_notes(&project);
        if (!name && *project.name)
            ctl->o->name = project.name;
        if (ctl->o->print_ini)
            r = ctl_puts(ctl, project.ini ? project.ini : "") < 0 ? CTL_FAILED : CTL_OK;
        else
            r = deploy(ctl, &project);
        ctl->o->name = name;
    }
    project_done(&project);
    return r;
}

/* Each function that another system's file has; the first that fails ends it. */
static int deploy_all(struct ctl *ctl, const struct source *source)
{
    char **names = NULL;
    struct diag d = {0};
    int n = project_names(source, &names, &d), r = CTL_OK;

    if (n < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    if (n == 0)
        r = ctl_fail(CTL_USAGE, "--all: %s has no stack.yml or serverless.yml with several functions", source->path);
    for (int i = 0; i < n && r == CTL_OK; i++)
        r = load_and_deploy(ctl, source, names[i]);
    share_names_free(names);
    return r;
}

int verb_deploy(struct ctl *ctl, const struct text_list *args)
{
    struct source source;
    struct diag d = {0};
    int r = ctl_deploy_check(ctl->o);

    if (r != CTL_OK)
        return r;
    if (ctl_source_find(args->items[0], &source, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    if (ctl->o->all && ctl->o->name)
        return ctl_fail(CTL_USAGE, "--all and --name: one of them says which functions");
    if (ctl->o->print_ini && source.kind != SOURCE_DIRECTORY)
        return ctl_fail(CTL_USAGE, "--print-ini: %s is no directory", source.path);
    return ctl->o->all ? deploy_all(ctl, &source) : load_and_deploy(ctl, &source, NULL);
}
