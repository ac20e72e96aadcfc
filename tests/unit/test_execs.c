/* What the runner refuses of an EXEC before it looks for an instance, let alone makes a process: a gateway that was taken over says what it likes. */
#include "check.h"

#include "../../runner/instance/manager.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

static struct record_exec *good(void)
{
    static struct record_exec rec;

    rec = (struct record_exec){.head = RECORD_INIT(RECORD_EXEC, 1), .fn = {"default", "box"}, .instance = "box-aaaaaa", .argc = 2, .args_len = 6};
    memcpy(rec.args, "sh\0-c", 6);
    return &rec;
}

static int try(const struct record_exec *rec, int fd, struct diag *d)
{
    struct manager m = {0};
    struct function f = {.manager = &m, .id = rec->fn};

    *d = (struct diag){0};
    assert_int_equal(record_check(rec, sizeof(*rec), 1, d), 0);
    return execs_start(&m, &f, 1, rec, fd, d);
}

static void test_strings(void **state)
{
    struct record_exec *rec;
    struct diag d;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(try(good(), ends[0], &d), -ESRCH); /* all is well, but there is no such instance */
    rec = good();
    rec->argc = 0;
    assert_int_equal(try(rec, ends[0], &d), -EINVAL);
    rec = good();
    rec->argc = SPEC_ARGS_MAX + 1;
    assert_int_equal(try(rec, ends[0], &d), -EINVAL);
    rec->argc = UINT32_MAX;
    assert_int_equal(try(rec, ends[0], &d), -EINVAL);
    for (uint32_t argc = 1; argc < 5; argc++)
        for (uint32_t len = 0; len < 10; len++) {
            rec = good();
            rec->argc = argc;
            rec->args_len = len;
            if (!(argc == 2 && len == 6) && !(argc == 1 && len == 3) && !(argc == 3 && len == 7) && !(argc == 4 && len == 8))
                assert_int_equal(try(rec, ends[0], &d), -EINVAL);
        }
    rec = good();
    rec->args_len = RECORD_EXEC_ARGS_MAX;
    rec->argc = 1;
    memset(rec->args, 'x', sizeof(rec->args)); /* no end at all */
    assert_int_equal(try(rec, ends[0], &d), -EINVAL);
    rec = good();
    rec->args_len = 1;
    rec->argc = 1;
    rec->args[0] = '\0';
    assert_int_equal(try(rec, ends[0], &d), -EINVAL);
    rec = good();
    rec->tty = 2;
    assert_int_equal(try(rec, ends[0], &d), -EINVAL);
    rec = good();
    str_copy(rec->term, sizeof(rec->term), "vt100\nX=Y");
    assert_int_equal(try(rec, ends[0], &d), -EINVAL);
    rec = good();
    rec->instance[0] = '\0';
    assert_int_equal(try(rec, ends[0], &d), -ESRCH);
    fd_close(ends[0]);
    fd_close(ends[1]);
}

/* Only a connection of a local client: not a file, a directory, a pipe, a socket to elsewhere. */
static void test_descriptor(void **state)
{
    int wrong[] = {-1,
                   open("/dev/null", O_RDWR | O_CLOEXEC),
                   open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                   socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                   socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                   socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};

    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct diag d;

        assert_int_equal(try(good(), wrong[i], &d), -EINVAL);
        assert_non_null(strstr(d.text, "no connection"));
        fd_close(wrong[i]);
    }
}

static void test_record(void **state)
{
    struct record_exec *rec = good();
    struct diag d;

    rec->args_len = RECORD_EXEC_ARGS_MAX + 1;
    assert_int_equal(record_check(rec, sizeof(*rec), 1, &d), -EPROTO);
    rec = good();
    memset(rec->term, 'x', sizeof(rec->term));
    assert_int_equal(record_check(rec, sizeof(*rec), 1, &d), -EPROTO);
    rec = good();
    memset(rec->instance, 'x', sizeof(rec->instance));
    assert_int_equal(record_check(rec, sizeof(*rec), 1, &d), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings), cmocka_unit_test(test_descriptor), cmocka_unit_test(test_record)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
