/* Bounds and odd words of an image's descriptions: how many there may be, what kinds there are, how a digest is written. */
#include "root/image_corpus.h"

#define DOCKER(kind)   "application/vnd.docker." kind
#define OTHER_PLATFORM "{\"architecture\":\"s390x\",\"os\":\"linux\"}"

static void test_counts(void **state)
{
    struct host *h = host_of(state);
    struct image_text im = {.extra_layers = 512};
    cleanup_strbuf struct strbuf many = {0};

    LAYER(&im, SERVER);
    expect_refused(image_run(h, &im), "the image has 513 layers, at most 512 are taken");
    im.extra_layers = 0;
    strbuf_puts(&many, "{\"manifests\":[{@}");
    for (unsigned i = 0; i < 1000; i++)
        strbuf_puts(&many, ",{@,\"platform\":" OTHER_PLATFORM "}");
    strbuf_puts(&many, "]}");
    expect_refused(run_index(h, many.data, &im), "more than 1000 manifests");
    image_text_done(&im);
}

/* What registries write for docker, and one image under two names. */
static void test_words_of_docker(void **state)
{
    struct host *h = host_of(state);
    struct image_text im = {.filter = "gzip", .media = DOCKER("image.rootfs.diff.tar.gzip"), .config_media = DOCKER("container.image.v1+json")};
    cleanup_strbuf struct strbuf tar = {0}, list = {0}, index = {0};
    struct blob b;
    struct job *j;

    LAYER(&im, SERVER);
    b = image_blobs(&im, &tar);
    strbuf_printf(&list, "{\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\"}]}", DOCKER("distribution.manifest.v2+json"), b.digest);
    b = add_blob(&tar, list.data, list.len);
    strbuf_printf(&index, "{\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\"}]}", DOCKER("distribution.manifest.list.v2+json"), b.digest);
    add_text(&tar, "index.json", index.data);
    add_text(&tar, "oci-layout", "{}");
    tar_end(&tar);
    j = job_new(h);
    job_run(h, j, tar.data, tar.len);
    expect_ok(j);
    job_free(j);
    j = run_index(h, "{\"manifests\":[{@},{@}]}", &im);
    expect_ok(j);
    job_free(j);
    image_text_done(&im);
}

static void test_several_of_docker_save(void **state)
{
    struct host *h = host_of(state);
    struct job *j = job_new(h);
    cleanup_strbuf struct strbuf tar = {0};

    add_text(&tar, "manifest.json",
             "[{\"Config\":\"a.json\",\"RepoTags\":[\"a:1\"],\"Layers\":[\"a.tar\"]},{\"Config\":\"b.json\",\"RepoTags\":[\"b:2\"],\"Layers\":[\"b.tar\"]}]");
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    expect_refused(j, "the archive holds several images: a:1, b:2");
}

#define HEX63 "000000000000000000000000000000000000000000000000000000000000000"

/* The function's name, where it may be one. */
static void test_names_of_docker_save(void **state)
{
    static const char long_name[] = HEX63 "0" HEX63 "0"
                                          ":1";
    static const struct {
        const char *tag, *name;
    } rows[] = {
        {"my-app", "my-app"},
        {"my-app:1", "my-app"},
        {"registry.example.com:5000/x/my-app:1", "my-app"},
        {"my-app@sha256:0", "my-app"},
        {"../etc", "etc"},
        {"..", ""},
        {"a/..", ""},
        {"My App:1", ""},
        {"x/:1", ""},
        {"", ""},
        {"a\\nb", ""},
        {long_name, ""},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct image_text im = {.tag = rows[i].tag};
        cleanup_strbuf struct strbuf tar = {0};
        struct job *j = job_new(host_of(state));

        LAYER(&im, SERVER);
        image_docker(&im, &tar, false);
        image_text_done(&im);
        *j->req.id.name = '\0';
        job_run(host_of(state), j, tar.data, tar.len);
        if (!*rows[i].name) {
            expect_refused(j, "the function has no name");
            continue;
        }
        expect_ok(j);
        assert_string_equal(j->spec->name, rows[i].name);
        job_free(j);
    }
}

static void test_digests_as_written(void **state)
{
    static const char *const wrong[] = {
        "sha512:" HEX63 "0", "sha2560" HEX63 "0", "sha256:" HEX63, "sha256:" HEX63 "00", "sha256:" HEX63 "G", "sha256:" HEX63 "/", "sha256:../" HEX63,
    };
    struct image_text im = {0};

    LAYER(&im, SERVER);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char index[400];

        snprintf(index, sizeof(index), "{\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\"}]}", OCI("manifest.v1+json"), wrong[i]);
        expect_refused(run_index(host_of(state), index, &im), "is not sha256: and 64 hexadecimal digits");
    }
    image_text_done(&im);
}

static void test_a_blob_that_is_a_directory(void **state)
{
    struct host *h = host_of(state);
    struct job *j = job_new(h);
    cleanup_strbuf struct strbuf tar = {0};

    tar_add(&tar, &(struct tar_entry){.name = "blobs/sha256/" HEX63 "0", .type = '5', .mode = 0755});
    add_text(&tar, "index.json", "{\"manifests\":[{\"mediaType\":\"" OCI("manifest.v1+json") "\",\"digest\":\"sha256:" HEX63 "0\"}]}");
    add_text(&tar, "oci-layout", "{}");
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    expect_refused(j, "is not a file");
}

/* The body of a whiteout becomes no file, so that only what comes out of the decompressor counts: the limits, 8 KB for each entry, and 64 MB. */
static void test_bomb_in_a_whiteout(void **state)
{
    const size_t bomb = 80 << 20;
    struct image_text im = {.filter = "zstd", .media = OCI("layer.v1.tar+zstd")};
    cleanup_strbuf struct strbuf tar = {0}, zeros = {0};
    struct host *h = host_of(state);

    memset(strbuf_reserve(&zeros, bomb), 0, bomb);
    LAYER(&im, SERVER);
    LAYER(&im, {.name = ".wh.nothing", .data = zeros.data, .size = bomb});
    image_oci(&im, &tar);
    for (unsigned i = 0; i < 2; i++) {
        struct job *j = job_new(h);

        if (i == 0) {
            j->req.limits.max_bytes = 1 << 20;
            j->req.limits.max_entries = 100;
        }
        job_run(h, j, tar.data, tar.len);
        if (i == 0) {
            expect_refused(j, "bytes come out of the archive");
        } else {
            expect_ok(j);
            job_free(j);
        }
    }
    image_text_done(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_words_of_docker),
        cmocka_unit_test(test_several_of_docker_save),
        cmocka_unit_test(test_names_of_docker_save),
        cmocka_unit_test(test_digests_as_written),
        cmocka_unit_test(test_a_blob_that_is_a_directory),
        cmocka_unit_test(test_bomb_in_a_whiteout),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
