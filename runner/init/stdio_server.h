/*
 * stdio_server.h: what the files of the server of mode stdio share (fninit.h: fn-stdio). Theory of operation: stdio_main.c.
 *
 * One thread, one poll; all memory is one mapping made at the start, and only pages that a request used are ever resident. Nothing here allocates.
 */
#pragma once

#include "fn_init.h"
#include "stdio_head.h"
#include "stdio_vars.h"
#include "watchdog.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STDIO_CONNS_MAX  256
#define STDIO_IN_SIZE    (STDIO_HEAD_MAX + 65536U) /* the head, then a window of the body */
#define STDIO_OUT_SIZE   65536U                    /* so much of an answer is held back in the classic mode */
#define STDIO_PRE_SIZE   1024U
#define STDIO_ENV_MAX    2048U
#define STDIO_TEXT_SIZE  (2U * STDIO_HEAD_MAX)
#define STDIO_STACK_SIZE 65536U
#define STDIO_DYING_MAX  512U
#define STDIO_TRIM                                                                                                                                             \
    2048U /* bytes of a buffer that stay resident between requests: what lies in its first page, in `in` and in `out` (static_assert in stdio_conn.c) */
#define STDIO_KEPT      16U   /* places whose memory is kept when they are free */
#define STDIO_PIPES     4U    /* pairs of pipes made ahead */
#define STDIO_SAID_SIZE 4096U /* of our own lines, before they go to the log */
#define STDIO_PAGE      4096U
#define STDIO_NEVER     UINT64_MAX

/* ---- stdio_group.c: a cgroup for each request, below the instance's ---- */

struct stdio_group {
    int dir_fd, events_fd; /* -1: none */
    unsigned number;
};

struct stdio_groups {
    int base_fd;
    unsigned next, nfree, ndying;
    struct stdio_group free[STDIO_CONNS_MAX];
    unsigned dying[STDIO_DYING_MAX]; /* killed, still to be removed */
};

/* One that is empty. -errno, -EAGAIN when there may not be more for now. */
int stdio_group_take(struct stdio_groups *all, struct stdio_group *ret);
bool stdio_group_empty(const struct stdio_group *g);
void stdio_group_kill(const struct stdio_group *g);
/* Back to the pool, or, when it was killed, away for good: on newer kernels what is born in such a group dies at once. */
void stdio_group_give(struct stdio_groups *all, struct stdio_group *g, bool killed);
/* Removes what can be removed by now. */
void stdio_groups_tidy(struct stdio_groups *all);

/* ---- stdio_spawn.c ---- */

struct stdio_child {
    const struct init *in;
    int in_fd, out_fd, err_fd; /* become 0, 1 and 2 */
    enum init_step step;       /* of what failed */
    int err;                   /* 0: it was executed */
};

/* Born in the group, with the function's ids and filters; returns when it has been executed or has failed. The pid, or -errno: nothing was born. */
pid_t stdio_spawn(struct stdio_child *c, int group_fd, char *stack, size_t stack_size); /* group_fd -1: none, it is a process group */

/* Finds the command through PATH, as the function would. 0, or a positive errno with the step. */
int stdio_find_program(struct init *in, char *path, size_t size, enum init_step *ret_step);

/* ---- connections ---- */

/* Of one process: standard input and output, [0] the end to read from. -1: none. */
struct stdio_pipes {
    int in[2], out[2];
};

enum stdio_state {
    STDIO_FREE,
    STDIO_HEAD,  /* a request's head is awaited */
    STDIO_BODY,  /* its body is collected before the process is started */
    STDIO_WAIT,  /* for room for one more process */
    STDIO_RUN,   /* the process has been started */
    STDIO_REPLY, /* it has ended, or there was none; the answer goes out */
    STDIO_LINGER /* the answer is out, the client still sends: what comes is dropped until it has seen the end */
};

/* Why an invocation was ended by us. */
enum stdio_end { STDIO_END_NONE, STDIO_END_TIMEOUT, STDIO_END_SLOW_BODY, STDIO_END_SLOW_ANSWER, STDIO_END_GONE, STDIO_END_LARGE, STDIO_END_BROKEN };

struct stdio;

struct stdio_conn {
    _Alignas(STDIO_PAGE) struct stdio *server;
    unsigned place; /* in `order` */
    int fd;         /* -1: the client is gone */
    enum stdio_state state;
    enum stdio_end end;
    bool close;   /* after this answer */
    bool begun;   /* the answer's head is on its way while the process runs */
    bool chunked; /* and it is sent in chunks */
    bool started; /* the process was born and is not reaped yet */
    bool ended;   /* it is reaped */
    bool killed;  /* its group was */
    bool again;   /* a request is in `in` already */
    bool wide;    /* many pages of `in` or `out` have been used */
    int status;   /* wait status */
    pid_t pid;
    struct stdio_group group;
    int in_fd, out_fd; /* our ends of its pipes; -1 closed */
    int body_fd;       /* the collected body; -1 none */
    int spool_fd;      /* output that does not fit into `out`; -1 none */
    uint64_t since_ns, number;
    uint64_t exec_at, read_at, write_at, head_at; /* deadlines */
    uint64_t written, body_bytes, spooled, spool_at;
    struct stdio_body body;
    struct stdio_marshal marshal;
    size_t head_len;            /* 0: not whole yet */
    size_t plain_at, plain_end; /* of the body, in `in`, for the process */
    size_t over_at, in_len;     /* what came behind the request; end of all that is in `in` */
    size_t pre_at, pre_len, out_at, out_len, post_at;
    const char *post;
    size_t held; /* bytes in `hold` */
    char pre[STDIO_PRE_SIZE];
    struct stdio_request req; /* its first fields are in the first page; a short head and body, and a short answer, take a page each */
    char hold[512];           /* of the document that is being written to body_fd */
    char in[STDIO_IN_SIZE];
    char out[STDIO_OUT_SIZE];
};

struct stdio {
    bool alone;     /* without a sandbox: one id, no cgroups, the log is standard error */
    struct init in; /* ids, command, environment, log, signals */
    struct watchdog set;
    const char *health;
    uint64_t timeout_ns;
    uint64_t spool_max, spool_used; /* bytes in memory files, of all requests */
    unsigned inflight;              /* in BODY, WAIT, RUN */
    unsigned running;               /* processes */
    uint64_t numbers;
    int listen_fd, err_fd, err_write_fd;
    bool draining;
    uint64_t listen_until_ns; /* when draining */
    uint64_t now_ns;          /* of this turn */
    unsigned base_env;
    char *stack;
    struct stdio_conn *conns;
    uint16_t order[STDIO_CONNS_MAX]; /* of conns: the first nlive are not FREE. A look at each of 256 places would touch 256 pages */
    unsigned nlive, touched;         /* the first `touched` have memory */
    struct stdio_pipes pipes[STDIO_PIPES];
    unsigned npipes;
    size_t said_len;
    uint64_t said_at_ns; /* when the first byte came */
    struct stdio_groups groups;
    char program[4096];
    char *env[STDIO_ENV_MAX];
    char text[STDIO_TEXT_SIZE];
    char said[STDIO_SAID_SIZE];
};

uint64_t stdio_now(void);

static inline struct stdio_conn *stdio_live(struct stdio *s, unsigned i)
{
    return &s->conns[s->order[i]];
}

/* stdio_conn.c */
void stdio_conn_open(struct stdio *s, struct stdio_conn *c, int fd);
void stdio_conn_close(struct stdio *s, struct stdio_conn *c); /* what runs for it is killed; the place is free when that is reaped */
void stdio_conn_readable(struct stdio *s, struct stdio_conn *c);
void stdio_conn_request(struct stdio *s, struct stdio_conn *c); /* is there a whole head? then it is acted on */
void stdio_conn_over(struct stdio *s, struct stdio_conn *c);    /* the answer is out */
void stdio_conn_deadline(struct stdio *s, struct stdio_conn *c);
uint64_t stdio_conn_next(const struct stdio_conn *c); /* when that is due */
void stdio_conns_trim(struct stdio *s);               /* memory of free places goes back; between two turns */

/* stdio_body.c: the way in */
void stdio_body_feed(struct stdio *s, struct stdio_conn *c);   /* to the process, as much as it takes */
int stdio_body_begin(struct stdio *s, struct stdio_conn *c);   /* collecting: makes the file. -errno */
int stdio_body_collect(struct stdio *s, struct stdio_conn *c); /* what has come; -EFBIG */
int stdio_body_finish(struct stdio *s, struct stdio_conn *c);
void stdio_files_close(struct stdio *s, struct stdio_conn *c);

/* stdio_run.c: one invocation */
void stdio_run_prepare(struct stdio *s); /* what the next ones need, while nothing else is to be done */
void stdio_run_start(struct stdio *s, struct stdio_conn *c);
void stdio_run_waiting(struct stdio *s); /* starts who waits, as long as there is room */
void stdio_run_output(struct stdio *s, struct stdio_conn *c);
void stdio_run_reaped(struct stdio *s, pid_t pid, int status);
void stdio_run_over(struct stdio *s, struct stdio_conn *c); /* nothing of it is left but the answer */
void stdio_run_kill(struct stdio *s, struct stdio_conn *c, enum stdio_end why);

/* stdio_answer.c: the way out */
void stdio_answer(struct stdio *s, struct stdio_conn *c, int status, const char *text); /* by ourselves */
void stdio_answer_begin(struct stdio *s, struct stdio_conn *c);                         /* 200 while the process runs */
void stdio_answer_result(struct stdio *s, struct stdio_conn *c);                        /* of a process that has ended */
void stdio_answer_piece(struct stdio_conn *c, size_t len);                              /* len bytes of `out`, when begun */
bool stdio_answer_pending(const struct stdio_conn *c);
void stdio_answer_flush(struct stdio *s, struct stdio_conn *c);

/* stdio_log.c */
void stdio_log(struct stdio *s, const char *text);
void stdio_log_bytes(struct stdio *s, const void *data, size_t len);
void stdio_log_flush(struct stdio *s);
uint64_t stdio_log_due(const struct stdio *s); /* when that must be */
void stdio_log_wrote(struct stdio *s, const struct stdio_conn *c);
void stdio_log_errors(struct stdio *s); /* copies standard error */
char *stdio_put_seconds(char *buf, size_t size, uint64_t ns);
void stdio_put_result(char *buf, size_t size, const struct stdio_conn *c); /* "exit status 1", "signal: killed"; empty: it went well */

/* stdio_loop.c: until it has been told to end, and everything is answered. */
void stdio_loop(struct stdio *s);

/* stdio_main.c */
void stdio_main(int argc, char **argv) __attribute__((noreturn));
int stdio_ids(const struct stdio *s, bool function); /* the function's effective ids, or our own again. 0 or -errno */
