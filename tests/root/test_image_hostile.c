/* Images that were made to break out of the jail, to fill it, or to confuse it. */
#include "root/image_corpus.h"

static void refuse_layers(struct host *h, struct image_text *im, const char *part)
{
    expect_refused(image_run(h, im), part);
    image_text_done(im);
    *im = (struct image_text){0};
}

static void test_hostile_layers(void **state)
{
    struct host *h = host_of(state);
    struct image_text im = {0};

    LAYER(&im, SERVER);
    LAYER(&im, {.name = "a/.wh.."});
    refuse_layers(h, &im, "a whiteout of nothing");
    LAYER(&im, SERVER);
    LAYER(&im, {.name = ".wh..."});
    refuse_layers(h, &im, "a whiteout of nothing");
    LAYER(&im, SERVER);
    LAYER(&im, {.name = ".wh."});
    refuse_layers(h, &im, "a whiteout of nothing");
    LAYER(&im, SERVER);
    LAYER(&im, {.name = "../.wh.x"});
    refuse_layers(h, &im, "\"..\"");
    LAYER(&im, SERVER, {.name = "../x", .data = "x"});
    refuse_layers(h, &im, "\"..\"");
    LAYER(&im, SERVER, {.name = "x", .type = '1', .link = "../../../etc/passwd"});
    refuse_layers(h, &im, "\"..\"");
    LAYER(&im, SERVER, {.name = "x", .type = '1', .link = "/no/such"});
    refuse_layers(h, &im, "no regular file unpacked before it");
    LAYER(&im, SERVER, {.name = "f", .data = "x"}, {.name = "f/g", .data = "x"});
    refuse_layers(h, &im, "f/g");
    LAYER(&im, SERVER, {.name = "f", .data = "x", .claim = 1 << 20});
    refuse_layers(h, &im, "layer 1 of 1 of the image");
    im.media = OCI("layer.nondistributable.v1.tar+gzip");
    LAYER(&im, SERVER);
    refuse_layers(h, &im, "kept elsewhere");
    im.media = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    LAYER(&im, SERVER);
    refuse_layers(h, &im, "kept elsewhere");
    im.media = OCI("layer.v1.tar+lzma");
    LAYER(&im, SERVER);
    refuse_layers(h, &im, "layer 1 of the image is a \"" OCI("layer.v1.tar+lzma"));
    im.extra_layers = 10000;
    LAYER(&im, SERVER);
    refuse_layers(h, &im, "10001 layers, at most 512");
    refuse_layers(h, &im, "no layers");
}

/* Symlinks that lead out of the root, or would: everything stays below it, and what lies beside it is untouched. */
static void test_symlinks_stay_inside(void **state)
{
    struct image_text im = {0};
    struct job *j;

    LAYER(&im, SERVER, {.name = "up", .type = '2', .link = "../../../../.."}, {.name = "abs", .type = '2', .link = "/"},
          {.name = "beside", .type = '2', .link = "../image"}, {.name = "kept", .data = "x"}, {.name = "etc/", .type = '5'});
    LAYER(&im, {.name = "up/new", .data = "new"}, {.name = "up/.wh.kept"}, {.name = "abs/etc/new", .data = "x"}, {.name = "beside/.wh..wh..opq"},
          {.name = "beside/.wh.blobs"});
    LAYER(&im, {.name = "up/up/abs/last", .data = "last"});
    j = image_run(host_of(state), &im);
    expect_ok(j);
    expect_content(j, "rootfs/new", "new");
    assert_false(is_there(j, "rootfs/kept"));
    assert_true(is_there(j, "rootfs/etc/new"));
    expect_content(j, "rootfs/last", "last");
    job_free(j);
    image_text_done(&im);
}

/* The same files many times over: layers count together, and so does the archive itself. */
static void test_limits(void **state)
{
    cleanup_strbuf struct strbuf tar = {0}, zeros = {0};
    struct image_text im = {.filter = "gzip", .media = OCI("layer.v1.tar+gzip"), .extra_layers = 9};
    struct job *j = job_new(host_of(state));

    memset(strbuf_reserve(&zeros, 1 << 20), 0, 1 << 20);
    zeros.len = 1 << 20;
    memcpy(zeros.data, "#!/bin/sh\n", 10);
    tar_add(&im.layers[0], &(struct tar_entry){.name = "server", .data = zeros.data, .size = zeros.len, .mode = 0755});
    tar_end(&im.layers[0]);
    im.count = 1;
    image_oci(&im, &tar);
    j->req.limits.max_bytes = 8 << 20;
    job_run(host_of(state), j, tar.data, tar.len);
    expect_refused(j, "more than 8388608 bytes unpacked");
    j = job_new(host_of(state));
    j->req.limits.max_entries = 10;
    job_run(host_of(state), j, tar.data, tar.len);
    expect_refused(j, "more than 10 entries");
    j = job_new(host_of(state));
    j->req.limits.max_bytes = 11 << 20;
    job_run(host_of(state), j, tar.data, tar.len);
    expect_ok(j);
    assert_int_equal(j->res.bytes, 1 << 20);
    job_free(j);
    image_text_done(&im);
}

/* A blob that is not what its name says: layer, configuration, manifest; and docker save's layer, which only the configuration vouches for. */
static void test_digests(void **state)
{
    struct host *h = host_of(state);

    for (unsigned i = 0; i < 3; i++) {
        static const char *const marks[] = {"#!", "\"os\":\"linux\"", "\"schemaVersion\":2,\"config\""};
        static const char *const becomes[] = {"#?", "\"os\":\"linuz\"", "\"schemaVersion\":3,\"config\""};
        cleanup_strbuf struct strbuf tar = {0};
        struct image_text im = {0};
        struct job *j = job_new(h);
        char *at;

        LAYER(&im, SERVER);
        image_oci(&im, &tar);
        at = memmem(tar.data, tar.len, marks[i], strlen(marks[i]));
        assert_non_null(at);
        memcpy(at, becomes[i], strlen(becomes[i]));
        job_run(h, j, tar.data, tar.len);
        if (!strstr(j->d.text, "blobs/sha256/"))
            fail_msg("%s", j->d.text);
        expect_refused(j, "of the image has another digest");
        image_text_done(&im);
    }
    for (unsigned i = 0; i < 2; i++) {
        cleanup_strbuf struct strbuf tar = {0};
        struct image_text im = {0};
        struct job *j = job_new(h);
        char *at;

        LAYER(&im, SERVER);
        image_docker(&im, &tar, false);
        at = memmem(tar.data, tar.len, i ? "linux" : "#!", i ? 5 : 2);
        at[1] = '?';
        job_run(h, j, tar.data, tar.len);
        expect_refused(j, "has another digest");
        image_text_done(&im);
    }
}

static void test_json_bounds(void **state)
{
    struct host *h = host_of(state);
    struct image_text im = {0};
    cleanup_strbuf struct strbuf deep = {0}, large = {0};

    LAYER(&im, SERVER);
    strbuf_puts(&deep, "{\"manifests\":");
    for (unsigned i = 0; i < 100000; i++)
        strbuf_puts(&deep, "[");
    expect_refused(run_index(h, deep.data, &im), "nested more than 64 deep");
    strbuf_puts(&large, "{\"manifests\":[],\"x\":\"");
    for (unsigned i = 0; i < 500000; i++)
        strbuf_puts(&large, "0123456789");
    strbuf_puts(&large, "\"}");
    expect_refused(run_index(h, large.data, &im), "index.json of the image is larger than");
    image_text_done(&im);
}

/* Cut anywhere it is refused, and says so. */
static void test_prefixes(void **state)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct image_text im = {.filter = "gzip", .media = OCI("layer.v1.tar+gzip")};

    LAYER(&im, SERVER, {.name = "d/f", .data = "content"});
    LAYER(&im, {.name = "d/.wh.f"});
    image_oci(&im, &tar);
    for (size_t len = 0; len + 1024 < tar.len; len += len < 1024 ? 97 : 731) {
        struct job *j = job_new(host_of(state));

        job_run(host_of(state), j, tar.data, len);
        if (!j->err)
            fail_msg("%zu bytes of %zu are enough", len, tar.len);
        job_free(j);
    }
    image_text_done(&im);
}

/* Whole archives whose layers are cut, or are no tar. */
static void test_bad_layers(void **state)
{
    struct host *h = host_of(state);

    for (size_t cut = 1; cut <= 3 * 512; cut += 73) { /* padding and end mark are not missed: their digest says that they never were there */
        struct image_text im = {0};
        struct job *j;

        LAYER(&im, SERVER, {.name = "f", .data = "content"});
        im.layers[0].len -= cut < 1529 ? cut : 1529;
        j = image_run(h, &im);
        expect_ok(j);
        expect_content(j, "rootfs/f", "content");
        job_free(j);
        image_text_done(&im);
    }
    for (size_t cut = 1530; cut < 2048; cut += cut < 1537 ? 1 : 93) { /* a byte of what is in it is */
        struct image_text im = {0};
        struct job *j;

        LAYER(&im, SERVER, {.name = "f", .data = "content"});
        im.layers[0].len -= cut;
        j = image_run(h, &im);
        if (!j->err)
            fail_msg("a layer without its last %zu bytes is taken", cut);
        assert_non_null(strstr(j->d.text, "layer 1 of 1"));
        job_free(j);
        image_text_done(&im);
    }
    {
        struct image_text im = {.count = 1};

        strbuf_puts(&im.layers[0], "PK\3\4 this is no tar, and a zip would be none either");
        expect_refused(image_run(h, &im), "layer 1 of 1");
        image_text_done(&im);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_layers), cmocka_unit_test(test_symlinks_stay_inside), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_digests),        cmocka_unit_test(test_json_bounds),          cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_bad_layers),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
