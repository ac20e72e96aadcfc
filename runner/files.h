/*
 * files.h: files of the host that the gateway reads but could not open: certificates with their keys, the ACME directory. They are opened here and passed as descriptors (RECORD_FILE); what is in them is nothing that
 * root looks at.
 */
#pragma once

struct config;
struct control;
struct diag;

/* Makes the ACME directory, where it is missing, and the access log, where one is wanted. */
int files_init(const struct config *c, struct diag *d);

/* Opens everything anew and pushes it, closed by RECORD_FILES. What cannot be passed is logged with its remedy, and the others come nevertheless. */
void files_push(const struct config *c, struct control *control);
