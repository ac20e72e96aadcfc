#include "ctl.h"

#include "api.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define LINES_DEFAULT 100

struct log_output {
    struct ctl *ctl;
    bool filter;
    struct text_filter state;
};

/* Raw into pipes and files; on a terminal without what it would obey. */
static int on_lines(void *arg, const char *data, size_t len)
{
    struct strbuf text cleanup_strbuf = {0};
    struct log_output *o = arg;

    if (!o->filter)
        return ctl_write(o->ctl, data, len);
    ctl_text_filter(&o->state, data, len, &text);
    return text.failed ? -ENOMEM : text.len ? ctl_write(o->ctl, text.data, text.len) : 0;
}

int ctl_logs(struct ctl *ctl, const char *function, const char *instance, uint64_t lines, bool follow)
{
    struct log_output out = {.ctl = ctl, .filter = isatty(STDOUT_FILENO)};
    char target[512];
    struct api_call c = {.method = "GET", .target = target, .no_timeout = follow, .on_data = on_lines, .arg = &out};
    int r;

    snprintf(target, sizeof(target), API_PREFIX "/functions/%s/logs?lines=%" PRIu64 "%s%s%s", function, lines, follow ? "&follow=1" : "",
             instance ? "&instance=" : "", instance ? instance : "");
    r = ctl_api_perform(ctl, &c);
    ctl_api_call_done(&c);
    return r;
}

int verb_logs(struct ctl *ctl, const struct text_list *args)
{
    const struct options *o = ctl->o;
    char fn[NAME_FUNCTION_MAX + 1];
    int r = ctl_api_function(args->items[0], fn);

    if (r != CTL_OK)
        return r;
    if (o->instance && !name_instance_valid(o->instance))
        return ctl_fail(CTL_USAGE, "--instance %.80s: that is not the name of an instance: `fnctl status %s` lists them", o->instance, fn);
    return ctl_logs(ctl, fn, o->instance, o->lines.set ? o->lines.value : LINES_DEFAULT, o->follow);
}
