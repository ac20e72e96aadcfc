#include "ctl.h"

int verb_rm(struct ctl *ctl, const struct text_list *args)
{
    return api_change(ctl, "DELETE", args->items[0], NULL, NULL, NULL);
}
