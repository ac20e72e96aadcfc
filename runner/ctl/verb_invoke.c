#include "ctl.h"

/* The function is looked up first: then a 404 afterwards is the function's own. */
int verb_invoke(struct ctl *ctl, const struct text_list *args)
{
    char fn[NAME_FUNCTION_MAX + 1];
    int r = ctl_request_check(ctl->o);

    if (r == CTL_OK)
        r = ctl_api_function(args->items[0], fn);
    if (r == CTL_OK)
        r = ctl_api_change(ctl, "GET", fn, NULL, NULL, NULL);
    return r == CTL_OK ? ctl_request_send(ctl, fn, true) : r;
}
