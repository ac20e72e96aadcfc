/* Archives made to break an unpacker, beside those of test_unpack.c and test_unpack_limits.c: each is refused by a message that names the entry, or does no harm. What a byte-by-byte writer can say and tar would not. */
#include "root/unpack_job.h"

#include <sys/xattr.h>

#define LONG_NAME 65536

static struct job *run_tar(struct host *h, struct strbuf *tar)
{
    struct job *j = job_new(h);

    tar_end(tar);
    job_run(h, j, tar->data, tar->len);
    tar->len = 0;
    return j;
}

static char *repeated(const char *unit, size_t times)
{
    struct strbuf s = {0};

    for (size_t i = 0; i < times; i++)
        strbuf_puts(&s, unit);
    return take_ptr(s.data);
}

/* GNU's own way to long names: an entry of type L (names) or K (links) with the text as data. */
static void tar_gnu_long(struct strbuf *out, char type, const char *text)
{
    tar_add(out, &(struct tar_entry){.name = "././@LongLink", .type = type, .data = text, .size = strlen(text) + 1});
}

static void test_long_names(void **state)
{
    struct host *h = host_of(state);
    cleanup_free char *name = repeated("n", LONG_NAME), *path = repeated("d/", 60), *deep = repeated("d/", 5000);
    cleanup_strbuf struct strbuf tar = {0}, text = {0};
    struct job *j;

    corpus_begin(&tar);
    tar_pax(&tar, "path", name);
    tar_add(&tar, &(struct tar_entry){.name = "x", .data = "x"});
    expect_refused(run_tar(h, &tar), "nnnn");
    corpus_begin(&tar);
    tar_gnu_long(&tar, 'L', name);
    tar_add(&tar, &(struct tar_entry){.name = "x", .data = "x"});
    expect_refused(run_tar(h, &tar), "the name is too long");
    corpus_begin(&tar);
    tar_pax(&tar, "linkpath", name);
    tar_add(&tar, &(struct tar_entry){.name = "link", .type = '2', .link = "x"});
    expect_refused(run_tar(h, &tar), "entry \"link\": the symlink's target is too long");
    corpus_begin(&tar);
    tar_gnu_long(&tar, 'K', name);
    tar_add(&tar, &(struct tar_entry){.name = "link", .type = '1', .link = "x"});
    expect_refused(run_tar(h, &tar), "entry \"link\": hard link");
    corpus_begin(&tar);
    tar_pax(&tar, "path", deep);
    tar_add(&tar, &(struct tar_entry){.name = "x", .type = '5'});
    expect_refused(run_tar(h, &tar), "more than 64 directories deep");
    /* what GNU tar really writes */
    strbuf_printf(&text, "%slast", path);
    corpus_begin(&tar);
    tar_gnu_long(&tar, 'L', text.data);
    tar_add(&tar, &(struct tar_entry){.name = "shown", .data = "long"});
    j = run_tar(h, &tar);
    expect_ok(j);
    text.len = 0;
    strbuf_printf(&text, "rootfs/%slast", path);
    expect_content(j, text.data, "long");
    assert_false(is_there(j, "rootfs/shown"));
    job_free(j);
    corpus_begin(&tar);
    tar_gnu_long(&tar, 'L', "../../evil");
    tar_add(&tar, &(struct tar_entry){.name = "harmless", .data = "x"});
    expect_refused(run_tar(h, &tar), "entry \"../../evil\"");
    corpus_begin(&tar);
    tar_gnu_long(&tar, 'K', "../../etc/passwd");
    tar_add(&tar, &(struct tar_entry){.name = "l", .type = '1', .link = "server"});
    expect_refused(run_tar(h, &tar), "\"..\"");
}

/* The size of the pax header wins over the entry's: what follows must still be found, and a claim is not believed. */
static void test_pax_size(void **state)
{
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j;

    corpus_begin(&tar);
    tar_pax(&tar, "size", "5");
    tar_add(&tar, &(struct tar_entry){.name = "f", .data = "12345", .claim = 1});
    tar_add(&tar, &(struct tar_entry){.name = "g", .data = "after"});
    j = run_tar(h, &tar);
    expect_ok(j);
    expect_content(j, "rootfs/f", "12345");
    expect_content(j, "rootfs/g", "after");
    job_free(j);
    corpus_begin(&tar);
    tar_pax(&tar, "size", "1099511627776");
    tar_add(&tar, &(struct tar_entry){.name = "f", .data = "x"});
    expect_refused(run_tar(h, &tar), "entry \"f\": more than");
    corpus_begin(&tar);
    tar_pax(&tar, "size", "9223372036854775807");
    tar_add(&tar, &(struct tar_entry){.name = "f", .data = "x"});
    expect_refused(run_tar(h, &tar), "");
    corpus_begin(&tar);
    tar_pax(&tar, "size", "-1");
    tar_add(&tar, &(struct tar_entry){.name = "f", .data = "x"});
    j = run_tar(h, &tar);
    assert_true(j->err != 0 || stat_of(j, "rootfs/f").st_size <= 1);
    job_free(j);
    /* a header that would be gigabytes itself */
    corpus_begin(&tar);
    tar_add(&tar, &(struct tar_entry){.name = "PaxHeaders/x", .type = 'x', .data = "x", .claim = 8ULL << 30});
    expect_refused(run_tar(h, &tar), "archive");
    corpus_begin(&tar);
    tar_add(&tar, &(struct tar_entry){.name = "././@LongLink", .type = 'L', .data = "x", .claim = 8ULL << 30});
    expect_refused(run_tar(h, &tar), "archive");
}

static void expect_no_attributes(const struct job *j, const char *path)
{
    char real[PATH_MAX];

    snprintf(real, sizeof(real), "/proc/self/fd/%d/%s", j->dir, path);
    assert_int_equal(llistxattr(real, NULL, 0), 0);
}

/* File capabilities, access control lists, overlayfs's and anybody's attributes: none arrives. */
static void test_attributes(void **state)
{
    static const struct {
        const char *key, *value;
    } attributes[] = {
        {"SCHILY.xattr.security.capability", "\x01\x02\x03\x04"},
        {"LIBARCHIVE.xattr.security.capability", "AQAAAv8AAAAAAAAA/wAAAAAAAAA="},
        {"SCHILY.xattr.trusted.overlay.opaque", "y"},
        {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
        {"SCHILY.xattr.user.overlay.whiteout", "y"},
        {"SCHILY.xattr.user.note", "x"},
        {"SCHILY.xattr.system.posix_acl_access", "x"},
        {"SCHILY.acl.access", "user::rwx,user:1000:rwx,group::rwx,mask::rwx,other::rwx"},
        {"SCHILY.acl.default", "user::rwx,user:1000:rwx,group::rwx,mask::rwx,other::rwx"},
        {"SCHILY.fflags", "immutable,append"},
        {"RHT.security.selinux", "system_u:object_r:etc_t:s0"},
    };
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j;

    corpus_begin(&tar);
    for (size_t i = 0; i < COUNT(attributes); i++) {
        char name[32];

        snprintf(name, sizeof(name), "a/f%zu", i);
        tar_pax(&tar, attributes[i].key, attributes[i].value);
        tar_add(&tar, &(struct tar_entry){.name = name, .data = "x"});
        snprintf(name, sizeof(name), "a/d%zu/", i);
        tar_pax(&tar, attributes[i].key, attributes[i].value);
        tar_add(&tar, &(struct tar_entry){.name = name, .type = '5'});
    }
    j = run_tar(h, &tar);
    expect_ok(j);
    for (size_t i = 0; i < COUNT(attributes); i++) {
        char path[32];

        snprintf(path, sizeof(path), "rootfs/a/f%zu", i);
        expect_no_attributes(j, path);
        assert_int_equal(stat_of(j, path).st_mode & ~0777U,
                         S_IFREG); /* an ACL's entries for owner and others become the mode: no right that the mode could not give */
        snprintf(path, sizeof(path), "rootfs/a/d%zu", i);
        expect_no_attributes(j, path);
        assert_int_equal(stat_of(j, path).st_mode & ~0777U, S_IFDIR);
    }
    job_free(j);
}

static void test_owners(void **state)
{
    static const char *const ids[] = {"4294967295", "4294967296", "65536", "-1", "-2147483648", "18446744073709551615", "99999999999999999999", "x"};
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0};
    struct job *j;

    corpus_begin(&tar);
    for (size_t i = 0; i < COUNT(ids); i++) {
        char name[32];

        snprintf(name, sizeof(name), "u%zu", i);
        tar_pax(&tar, "uid", ids[i]);
        tar_add(&tar, &(struct tar_entry){.name = name, .data = "x"});
        snprintf(name, sizeof(name), "g%zu", i);
        tar_pax(&tar, "gid", ids[i]);
        tar_add(&tar, &(struct tar_entry){.name = name, .data = "x"});
    }
    /* names are not looked up: there is no passwd in the jail, and the numbers count */
    tar_pax(&tar, "uname", "root");
    tar_add(&tar, &(struct tar_entry){.name = "named", .data = "x", .uid = 9});
    j = run_tar(h, &tar);
    expect_ok(j);
    for (size_t i = 0; i < COUNT(ids); i++)
        for (int g = 0; g < 2; g++) {
            char path[32];
            struct stat st;

            snprintf(path, sizeof(path), "rootfs/%c%zu", g ? 'g' : 'u', i);
            st = stat_of(j, path);
            assert_in_range(st.st_uid, BASE, BASE + 65535);
            assert_in_range(st.st_gid, BASE, BASE + 65535);
        }
    assert_int_equal(stat_of(j, "rootfs/u0").st_uid, BASE + 65535);
    assert_int_equal(stat_of(j, "rootfs/named").st_uid, BASE + 9);
    job_free(j);
}

static void test_whiteouts(void **state)
{
    struct host *h = host_of(state);

    expect_refused(UNPACK(h, {.name = ".wh.etc", .data = ""}), "entry \".wh.etc\" is a whiteout");
    expect_refused(UNPACK(h, {.name = "usr/.wh..wh..opq", .data = ""}), "entry \"usr/.wh..wh..opq\" is a whiteout");
    expect_refused(UNPACK(h, {.name = "gone", .type = '3'}), "entry \"gone\" is a device node"); /* overlayfs's: 0, 0 */
}

/* Types that tar(5) does not know are files to a reader; none becomes anything else. */
static void test_types(void **state)
{
    static const char types[] = {'7', 'V', 'M', 'A', 'z', '\x7f', '\xff'};
    struct host *h = host_of(state);

    for (size_t i = 0; i < sizeof(types); i++) {
        struct job *j = UNPACK(h, {.name = "odd", .type = types[i], .data = "odd"}, {.name = "next", .data = "next"});

        if (j->err == 0 && is_there(j, "rootfs/odd"))
            assert_true(S_ISREG(stat_of(j, "rootfs/odd").st_mode));
        if (j->err == 0)
            expect_content(j, "rootfs/next", "next");
        job_free(j);
    }
    expect_refused(UNPACK(h, {.name = "pipe", .type = '6'}), "entry \"pipe\" is a fifo");
    /* a name that is a directory's by its slash, a link with data */
    {
        struct job *j = UNPACK(h, {.name = "l", .type = '2', .link = "server", .data = "data of a symlink"}, {.name = "next", .data = "next"});

        if (j->err == 0)
            assert_true(S_ISLNK(stat_of(j, "rootfs/l").st_mode));
        job_free(j);
        j = UNPACK(h, {.name = "h", .type = '1', .link = "server", .data = "other content"}, {.name = "next", .data = "next"});
        if (j->err == 0)
            expect_content(j, "rootfs/server", "#!/bin/sh\n");
        job_free(j);
    }
}

/* Names that differ in case only, or hold what a terminal would obey, are names. A message shows them harmless. */
static void test_names_that_are_fine(void **state)
{
    struct host *h = host_of(state);
    struct job *j = UNPACK(h, {.name = "File", .data = "1"}, {.name = "file", .data = "2"}, {.name = "FILE", .data = "3"}, {.name = "a\nb\x1b[31m", .data = "4"},
                           {.name = "-rf", .data = "5"}, {.name = "\xff\xfe", .data = "6"}, {.name = "...", .data = "7"}, {.name = "a..b", .data = "8"});

    expect_ok(j);
    expect_content(j, "rootfs/File", "1");
    expect_content(j, "rootfs/file", "2");
    expect_content(j, "rootfs/FILE", "3");
    expect_content(j, "rootfs/a\nb\x1b[31m", "4");
    expect_content(j, "rootfs/\xff\xfe", "6");
    expect_content(j, "rootfs/...", "7");
    job_free(j);
    j = UNPACK(h, {.name = "a\nb\x1b[31m", .type = '3'});
    assert_true(j->err < 0);
    assert_null(strpbrk(j->d.text, "\n\x1b"));
    job_free(j);
}

/* Replacing a way by another while something is unpacked through it: directory, symlink and file under one name, in every order. */
static void test_changing_ways(void **state)
{
    struct host *h = host_of(state);
    struct job *j =
        UNPACK(h, {.name = "p", .type = '2', .link = "../../.."}, {.name = "p", .data = "file"}, {.name = "p", .type = '5'}, {.name = "p/in", .data = "x"});

    expect_ok(j);
    expect_content(j, "rootfs/p/in", "x");
    job_free(j);
    j = UNPACK(h, {.name = "p", .type = '5'}, {.name = "p", .type = '2', .link = "/proc/self/root/etc"}, {.name = "p/in", .data = "x"});
    expect_refused(j, "entry \"p/in\"");
    j = UNPACK(h, {.name = "a/b", .type = '5'}, {.name = "a/b", .type = '2', .link = "../../../../tmp"}, {.name = "a/b/in", .data = "x"});
    assert_false(is_there(j, "in"));
    assert_int_not_equal(access("/tmp/in", F_OK), 0);
    job_free(j);
    /* forty links in a row: the kernel's own limit */
    {
        cleanup_strbuf struct strbuf tar = {0};

        corpus_begin(&tar);
        for (int i = 0; i < 45; i++) {
            char name[16], to[16];

            snprintf(name, sizeof(name), "l%d", i);
            snprintf(to, sizeof(to), "l%d", i + 1);
            tar_add(&tar, &(struct tar_entry){.name = name, .type = '2', .link = to});
        }
        tar_add(&tar, &(struct tar_entry){.name = "l45", .type = '5'});
        tar_add(&tar, &(struct tar_entry){.name = "l0/x", .data = "x"});
        expect_refused(run_tar(h, &tar), "entry \"l0/x\"");
    }
}

/* Zeros without end, where a tar has its padding: before, behind, and as the content of what is skipped. */
static void test_zero_bombs(void **state)
{
    const size_t bomb = 64 << 20;
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0}, packed = {0};
    struct job *j = job_new(h);

    memset(strbuf_reserve(&tar, bomb), 0, bomb);
    tar.len = bomb;
    tar_compress(&tar, "zstd", &packed);
    job_run(h, j, packed.data, packed.len);
    expect_refused(j, "");
    tar.len = packed.len = 0;
    corpus_begin(&tar);
    memset(strbuf_reserve(&tar, bomb), 0, bomb);
    tar.len += bomb;
    tar_compress(&tar, "xz", &packed);
    j = job_new(h);
    job_run(h, j, packed.data, packed.len);
    expect_refused(j, "more data behind");
    /* a device below dev/ is skipped; its data counts against what may come out of the decompressor */
    tar.len = packed.len = 0;
    corpus_begin(&tar);
    tar_add(&tar, &(struct tar_entry){.name = "dev/null", .type = '3', .claim = bomb});
    memset(strbuf_reserve(&tar, 8 * bomb + 4096), 0, 8 * bomb);
    tar.len += 8 * bomb;
    tar_end(&tar);
    tar_compress(&tar, "zstd", &packed);
    j = job_new(h);
    j->req.limits.max_bytes = 1 << 20;
    j->req.limits.max_entries = 10;
    job_run(h, j, packed.data, packed.len);
    expect_refused(j, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_pax_size), cmocka_unit_test(test_attributes),          cmocka_unit_test(test_owners),
        cmocka_unit_test(test_whiteouts),  cmocka_unit_test(test_types),    cmocka_unit_test(test_names_that_are_fine), cmocka_unit_test(test_changing_ways),
        cmocka_unit_test(test_zero_bombs),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
