/* Numbers, names, errors, whole-file work. */
#include "unit/check.h"

#include "diag.h"
#include "fd.h"
#include "names.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct number_case {
    const char *text;
    int result;
    uint64_t value;
};

static void test_sizes(void **state)
{
    static const struct number_case cases[] = {
        {"0", 0, 0},
        {"4096", 0, 4096},
        {"64M", 0, 64ULL << 20},
        {"1G", 0, 1ULL << 30},
        {"512Ki", 0, 512ULL << 10},
        {"1.5K", 0, 1536},
        {"", -EINVAL, 0},
        {"M", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 M", -EINVAL, 0},
        {"1m", -EINVAL, 0},
        {"1.", -EINVAL, 0},
        {"1MM", -EINVAL, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"0x10", -EINVAL, 0},
        {"17179869184G", -ERANGE, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t v = 77;

        assert_int_equal(str_parse_size(cases[i].text, &v), cases[i].result);
        assert_int_equal(v, cases[i].result == 0 ? cases[i].value : 77);
    }
}

static void test_durations(void **state)
{
    static const struct number_case cases[] = {
        {"500ms", 0, 500000000ULL},  {"60s", 0, 60000000000ULL}, {"5m", 0, 300000000000ULL},
        {"1h", 0, 3600000000000ULL}, {"7", 0, 7000000000ULL},    {"1.5s", 0, 1500000000ULL},
        {"s", -EINVAL, 0},           {"1d", -EINVAL, 0},         {"5000000h", 0, 18000000000000000000ULL},
        {"6000000h", -ERANGE, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t v = 77;

        assert_int_equal(str_parse_duration(cases[i].text, &v), cases[i].result);
        assert_int_equal(v, cases[i].result == 0 ? cases[i].value : 77);
    }
}

static void test_cpu_and_bool(void **state)
{
    uint64_t v;
    bool b;

    assert_int_equal(str_parse_cpu("1.0", &v), 0);
    assert_int_equal(v, 1000);
    assert_int_equal(str_parse_cpu("500m", &v), 0);
    assert_int_equal(v, 500);
    assert_int_equal(str_parse_cpu("0.25", &v), 0);
    assert_int_equal(v, 250);
    assert_int_equal(str_parse_bool("Yes", &b), 0);
    assert_true(b);
    assert_int_equal(str_parse_bool("off", &b), 0);
    assert_false(b);
    assert_int_equal(str_parse_bool("maybe", &b), -EINVAL);
}

static void test_format_size(void **state)
{
    char buf[16];

    assert_string_equal(str_format_size(17, buf, sizeof(buf)), "17 B");
    assert_string_equal(str_format_size(128ULL << 20, buf, sizeof(buf)), "128M");
    assert_string_equal(str_format_size(1536, buf, sizeof(buf)), "1.5K");
}

static void test_strbuf(void **state)
{
    cleanup_strbuf struct strbuf b = {0};

    for (int i = 0; i < 1000; i++)
        strbuf_printf(&b, "%d,", i);
    assert_false(b.failed);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(b.data[b.len], 0);
    assert_memory_equal(b.data, "0,1,2,3,", 8);
}

static void test_names(void **state)
{
    static const char *const good[] = {"a", "hello", "A-b_c9", "0", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcde"};
    static const char *const bad[] = {"",    "-a",  "a-", "_a",       "a.b",
                                      "a b", "a/b", "..", "\xc3\xa4", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdef"};
    struct fn_id id, other;
    struct diag d;
    char buf[NAME_FUNCTION_MAX + 1];

    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(name_valid(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(name_valid(bad[i]));
    assert_int_equal(name_parse("hello", &id, &d), 0);
    assert_string_equal(id.env, "default");
    assert_string_equal(name_format(&id, buf), "hello");
    assert_int_equal(name_parse("Hello.Staging", &other, &d), 0);
    assert_string_equal(name_format(&other, buf), "Hello.Staging");
    assert_false(name_equal(&id, &other));
    assert_int_equal(name_parse("HELLO", &other, &d), 0);
    assert_true(name_equal(&id, &other));
    assert_int_equal(name_parse("a.b.c", &id, &d), -EINVAL);
    assert_int_equal(name_parse("a.", &id, &d), -EINVAL);
    assert_non_null(strstr(d.text, "environment"));
}

static void test_instance_names(void **state)
{
    static const char *const bad[] = {"hello", "hello-ABC123", "hello-12345", "-abcdef", "../x-abcdef", "a/b-abcdef"};
    struct fn_id id;
    char a[NAME_INSTANCE_MAX + 1], b[NAME_INSTANCE_MAX + 1];

    assert_int_equal(name_parse("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcde", &id, NULL), 0);
    assert_int_equal(name_new_instance(&id, a), 0);
    assert_int_equal(name_new_instance(&id, b), 0);
    assert_int_equal(strlen(a), 64);
    assert_true(name_instance_valid(a));
    assert_string_not_equal(a, b);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(name_instance_valid(bad[i]));
}

static void test_diag(void **state)
{
    struct diag d = {0};

    assert_int_equal(diag_errno(&d, ENOENT, "%s", "file"), -ENOENT);
    assert_string_equal(d.text, "file: No such file or directory");
    assert_int_equal(diag_prefix(&d, "hello"), -ENOENT);
    assert_string_equal(d.text, "hello: file: No such file or directory");
    memset(d.text, 'x', sizeof(d.text));
    d.text[3] = '\n';
    d.err = -5;
    diag_clean(&d);
    assert_int_equal(strlen(d.text), DIAG_TEXT_MAX - 1);
    assert_int_equal(d.text[3], '?');
    assert_int_equal(d.err, EIO);
}

static int make_tmp(char *path)
{
    snprintf(path, 64, "/tmp/fnd-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void test_publish(void **state)
{
    char path[64], buf[32];
    int dir = make_tmp(path);

    assert_int_equal(fd_publish_file(dir, "a", "one", 3, 0600), 0);
    assert_int_equal(fd_publish_file(dir, "a", "second", 6, 0640), 0);
    assert_int_equal(fd_read_file(dir, "a", buf, sizeof(buf)), 6);
    assert_string_equal(buf, "second");
    assert_int_equal(fd_read_file(dir, "a", buf, 6), -EFBIG);
    assert_int_equal(fd_publish_symlink(dir, "current", "1"), 0);
    assert_int_equal(fd_publish_symlink(dir, "current", "2"), 0);
    assert_int_equal(readlinkat(dir, "current", buf, sizeof(buf)), 1);
    assert_int_equal(buf[0], '2');
    fd_close(dir);
    assert_int_equal(fd_remove_tree(AT_FDCWD, path), 0);
    assert_int_equal(access(path, F_OK), -1);
}

/* A tree deeper than any path can be, with a symlink out that must not be followed. */
static void test_remove_tree(void **state)
{
    char path[64], out[64];
    int dir = make_tmp(path), keep = make_tmp(out), at;

    assert_int_equal(fd_publish_file(keep, "kept", "x", 1, 0600), 0);
    assert_int_equal(symlinkat(out, dir, "link"), 0);
    at = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        int next;

        assert_int_equal(mkdirat(at, "dddddddddd", 0700), 0);
        next = openat(at, "dddddddddd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        fd_close(at);
        at = next;
    }
    assert_int_equal(fd_publish_file(at, "leaf", "x", 1, 0600), 0);
    fd_close(at);
    fd_close(dir);
    assert_int_equal(fd_remove_tree(AT_FDCWD, path), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(faccessat(keep, "kept", F_OK, 0), 0);
    fd_close(keep);
    assert_int_equal(fd_remove_tree(AT_FDCWD, out), 0);
    assert_int_equal(fd_remove_tree(AT_FDCWD, out), 0);
}

static void test_pass_fds(void **state)
{
    int pair[2], fds[FD_PASS_MAX], sent[2];
    unsigned n = 0;
    char buf[8];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    sent[0] = sent[1] = pair[0];
    assert_int_equal(fd_send(pair[0], "hello", 5, sent, 2, 0), 0);
    assert_int_equal(fd_recv(pair[1], buf, sizeof(buf), fds, FD_PASS_MAX, &n, 0), 5);
    assert_int_equal(n, 2);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    fd_close(fds[0]);
    fd_close(fds[1]);
    /* more than the receiver has room for: an error, and nothing leaks */
    assert_int_equal(fd_send(pair[0], "hello", 5, sent, 2, 0), 0);
    assert_int_equal(fd_recv(pair[1], buf, sizeof(buf), fds, 1, &n, 0), -EMSGSIZE);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    /* a record that is cut is an error too */
    assert_int_equal(fd_send(pair[0], "0123456789", 10, NULL, 0, 0), 0);
    assert_int_equal(fd_recv(pair[1], buf, sizeof(buf), fds, 1, &n, 0), -EMSGSIZE);
    fd_close(pair[0]);
    assert_int_equal(fd_recv(pair[1], buf, sizeof(buf), fds, 1, &n, 0), 0);
    fd_close(pair[1]);
}

/* unix(7) lets a message without a byte carry descriptors; to the receiver it looks like the end. */
static void test_pass_fds_without_data(void **state)
{
    int pair[2], fd = -1, next, sent = STDIN_FILENO;
    unsigned n = 0;
    char buf[8];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    next = dup(pair[0]);
    close(next);
    assert_int_equal(fd_send(pair[0], "", 0, &sent, 1, 0), 0);
    assert_int_equal(fd_recv(pair[1], buf, sizeof(buf), &fd, 1, &n, 0), 0);
    assert_int_equal(n, 0);
    assert_int_equal(fcntl(next, F_GETFD), -1);
    close(pair[0]);
    close(pair[1]);
}

/* Who ends without having read what he was sent: his last words come all the same, and then the end; without any it is a reset. */
static void last_words_of_a_peer_that_did_not_listen(void **state)
{
    char buf[16];
    int pair[2];

    for (int words = 0; words < 3; words++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(fd_send(pair[0], "unheard", 7, NULL, 0, 0), 0);
        for (int i = 0; i < words; i++)
            assert_int_equal(fd_send(pair[1], "why", 3, NULL, 0, 0), 0);
        close(pair[1]);
        for (int i = 0; i < words; i++)
            assert_int_equal(fd_recv(pair[0], buf, sizeof(buf), NULL, 0, NULL, MSG_DONTWAIT), 3);
        assert_int_equal(fd_recv(pair[0], buf, sizeof(buf), NULL, 0, NULL, MSG_DONTWAIT), words ? 0 : -ECONNRESET);
        close(pair[0]);
    }
}

static void test_sealed_memfd(void **state)
{
    int fd = fd_sealed_memfd("test", "data", 4, 0);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    fd_close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_durations),
        cmocka_unit_test(test_cpu_and_bool),   cmocka_unit_test(test_format_size),
        cmocka_unit_test(test_strbuf),         cmocka_unit_test(test_names),
        cmocka_unit_test(test_instance_names), cmocka_unit_test(test_diag),
        cmocka_unit_test(test_publish),        cmocka_unit_test(test_remove_tree),
        cmocka_unit_test(test_pass_fds),       cmocka_unit_test(last_words_of_a_peer_that_did_not_listen),
        cmocka_unit_test(test_sealed_memfd),   cmocka_unit_test(test_pass_fds_without_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
