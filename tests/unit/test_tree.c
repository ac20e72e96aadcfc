/* Removing a tree on a disk that is full: what cannot be moved up is an error, and not tried for ever. */
#include "check.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH      70 /* more than the walk goes down */
#define RENAMES_OK 10

static struct {
    int err; /* of every rename */
    unsigned calls;
} disk;

/* In place of libc's. */
int renameat2(int olddirfd, const char *oldpath, int newdirfd, const char *newpath, unsigned flags)
{
    assert_true(++disk.calls < RENAMES_OK);
    if (disk.err) {
        errno = disk.err;
        return -1;
    }
    return (int)syscall(SYS_renameat2, olddirfd, oldpath, newdirfd, newpath, flags);
}

static void make_deep(char *top)
{
    int at;

    assert_non_null(mkdtemp(top));
    at = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < DEPTH; i++) {
        int below;

        assert_int_equal(mkdirat(at, "d", 0755), 0);
        below = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(below >= 0);
        fd_close(at);
        at = below;
    }
    fd_close(at);
}

static void test_full_disk(void **state)
{
    char top[] = "/tmp/test-tree-XXXXXX";

    make_deep(top);
    disk.calls = 0;
    disk.err = ENOSPC;
    assert_int_equal(fd_remove_tree(AT_FDCWD, top), -ENOSPC);
    disk.calls = 0;
    disk.err = 0;
    assert_int_equal(fd_remove_tree(AT_FDCWD, top), 0);
    assert_int_equal(disk.calls, 1);
    assert_int_equal(access(top, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full_disk)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
