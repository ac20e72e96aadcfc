/* The access log: its lines, whatever is in a request; and its rings: nothing is torn, what does not fit is counted, nobody waits for a disk. */
#include "check.h"

#include "../../runner/gateway/log/access_log.h"
#include "clock.h"
#include "fd.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct access_end end = {
    .real_ns = 1763668000123000000, .duration_ns = 1234567, .status = 200, .request_bytes = 5, .response_bytes = 70, .function = "hello", .instance = "hello-abc123"};

static void expect(enum access_form form, const struct access_request *rq, const struct access_end *e, const char *line)
{
    cleanup_strbuf struct strbuf middle = {0}, out = {0};

    strbuf_puts(&middle, "");
    access_line_middle(&middle, form, rq);
    access_line(&out, form, middle.data, e);
    assert_string_equal(out.data, line);
}

#define TEXT(name, text) .name = text, .name##_len = sizeof(text) - 1

static void test_lines(void **state)
{
    const struct access_request plain = {TEXT(client, "192.0.2.1"), TEXT(method, "GET"), TEXT(target, "/fn/hello/?x=1"), TEXT(host, "a.example"),
                                         TEXT(protocol, "HTTP/1.1")};
    const struct access_request evil = {TEXT(target, "/\"x\\"), TEXT(user_agent, "a\"\n\xff status=\"200")};
    const struct access_end refused = {.real_ns = end.real_ns, .status = 400};

    expect(ACCESS_TEXT, &plain, &end,
           "time=\"2025-11-20T19:46:40.123Z\" client=\"192.0.2.1\" method=\"GET\" host=\"a.example\" target=\"/fn/hello/?x=1\" protocol=\"HTTP/1.1\" "
           "function=\"hello\" "
           "instance=\"hello-abc123\" status=200 request_bytes=5 response_bytes=70 duration_ms=1.235\n");
    expect(ACCESS_JSON, &plain, &end,
           "{\"time\":\"2025-11-20T19:46:40.123Z\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\"host\":\"a.example\",\"target\":\"/fn/hello/"
           "?x=1\",\"protocol\":\"HTTP/1.1\","
           "\"function\":\"hello\",\"instance\":\"hello-abc123\",\"status\":200,\"request_bytes\":5,\"response_bytes\":70,\"duration_ms\":1.235}\n");
    expect(
        ACCESS_TEXT, &evil,
        &refused, "time=\"2025-11-20T19:46:40.123Z\" target=\"/\\x22x\\x5c\" user_agent=\"a\\x22\\x0a\\xff status=\\x22200\" status=400 request_bytes=0 response_bytes=0 duration_ms=0.000\n");
    expect(ACCESS_JSON, &evil, &refused,
           "{\"time\":\"2025-11-20T19:46:40.123Z\",\"target\":\"/\\u0022x\\u005c\",\"user_agent\":\"a\\u0022\\u000a\\u00ff "
           "status=\\u0022200\",\"status\":400,\"request_bytes\":0,"
           "\"response_bytes\":0,\"duration_ms\":0.000}\n");
}

static void test_long_values(void **state)
{
    char target[5000], *out_end;
    cleanup_strbuf struct strbuf out = {0};

    memset(target, 'a', sizeof(target));
    access_line_middle(&out, ACCESS_TEXT, &(struct access_request){.target = target, .target_len = sizeof(target)});
    assert_true(out.len < 1100);
    out_end = out.data + out.len - 4;
    assert_string_equal(out_end, "...\"");
}

static int temp_file(char path[32])
{
    int fd;

    snprintf(path, 32, "/tmp/fnd-access-XXXXXX");
    fd = mkostemp(path, O_CLOEXEC | O_APPEND);
    assert_true(fd >= 0);
    return fd;
}

struct writer {
    struct access_log *log;
    unsigned worker, lines;
};

static void *write_lines(void *arg)
{
    const struct writer *w = arg;
    char line[128];

    for (unsigned i = 0; i < w->lines; i++) {
        int len = snprintf(line, sizeof(line), "%u %u %.*s\n", w->worker, i, (int)(i % 60), "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789");

        access_log_put(w->log, w->worker, line, (size_t)len);
        if (i % 500 == 499) /* slower than the thread empties */
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

/* Every line is whole and each worker's come in their order; what is missing was counted. */
static void test_workers(void **state)
{
    struct access_log *log = access_log_new(3);
    char path[32];
    int fd = temp_file(path);
    cleanup_free char *text = NULL;
    struct writer writers[3];
    unsigned next[3] = {0}, lines = 0;
    uint64_t lost;
    pthread_t threads[3];

    assert_false(access_log_is_on(log));
    assert_int_equal(access_log_set(log, fd, ACCESS_JSON), 0);
    assert_true(access_log_is_on(log));
    assert_int_equal(access_log_form(log), ACCESS_JSON);
    for (unsigned i = 0; i < 3; i++) {
        writers[i] = (struct writer){.log = log, .worker = i, .lines = 30000};
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &writers[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    lost = access_log_lost(log);
    access_log_free(log);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd_read_all(fd, 64 << 20, &text) > 0);
    close(fd);
    unlink(path);
    for (char *line = text, *eol; (eol = strchr(line, '\n')); line = eol + 1) {
        unsigned worker = 9, number = 0;

        *eol = '\0';
        assert_int_equal(sscanf(line, "%u %u", &worker, &number), 2);
        assert_true(worker < 3 && number >= next[worker] && strlen(strrchr(line, ' ') + 1) == number % 60);
        next[worker] = number + 1;
        lines++;
    }
    assert_int_equal(lines + lost, 90000);
    assert_true(lines > 1000);
}

static struct access_log *volatile left_behind; /* for those who look for leaks */

/* A disk that takes nothing: a pipe that nobody reads. Who writes goes on, and the log can be left. */
static void test_stuck(void **state)
{
    struct access_log *log = access_log_new(1);
    char line[1000];
    uint64_t begin = clock_mono_ns();
    int fds[2];

    memset(line, 'x', sizeof(line));
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(access_log_set(log, fds[1], ACCESS_TEXT), 0);
    for (unsigned i = 0; i < 2000; i++)
        access_log_put(log, 0, line, sizeof(line));
    assert_true(clock_mono_ns() - begin < 30 * NS_PER_SEC); /* who waited would wait for ever */
    assert_true(access_log_lost(log) > 1000);
    left_behind = log;
    access_log_free(log); /* after a second; the thread stays behind with what it uses */
    assert_true(clock_mono_ns() - begin < 30 * NS_PER_SEC);
    close(fds[0]);
}

/* Another file from here on, and none. */
static void test_other_file(void **state)
{
    struct access_log *log = access_log_new(1);
    char first[32], second[32], buf[64];
    int a = temp_file(first), b = temp_file(second);

    assert_int_equal(access_log_set(log, a, ACCESS_TEXT), 0);
    access_log_put(log, 0, "one\n", 4);
    for (int tries = 0; tries < 1000 && (fd_read_file(AT_FDCWD, first, buf, sizeof(buf)) < 0 || strcmp(buf, "one\n") != 0); tries++)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    assert_int_equal(access_log_set(log, b, ACCESS_TEXT), 0);
    access_log_put(log, 0, "two\n", 4);
    access_log_free(log);
    assert_true(fd_read_file(AT_FDCWD, second, buf, sizeof(buf)) >= 0);
    if (strcmp(buf, "two\n") != 0) { /* the thread was between the two */
        assert_string_equal(buf, "");
        assert_true(fd_read_file(AT_FDCWD, first, buf, sizeof(buf)) >= 0);
        assert_string_equal(buf, "one\ntwo\n");
    }
    unlink(first);
    unlink(second);
    log = access_log_new(1);
    assert_int_equal(access_log_set(log, -1, ACCESS_TEXT), 0);
    assert_false(access_log_is_on(log));
    access_log_free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),      cmocka_unit_test(test_long_values), cmocka_unit_test(test_workers),
        cmocka_unit_test(test_other_file), cmocka_unit_test(test_stuck),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
