#include "ctl.h"

int verb_restart(struct ctl *ctl, const struct text_list *args)
{
    return api_change(ctl, "POST", args->items[0], "restart", NULL, NULL);
}
