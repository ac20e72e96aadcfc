/* The order in which fnctl sends an image's archive: what names the layers, then these as it names them; anything else as it lies. */
#include "check.h"

#include "../../runner/ctl/ctl.h"
#include "fd.h"
#include "root/unpack_corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIG ((4U << 20) + 1)

static char digest[4][65], zeros[BIG + 3];

static int setup(void **state)
{
    for (int i = 0; i < 4; i++)
        memset(digest[i], "d1c0"[i], 64);
    return 0;
}

static const char *path_of(const char *before, int i, const char *behind)
{
    static char paths[8][100];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%.20s%.64s%.14s", before, digest[i], behind);
    return path;
}

static void add_text(struct strbuf *tar, const char *name, const char *text)
{
    tar_add(tar, &(struct tar_entry){.name = name, .data = text});
}

static void add_layer(struct strbuf *tar, const char *name, size_t size)
{
    tar_add(tar, &(struct tar_entry){.name = name, .data = zeros, .size = size});
}

/* What fnctl makes of it: all bytes of the body. */
static void ordered_from(const struct strbuf *tar, off_t at, struct strbuf *out)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    struct body b;
    char buf[70001];
    ssize_t n;

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, tar->data ? tar->data : "", tar->len), 0);
    assert_int_equal(lseek(fd, at, SEEK_SET), at);
    ctl_body_fd(&b, fd);
    ctl_body_image(&b);
    while ((n = b.read(&b, buf, sizeof(buf))) > 0)
        strbuf_add(out, buf, (size_t)n);
    assert_int_equal(n, 0);
    ctl_body_done(&b);
}

static void ordered(const struct strbuf *tar, struct strbuf *out)
{
    ordered_from(tar, 0, out);
    assert_int_equal(out->len, tar->len);
}

/* The names in a tar, but of pax headers, ten bytes of the last component of each. */
static void names_of(const struct strbuf *tar, struct strbuf *out)
{
    for (size_t at = 0; tar->data[at]; at += 512 + (strtoul(tar->data + at + 124, NULL, 8) + 511) / 512 * 512) {
        const char *name = tar->data + at, *slash = strrchr(name, '/');

        if (name[156] != 'x')
            strbuf_printf(out, "%.10s ", slash ? slash + 1 : name);
    }
}

static void expect_order(const struct strbuf *tar, const char *want)
{
    cleanup_strbuf struct strbuf out = {0}, names = {0};

    ordered(tar, &out);
    names_of(&out, &names);
    assert_string_equal(names.data, want);
}

static void expect_as_it_is(const struct strbuf *tar)
{
    cleanup_strbuf struct strbuf out = {0};

    ordered(tar, &out);
    if (tar->len > 0)
        assert_memory_equal(out.data, tar->data, tar->len);
}

static void add_oci(struct strbuf *tar)
{
    cleanup_strbuf struct strbuf manifest = {0};

    strbuf_printf(&manifest, "{\"layers\":[\"sha256:%s\",\"sha256:%s\",\"sha256:%s\"]}", digest[2], digest[0], digest[1]);
    tar_add(tar, &(struct tar_entry){.name = "./", .type = '5'});
    tar_add(tar, &(struct tar_entry){.name = "blobs/", .type = '5'});
    for (int i = 0; i < 3; i++)
        add_layer(tar, path_of("blobs/sha256/", i, ""), BIG + (size_t)i);
    add_text(tar, path_of("blobs/sha256/", 3, ""), manifest.data);
    add_text(tar, "index.json", "{}");
    add_text(tar, "oci-layout", "{}");
    tar_end(tar);
}

static void test_oci(void **state)
{
    cleanup_strbuf struct strbuf tar = {0};

    add_oci(&tar);
    expect_order(&tar, "  0000000000 index.json oci-layout cccccccccc dddddddddd 1111111111 ");
}

static void put(const char *dir, const char *name, const char *text, off_t size)
{
    char path[200];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    if (size)
        assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

/* Nothing of a directory is left out, whatever it is called; what says which layers there are comes first, then these in their order. */
static void test_directory(void **state)
{
    cleanup_strbuf struct strbuf manifest = {0}, tar = {0}, names = {0};
    char dir[] = "/tmp/test-layout-XXXXXX", blobs[64];
    struct diag d = {0};
    struct body b;
    char *buf = malloc(70001);
    ssize_t n;

    assert_non_null(buf);
    assert_non_null(mkdtemp(dir));
    snprintf(blobs, sizeof(blobs), "%s/blobs", dir);
    assert_int_equal(mkdir(blobs, 0700), 0);
    snprintf(blobs, sizeof(blobs), "%s/blobs/sha256", dir);
    assert_int_equal(mkdir(blobs, 0700), 0);
    strbuf_printf(&manifest, "{\"layers\":[\"sha256:%s\",\"sha256:%s\",\"sha256:%s\"]}", digest[2], digest[0], digest[1]);
    for (int i = 0; i < 3; i++)
        put(dir, path_of("blobs/sha256/", i, ""), "", BIG + i);
    put(dir, path_of("blobs/sha256/", 3, ""), manifest.data, 0);
    put(blobs, "another", "", 0);
    put(dir, "zz", "", 0);
    put(dir, "index.json", "{}", 0);
    put(dir, "oci-layout", "{}", 0);
    assert_int_equal(ctl_image_directory(&b, dir, &d), 0);
    while ((n = b.read(&b, buf, 70001)) > 0)
        strbuf_add(&tar, buf, (size_t)n);
    assert_int_equal(n, 0);
    ctl_body_done(&b);
    names_of(&tar, &names);
    assert_string_equal(names.data, "index.json oci-layout zz   0000000000 another cccccccccc dddddddddd 1111111111 ");
    assert_int_equal(ctl_image_directory(&b, "/tmp/is/not/there", &d), -ENOENT);
    assert_int_equal(fd_remove_tree(AT_FDCWD, dir), 0);
    free(buf);
}

static void test_docker(void **state)
{
    cleanup_strbuf struct strbuf tar = {0}, manifest = {0};

    strbuf_printf(&manifest, "[{\"Config\":\"%s.json\",\"Layers\":[\"%s/layer.tar\",\"%s.tar\"]}]", digest[3], digest[1], digest[0]);
    add_layer(&tar, path_of("", 0, ".tar"), BIG);
    add_layer(&tar, path_of("", 1, "/layer.tar"), BIG);
    tar_add(&tar, &(struct tar_entry){.name = path_of("", 2, "/layer.tar"), .type = '2', .link = "../x"});
    add_text(&tar, path_of("", 0, "/json"), digest[0]); /* this order is not the manifest's */
    add_text(&tar, path_of("", 3, ".json"), digest[0]);
    add_text(&tar, "manifest.json", manifest.data);
    tar_end(&tar);
    expect_order(&tar, "layer.tar json 0000000000 manifest.j layer.tar dddddddddd ");
}

static void test_others(void **state)
{
    static const char *const names[] = {"function.ini", "blobs/other", "blobs/sha256/short", "usr/bin/x"};
    cleanup_strbuf struct strbuf whole = {0}, none = {0};

    expect_as_it_is(&none);
    for (size_t i = 0; i < COUNT(names); i++) { /* a file that no image has */
        cleanup_strbuf struct strbuf tar = {0};

        add_layer(&tar, path_of("blobs/sha256/", 0, ""), BIG);
        add_text(&tar, "oci-layout", "{}");
        add_text(&tar, names[i], "x");
        tar_end(&tar);
        expect_as_it_is(&tar);
    }
    add_oci(&whole);
    for (size_t len = 1; len < whole.len; len += len < 4096 ? 100 : 600000) { /* cut off: nothing is lost, the daemon will say it */
        struct strbuf cut = {.data = whole.data, .len = len};

        if (len < whole.len - 1024)
            expect_as_it_is(&cut);
    }
}

/* What is said of an entry elsewhere than in its header, as pax and GNU tar do, goes on being said of that one; a header of the oldest form may hold anything behind its first half. */
static void test_headers_of_other_forms(void **state)
{
    static const char types[] = "xgLKS7";

    for (size_t i = 0; types[i]; i++) {
        cleanup_strbuf struct strbuf tar = {0};

        tar_add(&tar, &(struct tar_entry){.name = path_of("blobs/sha256/", 3, ""), .data = "x", .type = types[i]});
        add_oci(&tar);
        expect_as_it_is(&tar);
    }
    for (size_t i = 0; i < 3; i++) {
        cleanup_strbuf struct strbuf tar = {0};

        add_oci(&tar);
        memset(tar.data + i * 512 + 257, 0, 5);
        expect_as_it_is(&tar);
    }
}

/* A file that somebody has read from: what is left of it, as it lies. */
static void test_not_from_its_beginning(void **state)
{
    cleanup_strbuf struct strbuf tar = {0}, out = {0};

    add_oci(&tar);
    ordered_from(&tar, 512, &out);
    assert_int_equal(out.len, tar.len - 512);
    assert_memory_equal(out.data, tar.data + 512, out.len);
}

/* A header that is damaged, at each of its bytes: whatever comes of it, no byte is lost or read twice. */
static void test_garbage(void **state)
{
    cleanup_strbuf struct strbuf tar = {0};

    add_text(&tar, "oci-layout", "{}");
    add_text(&tar, path_of("blobs/sha256/", 1, ""), digest[0]);
    add_layer(&tar, path_of("blobs/sha256/", 0, ""), 4000);
    tar_end(&tar);
    for (size_t i = 0; i < 3 * 512; i++) {
        cleanup_strbuf struct strbuf bad = {0}, out = {0};
        uint64_t sum = 0;

        strbuf_add(&bad, tar.data, tar.len);
        bad.data[i] = (char)(bad.data[i] ^ (i % 2 ? 0xff : 0x07));
        ordered(&bad, &out);
        for (size_t k = 0; k < bad.len; k++)
            sum += (uint64_t)(unsigned char)bad.data[k] - (unsigned char)out.data[k];
        assert_int_equal(sum, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oci),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_docker),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_headers_of_other_forms),
        cmocka_unit_test(test_not_from_its_beginning),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
