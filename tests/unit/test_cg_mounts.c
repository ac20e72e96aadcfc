/* test_cg_mounts.c: where the hierarchies are, from the texts of pure v2, hybrid and v1-only hosts, and of containers. */
#include "../../cgroups/cg_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

static struct cg_host host;

static void parse(const char *mountinfo, const char *own)
{
    cg_host_parse(mountinfo, own, &host);
}

static void assert_no_v1(void)
{
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        assert_false(host.v1[c].found);
}

static void test_pure_v2(void **state)
{
    parse("22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n"
          "28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n"
          "26 22 0:24 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
          "0::/system.slice/fnd.service\n");
    assert_true(host.v2.found);
    assert_false(host.v2.read_only);
    assert_string_equal(host.v2.point, "/sys/fs/cgroup");
    assert_string_equal(host.v2.root, "/");
    assert_int_equal(host.v2.dev, makedev(0, 24));
    assert_string_equal(host.own_v2, "/system.slice/fnd.service");
    assert_string_equal(cg_mount_below(&host.v2, host.own_v2), "system.slice/fnd.service");
    assert_string_equal(cg_mount_below(&host.v2, "/"), ".");
    assert_no_v1();
}

/* The names of v1's controllers are looked for in the super block's options; "mem" or "cpuset" are others. */
static void test_hybrid_with_comounts(void **state)
{
    parse("31 23 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755\n"
          "32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate\n"
          "33 31 0:30 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd\n"
          "34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct\n"
          "35 31 0:32 / /sys/fs/cgroup/cpuset rw,nosuid shared:13 - cgroup cgroup rw,cpuset\n"
          "36 31 0:33 / /mnt/my\\040memory rw,nosuid - cgroup cgroup rw,memory\n"
          "37 31 0:34 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids\n",
          "12:pids:/user.slice\n5:cpu,cpuacct:/a\n4:memory:/user.slice/user-0.slice/session-4.scope\n1:name=systemd:/x\n0::/user.slice/user-0.slice/"
          "session-4.scope\n");
    assert_string_equal(host.v2.point, "/sys/fs/cgroup/unified");
    assert_string_equal(host.v1[CG_CPU].point, "/sys/fs/cgroup/cpu,cpuacct");
    assert_string_equal(host.v1[CG_MEMORY].point, "/mnt/my memory");
    assert_string_equal(host.v1[CG_PIDS].point, "/sys/fs/cgroup/pids");
    assert_string_equal(host.own_v1[CG_CPU], "/a");
    assert_string_equal(host.own_v1[CG_PIDS], "/user.slice");
    assert_string_equal(host.own_v1[CG_MEMORY], "/user.slice/user-0.slice/session-4.scope");
    assert_string_equal(host.own_v2, "/user.slice/user-0.slice/session-4.scope");
}

static void test_one_hierarchy_for_two(void **state)
{
    parse("40 31 0:50 / /cg/all rw - cgroup none rw,memory,pids\n", "3:pids,memory:/z\n");
    assert_false(host.v2.found);
    assert_int_equal(host.v1[CG_MEMORY].dev, makedev(0, 50));
    assert_int_equal(host.v1[CG_PIDS].dev, makedev(0, 50));
    assert_string_equal(host.own_v1[CG_PIDS], "/z");
    assert_string_equal(host.own_v1[CG_MEMORY], "/z");
    assert_false(host.v1[CG_CPU].found);
}

static void test_v1_only(void **state)
{
    parse("33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n34 31 0:31 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
          "2:memory:/\n1:cpu:/\n");
    assert_false(host.v2.found);
    assert_string_equal(host.own_v2, "");
    assert_true(host.v1[CG_MEMORY].found);
    assert_false(host.v1[CG_MEMORY].read_only);
    assert_true(host.v1[CG_CPU].read_only);
}

/* A container's bind mount shows a part only; groups outside a cgroup namespace begin with "/..". */
static void test_parts_of_a_hierarchy(void **state)
{
    parse("26 22 0:24 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/docker/abc/leaf\n");
    assert_true(host.v2.read_only);
    assert_string_equal(cg_mount_below(&host.v2, host.own_v2), "leaf");
    assert_string_equal(cg_mount_below(&host.v2, "/docker/abc"), ".");
    assert_null(cg_mount_below(&host.v2, "/docker/abcdef"));
    assert_null(cg_mount_below(&host.v2, "/"));
    assert_null(cg_mount_below(&host.v2, ""));
    parse("26 22 0:24 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/../other\n");
    assert_string_equal(host.own_v2, "");
    assert_null(cg_mount_below(&host.v2, "/x"));
}

/* A writable mount wins over a read-only one, the whole over a part, the part with this process over another, the later of equals. */
static void test_best_of_several(void **state)
{
    static const char ro[] = "1 0 0:24 / /ro ro - cgroup2 c rw\n", whole[] = "2 0 0:24 / /whole rw - cgroup2 c rw\n",
                      mine[] = "3 0 0:24 /a /mine rw - cgroup2 c rw\n", part[] = "4 0 0:24 /b /part rw - cgroup2 c rw\n",
                      whole2[] = "5 0 0:24 / /whole2 rw - cgroup2 c rw\n";
    const struct {
        const char *first, *second, *want;
    } cases[] = {{ro, whole, "/whole"}, {whole, ro, "/whole"}, {mine, whole, "/whole"}, {whole, mine, "/whole"},
                 {part, mine, "/mine"}, {mine, part, "/mine"}, {ro, part, "/part"},     {whole, whole2, "/whole2"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), "%s%s", cases[i].first, cases[i].second);
        parse(text, "0::/a/b\n");
        assert_string_equal(host.v2.point, cases[i].want);
    }
}

/* Every prefix of a good text parses to something or nothing, and never to half a path's neighbour. */
static void test_broken_text(void **state)
{
    static const char good[] = "26 22 0:24 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n";
    char text[sizeof(good)], endless[3 * CG_PATH_MAX];

    for (size_t n = 0; n < sizeof(good); n++) {
        memcpy(text, good, n);
        text[n] = '\0';
        parse(text, "0::\n0:\n0\n\n:::\n");
        if (host.v2.found)
            assert_string_equal(host.v2.point, "/sys/fs/cgroup");
    }
    assert_true(host.v2.found);
    parse("26 22 x:y / /a rw - cgroup2 c rw\n26 22\n - cgroup2\n\n26 22 0:1 / /b rw cgroup2 c rw\n", "");
    assert_false(host.v2.found);
    snprintf(endless, sizeof(endless), "26 22 0:24 / /%0*d rw - cgroup2 c rw\n", 2 * CG_PATH_MAX, 0);
    parse(endless, "");
    assert_false(host.v2.found);
    snprintf(endless, sizeof(endless), "0::/%0*d\n", 2 * CG_PATH_MAX, 0);
    parse("", endless);
    assert_string_equal(host.own_v2, "");
}

static void test_names(void **state)
{
    static const char *const bad[] = {"", ".", "..", ".x", "a/b", "a b", "a\n", "0123456789012345678901234567890123456789012345678901234567890123"};

    assert_true(cg_name_valid("fnd"));
    assert_true(cg_name_valid("default.hello-x3k9ab"));
    assert_true(cg_name_valid("012345678901234567890123456789012345678901234567890123456789012"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(cg_name_valid(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pure_v2),
        cmocka_unit_test(test_hybrid_with_comounts),
        cmocka_unit_test(test_one_hierarchy_for_two),
        cmocka_unit_test(test_v1_only),
        cmocka_unit_test(test_parts_of_a_hierarchy),
        cmocka_unit_test(test_best_of_several),
        cmocka_unit_test(test_broken_text),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("cg_mounts", tests, NULL, NULL);
}
