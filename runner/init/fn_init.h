/* fn_init.h: what the files of fn-init share. How it is started: fninit.h. */
#pragma once

#include "fninit.h"
#include "ringlog.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the function's process says when it could not execute it. */
struct init_failure {
    int32_t err;   /* 0: nothing failed */
    uint32_t step; /* enum init_step */
};

/* What the second filter of a server of mode stdio asks for besides the arguments that the kernel looks at (init_filter.c); zeros where there is none. */
struct init_key {
    uint64_t word[2];
};

/* What one fn-init knows. */
struct init {
    uid_t uid; /* the function's */
    gid_t gid;
    const char *cwd;     /* NULL: it is the working directory already */
    const char *program; /* what is executed; NULL: command[0], found through PATH */
    char **command;
    char **env;
    pid_t function;
    int out_fd; /* read end of the function's standard output and error; -1 when all writers are gone */
    int signal_fd;
    int status_fd; /* read end: a struct init_failure, or the end when the function was executed; -1 from then on */
    struct init_failure failure;
    struct ringlog_writer log;
    bool sealed; /* the function's filter is on already: children inherit it */
    struct init_key key;
};

enum init_step { INIT_STEP_IDS, INIT_STEP_STDIO, INIT_STEP_CWD, INIT_STEP_FILTER, INIT_STEP_EXEC, INIT_STEP_NO_INTERPRETER, INIT_STEP_COUNT };

/* init_text.c: texts without stdio: appends to buf (of size bytes, always terminated) and returns it. */
char *init_puts(char *buf, size_t size, const char *text);
char *init_putn(char *buf, size_t size, uint64_t number);

/* init_filter.c. Of the function: what only fn-init needed is refused. Of fn-init itself: nothing but what its loop needs. 0 or -errno. */
int init_filter_function(void);
int init_filter_self(void);
int init_filter_session(void);                     /* of a session's relay: of its loop, too */
int init_filter_keyed(const struct init_key *key); /* the function's, but for who knows the key */

/* init_ids.c: what an argument says (a function's: above 1); the function's ids as real ones and no capability; the effective ones: a process that is not dumpable. 0 or -errno. */
int init_ids_parse(const char *s, uint32_t *ret);
int init_ids_take(uid_t uid, gid_t gid);
int init_ids_effective(uid_t uid, gid_t gid, const struct init_key *key);
int init_ids_become(uid_t uid, gid_t gid, const struct init_key *key); /* no way back; the memory is nobody's to look into until exec */

/* init_exec.c: enters it, not through a magic link. 0 or -errno. */
int init_cwd(const char *cwd);

/* Working directory, signals, second filter and command, of a process that has the function's ids and descriptors. Returns a positive errno. */
int init_exec_program(const struct init *in, enum init_step *ret_step);

/* The function's process, from vfork to exec. Does not return. */
void init_exec(const struct init *in, int out_fd, int status_fd) __attribute__((noreturn));

/* init_loop.c: copies, reaps, forwards, until the function has ended; returns its wait status. in->failure is set when it never ran. */
int init_loop(struct init *in);
