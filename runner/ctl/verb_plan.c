#include "ctl.h"

#include "api.h"

#include <stdio.h>

int verb_plan(struct ctl *ctl, const struct text_list *args)
{
    char fn[NAME_FUNCTION_MAX + 1], target[512];
    struct api_call c = {.method = "GET", .target = target};
    int r = ctl_api_function(args->items[0], fn);

    if (r != CTL_OK)
        return r;
    snprintf(target, sizeof(target), API_PREFIX "/functions/%s/plan", fn);
    r = ctl_api_perform(ctl, &c);
    if (r == CTL_OK && c.answer.len) {
        ctl_text_clean(c.answer.data);
        r = ctl_flush(ctl, &c.answer);
    }
    ctl_api_call_done(&c);
    return r;
}
