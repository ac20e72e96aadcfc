/* privileges.h: what root may do in the runner. */
#pragma once

struct diag;

/* Drops every capability that the runner does not need from its bounding, permitted, effective and inheritable sets (capabilities(7)). What it starts as root inherits the bound. */
int privileges_bound(struct diag *d);

/*
 * Loads the filter that refuses, with this errno, the system calls which neither the runner nor any function needs (privileges_calls.c), and ends a process that calls in another architecture's way. For good, and
 * inherited by all that is started from here. Needs CAP_SYS_ADMIN.
 */
int privileges_deny(int err, struct diag *d);

/* The i-th group of names that it refuses, separated by spaces; NULL behind the last. */
const char *privileges_denied(unsigned i);
