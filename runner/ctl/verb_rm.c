#include "ctl.h"

int verb_rm(struct ctl *ctl, const struct text_list *args)
{
    return ctl_api_change(ctl, "DELETE", args->items[0], NULL, NULL, NULL);
}
