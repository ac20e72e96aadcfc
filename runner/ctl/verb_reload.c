#include "ctl.h"

#include "api.h"

int verb_reload(struct ctl *ctl, const struct text_list *args)
{
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *key;
    size_t i;
    int r = ctl_api_json(ctl, "POST", API_PREFIX "/reload", NULL, &answer);

    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    strbuf_puts(&out, "the configuration has been read anew\n");
    json_array_foreach(json_object_get(answer, "restart"), i, key)
        strbuf_printf(&out, "%s takes effect when fnd is restarted\n", json_is_string(key) ? json_string_value(key) : "?");
    return ctl_flush(ctl, &out);
}
