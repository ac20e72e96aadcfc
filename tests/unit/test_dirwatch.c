/* What of a directory counts as a change: every event is queued by the time the call that made it returns, so nothing is waited for. */
#include "check.h"

#include "../../runner/ctl/project/project.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64], origin[4096];
static struct ignore *rules;
static struct dirwatch *watch;
static const struct source source = {.kind = SOURCE_DIRECTORY, .path = "fn"};

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    fd_close(fd);
}

static bool changed(void)
{
    struct diag d = {0};
    int r = dirwatch_read(watch, rules, &d);

    if (r < 0)
        fail_msg("%s", d.text);
    return r > 0;
}

static int setup(void **state)
{
    struct diag d = {0};

    snprintf(top, sizeof(top), "/tmp/fnd-test-watch-XXXXXX");
    if (!getcwd(origin, sizeof(origin)) || !mkdtemp(top) || chdir(top) < 0 || mkdir("fn", 0755) < 0 || mkdir("fn/sub", 0755) < 0 || mkdir("fn/out", 0755) < 0)
        return -1;
    put("fn/a", "a");
    put("fn/sub/b", "b");
    put("fn/.fndignore", "*.log\nout/\n");
    return ignore_read(&source, true, &rules, &d) < 0 || dirwatch_open("fn", rules, &watch, &d) < 0;
}

static int teardown(void **state)
{
    dirwatch_close(watch);
    ignore_free(rules);
    return chdir(origin) < 0 || fd_remove_tree(AT_FDCWD, top) < 0;
}

static void test_what_counts(void **state)
{
    assert_false(changed());
    put("fn/a", "other");
    assert_true(changed());
    assert_false(changed());
    put("fn/sub/b", "other");
    assert_true(changed());
    assert_int_equal(chmod("fn/a", 0755), 0);
    assert_true(changed());
    assert_int_equal(symlink("a", "fn/link"), 0);
    assert_true(changed());
    assert_int_equal(rename("fn/a", "fn/c"), 0);
    assert_true(changed());
    assert_int_equal(rename("fn/c", "outside"), 0);
    assert_true(changed());
    assert_int_equal(rename("outside", "fn/sub/b"), 0);
    assert_true(changed());
    assert_int_equal(unlink("fn/sub/b"), 0);
    assert_true(changed());
    assert_int_equal(rmdir("fn/sub"), 0);
    assert_true(changed());
    assert_int_equal(rmdir("fn/out"), 0); /* is no part of it */
    assert_false(changed());
    put("fn/.fndignore", "");
    assert_true(changed());
}

/* Reading it does not. */
static void test_reading(void **state)
{
    char text[8];

    assert_true(fd_read_file(AT_FDCWD, "fn/sub/b", text, sizeof(text)) > 0);
    assert_false(changed());
}

static void test_what_is_no_part(void **state)
{
    static const char *const names[] = {"fn/x.log", "fn/sub/y.log", "fn/out/z", "fn/.a.swp", "fn/.a.swx",
                                        "fn/a~",    "fn/4913",      "fn/.#a",   "fn/x.pyc",  "fn/sub/.b.swp"};

    assert_int_equal(mkdir("fn/__pycache__", 0755) | mkdir("fn/.git", 0755) | mkdir("fn/out/deep", 0755), 0);
    put("fn/__pycache__/a", "");
    put("fn/.git/index", "");
    put("fn/out/deep/a", "");
    for (size_t i = 0; i < COUNT(names); i++) {
        put(names[i], "x");
        if (changed())
            fail_msg("%s", names[i]);
        assert_int_equal(unlink(names[i]), 0);
    }
    assert_false(changed());
    put("fn/swp", "x");
    assert_true(changed());
}

/* What is made in a new directory, or in one that came from elsewhere, or under another name, is seen by its own name. */
static void test_directories(void **state)
{
    assert_int_equal(mkdir("fn/new", 0755), 0);
    assert_true(changed());
    put("fn/new/x", "");
    assert_true(changed());
    assert_int_equal(mkdir("fn/new/deeper", 0755), 0);
    assert_true(changed());
    put("fn/new/deeper/x", "");
    assert_true(changed());

    assert_int_equal(mkdir("came", 0755) | mkdir("came/with", 0755) | rename("came", "fn/came"), 0);
    assert_true(changed());
    put("fn/came/with/x", "");
    assert_true(changed());

    assert_int_equal(rename("fn/new", "fn/renamed"), 0);
    assert_true(changed());
    put("fn/.fndignore", "/new/*\n");
    assert_true(changed());
    ignore_free(rules);
    assert_int_equal(ignore_read(&source, true, &rules, NULL), 0);
    put("fn/renamed/y", "");
    assert_true(changed());
}

/* More than the kernel's queue holds: everything counts, and what was made meanwhile is watched. */
static void test_overflow(void **state)
{
    char text[16];
    long most;

    assert_true(fd_read_file(AT_FDCWD, "/proc/sys/fs/inotify/max_queued_events", text, sizeof(text)) > 0);
    most = strtol(text, NULL, 10);
    if (most > 100000)
        most = 100000; /* then it is only many */
    for (long i = 0; i <= most / 2; i++)
        assert_int_equal(mkdir("fn/x.log", 0755) | rmdir("fn/x.log"), 0); /* of no part of it */
    assert_int_equal(mkdir("fn/late", 0755), 0);
    assert_true(changed());
    put("fn/late/x", "");
    assert_true(changed());
}

static void test_refusals(void **state)
{
    struct dirwatch *w = NULL;
    struct diag d = {0};

    assert_int_equal(dirwatch_open("nowhere", rules, &w, &d), -ENOENT);
    assert_string_equal(d.text, "watching nowhere: No such file or directory");
    assert_int_equal(dirwatch_open("fn/a", rules, &w, &d), -ENOTDIR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_counts), TEST(test_reading), TEST(test_what_is_no_part), TEST(test_directories), TEST(test_overflow), TEST(test_refusals),
    };

    return cmocka_run_group_tests_name("dirwatch", tests, NULL, NULL);
}
