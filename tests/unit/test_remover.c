/* Trees that are removed in the background: small ones at once, large ones by a child while the loop goes on, and none twice. */
#include "check.h"

#include "clock.h"
#include "fd.h"
#include "log.h"
#include "loop.h"
#include "remover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 20000U

struct place {
    struct loop *loop;
    struct remover *remover;
    int dir;
    char path[64];
};

static void make_tree(const struct place *p, const char *name, unsigned files)
{
    char path[128];

    assert_int_equal(mkdirat(p->dir, name, 0755), 0);
    for (unsigned i = 0; i < files; i++) {
        cleanup_fd int fd = -1;

        snprintf(path, sizeof(path), "%s/%u", name, i);
        fd = openat(p->dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
    }
}

static bool there(const struct place *p, const char *name)
{
    return faccessat(p->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void out_of_time(struct timer *t)
{
    loop_stop(t->owner, 0);
}

static bool gone_in_time(const struct place *p, const char *name)
{
    uint64_t end = clock_mono_ns() + 20 * NS_PER_SEC;
    struct timer t = {.on_expire = out_of_time, .owner = p->loop};

    while (there(p, name) && clock_mono_ns() < end) {
        loop_arm_in(p->loop, &t, NS_PER_MS);
        loop_run(p->loop);
        loop_disarm(&t);
    }
    return !there(p, name);
}

static void test_small(void **state)
{
    struct place *p = *state;

    make_tree(p, "small", 3);
    remover_take(p->remover, p->dir, "small");
    assert_false(there(p, "small"));
    remover_take(p->remover, p->dir, "never there");
}

static void test_large(void **state)
{
    struct place *p = *state;

    make_tree(p, "one", MANY);
    make_tree(p, "two", MANY);
    remover_take(p->remover, p->dir, "one");
    remover_take(p->remover, p->dir, "two");
    assert_true(there(p, "two")); /* it waits for the first, and for its child */
    assert_true(gone_in_time(p, "one"));
    assert_true(gone_in_time(p, "two"));
}

/* What is not done at the end is left, whole or in part; no child is. */
static void test_end(void **state)
{
    struct place *p = *state;

    make_tree(p, "one", MANY);
    make_tree(p, "two", MANY);
    remover_take(p->remover, p->dir, "one");
    remover_take(p->remover, p->dir, "two");
    remover_free(p->remover);
    p->remover = NULL;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_until(void **state)
{
    struct place *p = *state;

    make_tree(p, "tree", 10);
    assert_int_equal(fd_remove_tree_until(p->dir, "tree", 1), -ETIME);
    assert_true(there(p, "tree"));
    assert_int_equal(fd_remove_tree_until(p->dir, "tree", clock_mono_ns() + 60 * NS_PER_SEC), 0);
    assert_false(there(p, "tree"));
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    snprintf(p->path, sizeof(p->path), "/tmp/test-remover-XXXXXX");
    assert_non_null(mkdtemp(p->path));
    p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(loop_new(&p->loop), 0);
    assert_int_equal(remover_new(p->loop, &p->remover), 0);
    log_set_level(LOG_ERR);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    remover_free(p->remover);
    loop_free(p->loop);
    fd_close(p->dir);
    fd_remove_tree(AT_FDCWD, p->path);
    free(p);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_until, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
