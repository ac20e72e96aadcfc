#include "ctl.h"

#include "api.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void function_row(struct table *t, const json_t *fn, uint64_t now)
{
    const json_t *scale = json_object_get(fn, "scale");
    char age[TEXT_MAX], size[TEXT_MAX];

    ctl_table_cell(t, "%s", ctl_json_text(fn, "name", "?"));
    ctl_table_cell(t, "%s", ctl_json_text(fn, "environment", ""));
    ctl_table_cell(t, "%s", ctl_json_text(fn, "state", "?"));
    ctl_table_cell(t, "%" PRIu64, ctl_json_uint(fn, "version"));
    ctl_table_cell(t, "%" PRIu64 "/%" PRIu64, ctl_json_uint(fn, "ready"), ctl_json_uint(fn, "wanted"));
    if (json_is_string(scale))
        ctl_table_cell(t, "%s", json_string_value(scale));
    else
        ctl_table_cell(t, "%" PRIu64, ctl_json_uint(fn, "scale"));
    ctl_table_cell(t, "%" PRIu64, ctl_json_uint(fn, "restarts"));
    ctl_table_cell(t, "%s", ctl_text_size(ctl_json_uint(fn, "image_bytes"), size));
    ctl_table_cell(t, "%s", ctl_text_age(ctl_json_text(fn, "deployed", NULL), now, age));
    ctl_table_cell(t, "%s", ctl_json_text(fn, "url", ""));
}

int verb_ls(struct ctl *ctl, const struct text_list *args)
{
    static const char *const heads[] = {"NAME", "ENV", "STATE", ">VERSION", ">READY", ">SCALE", ">RESTARTS", ">IMAGE", ">AGE", "URL"};
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *fn;
    struct table t;
    size_t i;
    int r = ctl_api_json(ctl, "GET", API_PREFIX "/functions", NULL, &answer);

    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    if (json_array_size(json_object_get(answer, "functions")) == 0)
        return ctl_fail(CTL_OK, "no function yet: fnctl deploy DIRECTORY|ARCHIVE|SAMPLE");
    ctl_table_init(&t, heads, CTL_COUNT(heads));
    json_array_foreach(json_object_get(answer, "functions"), i, fn) function_row(&t, fn, (uint64_t)time(NULL));
    ctl_table_format(&t, &out);
    ctl_table_done(&t);
    return ctl_flush(ctl, &out);
}
