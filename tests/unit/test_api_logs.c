/* GET /logs: history, following, several instances, half lines, lost bytes, slow clients. */
#include "api_bench.h"

#include "ringlog.h"

#define LOGS "/api/v1/functions/hello/logs"

struct ring {
    char name[NAME_INSTANCE_MAX + 1];
    struct ringlog_writer w;
    int fd;
};

struct rings {
    struct ring ring[3]; /* the last is the newest that died */
    bool broken;
};

static int rings_open(struct api_bench *b, const char *instance)
{
    struct rings *r = b->arg;

    for (size_t i = 0; i < COUNT(r->ring); i++)
        if (r->ring[i].fd >= 0 && strcmp(r->ring[i].name, instance) == 0)
            return r->broken ? fd_sealed_memfd("broken", "x", 1, 0) : fcntl(r->ring[i].fd, F_DUPFD_CLOEXEC, 0);
    return -1;
}

static void ring_make(struct api_bench *b, size_t i, const char *name)
{
    struct ring *ring = &((struct rings *)b->arg)->ring[i];
    char path[200];

    snprintf(path, sizeof(path), "%s/ring", b->runner.dir);
    snprintf(ring->name, sizeof(ring->name), "%s", name);
    ring->fd = ringlog_create(AT_FDCWD, path);
    assert_true(ring->fd >= 0);
    unlink(path);
    assert_int_equal(ringlog_writer_init(&ring->w, ring->fd), 0);
}

static void ring_say_n(struct api_bench *b, size_t i, const char *text, size_t len)
{
    assert_int_equal(ringlog_write(&((struct rings *)b->arg)->ring[i].w, text, len), 0);
}

static void ring_say(struct api_bench *b, size_t i, const char *text)
{
    ring_say_n(b, i, text, strlen(text));
}

static int setup(void **state)
{
    struct rings *r = calloc(1, sizeof(*r));
    struct api_bench *b;

    assert_non_null(r);
    for (size_t i = 0; i < COUNT(r->ring); i++)
        r->ring[i].fd = -1;
    bench_setup(state);
    b = *state;
    b->arg = r;
    b->log_fd = rings_open;
    ring_make(b, 0, "hello-aaaaaa"); /* the one that the bench's picture has */
    return 0;
}

static int teardown(void **state)
{
    struct rings *r = ((struct api_bench *)*state)->arg;

    for (size_t i = 0; i < COUNT(r->ring); i++)
        fd_close(r->ring[i].fd);
    bench_teardown(state);
    free(r);
    return 0;
}

static struct gw_function *hello(struct api_bench *b)
{
    return b->w.picture.functions;
}

static void instance_dies(struct api_bench *b, uint64_t number)
{
    picture_remove_instance(&b->w.picture, picture_instance(&b->w.picture, number));
}

static void second_instance(struct api_bench *b)
{
    ring_make(b, 1, "hello-bbbbbb");
    picture_add_instance(&b->w.picture, hello(b), 12, "hello-bbbbbb", INSTANCE_STARTING);
}

static void expect_text(struct api_bench *b, const char *text)
{
    const char *have = b->ex.body.data ? b->ex.body.data : "";

    if (strcmp(have, text) != 0)
        fail_msg("\"%s\" instead of \"%s\"", have, text);
}

struct expected {
    struct api_bench *b;
    const char *text;
};

static bool has_text(void *arg)
{
    struct expected *e = arg;

    return e->b->ex.body.data && strcmp(e->b->ex.body.data, e->text) == 0;
}

static void wait_text(struct api_bench *b, const char *text)
{
    struct expected e = {b, text};

    if (run_until_(b->w.loop, has_text, &e) != 0)
        expect_text(b, text);
}

static void history_of_one(void **state)
{
    struct api_bench *b = *state;

    ring_say(b, 0, "one\ntwo\nthree\n");
    bench_ask(b, "GET", LOGS, "");
    assert_int_equal(b->ex.status, 200);
    assert_string_equal(b->ex.type, "text/plain; charset=utf-8");
    expect_text(b, "one\ntwo\nthree\n");
    bench_ask(b, "GET", LOGS, "lines=2");
    expect_text(b, "two\nthree\n");
    bench_ask(b, "GET", LOGS, "lines=0");
    expect_text(b, "");
    bench_ask(b, "GET", LOGS, "instance=hello-aaaaaa&follow=0&lines=1");
    expect_text(b, "three\n");
    assert_string_equal(b->target.instance, "hello-aaaaaa");
}

static void bytes_pass_as_they_are(void **state)
{
    struct api_bench *b = *state;

    ring_say_n(b, 0, "\x1b[31mred\xff\0\x01\r\nhalf", 18);
    bench_ask(b, "GET", LOGS, "");
    expect_text(b, "\x1b[31mred\xff\x01\r\nhalf");
}

static void several_have_names_in_front(void **state)
{
    struct api_bench *b = *state;

    second_instance(b);
    ring_say(b, 0, "one\n\nhalf");
    ring_say(b, 1, "two\n");
    bench_ask(b, "GET", LOGS, "");
    expect_text(b, "hello-aaaaaa | one\nhello-aaaaaa | \nhello-bbbbbb | two\nhello-aaaaaa | half\n");
}

static void the_newest_that_died_when_none_lives(void **state)
{
    struct api_bench *b = *state;

    instance_dies(b, 11);
    ring_make(b, 2, "");
    ring_say(b, 2, "last words\n");
    bench_ask(b, "GET", LOGS, "");
    expect_text(b, "last words\n");
    assert_string_equal(b->target.instance, "");
}

static void no_log_at_all_is_an_empty_one(void **state)
{
    struct api_bench *b = *state;

    instance_dies(b, 11);
    bench_ask(b, "GET", LOGS, "");
    assert_int_equal(b->ex.status, 200);
    expect_text(b, "");
}

static void bad_requests(void **state)
{
    static const char *const bad[] = {
        "lines=-1", "lines=x", "lines=100001", "lines=", "follow=2", "follow=", "instance=x", "instance=../etc", "instance=", "line=1", "lines=1&lines=2"};
    struct api_bench *b = *state;

    for (size_t i = 0; i < COUNT(bad); i++) {
        bench_ask(b, "GET", LOGS, bad[i]);
        if (b->ex.status != 400)
            fail_msg("%s: %d", bad[i], b->ex.status);
    }
    assert_int_equal(b->logs_opened, 0);
    bench_ask(b, "GET", LOGS, "instance=hello-cccccc");
    assert_int_equal(b->ex.status, 404);
    bench_ask(b, "GET", "/api/v1/functions/nobody/logs", "");
    assert_int_equal(b->ex.status, 404);
}

static void broken_log_is_an_error(void **state)
{
    struct api_bench *b = *state;

    ((struct rings *)b->arg)->broken = true;
    bench_ask(b, "GET", LOGS, "");
    assert_in_range(b->ex.status, 400, 599);
}

static void following_shows_half_lines_of_one(void **state)
{
    struct api_bench *b = *state;

    ring_say(b, 0, "old\n");
    bench_call(b, "GET", LOGS, "follow=1&lines=1");
    wait_text(b, "old\n");
    ring_say(b, 0, "50%");
    wait_text(b, "old\n50%");
    ring_say(b, 0, "..100%\nmore\n");
    wait_text(b, "old\n50%..100%\nmore\n");
    assert_false(b->ex.over);
    exchange_gone(&b->ex);
}

static void following_picks_up_new_instances(void **state)
{
    struct api_bench *b = *state;

    ring_say(b, 0, "half");
    bench_call(b, "GET", LOGS, "follow=1");
    wait_text(b, "half");
    second_instance(b);
    ring_say(b, 1, "from its beginning\n");
    wait_text(b, "half\nhello-bbbbbb | from its beginning\n");
    ring_say(b, 0, "done\nhalf"); /* half a line waits */
    wait_text(b, "half\nhello-bbbbbb | from its beginning\nhello-aaaaaa | done\n");
    instance_dies(b, 11);
    wait_text(b, "half\nhello-bbbbbb | from its beginning\nhello-aaaaaa | done\nhello-aaaaaa | half\n");
    ring_say(b, 1, "x\n"); /* the prefix stays */
    wait_text(b, "half\nhello-bbbbbb | from its beginning\nhello-aaaaaa | done\nhello-aaaaaa | half\nhello-bbbbbb | x\n");
    assert_int_equal(b->logs_opened, 2);
    exchange_gone(&b->ex);
}

static void following_none_waits_for_the_first(void **state)
{
    struct api_bench *b = *state;

    instance_dies(b, 11);
    bench_call(b, "GET", LOGS, "follow=1");
    second_instance(b);
    ring_say(b, 1, "first\n");
    wait_text(b, "first\n");
    exchange_gone(&b->ex);
}

static void following_one_instance_ends_with_it(void **state)
{
    struct api_bench *b = *state;

    bench_call(b, "GET", LOGS, "follow=1&instance=hello-aaaaaa");
    second_instance(b);
    ring_say(b, 1, "not this\n");
    ring_say(b, 0, "last words");
    wait_text(b, "last words");
    instance_dies(b, 11);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    expect_text(b, "last words");
}

static void following_outlives_the_runner(void **state)
{
    struct api_bench *b = *state;

    bench_call(b, "GET", LOGS, "follow=1");
    ring_say(b, 0, "one\n");
    wait_text(b, "one\n");
    runner_hang_up(&b->runner);
    b->w.picture.synced = false;
    second_instance(b);
    ring_say(b, 0, "two\n");
    wait_text(b, "one\ntwo\n");
    b->w.picture.synced = true;
    ring_say(b, 1, "three\n");
    wait_text(b, "one\ntwo\nhello-bbbbbb | three\n");
    exchange_gone(&b->ex);
}

static void long_lines_are_broken(void **state)
{
    struct api_bench *b = *state;
    char line[20000];
    const char *at;
    unsigned n = 0;

    second_instance(b);
    memset(line, 'x', sizeof(line));
    ring_say_n(b, 0, line, sizeof(line));
    bench_ask(b, "GET", LOGS, "");
    at = b->ex.body.data;
    for (; (at = strstr(at, "hello-aaaaaa | ")); at++)
        n++;
    assert_in_range(n, 2, 3);
    assert_int_equal(b->ex.body.len, sizeof(line) + n * 16);
}

/* The client takes nothing while the function writes more than the ring holds. */
static void slow_client_loses_the_oldest(void **state)
{
    struct api_bench *b = *state;
    size_t before;
    char chunk[4096];

    memset(chunk, 'y', sizeof(chunk));
    chunk[sizeof(chunk) - 1] = '\n';
    ring_say(b, 0, "first\n");
    exchange_set(&b->ex, &b->w, "GET", LOGS, "follow=1");
    b->ex.room = 1;
    api_serve(&b->ex);
    wait_text(b, "first\n");
    for (int i = 0; i < 600; i++)
        ring_say_n(b, 0, chunk, sizeof(chunk));
    before = b->ex.body.len;
    run_until(b->w.loop, bench_is_up, b);
    assert_int_equal(b->ex.body.len, before); /* it is full: nothing is written */
    b->ex.room = 0;
    b->ex.handler->on_drain(&b->ex, b->ex.arg);
    ring_say(b, 0, "end\n");
    while (!b->ex.body.data || !str_ends_with(b->ex.body.data, "end\n"))
        run_until(b->w.loop, bench_is_up, b);
    assert_memory_equal(b->ex.body.data, "first\n[fnd: ", 12);
    assert_non_null(strstr(b->ex.body.data, " bytes were overwritten before they were read]\n"));
    assert_true(b->ex.body.len < 1100000);
    exchange_gone(&b->ex);
}

/* A fn-init that was taken over can write what it likes into the head. */
static void hostile_heads_are_survived(void **state)
{
    static const uint64_t counts[] = {0, 1, 5, RINGLOG_DATA_BYTES, 1ULL << 40, UINT64_MAX - 1, UINT64_MAX};
    struct api_bench *b = *state;
    int fd = ((struct rings *)b->arg)->ring[0].fd;

    ring_say(b, 0, "text\n");
    for (size_t i = 0; i < COUNT(counts); i++) {
        assert_int_equal(pwrite(fd, &counts[i], sizeof(counts[i]), offsetof(struct ringlog_head, written)), 8);
        bench_ask(b, "GET", LOGS, "lines=100000");
        assert_true(b->ex.body.len < 3 << 20);
        bench_ask(b, "GET", "/api/v1/functions/hello", "");
        assert_int_equal(b->ex.status, 200);
    }
}

/* The end may be noticed in the middle of a write. */
static void client_that_goes_while_written_to(void **state)
{
    struct api_bench *b = *state;

    second_instance(b);
    ring_say(b, 0, "one\n");
    ring_say(b, 1, "two\n");
    exchange_set(&b->ex, &b->w, "GET", LOGS, "follow=1");
    b->ex.breaks = true;
    api_serve(&b->ex);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    expect_text(b, "hello-aaaaaa | one\n");
    bench_ask(b, "GET", "/api/v1/config", "");
    assert_int_equal(b->ex.status, 200);
}

static void removed_function_ends_the_stream(void **state)
{
    struct api_bench *b = *state;
    struct gw_function *f = hello(b);

    bench_call(b, "GET", LOGS, "follow=1");
    ring_say(b, 0, "bye\n");
    wait_text(b, "bye\n");
    instance_dies(b, 11);
    b->w.picture.functions = f->next;
    run_until(b->w.loop, exchange_is_over, &b->ex);
    f->next = b->w.picture.functions;
    b->w.picture.functions = f;
}

/* Without the time, which no test knows: "[fnd TIME: text]" becomes "[fnd: text]". */
static void expect_noted(struct api_bench *b, const char *text)
{
    cleanup_strbuf struct strbuf have = {0};
    const char *at = b->ex.body.data ? b->ex.body.data : "";

    for (const char *note; (note = strstr(at, "[fnd 2")); at = note + strlen("[fnd 2026-11-20T19:46:02.123Z")) {
        strbuf_add(&have, at, (size_t)(note - at));
        strbuf_puts(&have, "[fnd");
    }
    strbuf_puts(&have, at);
    assert_string_equal(have.data, text);
}

static int ring_fd(struct api_bench *b, size_t i)
{
    return ((struct rings *)b->arg)->ring[i].fd;
}

static void notes_stand_where_they_were_made(void **state)
{
    struct api_bench *b = *state;

    assert_int_equal(ringlog_note(ring_fd(b, 0), "at the start"), 0);
    ring_say(b, 0, "one\ntwo\n");
    assert_int_equal(ringlog_note(ring_fd(b, 0), "pids"), 0);
    ring_say(b, 0, "three\nhalf");
    assert_int_equal(ringlog_note(ring_fd(b, 0), "memory"), 0);
    bench_ask(b, "GET", LOGS, "");
    expect_noted(b, "[fnd: at the start]\none\ntwo\n[fnd: pids]\nthree\nhalf\n[fnd: memory]\n");
    bench_ask(b, "GET", LOGS, "lines=1");
    expect_noted(b, "half\n[fnd: memory]\n");
    bench_ask(b, "GET", LOGS, "lines=0");
    expect_noted(b, "");
}

static bool has_note(void *arg)
{
    struct api_bench *b = arg;

    return b->ex.body.data && strstr(b->ex.body.data, ": late]\n");
}

/* The last one comes when the instance is gone already. */
static void following_shows_notes(void **state)
{
    struct api_bench *b = *state;
    const uint64_t far = 1ULL << 60;

    ring_say(b, 0, "one\n");
    bench_call(b, "GET", LOGS, "follow=1&instance=hello-aaaaaa");
    wait_text(b, "one\n");
    assert_int_equal(ringlog_note(ring_fd(b, 0), "late"), 0);
    assert_int_equal(run_until_(b->w.loop, has_note, b), 0);
    assert_int_equal(ringlog_note(ring_fd(b, 0), "the end"), 0);
    assert_int_equal(pwrite(ring_fd(b, 0), &far, sizeof(far), 1024 + 2 * sizeof(struct ringlog_note) + sizeof(uint64_t)),
                     sizeof(far)); /* a position that never comes */
    instance_dies(b, 11);
    assert_int_equal(run_until_(b->w.loop, exchange_is_over, &b->ex), 0);
    expect_noted(b, "one\n[fnd: late]\n[fnd: the end]\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(history_of_one),
        TEST(bytes_pass_as_they_are),
        TEST(several_have_names_in_front),
        TEST(the_newest_that_died_when_none_lives),
        TEST(no_log_at_all_is_an_empty_one),
        TEST(bad_requests),
        TEST(broken_log_is_an_error),
        TEST(following_shows_half_lines_of_one),
        TEST(following_picks_up_new_instances),
        TEST(following_none_waits_for_the_first),
        TEST(following_one_instance_ends_with_it),
        TEST(following_outlives_the_runner),
        TEST(long_lines_are_broken),
        TEST(slow_client_loses_the_oldest),
        TEST(hostile_heads_are_survived),
        TEST(client_that_goes_while_written_to),
        TEST(removed_function_ends_the_stream),
        TEST(notes_stand_where_they_were_made),
        TEST(following_shows_notes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
