/* Counters, the text of /metrics, and the shared question for statistics. */
#include "gateway_fakes.h"

#include "../../runner/gateway/metrics/metrics.h"

struct bench {
    struct worker w;
    struct runner runner;
    bool answer;
    unsigned asked;
    unsigned done;
    struct exchange ex;
};

static void link_record(void *owner, const struct record_head *rec)
{
    metrics_heard(&((struct bench *)owner)->w.picture, rec);
}

static void link_lost(void *owner)
{
}

static const struct link_events events = {.on_record = link_record, .on_down = link_lost};

static bool is_up(void *arg)
{
    return link_is_up(((struct bench *)arg)->w.link);
}

static void answer_stats(struct runner *r, const struct record_head *rec, int fd)
{
    struct bench *b = r->arg;
    struct record_stats stats = {.head = RECORD_INIT(RECORD_STATS, rec->id), .instance = 11, .memory_bytes = 1000, .cpu_ns = 1500000001};
    struct record_hits hits = {
        .head = RECORD_INIT(RECORD_HITS, rec->id), .function = b->w.picture.functions->rec.function, .hits = {[RECORD_LIMIT_PIDS] = 7, [RECORD_LIMIT_CPU] = 3}};

    struct record_network network = {.head = RECORD_INIT(RECORD_NETWORK, rec->id), .dropped = {[RECORD_DROP_TO_HOST] = 5}, .restored = 2};

    assert_int_equal(rec->type, RECORD_STATS_GET);
    b->asked++;
    if (!b->answer)
        return;
    runner_send(r, &stats);
    stats.instance = 999; /* one that the picture does not have */
    runner_send(r, &stats);
    runner_send(r, &hits);
    hits.function = 999;
    runner_send(r, &hits);
    runner_send(r, &network);
    runner_reply(r, rec->id, 0, NULL, -1);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct gw_function *f;

    log_set_level(LOG_ERR);
    assert_non_null(b);
    assert_int_equal(loop_new(&b->w.loop), 0);
    runner_init(&b->runner, b->w.loop);
    b->runner.arg = b;
    b->runner.on_record = answer_stats;
    b->answer = true;
    runner_listen(&b->runner);
    assert_int_equal(link_open(b->w.loop, b->runner.path, &events, b, &b->w.link), 0);
    run_until(b->w.loop, is_up, b);
    b->w.picture.synced = true;
    b->w.picture.gateway = shared_gateway_new(1);
    assert_non_null(b->w.picture.gateway);
    f = picture_add(&b->w.picture, 1, "hello", "default");
    picture_add_instance(&b->w.picture, f, 11, "hello-aaaaaa", INSTANCE_READY);
    picture_add_instance(&b->w.picture, f, 12, "hello-bbbbbb", INSTANCE_STARTING);
    picture_add(&b->w.picture, 2, "Other", "staging");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;

    strbuf_done(&b->ex.body);
    link_free(b->w.link);
    runner_done(&b->runner);
    loop_free(b->w.loop);
    picture_done(&b->w.picture);
    free(b);
    return 0;
}

static struct strbuf page_of(const struct picture *p)
{
    struct strbuf page = {0};

    metrics_page(&page, p, true);
    assert_false(page.failed);
    return page;
}

static void expect_line(const char *page, const char *line)
{
    const char *at = strstr(page, line);
    size_t len = strlen(line);

    if (!at || (at != page && at[-1] != '\n') || at[len] != '\n')
        fail_msg("no line \"%s\" in:\n%s", line, page);
}

static void counts_codes_and_durations(void **state)
{
    struct bench *b = *state;
    struct gw_counters *c = b->w.picture.functions->counters;
    cleanup_strbuf struct strbuf page = {0};

    metrics_request(c, 200, 400 * NS_PER_US);
    metrics_request(c, 200, 500 * NS_PER_US); /* bounds are inclusive */
    metrics_request(c, 502, 3 * NS_PER_SEC);
    metrics_request(c, 200, 100 * NS_PER_SEC);
    metrics_request(NULL, 200, 1);
    metrics_start(c);
    metrics_start(NULL);
    shared_add(&picture_slot(&b->w.picture)->dns_results[SHARED_DNS_RESULTS - 1], 7);
    page = page_of(&b->w.picture);
    expect_line(page.data, "# TYPE fnd_requests_total counter");
    expect_line(page.data, "fnd_requests_total{function=\"hello\",code=\"200\"} 3");
    expect_line(page.data, "fnd_requests_total{function=\"hello\",code=\"502\"} 1");
    expect_line(page.data, "# TYPE fnd_request_duration_seconds histogram");
    expect_line(page.data, "fnd_request_duration_seconds_bucket{function=\"hello\",le=\"0.0005\"} 2");
    expect_line(page.data, "fnd_request_duration_seconds_bucket{function=\"hello\",le=\"2.5\"} 2");
    expect_line(page.data, "fnd_request_duration_seconds_bucket{function=\"hello\",le=\"5\"} 3");
    expect_line(page.data, "fnd_request_duration_seconds_bucket{function=\"hello\",le=\"60\"} 3");
    expect_line(page.data, "fnd_request_duration_seconds_bucket{function=\"hello\",le=\"+Inf\"} 4");
    expect_line(page.data, "fnd_request_duration_seconds_sum{function=\"hello\"} 103.000900000");
    expect_line(page.data, "fnd_request_duration_seconds_count{function=\"hello\"} 4");
    expect_line(page.data, "fnd_starts_total{function=\"hello\"} 1");
    expect_line(page.data, "fnd_starts_total{function=\"Other.staging\"} 0");
    expect_line(page.data, "fnd_instances{function=\"hello\",state=\"ready\"} 1");
    expect_line(page.data, "fnd_instances{function=\"hello\",state=\"starting\"} 1");
    expect_line(page.data, "fnd_instances{function=\"hello\",state=\"draining\"} 0");
    expect_line(page.data, "fnd_runner_up 1");
    expect_line(page.data, "fnd_dns_queries_total{result=\"forwarded\"} 0");
    expect_line(page.data, "fnd_dns_queries_total{result=\"dropped\"} 7");
}

/* A function that answers with every status there is must not make a series for each. */
static void status_codes_are_bounded(void **state)
{
    struct bench *b = *state;
    struct gw_counters *c = b->w.picture.functions->counters;
    cleanup_strbuf struct strbuf page = {0};
    unsigned series = 0;
    uint64_t sum = 0;

    for (int status = -5; status < 1100; status++)
        metrics_request(c, status, 1);
    page = page_of(&b->w.picture);
    for (const char *at = page.data; (at = strstr(at, "\nfnd_requests_total{function=\"hello\"")); at++) {
        series++;
        sum += strtoull(strchr(at, '}') + 2, NULL, 10);
    }
    assert_int_equal(series, METRICS_CODES + METRICS_CLASSES);
    assert_int_equal(sum, 1105);
    expect_line(page.data, "fnd_requests_total{function=\"hello\",code=\"5xx\"} 100");
    expect_line(page.data, "fnd_requests_total{function=\"hello\",code=\"other\"} 605");
}

static void page_has_help_and_type_once(void **state)
{
    struct bench *b = *state;
    cleanup_strbuf struct strbuf page = page_of(&b->w.picture);
    unsigned helps = 0, types = 0;

    for (const char *line = page.data; *line; line = strchr(line, '\n') + 1) {
        helps += strncmp(line, "# HELP ", 7) == 0;
        types += strncmp(line, "# TYPE ", 7) == 0;
        assert_true(*line == '#' || strncmp(line, "fnd_", 4) == 0 || strncmp(line, "process_", 8) == 0);
    }
    assert_int_equal(helps, types);
    assert_true(helps >= 10);
    assert_int_equal(page.data[page.len - 1], '\n');
}

static void cpu_survives_its_instance(void **state)
{
    struct bench *b = *state;
    struct gw_instance *inst = b->w.picture.functions->instances;
    cleanup_strbuf struct strbuf before = {0}, after = {0};

    inst->stats.cpu_ns = 7 * NS_PER_SEC + 5;
    before = page_of(&b->w.picture);
    expect_line(before.data, "fnd_cpu_seconds_total{function=\"hello\"} 7.000000005");
    metrics_instance_gone(inst);
    picture_remove_instance(&b->w.picture, inst);
    after = page_of(&b->w.picture);
    expect_line(after.data, "fnd_cpu_seconds_total{function=\"hello\"} 7.000000005");
}

static void serve(struct bench *b, const char *method)
{
    exchange_set(&b->ex, &b->w, method, "/metrics", "");
    metrics_serve(&b->ex);
}

static void serving_asks_for_figures_first(void **state)
{
    struct bench *b = *state;

    serve(b, "GET");
    assert_false(b->ex.over);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.status, 200);
    assert_string_equal(b->ex.type, "text/plain; version=0.0.4; charset=utf-8");
    expect_line(b->ex.body.data, "fnd_memory_bytes{function=\"hello\"} 1000");
    expect_line(b->ex.body.data, "fnd_cpu_seconds_total{function=\"hello\"} 1.500000001");
}

static void runner_that_does_not_answer_is_not_waited_for(void **state)
{
    struct bench *b = *state;
    uint64_t start = clock_mono_ns(), took;

    b->answer = false;
    serve(b, "GET");
    run_until(b->w.loop, exchange_is_over, &b->ex);
    took = clock_mono_ns() - start;
    assert_int_equal(b->ex.status, 200);
    assert_true(took >= STATS_WAIT_NS && took < 10 * STATS_WAIT_NS);
    assert_null(b->w.picture.stats_waiters);
}

static void without_a_runner_the_page_comes_at_once(void **state)
{
    struct bench *b = *state;

    runner_hang_up(&b->runner);
    serve(b, "GET");
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.status, 200);
    expect_line(b->ex.body.data, "fnd_memory_bytes{function=\"hello\"} 0");
}

static void other_methods_are_refused(void **state)
{
    struct bench *b = *state;

    serve(b, "POST");
    assert_int_equal(b->ex.status, 405);
    assert_string_equal(b->ex.headers, "Allow: GET, HEAD\r\n");
}

static void count_done(void *arg)
{
    ((struct bench *)arg)->done++;
}

static bool all_done(void *arg)
{
    return ((struct bench *)arg)->done == 49;
}

static void those_who_wait_share_one_question(void **state)
{
    struct bench *b = *state;
    struct stats_wait waits[50];

    for (int i = 0; i < 50; i++)
        stats_get(&waits[i], &b->w, count_done, b);
    stats_cancel(&waits[20]);
    stats_cancel(&waits[20]);
    run_until(b->w.loop, all_done, b);
    assert_int_equal(b->asked, 1);
    stats_get(&waits[0], &b->w, count_done, b); /* fresh enough */
    assert_int_equal(b->done, 50);
    assert_int_equal(b->asked, 1);
}

static void client_that_goes_leaves_nothing(void **state)
{
    struct bench *b = *state;

    serve(b, "GET");
    exchange_gone(&b->ex);
    assert_null(b->w.picture.stats_waiters);
}

static void hits_of_limits_are_on_the_page(void **state)
{
    struct bench *b = *state;

    serve(b, "GET");
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_non_null(strstr(b->ex.body.data, "# TYPE fnd_limit_hits_total counter\n"));
    expect_line(b->ex.body.data, "fnd_network_dropped_total{reason=\"to_host\"} 5");
    expect_line(b->ex.body.data, "fnd_network_dropped_total{reason=\"spoofed\"} 0");
    expect_line(b->ex.body.data, "fnd_network_rules_restored_total 2");
    assert_non_null(strstr(b->ex.body.data, ",limit=\"pids\"} 7\n"));
    assert_non_null(strstr(b->ex.body.data, ",limit=\"cpu\"} 3\n"));
    assert_non_null(strstr(b->ex.body.data, ",limit=\"memory\"} 0\n"));
    assert_non_null(strstr(b->ex.body.data, ",limit=\"memory_high\"} 0\n"));
}

static void cpu_never_goes_back(void **state)
{
    struct bench *b = *state;
    struct gw_instance *inst = picture_instance(&b->w.picture, 11);

    if (!inst) {
        fail();
        return;
    }
    inst->stats.cpu_ns = 9 * NS_PER_SEC;
    serve(b, "GET");
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(inst->stats.memory_bytes, 1000);
    assert_int_equal(inst->stats.cpu_ns, 9 * NS_PER_SEC);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(counts_codes_and_durations),
        TEST(status_codes_are_bounded),
        TEST(page_has_help_and_type_once),
        TEST(cpu_survives_its_instance),
        TEST(serving_asks_for_figures_first),
        TEST(runner_that_does_not_answer_is_not_waited_for),
        TEST(without_a_runner_the_page_comes_at_once),
        TEST(other_methods_are_refused),
        TEST(those_who_wait_share_one_question),
        TEST(client_that_goes_leaves_nothing),
        TEST(hits_of_limits_are_on_the_page),
        TEST(cpu_never_goes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
