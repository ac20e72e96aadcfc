/* The jail on a corpus of archives: what is refused and how, what is left on disk, and under which owner. */
#include "root/unpack_job.h"

#include <ftw.h>
#include <sys/xattr.h>

/* ---- what a good archive becomes ---- */

static int check_owned(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    if (st->st_uid < BASE || st->st_uid > BASE + 65535 || st->st_gid < BASE || st->st_gid > BASE + 65535)
        fail_msg("%s belongs to %u:%u", path, st->st_uid, st->st_gid);
    if (!S_ISLNK(st->st_mode) && (st->st_mode & 06000))
        fail_msg("%s has mode %o", path, st->st_mode);
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode))
        fail_msg("%s is special", path);
    return 0;
}

static void test_good(void **state)
{
    struct host *h = host_of(state);
    struct job *j = UNPACK(h, {.name = "function.ini", .data = "[function]\nname = other\ncommand = /server\nport = 8080\n[env]\nA = 1\n"},
                           {.name = "usr/bin/", .type = '5', .mode = 0555, .uid = 5, .gid = 6}, {.name = "bin", .type = '2', .link = "usr/bin"},
                           {.name = "sbin", .type = '2', .link = "/usr/bin"}, {.name = "bin/tool", .data = "tool", .mode = 06710, .uid = 7, .gid = 8},
                           {.name = "sbin/tool2", .data = "tool2"}, {.name = "hard", .type = '1', .link = "./bin/tool"},
                           {.name = "secret", .data = "s", .mode = 0600, .uid = 70000, .gid = 2000000}, {.name = "none", .data = "n", .mode = 0011},
                           {.name = "tmp/", .type = '5', .mode = 07777}, {.name = "/abs/file", .data = "abs"}, {.name = "./a//b/./c", .data = "c"});

    expect_ok(j);
    assert_int_equal(stat_of(j, "rootfs").st_mode, S_IFDIR | 0755);
    assert_int_equal(stat_of(j, "rootfs").st_uid, BASE);
    assert_int_equal(stat_of(j, "rootfs/server").st_mode, S_IFREG | 0755);
    assert_int_equal(stat_of(j, "rootfs/usr/bin").st_mode, S_IFDIR | 0555);
    assert_int_equal(stat_of(j, "rootfs/usr/bin").st_uid, BASE + 5);
    assert_int_equal(stat_of(j, "rootfs/usr/bin").st_gid, BASE + 6);
    assert_int_equal(stat_of(j, "rootfs/usr/bin/tool").st_mode, S_IFREG | 0755);
    assert_int_equal(stat_of(j, "rootfs/usr/bin/tool").st_uid, BASE + 7);
    assert_int_equal(stat_of(j, "rootfs/hard").st_ino, stat_of(j, "rootfs/usr/bin/tool").st_ino);
    assert_int_equal(stat_of(j, "rootfs/secret").st_mode, S_IFREG | 0644);
    assert_int_equal(stat_of(j, "rootfs/secret").st_uid, BASE + 65535);
    assert_int_equal(stat_of(j, "rootfs/none").st_mode, S_IFREG | 0011);
    assert_int_equal(stat_of(j, "rootfs/tmp").st_mode, S_IFDIR | 01777);
    expect_content(j, "rootfs/usr/bin/tool2", "tool2");
    expect_content(j, "rootfs/abs/file", "abs");
    expect_content(j, "rootfs/a/b/c", "c");
    for (size_t i = 0; i < 5; i++)
        assert_true(S_ISDIR(stat_of(j, (const char *const[]){"rootfs/dev", "rootfs/proc", "rootfs/tmp", "rootfs/run", "rootfs/etc"}[i]).st_mode));
    expect_content(j, "function.ini", "[function]\nname = other\ncommand = /server\nport = 8080\n[env]\nA = 1\n");
    assert_false(is_there(j, "rootfs/function.ini"));
    assert_string_equal(j->spec->name, "t");
    assert_int_equal(j->spec->port, 8080);
    assert_memory_equal(j->spec->strings, "/server\0A=1", 12);
    job_free(j);
}

static void test_owners(void **state)
{
    struct host *h = host_of(state);
    char path[PATH_MAX + 32];
    struct job *j =
        UNPACK(h, {.name = "function.ini", .data = "[function]\ncommand = /server\n"}, {.name = "s", .data = "x", .mode = 04755},
               {.name = "g", .data = "x", .mode = 02755}, {.name = "d", .type = '5', .mode = 02775, .gid = 9}, {.name = "d/f", .data = "x", .mode = 06777});

    expect_ok(j);
    snprintf(path, sizeof(path), "%s/staging", h->top);
    assert_int_equal(nftw(path, check_owned, 16, FTW_PHYS), 0);
    job_free(j);
}

static void test_compression(void **state)
{
    static const char *const filters[] = {"gzip", "xz", "zstd"};
    cleanup_strbuf struct strbuf tar = {0};
    char sha[65] = "";

    corpus_begin(&tar);
    tar_add(&tar, &(struct tar_entry){.name = "f", .data = "content"});
    tar_end(&tar);
    for (size_t i = 0; i <= COUNT(filters); i++) {
        cleanup_strbuf struct strbuf packed = {0};
        struct job *j = job_new(host_of(state));

        if (i < COUNT(filters))
            tar_compress(&tar, filters[i], &packed);
        else
            strbuf_add(&packed, tar.data, tar.len);
        job_run(host_of(state), j, packed.data, packed.len);
        expect_ok(j);
        if (*sha)
            assert_string_equal(j->res.sha256, sha);
        memcpy(sha, j->res.sha256, sizeof(sha));
        job_free(j);
    }
}

/* Only what is unpacked counts: the same entries give the same image, whatever their order; a byte, a mode, an owner, a name, a link instead of a copy give another. */
static void test_digest(void **state)
{
    static const struct tar_entry variants[] = {
        {.name = "f", .data = "content"},
        {.name = "f", .data = "contenT"},
        {.name = "f", .data = "content", .mode = 0666},
        {.name = "f", .data = "content", .uid = 1},
        {.name = "f", .data = "content", .gid = 1},
        {.name = "g", .data = "content"},
        {.name = "f", .type = '2', .link = "content"},
        {.name = "f", .type = '2', .link = "contenu"},
        {.name = "d/s", .type = '1', .link = "server"},
        {.name = "d/s", .data = "#!/bin/sh\n", .mode = 0755},
        {.name = "fc", .data = "ontent"},
    };
    char sha[COUNT(variants)][65];

    for (size_t i = 0; i < COUNT(variants); i++) {
        struct job *j = unpack_entries(host_of(state), &variants[i], 1), *again = unpack_entries(host_of(state), &variants[i], 1);

        expect_ok(j);
        expect_ok(again);
        assert_string_equal(j->res.sha256, again->res.sha256);
        memcpy(sha[i], j->res.sha256, 65);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(sha[k], sha[i]);
        job_free(j);
        job_free(again);
    }
}

/* ---- ways out ---- */

static void test_names(void **state)
{
    struct host *h = host_of(state);
    char deep[100] = "";

    expect_refused(UNPACK(h, {.name = "../evil", .data = "x"}), "entry \"../evil\": a name with \"..\"");
    expect_refused(UNPACK(h, {.name = "a/../../evil", .data = "x"}), "\"..\"");
    expect_refused(UNPACK(h, {.name = "a/..", .type = '5'}), "\"..\"");
    expect_refused(UNPACK(h, {.name = "/../evil", .data = "x"}), "\"..\"");
    expect_refused(UNPACK(h, {.name = "", .data = "x"}), "no name");
    expect_refused(UNPACK(h, {.name = ".", .data = "x"}), "root is no directory");
    for (size_t i = 0; i + 1 < sizeof(deep); i++)
        deep[i] = i % 2 ? '/' : 'd';
    {
        struct job *j = UNPACK(h, {.name = deep, .data = "x"});

        expect_ok(j);
        job_free(j);
    }
    {
        cleanup_strbuf struct strbuf tar = {0}, path = {0};
        struct job *j = job_new(h);

        for (int i = 0; i < 70; i++)
            strbuf_puts(&path, "d/");
        corpus_begin(&tar);
        tar_pax(&tar, "path", path.data);
        tar_add(&tar, &(struct tar_entry){.name = "x", .type = '5'});
        tar_end(&tar);
        job_run(h, j, tar.data, tar.len);
        expect_refused(j, "more than 64 directories deep");
    }
}

static void test_symlinks(void **state)
{
    struct host *h = host_of(state);
    struct job *j;

    /* every one of these stays inside the image */
    j = UNPACK(h, {.name = "out", .type = '2', .link = "../../../.."}, {.name = "out/evil", .data = "x"});
    expect_ok(j);
    expect_content(j, "rootfs/evil", "x");
    assert_false(is_there(j, "evil"));
    job_free(j);
    j = UNPACK(h, {.name = "out", .type = '2', .link = "/"}, {.name = "out/evil", .data = "x"});
    expect_ok(j);
    expect_content(j, "rootfs/evil", "x");
    job_free(j);
    j = UNPACK(h, {.name = "a", .type = '2', .link = "b/.."}, {.name = "b", .type = '2', .link = "/.."}, {.name = "a/x/../y", .data = "x"});
    expect_refused(j, "\"..\"");
    j = UNPACK(h, {.name = "b", .type = '2', .link = ".."}, {.name = "a", .type = '2', .link = "b/../.."}, {.name = "a/y", .data = "x"});
    expect_ok(j);
    expect_content(j, "rootfs/y", "x");
    job_free(j);
    /* a symlink as the last component is replaced, not written through */
    j = UNPACK(h, {.name = "target", .data = "old"}, {.name = "l", .type = '2', .link = "target"}, {.name = "l", .data = "new"});
    expect_ok(j);
    expect_content(j, "rootfs/target", "old");
    expect_content(j, "rootfs/l", "new");
    job_free(j);
    expect_refused(UNPACK(h, {.name = "l", .type = '2', .link = "nowhere"}, {.name = "l/x", .data = "x"}), "symlink to nothing");
    expect_refused(UNPACK(h, {.name = "l", .type = '2', .link = "l"}, {.name = "l/x", .data = "x"}), "entry \"l/x\"");
    expect_refused(UNPACK(h, {.name = "f", .data = "x"}, {.name = "f/x", .data = "x"}), "entry \"f/x\"");
    j = UNPACK(h, {.name = "usr/bin", .type = '5'}, {.name = "bin", .type = '2', .link = "usr/bin"}, {.name = "bin/", .type = '5'},
               {.name = "bin/x", .data = "x"});
    expect_ok(j);
    assert_true(S_ISLNK(stat_of(j, "rootfs/bin").st_mode));
    expect_content(j, "rootfs/usr/bin/x", "x");
    job_free(j);
}

static void test_hard_links(void **state)
{
    struct host *h = host_of(state);
    struct job *j;

    expect_refused(UNPACK(h, {.name = "l", .type = '1', .link = "/etc/passwd"}), "hard link to \"etc/passwd\"");
    expect_refused(UNPACK(h, {.name = "l", .type = '1', .link = "../function.ini"}), "\"..\"");
    expect_refused(UNPACK(h, {.name = "l", .type = '1', .link = "l"}), "itself");
    expect_refused(UNPACK(h, {.name = "d", .type = '5'}, {.name = "l", .type = '1', .link = "d"}), "no regular file");
    expect_refused(UNPACK(h, {.name = "s", .type = '2', .link = "server"}, {.name = "l", .type = '1', .link = "s"}), "no regular file");
    expect_refused(UNPACK(h, {.name = "out", .type = '2', .link = "/../.."}, {.name = "l", .type = '1', .link = "out/function.ini"}), "no regular file");
    j = UNPACK(h, {.name = "d", .type = '5'}, {.name = "a", .type = '2', .link = "d"}, {.name = "d/f", .data = "x", .uid = 9, .mode = 0600},
               {.name = "a/f", .type = '1', .link = "d/f"}, {.name = "g", .type = '1', .link = "a/f"});
    expect_ok(j);
    expect_content(j, "rootfs/g", "x");
    assert_int_equal(stat_of(j, "rootfs/g").st_nlink, 2);
    job_free(j);
}

static void test_special(void **state)
{
    struct host *h = host_of(state);
    struct job *j = UNPACK(h, {.name = "dev/", .type = '5'}, {.name = "dev/sda", .type = '4'}, {.name = "dev/null", .type = '3'},
                           {.name = "dev/x/fifo", .type = '6'}, {.name = "dev/plain", .data = "x"});

    expect_ok(j);
    assert_false(is_there(j, "rootfs/dev/sda"));
    assert_false(is_there(j, "rootfs/dev/null"));
    assert_true(is_there(j, "rootfs/dev/plain"));
    job_free(j);
    expect_refused(UNPACK(h, {.name = "sda", .type = '4'}), "entry \"sda\" is a device node");
    expect_refused(UNPACK(h, {.name = "dev", .type = '3'}), "a device node");
    expect_refused(UNPACK(h, {.name = "./dev2/null", .type = '3'}), "entry \"dev2/null\"");
    expect_refused(UNPACK(h, {.name = "run/initctl", .type = '6'}), "entry \"run/initctl\" is a fifo");
}

static void test_replaced(void **state)
{
    struct host *h = host_of(state);
    struct job *j =
        UNPACK(h, {.name = "a", .data = "1"}, {.name = "a", .data = "22"}, {.name = "b", .data = "x"}, {.name = "b", .type = '5'}, {.name = "b/c", .data = "c"},
               {.name = "d", .type = '5'}, {.name = "d", .data = "file"}, {.name = "e", .data = "x"}, {.name = "e", .type = '2', .link = "a"});

    expect_ok(j);
    expect_content(j, "rootfs/a", "22");
    expect_content(j, "rootfs/b/c", "c");
    expect_content(j, "rootfs/d", "file");
    assert_true(S_ISLNK(stat_of(j, "rootfs/e").st_mode));
    job_free(j);
    expect_refused(UNPACK(h, {.name = "d/x", .data = "x"}, {.name = "d", .data = "file"}), "entry \"d\" is a directory already");
    expect_refused(UNPACK(h, {.name = "d/x", .data = "x"}, {.name = "d", .type = '2', .link = "a"}), "entry \"d\" is a directory already");
}

static void test_pax(void **state)
{
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j = job_new(h);

    corpus_begin(&tar);
    tar_pax(&tar, "path", "real/e\xcc\x81 \xff");
    tar_add(&tar, &(struct tar_entry){.name = "../shown", .data = "x"});
    tar_pax(&tar, "uid", "4294967295");
    tar_add(&tar, &(struct tar_entry){.name = "big-uid", .data = "x"});
    tar_pax(&tar, "SCHILY.xattr.security.capability", "abc");
    tar_add(&tar, &(struct tar_entry){.name = "caps", .data = "x"});
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    expect_ok(j);
    expect_content(j, "rootfs/real/e\xcc\x81 \xff", "x"); /* byte for byte: no character set, no normal form */
    assert_int_equal(stat_of(j, "rootfs/big-uid").st_uid, BASE + 65535);
    {
        cleanup_fd int fd = openat(j->dir, "rootfs/caps", O_RDONLY | O_CLOEXEC);

        assert_int_equal(flistxattr(fd, NULL, 0), 0);
    }
    job_free(j);
    tar.len = 0;
    j = job_new(h);
    corpus_begin(&tar);
    tar_pax(&tar, "path", "../../evil");
    tar_add(&tar, &(struct tar_entry){.name = "harmless", .data = "x"});
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    expect_refused(j, "entry \"../../evil\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_owners),   cmocka_unit_test(test_compression), cmocka_unit_test(test_digest),
        cmocka_unit_test(test_names),    cmocka_unit_test(test_symlinks), cmocka_unit_test(test_hard_links),  cmocka_unit_test(test_special),
        cmocka_unit_test(test_replaced), cmocka_unit_test(test_pax),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
