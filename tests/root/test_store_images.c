/* Images on disk, and who uses them: versions, versions over a runtime, names of runtimes. Needs root for the image range's ownership. */
#include "store_fixture.h"

#include "str.h"

#include <sys/inotify.h>
#include <sys/resource.h>

static int publish(struct fixture *f, char digit, const char *runtime, struct diag *d)
{
    struct store_staging st = {0};
    struct unpack_result u = stage_tree(f, &st, digit);
    uint32_t number = 0;
    int r;

    snprintf(f->spec->runtime, sizeof(f->spec->runtime), "%s", runtime);
    r = store_publish(f->store, &f->id, &st, &u, f->spec, &number, d);
    store_staging_drop(f->store, &st);
    return r < 0 ? r : (int)number;
}

static int put(struct fixture *f, const char *name, char digit)
{
    struct store_staging st = {0};
    struct unpack_result u = stage_tree(f, &st, digit);
    struct diag d = {0};
    int r = store_runtime_put(f->store, name, &st, &u, &d);

    store_staging_drop(f->store, &st);
    return r;
}

/* As `fnctl prune` has it. */
static int store_collect(struct fixture *f, struct diag *d)
{
    uint32_t images = 0;
    uint64_t bytes = 0;
    int r = store_sweep(f->store, &images, &bytes, d);

    return r < 0 ? r : (int)images;
}

/* The digits of the images that are there, in order; each with what lies beside it. */
static const char *there(struct fixture *f, char buf[16])
{
    size_t n = 0;

    for (char digit = '0'; digit <= '9'; digit++) {
        char path[200], about[200], sha[65] = {0};
        struct stat st;
        bool image;

        memset(sha, digit, 64);
        snprintf(path, sizeof(path), "%s/images/%s", f->dir, sha);
        snprintf(about, sizeof(about), "%s/images/.about-%s", f->dir, sha);
        image = lstat(path, &st) == 0;
        assert_int_equal(lstat(about, &st) == 0, image);
        if (image)
            buf[n++] = digit;
    }
    buf[n] = '\0';
    return buf;
}

static void test_a_runtime_below_versions(void **state)
{
    struct fixture *f = *state;
    struct store_version v;
    struct diag d = {0};
    char buf[16];

    assert_int_equal(publish(f, '1', "box", &d), -ENOENT);
    assert_non_null(strstr(d.text, "fnctl runtime build box"));
    assert_non_null(strstr(d.text, "; here is none"));
    assert_string_equal(there(f, buf), ""); /* and nothing was published */
    assert_int_equal(put(f, "box", '2'), 0);
    assert_int_equal(publish(f, '1', "other", &d), -ENOENT);
    assert_non_null(strstr(d.text, "here are: box"));
    assert_int_equal(publish(f, '1', "box", &d), 1);
    assert_int_equal(put(f, "box", '3'), 0);
    assert_int_equal(publish(f, '1', "box", &d), 2);
    assert_int_equal(store_version_open(f->store, &f->id, 1, &v, &d), 0);
    assert_true(v.image[0] == '1' && v.runtime[0] == '2' && v.runtime_fd >= 0);
    store_version_done(&v);
    assert_int_equal(store_version_open(f->store, &f->id, 2, &v, &d), 0);
    assert_true(v.image[0] == '1' && v.runtime[0] == '3');
    store_version_done(&v);
    assert_int_equal(store_runtime_remove(f->store, "box", &d), 0);
    assert_int_equal(store_runtime_remove(f->store, "box", &d), -ENOENT);
    assert_string_equal(there(f, buf), "123");
    assert_int_equal(store_drop_version(f->store, &f->id, 1, &d), 0);
    assert_string_equal(there(f, buf), "13");
    assert_int_equal(store_remove(f->store, &f->id, &d), 0);
    assert_string_equal(there(f, buf), "");
}

/* A version that says a runtime and has lost the link, or whose link leads elsewhere, is not run without. */
static void test_links_that_are_wrong(void **state)
{
    struct fixture *f = *state;
    struct store_version v;
    struct diag d = {0};
    char path[200];

    assert_int_equal(put(f, "box", '2'), 0);
    assert_int_equal(publish(f, '1', "box", &d), 1);
    snprintf(path, sizeof(path), "%s/functions/default/hello/1/runtime", f->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_version_open(f->store, &f->id, 1, &v, &d), -ENOENT);
    assert_int_equal(symlink("../../../../images/../../etc", path), 0);
    assert_int_equal(store_version_open(f->store, &f->id, 1, &v, &d), -EPROTO);
}

static void test_names_of_runtimes(void **state)
{
    static const char *const bad[] = {"..", ".", "", "a/b", "/etc", ".x", "-"};
    struct fixture *f = *state;
    struct diag d = {0};
    char digest[65];

    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(store_runtime_find(f->store, bad[i], digest, &d), -EINVAL);
}

/* What is known of an image, as of one of an earlier fnd. */
static void forget(struct fixture *f, char digit)
{
    char path[200], sha[65] = {0};

    memset(sha, digit, 64);
    snprintf(path, sizeof(path), "%s/images/.about-%s", f->dir, sha);
    assert_int_equal(unlink(path), 0);
}

static void test_usage_counts_each_once(void **state)
{
    struct fixture *f = *state;
    struct diag d = {0};
    char buf[16];

    assert_int_equal(put(f, "box", '2'), 0);
    assert_int_equal(put(f, "same", '2'), 0);
    assert_int_equal(store_usage(f->store), 2000);
    assert_int_equal(publish(f, '1', "box", &d), 1);
    assert_int_equal(publish(f, '1', "box", &d), 2);
    assert_int_equal(store_usage(f->store), 3000);
    assert_int_equal(put(f, "third", '1'), 0);
    forget(f, '1');
    assert_int_equal(store_usage(f->store), 3000); /* a version knows, whoever else uses it */
    assert_int_equal(store_drop_version(f->store, &f->id, 1, &d), 0);
    assert_int_equal(store_usage(f->store), 3000);
    assert_int_equal(store_runtime_remove(f->store, "third", &d), 0);
    assert_int_equal(store_runtime_remove(f->store, "box", &d), 0);
    assert_int_equal(store_runtime_remove(f->store, "same", &d), 0);
    assert_int_equal(store_usage(f->store), 3000); /* the second version lies over one that has no name any more */
    assert_int_equal(store_remove(f->store, &f->id, &d), 0);
    assert_int_equal(store_usage(f->store), 0);
    assert_int_equal(store_collect(f, &d), 0); /* and nothing lies there that is not counted */
    assert_string_equal(there(f, buf), "");
}

/* What the jail made is looked at before it is published; nothing of the rest changes. */
static void test_trees_that_are_not_believed(void **state)
{
    enum { OWNER, GROUP_WRITES, SYMLINK, A_FILE, DIGEST, WAYS };
    struct fixture *f = *state;
    const uint32_t base = f->config.uid_base - 65536;
    char buf[16];

    for (int way = 0; way < WAYS; way++) {
        struct store_staging st = {0};
        struct unpack_result u = stage_tree(f, &st, '4');
        struct diag d = {0};

        if (way == OWNER)
            assert_int_equal(fchownat(st.dir_fd, UNPACK_ROOTFS, 0, 0, 0), 0);
        if (way == GROUP_WRITES)
            assert_int_equal(fchmodat(st.dir_fd, UNPACK_ROOTFS, 0775, 0), 0);
        if (way == SYMLINK)
            assert_int_equal(renameat(st.dir_fd, UNPACK_ROOTFS, st.dir_fd, "other") | symlinkat("other", st.dir_fd, UNPACK_ROOTFS), 0);
        if (way == A_FILE) {
            assert_int_equal(unlinkat(st.dir_fd, UNPACK_ROOTFS, AT_REMOVEDIR), 0);
            assert_int_equal(mknodat(st.dir_fd, UNPACK_ROOTFS, S_IFREG | 0755, 0), 0);
            assert_int_equal(fchownat(st.dir_fd, UNPACK_ROOTFS, base, base, 0) | fchmodat(st.dir_fd, UNPACK_ROOTFS, 0755, 0), 0);
        }
        if (way == DIGEST)
            memcpy(u.sha256, "../", 3);
        assert_int_equal(store_runtime_put(f->store, "box", &st, &u, &d), -EPROTO);
        store_staging_drop(f->store, &st);
        assert_string_equal(there(f, buf), "");
    }
}

/* Twice the same, and after kills: a note without an image, an image without a note, a name without an image. */
static void test_after_kills(void **state)
{
    struct fixture *f = *state;
    struct store_image image = {0};
    struct store_version v;
    struct diag d = {0};
    char path[200], sha[65] = {0}, buf[16];
    int fd;

    memset(sha, '2', 64);
    snprintf(path, sizeof(path), "%s/images/.about-%s", f->dir, sha);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(fd_write_all(fd, "bytes 1\nentries 1\n", 18), 0);
    fd_close(fd);
    assert_int_equal(put(f, "box", '2'), 0);
    str_copy(image.digest, sizeof(image.digest), sha);
    store_image_about(f->store, &image);
    assert_int_equal(image.bytes, 2000);
    assert_int_equal(put(f, "box", '2'), 0);

    assert_int_equal(publish(f, '1', "box", &d), 1);
    forget(f, '1');
    assert_int_equal(store_usage(f->store), 3000); /* the version knows */
    assert_int_equal(store_version_open(f->store, &f->id, 1, &v, &d), 0);
    store_version_done(&v);
    assert_int_equal(store_remove(f->store, &f->id, &d), 0);
    assert_string_equal(there(f, buf), "2");

    memset(sha, '2', 64);
    snprintf(path, sizeof(path), "%s/images/%s", f->dir, sha);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(publish(f, '1', "box", &d), -ENOENT);
    assert_non_null(strstr(d.text, "runtime box is not here"));
}

/* An image goes when its last name does. */
static void test_names_let_go(void **state)
{
    struct fixture *f = *state;
    struct diag d = {0};
    char buf[16];

    assert_int_equal(put(f, "box", '2'), 0);
    assert_int_equal(put(f, "same", '2'), 0);
    assert_int_equal(put(f, "box", '3'), 0);
    assert_string_equal(there(f, buf), "23");
    assert_int_equal(put(f, "same", '3'), 0);
    assert_string_equal(there(f, buf), "3");
    assert_int_equal(store_runtime_remove(f->store, "box", &d), 0);
    assert_string_equal(there(f, buf), "3");
    assert_int_equal(store_runtime_remove(f->store, "same", &d), 0);
    assert_string_equal(there(f, buf), "");
}

/* Versions of every environment use theirs; what is no image is nobody's to remove. */
static void test_sweep_spares(void **state)
{
    struct fixture *f = *state;
    struct diag d = {0};
    uint32_t images;
    uint64_t bytes;
    char path[200], buf[16];

    assert_int_equal(name_parse("hello.other", &f->id, &d), 0);
    assert_int_equal(publish(f, '1', "", &d), 1);
    snprintf(path, sizeof(path), "%s/images/README", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(store_sweep(f->store, &images, &bytes, &d), 0);
    assert_int_equal(images, 0);
    assert_string_equal(there(f, buf), "1");
    assert_int_equal(access(path, F_OK), 0);
}

/* Whoever cannot read who uses an image removes none: here since there are no more descriptors. */
static void test_sweep_that_cannot_know(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, few;
    uint32_t images;
    uint64_t bytes;
    char buf[16];

    assert_int_equal(publish(f, '1', "", NULL), 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (unsigned spare = 0; spare < 4; spare++) {
        int lowest = dup(0);
        struct diag d = {0};
        int r;

        few = (struct rlimit){(rlim_t)lowest + spare, before.rlim_max};
        fd_close(lowest);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        r = store_sweep(f->store, &images, &bytes, &d);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (r < 0)
            assert_non_null(strstr(d.text, "cannot tell which images are used"));
        else
            assert_int_equal(images, 0);
        assert_string_equal(there(f, buf), "1");
    }
}

/* Images of a directory that others use, too, stay whatever this store uses. */
static void test_images_of_others(void **state)
{
    struct fixture *f = *state;
    struct config shared = f->config;
    char images[80], buf[16];
    struct diag d = {0};

    snprintf(images, sizeof(images), "%s/images", f->dir);
    assert_int_equal(put(f, "box", '5'), 0);
    store_free(f->store);
    snprintf(shared.images, sizeof(shared.images), "%s", images);
    snprintf(shared.state, sizeof(shared.state), "%s/other", f->dir);
    assert_int_equal(store_open(&shared, &f->store, &d), 0);
    assert_int_equal(store_collect(f, &d), 0);
    assert_string_equal(there(f, buf), "5");
}

static int count_unused(void *arg, const struct store_image *image)
{
    *(unsigned *)arg += image->digest[0] == '5';
    return 0;
}

static void test_sweep(void **state)
{
    struct fixture *f = *state;
    struct store_staging mine;
    uint32_t images = 9;
    uint64_t bytes = 9;
    unsigned unused = 0;
    struct diag d = {0};
    char path[200], buf[16];

    assert_int_equal(put(f, "box", '5'), 0);
    stage_tree(f, &mine, '6');
    snprintf(path, sizeof(path), "%s/runtimes/box", f->dir);
    assert_int_equal(unlink(path), 0); /* as a kill before the image goes leaves it */
    snprintf(path, sizeof(path), "%s/images/.staging-old", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(store_each_unused(f->store, count_unused, &unused, &d), 0);
    assert_int_equal(unused, 1);
    assert_int_equal(store_sweep(f->store, &images, &bytes, &d), 0);
    assert_int_equal(images, 1);
    assert_int_equal(bytes, 5000);
    assert_string_equal(there(f, buf), "");
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/images/%s", f->dir, mine.name);
    assert_int_equal(access(path, F_OK), 0); /* somebody unpacks there */
    store_staging_drop(f->store, &mine);
}

/* ---- the order of steps, which is what a kill between two of them leaves ---- */

static int watch(struct fixture *f, const char *directory)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", f->dir, directory);
    assert_true(fd >= 0 && inotify_add_watch(fd, path, IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) >= 0);
    return fd;
}

/* What appeared (+) and went (-) since, by name, but the staging directories with their random names; a digest is its digit. */
static const char *steps(int fd, struct strbuf *out)
{
    _Alignas(struct inotify_event) char buf[16384];
    ssize_t len;

    strbuf_done(out);
    strbuf_puts(out, "");
    while ((len = read(fd, buf, sizeof(buf))) > 0) {
        const struct inotify_event *e;

        for (ssize_t at = 0; at < len; at += (ssize_t)(sizeof(*e) + e->len)) {
            char name[256];
            size_t n;

            e = (const struct inotify_event *)(buf + at);
            str_copy(name, sizeof(name), e->name);
            n = strlen(name);
            if (n >= 64 && strspn(name + n - 64, "0123456789") == 64)
                name[n - 63] = '\0';
            else if (strncmp(name, ".staging-", 9) == 0)
                continue;
            strbuf_printf(out, "%s%c%s", out->len ? " " : "", e->mask & (IN_CREATE | IN_MOVED_TO) ? '+' : '-', name);
        }
    }
    return out->data ? out->data : "";
}

/* An image that is there is whole, and known; one that goes is none from its first moment on; a version has its number last. */
static void test_order(void **state)
{
    cleanup_strbuf struct strbuf text = {0};
    struct fixture *f = *state;
    cleanup_fd int images = watch(f, "images"), versions = -1;
    struct diag d = {0};

    assert_int_equal(put(f, "box", '5'), 0);
    assert_string_equal(steps(images, &text), "+.about-5 +5");
    assert_int_equal(put(f, "same", '5'), 0);
    assert_string_equal(steps(images, &text), ""); /* nothing of one that is there is touched */
    assert_int_equal(store_runtime_remove(f->store, "box", &d), 0);
    assert_string_equal(steps(images, &text), "");
    assert_int_equal(store_runtime_remove(f->store, "same", &d), 0);
    assert_string_equal(steps(images, &text), "-5 +.staging-removed-5 -.about-5 -.staging-removed-5");

    assert_int_equal(publish(f, '1', "", &d), 1);
    versions = watch(f, "functions/default/hello");
    assert_int_equal(publish(f, '1', "", &d), 2);
    assert_string_equal(steps(versions, &text), "+.new-2 -.new-2 +2");
}

/* What cannot be known of an image keeps it from being published. */
static void test_image_that_cannot_be_described(void **state)
{
    struct fixture *f = *state;
    char path[200], sha[65] = {0};

    memset(sha, '6', 64);
    snprintf(path, sizeof(path), "%s/images/.about-%s", f->dir, sha);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(put(f, "box", '6') < 0);
    snprintf(path, sizeof(path), "%s/images/%s", f->dir, sha);
    assert_int_equal(access(path, F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_runtime_below_versions),
        TEST(test_links_that_are_wrong),
        TEST(test_names_of_runtimes),
        TEST(test_usage_counts_each_once),
        TEST(test_sweep),
        TEST(test_trees_that_are_not_believed),
        TEST(test_after_kills),
        TEST(test_names_let_go),
        TEST(test_sweep_spares),
        TEST(test_sweep_that_cannot_know),
        TEST(test_images_of_others),
        TEST(test_order),
        TEST(test_image_that_cannot_be_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
