/* Images on disk, and who uses them: versions, versions over a runtime, names of runtimes. Needs root for the image range's ownership. */
#include "store_fixture.h"

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

static void test_usage_counts_each_once(void **state)
{
    struct fixture *f = *state;
    struct diag d = {0};

    assert_int_equal(put(f, "box", '2'), 0);
    assert_int_equal(put(f, "same", '2'), 0);
    assert_int_equal(store_usage(f->store), 2000);
    assert_int_equal(publish(f, '1', "box", &d), 1);
    assert_int_equal(publish(f, '1', "box", &d), 2);
    assert_int_equal(store_usage(f->store), 3000);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_runtime_below_versions), TEST(test_links_that_are_wrong), TEST(test_names_of_runtimes), TEST(test_usage_counts_each_once), TEST(test_sweep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
