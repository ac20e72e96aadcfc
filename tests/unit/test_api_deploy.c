/* Deploys: the archive through the pipe, backpressure, and every way in which one ends. */
#include "api_bench.h"

static void start(struct api_bench *b, const char *query, int64_t length)
{
    exchange_set(&b->ex, &b->w, "POST", "/api/v1/functions", query);
    b->ex.req.body_bytes = length;
    api_serve(&b->ex);
}

static bool has_archive(void *arg)
{
    return ((struct api_bench *)arg)->archive_fd >= 0;
}

static bool has_end(void *arg)
{
    return ((struct api_bench *)arg)->end >= 0;
}

static void expect_error(struct api_bench *b, int status, const char *code)
{
    if (b->ex.status != status || strcmp(b->ex.code, code) != 0)
        fail_msg("%d %s instead of %d %s: %s", b->ex.status, b->ex.code, status, code, b->ex.body.data);
}

/* Hands over as much as is taken. Returns how much. */
static size_t push(struct api_bench *b, const char *data, size_t len)
{
    return b->ex.over ? len : b->ex.handler->on_body(&b->ex, b->ex.arg, data, len);
}

static void end_body(struct api_bench *b)
{
    b->ex.handler->on_body_end(&b->ex, b->ex.arg);
}

static void deploy_reply(struct api_bench *b, int err, uint64_t function, uint32_t version)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, b->deploy_id), .function = function, .version = version};

    if (err)
        diag_set(&rec.diag, err, "instance exited with status 1");
    runner_send(&b->runner, &rec);
}

static void deploy_notes(struct api_bench *b, const char *text)
{
    static struct record_text rec;

    rec = (struct record_text){.head = RECORD_INIT(RECORD_TEXT, b->deploy_id), .len = (uint32_t)strlen(text)};
    memcpy(rec.text, text, rec.len);
    runner_send(&b->runner, &rec);
}

static void begin(struct api_bench *b, const char *query)
{
    start(b, query, -1);
    assert_false(b->ex.over);
    run_until(b->w.loop, has_archive, b);
}

static void whole_deploy(void **state)
{
    struct api_bench *b = *state;
    char buf[16] = "";
    json_t *j;

    begin(b, "name=hello&environment=staging&replicas=2&var=A%3D1%3D%20x&var=B=&set=function.port=80&set=env.X%3Da%20b");
    assert_string_equal(b->deploy.fn.name, "hello");
    assert_string_equal(b->deploy.fn.env, "staging");
    assert_int_equal(b->deploy.replicas, 2);
    assert_int_equal(b->deploy.vars_len, 10);
    assert_memory_equal(b->deploy.vars, "A=1= x\0B=", 10);
    assert_int_equal(b->deploy.sets_len, 27);
    assert_memory_equal(b->deploy.sets, "function.port=80\0env.X=a b", 27);
    assert_int_equal(push(b, "archive", 7), 7);
    end_body(b);
    run_until(b->w.loop, has_end, b);
    assert_int_equal(b->end, 1);
    assert_int_equal(read(b->archive_fd, buf, sizeof(buf)), 7);
    assert_string_equal(buf, "archive");
    assert_int_equal(read(b->archive_fd, buf, sizeof(buf)), 0);
    deploy_notes(b, "user: not \x80 root\nvolumes: none\n");
    deploy_reply(b, 0, 2, 1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.status, 201);
    j = bench_json(b);
    assert_int_equal(json_array_size(json_object_get(j, "notes")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "notes"), 0)), "user: not \xef\xbf\xbd root");
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "notes"), 1)), "volumes: none");
    assert_string_equal(json_string_value(json_object_get(j, "name")), "other");
    json_decref(j);
}

static void make_version_two(struct timer *t)
{
    ((struct api_bench *)t->owner)->w.picture.functions->rec.version = 2;
}

/* The picture is a little behind the reply. */
static void answer_waits_for_the_picture(void **state)
{
    struct api_bench *b = *state;
    struct timer later = {.on_expire = make_version_two, .owner = b};

    begin(b, "name=hello");
    push(b, "x", 1);
    end_body(b);
    run_until(b->w.loop, has_end, b);
    deploy_reply(b, 0, 1, 2);
    assert_int_equal(loop_arm_in(b->w.loop, &later, 30 * NS_PER_MS), 0);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.status, 201);
    assert_int_equal(b->w.picture.functions->rec.version, 2);
}

static void bad_requests(void **state)
{
    static const char *const bad[] = {
        "name=-x", "name=a.b",     "name=",     "name=x&environment=%20", "replicas=0", "replicas=-1", "replicas=x", "replicas=1&replicas=2", "var=A",
        "var==1",  "var=A%3D1%00", "unknown=1", "environment=-"};
    struct api_bench *b = *state;
    cleanup_free char *large = malloc(40001);

    for (size_t i = 0; i < COUNT(bad); i++) {
        start(b, bad[i], 10);
        if (!b->ex.over || b->ex.status != 400)
            fail_msg("%s: %d", bad[i], b->ex.status);
    }
    start(b, "name=x", 0);
    expect_error(b, 400, "invalid");
    start(b, "name=x", (8 << 20) + 1);
    expect_error(b, 413, "too_large");
    assert_non_null(large);
    memset(large, 'A', 40000);
    memcpy(large, "var=A=", 6);
    large[40000] = '\0';
    start(b, large, 10);
    expect_error(b, 413, "too_large");
    assert_int_equal(b->runner.records, 1); /* the runner has heard of none of it */
}

struct drain {
    struct api_bench *b;
    const char *data;
    size_t offset, len, got;
    unsigned pauses;
    bool ended;
    uint32_t sum;
};

static bool drained(void *arg)
{
    struct drain *d = arg;
    unsigned char buf[30000];
    ssize_t n;

    /* The client: goes on when it may. */
    if (d->offset < d->len && (d->pauses == d->b->ex.resumed)) {
        size_t took = push(d->b, d->data + d->offset, d->len - d->offset);

        d->offset += took;
        if (d->offset < d->len)
            d->pauses++;
    }
    if (d->offset == d->len && !d->ended) {
        d->ended = true;
        end_body(d->b);
    }
    /* The runner: reads slowly. */
    if (d->b->archive_fd < 0)
        return false;
    n = read(d->b->archive_fd, buf, sizeof(buf));
    for (ssize_t i = 0; i < n; i++)
        d->sum = d->sum * 31 + buf[i];
    d->got += n > 0 ? (size_t)n : 0;
    return n == 0;
}

static void slow_reader_pauses_the_client(void **state)
{
    struct api_bench *b = *state;
    const size_t len = 3 << 20;
    cleanup_free char *data = malloc(len);
    struct drain d = {.b = b, .data = data, .len = len};
    uint32_t sum = 0;

    assert_non_null(data);
    for (size_t i = 0; i < len; i++) {
        data[i] = (char)(i * 2654435761U >> 13);
        sum = sum * 31 + (unsigned char)data[i];
    }
    begin(b, "name=x");
    assert_int_equal(fd_set_nonblock(b->archive_fd, 1), 0);
    run_until(b->w.loop, drained, &d);
    assert_int_equal(d.got, len);
    assert_int_equal(d.sum, sum);
    assert_true(d.pauses > 3);
    run_until(b->w.loop, has_end, b);
    assert_int_equal(b->end, 1);
}

static void client_that_goes_gives_up(void **state)
{
    struct api_bench *b = *state;
    char buf[8];

    begin(b, "name=x");
    push(b, "abc", 3);
    exchange_gone(&b->ex);
    run_until(b->w.loop, has_end, b);
    assert_int_equal(b->end, 0);
    assert_int_equal(read(b->archive_fd, buf, sizeof(buf)), 3);
    assert_int_equal(read(b->archive_fd, buf, sizeof(buf)), 0);
    deploy_reply(b, ECANCELED, 0, 0);
    bench_ask(b, "GET", "/api/v1/config", "");
    assert_int_equal(b->ex.status, 200);
}

static void client_that_goes_after_the_end_changes_nothing(void **state)
{
    struct api_bench *b = *state;

    begin(b, "name=x");
    push(b, "abc", 3);
    end_body(b);
    exchange_gone(&b->ex);
    run_until(b->w.loop, has_end, b);
    assert_int_equal(b->end, 1);
    deploy_reply(b, 0, 1, 1);
    bench_ask(b, "GET", "/api/v1/config", "");
}

static void failure_after_the_end(void **state)
{
    struct api_bench *b = *state;

    begin(b, "name=hello");
    push(b, "abc", 3);
    end_body(b);
    run_until(b->w.loop, has_end, b);
    deploy_reply(b, ECHILD, 0, 0);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    expect_error(b, 422, "deploy_failed");
    assert_string_equal(b->ex.function, "hello");
    assert_string_equal(b->ex.body.data, "instance exited with status 1");
}

static void failure_with_notes(void **state)
{
    struct api_bench *b = *state;

    begin(b, "name=hello");
    push(b, "abc", 3);
    end_body(b);
    run_until(b->w.loop, has_end, b);
    deploy_notes(b, "a: x\nb: y\n");
    deploy_reply(b, ECHILD, 0, 0);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_string_equal(b->ex.body.data, "instance exited with status 1 (a: x;b: y;)");
}

static bool resumed(void *arg)
{
    return ((struct api_bench *)arg)->ex.resumed > 0;
}

/* The runner gives up while the pipe is full: the client is let go on, the rest is swallowed, then the answer comes. */
static void early_failure_swallows_the_rest(void **state)
{
    struct api_bench *b = *state;
    static char data[1 << 20];
    size_t n;

    begin(b, "name=hello");
    n = push(b, data, sizeof(data));
    assert_true(n < sizeof(data));
    assert_int_equal(push(b, data, 10), 0); /* still paused */
    deploy_reply(b, EBADMSG, 0, 0);
    run_until(b->w.loop, resumed, b);
    assert_false(b->ex.over);
    for (int i = 0; i < 20; i++) /* beyond the limit of an archive, which does not matter any more */
        assert_int_equal(push(b, data, sizeof(data)), sizeof(data));
    assert_false(b->ex.over);
    end_body(b);
    assert_true(b->ex.over);
    expect_error(b, 422, "bad_archive");
    assert_int_equal(b->end, -1); /* its request is over: DEPLOY_END would be about nothing */
}

static void swallowing_is_bounded_in_bytes(void **state)
{
    struct api_bench *b = *state;
    static char data[1 << 20];
    unsigned i;

    begin(b, "name=hello");
    assert_true(push(b, data, sizeof(data)) < sizeof(data));
    deploy_reply(b, EBADMSG, 0, 0);
    run_until(b->w.loop, resumed, b);
    for (i = 0; i < 1000 && !b->ex.over; i++)
        push(b, data, sizeof(data));
    assert_true(b->ex.over);
    assert_in_range(i, 1, 300);
    expect_error(b, 422, "bad_archive");
}

static void swallowing_is_bounded_in_time(void **state)
{
    struct api_bench *b = *state;
    uint64_t from = clock_mono_ns();

    begin(b, "name=hello");
    push(b, "x", 1);
    deploy_reply(b, EBADMSG, 0, 0);
    run_until(b->w.loop, exchange_is_over, &b->ex); /* the client sends nothing more */
    expect_error(b, 422, "bad_archive");
    assert_in_range(clock_mono_ns() - from, NS_PER_SEC, 30 * NS_PER_SEC);
}

static void chunked_archive_has_a_limit(void **state)
{
    struct api_bench *b = *state;
    static char data[1 << 20];

    begin(b, "name=hello");
    b->archive_fd = fd_close(b->archive_fd); /* nobody reads, and that alone is no failure */
    for (int i = 0; i < 8; i++)
        assert_int_equal(push(b, data, sizeof(data)), sizeof(data));
    assert_false(b->ex.over);
    assert_int_equal(push(b, data, 1), 1);
    end_body(b);
    run_until(b->w.loop, has_end, b);
    assert_int_equal(b->end, 0);
    expect_error(b, 413, "too_large");
}

static void reader_that_stops_early_is_no_failure(void **state)
{
    struct api_bench *b = *state;

    begin(b, "name=hello");
    b->archive_fd = fd_close(b->archive_fd);
    assert_int_equal(push(b, "padding", 7), 7);
    assert_int_equal(push(b, "padding", 7), 7);
    end_body(b);
    run_until(b->w.loop, has_end, b);
    assert_int_equal(b->end, 1);
    deploy_reply(b, 0, 1, 1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.status, 201);
}

static void empty_chunked_body(void **state)
{
    struct api_bench *b = *state;

    begin(b, "name=hello");
    end_body(b);
    assert_true(b->ex.over);
    expect_error(b, 400, "invalid");
    run_until(b->w.loop, has_end, b);
    assert_int_equal(b->end, 0);
}

static void runner_that_dies(void **state)
{
    struct api_bench *b = *state;

    begin(b, "name=hello");
    push(b, "abc", 3);
    end_body(b);
    runner_hang_up(&b->runner);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    expect_error(b, 503, "no_runner");
}

static void reply_before_the_end_is_not_believed(void **state)
{
    struct api_bench *b = *state;

    begin(b, "name=hello");
    push(b, "abc", 3);
    deploy_reply(b, 0, 1, 1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    expect_error(b, 500, "internal");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(whole_deploy),
        TEST(answer_waits_for_the_picture),
        TEST(bad_requests),
        TEST(slow_reader_pauses_the_client),
        TEST(client_that_goes_gives_up),
        TEST(client_that_goes_after_the_end_changes_nothing),
        TEST(failure_after_the_end),
        TEST(failure_with_notes),
        TEST(early_failure_swallows_the_rest),
        TEST(swallowing_is_bounded_in_bytes),
        TEST(swallowing_is_bounded_in_time),
        TEST(chunked_archive_has_a_limit),
        TEST(reader_that_stops_early_is_no_failure),
        TEST(empty_chunked_body),
        TEST(runner_that_dies),
        TEST(reply_before_the_end_is_not_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
