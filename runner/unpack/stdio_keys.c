/* stdio_keys.c: mode = stdio, and the variables that set it, under the names of OpenFaaS' watchdogs (watchdog.h). */
#include "unpack_internal.h"

#include "diag.h"
#include "str.h"
#include "watchdog.h"

#include <errno.h>
#include <string.h>

int stdio_keys_mode(struct function_ini *f, const char *value, struct diag *d)
{
    if (strcmp(value, "stdio") == 0)
        f->spec.mode = SPEC_MODE_STDIO;
    else if (strcmp(value, "http") == 0)
        f->spec.mode = SPEC_MODE_HTTP;
    else if (strcmp(value, "streaming") == 0 || strcmp(value, "serializing") == 0)
        return diag_set(d, EINVAL, "%s is a variable's: say mode = stdio here, and mode = %s in [env]", value, value);
    else
        return diag_set(d, EINVAL, "\"%.80s\" is not known: say http (a server on the port) or stdio (one process per request)", value);
    return 0;
}

static int take_variables(struct watchdog *w, const struct env_set *env, struct diag *d)
{
    watchdog_init(w);
    for (unsigned i = 0; i < env->count; i++) {
        const char *form = watchdog_take(w, env->items[i]);

        if (form)
            return diag_set(d, EINVAL, "variable %.*s: \"%.80s\" is not %s", (int)strcspn(env->items[i], "="), env->items[i], strchr(env->items[i], '=') + 1,
                            form);
    }
    return 0;
}

int stdio_keys_finish(struct function_ini *f, const struct env_set *env, struct diag *d)
{
    struct watchdog w;
    int r;

    if (f->spec.mode != SPEC_MODE_STDIO)
        return 0;
    if (*f->spec.handler) {
        diag_set(d, EINVAL, "handler = %.80s is served by its runtime over HTTP: leave mode = stdio out, or say command instead", f->spec.handler);
        return function_sets_place(d, f->handler_line, "");
    }
    if (!f->health_said)
        str_copy(f->spec.health_path, sizeof(f->spec.health_path), SPEC_STDIO_HEALTH);
    r = take_variables(&w, env, d);
    if (r < 0 || !w.fprocess)
        return r;
    if (*f->command) {
        diag_set(d, EINVAL, "there are two ways to start: command = %.80s, and the variable fprocess=%.80s: leave one out", f->command, w.fprocess);
        return function_sets_place(d, f->command_line, "");
    }
    f->by_fprocess = *w.fprocess;
    if (str_copy(f->command, sizeof(f->command), w.fprocess) < 0)
        return diag_set(d, EINVAL, "variable fprocess: %zu characters, at most %zu fit: put the command into a script", strlen(w.fprocess),
                        sizeof(f->command) - 1);
    return 0;
}
