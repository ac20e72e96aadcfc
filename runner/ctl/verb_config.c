#include "ctl.h"

#include "api.h"

#include <string.h>

int verb_config(struct ctl *ctl, const struct text_list *args)
{
    static const char *const heads[] = {"KEY", "VALUE", "DEFAULT", "ORIGIN"};
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *row;
    struct table t;
    size_t i;
    int r;

    if (strcmp(args->items[0], "show") != 0)
        return ctl_fail(CTL_USAGE, "config %.40s: `fnctl config show` is what there is; the file is /etc/fnd/fnd.ini", args->items[0]);
    r = ctl_api_json(ctl, "GET", API_PREFIX "/config", NULL, &answer);
    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    ctl_table_init(&t, heads, CTL_COUNT(heads));
    json_array_foreach(json_object_get(answer, "config"), i, row)
    {
        ctl_table_cell(&t, "%s", ctl_json_text(row, "key", ""));
        ctl_table_cell(&t, "%s", ctl_json_text(row, "value", ""));
        ctl_table_cell(&t, "%s", ctl_json_text(row, "default", ""));
        ctl_table_cell(&t, "%s", ctl_json_text(row, "origin", ""));
    }
    ctl_table_format(&t, &out);
    ctl_table_done(&t);
    return ctl_flush(ctl, &out);
}
