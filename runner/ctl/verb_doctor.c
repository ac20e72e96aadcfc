#include "ctl_check.h"
#include "ctl_private.h"

#include <stdio.h>
#include <unistd.h>

static int print_text(struct ctl *ctl, const struct check *c, const struct check_result *r)
{
    struct strbuf out cleanup_strbuf = {0};

    if (r->diag.err)
        strbuf_printf(&out, "%-5s %-20s %s\n      %-20s %s\n", c->flags & CHECK_OPTIONAL ? "warn" : "FAIL", c->name, r->diag.text, "  remedy:", c->remedy);
    else
        strbuf_printf(&out, "ok    %-20s %s\n", c->name, r->detail);
    if (!out.failed)
        ctl_text_clean(out.data);
    return ctl_flush(ctl, &out); /* line by line: an attempt may take a while */
}

static int add_json(json_t *list, const struct check *c, const struct check_result *r)
{
    bool ok = r->diag.err == 0;

    return json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:s, s:s*}", "name", c->name, "ok", ok, "optional", (c->flags & CHECK_OPTIONAL) != 0,
                                                 "detail", ok ? r->detail : r->diag.text, "remedy", ok ? NULL : c->remedy));
}

int verb_doctor(struct ctl *ctl, const struct text_list *args)
{
    json_t *all cleanup_json = json_pack("{s:[]}", "checks");
    struct check_env env;
    unsigned failed = 0;

    if (geteuid() != 0)
        return ctl_fail(CTL_DENIED, "doctor: what it tries takes root: sudo fnctl doctor");
    if (ctl->o->state && *ctl->o->state != '/')
        return ctl_fail(CTL_USAGE, "--state %.80s: an absolute path is needed", ctl->o->state);
    if (ctl->o->self_test && ctl->o->state)
        return ctl_fail(CTL_USAGE, "doctor: --state is not for --self-test, whose daemon has a directory of its own");
    if (ctl->o->self_test)
        return ctl_self_test(ctl);
    ctl_check_prepare(&env, ctl->o->state);
    for (const struct check *c = ctl_checks; c->name; c++) {
        struct check_result result;

        ctl_check_run(c, &env, &result);
        failed += result.diag.err != 0 && !(c->flags & CHECK_OPTIONAL);
        if (ctl->o->json)
            add_json(json_object_get(all, "checks"), c, &result);
        else if (print_text(ctl, c, &result) != CTL_OK)
            return CTL_FAILED;
    }
    if (ctl->o->json && ctl_print_json(ctl, all) != CTL_OK)
        return CTL_FAILED;
    if (failed)
        return ctl_fail(CTL_FAILED, "doctor: %u of the attempts failed", failed);
    return CTL_OK;
}
