/* procfs.h: the runner's own view of /proc. */
#pragma once

struct diag;

/*
 * Mounts a fresh procfs over /proc in the caller's mount namespace, which must be its own: everything in it that tunes or drives the host is read-only but /proc/sys/net, which holds the settings of bridges
 * and slots. A hidepid= of the host or of the
 * service manager does not hold in it: maps of user namespaces are written through /proc/PID.
 */
int procfs_own(struct diag *d);
