/*
 * gateway_fakes.h: what tests of the gateway's rooms put in the place of the others: a worker, exchanges that remember their answer, a picture, and a
 * runner at the other end of a real socket. Everything runs in one thread on one loop; run_until() turns it until a condition holds.
 */
#pragma once

#include "check.h"

#include "../../runner/gateway/gateway.h"
#include "clock.h"
#include "fd.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

struct worker {
    struct loop *loop;
    struct link *link;
    struct picture picture;
    struct auth *auth;
};

struct loop *worker_loop(struct worker *w)
{
    return w->loop;
}

struct link *worker_link(struct worker *w)
{
    return w->link;
}

struct picture *worker_picture(struct worker *w)
{
    return &w->picture;
}

struct auth *worker_auth(struct worker *w)
{
    return w->auth;
}

struct gw_function *picture_function(const struct picture *p, const struct fn_id *id)
{
    struct gw_function *f = p->functions;

    while (f && !name_equal(&f->rec.fn, id))
        f = f->next;
    return f;
}

struct gw_function *picture_function_by_number(const struct picture *p, uint64_t number)
{
    struct gw_function *f = p->functions;

    while (f && f->rec.function != number)
        f = f->next;
    return f;
}

struct gw_instance *picture_instance(const struct picture *p, uint64_t instance)
{
    struct gw_instance *i = p->instances;

    while (i && i->rec.instance != instance)
        i = i->next_any;
    return i;
}

/* ---- exchanges ---- */

struct exchange {
    struct exchange_request req;
    struct worker *worker;
    const struct exchange_handler *handler;
    void *arg;
    int status;
    unsigned answers, resumed;
    bool begun, over;
    char code[64], function[128], type[64], headers[128];
    struct strbuf body;
    size_t room; /* exchange_write says stop when more is in the body; 0: never */
    bool breaks; /* the client goes away in the first exchange_write */
    bool cut;
};

const struct exchange_request *exchange_request(const struct exchange *ex)
{
    return &ex->req;
}

struct worker *exchange_worker(const struct exchange *ex)
{
    return ex->worker;
}

void exchange_handle(struct exchange *ex, const struct exchange_handler *h, void *arg)
{
    ex->handler = h;
    ex->arg = arg;
}

void exchange_resume_body(struct exchange *ex)
{
    ex->resumed++;
}

void exchange_reply(struct exchange *ex, int status, const char *content_type, const char *headers, const void *body, size_t len)
{
    assert_false(ex->over);
    ex->over = true;
    ex->answers++;
    ex->status = status;
    snprintf(ex->type, sizeof(ex->type), "%s", content_type);
    snprintf(ex->headers, sizeof(ex->headers), "%s", headers ? headers : "");
    strbuf_add(&ex->body, body, len);
}

void exchange_error(struct exchange *ex, int status, const char *code, const char *function, unsigned retry_after, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(ex->code, sizeof(ex->code), "%s", code);
    snprintf(ex->function, sizeof(ex->function), "%s", function ? function : "");
    exchange_reply(ex, status, "error", NULL, text, strlen(text));
}

void exchange_begin(struct exchange *ex, int status, const char *content_type)
{
    assert_false(ex->begun || ex->over);
    ex->begun = true;
    ex->status = status;
    snprintf(ex->type, sizeof(ex->type), "%s", content_type);
}

bool exchange_write(struct exchange *ex, const void *data, size_t len)
{
    assert_true(ex->begun && !ex->over);
    strbuf_add(&ex->body, data, len);
    if (ex->breaks) {
        ex->handler->on_abort(ex, ex->arg);
        ex->over = true;
        return false;
    }
    return ex->room == 0 || ex->body.len <= ex->room;
}

int exchange_connection(const struct exchange *ex)
{
    return -EBUSY;
}

void exchange_hand_over(struct exchange *ex, const char *protocol, const char *headers)
{
    fail_msg("nothing is handed over here");
}

void exchange_end(struct exchange *ex)
{
    assert_true(ex->begun && !ex->over);
    ex->over = true;
    ex->answers++;
}

void exchange_cut(struct exchange *ex)
{
    assert_true(ex->begun && !ex->over);
    ex->cut = ex->over = true;
    ex->handler->on_abort(ex, ex->arg);
}

static inline void exchange_set(struct exchange *ex, struct worker *w, const char *method, const char *path, const char *query)
{
    strbuf_done(&ex->body);
    *ex = (struct exchange){.worker = w};
    ex->req = (struct exchange_request){.method = method, .path = path, .query = query, .listener = LISTENER_API, .peer_uid = 1000, .peer_pid = 1};
    ex->req.authorization = ex->req.origin = ex->req.fetch_site = ex->req.host = ex->req.client = "";
}

static inline void exchange_gone(struct exchange *ex)
{
    if (!ex->over && ex->handler && ex->handler->on_abort)
        ex->handler->on_abort(ex, ex->arg);
    ex->over = true;
}

/* ---- the loop ---- */

struct until {
    bool (*holds)(void *arg);
    void *arg;
    struct loop *loop;
    struct timer timer;
    uint64_t deadline_ns;
};

static inline void until_tick(struct timer *t)
{
    struct until *u = t->owner;

    if (u->holds(u->arg))
        loop_stop(u->loop, 0);
    else if (clock_mono_ns() > u->deadline_ns)
        loop_stop(u->loop, 1);
    else
        loop_arm_in(u->loop, t, 200 * NS_PER_US);
}

#define run_until(loop, holds, arg) assert_int_equal(run_until_(loop, holds, arg), 0)
static inline int run_until_(struct loop *loop, bool (*holds)(void *arg), void *arg)
{
    struct until u = {.holds = holds, .arg = arg, .loop = loop, .deadline_ns = clock_mono_ns() + 10 * NS_PER_SEC};

    u.timer.on_expire = until_tick;
    u.timer.owner = &u;
    loop_arm_in(loop, &u.timer, 0);
    return loop_run(loop);
}

static inline bool exchange_is_over(void *arg)
{
    return ((struct exchange *)arg)->over;
}

/* ---- a runner ---- */

struct runner {
    struct loop *loop;
    char dir[64];
    char path[128];
    int listen_fd, fd;
    struct watch listen_watch, watch;
    bool silent; /* accepts, reads nothing, says nothing */
    unsigned accepted, records;
    uint32_t last_type;
    void (*on_record)(struct runner *r, const struct record_head *rec, int fd); /* fd is the callee's */
    void *arg;
    _Alignas(8) char buf[RECORD_MAX];
};

static inline int runner_send_fd(struct runner *r, const void *rec, int fd)
{
    return fd_send(r->fd, rec, ((const struct record_head *)rec)->size, &fd, fd >= 0, 0);
}

static inline void runner_send(struct runner *r, const void *rec)
{
    assert_int_equal(runner_send_fd(r, rec, -1), 0);
}

static inline void runner_reply(struct runner *r, uint64_t id, int err, const char *text, int fd)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, id)};

    if (err)
        diag_set(&rec.diag, err, "%s", text);
    assert_int_equal(runner_send_fd(r, &rec, fd), 0);
}

static inline void runner_welcome(struct runner *r, uint32_t protocol)
{
    struct record_welcome rec = {.head = RECORD_INIT(RECORD_WELCOME, 0), .protocol = protocol, .runner_version = "9.9"};

    runner_send(r, &rec);
}

static inline void runner_hang_up(struct runner *r)
{
    loop_unwatch(&r->watch);
    r->fd = fd_close(r->fd);
}

static inline void runner_readable(struct watch *w, uint32_t events)
{
    struct runner *r = w->owner;
    int fd = -1;
    unsigned nfds = 0;
    ssize_t n = fd_recv(r->fd, r->buf, sizeof(r->buf), &fd, 1, &nfds, MSG_DONTWAIT);
    const struct record_head *rec = (const struct record_head *)r->buf;

    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        runner_hang_up(r);
        return;
    }
    assert_int_equal(record_check(r->buf, (size_t)n, 1, NULL), 0);
    r->records++;
    r->last_type = rec->type;
    if (rec->type == RECORD_HELLO)
        runner_welcome(r, RECORD_PROTOCOL);
    else if (r->on_record)
        r->on_record(r, rec, nfds ? fd : -1);
    else if (nfds)
        fd_close(fd);
}

static inline void runner_accept(struct watch *w, uint32_t events)
{
    struct runner *r = w->owner;
    int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    assert_true(fd >= 0);
    if (r->fd >= 0)
        runner_hang_up(r);
    r->fd = fd;
    r->accepted++;
    if (!r->silent)
        assert_int_equal(loop_watch(r->loop, &r->watch, fd, EPOLLIN, runner_readable, r), 0);
}

static inline void runner_listen(struct runner *r)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    assert_int_equal(str_copy(addr.sun_path, sizeof(addr.sun_path), r->path), 0);
    r->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(r->listen_fd >= 0);
    assert_int_equal(bind(r->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(r->listen_fd, 4), 0);
    assert_int_equal(loop_watch(r->loop, &r->listen_watch, r->listen_fd, EPOLLIN, runner_accept, r), 0);
}

/* Only names the socket; runner_listen() makes it. */
static inline void runner_init(struct runner *r, struct loop *loop)
{
    memset(r, 0, sizeof(*r));
    r->loop = loop;
    r->fd = r->listen_fd = -1;
    snprintf(r->dir, sizeof(r->dir), "/tmp/fnd-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof(r->path), "%s/runner.sock", r->dir);
}

static inline void runner_done(struct runner *r)
{
    runner_hang_up(r);
    loop_unwatch(&r->listen_watch);
    r->listen_fd = fd_close(r->listen_fd);
    unlink(r->path);
    rmdir(r->dir);
}

/* ---- a picture ---- */

static inline struct gw_function *picture_add(struct picture *p, uint64_t number, const char *name, const char *env)
{
    struct gw_function *f = calloc(1, sizeof(*f)), **at = &p->functions;

    assert_non_null(f);
    f->rec.head = (struct record_head)RECORD_INIT(RECORD_FUNCTION, 0);
    f->rec.function = number;
    assert_int_equal(name_make(name, env, &f->rec.fn, NULL), 0);
    f->rec.state = FUNCTION_ACTIVE;
    f->rec.version = 1;
    f->rec.scale = RECORD_SCALE_AUTO;
    f->rec.wanted = 1;
    f->rec.port = 3000;
    f->rec.cpu_milli = 1000;
    f->rec.timeout_ns = 60 * NS_PER_SEC;
    f->rec.health_interval_ns = 5 * NS_PER_SEC;
    f->shared = shared_function_new(1);
    assert_non_null(f->shared);
    f->counters = shared_function_counters(f->shared, 0);
    while (*at)
        at = &(*at)->next;
    *at = f;
    return f;
}

static inline struct gw_instance *picture_add_instance(struct picture *p, struct gw_function *f, uint64_t number, const char *name, uint32_t state)
{
    struct gw_instance *i = calloc(1, sizeof(*i)), **at = &f->instances;

    assert_non_null(i);
    i->rec.head = (struct record_head)RECORD_INIT(RECORD_INSTANCE, 0);
    i->rec.instance = number;
    i->rec.function = f->rec.function;
    i->rec.state = state;
    i->function = f;
    i->shared = shared_instance_new();
    assert_non_null(i->shared);
    snprintf(i->rec.name, sizeof(i->rec.name), "%s", name);
    while (*at)
        at = &(*at)->next;
    *at = i;
    i->next_any = p->instances;
    p->instances = i;
    f->ready += state == INSTANCE_READY;
    return i;
}

static inline void picture_remove_instance(struct picture *p, struct gw_instance *inst)
{
    struct gw_instance **at, **any = &p->instances;

    if (!inst) {
        fail();
        return;
    }
    at = &inst->function->instances;
    while (*at != inst)
        at = &(*at)->next;
    *at = inst->next;
    while (*any != inst)
        any = &(*any)->next_any;
    *any = inst->next_any;
    inst->function->ready -= inst->rec.state == INSTANCE_READY;
    shared_instance_unref(inst->shared);
    free(inst);
}

static inline void picture_done(struct picture *p)
{
    while (p->instances)
        picture_remove_instance(p, p->instances);
    for (struct gw_function *f = p->functions, *next; f; f = next) {
        next = f->next;
        shared_function_unref(f->shared);
        free(f);
    }
    shared_gateway_free(p->gateway);
    *p = (struct picture){0};
}
