/* The API's calls but deploy and logs: routes, rights, errors, answers. */
#include "api_bench.h"

#include "../../runner/gateway/auth/auth_private.h"
#include "ringlog.h"
#include "version.h"

#include <arpa/inet.h>

static void expect_error(struct api_bench *b, int status, const char *code)
{
    if (b->ex.status != status || strcmp(b->ex.code, code) != 0)
        fail_msg("%d %s instead of %d %s: %s", b->ex.status, b->ex.code, status, code, b->ex.body.data);
}

static void unknown_paths_and_methods(void **state)
{
    static const char *const none[] = {"/api/v1",
                                       "/api/v1/",
                                       "/api/v1/nothing",
                                       "/api/v1/functions/",
                                       "/api/v1/functions/hello/",
                                       "/api/v1/functions/hello/more",
                                       "/api/v1/functions/hello/scale/x",
                                       "/api/v1/functions/hello/scale/x/y/z",
                                       "/api/v1x/functions",
                                       "/api/v1//functions",
                                       "/"};
    struct api_bench *b = *state;

    for (size_t i = 0; i < COUNT(none); i++) {
        bench_ask(b, "GET", none[i], "");
        assert_int_not_equal(b->ex.status, 200);
        assert_int_equal(b->ex.status / 100, 4);
    }
    bench_ask(b, "GET", "/api/v1/nothing", "");
    expect_error(b, 404, "not_found");
    bench_ask(b, "GET", "/api/v1/functions/a%2", "");
    expect_error(b, 400, "invalid");
    bench_ask(b, "GET", "/api/v1/functions/a%2Fb", "");
    expect_error(b, 400, "invalid");
    bench_ask(b, "GET", "/api/v1/functions/..", "");
    expect_error(b, 400, "invalid");
    bench_ask(b, "PATCH", "/api/v1/functions/hello", "");
    assert_int_equal(b->ex.status, 405);
    assert_string_equal(b->ex.headers, "Allow: GET, HEAD, DELETE\r\n");
    json_decref(bench_json(b));
    bench_ask(b, "GET", "/api/v1/functions/hello/start", "");
    assert_string_equal(b->ex.headers, "Allow: POST\r\n");
    bench_ask(b, "GET", "/api/v1/functions/hello", "x=1");
    expect_error(b, 400, "invalid");
}

/* Over the network: what was sent, and whether it is heard. */
static void only_who_may(void **state)
{
    static const char token[] = "Bearer fnd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    static const struct {
        enum listener_kind listener;
        bool inner;
        const char *authorization, *origin, *fetch_site, *client;
        int status;
        bool basic; /* a challenge that opens a dialogue */
    } rows[] = {
        {LISTENER_PUBLIC, false, "", "", "", "192.0.2.1", 401, false},
        {LISTENER_ADMIN, false, "", "", "", "192.0.2.1", 401, true},
        {LISTENER_PUBLIC, false, token, "", "", "192.0.2.1", 200, false},
        {LISTENER_ADMIN, false, token, "", "", "192.0.2.1", 200, false},
        {LISTENER_PUBLIC, true, token, "", "", "192.0.2.1", 403, false},
        {LISTENER_PUBLIC, false, token, "", "", "10.231.0.2", 403, false},
        {LISTENER_ADMIN, false, token, "", "", "10.231.0.2", 403, false},
        {LISTENER_PUBLIC, false, token, "http://t.example", "", "192.0.2.1", 403, false},
        {LISTENER_PUBLIC, false, token, "null", "", "192.0.2.1", 403, false},
        {LISTENER_PUBLIC, false, token, "", "none", "192.0.2.1", 403, false},
        {LISTENER_PUBLIC, false, token, "", "same-origin", "192.0.2.1", 403, false},
        {LISTENER_ADMIN, false, token, "http://t.example", "same-origin", "192.0.2.1", 200, false},
        {LISTENER_ADMIN, false, token, "https://T.example", "", "192.0.2.1", 200, false},
        {LISTENER_ADMIN, false, token, "", "none", "192.0.2.1", 200, false},
        {LISTENER_ADMIN, false, token, "http://t.example:1", "", "192.0.2.1", 403, false},
        {LISTENER_ADMIN, false, token, "http://t.example.org", "", "192.0.2.1", 403, false},
        {LISTENER_ADMIN, false, token, "null", "", "192.0.2.1", 403, false},
        {LISTENER_ADMIN, false, token, "ftp://t.example", "", "192.0.2.1", 403, false},
        {LISTENER_ADMIN, false, token, "", "cross-site", "192.0.2.1", 403, false},
        {LISTENER_ADMIN, false, token, "", "same-site", "192.0.2.1", 403, false},
    };
    struct record_token known = {.head = RECORD_INIT(RECORD_TOKEN, 0), .name = "t", .scope = TOKEN_ADMIN};
    struct api_bench *b = *state;

    assert_int_equal(auth_sha256(token + 7, strlen(token + 7), known.hash), 0);
    auth_on_record(b->w.auth, &known.head);
    b->w.picture.instances->rec.addr = inet_addr("10.231.0.2");
    for (size_t i = 0; i < COUNT(rows); i++) {
        exchange_set(&b->ex, &b->w, "GET", "/admin/api/v1/version", "");
        b->ex.req.listener = rows[i].listener;
        b->ex.req.inner = rows[i].inner;
        b->ex.req.authorization = rows[i].authorization;
        b->ex.req.origin = rows[i].origin;
        b->ex.req.fetch_site = rows[i].fetch_site;
        b->ex.req.client = rows[i].client;
        b->ex.req.host = "t.example";
        api_serve(&b->ex);
        if (b->ex.status != rows[i].status)
            fail_msg("row %zu: %d", i, b->ex.status);
        assert_int_equal(strstr(b->ex.headers, "Basic") != NULL, rows[i].basic);
        json_decref(bench_json(b));
    }
    assert_int_equal(b->runner.records, 1);
}

static void version(void **state)
{
    struct api_bench *b = *state;
    json_t *j;

    b->w.picture.synced = false;
    bench_ask(b, "GET", "/api/v1/version", "");
    j = bench_json(b);
    assert_int_equal(b->ex.status, 200);
    assert_string_equal(json_string_value(json_object_get(j, "version")), FND_VERSION);
    assert_int_equal(json_integer_value(json_object_get(j, "api")), 1);
    assert_string_equal(json_string_value(json_object_get(j, "runner")), "9.9");
    json_decref(j);
    bench_ask(b, "HEAD", "/api/v1/version", "");
    assert_int_equal(b->ex.status, 200);
}

static void without_a_picture_nothing_is_missing(void **state)
{
    struct api_bench *b = *state;

    b->w.picture.synced = false;
    bench_ask(b, "GET", "/api/v1/functions/nobody", "");
    expect_error(b, 503, "no_runner");
    bench_ask(b, "GET", "/api/v1/functions", "");
    expect_error(b, 503, "no_runner");
}

static size_t list_size(struct api_bench *b, const char *key)
{
    json_t *j = bench_json(b);
    size_t n = json_array_size(json_object_get(j, key));

    assert_true(json_is_array(json_object_get(j, key)));
    json_decref(j);
    return n;
}

static void lists(void **state)
{
    struct api_bench *b = *state;

    bench_ask(b, "GET", "/api/v1/functions", "");
    assert_int_equal(list_size(b, "functions"), 2);
    bench_ask(b, "GET", "/api/v1/functions", "application=shop");
    assert_int_equal(list_size(b, "functions"), 1);
    bench_ask(b, "GET", "/api/v1/functions", "application=sho");
    assert_int_equal(list_size(b, "functions"), 0);
    bench_ask(b, "GET", "/api/v1/instances", "");
    assert_int_equal(list_size(b, "instances"), 1);
    bench_ask(b, "GET", "/api/v1/functions/other.staging/instances", "");
    assert_int_equal(list_size(b, "instances"), 0);
    bench_ask(b, "GET", "/api/v1/functions/other/instances", "");
    expect_error(b, 404, "not_found");
    assert_string_equal(b->ex.function, "other");
}

static int failed_log(struct api_bench *b, const char *instance)
{
    struct ringlog_writer w;
    int fd;

    assert_string_equal(instance, "hello-zzzzzz");
    fd = ringlog_create(AT_FDCWD, b->arg);
    assert_true(fd >= 0);
    unlink(b->arg);
    assert_int_equal(ringlog_writer_init(&w, fd), 0);
    for (int i = 0; i < 30; i++) {
        char line[32];

        snprintf(line, sizeof(line), "line %d \xff\n", i);
        assert_int_equal(ringlog_write(&w, line, strlen(line)), 0);
    }
    return fd;
}

static void one_function_with_its_last_words(void **state)
{
    struct api_bench *b = *state;
    char path[160];
    json_t *j, *lines;

    snprintf(path, sizeof(path), "%s/log", b->runner.dir);
    b->arg = path;
    b->log_fd = failed_log;
    snprintf(b->w.picture.functions->rec.last_failed_instance, NAME_INSTANCE_MAX, "hello-zzzzzz");
    bench_ask(b, "GET", "/api/v1/functions/HELLO", "");
    j = bench_json(b);
    assert_string_equal(json_string_value(json_object_get(j, "name")), "hello");
    assert_int_equal(json_array_size(json_object_get(j, "instances")), 1);
    lines = json_object_get(j, "last_log");
    assert_int_equal(json_array_size(lines), 20);
    assert_string_equal(json_string_value(json_array_get(lines, 0)), "line 10 \xef\xbf\xbd");
    assert_string_equal(json_string_value(json_array_get(lines, 19)), "line 29 \xef\xbf\xbd");
    json_decref(j);
}

static void healthy_function_has_no_last_words(void **state)
{
    struct api_bench *b = *state;
    json_t *j;

    bench_ask(b, "GET", "/api/v1/functions/hello", "");
    j = bench_json(b);
    assert_null(json_object_get(j, "last_log"));
    assert_int_equal(b->logs_opened, 0);
    json_decref(j);
    bench_ask(b, "GET", "/api/v1/functions/other.staging", ""); /* none is ready, and no log is there */
    j = bench_json(b);
    assert_null(json_object_get(j, "last_log"));
    assert_int_equal(b->logs_opened, 1);
    json_decref(j);
}

static void changes_ask_the_runner(void **state)
{
    static const struct {
        const char *method, *path;
        uint32_t type;
    } calls[] = {
        {"POST", "/api/v1/functions/hello/start", RECORD_START},
        {"POST", "/api/v1/functions/hello/stop", RECORD_STOP},
        {"POST", "/api/v1/functions/Hello.DEFAULT/restart", RECORD_RESTART},
    };
    struct api_bench *b = *state;
    json_t *j;

    for (size_t i = 0; i < COUNT(calls); i++) {
        bench_ask(b, calls[i].method, calls[i].path, "");
        assert_int_equal(b->target.head.type, calls[i].type);
        assert_string_equal(b->target.fn.name, "hello"); /* as the function is written, whatever the path says */
        j = bench_json(b);
        assert_string_equal(json_string_value(json_object_get(j, "name")), "hello");
        json_decref(j);
    }
    bench_ask(b, "DELETE", "/api/v1/functions/hello", "");
    assert_int_equal(b->target.head.type, RECORD_REMOVE);
    assert_int_equal(b->target.erase_volumes, 0);
    j = bench_json(b);
    assert_int_equal(json_integer_value(json_object_get(j, "volumes_kept")), 0);
    json_decref(j);
    bench_ask(b, "DELETE", "/api/v1/functions/gone", "volumes=1"); /* a function that is not there may have left some: the runner knows */
    assert_int_equal(b->target.erase_volumes, 1);
    assert_string_equal(b->target.fn.name, "gone");
    bench_ask(b, "DELETE", "/api/v1/functions/hello", "volumes=yes");
    expect_error(b, 400, "invalid");
}

static void errors_of_the_runner(void **state)
{
    struct api_bench *b = *state;

    b->err = EBUSY;
    bench_ask(b, "POST", "/api/v1/functions/hello/start", "");
    expect_error(b, 409, "busy");
    assert_string_equal(b->ex.function, "hello");
    assert_string_equal(b->ex.body.data, "it failed \xef\xbf\xbd?");
    b->err = 4000;
    bench_ask(b, "GET", "/api/v1/functions/hello/plan", "");
    expect_error(b, 500, "internal");
    bench_ask(b, "GET", "/api/v1/config", "");
    expect_error(b, 500, "internal");
}

static void scale_with(struct api_bench *b, const char *body, int64_t length)
{
    exchange_set(&b->ex, &b->w, "PUT", "/api/v1/functions/hello/scale", "");
    b->ex.req.body_bytes = length;
    api_serve(&b->ex);
    for (size_t i = 0; body[i] && !b->ex.over; i++) /* byte by byte */
        assert_int_equal(b->ex.handler->on_body(&b->ex, b->ex.arg, body + i, 1), 1);
    if (!b->ex.over)
        b->ex.handler->on_body_end(&b->ex, b->ex.arg);
    run_until(b->w.loop, exchange_is_over, &b->ex);
}

static void scale(void **state)
{
    struct api_bench *b = *state;
    cleanup_free char *large = malloc(70001);

    scale_with(b, "{\"replicas\": 3}", 15);
    assert_int_equal(b->ex.status, 200);
    assert_int_equal(b->scale.replicas, 3);
    scale_with(b, "{\"replicas\": \"auto\"}", -1);
    assert_int_equal(b->scale.replicas, RECORD_SCALE_AUTO);
    b->scale.replicas = 77;
    scale_with(b, "{\"replicas\": -3}", -1);
    expect_error(b, 400, "invalid");
    scale_with(b, "", 0);
    expect_error(b, 400, "invalid");
    scale_with(b, "", -1);
    expect_error(b, 400, "invalid");
    scale_with(b, "", 65537);
    expect_error(b, 413, "too_large");
    assert_non_null(large);
    memset(large, ' ', 70000);
    large[70000] = '\0';
    scale_with(b, large, -1);
    expect_error(b, 413, "too_large");
    assert_int_equal(b->scale.replicas, 77);
}

static void plan_and_configuration(void **state)
{
    struct api_bench *b = *state;
    json_t *j, *row;

    bench_ask(b, "GET", "/api/v1/functions/hello/plan", "");
    assert_int_equal(b->ex.status, 200);
    assert_string_equal(b->ex.type, "text/plain; charset=utf-8");
    assert_string_equal(b->ex.body.data, "mountmount");
    bench_ask(b, "GET", "/api/v1/config", "");
    j = bench_json(b);
    row = json_array_get(json_object_get(j, "config"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "key")), "gateway.listen");
    assert_string_equal(json_string_value(json_object_get(row, "value")), "x\xef\xbf\xbd");
    assert_string_equal(json_string_value(json_object_get(row, "default")), "d");
    assert_string_equal(json_string_value(json_object_get(row, "origin")), "default");
    json_decref(j);
}

static void lost_link_fails_what_waits(void **state)
{
    struct api_bench *b = *state;

    b->silent_type = RECORD_START;
    bench_call(b, "POST", "/api/v1/functions/hello/start", "");
    assert_false(b->ex.over);
    runner_hang_up(&b->runner);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    expect_error(b, 503, "no_runner");
    bench_ask(b, "POST", "/api/v1/functions/hello/start", "");
    expect_error(b, 503, "no_runner");
}

/* The answer that comes afterwards must find nobody. */
static void clients_may_go_at_any_time(void **state)
{
    static const struct {
        const char *method, *path;
    } calls[] = {
        {"GET", "/api/v1/functions/hello"},        {"GET", "/api/v1/instances"},
        {"POST", "/api/v1/functions/hello/start"}, {"PUT", "/api/v1/functions/hello/scale"},
        {"GET", "/api/v1/functions/hello/plan"},   {"GET", "/api/v1/config"},
        {"GET", "/api/v1/functions/hello/logs"},   {"POST", "/api/v1/functions"},
    };
    struct api_bench *b = *state;

    for (size_t i = 0; i < COUNT(calls); i++) {
        exchange_set(&b->ex, &b->w, calls[i].method, calls[i].path, "");
        b->ex.req.body_bytes = -1;
        api_serve(&b->ex);
        assert_false(b->ex.over);
        exchange_gone(&b->ex);
        b->deploy_id = 0;
    }
    bench_ask(b, "GET", "/api/v1/config", "");
    assert_int_equal(b->ex.status, 200);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)
    const struct CMUnitTest tests[] = {
        TEST(unknown_paths_and_methods),
        TEST(only_who_may),
        TEST(version),
        TEST(without_a_picture_nothing_is_missing),
        TEST(lists),
        TEST(one_function_with_its_last_words),
        TEST(healthy_function_has_no_last_words),
        TEST(changes_ask_the_runner),
        TEST(errors_of_the_runner),
        TEST(scale),
        TEST(plan_and_configuration),
        TEST(lost_link_fails_what_waits),
        TEST(clients_may_go_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
