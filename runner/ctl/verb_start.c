#include "ctl.h"

int verb_start(struct ctl *ctl, const struct text_list *args)
{
    return ctl_api_change(ctl, "POST", args->items[0], "start", NULL, NULL);
}
