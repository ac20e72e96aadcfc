#include "ctl.h"

int verb_stop(struct ctl *ctl, const struct text_list *args)
{
    return ctl_api_change(ctl, "POST", args->items[0], "stop", NULL, NULL);
}
