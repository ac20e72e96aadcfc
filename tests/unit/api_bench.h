/* api_bench.h: the API on a fake worker, with a runner that a test tells what to answer. */
#pragma once

#include "gateway_fakes.h"

#include "../../runner/gateway/api/api_private.h"
#include "../../runner/gateway/auth/auth.h"

#include <fcntl.h>
#include <signal.h>

struct api_bench {
    struct worker w;
    struct auth_common *common;
    struct runner runner;
    struct exchange ex;
    uint32_t silent_type; /* requests of this type get no answer */
    int err;              /* of every reply but STATS_GET's */
    struct record_target target;
    struct record_scale scale;
    struct record_deploy deploy;
    uint64_t deploy_id;
    struct record_export exported;
    int archive_fd; /* the runner's end of the pipe */
    int end;        /* complete of DEPLOY_END; -1: none came */
    unsigned logs_opened;
    int (*log_fd)(struct api_bench *b, const char *instance); /* a new descriptor, or -1 */
    void *arg;
};

static inline void bench_link_record(void *owner, const struct record_head *rec)
{
}

static inline void bench_link_down(void *owner)
{
}

static inline bool bench_is_up(void *arg)
{
    return link_is_up(((struct api_bench *)arg)->w.link);
}

static inline void bench_answer_log(struct api_bench *b, const struct record_target *t)
{
    cleanup_fd int fd = b->log_fd ? b->log_fd(b, t->instance) : -1;

    b->logs_opened++;
    b->target = *t;
    if (fd < 0)
        runner_reply(&b->runner, t->head.id, ENOENT, "there is no log", -1);
    else
        runner_reply(&b->runner, t->head.id, 0, NULL, fd);
}

static inline void bench_answer_rows(struct api_bench *b, const struct record_head *rec)
{
    static struct record_text text;
    struct record_config row = {.head = RECORD_INIT(RECORD_CONFIG, rec->id), .key = "gateway.listen", .value = "x\xff", .def = "d", .origin = "default"};

    if (rec->type == RECORD_CONFIG_GET)
        runner_send(&b->runner, &row);
    if (rec->type != RECORD_PLAN)
        return;
    text = (struct record_text){.head = RECORD_INIT(RECORD_TEXT, rec->id), .len = 5, .text = "mount"};
    runner_send(&b->runner, &text);
    runner_send(&b->runner, &text);
}

static inline void bench_record(struct runner *r, const struct record_head *rec, int fd)
{
    struct api_bench *b = r->arg;

    if (rec->type == RECORD_DEPLOY) {
        b->deploy = *(const struct record_deploy *)rec;
        b->deploy_id = rec->id;
        b->archive_fd = fd;
        return;
    }
    if (rec->type == RECORD_EXPORT) {
        b->exported = *(const struct record_export *)rec;
        b->deploy_id = rec->id;
        b->archive_fd = fd;
        return;
    }
    assert_int_equal(fd, -1);
    if (rec->type == RECORD_DEPLOY_END) {
        assert_int_equal(rec->id, b->deploy_id);
        assert_int_equal(b->end, -1);
        b->end = (int)((const struct record_deploy_end *)rec)->complete;
        return;
    }
    if (rec->type == b->silent_type)
        return;
    if (rec->type == RECORD_LOG_OPEN) {
        bench_answer_log(b, (const struct record_target *)rec);
        return;
    }
    if (rec->type == RECORD_SCALE)
        b->scale = *(const struct record_scale *)rec;
    if (rec->size == sizeof(b->target))
        b->target = *(const struct record_target *)rec;
    bench_answer_rows(b, rec);
    runner_reply(r, rec->id, rec->type == RECORD_STATS_GET ? 0 : b->err, "it failed \xff\n", -1);
}

static inline int bench_setup(void **state)
{
    struct api_bench *b = calloc(1, sizeof(*b));
    struct gw_function *f;

    assert_non_null(b);
    log_set_level(LOG_ERR);
    signal(SIGPIPE, SIG_IGN); /* as the gateway does */
    assert_int_equal(loop_new(&b->w.loop), 0);
    runner_init(&b->runner, b->w.loop);
    b->runner.arg = b;
    b->runner.on_record = bench_record;
    b->archive_fd = b->end = -1;
    runner_listen(&b->runner);
    static const struct link_events events = {.on_record = bench_link_record, .on_down = bench_link_down};
    assert_int_equal(link_open(b->w.loop, b->runner.path, &events, b, &b->w.link), 0);
    run_until(b->w.loop, bench_is_up, b);
    b->common = auth_common_new();
    assert_non_null(b->common);
    assert_int_equal(auth_new(&b->w, b->common, &b->w.auth), 0);
    b->w.picture.synced = true;
    b->w.picture.welcome = (struct record_welcome){.head = RECORD_INIT(RECORD_WELCOME, 0), .max_archive_bytes = 8 << 20, .runner_version = "9.9"};
    f = picture_add(&b->w.picture, 1, "hello", NULL);
    snprintf(f->rec.application, sizeof(f->rec.application), "shop");
    picture_add_instance(&b->w.picture, f, 11, "hello-aaaaaa", INSTANCE_READY);
    picture_add(&b->w.picture, 2, "other", "staging");
    *state = b;
    return 0;
}

static inline int bench_teardown(void **state)
{
    struct api_bench *b = *state;

    exchange_gone(&b->ex);
    auth_free(b->w.auth);
    auth_common_free(b->common);
    strbuf_done(&b->ex.body);
    link_free(b->w.link);
    runner_done(&b->runner);
    fd_close(b->archive_fd);
    loop_free(b->w.loop);
    picture_done(&b->w.picture);
    free(b);
    return 0;
}

static inline void bench_call(struct api_bench *b, const char *method, const char *path, const char *query)
{
    exchange_set(&b->ex, &b->w, method, path, query);
    api_serve(&b->ex);
}

/* Calls and waits for the answer. */
static inline void bench_ask(struct api_bench *b, const char *method, const char *path, const char *query)
{
    bench_call(b, method, path, query);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.answers, 1);
}

static inline json_t *bench_json(struct api_bench *b)
{
    json_t *j;

    assert_string_equal(b->ex.type, "application/json");
    j = json_loadb(b->ex.body.data, b->ex.body.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    return j;
}
