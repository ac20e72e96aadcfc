/*
 * files.h: files of the host that the gateway reads but could not open: certificates with their keys, the ACME directory. They are opened here and passed as descriptors (RECORD_FILE); what is in them is nothing that
 * root looks at.
 */
#pragma once

struct config;
struct control;
struct diag;
struct files_watch;
struct loop;

/* Makes the ACME directory, where it is missing, and the access log, where one is wanted. */
int files_init(const struct config *c, struct diag *d);

/* Opens everything anew and pushes it, closed by RECORD_FILES. What cannot be passed is logged with its remedy, and the others come nevertheless. */
void files_push(const struct config *c, struct control *control);

/* files_watch.c: does so by itself when certificates change. NULL: no memory. */
struct files_watch *files_watch_new(const struct config *c, struct loop *loop, struct control *control);
void files_watch_free(struct files_watch *f);

/* files_check.c: can every certificate be used? Looked at by a child that runs `gateway` (the program fnd-gateway) and gives up its privileges first. -EINVAL; what is wrong has been said on standard error. */
int files_check(const struct config *c, const char *gateway, struct diag *d);
