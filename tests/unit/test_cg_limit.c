/* What is written for each kind of hierarchy, and what figures are read, on directories of plain files: the host that runs this has one kind only. */
#include "check.h"

#include "../../cgroups/cg_internal.h"

#include "diag.h"
#include "fd.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (1ULL << 20)

static char top[64];
static int top_fd;

static void put(int dirfd, const char *name, const char *text)
{
    assert_int_equal(fd_publish_file(dirfd, name, text, strlen(text), 0600), 0);
}

static void expect(int dirfd, const char *name, const char *want)
{
    char text[256];

    if (fd_read_file(dirfd, name, text, sizeof(text)) < 0)
        fail_msg("%s is not there", name);
    assert_string_equal(text, want);
}

static int make_dir(const char *name, const char *const *files)
{
    int fd;

    assert_int_equal(mkdirat(top_fd, name, 0700), 0);
    fd = openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (; *files; files++)
        put(fd, *files, "");
    return fd;
}

static const char *const v2_files[] = {"memory.oom.group", "memory.swap.max", "memory.high", "memory.max", "pids.max", "cpu.weight", "cpu.max", "io.max", NULL};
static const char *const v1_files[] = {
    "memory.swappiness", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max", "cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", NULL};

struct fake {
    struct cg_root root;
    struct cg_group group;
};

static void fake_new(struct fake *f, enum cg_where where)
{
    *f = (struct fake){.root = {.name = "fnd", .dir_fd = -1, .no_disk = "a reason"}};
    f->group = (struct cg_group){.root = &f->root, .name = "g", .dir_fd = make_dir("v2", v2_files), .oom_fd = -1};
    for (int c = 0; c < CG_ALL_COUNT; c++)
        f->root.where[c] = c == CG_IO && where == CG_V1 ? CG_ABSENT : where;
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++) {
        char name[16];

        snprintf(name, sizeof(name), "v1.%d", c);
        f->group.v1_fd[c] = where == CG_V1 ? make_dir(name, v1_files) : -1;
        f->root.v1[c].dir_fd = f->group.v1_fd[c];
    }
    if (where == CG_V2)
        str_copy(f->root.disk, sizeof(f->root.disk), "254:0");
    f->root.dir_fd = f->group.dir_fd;
}

static void fake_done(struct fake *f)
{
    fd_close(f->group.dir_fd);
    for (int c = 0; c < CG_CONTROLLER_COUNT; c++)
        fd_close(f->group.v1_fd[c]);
}

static int setup(void **state)
{
    snprintf(top, sizeof(top), "/tmp/test-cg-limit-XXXXXX");
    assert_non_null(mkdtemp(top));
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return top_fd < 0;
}

static int teardown(void **state)
{
    fd_close(top_fd);
    return fd_remove_tree(AT_FDCWD, top);
}

static const struct cg_limits all = {.memory_bytes = 64 * MIB, .memory_high_bytes = 48 * MIB, .pids = 20, .cpu_milli = 500, .io_bytes = 10 * MIB};

static void v2_files_are_written(void **state)
{
    const struct cg_limits none = {0};
    struct diag d = {0};
    char text[256];
    struct fake f;

    fake_new(&f, CG_V2);
    assert_int_equal(cg_group_limit(&f.group, &all, false, &d), 0);
    expect(f.group.dir_fd, "memory.max", "67108864");
    expect(f.group.dir_fd, "memory.high", "50331648");
    expect(f.group.dir_fd, "memory.swap.max", "0");
    expect(f.group.dir_fd, "memory.oom.group", "1");
    expect(f.group.dir_fd, "pids.max", "20");
    expect(f.group.dir_fd, "cpu.max", "50000 100000");
    expect(f.group.dir_fd, "cpu.weight", "50");
    expect(f.group.dir_fd, "io.max", "254:0 rbps=10485760 wbps=10485760");
    assert_string_equal(cg_root_lacks(&f.root, &all, text, sizeof(text)), "");
    for (const char *const *file = v2_files; *file; file++)
        put(f.group.dir_fd, *file, "");
    assert_int_equal(cg_group_limit(&f.group, &none, false, &d), 0);
    expect(f.group.dir_fd, "memory.max", "max");
    expect(f.group.dir_fd, "memory.high", "max");
    expect(f.group.dir_fd, "cpu.max", "max");
    expect(f.group.dir_fd, "cpu.weight", "100");
    expect(f.group.dir_fd, "io.max", "254:0 rbps=max wbps=max");
    fake_done(&f);
}

static void only_what_differs_is_written(void **state)
{
    struct cg_limits l = all;
    struct diag d = {0};
    struct fake f;

    fake_new(&f, CG_V2);
    assert_int_equal(cg_group_limit(&f.group, &all, false, &d), 0);
    for (const char *const *file = v2_files; *file; file++)
        put(f.group.dir_fd, *file, "");
    l.memory_high_bytes = 32 * MIB;
    assert_int_equal(cg_group_limit(&f.group, &l, false, &d), 0);
    expect(f.group.dir_fd, "memory.high", "33554432");
    expect(f.group.dir_fd, "pids.max", "");
    expect(f.group.dir_fd, "cpu.max", "");
    expect(f.group.dir_fd, "io.max", "");
    fake_done(&f);
}

static void v1_has_shares_and_no_high(void **state)
{
    struct diag d = {0};
    char text[256];
    struct fake f;

    fake_new(&f, CG_V1);
    assert_int_equal(cg_group_limit(&f.group, &all, false, &d), 0);
    expect(f.group.v1_fd[CG_CPU], "cpu.shares", "512");
    expect(f.group.v1_fd[CG_CPU], "cpu.cfs_quota_us", "50000");
    expect(f.group.v1_fd[CG_MEMORY], "memory.limit_in_bytes", "67108864");
    put(f.group.v1_fd[CG_CPU], "cpu.cfs_quota_us", "");
    put(f.group.v1_fd[CG_CPU], "cpu.shares", "");
    assert_int_equal(cg_group_limit(&f.group, &(struct cg_limits){.cpu_milli = 2000, .cpu_weight_milli = 1000}, false, &d), 0);
    expect(f.group.v1_fd[CG_CPU], "cpu.cfs_quota_us", "200000");
    expect(f.group.v1_fd[CG_CPU], "cpu.shares", "1024");
    expect(f.group.dir_fd, "memory.high", "");
    expect(f.group.dir_fd, "io.max", "");
    assert_string_equal(cg_root_lacks(&f.root, &all, text, sizeof(text)), "memory_high (cgroup v1 has no such limit), io (a reason)");
    f.root.where[CG_PIDS] = CG_ABSENT;
    assert_int_equal(cg_group_limit(&f.group, &all, false, &d), -ENOTSUP);
    assert_string_equal(cg_root_lacks(&f.root, &(struct cg_limits){.pids = 5}, text, sizeof(text)), "pids (no such controller on this host)");
    fake_done(&f);
}

static void weights_stay_within_the_kernels_bounds(void **state)
{
    static const struct {
        uint32_t milli;
        const char *weight;
    } cases[] = {{1000, "100"}, {10, "1"}, {1, "1"}, {1024000, "10000"}, {2500, "250"}};
    struct diag d = {0};
    struct fake f;

    fake_new(&f, CG_V2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(cg_group_limit(&f.group, &(struct cg_limits){.cpu_milli = cases[i].milli}, false, &d), 0);
        expect(f.group.dir_fd, "cpu.weight", cases[i].weight);
        put(f.group.dir_fd, "cpu.weight", "");
    }
    fake_done(&f);
}

/* What may use two CPUs where they are idle need not have twice the share of one where they are not. */
static void weight_is_apart_from_quota(void **state)
{
    struct cg_limits l = {.cpu_milli = 2000, .cpu_weight_milli = 1000};
    struct diag d = {0};
    struct fake f;

    fake_new(&f, CG_V2);
    assert_int_equal(cg_group_limit(&f.group, &l, false, &d), 0);
    expect(f.group.dir_fd, "cpu.max", "200000 100000");
    expect(f.group.dir_fd, "cpu.weight", "100");
    put(f.group.dir_fd, "cpu.weight", "");
    l.cpu_weight_milli = 500;
    assert_int_equal(cg_group_limit(&f.group, &l, false, &d), 0);
    expect(f.group.dir_fd, "cpu.weight", "50");
    put(f.group.dir_fd, "cpu.weight", "");
    assert_int_equal(cg_group_limit(&f.group, &l, false, &d), 0);
    expect(f.group.dir_fd, "cpu.weight", "");
    fake_done(&f);
}

/* All groups together: neither oom.group (everybody would die) nor a weight. */
static void tree_has_memory_and_cpu_alone(void **state)
{
    struct diag d = {0};
    struct fake f;

    fake_new(&f, CG_V2);
    put(f.group.dir_fd, "memory.max", "old");
    assert_int_equal(cg_root_limit(&f.root, &all, &d), 0);
    expect(f.group.dir_fd, "memory.max", "67108864");
    expect(f.group.dir_fd, "cpu.max", "50000 100000");
    expect(f.group.dir_fd, "memory.oom.group", "");
    expect(f.group.dir_fd, "memory.swap.max", "");
    expect(f.group.dir_fd, "cpu.weight", "");
    expect(f.group.dir_fd, "pids.max", "");
    put(f.group.dir_fd, "memory.max", "");
    assert_int_equal(cg_root_limit(&f.root, &(struct cg_limits){0}, &d), 0);
    expect(f.group.dir_fd, "memory.max", "max");
    fake_done(&f);
}

static void figures(void **state)
{
    struct cg_stats s;
    struct fake f;

    fake_new(&f, CG_V2);
    put(f.group.dir_fd, "cpu.stat", "usage_usec 5\nuser_usec 1\nnr_periods 9\nnr_throttled 7\nthrottled_usec 3\n");
    put(f.group.dir_fd, "memory.events", "low 0\nhigh 4\nmax 11\noom 2\noom_kill 1\noom_group_kill 1\n");
    put(f.group.dir_fd, "memory.current", "4096\n");
    put(f.group.dir_fd, "pids.events", "max 6\n");
    put(f.group.dir_fd, "io.stat", "254:0 rbytes=100 wbytes=10 rios=5 wios=1 dbytes=0 dios=0\n253:0 rbytes=11 wbytes=1 rios=1 wios=1\n");
    assert_int_equal(cg_group_stats(&f.group, &s), 0);
    assert_int_equal(s.cpu_ns, 5000);
    assert_int_equal(s.throttled, 7);
    assert_int_equal(s.throttled_ns, 3000);
    assert_int_equal(s.memory_high, 4);
    assert_int_equal(s.ooms, 2);
    assert_int_equal(s.oom_kills, 1);
    assert_int_equal(s.pids_refused, 6);
    assert_int_equal(s.io_read_bytes, 111);
    assert_int_equal(s.io_write_bytes, 11);
    put(f.group.dir_fd, "io.stat", "garbage rbytes= wbytes=x\nrbytes=5");
    assert_int_equal(cg_group_stats(&f.group, &s), 0);
    assert_int_equal(s.io_read_bytes, 0);
    fake_done(&f);
}

static int fired(int events_fd, const int watches[CG_EVENTS_WATCHES])
{
    int got[8], n = cg_events_read(events_fd, got, COUNT(got)), which = 0;

    assert_true(n >= 0);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < CG_EVENTS_WATCHES; k++)
            if (got[i] >= 0 && got[i] == watches[k])
                which |= 1 << k;
    return which;
}

/* inotify does not ask what kind of file it is. */
static void events_name_the_file_that_changed(void **state)
{
    struct diag d = {0};
    int fd = cg_events_open(&d), watches[CG_EVENTS_WATCHES];
    struct fake f;

    assert_true(fd >= 0);
    fake_new(&f, CG_V2);
    put(f.group.dir_fd, "memory.events", "max 0\n");
    put(f.group.dir_fd, "pids.events", "max 0\n");
    cg_events_watch(fd, &f.group, watches);
    assert_true(watches[0] >= 0 && watches[1] >= 0);
    assert_int_equal(fired(fd, watches), 0);
    assert_int_equal(fd_write_kernel(f.group.dir_fd, "pids.events", "max 1\n"), 0);
    assert_int_equal(fired(fd, watches), 2);
    assert_int_equal(fired(fd, watches), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fd_write_kernel(f.group.dir_fd, "memory.events", "max 1\n"), 0);
        assert_int_equal(fd_write_kernel(f.group.dir_fd, "pids.events", "max 2\n"), 0);
    }
    assert_int_equal(fired(fd, watches), 3);
    cg_events_unwatch(fd, watches);
    while (fired(fd, watches)) /* what was queued */
        ;
    assert_int_equal(fd_write_kernel(f.group.dir_fd, "pids.events", "max 3\n"), 0);
    assert_int_equal(fired(fd, watches), 0);
    fd_close(fd);
    fake_done(&f);
}

/* A partition's directory lies in its disk's, as sysfs has it. */
static void disk_of_a_partition(void **state)
{
    struct diag d = {0};
    char disk[24] = "untouched";
    int dir, part;

    assert_int_equal(mkdirat(top_fd, "vda", 0700), 0);
    assert_int_equal(mkdirat(top_fd, "vda/vda1", 0700), 0);
    assert_int_equal(symlinkat("vda", top_fd, "254:0"), 0);
    assert_int_equal(symlinkat("vda/vda1", top_fd, "254:1"), 0);
    dir = openat(top_fd, "vda", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(dir, "dev", "254:0\n");
    assert_int_equal(cg_disk_find(top_fd, 253, 9, disk, sizeof(disk), &d), -ENOENT);
    assert_int_equal(cg_disk_find(top_fd, 0, 28, disk, sizeof(disk), &d), -ENOTSUP);
    assert_string_equal(disk, "untouched");
    assert_int_equal(cg_disk_find(top_fd, 254, 0, disk, sizeof(disk), &d), 0);
    assert_string_equal(disk, "254:0");
    part = openat(dir, "vda1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(part, "dev", "254:1\n");
    put(part, "partition", "1\n");
    disk[0] = '\0';
    assert_int_equal(cg_disk_find(top_fd, 254, 1, disk, sizeof(disk), &d), 0);
    assert_string_equal(disk, "254:0");
    put(dir, "dev", "max 254:0");
    assert_int_equal(cg_disk_find(top_fd, 254, 1, disk, sizeof(disk), &d), -EPROTO);
    fd_close(part);
    fd_close(dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(v2_files_are_written),
        TEST(only_what_differs_is_written),
        TEST(v1_has_shares_and_no_high),
        TEST(weights_stay_within_the_kernels_bounds),
        TEST(weight_is_apart_from_quota),
        TEST(tree_has_memory_and_cpu_alone),
        TEST(figures),
        TEST(events_name_the_file_that_changed),
        TEST(disk_of_a_partition),
    };

    return cmocka_run_group_tests_name("cg_limit", tests, NULL, NULL);
}
