/* ctl_check.h: the attempts of `fnctl doctor`. */
#pragma once

#include "config.h"
#include "ctl.h"

#define CHECK_DETAIL      320
#define CHECK_SCRATCH_MAX (CONFIG_PATH_MAX + 64)

struct check_env {
    struct config config;            /* what the daemon would use; defaults where its file is not valid */
    struct diag config_diag;         /* err 0: it is valid */
    bool config_file;                /* there is one */
    pid_t pid;                       /* of fnctl: names what the attempts make */
    char scratch[CHECK_SCRATCH_MAX]; /* a directory on the state directory's file system; removed behind every attempt */
};

struct check_result {
    struct diag diag;          /* err 0: it worked */
    char detail[CHECK_DETAIL]; /* what was found */
};

#define CHECK_OPTIONAL 1 /* fnd serves without it, if less well; no bit of CLONE_NEW* */

/*
 * Runs in a child process of its own, in a mount namespace of its own and, where the table says so, a network namespace: what it mounts or makes there goes
 * with it.
 */
struct check {
    const char *name; /* NULL: the end of the table */
    int (*attempt)(const struct check_env *e, char *detail, struct diag *d);
    int flags; /* CLONE_NEWNET, CHECK_OPTIONAL */
    const char *remedy;
};

extern const struct check ctl_checks[];

void ctl_check_prepare(struct check_env *e, const char *state);
void ctl_check_run(const struct check *c, const struct check_env *e, struct check_result *ret);

/* Writes the detail. */
void ctl_check_say(char *detail, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ctl_check_cgroup.c */
int ctl_check_cgroup_v2(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_cgroup_memory(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_cgroup_pids(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_cgroup_cpu(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_clone_kill(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_sockmap(const struct check_env *e, char *detail, struct diag *d);
/* ctl_check_sandbox.c */
int ctl_check_user_namespace(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_namespace_room(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_idmap(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_overlay(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_seccomp(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_memfd(const struct check_env *e, char *detail, struct diag *d);
/* ctl_check_net.c */
int ctl_check_network(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_nftables(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_tracking(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_foreign(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_subnet(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_port_public(const struct check_env *e, char *detail, struct diag *d);
int ctl_check_port_admin(const struct check_env *e, char *detail, struct diag *d);
