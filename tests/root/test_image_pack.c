/* A tree as an image's layer, entry by entry: the same bytes for the same tree, and all that a tar can say of it. Needs root for owners. */
#include "unit/check.h"

#include "../../runner/unpack/image_export.h"
#include "../../runner/unpack/unpack_internal.h"
#include "diag.h"
#include "fd.h"
#include "str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGE (2 * IMAGE_BLOCK + 77)

static char top[64];
static int top_fd;

static void put(const char *path, const void *data, size_t len, mode_t mode)
{
    cleanup_fd int fd = openat(top_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, data, len), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

static int setup(void **state)
{
    snprintf(top, sizeof(top), "/var/tmp/fnd-pack-XXXXXX");
    top_fd = mkdtemp(top) ? open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return top_fd < 0;
}

static int teardown(void **state)
{
    top_fd = fd_close(top_fd);
    return fd_remove_tree(AT_FDCWD, top);
}

static la_ssize_t on_bytes(struct archive *a, void *arg, const void *data, size_t len)
{
    strbuf_add(arg, data, len);
    return (la_ssize_t)len;
}

static int pack(enum image_tree_kind kind, int fd, unsigned max_seconds, struct strbuf *ret, struct diag *d)
{
    const struct image_tree t = {.kind = kind, .fd = fd};
    const struct unpack_limits limits = {.max_seconds = max_seconds};
    struct archive_entry *e = archive_entry_new();
    struct archive *outer = archive_write_new();
    uint64_t size = 0, again_size = 0;
    char sha256[65], again[65];
    struct digest *g = NULL;
    int r;

    archive_entry_set_filetype(e, AE_IFREG);
    assert_int_equal(archive_write_set_format_raw(outer), ARCHIVE_OK);
    assert_int_equal(archive_write_open(outer, ret, NULL, on_bytes, NULL), ARCHIVE_OK);
    assert_int_equal(archive_write_header(outer, e), ARCHIVE_OK);
    r = image_pack(&t, &limits, outer, sha256, &size, d);
    archive_write_free(outer);
    archive_entry_free(e);
    if (r == 0) { /* as the first pass has it, which writes nothing */
        assert_int_equal(image_pack(&t, &limits, NULL, again, &again_size, d), 0);
        assert_string_equal(again, sha256);
        assert_int_equal(digest_new(&g, d), 0);
        assert_true(ret->len >= size); /* and zeros up to a block */
        digest_data(g, ret->data, size);
        assert_int_equal(digest_finish(g, again, d), 0);
        digest_free(g);
        assert_string_equal(again, sha256);
        assert_true(again_size == size);
    }
    return r;
}

struct expected {
    const char *path;
    mode_t mode;
    unsigned uid, gid;
    const char *link, *hardlink, *data;
    size_t len;
};

static void expect_entries(const struct strbuf *tar, const struct expected *list, size_t n)
{
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    char *data = malloc(LARGE);

    assert_non_null(data);
    archive_read_support_format_tar(a);
    archive_read_set_options(a, "hdrcharset=BINARY");
    assert_int_equal(archive_read_open_memory(a, tar->data, tar->len), ARCHIVE_OK);
    assert_null(memmem(tar->data, tar->len, "hdrcharset", 10)); /* GNU tar warns of it */
    for (size_t i = 0; i < n; i++) {
        const struct expected *x = &list[i];
        struct stat st = {0};
        const char *name;
        size_t len;

        assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_OK);
        name = archive_entry_pathname(e);
        len = strlen(name);
        if (strncmp(name, x->path, strlen(x->path)) != 0 || len - strlen(x->path) != (S_ISDIR(x->mode) ? 1 : 0))
            fail_msg("%s, not %s", name, x->path);
        st = *archive_entry_stat(e);
        if (x->hardlink) {
            assert_string_equal(archive_entry_hardlink(e), x->hardlink);
            assert_int_equal(st.st_size, 0);
            continue;
        }
        assert_null(archive_entry_hardlink(e));
        if (st.st_mode != x->mode || st.st_uid != x->uid || st.st_gid != x->gid || st.st_mtime != 0)
            fail_msg("%s: mode %o, owner %u:%u, time %lld", x->path, st.st_mode, st.st_uid, st.st_gid, (long long)st.st_mtime);
        if (x->link)
            assert_string_equal(archive_entry_symlink(e), x->link);
        assert_int_equal(archive_read_data(a, data, LARGE), x->len);
        if (x->len)
            assert_memory_equal(data, x->data, x->len);
    }
    assert_int_equal(archive_read_next_header(a, &e), ARCHIVE_EOF);
    archive_read_free(a);
    free(data);
}

static void test_tree(void **state)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct diag d = {0};
    char *large = malloc(LARGE);

    assert_non_null(large);
    for (unsigned i = 0; i < LARGE; i++)
        large[i] = (char)(i / 251 + i);
    put("b", "bb", 2, 0640);
    put("\xff\xfe", "", 0, 0644);
    put("a", "a", 1, 0755);
    put("large", large, LARGE, 0644);
    assert_int_equal(mkdirat(top_fd, "c", 0700), 0);
    put("c/d", "dd", 2, 0644);
    put("B", "B", 1, 0644);
    assert_int_equal(mkdirat(top_fd, "tmp", 0700), 0);
    assert_int_equal(fchmodat(top_fd, "tmp", 01777, 0), 0);
    assert_int_equal(linkat(top_fd, "c/d", top_fd, "z", 0) | linkat(top_fd, "c/d", top_fd, "y", 0), 0);
    assert_int_equal(symlinkat("/nowhere/at all", top_fd, "link"), 0);
    assert_int_equal(fchownat(top_fd, "b", 5, 70000, 0) | fchownat(top_fd, "link", 7, 8, AT_SYMLINK_NOFOLLOW), 0);
    {
        const struct expected list[] = {
            {.path = "B", .mode = S_IFREG | 0644, .data = "B", .len = 1},
            {.path = "a", .mode = S_IFREG | 0755, .data = "a", .len = 1},
            {.path = "b", .mode = S_IFREG | 0640, .uid = 5, .gid = 70000, .data = "bb", .len = 2},
            {.path = "c", .mode = S_IFDIR | 0700},
            {.path = "c/d", .mode = S_IFREG | 0644, .data = "dd", .len = 2},
            {.path = "large", .mode = S_IFREG | 0644, .data = large, .len = LARGE},
            {.path = "link", .mode = S_IFLNK | 0777, .uid = 7, .gid = 8, .link = "/nowhere/at all"},
            {.path = "tmp", .mode = S_IFDIR | 01777},
            {.path = "y", .mode = S_IFREG | 0644, .hardlink = "c/d"},
            {.path = "z", .mode = S_IFREG | 0644, .hardlink = "c/d"},
            {.path = "\xff\xfe", .mode = S_IFREG | 0644},
        };

        assert_int_equal(pack(IMAGE_TREE_DIR, top_fd, 60, &tar, &d), 0);
        expect_entries(&tar, list, COUNT(list));
    }
    free(large);
}

static void test_program(void **state)
{
    static const struct expected list[] = {{.path = "usr", .mode = S_IFDIR | 0755},
                                           {.path = "usr/lib", .mode = S_IFDIR | 0755},
                                           {.path = "usr/lib/fnd", .mode = S_IFDIR | 0755},
                                           {.path = "usr/lib/fnd/stdio", .mode = S_IFREG | 0755, .data = "program", .len = 7}};
    cleanup_strbuf struct strbuf tar = {0};
    cleanup_fd int fd = -1;
    struct diag d = {0};

    put("fn-init", "program", 7, 0500);
    fd = openat(top_fd, "fn-init", O_RDONLY | O_CLOEXEC);
    assert_int_equal(pack(IMAGE_TREE_PROGRAM, fd, 60, &tar, &d), 0);
    expect_entries(&tar, list, COUNT(list));
}

static void test_refused(void **state)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct diag d = {0};

    put("file", "text", 4, 0644);
    assert_int_equal(pack(IMAGE_TREE_DIR, top_fd, 0, &tar, &d), -EFBIG);
    assert_non_null(strstr(d.text, "0 s of processor time"));
    d = (struct diag){0};
    assert_int_equal(mknodat(top_fd, "fifo", S_IFIFO | 0644, 0), 0);
    assert_int_equal(pack(IMAGE_TREE_DIR, top_fd, 60, &tar, &d), -EPROTO);
    assert_non_null(strstr(d.text, "\"fifo\" is neither a file nor a directory"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_tree), TEST(test_program), TEST(test_refused)};

    return cmocka_run_group_tests_name("image_pack", tests, NULL, NULL);
}
