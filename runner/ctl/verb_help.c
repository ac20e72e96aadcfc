/* verb_help.c: `fnctl help [VERB]`, `fnctl VERB -h`. */
#include "ctl.h"

#include <stdio.h>
#include <string.h>

#define LEFT 34 /* what is longer has a line of its own */

void verb_print_usage(const struct verb *v)
{
    printf("usage: fnctl %s%s%s [OPTIONS]\n\n%s\n", v->name, *v->args ? " " : "", v->args, v->summary);
    if (v->details)
        printf("%s\n", v->details);
    if (v->aliases[0]) {
        printf("also: ");
        for (unsigned i = 0; i < CTL_COUNT(v->aliases) && v->aliases[i]; i++)
            printf("%s%s", i ? ", " : "", v->aliases[i]);
        printf("\n");
    }
    printf("\noptions:\n");
    for (unsigned i = 0; i < CTL_COUNT(v->opts) && v->opts[i]; i++)
        ctl_opt_print(v->opts[i]);
    ctl_opt_print(ctl_opts_common);
}

int verb_help(struct ctl *ctl, const struct text_list *args)
{
    if (args && args->count) {
        const struct verb *v = verb_find(args->items[0]);

        if (!v)
            return verb_unknown(args->items[0]);
        verb_print_usage(v);
        return CTL_OK;
    }
    printf("usage: fnctl VERB [OPTIONS] [ARGUMENTS]\n\nRuns functions on this host, each instance in a sandbox of its own.\n\n");
    for (const struct verb *v = ctl_verbs; v->name; v++) {
        char left[96];

        snprintf(left, sizeof(left), "%s%s%s", v->name, *v->args ? " " : "", v->args);
        printf("  %-*s%s%-*s%s\n", LEFT, left, strlen(left) < LEFT ? "" : "\n  ", strlen(left) < LEFT ? 0 : LEFT, "", v->summary);
    }
    printf("\noptions of every verb:\n");
    ctl_opt_print(ctl_opts_common);
    printf("\nA function is NAME, or NAME.ENV in another environment than \"" NAME_DEFAULT_ENV "\".\n"
           "exit codes: 0 done, 1 failed, 2 usage, 3 no such function or instance, 4 not allowed, 5 no daemon\n");
    return CTL_OK;
}
