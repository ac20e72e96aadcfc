/* Files that another system's project file names. */
#include "check.h"

#include "../../runner/ctl/project/project.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64], origin[4096];

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    fd_close(fd);
}

static int setup(void **state)
{
    snprintf(top, sizeof(top), "/tmp/fnd-test-files-XXXXXX");
    if (!getcwd(origin, sizeof(origin)) || !mkdtemp(top) || chdir(top) < 0)
        return -1;
    put("secret", "password = swordfish\n");
    return mkdir("proj", 0755) | mkdir("proj/in", 0755);
}

static int teardown(void **state)
{
    return chdir(origin) < 0 || fd_remove_tree(AT_FDCWD, top) < 0;
}

static int load(struct project *p, struct diag *d)
{
    struct source s = {.kind = SOURCE_DIRECTORY, .path = "proj"};

    project_done(p);
    *d = (struct diag){0};
    return project_load(&s, PROJECT_UNCHECKED, NULL, p, d);
}

/* Of its own directory, wherever the code is; nothing of what lies beside that, and nothing but files. */
static void test_environment_files(void **state)
{
    static const char stack[] = "functions: {f: {handler: ./in, environment: {A: '1', B: '2'}, environment_file: [env.yml]}}\n";
    struct project p = {0};
    struct diag d;

    put("proj/stack.yml", stack);
    assert_int_equal(load(&p, &d), -EINVAL);
    assert_string_equal(d.text, "proj/stack.yml:1: environment_file: env.yml is not there");
    assert_int_equal(symlink("../secret", "proj/env.yml"), 0);
    assert_int_equal(load(&p, &d), -EINVAL);
    assert_non_null(strstr(d.text, "proj/env.yml: is a symlink that leads out of the directory"));
    assert_null(strstr(d.text, "password"));
    assert_int_equal(unlink("proj/env.yml"), 0);
    assert_int_equal(mkfifo("proj/env.yml", 0644), 0);
    assert_int_equal(load(&p, &d), -EINVAL);
    assert_non_null(strstr(d.text, "proj/env.yml: is no file"));
    assert_int_equal(unlink("proj/env.yml"), 0);
    put("proj/env.yml", "environment: {A: file}\n");
    assert_int_equal(load(&p, &d), 0);
    assert_non_null(strstr(p.ini, "[env]\nB = 2\nA = file\n"));
    project_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_files),
    };

    return cmocka_run_group_tests_name("foreign_files", tests, setup, teardown);
}
