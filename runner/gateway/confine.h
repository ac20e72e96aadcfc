/* confine.h: what the gateway takes from itself before it looks at anybody's bytes. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct diag;

/*
 * A root of its own, as root only: a new mount namespace, a small read-only tmpfs that holds what DESIGN section 2 lists, where the host has it, and `socket_dir` (the runner's socket; it must exist) at the same
 * path. The host's tree is gone afterwards.
 */
int confine_root(const char *socket_dir, struct diag *d);

/* Groups, ids and every capability set; as root only. */
int confine_ids(uid_t uid, gid_t gid, struct diag *d);

/* no_new_privs, and a seccomp filter of the calls that a gateway makes (seccomp(2)): the rest fails with EPERM, what only an attacker would try kills. */
int confine_calls(struct diag *d);
