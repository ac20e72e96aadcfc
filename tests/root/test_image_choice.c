/* Which image of an archive is taken, and what a layer takes away, where other tests had left a way open. */
#include "root/image_corpus.h"

#define AMD64 ",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}"

static struct job *run_beside(struct host *h, const char *before, const char *behind, const struct image_text *im)
{
    cleanup_strbuf struct strbuf tar = {0}, index = {0};
    struct blob manifest = image_blobs(im, &tar);
    struct job *j = job_new(h);

    strbuf_printf(&index, "{\"manifests\":[%s{\"mediaType\":\"%s\",\"digest\":\"%s\"" AMD64 "}%s]}", before, OCI("manifest.v1+json"), manifest.digest, behind);
    add_text(&tar, "index.json", index.data);
    add_text(&tar, "oci-layout", "{}");
    tar_end(&tar);
    job_run(h, j, tar.data, tar.len);
    return j;
}

static void test_platform(void **state)
{
#define OTHER "{\"mediaType\":\"" OCI("manifest.v1+json") "\",\"digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\""
    struct host *h = host_of(state);
    struct image_text im = {0};
    struct job *j;

    LAYER(&im, SERVER);
    expect_refused(run_beside(h, "", "," OTHER AMD64 "}", &im), "several images");
    expect_refused(run_beside(h, OTHER AMD64 "},", "", &im), "several images");
    j = run_beside(h, OTHER AMD64 ",\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"}},", "", &im); /* though it is of this machine */
    expect_ok(j);
    job_free(j);
    j = run_beside(h, OTHER "},", "", &im); /* of no machine that is named */
    expect_ok(j);
    job_free(j);
    im.os = "windows";
    expect_refused(run_beside(h, "", "", &im), "the image is for windows, this host is Linux");
    im.os = NULL;
    im.extra_diff_ids = 1;
    expect_refused(run_beside(h, "", "", &im), "the image has 1 layers, its configuration says 2");
    image_text_done(&im);
}

/* Below the lowest layer there is nothing, whatever is taken away. */
static void test_lowest(void **state)
{
    struct image_text im = {0};
    struct job *j;

    LAYER(&im, SERVER, {.name = "d/f", .data = "f"}, {.name = "d/.wh.f"}, {.name = "d/.wh..wh..opq"}, {.name = ".wh.server"});
    j = image_run(host_of(state), &im);
    expect_ok(j);
    expect_content(j, "rootfs/d/f", "f");
    job_free(j);
    image_text_done(&im);
}

/* A symlink goes, and not what it leads to; nor does one stay that leads nowhere. The layer has made something already, so that each name is looked at. */
static void test_links_go(void **state)
{
    struct image_text im = {0};
    struct job *j;

    LAYER(&im, SERVER, {.name = "d/f", .data = "f"}, {.name = "to", .type = '2', .link = "d"}, {.name = "nowhere", .type = '2', .link = "no/such"});
    LAYER(&im, {.name = "new", .data = "n"}, {.name = ".wh.to"}, {.name = ".wh.nowhere"});
    j = image_run(host_of(state), &im);
    expect_ok(j);
    expect_content(j, "rootfs/d/f", "f");
    assert_int_equal(readlinkat(j->dir, "rootfs/to", (char[8]){0}, 8), -1);
    assert_int_equal(readlinkat(j->dir, "rootfs/nowhere", (char[8]){0}, 8), -1);
    job_free(j);
    image_text_done(&im);
}

/* More names than there is room for at first: all of them stay, and nothing else. */
static void test_many_names(void **state)
{
    struct image_text im = {0};
    struct strbuf *tar;
    struct job *j;
    char name[40];

    LAYER(&im, SERVER, {.name = "d/old", .data = "o"});
    tar = &im.layers[im.count++];
    for (unsigned i = 0; i < 1300; i++) {
        snprintf(name, sizeof(name), "d/%u", i);
        tar_add(tar, &(struct tar_entry){.name = name, .data = "n"});
    }
    tar_add(tar, &(struct tar_entry){.name = "d/.wh..wh..opq"});
    tar_end(tar);
    j = image_run(host_of(state), &im);
    expect_ok(j);
    assert_false(is_there(j, "rootfs/d/old"));
    for (unsigned i = 0; i < 1300; i++) {
        snprintf(name, sizeof(name), "rootfs/d/%u", i);
        assert_true(is_there(j, name));
    }
    job_free(j);
    image_text_done(&im);
}

/* Deeper than a removal goes: 62 directories, by way of a symlink, since a tar's name has room for 45. */
static void test_too_deep(void **state)
{
    struct image_text im = {0};
    cleanup_strbuf struct strbuf top = {0}, rest = {0};

    for (unsigned i = 0; i < 45; i++)
        strbuf_puts(&top, i ? "/t" : "t");
    strbuf_puts(&rest, "s");
    for (unsigned i = 0; i < 17; i++)
        strbuf_puts(&rest, "/t");
    LAYER(&im, SERVER, {.name = top.data, .type = '5', .mode = 0755}, {.name = "s", .type = '2', .link = top.data},
          {.name = rest.data, .type = '5', .mode = 0755});
    LAYER(&im, {.name = "new", .data = "n"}, {.name = ".wh.t"});
    expect_refused(image_run(host_of(state), &im), "nested too deep");
    image_text_done(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_platform),   cmocka_unit_test(test_lowest),   cmocka_unit_test(test_links_go),
        cmocka_unit_test(test_many_names), cmocka_unit_test(test_too_deep),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
