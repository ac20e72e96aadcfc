/* The export's answer: what comes out of the pipe, errors before and after it began, and a client that goes away. */
#include "api_bench.h"

#include <fcntl.h>
#include <poll.h>

static bool is_asked(void *arg)
{
    return ((struct api_bench *)arg)->archive_fd >= 0;
}

static void begin(struct api_bench *b, const char *query)
{
    b->archive_fd = fd_close(b->archive_fd);
    b->end = -1;
    bench_call(b, "GET", "/api/v1/functions/Hello/export", query);
    run_until(b->w.loop, is_asked, b);
    assert_string_equal(b->exported.fn.name, "hello");
}

static void put(struct api_bench *b, const char *text)
{
    assert_int_equal(write(b->archive_fd, text, strlen(text)), (ssize_t)strlen(text));
}

static bool has_begun(void *arg)
{
    return ((struct api_bench *)arg)->ex.begun;
}

static bool was_told(void *arg)
{
    return ((struct api_bench *)arg)->end >= 0;
}

static bool counts_down(void *arg)
{
    return (*(int *)arg)-- == 0;
}

/* The loop has had the time to do what it must not. */
static void bench_turns(struct api_bench *b, int n)
{
    run_until(b->w.loop, counts_down, &n);
}

static bool pipe_is_broken(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

static void all_of_it(void **state)
{
    struct api_bench *b = *state;

    for (int reply_first = 0; reply_first < 2; reply_first++) {
        begin(b, reply_first ? "version=7" : "");
        assert_int_equal(b->exported.version, reply_first ? 7 : 0);
        assert_int_equal(fcntl(b->archive_fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
        put(b, "one");
        run_until(b->w.loop, has_begun, b);
        put(b, "two");
        if (reply_first)
            runner_reply(&b->runner, b->deploy_id, 0, NULL, -1);
        b->archive_fd = fd_close(b->archive_fd);
        if (!reply_first)
            runner_reply(&b->runner, b->deploy_id, 0, NULL, -1);
        run_until(b->w.loop, exchange_is_over, &b->ex);
        assert_int_equal(b->ex.status, 200);
        assert_string_equal(b->ex.type, "application/x-tar");
        assert_int_equal(b->ex.body.len, 6);
        assert_memory_equal(b->ex.body.data, "onetwo", 6);
        assert_false(b->ex.cut);
        assert_int_equal(b->end, -1);
    }
}

static void errors(void **state)
{
    struct api_bench *b = *state;

    begin(b, "");
    runner_reply(&b->runner, b->deploy_id, EBUSY, "4 others are under way", -1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.status, 409);
    assert_true(pipe_is_broken(b->archive_fd));
    begin(b, "");
    put(b, "half of it");
    run_until(b->w.loop, has_begun, b);
    runner_reply(&b->runner, b->deploy_id, EIO, "the tree changed", -1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_true(b->ex.cut);
    begin(b, ""); /* nothing was written, and all is well: that is no archive */
    b->archive_fd = fd_close(b->archive_fd);
    runner_reply(&b->runner, b->deploy_id, 0, NULL, -1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.status, 500);
    bench_ask(b, "GET", "/api/v1/functions/gone/export", "");
    assert_int_equal(b->ex.status, 404);
    bench_ask(b, "GET", "/api/v1/functions/hello/export", "version=x");
    assert_int_equal(b->ex.status, 400);
}

/* The end of the pipe alone says nothing: a jail that was killed closes it too. */
static void the_pipe_alone_is_no_end(void **state)
{
    struct api_bench *b = *state;

    begin(b, "");
    put(b, "half of it");
    b->archive_fd = fd_close(b->archive_fd);
    run_until(b->w.loop, has_begun, b);
    bench_turns(b, 20);
    assert_false(b->ex.over);
    runner_reply(&b->runner, b->deploy_id, EPROTO, "ended by signal 9", -1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_true(b->ex.cut);
}

static void a_client_that_goes_away(void **state)
{
    struct api_bench *b = *state;

    begin(b, "");
    exchange_gone(&b->ex);
    run_until(b->w.loop, was_told, b);
    assert_int_equal(b->end, 0);
    assert_true(pipe_is_broken(b->archive_fd));
    begin(b, ""); /* it breaks while it is written to */
    b->ex.breaks = true;
    put(b, "one");
    run_until(b->w.loop, was_told, b);
    assert_true(pipe_is_broken(b->archive_fd));
}

static void a_slow_client(void **state)
{
    struct api_bench *b = *state;
    char block[4096];
    size_t all = 0;

    begin(b, "");
    b->ex.room = 1;
    memset(block, 'x', sizeof(block));
    assert_int_equal(fd_set_nonblock(b->archive_fd, 1), 0);
    for (ssize_t n; (n = write(b->archive_fd, block, sizeof(block))) > 0;)
        all += (size_t)n;
    run_until(b->w.loop, has_begun, b);
    bench_turns(b, 20);
    assert_true(b->ex.body.len > 0 && b->ex.body.len <= 65536); /* one piece; what is in the pipe stays there */
    b->ex.room = 0;
    b->ex.handler->on_drain(&b->ex, b->ex.arg);
    b->archive_fd = fd_close(b->archive_fd);
    runner_reply(&b->runner, b->deploy_id, 0, NULL, -1);
    run_until(b->w.loop, exchange_is_over, &b->ex);
    assert_int_equal(b->ex.body.len, all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_of_it, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(errors, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(the_pipe_alone_is_no_end, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(a_client_that_goes_away, bench_setup, bench_teardown),
        cmocka_unit_test_setup_teardown(a_slow_client, bench_setup, bench_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
