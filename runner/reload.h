/* reload.h: the configuration read anew while the daemon runs. */
#pragma once

#include <stddef.h>

struct config;
struct config_source;
struct control;
struct diag;
struct options;

struct reload {
    const struct options *options; /* the same file and command line as at the start */
    struct config *config;
    struct config_source *source;
    struct control *control;
};

/*
 * The gateway gets a new snapshot: limits, settings, certificates and what else it is told come with that, and no connection is dropped for it. What is wrong with the file leaves everything as it is.
 * ret_restart: the keys that have changed and need a restart, by their names. How many others have changed, or -errno.
 */
int reload_run(const struct reload *l, char *ret_restart, size_t size, struct diag *d);

/* The same for SIGHUP, with what systemd wants to hear of it. */
void reload_on_hangup(const struct reload *l);
