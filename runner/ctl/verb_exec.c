#include "ctl.h"

#include "api.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char *const shell[] = {"/bin/sh"};

/* Is there an instance of that name? Its function then goes to buf of NAME_FUNCTION_MAX + 1. A function that looks like an instance is found when there is none. */
static int find_instance(struct ctl *ctl, const char *name, bool *ret_found, char *buf)
{
    json_t *answer cleanup_json = NULL;
    const json_t *i;
    size_t n;
    int r = ctl_api_json(ctl, "GET", API_PREFIX "/instances", NULL, &answer);

    if (r != CTL_OK)
        return r;
    json_array_foreach(json_object_get(answer, "instances"), n, i)
    {
        struct fn_id id;

        if (strcasecmp(ctl_json_text(i, "name", ""), name) != 0)
            continue;
        if (name_make(ctl_json_text(i, "function", ""), ctl_json_text(i, "environment", ""), &id, NULL) < 0)
            continue;
        name_format(&id, buf);
        *ret_found = true;
    }
    return CTL_OK;
}

static int exec_in(struct ctl *ctl, const char *target, struct exec_call *c)
{
    const char *instance = ctl->o->instance;
    char fn[NAME_FUNCTION_MAX + 1];
    bool found = false;
    int r = CTL_OK;

    if (instance && !name_instance_valid(instance))
        return ctl_fail(CTL_USAGE, "--instance %.80s: that is not the name of an instance: `fnctl status NAME` lists them", instance);
    if (!instance && name_instance_valid(target))
        r = find_instance(ctl, target, &found, fn);
    if (r == CTL_OK && !found)
        r = ctl_api_function(target, fn);
    if (r != CTL_OK)
        return r;
    c->function = fn;
    c->instance = found ? target : instance;
    if (c->argc == 0) {
        c->argv = shell;
        c->argc = 1;
        c->shell = true;
    }
    return ctl_exec(ctl, c);
}

int verb_exec(struct ctl *ctl, const struct text_list *args)
{
    const struct options *o = ctl->o;
    const bool both = !o->interactive && !o->terminal && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    struct exec_call c = {.argv = args->items + 1, .argc = args->count - 1, .tty = both || o->terminal, .interactive = both || o->interactive};

    /* What is not typed is there before the command has set its terminal up, which throws it away, echoes it or takes it for the end. */
    if (o->interactive && o->terminal && !isatty(STDIN_FILENO))
        return ctl_fail(
            CTL_USAGE,
            "exec -it: the input device is not a TTY: a file or a pipe is passed on by -i alone; -t alone gives the command a terminal without input");
    return exec_in(ctl, args->items[0], &c);
}

int verb_shell(struct ctl *ctl, const struct text_list *args)
{
    struct exec_call c = {.tty = isatty(STDIN_FILENO), .interactive = true}; /* a script from a pipe needs no prompt, and ends with the pipe */

    return exec_in(ctl, args->items[0], &c);
}
