/*
 * probe.h: a program that runs as the function inside a sandbox and looks about: one verb per check. It prints a line for everything that is not as it
 * must be and exits with the number of such lines (at most 100), so that the log says what was wrong.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

/* Prints and counts when ok is false. */
void probe_expect(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The result of a call that must be refused: -1 with EPERM or ENOSYS (or `also`, when that is not 0). */
void probe_refused(long result, const char *call, int also);

/* A call that opens something for writing, or names it: -1 with one of the errnos by which a kernel denies that, or with "not there". */
void probe_denied(long result, const char *what);

/* probe_serve.c: the probe as a function that answers HTTP and runs a verb for whoever asks */
int probe_serve(char **args);

/* probe_escape.c: ways out */
int probe_self_exe(char **args);
int probe_cgroups(char **args);
int probe_threads(char **args);
int probe_kill_pids(char **args);
int probe_kill_all(char **args);
int probe_nodes(char **args);
int probe_walk(char **args);
int probe_absent(char **args);
int probe_image(char **args);
int probe_oom_score(char **args);
int probe_clocks(char **args);
int probe_exec_as(char **args);
int probe_sh(char **args);

/* probe_share.c: what two functions could share */
int probe_share_hold(char **args);
int probe_share_try(char **args);
int probe_swap(char **args);
int probe_share_events(char **args);
int probe_ipc_make(char **args);
int probe_ipc_look(char **args);
int probe_litter(char **args);
int probe_clean(char **args);
int probe_exhaust(char **args);
int probe_inotify(char **args);

/* probe_look.c: matrices, printed line by line for a golden file */
int probe_families(char **args);
int probe_paths(char **args);
int probe_cat(char **args);

/* probe_net.c: where connections go, told line by line */
int probe_connect(char **args);
int probe_trickle(char **args);
int probe_fetch(char **args);
int probe_lookup(char **args);
int probe_queries(char **args);

/* probe_reach.c: where connections go */
socklen_t probe_address(const char *text, struct sockaddr_storage *ret); /* "ADDRESS,PORT" of either family; 0: neither */
int probe_unreachable(char **args);
int probe_reachable(char **args);
int probe_connect_flood(char **args);
int probe_abstract(char **args);
int probe_descriptors(char **args);

/* probe_crowd.c: many connections at once */
int probe_crowd(char **args);

/* probe_bombs.c: what uses things up; each is bounded by its arguments */
int probe_forks(char **args);
int probe_memory(char **args);
int probe_spin(char **args);
int probe_priority(char **args);
int probe_segv(char **args);
int probe_flood(char **args);
int probe_orphan_crowd(char **args);
int probe_unkillable(char **args);

/* probe_calls.c */
int probe_calls(char **args);
int probe_sockets(char **args);
int probe_foreign(char **args);
int probe_init(char **args);

/* probe_allow.c */
int probe_allow(char **args);
int probe_device(char **args);
int probe_matrix(char **args);

/* probe_watch.c */
int probe_watch(char **args);
int probe_terminal(char **args);
