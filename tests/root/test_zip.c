/* Zips in the jail: modes from the directory at their end, sizes that are not there, and those that are refused. */
#include "root/image_corpus.h"

struct zip_entry {
    const char *name, *data, *link;
    unsigned mode, repeat; /* repeat: so many times the data */
};

static void zip_make(const struct zip_entry *entries, size_t n, const char *options, struct strbuf *out)
{
    struct archive *a = archive_write_new();
    size_t room = 4 << 20, used = 0;

    archive_write_set_format_zip(a);
    if (options)
        assert_int_equal(archive_write_set_options(a, options), ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(a, 1);
    archive_write_open_memory(a, strbuf_reserve(out, room), room, &used);
    for (size_t i = 0; i < n; i++) {
        const struct zip_entry *z = &entries[i];
        struct archive_entry *e = archive_entry_new();
        bool is_dir = z->name[strlen(z->name) - 1] == '/';
        size_t len = z->data ? strlen(z->data) : 0;

        archive_entry_set_pathname(e, z->name);
        archive_entry_set_filetype(e, z->link ? AE_IFLNK : is_dir ? AE_IFDIR : AE_IFREG);
        archive_entry_set_perm(e, (mode_t)(z->mode ? z->mode : is_dir ? 0755U : 0644U));
        if (z->link)
            archive_entry_set_symlink(e, z->link);
        archive_entry_set_size(e, (la_int64_t)(len * (z->repeat ? z->repeat : 1)));
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        for (unsigned k = 0; k < (z->repeat ? z->repeat : 1) && len; k++)
            archive_write_data(a, z->data, len);
        archive_entry_free(e);
    }
    archive_write_close(a);
    archive_write_free(a);
    out->len = used;
}

static struct job *unpack_bytes(struct host *h, const struct strbuf *zip, size_t len)
{
    struct job *j = job_new(h);

    job_run(h, j, zip->data, len);
    return j;
}

#define ZIP(h, options, ...)                                                                                                                                   \
    zip_run(h, options, (const struct zip_entry[]){{.name = "server", .data = "#!", .mode = 0755}, __VA_ARGS__},                                               \
            1 + COUNT(((const struct zip_entry[]){__VA_ARGS__})))

static struct job *zip_run(struct host *h, const char *options, const struct zip_entry *entries, size_t n)
{
    cleanup_strbuf struct strbuf zip = {0};

    zip_make(entries, n, options, &zip);
    return unpack_bytes(h, &zip, zip.len);
}

static void test_good(void **state)
{
    static const char *const options[] = {NULL, "zip:compression=store", "zip:compression=deflate", "zip:zip64"};

    for (unsigned i = 0; i < COUNT(options); i++) {
        struct job *j = ZIP(host_of(state), options[i], {.name = "function.ini", .data = "[function]\ncommand = /server\n"}, {.name = "d/", .mode = 0700},
                            {.name = "d/f", .data = "0123456789", .repeat = 50000}, {.name = "empty", .data = ""}, {.name = "l", .link = "d/f"},
                            {.name = "s", .data = "x", .mode = 06755});

        expect_ok(j);
        assert_int_equal(stat_of(j, "rootfs/server").st_mode, S_IFREG | 0755);
        assert_int_equal(stat_of(j, "rootfs/d").st_mode, S_IFDIR | 0755);
        assert_int_equal(stat_of(j, "rootfs/d/f").st_size, 500000);
        assert_int_equal(stat_of(j, "rootfs/empty").st_size, 0);
        assert_int_equal(stat_of(j, "rootfs/s").st_mode, S_IFREG | 0755);
        assert_true(S_ISLNK(stat_of(j, "rootfs/l").st_mode));
        assert_true(is_there(j, "function.ini"));
        assert_false(is_there(j, ".zip"));
        job_free(j);
    }
}

/* What some tools write: 0 for CRC and size, in the directory and behind the data. */
static void forget_sizes(struct strbuf *zip, bool crc, bool size)
{
    static const struct {
        const char *sign;
        size_t crc, size;
    } places[] = {{"PK\1\2", 16, 24}, {"PK\3\4", 14, 22}, {"PK\7\10", 4, 12}};

    for (size_t i = 0; i + 30 < zip->len; i++) {
        for (size_t k = 0; k < COUNT(places); k++) {
            if (memcmp(zip->data + i, places[k].sign, 4) != 0)
                continue;
            if (crc)
                memset(zip->data + i + places[k].crc, 0, 4);
            if (size)
                memset(zip->data + i + places[k].size, 0, 4);
        }
    }
}

static void test_without_sizes(void **state)
{
    static const struct zip_entry entries[] = {{.name = "server", .data = "#! not so short that nothing is won", .mode = 0755},
                                               {.name = "large", .data = "0123456789", .repeat = 100000},
                                               {.name = "empty", .data = ""}};
    cleanup_strbuf struct strbuf zip = {0};
    struct job *j;

    zip_make(entries, COUNT(entries), "zip:compression=deflate", &zip);
    for (unsigned i = 0; i < 2; i++) {
        forget_sizes(&zip, true, i > 0);
        j = unpack_bytes(host_of(state), &zip, zip.len);
        expect_ok(j);
        assert_int_equal(stat_of(j, "rootfs/large").st_size, 1000000);
        expect_content(j, "rootfs/server", "#! not so short that nothing is won");
        assert_int_equal(stat_of(j, "rootfs/server").st_mode, S_IFREG | 0755);
        job_free(j);
    }
    j = job_new(host_of(state)); /* and what was not said is counted when it comes */
    j->req.limits.max_bytes = 900000;
    job_run(host_of(state), j, zip.data, zip.len);
    expect_refused(j, "\"large\": more than 900000 bytes unpacked");
}

static void test_refused(void **state)
{
    static const struct zip_entry entries[] = {{.name = "server", .data = "#! 0123456789 0123456789 0123456789", .mode = 0755}};
    cleanup_strbuf struct strbuf zip = {0}, bad = {0};
    struct host *h = host_of(state);

    zip_make(entries, COUNT(entries), "zip:compression=store", &zip);
    strbuf_add(&bad, zip.data, zip.len);
    *(char *)memmem(bad.data, bad.len, "0123456789", 10) = 'x';
    expect_refused(unpack_bytes(h, &bad, bad.len), "CRC");
    for (size_t len = 4; len < zip.len; len += 7) {
        struct job *j = unpack_bytes(h, &zip, len);

        if (!j->err)
            fail_msg("%zu bytes of %zu are enough", len, zip.len);
        job_free(j);
    }
    for (size_t i = 0; i + 30 < zip.len; i++) /* bit 0 of the flags: encrypted (APPNOTE.TXT section 4.4.4) */
        if (memcmp(zip.data + i, "PK\3\4", 4) == 0 || memcmp(zip.data + i, "PK\1\2", 4) == 0)
            zip.data[i + (zip.data[i + 2] == 1 ? 8 : 6)] |= 1;
    expect_refused(unpack_bytes(h, &zip, zip.len), "entry \"server\" of the zip is encrypted");
    expect_refused(ZIP(h, NULL, {.name = "../x", .data = "x"}), "\"..\"");
    expect_refused(ZIP(h, NULL, {.name = "a/../../x", .data = "x"}), "\"..\"");
    expect_refused(ZIP(h, NULL, {.name = ".wh.x", .data = "x"}), "whiteout");
    {
        struct job *j = ZIP(h, NULL, {.name = "d/", .mode = 0755}, {.name = "l", .link = "/../../../../d"}, {.name = "l/planted", .data = "x"});

        expect_ok(j);
        assert_true(is_there(j, "rootfs/d/planted"));
        job_free(j);
    }
    {
        struct job *j = job_new(h);
        cleanup_strbuf struct strbuf large = {0};
        const struct zip_entry two[] = {entries[0], {.name = "f", .data = "0123456789", .repeat = 10000}};

        zip_make(two, COUNT(two), "zip:compression=store", &large);
        j->req.limits.max_bytes = 50000;
        job_run(h, j, large.data, large.len);
        expect_refused(j, "the zip is larger than what may be unpacked");
    }
}

/* An image's layer is a tar: what is within one has no kinds to choose from. */
static void test_within_an_image(void **state)
{
    static const struct zip_entry entries[] = {{.name = "more", .data = "x"}};
    struct image_text im = {0};

    LAYER(&im, SERVER);
    zip_make(entries, 1, NULL, &im.layers[im.count++]);
    expect_refused(image_run(host_of(state), &im), "no tar archive");
    image_text_done(&im);
}

/* Nothing but a directory's end: an empty zip. */
static void test_empty(void **state)
{
    static const char end[22] = "PK\5\6";
    struct strbuf zip = {.data = (char *)end, .len = sizeof(end)};

    expect_refused(unpack_bytes(host_of(state), &zip, zip.len), "or nothing in it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_without_sizes), cmocka_unit_test(test_refused), cmocka_unit_test(test_within_an_image),
        cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
