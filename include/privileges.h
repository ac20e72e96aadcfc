/* privileges.h: what root may do in the runner. */
#pragma once

struct diag;

/* Drops every capability that the runner does not need from its bounding, permitted, effective and inheritable sets (capabilities(7)). What it starts as root inherits the bound. */
int privileges_bound(struct diag *d);
