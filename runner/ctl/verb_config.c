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
    r = api_json(ctl, "GET", API_PREFIX "/config", NULL, &answer);
    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    table_init(&t, heads, CTL_COUNT(heads));
    json_array_foreach(json_object_get(answer, "config"), i, row) {
        table_cell(&t, "%s", json_text(row, "key", ""));
        table_cell(&t, "%s", json_text(row, "value", ""));
        table_cell(&t, "%s", json_text(row, "default", ""));
        table_cell(&t, "%s", json_text(row, "origin", ""));
    }
    table_format(&t, &out);
    table_done(&t);
    return ctl_flush(ctl, &out);
}
