#include "reload.h"

#include "config.h"
#include "control.h"
#include "diag.h"
#include "files.h"
#include "fnd_options.h"
#include "log.h"
#include "notify.h"

int reload_run(const struct reload *l, char *ret_restart, size_t size, struct diag *d)
{
    const struct config before = *l->config;
    int n = config_reload(l->options->config, l->options->sets, l->options->nsets, l->config, l->source, ret_restart, size, d);

    if (n >= 0 && files_init(l->config, d) < 0) {
        *l->config = before;
        n = -d->err;
    }
    if (n < 0) {
        log_diag(LOG_ERR, "configuration not read anew, what was configured before stays", d, NULL);
        return n;
    }
    log_msg(LOG_INFO, "configuration read anew", "changed=%d needs_restart=\"%s\"", n, ret_restart);
    control_resend(l->control);
    return n;
}

void reload_on_hangup(const struct reload *l)
{
    char restart[512];
    struct diag d = {0};

    notify_send("RELOADING=1");
    reload_run(l, restart, sizeof(restart), &d);
    notify_send("READY=1");
}
