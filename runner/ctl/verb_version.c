#include "ctl.h"

#include "api.h"
#include "version.h"

#include <sys/stat.h>

/* `fnctl --version` (args NULL) asks nobody. A daemon that is not there is no failure of this verb. */
int verb_version(struct ctl *ctl, const struct text_list *args)
{
    struct strbuf out cleanup_strbuf = {0};
    json_t *all cleanup_json = json_pack("{s:s}", "fnctl", FND_VERSION);
    json_t *daemon cleanup_json = NULL;
    struct stat st;
    int r = CTL_OK;

    if (!args) {
        strbuf_puts(&out, "fnctl " FND_VERSION "\n");
        return ctl_flush(ctl, &out);
    }
    r = ctl_remote_need(ctl);
    if (r == CTL_OK && (ctl->is_remote || stat(ctl->socket, &st) == 0))
        r = ctl_api_json(ctl, "GET", API_PREFIX "/version", NULL, &daemon);
    if (ctl->o->json) {
        json_object_set_new(all, "fnd", daemon ? json_string(ctl_json_text(daemon, "version", "?")) : json_null());
        return ctl_print_json(ctl, all) == CTL_OK ? r : CTL_FAILED;
    }
    strbuf_printf(&out, "fnctl %s\nfnd   %s\n", FND_VERSION, daemon ? ctl_json_text(daemon, "version", "?") : "not running");
    ctl_text_clean(out.data);
    return ctl_flush(ctl, &out) == CTL_OK ? r : CTL_FAILED;
}
