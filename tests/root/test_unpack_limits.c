/* Archives that are too much, or broken: limits hold while unpacking, and only what is whole is taken. */
#include "root/unpack_job.h"

/* ---- too much ---- */

static void test_bytes(void **state)
{
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0}, packed = {0};
    size_t bomb = 64 << 20;
    struct job *j = job_new(h);

    corpus_begin(&tar);
    memset(strbuf_reserve(&tar, bomb + 4096), 0, bomb);
    tar_add(&tar, &(struct tar_entry){.name = "bomb", .claim = bomb});
    memset(tar.data + tar.len, 0, bomb);
    tar.len += bomb;
    tar_end(&tar);
    tar_compress(&tar, "zstd", &packed);
    assert_true(packed.len < 100000);
    j->req.limits.max_bytes = 1 << 20;
    job_run(h, j, packed.data, packed.len);
    assert_int_equal(j->err, -EFBIG);
    assert_false(is_there(j, "rootfs/bomb"));
    expect_refused(j, "entry \"bomb\": more than 1048576 bytes");
    /* the sum counts, and exactly the limit is allowed */
    for (int spare = 0; spare < 2; spare++) {
        j = job_new(h);
        tar.len = 0;
        corpus_begin(&tar);
        tar_add(&tar, &(struct tar_entry){.name = "a", .data = "12345"});
        tar_add(&tar, &(struct tar_entry){.name = "b", .data = "12345"});
        tar_end(&tar);
        j->req.limits.max_bytes = 20 - (unsigned)spare;
        job_run(h, j, tar.data, tar.len);
        if (spare) {
            expect_refused(j, "entry \"b\": more than 19 bytes");
        } else {
            expect_ok(j);
            assert_int_equal(j->res.bytes, 20);
            job_free(j);
        }
    }
}

static void test_entries(void **state)
{
    struct host *h = host_of(state);

    for (unsigned limit = 500; limit <= 502; limit += 2) {
        cleanup_strbuf struct strbuf tar = {0};
        struct job *j = job_new(h);

        corpus_begin(&tar);
        for (unsigned i = 0; i < 500; i++) {
            char name[32];

            snprintf(name, sizeof(name), "f%u", i);
            tar_add(&tar, &(struct tar_entry){.name = name});
        }
        tar_end(&tar);
        j->req.limits.max_entries = limit;
        job_run(h, j, tar.data, tar.len);
        if (limit < 502) {
            expect_refused(j, "more than 500 entries");
        } else {
            expect_ok(j);
            assert_int_equal(j->res.entries, 506); /* of the tree: server, 500 files, five directories that every image gets */
            job_free(j);
        }
    }
    { /* directories that are only implied count too */
        cleanup_strbuf struct strbuf tar = {0};
        struct job *j = job_new(h);

        corpus_begin(&tar);
        tar_add(&tar, &(struct tar_entry){.name = "1/2/3/4/5/6/7/8/9/10", .data = "x"});
        tar_end(&tar);
        j->req.limits.max_entries = 5;
        job_run(h, j, tar.data, tar.len);
        expect_refused(j, "more than 5 entries");
    }
}

/* 100,000 entries and one more, in one archive: neither memory nor time is lost on the way. */
static void test_many_entries(void **state)
{
    cleanup_strbuf struct strbuf tar = {0}, packed = {0};
    struct job *j = job_new(host_of(state));

    corpus_begin(&tar);
    for (unsigned i = 0; i < 99999; i++)
        tar_add(&tar, &(struct tar_entry){.name = "same"});
    tar_end(&tar);
    tar_compress(&tar, "zstd", &packed);
    job_run(host_of(state), j, packed.data, packed.len);
    expect_refused(j, "more than 100000 entries");
}

static void test_processor_time(void **state)
{
    struct job *j = job_new(host_of(state));
    cleanup_strbuf struct strbuf tar = {0};

    corpus_begin(&tar);
    tar_end(&tar);
    j->req.limits.max_seconds = 0;
    job_run(host_of(state), j, tar.data, tar.len);
    expect_refused(j, "processor time");
}

static void test_sparse(void **state)
{
    struct host *h = host_of(state);
    char sha[2][65];
    struct job *j;

    for (int sparse = 0; sparse < 2; sparse++) {
        cleanup_strbuf struct strbuf tar = {0};
        char *whole = calloc(1, (1 << 20) + 1);

        corpus_begin(&tar);
        memcpy(whole, "begin", 5);
        if (sparse) { /* GNU.sparse 0.1: a map in the attributes */
            struct strbuf body = {0};

            strbuf_puts(&body, "27 GNU.sparse.size=1048576\n26 GNU.sparse.numblocks=1\n24 GNU.sparse.map=0,512\n");
            tar_add(&tar, &(struct tar_entry){.name = "pax", .type = 'x', .data = body.data});
            strbuf_done(&body);
            tar_add(&tar, &(struct tar_entry){.name = "f", .data = whole, .size = 512});
        } else {
            tar_add(&tar, &(struct tar_entry){.name = "f", .data = whole, .size = 1 << 20});
        }
        tar_end(&tar);
        j = job_new(h);
        job_run(h, j, tar.data, tar.len);
        expect_ok(j);
        assert_int_equal(stat_of(j, "rootfs/f").st_size, 1 << 20);
        if (sparse)
            assert_true(stat_of(j, "rootfs/f").st_blocks * 512 < 1 << 20);
        memcpy(sha[sparse], j->res.sha256, 65);
        job_free(j);
        free(whole);
    }
    assert_string_equal(sha[0], sha[1]);
    {
        static const char block[TAR_BLOCK];
        cleanup_strbuf struct strbuf tar = {0};

        corpus_begin(&tar);
        tar_add(&tar, &(struct tar_entry){
                          .name = "pax", .type = 'x', .data = "33 GNU.sparse.size=1099511627776\n26 GNU.sparse.numblocks=1\n24 GNU.sparse.map=0,512\n"});
        tar_add(&tar, &(struct tar_entry){.name = "f", .data = block, .size = sizeof(block)});
        tar_end(&tar);
        j = job_new(h);
        job_run(h, j, tar.data, tar.len);
        expect_refused(j, "entry \"f\": more than");
    }
}

/* ---- broken ---- */

static void expect_bytes_refused(struct host *h, const char *data, size_t len, const char *part)
{
    struct job *j = job_new(h);

    job_run(h, j, data, len);
    expect_refused(j, part);
}

static void test_truncated(void **state)
{
    static const char *const filters[] = {NULL, "gzip", "xz", "zstd"};
    cleanup_strbuf struct strbuf tar = {0};
    char noise[3000];

    srandom(7);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)random();
    corpus_begin(&tar);
    tar_add(&tar, &(struct tar_entry){.name = "f", .data = noise, .size = sizeof(noise)});
    tar_end(&tar);
    for (size_t i = 0; i < COUNT(filters); i++) {
        cleanup_strbuf struct strbuf packed = {0};
        struct job *j;

        if (filters[i])
            tar_compress(&tar, filters[i], &packed);
        else
            strbuf_add(&packed, tar.data, tar.len);
        for (size_t k = 1; k <= 24; k++)
            expect_bytes_refused(host_of(state), packed.data, (packed.len - (filters[i] ? 0 : 1024)) * k / 25, "archive");
        expect_bytes_refused(host_of(state), packed.data, packed.len - (filters[i] ? 1 : 1024), "");
        strbuf_puts(&packed, "garbage");
        expect_bytes_refused(host_of(state), packed.data, packed.len, "");
        packed.len -= 7;
        j = job_new(host_of(state));
        job_run(host_of(state), j, packed.data, packed.len);
        expect_ok(j);
        job_free(j);
    }
}

static void test_broken(void **state)
{
    struct host *h = host_of(state);
    cleanup_strbuf struct strbuf tar = {0};

    expect_bytes_refused(h, "", 0, "the archive is empty");
    expect_bytes_refused(h, "hello, world\n", 13, "no tar archive");
    expect_bytes_refused(h, "PK\003\004 a zip file, perhaps, with much behind it", 46, "the zip has no directory at its end");
    expect_bytes_refused(h, "\x1f\x8b\x08 not gzip", 12, "");
    tar_end(&tar);
    expect_bytes_refused(h, tar.data, tar.len, "");
    /* a second archive behind the first: GNU tar -A or cat */
    tar.len = 0;
    corpus_begin(&tar);
    tar_end(&tar);
    corpus_begin(&tar);
    tar_end(&tar);
    expect_bytes_refused(h, tar.data, tar.len, "more data behind");
    /* a flipped bit in a header */
    tar.data[520] ^= 1;
    expect_bytes_refused(h, tar.data, tar.len, "archive");
    /* zeros to a record's end are padding */
    {
        cleanup_strbuf struct strbuf padded = {0};
        struct job *j = job_new(h);

        corpus_begin(&padded);
        memset(strbuf_reserve(&padded, 10240), 0, 10240);
        padded.len += 10240;
        job_run(h, j, padded.data, padded.len);
        expect_ok(j);
        job_free(j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),  cmocka_unit_test(test_entries),   cmocka_unit_test(test_many_entries), cmocka_unit_test(test_processor_time),
        cmocka_unit_test(test_sparse), cmocka_unit_test(test_truncated), cmocka_unit_test(test_broken),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
