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
    r = ctl_signals_watch(ctl, &signals) < 0 ? ctl_fail(CTL_FAILED, "signalfd: %s", strerror(errno)) : builder_body(ctl, p, why, b);
    ctl_unwatch(ctl, signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

static int deploy(struct ctl *ctl, const struct project *p)
{
    json_t *fn cleanup_json = NULL;
    const char *why = needs_builder(p);
    struct progress bar;
    struct diag d = {0};
    struct body b;
    int r = CTL_OK;

    ctl_body_init(&b);
    progress_begin(&bar, "sending");
    if (why)
        r = body_of_builder(ctl, p, why, &b);
    else if (project_open(p, &(struct pack_options){.on_bytes = progress_bytes, .arg = &bar}, &b, &d) < 0)
        r = ctl_fail_diag(CTL_FAILED, &d);
    if (r == CTL_OK)
        r = ctl_deploy(ctl, &b, &fn);
    progress_end(&bar);
    ctl_body_done(&b);
    return r == CTL_OK ? print(ctl, fn) : r;
}

int verb_deploy(struct ctl *ctl, const struct text_list *args)
{
    struct project project = {0};
    struct source source;
    struct diag d = {0};
    int r = ctl_deploy_check(ctl->o);

    if (r != CTL_OK)
        return r;
    if (ctl_source_find(args->items[0], &source, &d) < 0 || project_load(&source, false, &project, &d) < 0) {
        r = ctl_fail_diag(CTL_FAILED, &d);
    } else {
        if (!ctl->o->name && *project.name)
            ctl->o->name = project.name;
        r = deploy(ctl, &project);
    }
    project_done(&project);
    return r;
}
