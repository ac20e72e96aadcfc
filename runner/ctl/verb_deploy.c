#include "project/project.h"

#include <inttypes.h>

int verb_deploy(struct ctl *ctl, const struct text_list *args)
{
    struct diag d = {0};
    struct project project = {0};
    struct source source;
    struct body b;
    json_t *fn cleanup_json = NULL;
    struct strbuf out cleanup_strbuf = {0};
    char size[TEXT_MAX];
    int r = ctl_deploy_check(ctl->o);

    if (r != CTL_OK)
        return r;
    ctl_body_init(&b);
    if (ctl_source_find(args->items[0], &source, &d) < 0 || project_load(&source, false, &project, &d) < 0 ||
        project_open(&project, &(struct pack_options){0}, &b, &d) < 0) {
        project_done(&project);
        return ctl_fail_diag(CTL_FAILED, &d);
    }
    if (!ctl->o->name && *project.name)
        ctl->o->name = project.name;
    r = ctl_deploy(ctl, &b, &fn);
    ctl_body_done(&b);
    project_done(&project);
    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, fn);
    strbuf_printf(&out, "%s version %" PRIu64 " is ready (%s): %s\n", ctl_json_text(fn, "name", "?"), ctl_json_uint(fn, "version"),
                  ctl_text_size(ctl_json_uint(fn, "image_bytes"), size), ctl_json_text(fn, "url", "-"));
    ctl_text_clean(out.data);
    return ctl_flush(ctl, &out);
}
