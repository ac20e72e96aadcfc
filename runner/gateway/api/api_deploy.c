/*
 * api_deploy.c: POST /functions: the body is an archive and goes through a pipe to the runner, which gives it to the unpack jail. Nothing of it is
 * looked at or kept here.
 *
 * The pipe's write end never blocks: a full pipe pauses the client until EPOLLOUT. The read end is the runner's alone as soon as the request is sent, so
 * its reader's end shows as EPIPE, which is no error yet: an archive may be over before its last padding. What the runner says counts.
 *
 * A deploy that fails while the client still sends: most clients read the answer only when they are through with sending, or see a broken pipe instead
 * when the connection is closed on them. So the rest of the body is taken and thrown away, within bounds of bytes and time, and then comes the answer.
 */
#include "api_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define PIPE_BYTES    (256 * 1024)
#define SWALLOW_BYTES (256ULL * 1024 * 1024)
#define SWALLOW_NS    (3 * NS_PER_SEC)
#define PICTURE_NS    (5 * NS_PER_MS)
#define PICTURE_TRIES 200
#define REPLICAS_MAX  100000U

struct deploy {
    struct api_call *call;
    uint64_t id; /* of the request, while the runner has not replied */
    int pipe_fd; /* write end; -1 when all is written or nobody reads */
    struct watch watch;
    struct timer timer; /* the end of swallowing; then: looks for the function in the picture */
    uint64_t taken, swallowed, max_bytes;
    bool body_over, ended; /* ended: DEPLOY_END was sent, or need not be */
    struct diag failure;   /* err != 0: the rest of the body is swallowed */
    uint64_t function;
    uint32_t version;
    unsigned tries;
};

static void deploy_end(struct deploy *dp, uint32_t complete)
{
    struct record_deploy_end rec = {.head = RECORD_INIT(RECORD_DEPLOY_END, dp->id), .complete = complete};

    loop_unwatch(&dp->watch);
    dp->pipe_fd = fd_close(dp->pipe_fd);
    if (dp->id && !dp->ended)
        link_send(worker_link(dp->call->worker), &rec.head);
    dp->ended = true;
}

/*
 * Whatever the way the call ended: an archive that did not arrive whole is given up. One that did is deployed, even if the client does not wait for the
 * outcome.
 */
static void deploy_free(struct api_call *c)
{
    struct deploy *dp = c->state;

    deploy_end(dp, 0);
    if (dp->id)
        link_forget(worker_link(c->worker), dp->id);
    loop_disarm(&dp->timer);
    free(dp);
}

static void answer_failure(struct deploy *dp)
{
    api_fail(dp->call, &dp->failure);
}

static void on_swallowed_enough(struct timer *t)
{
    answer_failure(t->owner);
}

/* Ends the call at once if the body is over. The call may be gone afterwards. */
static void deploy_fail(struct deploy *dp, const struct diag *d)
{
    bool paused = dp->watch.loop;

    if (dp->failure.err)
        return;
    dp->failure = *d;
    deploy_end(dp, 0);
    dp->timer.on_expire = on_swallowed_enough;
    if (dp->body_over || loop_arm_in(worker_loop(dp->call->worker), &dp->timer, SWALLOW_NS) < 0)
        answer_failure(dp);
    else if (paused)
        exchange_resume_body(dp->call->ex);
}

static void deploy_fail_set(struct deploy *dp, int err, const char *text)
{
    struct diag d;

    diag_set(&d, err, "%s", text);
    deploy_fail(dp, &d);
}

static void fail_too_large(struct deploy *dp)
{
    struct diag d;

    diag_set(&d, EFBIG, "the archive is larger than %llu bytes: raise gateway.max_archive", (unsigned long long)dp->max_bytes);
    deploy_fail(dp, &d);
}

/* ---- the body ---- */

static void on_pipe(struct watch *w, uint32_t events)
{
    struct deploy *dp = w->owner;

    loop_unwatch(w);
    exchange_resume_body(dp->call->ex);
}

/* Returns how much went away, less than len when the pipe is full. */
static size_t write_pipe(struct deploy *dp, const char *data, size_t len)
{
    ssize_t n;
    int err;

    do
        n = write(dp->pipe_fd, data, len);
    while (n < 0 && errno == EINTR);
    err = errno;
    if (n < 0 && err != EAGAIN) { /* EPIPE: nobody reads any more */
        dp->pipe_fd = fd_close(dp->pipe_fd);
        return len;
    }
    n = n < 0 ? 0 : n;
    if ((size_t)n < len && loop_watch(worker_loop(dp->call->worker), &dp->watch, dp->pipe_fd, EPOLLOUT, on_pipe, dp) < 0) {
        deploy_fail_set(dp, ENOMEM, "not enough memory to wait for the pipe");
        return len;
    }
    return (size_t)n;
}

static size_t swallow(struct deploy *dp, size_t len)
{
    dp->swallowed += len;
    if (dp->swallowed > SWALLOW_BYTES)
        answer_failure(dp);
    return len;
}

static size_t deploy_body(struct exchange *ex, void *arg, const char *data, size_t len)
{
    struct deploy *dp = ((struct api_call *)arg)->state;
    size_t n = len;

    if (dp->failure.err)
        return swallow(dp, len);
    if (dp->watch.loop) /* paused: it goes on when the pipe can be written */
        return 0;
    if (dp->taken + len > dp->max_bytes) {
        fail_too_large(dp);
        return len;
    }
    /* Counted before: a failure inside may end the call. */
    dp->taken += len;
    if (dp->pipe_fd >= 0) {
        n = write_pipe(dp, data, len);
        if (n < len)
            dp->taken -= len - n;
    }
    return n;
}

static void deploy_body_end(struct exchange *ex, void *arg)
{
    struct deploy *dp = ((struct api_call *)arg)->state;

    dp->body_over = true;
    if (dp->failure.err)
        answer_failure(dp);
    else if (dp->taken == 0)
        deploy_fail_set(dp, EINVAL, "the body is empty: it must be the archive");
    else
        deploy_end(dp, 1);
}

/* ---- the answer ---- */

static const struct gw_function *deployed_function(const struct deploy *dp)
{
    const struct gw_function *f = worker_picture(dp->call->worker)->functions;

    while (f && f->rec.function != dp->function)
        f = f->next;
    return f && f->rec.version >= dp->version ? f : NULL;
}

/* What the runner's TEXT records said, line by line, as "notes". */
static json_t *add_notes(const struct api_call *c, json_t *function)
{
    json_t *notes = json_array();
    const char *line = c->text.data ? c->text.data : "";

    for (size_t len; *line; line += len + (line[len] == '\n')) {
        len = strcspn(line, "\n");
        if (len > 0 && json_array_append_new(notes, api_json_text(line, len)) < 0)
            break;
    }
    if (function && json_array_size(notes) > 0)
        json_object_set(function, "notes", notes);
    json_decref(notes);
    return function;
}

/* A version that does not start may be the one that a note is about. */
static void fail_noted(struct deploy *dp, const struct diag *d)
{
    struct diag with = *d;
    size_t len = strlen(with.text);

    if (dp->call->text.len > 0)
        snprintf(with.text + len, sizeof(with.text) - len, " (%s)", dp->call->text.data);
    for (char *p = with.text + len; *p; p++) /* each note ends its line */
        if (*p == '\n')
            *p = ';';
    deploy_fail(dp, &with);
}

/* The runner pushes the function before it replies; a picture that is a little behind is waited for. */
static void answer_function(struct timer *t)
{
    struct deploy *dp = t->owner;
    struct api_call *c = dp->call;
    const struct gw_function *f = deployed_function(dp);

    if (f) {
        name_format(&f->rec.fn, c->name);
        api_reply_json(c, 201, add_notes(c, api_json_function(worker_picture(c->worker), f)));
    } else if (dp->tries++ >= PICTURE_TRIES || loop_arm_in(worker_loop(c->worker), t, PICTURE_NS) < 0) {
        api_fail_set(c, EIO, "version %u was deployed, and the runner does not show it", dp->version);
    }
}

static void on_reply(void *arg, const struct record_head *rec, int fd)
{
    struct deploy *dp = arg;
    const struct record_reply *reply = (const struct record_reply *)rec;

    if (rec->type == RECORD_TEXT && dp->call->text.len == 0)
        strbuf_add(&dp->call->text, ((const struct record_text *)rec)->text, ((const struct record_text *)rec)->len);
    if (rec->type != RECORD_REPLY)
        return;
    fd_close(fd);
    dp->id = 0;
    if (dp->failure.err)
        return; /* the answer is on its way already */
    if (reply->diag.err) {
        fail_noted(dp, &reply->diag);
    } else if (!dp->body_over) {
        deploy_fail_set(dp, EIO, "the runner finished before the archive was complete");
    } else {
        dp->function = reply->function;
        dp->version = reply->version;
        dp->timer.on_expire = answer_function;
        answer_function(&dp->timer);
    }
}

/* ---- the request ---- */

static int add_var(struct record_deploy *rec, const char *var, struct diag *d)
{
    const char *equals = strchr(var, '=');
    size_t len = strlen(var) + 1;

    if (!equals || equals == var)
        return diag_set(d, EINVAL, "var=\"%.60s\" is not KEY=VALUE", var);
    if (len > sizeof(rec->vars) - rec->vars_len)
        return diag_set(d, E2BIG, "the variables are longer than %zu bytes: put them into the package's env_file", sizeof(rec->vars));
    memcpy(rec->vars + rec->vars_len, var, len);
    rec->vars_len += (uint32_t)len;
    return 0;
}

static int add_set(struct record_deploy *rec, const char *set, struct diag *d)
{
    size_t len = strlen(set) + 1;

    if (len > sizeof(rec->sets) - rec->sets_len)
        return diag_set(d, E2BIG, "the settings (set=) are longer than %zu bytes: put them into the package's function.ini", sizeof(rec->sets));
    memcpy(rec->sets + rec->sets_len, set, len);
    rec->sets_len += (uint32_t)len;
    return 0;
}

static int parse_name(const struct query *q, struct fn_id *ret, struct diag *d)
{
    const char *name = query_get(q, "name"), *env = query_get(q, "environment");
    struct fn_id id;
    int r;

    if (name)
        return name_make(name, env, ret, d);
    /* function.ini will say the name; the environment is checked with one that is valid. */
    r = name_make("x", env, &id, d);
    if (r < 0)
        return r;
    id.name[0] = '\0';
    *ret = id;
    return 0;
}

static int parse_query(const struct query *q, struct record_deploy *rec, struct diag *d)
{
    const char *replicas = query_get(q, "replicas");
    uint64_t n = 0;
    int r = parse_name(q, &rec->fn, d);

    if (r < 0)
        return r;
    if (replicas && (str_parse_uint(replicas, REPLICAS_MAX, &n) < 0 || n == 0))
        return diag_set(d, EINVAL, "replicas=\"%.20s\" is not a number from 1 to %u", replicas, REPLICAS_MAX);
    rec->replicas = (uint32_t)n;
    for (unsigned i = 0; i < q->count && r == 0; i++)
        if (strcmp(q->params[i].key, "var") == 0)
            r = add_var(rec, q->params[i].value, d);
        else if (strcmp(q->params[i].key, "set") == 0)
            r = add_set(rec, q->params[i].value, d);
    return r;
}

/* Only our end is non-blocking: the two ends are two open file descriptions, and the reader may rely on waiting. */
static int open_pipe(int *ret_read_fd, int *ret_write_fd)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    if (fd_set_nonblock(fds[1], 1) < 0) {
        fd_close(fds[0]);
        fd_close(fds[1]);
        return -EIO;
    }
    fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* refused above the user's share of pipe memory: slower, no error */
    *ret_read_fd = fds[0];
    *ret_write_fd = fds[1];
    return 0;
}

static int deploy_start(struct api_call *c, struct deploy *dp, struct diag *d)
{
    cleanup_free struct record_deploy *rec = calloc(1, sizeof(*rec));
    cleanup_fd int read_fd = -1;
    int r;

    if (!rec)
        return diag_set(d, ENOMEM, "not enough memory");
    rec->head = (struct record_head)RECORD_INIT(RECORD_DEPLOY, 0);
    r = parse_query(&c->query, rec, d);
    if (r < 0)
        return r;
    if (*rec->fn.name)
        name_format(&rec->fn, c->name);
    r = open_pipe(&read_fd, &dp->pipe_fd);
    if (r < 0)
        return diag_errno(d, -r, "pipe");
    r = link_request(worker_link(c->worker), &rec->head, read_fd, on_reply, dp, &dp->id);
    return r < 0 ? diag_errno(d, -r, "the archive could not be offered to the runner") : 0;
}

void api_deploy(struct api_call *c)
{
    static const struct exchange_handler handler = {.on_body = deploy_body, .on_body_end = deploy_body_end, .on_abort = api_on_abort};
    uint64_t max_bytes = worker_picture(c->worker)->welcome.max_archive_bytes;
    int64_t len = exchange_request(c->ex)->body_bytes;
    struct deploy *dp = calloc(1, sizeof(*dp));
    struct diag d = {0};

    if (!dp) {
        api_fail_set(c, ENOMEM, "not enough memory");
        return;
    }
    *dp = (struct deploy){.call = c, .pipe_fd = -1, .max_bytes = max_bytes};
    dp->timer.owner = dp;
    c->state = dp;
    c->free_state = deploy_free;
    /* What the head alone tells is answered before a byte of the body was asked for (curl sends Expect: 100-continue). */
    if (len == 0)
        api_fail_set(c, EINVAL, "the body is empty: it must be the archive");
    else if (len > 0 && (uint64_t)len > max_bytes)
        api_fail_set(c, EFBIG, "the archive is larger than %llu bytes: raise gateway.max_archive", (unsigned long long)max_bytes);
    else if (deploy_start(c, dp, &d) < 0)
        api_fail(c, &d);
    else
        exchange_handle(c->ex, &handler, c);
}
