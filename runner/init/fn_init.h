/*
 * fn_init.h: what fn-init is started with: the contract between the sandbox's plan and runner/init.
 *
 *   fn-init UID GID CWD -- COMMAND [ARGUMENT]...
 *
 * UID and GID are the function's, inside. The environment is the function's, each string with FN_INIT_ENV_PREFIX before it: the C library of fn-init must not look into what a stranger wrote (GLIBC_TUNABLES). Descriptors:
 * 0, 1 and 2 are /dev/null, FN_INIT_LOG_FD is the ring log, all others are closed. All signals are blocked, none is ignored. Ids are inner 1, capabilities exactly SETUID and SETGID, no_new_privs is set.
 * fn-init exits with the function's status, or 128 + signal, or 127 when it could not be executed; the reason is in the log's head.
 */
#pragma once

#include "ringlog.h"

#include <stdint.h>
#include <sys/types.h>

#define FN_INIT_LOG_FD     3
#define FN_INIT_ENV_PREFIX "="
#define FN_INIT_ID         1U
#define FN_INIT_ARGS       5 /* argv[5] is the command */
#define FN_INIT_EXEC_FAILED 127

/* What the function's process says when it could not execute it. */
struct init_failure {
    int32_t err; /* 0: nothing failed */
    uint32_t step; /* enum init_step */
};

/* What one fn-init knows. */
struct init {
    uid_t uid; /* the function's */
    gid_t gid;
    const char *cwd;
    char **command;
    char **env;
    pid_t function;
    int out_fd;    /* read end of the function's standard output and error; -1 when all writers are gone */
    int signal_fd;
    int status_fd; /* read end: a struct init_failure, or the end when the function was executed; -1 from then on */
    struct init_failure failure;
    struct ringlog_writer log;
};

enum init_step { INIT_STEP_IDS, INIT_STEP_STDIO, INIT_STEP_CWD, INIT_STEP_FILTER, INIT_STEP_EXEC, INIT_STEP_NO_INTERPRETER, INIT_STEP_COUNT };

/* init_text.c: texts without stdio: appends to buf (of size bytes, always terminated) and returns it. */
char *init_puts(char *buf, size_t size, const char *text);
char *init_putn(char *buf, size_t size, unsigned number);

/* init_filter.c. Of the function: what only fn-init needed is refused. Of fn-init itself: nothing but what its loop needs. 0 or -errno. */
int init_filter_function(void);
int init_filter_self(void);

/* init_exec.c: the function's process, from vfork to exec. Does not return. */
void init_exec(const struct init *in, int out_fd, int status_fd) __attribute__((noreturn));

/* init_loop.c: copies, reaps, forwards, until the function has ended; returns its wait status. in->failure is set when it never ran. */
int init_loop(struct init *in);
