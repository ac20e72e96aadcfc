/*
 * ctl.h: what the parts of fnctl promise each other. Private to runner/ctl.
 *
 *   fnctl.c                      main: options before the verb, the verb, its options, the exit code
 *   ctl_verbs.c, verb_*.c        the table of verbs; one verb each
 *   ctl_opt.c, ctl_opts.c        the option parser; the option tables
 *   ctl_api.c, ctl_exit.c        calls of the daemon; which failure is which exit code
 *   ctl_remote.c, ctl_profile.c  where the daemon is; what is remembered of others (~/.config/fnd)
 *   ctl_secret.c                 reading a password
 *   ctl_answer.c                 an answer that libcurl could not read
 *   ctl_wait.c                   waiting with watches: signals, the private daemon; messages
 *   ctl_body.c, ctl_pack.c       request bodies; a directory as a tar stream
 *   ctl_source.c                 what the argument of run and deploy means
 *   ctl_deploy.c, ctl_request.c  what several verbs do
 *   ctl_exec.c, ctl_session.c    a command beside a function: the call; its bytes, terminal and signals
 *   ctl_private.c, ctl_slot.c    the private daemon of `fnctl run`; its number, lock, subnet and port
 *   ctl_signals.c                signals that end a verb which has started a private daemon
 *   ctl_self_test.c              `fnctl doctor --self-test`
 *   ctl_table.c, ctl_text.c      output for people
 *   ctl_check.c, ctl_check_*.c   the attempts of `fnctl doctor`
 *   project/                     code that is to become a package
 *
 * Verbs print their own messages ("fnctl: ...", on standard error) and return an exit code; everything below them that is not about the API returns
 * negative errnos and a diag.
 */
#pragma once

#include "diag.h"
#include "names.h"
#include "str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CTL_SOCKET   "/run/fnd/fnd.sock"
#define CTL_COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum ctl_exit { CTL_OK, CTL_FAILED, CTL_USAGE, CTL_NOT_FOUND, CTL_DENIED, CTL_NO_DAEMON };

/* ---- options ---- */

struct text_list {
    const char **items; /* borrowed from argv */
    unsigned count;
};

struct opt_number {
    bool set;
    uint64_t value;
};

/* Every option of every verb; a verb's table says which it takes. Texts are borrowed from argv. */
struct options {
    bool help, version, json, verbose, once, follow, self_test, volumes, interactive, terminal;
    bool insecure, scope_admin, scope_invoke, list, watch, all, print_ini;
    const char *socket, *name, *env_name, *instance, *listen, *path, *method, *data, *dir, *state;
    const char *body;   /* of --request-file, as it is */
    char *request_text; /* the file, which others point into; owned */
    const char *profile, *cacert, *function, *expires, *runtime, *request_file, *output, *egress, *from;
    struct text_list vars, sets, headers, secrets;
    struct opt_number lines, scale, port, admin, version_number;
};

enum opt_kind { OPT_FLAG, OPT_TEXT, OPT_LIST, OPT_NUMBER };

struct opt_def {
    char short_name;       /* 0: none */
    const char *long_name; /* NULL: the end of the table */
    const char *arg;       /* what the value is called; NULL for a flag */
    enum opt_kind kind;
    size_t offset; /* in struct options */
    uint64_t min, max;
    const char *help;
};

/*
 * Parses argv[0..argc). Options and arguments may be mixed; `--` ends the options; -abc, -nVALUE, -n VALUE, --name=VALUE, --name VALUE. What is no option
 * goes to args; with stop_at_arg parsing ends at the first of them.
 * Returns the number of elements consumed, or -EINVAL.
 */
int ctl_opt_parse(const struct opt_def *const *tables, int argc, char **argv, bool stop_at_arg, struct options *o, struct text_list *args, struct diag *d);
int ctl_list_add(struct text_list *l, const char *item);
void ctl_list_done(struct text_list *l);
void ctl_options_done(struct options *o);
void ctl_opt_print(const struct opt_def *table); /* for help */

extern const struct opt_def ctl_opts_cert[], ctl_opts_common[], ctl_opts_list[], ctl_opts_run[], ctl_opts_request[], ctl_opts_deploy[], ctl_opts_logs[],
    ctl_opts_rm[], ctl_opts_foreign[], ctl_opts_doctor[], ctl_opts_exec[], ctl_opts_token[], ctl_opts_secret[], ctl_opts_new[], ctl_opts_build[],
    ctl_opts_export[], ctl_opts_none[];

/* ---- verbs ---- */

#define VERB_COMMAND UINT32_MAX

struct ctl;
struct stat;

struct verb {
    const char *name; /* NULL: the end of the table */
    const char *aliases[3];
    const char *args; /* for the usage line */
    const char *summary;
    const char *details; /* paragraphs, or NULL */
    int (*run)(struct ctl *ctl, const struct text_list *args);
    unsigned min_args, max_args;   /* max_args VERB_COMMAND: what follows the first is another program's, and options of ours end there */
    const struct opt_def *opts[4]; /* NULL-terminated */
};

extern const struct verb ctl_verbs[];
const struct verb *verb_find(const char *name);                                                         /* by name or alias; NULL */
const char *verb_similar(const char *name);                                                             /* what was probably meant; NULL */
int verb_unknown(const char *name);                                                                     /* says so; CTL_USAGE */
void ctl_nearest(const char *given, const char *candidate, const char **best, unsigned *best_distance); /* is it nearer than what is there? */

int verb_cert(struct ctl *ctl, const struct text_list *args);
int verb_config(struct ctl *ctl, const struct text_list *args);
int verb_reload(struct ctl *ctl, const struct text_list *args);
int verb_deploy(struct ctl *ctl, const struct text_list *args);
int verb_doctor(struct ctl *ctl, const struct text_list *args);
int verb_exec(struct ctl *ctl, const struct text_list *args);
int verb_export(struct ctl *ctl, const struct text_list *args);
int verb_help(struct ctl *ctl, const struct text_list *args);
int verb_import(struct ctl *ctl, const struct text_list *args);
int verb_invoke(struct ctl *ctl, const struct text_list *args);
int verb_build(struct ctl *ctl, const struct text_list *args);
int verb_login(struct ctl *ctl, const struct text_list *args);
int verb_logs(struct ctl *ctl, const struct text_list *args);
int verb_ls(struct ctl *ctl, const struct text_list *args);
int verb_new(struct ctl *ctl, const struct text_list *args);
int verb_passwd(struct ctl *ctl, const struct text_list *args);
int verb_plan(struct ctl *ctl, const struct text_list *args);
int verb_profile(struct ctl *ctl, const struct text_list *args);
int verb_restart(struct ctl *ctl, const struct text_list *args);
int verb_rm(struct ctl *ctl, const struct text_list *args);
int verb_images(struct ctl *ctl, const struct text_list *args);
int verb_prune(struct ctl *ctl, const struct text_list *args);
int verb_runtime(struct ctl *ctl, const struct text_list *args);
int verb_run(struct ctl *ctl, const struct text_list *args);
int verb_secret(struct ctl *ctl, const struct text_list *args);
int verb_scale(struct ctl *ctl, const struct text_list *args);
int verb_shell(struct ctl *ctl, const struct text_list *args);
int verb_start(struct ctl *ctl, const struct text_list *args);
int verb_status(struct ctl *ctl, const struct text_list *args);
int verb_stop(struct ctl *ctl, const struct text_list *args);
int verb_token(struct ctl *ctl, const struct text_list *args);
int verb_version(struct ctl *ctl, const struct text_list *args);

void verb_print_usage(const struct verb *v);

/* ---- the running command ---- */

/* A descriptor that is looked at during every wait. on_ready returns 0, or a reason to give up what is being waited for (ctl.stop). */
struct watch {
    int fd;
    int (*on_ready)(void *arg);
    void *arg;
};

#define CTL_WATCHES 4

#define SECRET_MAX    255
#define PROFILE_LOCAL "local" /* the profile that is none: the unix socket */

/* A daemon somewhere else. */
struct remote {
    char origin[300];    /* "https://fn.example.org:443" */
    char path[256];      /* before /admin and /fn; "" or "/prefix" */
    char functions[556]; /* where functions are called, if elsewhere (gateway.public_url) */
    bool https, loopback;
    bool insecure;               /* credentials may go over plain http */
    char secret[SECRET_MAX + 1]; /* the administrator's password, or a token */
    char cacert[4096];           /* "": the host's certificates */
};

struct ctl {
    struct options *o;
    const char *socket;                       /* of the daemon, where it is not remote */
    bool remote_known, is_remote, is_private; /* private: a daemon of our own */
    struct remote remote;                     /* is_remote, once ctl_remote_need() has been called */
    struct watch watches[CTL_WATCHES];
    unsigned nwatches;
    int stop;            /* set by a watch; calls then fail at once and silently */
    const char *fetched; /* what the archive that is sent was made of: messages say that, not the file; or NULL */
    struct api *api;
};

/* "fnctl: TEXT" on standard error, with what a terminal would obey replaced. Returns code. */
int ctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int ctl_fail_diag(int code, const struct diag *d);

/*
 * Waits until fd (-1: none) has one of events, for at most timeout_ms (-1: for ever), serving the watches meanwhile. 1 ready, 0 timeout, -ECANCELED when
 * ctl->stop is set, -errno.
 */
int ctl_wait(struct ctl *ctl, int fd, short events, int timeout_ms);
int ctl_watch(struct ctl *ctl, int fd, int (*on_ready)(void *arg), void *arg);
void ctl_unwatch(struct ctl *ctl, int fd);
/* To standard output, never blocking for longer than the watches are quiet. */
int ctl_write(struct ctl *ctl, const void *data, size_t len);
int ctl_puts(struct ctl *ctl, const char *text);

/* ---- where the daemon is ---- */

int ctl_remote_parse(const char *url, struct remote *ret, struct diag *d);   /* without credentials */
int ctl_remote_check(const struct remote *r, bool insecure, struct diag *d); /* -EPERM: its secret would go over the wire for all to read */
bool ctl_remote_is_token(const char *secret);
int ctl_remote_need(struct ctl *ctl);                     /* decides, once: CTL_OK, or an exit code with a message */
void ctl_remote_none(struct ctl *ctl);                    /* the socket, whatever was said */
int ctl_remote_refuse(struct ctl *ctl, const char *what); /* of what the socket alone has: CTL_OK there, CTL_USAGE with a message elsewhere */

int ctl_profile_load(const char *name, struct remote *ret, struct diag *d);
int ctl_profile_save(const char *name, const struct remote *p, struct diag *d);
int ctl_profile_use(const char *name, struct diag *d);
int ctl_profile_current(char *buf, struct diag *d); /* 1: buf of NAME_PART_MAX + 1 has its name; 0: none */
int ctl_profile_remove(const char *name, struct diag *d);
int ctl_profile_each(int (*fn)(void *arg, const char *name), void *arg, struct diag *d);

/* A line from the terminal without echo (twice: both must be the same), or from a pipe; buf is to be wiped by who asked. */
int ctl_secret_read(const char *prompt, bool twice, char *buf, size_t size, struct diag *d);

/* The --secret of `run`: what they say makes sense; then, with the daemon there, they are set. */
int ctl_secrets_check(const struct options *o);
int ctl_secrets_put(struct ctl *ctl);

/* ---- request bodies ---- */

struct image_order;

struct body {
    /* Bytes read, 0 at the end, -EAGAIN when wait_fd has nothing yet, another negative errno with the reason in diag. */
    ssize_t (*read)(struct body *b, char *buf, size_t size);
    void (*done)(struct body *b);
    int64_t size; /* -1: not known */
    int wait_fd;
    struct diag diag;
    const char *name; /* of the archive that it is, for messages; borrowed, or NULL */
    /* for the kinds in ctl_body.c */
    int fd;
    const char *text;
    char *head; /* read already */
    size_t len, pos;
    void *more; /* ctl_pack.c */
    struct image_order *arranged;
};

void ctl_body_init(struct body *b);
void ctl_body_done(struct body *b); /* of any kind, or of none */
void ctl_body_text(struct body *b, const char *text);
void ctl_body_bytes(struct body *b, const char *data, size_t len);   /* borrowed, both */
int ctl_body_file(struct body *b, const char *path, struct diag *d); /* an open regular file knows its size */
void ctl_body_fd(struct body *b, int fd);                            /* takes fd */
/* The same of an OCI layout in a directory. */
int ctl_image_directory(struct body *b, const char *path, struct diag *d);
/* Names of one directory, "" the top, in another order. */
void ctl_image_arrange(const struct image_order *o, const char *path, char **names, size_t count);
void ctl_body_image(struct body *b); /* of a file: an image's archive is read in the order in which it is unpacked; any other as it is (ctl_image.c) */
/* Standard input if something is piped into it: 1 with *b set; 0 when there is nothing (a terminal, /dev/null, closed, empty). */
int ctl_body_piped(struct ctl *ctl, struct body *b, struct diag *d);

/*
 * A directory as a tar in GNU's form: names sorted, times zero, symlinks as they are. Owners are kept (0..65535) only where the directory itself is root's, else all
 * is root's. The whole tree is
 * looked at before the first byte: sockets, FIFOs, devices and what cannot be read are refused by name.
 */
int ctl_pack_directory(struct body *b, const char *path, struct diag *d);

struct ignore; /* project/project.h */

struct pack_options {
    const struct ignore *ignore; /* NULL: nothing is left out */
    const char *ini;             /* stands in for the directory's function.ini; NULL: what is there */
    bool uniform;                /* the same bytes wherever the same files lie: owners 0, modes 0644 and 0755 */
    size_t said;                 /* of the path, as in struct source */
    const struct stat *skip;     /* nskip files that are not taken: the one that is being written, and what it replaces */
    unsigned nskip;
    void (*on_bytes)(void *arg, uint64_t done, uint64_t total); /* of the files' contents; NULL: nobody asks */
    void *arg;
    const struct image_order *order; /* another order of names than their own (ctl_image.c); NULL */
};
/* o is copied; what it points to must stay until the body is done. */
int ctl_pack_with(struct body *b, const char *path, const struct pack_options *o, struct diag *d);

/* ---- source: the argument of run and deploy ---- */

enum source_kind { SOURCE_DIRECTORY, SOURCE_ARCHIVE };

struct source {
    enum source_kind kind;
    char path[4096];
    size_t said; /* so much of the path is the caller's word, the rest of it the project's (beneath_dir()); 0: all is the caller's */
};

int ctl_source_find(const char *arg, struct source *ret, struct diag *d);
/* Of a tree that need not be a function: any directory, archive, or sample. */
int ctl_source_find_tree(const char *arg, struct source *ret, struct diag *d);
/* With `samples` in place of the directory of the running program, and `share` of FND_SHARE: for tests. */
int ctl_source_find_in(const char *arg, const char *samples, const char *share, struct source *ret, struct diag *d);
bool ctl_source_is_archive(const char *path); /* by its magic */
int ctl_source_open(const struct source *s, struct body *b, struct diag *d);
/* A directory whose function.ini says no name is called like itself: the name goes to buf of NAME_PART_MAX + 1. False where there is nothing to say. */
bool ctl_source_name(const struct source *s, char *buf);
int ctl_exe_dir(char *buf, size_t size); /* of the running program */

/* ---- API ---- */

struct api_call {
    const char *method, *target; /* path and query, escaped */
    struct body *body;           /* or NULL */
    const char *const *headers;  /* "Name: value", or NULL */
    unsigned nheaders;
    bool raw; /* any status is an answer: no message, all bytes to on_data */
    bool no_timeout;
    bool quiet;          /* what cannot be reached is no reason for a message */
    const char *subject; /* before the message of an answer that refuses what the body holds; or NULL */
    /* Of an error's answer: true where the caller makes something of it, then there is no message. NULL: never. With arg. */
    bool (*expects)(void *arg, const json_t *error);
    /* 2xx bodies go here; NULL: they are collected in answer. Returns 0 or -errno. */
    int (*on_data)(void *arg, const char *data, size_t len);
    void *arg;
    /* results */
    int status; /* known in on_data */
    struct strbuf answer;
    json_t *error; /* of an error answer; NULL if it was no JSON object */
    int data_err;  /* what on_data said */
};

void ctl_api_call_done(struct api_call *c);
/* Prints the message of whatever went wrong (never when ctl->stop is set) and returns the exit code. */
int ctl_api_perform(struct ctl *ctl, struct api_call *c);
/* target is formatted. *ret: a JSON object, the caller's; NULL when not wanted. */
int ctl_api_json(struct ctl *ctl, const char *method, const char *target, const char *body, json_t **ret);
void ctl_api_free(struct ctl *ctl);

/* name "NAME" or "NAME.ENV": checked; on success buf has it as it goes into a path. CTL_USAGE with a message otherwise. */
int ctl_api_function(const char *name, char *buf);
void ctl_api_quote(struct strbuf *b, const char *text); /* percent-encoded */
/* METHOD /api/v1/functions/NAME[/ACTION] for the simple verbs. */
int ctl_api_change(struct ctl *ctl, const char *method, const char *name, const char *action, const char *body, json_t **ret);

/* Takes a whole HTTP/1.1 answer apart, changing it. -EPROTO when it is broken or not all there. */
int ctl_answer_parse(char *raw, size_t len, int *ret_status, char **ret_body, size_t *ret_len);

int ctl_fail_connect(const struct ctl *ctl, int err); /* says why the daemon cannot be reached */
int ctl_exit_of_answer(int status, const char *code);
int ctl_exit_of_connect(int err);

/* ---- deploying, requests, logs: used by more than one verb ---- */

int ctl_deploy_check(const struct options *o); /* --name, --env-name, --env: CTL_OK, or CTL_USAGE with a message */
/* Uploads; *ret_function is the FUNCTION of the answer. A failure prints the message and the instance's last lines. */
int ctl_deploy(struct ctl *ctl, struct body *b, json_t **ret_function);
/*
 * The same, and where the daemon has not the runtime that the package names, but has(name) says that it can be given to it: no message, CTL_FAILED, and the name in missing (NAME_PART_MAX + 1 bytes, else "").
 * What is in an archive is known to the daemon's jail alone, which asks in this way.
 */
int ctl_deploy_asking(struct ctl *ctl, struct body *b, bool (*has)(const char *name), char *missing, json_t **ret_function);
/* Puts what b holds as the runtime of that (valid) name, and says so. */
int ctl_runtime_put(struct ctl *ctl, const char *name, struct body *b);
int ctl_request_check(struct options *o); /* the request options make sense, --request-file is read: CTL_OK, or a message's code */
/* One request to the function as -X, -H, -d and --path say; the body goes to standard output. piped: standard input may be the body. */
int ctl_request_send(struct ctl *ctl, const char *function, bool piped);
int ctl_logs(struct ctl *ctl, const char *function, const char *instance, uint64_t lines, bool follow);

/* ---- exec ---- */

struct exec_call {
    const char *function;    /* "NAME" or "NAME.ENV", checked */
    const char *instance;    /* NULL: the daemon chooses */
    const char *const *argv; /* argc words */
    unsigned argc;
    bool shell; /* the command is the default one */
    bool tty, interactive;
    char chosen[NAME_INSTANCE_MAX + 1]; /* by the daemon */
    int sock;
};

/* Asks the daemon; then everything until the command's end. The exit code: the command's, 128 + signal, 126 or 127 when it could not be executed. */
int ctl_exec(struct ctl *ctl, struct exec_call *c);
int ctl_session(const struct exec_call *c);

/* ---- text ---- */

const char *ctl_json_text(const json_t *o, const char *key, const char *missing); /* borrowed */
uint64_t ctl_json_uint(const json_t *o, const char *key);
double ctl_json_real_or(const json_t *o, const char *key, double missing);
int ctl_print_json(struct ctl *ctl, const json_t *j);

/* "3s", "5m", "2h", "9d" since an RFC 3339 time; "-" where there is none. buf of TEXT_MAX. Returns buf. */
#define TEXT_MAX 64
const char *ctl_text_age(const char *rfc3339, uint64_t now_s, char *buf);
int ctl_text_parse_time(const char *rfc3339, uint64_t *ret_s);
const char *ctl_text_size(uint64_t bytes, char *buf);
const char *ctl_text_seconds(double s, char *buf); /* "500ms", "60s" */
void ctl_text_clean(char *s);                      /* control characters to '?', in place */
unsigned ctl_text_width(const char *s);            /* columns: one per code point */
bool ctl_text_is_env(const char *assignment);      /* KEY=VALUE */

/* Terminal control out of a stream of UTF-8 text; keeps its state from call to call. */
struct text_filter {
    unsigned char lead, left;
};
void ctl_text_filter(struct text_filter *f, const char *data, size_t len, struct strbuf *out);

struct table {
    unsigned columns;
    const char *const *heads; /* ">HEAD" is aligned to the right */
    char **cells;
    unsigned count, room;
    bool failed;
};
void ctl_table_init(struct table *t, const char *const *heads, unsigned columns);
void ctl_table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ctl_table_format(const struct table *t, struct strbuf *out);
void ctl_table_done(struct table *t);

/* Writes a buffer that was built for standard output; CTL_OK or CTL_FAILED. */
int ctl_flush(struct ctl *ctl, const struct strbuf *b);

#define cleanup_json __attribute__((cleanup(json_decrefp)))
