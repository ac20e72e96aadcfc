/*
 * api_private.h: shared by the files of api/ alone.
 *
 * One `api_call` is one request under way, from the dispatcher to its answer or its abort; both end in api_call_free(), which takes back everything that
 * is still pending (a request to the runner, statistics, timers). After any api_reply_*() or api_fail*() the call is gone. Calls are handed to one
 * handler by the routing table of api.c.
 */
#pragma once

#include "../gateway.h"
#include "../metrics/metrics.h"
#include "api.h"
#include "names.h"
#include "ringlog.h"
#include "str.h"

#include <jansson.h>

/* ---- api_query.c: pure ---- */

struct query_param {
    const char *key, *value;
};

struct query {
    struct query_param *params;
    unsigned count;
    char *storage;
};

/* "a=1&b=%32": strict percent-decoding (no %00, '+' is a plus), empty parts skipped, no '=' means an empty value. -EINVAL. */
int query_parse(const char *text, struct query *ret, struct diag *d);
void query_done(struct query *q);
const char *query_get(const struct query *q, const char *key); /* the first, or NULL */

/* Are all keys among `allowed` (separated by blanks), and each there once, but for those written "key*"? -EINVAL. */
int query_check(const struct query *q, const char *allowed, struct diag *d);

/* Decodes in place; len bytes at s (more may follow) become a terminated string. *ret_len may be NULL. -EINVAL for a broken escape or a NUL. */
int percent_decode(char *s, size_t len, size_t *ret_len);

/* ---- api_json.c: pure ---- */

/* Appends text as valid UTF-8: what is not becomes U+FFFD, NULs vanish. */
void utf8_sanitize(struct strbuf *out, const char *text, size_t len);

/* All return NULL without memory; strings become valid UTF-8. */
json_t *api_json_text(const char *text, size_t len);
json_t *api_json_instance(const struct gw_instance *inst);
json_t *api_json_instances(const struct gw_function *f); /* an array */
json_t *api_json_function(const struct picture *p, const struct gw_function *f);
json_t *api_json_host(const struct record_host *rec);

/* {"replicas": N or "auto"}, nothing else. */
int api_parse_scale(const char *body, size_t len, uint32_t *ret_replicas, struct diag *d);

/* ---- api_errors.c: pure ---- */

const struct api_error *api_error_find(int err);

/* ---- api.c ---- */

struct api_call;

enum api_right { API_READ, API_CHANGE };

struct api_route {
    const char *method, *pattern; /* behind API_PREFIX; "*" is a function, "+" another name */
    void (*serve)(struct api_call *c);
    enum api_right right;
    bool without_runner; /* answers while the picture is not complete */
    const char *params;  /* as query_check() takes them */
    const char *verb;    /* for the log */
};

struct api_call {
    struct exchange *ex;
    struct worker *worker;
    const struct api_route *route;
    char who[96];                     /* "uid:0", "admin", "token:NAME" */
    struct fn_id id;                  /* of "*", when it is a function */
    char name[NAME_FUNCTION_MAX + 1]; /* "*" as text; empty: none */
    struct query query;
    struct stats_wait stats;
    uint64_t link_id;                                                            /* of the request under way, 0: none */
    void (*on_ok)(struct api_call *c, const struct record_reply *reply, int fd); /* its REPLY came, without an error; fd is the callee's */
    void (*on_body)(struct api_call *c);                                         /* api_take_body() */
    void (*on_text)(struct api_call *c);                                         /* api_ask_text() */
    struct strbuf text;                                                          /* a body, or TEXT records, as they come */
    json_t *json;                                                                /* what is being put together */
    unsigned uses;                                                               /* RECORD_IMAGEs that came */
    void *state;                                                                 /* of a handler with more to remember */
    void (*free_state)(struct api_call *c);
};

void api_reply_json(struct api_call *c, int status, json_t *body); /* takes body; NULL: 503 */
void api_reply_text(struct api_call *c, const char *text, size_t len);
void api_fail(struct api_call *c, const struct diag *d);
void api_fail_set(struct api_call *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void api_audit(const struct api_call *c, int status);
void api_call_free(struct api_call *c);
void api_on_abort(struct exchange *ex, void *arg); /* frees the call */

/* Sends a request whose REPLY goes to on_ok, and whose errors to api_fail. Fails the call when it cannot be sent. rec->id is filled in. */
void api_ask_with(struct api_call *c, struct record_head *rec, int fd,
                  void (*on_ok)(struct api_call *c, const struct record_reply *reply, int fd)); /* fd borrowed */
void api_ask(struct api_call *c, struct record_head *rec, void (*on_ok)(struct api_call *c, const struct record_reply *reply, int fd));

/* The same, answered with {}. */
void api_ask_empty(struct api_call *c, struct record_head *rec);
/* The same with a record that holds a secret out of the body: where err < 0 it is not sent, and d is the answer. The body and the record are wiped. */
void api_ask_secret(struct api_call *c, struct record_head *rec, int err, const struct diag *d);

/* The same with a request that TEXT records answer: then all of it is in c->text. */
void api_ask_text(struct api_call *c, struct record_head *rec, void (*done)(struct api_call *c));

/* The function that the path names; NULL after having answered 404. */
struct gw_function *api_call_function(struct api_call *c);

/* Sends a request whose answer comes in several records; on_record sees those and the REPLY. */
void api_ask_many(struct api_call *c, struct record_head *rec, link_reply_fn *on_record);
/* In on_record: true: the answer is complete and without an error. After false for a REPLY, the call is gone. */
bool api_replied(struct api_call *c, const struct record_head *rec, int fd);

/* ---- api_access.c: api_serve() ---- */

/* Serves a request of somebody who may; who: for the log. */
void api_dispatch(struct exchange *ex, const char *who);

/* ---- api_body.c ---- */

/* fn is called with the whole body in c->text; 413 above 64 KB. */
void api_take_body(struct api_call *c, void (*fn)(struct api_call *c));
json_t *api_body_object(struct api_call *c, struct diag *d); /* the body as a JSON object, the caller's; NULL */

/* ---- api_upload.c ---- */

struct upload {
    struct api_call *call;
    void (*on_done)(struct upload *u, const struct record_reply *reply); /* the runner has made of it what was asked: answers */
    uint64_t id;                                                         /* of the request, while the runner has not replied */
    int pipe_fd;                                                         /* write end; -1 when all is written or nobody reads */
    struct watch watch;
    struct timer timer; /* the end of swallowing; then on_done's */
    uint64_t taken, swallowed, max_bytes;
    bool body_over, ended; /* ended: DEPLOY_END was sent, or need not be */
    struct diag failure;   /* err != 0: the rest of the body is swallowed */
    /* of on_done */
    uint64_t function;
    uint32_t version;
    unsigned tries;
};

/* Takes u (malloced, with on_done set). request makes its record and sends it by api_upload_send(). */
void api_upload(struct api_call *c, struct upload *u, int (*request)(struct upload *u, struct diag *d));
int api_upload_send(struct upload *u, struct record_head *rec, struct diag *d);

/* ---- handlers ---- */

void api_whoami(struct api_call *c);
void api_get_tokens(struct api_call *c);
void api_add_token(struct api_call *c);
void api_remove_token(struct api_call *c);
void api_set_password(struct api_call *c);
void api_get_secrets(struct api_call *c);
void api_set_secret(struct api_call *c);
void api_remove_secret(struct api_call *c);
void api_get_openapi(struct api_call *c);

void api_get_version(struct api_call *c);
void api_get_config(struct api_call *c);
void api_reload(struct api_call *c);
void api_get_plan(struct api_call *c);
void api_get_host(struct api_call *c);
void api_get_functions(struct api_call *c);
void api_get_function(struct api_call *c);
void api_get_instances(struct api_call *c);
void api_get_all_instances(struct api_call *c);
void api_remove(struct api_call *c);
void api_scale(struct api_call *c);
void api_start(struct api_call *c);
void api_stop(struct api_call *c);
void api_restart(struct api_call *c);
void api_deploy(struct api_call *c);
void api_logs(struct api_call *c);
void api_exec(struct api_call *c);
void api_export(struct api_call *c);
void api_put_runtime(struct api_call *c);
void api_get_runtimes(struct api_call *c);
void api_remove_runtime(struct api_call *c);
void api_get_images(struct api_call *c);
void api_prune(struct api_call *c);

/* ---- api_log_notes.c: the runner's notes in a ring log ---- */

struct log_notes {
    uint64_t from, seen;              /* notes before that position of the ring, and those up to that number, are not shown */
    struct ringlog_note next;         /* number 0: none is known */
    char text[RINGLOG_NOTE_MAX + 64]; /* what log_notes_next() returned last */
};

/* For a reader that begins at pos; skip: notes that are there already are not shown. */
void log_notes_begin(struct log_notes *n, int fd, uint64_t pos, bool skip);

/* The next note that is due at pos (at_end: whatever its position), as a line; NULL when there is none: *want is then shortened so that reading stops where the next one belongs. */
const char *log_notes_next(struct log_notes *n, int fd, uint64_t pos, bool at_end, size_t *want);

/* ---- api_logs.c ---- */

/* The last n lines of a ring log, an array of strings; at most 64 KB of it. */
int api_last_lines(int fd, unsigned n, json_t **ret);
