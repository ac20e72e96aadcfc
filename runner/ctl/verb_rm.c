#include "ctl.h"

#include "api.h"

#include <jansson.h>
#include <stdio.h>

int verb_rm(struct ctl *ctl, const struct text_list *args)
{
    char fn[NAME_FUNCTION_MAX + 1], target[512];
    int r = ctl_api_function(args->items[0], fn);
    json_t *answer = NULL;
    json_int_t kept;

    if (r != CTL_OK)
        return r;
    snprintf(target, sizeof(target), API_PREFIX "/functions/%s%s", fn, ctl->o->volumes ? "?volumes=1" : "");
    r = ctl_api_json(ctl, "DELETE", target, NULL, &answer);
    kept = json_integer_value(json_object_get(answer, "volumes_kept"));
    if (r == CTL_OK && kept > 0)
        fprintf(stderr, "fnctl: %lld volume%s of %s %s kept: `fnctl rm --volumes %s` removes %s\n", (long long)kept, kept == 1 ? "" : "s", fn,
                kept == 1 ? "is" : "are", fn, kept == 1 ? "it" : "them");
    json_decref(answer);
    return r;
}
