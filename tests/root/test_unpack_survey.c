/* The survey of an unpacked tree: what no unpacking makes is refused, wherever it comes from; its digest is of the tree and not of the way to it. */
#include "root/unpack_job.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static struct job *fresh(struct host *h)
{
    struct job *j = UNPACK(h, {.name = "d/e/f", .data = "content"});

    expect_ok(j);
    return j;
}

static void expect_survey_refuses(struct host *h, struct job *j, const char *part)
{
    job_survey(h, j);
    expect_refused(j, part);
}

static int made_by_image(const struct job *j, const char *path)
{
    return fchownat(j->dir, path, BASE, BASE, AT_SYMLINK_NOFOLLOW);
}

static void test_foreign_entries(void **state)
{
    struct host *h = host_of(state);
    struct job *j = fresh(h);

    assert_int_equal(mkfifoat(j->dir, "rootfs/d/pipe", 0644), 0);
    assert_int_equal(made_by_image(j, "rootfs/d/pipe"), 0);
    expect_survey_refuses(h, j, "\"d\": \"pipe\": is neither a file");
    j = fresh(h);
    assert_int_equal(mknodat(j->dir, "rootfs/d/null", S_IFCHR, makedev(1, 3)), 0);
    expect_survey_refuses(h, j, "\"null\": is neither a file");
    j = fresh(h);
    assert_int_equal(fchmodat(j->dir, "rootfs/d/e/f", 04755, 0), 0);
    expect_survey_refuses(h, j, "\"f\": has mode 4755");
    j = fresh(h);
    assert_int_equal(fchmodat(j->dir, "rootfs/d", 02755, 0), 0);
    expect_survey_refuses(h, j, "\"d\": has mode 2755");
    j = fresh(h);
    assert_int_equal(mkdirat(j->dir, "beside", 0755), 0);
    expect_survey_refuses(h, j, "\"beside\" lies beside the image");
    j = fresh(h);
    assert_int_equal(renameat(j->dir, "rootfs", j->dir, "elsewhere"), 0);
    assert_int_equal(symlinkat("elsewhere", j->dir, "rootfs"), 0);
    expect_survey_refuses(h, j, "rootfs");
}

static void test_limits(void **state)
{
    struct host *h = host_of(state);
    struct job *j = fresh(h);
    uint64_t entries = j->res.entries, bytes = j->res.bytes;
    cleanup_strbuf struct strbuf path = {0};

    assert_int_equal(bytes, strlen("#!/bin/sh\n") + strlen("content"));
    j->req.limits.max_entries = entries - 8;
    job_survey(h, j);
    expect_ok(j);
    j->req.limits.max_entries = entries - 9;
    expect_survey_refuses(h, j, "entries");
    j = fresh(h);
    j->req.limits.max_bytes = bytes;
    job_survey(h, j);
    expect_ok(j);
    j->req.limits.max_bytes = bytes - 1;
    expect_survey_refuses(h, j, "more than 16 bytes unpacked");
    j = fresh(h);
    for (int i = 1; i < 65; i++) {
        strbuf_puts(&path, i > 1 ? "/d" : "rootfs/d/d");
        assert_int_equal(mkdirat(j->dir, path.data, 0755), 0);
    }
    expect_survey_refuses(h, j, "more than 64 directories deep");
    j = fresh(h);
    j->req.limits.max_seconds = 0;
    expect_survey_refuses(h, j, "processor time");
}

/* Deeper by a symlink than any name in the archive says. */
static void test_depth_by_symlink(void **state)
{
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0}, deep = {0}, more = {0};
    struct job *j = job_new(h);

    for (int i = 0; i < 40; i++)
        strbuf_puts(&deep, i ? "/d" : "d");
    strbuf_puts(&more, "l/");
    strbuf_puts(&more, deep.data);
    corpus_begin(&tar);
    tar_pax(&tar, "path", deep.data);
    tar_add(&tar, &(struct tar_entry){.name = "x", .type = '5'});
    tar_pax(&tar, "linkpath", deep.data);
    tar_add(&tar, &(struct tar_entry){.name = "l", .type = '2', .link = "x"});
    tar_pax(&tar, "path", more.data);
    tar_add(&tar, &(struct tar_entry){.name = "x", .type = '5'});
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    expect_refused(j, "more than 64 directories deep");
}

/* Links count once, and however they were packed they are in the digest by the order of names. */
static void test_links(void **state)
{
    static const struct tar_entry one[] = {{.name = "a", .data = "12345"}, {.name = "z", .type = '1', .link = "a"}, {.name = "c", .data = "c"}};
    static const struct tar_entry two[] = {{.name = "c", .data = "c"}, {.name = "z", .data = "12345"}, {.name = "a", .type = '1', .link = "z"}};
    static const struct tar_entry copies[] = {{.name = "c", .data = "c"}, {.name = "z", .data = "12345"}, {.name = "a", .data = "12345"}};
    struct host *h = host_of(state);
    struct job *x = unpack_entries(h, one, COUNT(one)), *y = unpack_entries(h, two, COUNT(two)), *z = unpack_entries(h, copies, COUNT(copies));

    expect_ok(x);
    expect_ok(y);
    expect_ok(z);
    assert_int_equal(x->res.bytes, strlen("#!/bin/sh\n") + 6);
    assert_int_equal(z->res.bytes, strlen("#!/bin/sh\n") + 11);
    assert_string_equal(x->res.sha256, y->res.sha256);
    assert_string_not_equal(x->res.sha256, z->res.sha256);
    job_free(x);
    job_free(y);
    job_free(z);
}

/* Files that their owner may not read, and directories without a right, are read all the same. */
static void test_unreadable(void **state)
{
    struct host *h = host_of(state);
    struct job *j = UNPACK(h, {.name = "n", .data = "x", .mode = 0200}, {.name = "d/", .type = '5', .mode = 0100}, {.name = "d/f", .data = "x", .mode = 0111});

    expect_ok(j);
    job_free(j);
}

/* Has the file's one block a place on disk? One that nobody has flushed gets it when the kernel writes it, seconds later (ext4, xfs). */
static bool is_flushed(const struct job *j, const char *path)
{
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
    } u = {.map = {.fm_length = UINT64_MAX, .fm_extent_count = 1}};
    cleanup_fd int fd = openat(j->dir, path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    if (ioctl(fd, FS_IOC_FIEMAP, &u) < 0)
        fail_msg("FIEMAP of %s: %s", path, strerror(errno));
    return u.map.fm_mapped_extents == 1 && !(u.map.fm_extents[0].fe_flags & FIEMAP_EXTENT_DELALLOC);
}

/* Few are flushed one by one, many at once (SURVEY_FLUSH_EACH). The last of them, and the one below a directory, as the first. */
static void expect_flushed(struct host *h, int files)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j = job_new(h);
    char name[32];

    corpus_begin(&tar);
    tar_add(&tar, &(struct tar_entry){.name = "z/below", .data = "one block"});
    for (int i = 0; i < files; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        tar_add(&tar, &(struct tar_entry){.name = name, .data = "one block"});
    }
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    expect_ok(j);
    assert_true(is_flushed(j, "rootfs/z/below"));
    for (int i = 0; i < files; i++) {
        snprintf(name, sizeof(name), "rootfs/f%d", i);
        assert_true(is_flushed(j, name));
    }
    job_free(j);
}

static void test_flushed(void **state)
{
    expect_flushed(host_of(state), 3);
    expect_flushed(host_of(state), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_entries), cmocka_unit_test(test_limits),     cmocka_unit_test(test_depth_by_symlink),
        cmocka_unit_test(test_links),           cmocka_unit_test(test_unreadable), cmocka_unit_test(test_flushed),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
