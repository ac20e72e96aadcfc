/* ctl_exit.c: the one table that says which failure is which exit code. */
#include "ctl.h"

#include <errno.h>
#include <string.h>

struct exit_rule {
    const char *code; /* of the answer's "error"; NULL: any */
    int status;       /* 0: any */
    int exit;
};

static const struct exit_rule answers[] = {
    {"not_found", 0, CTL_NOT_FOUND},
    {"no_such_function", 0, CTL_NOT_FOUND},
    {"no_such_instance", 0, CTL_NOT_FOUND},
    {"forbidden", 0, CTL_DENIED},
    {"not_allowed", 0, CTL_DENIED},
    {"unauthorized", 0, CTL_DENIED},
    {"no_runner", 0, CTL_NO_DAEMON},
    {"runner_down", 0, CTL_NO_DAEMON},
    {NULL, 401, CTL_DENIED},
    {NULL, 403, CTL_DENIED},
    {NULL, 404, CTL_NOT_FOUND},
};

static const struct {
    int err, exit;
} connects[] = {
    {ENOENT, CTL_NO_DAEMON}, {ECONNREFUSED, CTL_NO_DAEMON}, {ENOTDIR, CTL_NO_DAEMON}, {EACCES, CTL_DENIED}, {EPERM, CTL_DENIED},
};

int ctl_exit_of_answer(int status, const char *code)
{
    if (status >= 200 && status < 300)
        return CTL_OK;
    for (size_t i = 0; i < CTL_COUNT(answers); i++) {
        const struct exit_rule *r = &answers[i];

        if ((!r->code || (code && strcmp(code, r->code) == 0)) && (!r->status || r->status == status))
            return r->exit;
    }
    return CTL_FAILED;
}

int ctl_exit_of_connect(int err)
{
    for (size_t i = 0; i < CTL_COUNT(connects); i++)
        if (connects[i].err == err)
            return connects[i].exit;
    return CTL_NO_DAEMON;
}
