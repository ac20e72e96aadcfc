/* Layers that are unpacked while they come: the same tree as from an archive that says at its end what it is, the same refusals, and nothing stored twice. */
#include "root/image_corpus.h"

#define BIG     (5U << 20) /* more than an index may have, so that it cannot be one */
#define ENTRIES 64

struct entry {
    const char *data;
    size_t len;
};

/* An archive taken to pieces: the small entries, and the large ones. */
struct pieces {
    struct entry small[ENTRIES], large[ENTRIES];
    unsigned nsmall, nlarge;
};

static struct pieces pieces_of(const struct strbuf *tar)
{
    struct pieces p = {0};

    for (size_t at = 0; tar->data[at];) {
        size_t size = strtoul(tar->data + at + 124, NULL, 8);
        struct entry e = {.data = tar->data + at, .len = 512 + (size + 511) / 512 * 512};

        assert_true(p.nsmall < ENTRIES && p.nlarge < ENTRIES);
        if (size > BIG)
            p.large[p.nlarge++] = e;
        else
            p.small[p.nsmall++] = e;
        at += e.len;
    }
    return p;
}

static void add_entry(struct strbuf *out, const struct entry *e)
{
    strbuf_add(out, e->data, e->len);
}

static void add_small(struct strbuf *out, const struct pieces *p)
{
    for (unsigned i = 0; i < p->nsmall; i++)
        add_entry(out, &p->small[i]);
}

static void add_large(struct strbuf *out, const struct pieces *p, const char *order)
{
    for (; *order; order++)
        add_entry(out, &p->large[*order - '0']);
}

static struct job *run(struct host *h, struct strbuf *tar)
{
    struct job *j = job_new(h);

    tar_end(tar);
    job_run(h, j, tar->data, tar->len);
    return j;
}

static char *noise(unsigned seed)
{
    char *data = malloc(BIG);

    for (size_t i = 0; data && i < BIG; i++)
        data[i] = (char)((seed = seed * 1103515245U + 12345U) >> 16);
    return data;
}

/* Three large layers, each of which takes something from the one below, and a small one. */
static void three_layers(struct image_text *im, char *const pads[3])
{
    LAYER(im, SERVER, {.name = "a/gone", .data = "x"}, {.name = "a/file", .data = "1"}, {.name = "way", .type = '2', .link = "a"},
          {.name = "pad0", .data = pads[0], .size = BIG});
    LAYER(im, {.name = "a/.wh.gone"}, {.name = "way/through", .data = "2"}, {.name = "pad1", .data = pads[1], .size = BIG});
    LAYER(im, {.name = "a/small", .data = "3"}, {.name = "a/file", .data = "3"});
    LAYER(im, {.name = ".wh.pad0"}, {.name = "a/last", .type = '1', .link = "a/through"}, {.name = "pad2", .data = pads[2], .size = BIG});
}

static void expect_three(const struct job *j)
{
    expect_ok(j);
    assert_false(is_there(j, "image"));
    assert_false(is_there(j, "rootfs/blobs"));
    assert_false(is_there(j, "rootfs/oci-layout"));
    assert_false(is_there(j, "rootfs/a/gone"));
    assert_false(is_there(j, "rootfs/pad0"));
    expect_content(j, "rootfs/a/file", "3");
    expect_content(j, "rootfs/a/last", "2");
    assert_int_equal(stat_of(j, "rootfs/pad2").st_size, BIG);
}

static void test_any_order(void **state)
{
    static const char *const orders[] = {"012", "021", "102", "120", "201", "210"};
    static const char *const filters[] = {NULL, "gzip"};
    char *pads[3] = {noise(1), noise(2), noise(3)}, sha[65] = "";

    for (size_t f = 0; f < COUNT(filters); f++) {
        struct image_text im = {.filter = filters[f], .media = filters[f] ? OCI("layer.v1.tar+gzip") : NULL};
        cleanup_strbuf struct strbuf tar = {0};
        struct pieces p;

        three_layers(&im, pads);
        image_oci(&im, &tar);
        p = pieces_of(&tar);
        assert_int_equal(p.nlarge, 3);
        for (size_t i = 0; i < (f ? 2 : COUNT(orders)); i++) {
            for (int first = 0; first < 2; first++) {
                cleanup_strbuf struct strbuf out = {0};
                struct job *j;

                if (first)
                    add_small(&out, &p);
                add_large(&out, &p, orders[i]);
                if (!first)
                    add_small(&out, &p);
                j = run(host_of(state), &out);
                expect_three(j);
                if (*sha)
                    assert_string_equal(j->res.sha256, sha);
                memcpy(sha, j->res.sha256, sizeof(sha));
                job_free(j);
            }
        }
        image_text_done(&im);
    }
    for (size_t i = 0; i < 3; i++)
        free(pads[i]);
}

/* One large layer as an archive in pieces. */
static struct pieces one_layer(struct strbuf *tar, int extra)
{
    struct image_text im = {.extra_layers = extra};
    char *pad = noise(4);

    LAYER(&im, SERVER, {.name = "pad", .data = pad, .size = BIG});
    image_oci(&im, tar);
    image_text_done(&im);
    free(pad);
    return pieces_of(tar);
}

/* The limit has room for the tree, not for the layer's file beside it. */
static void test_not_stored(void **state)
{
    for (int first = 0; first < 2; first++) {
        cleanup_strbuf struct strbuf tar = {0}, out = {0};
        struct pieces p = one_layer(&tar, 0);
        struct job *j = job_new(host_of(state));

        if (first)
            add_small(&out, &p);
        add_large(&out, &p, "0");
        if (!first)
            add_small(&out, &p);
        tar_end(&out);
        j->req.limits.max_bytes = BIG + BIG / 2;
        job_run(host_of(state), j, out.data, out.len);
        if (!first) {
            expect_refused(j, "bytes unpacked");
            continue;
        }
        expect_ok(j);
        job_free(j);
    }
}

/* The bytes of a layer's file count until it has been unpacked, and those below one that comes are unpacked before it. */
static void test_given_back(void **state)
{
    static const struct {
        const char *before, *behind; /* the layers, and the descriptions between them */
        unsigned halves;             /* so many times half a layer is the limit */
        bool fits;
    } rows[] = {{"01", "", 7, true}, {"01", "", 5, false}, {"0", "1", 5, true}, {"0", "1", 3, false}, {"1", "0", 7, true}};
    char *pads[2] = {noise(5), noise(6)};
    cleanup_strbuf struct strbuf tar = {0};
    struct image_text im = {0};
    struct pieces p;

    LAYER(&im, SERVER, {.name = "pad0", .data = pads[0], .size = BIG});
    LAYER(&im, {.name = "pad1", .data = pads[1], .size = BIG});
    image_oci(&im, &tar);
    p = pieces_of(&tar);
    assert_int_equal(p.nlarge, 2);
    for (size_t i = 0; i < COUNT(rows); i++) {
        cleanup_strbuf struct strbuf out = {0};
        struct job *j = job_new(host_of(state));

        add_large(&out, &p, rows[i].before);
        add_small(&out, &p);
        add_large(&out, &p, rows[i].behind);
        tar_end(&out);
        j->req.limits.max_bytes = BIG / 2 * rows[i].halves;
        job_run(host_of(state), j, out.data, out.len);
        if (!rows[i].fits) {
            expect_refused(j, "bytes unpacked");
            continue;
        }
        expect_ok(j);
        assert_int_equal(stat_of(j, "rootfs/pad1").st_size, BIG);
        assert_in_range(j->res.bytes, 2 * BIG, 2 * BIG + BIG / 2);
        job_free(j);
    }
    image_text_done(&im);
    free(pads[0]);
    free(pads[1]);
}

/* The same layer twice: then it has to be kept. */
static void test_twice(void **state)
{
    cleanup_strbuf struct strbuf tar = {0}, out = {0};
    struct pieces p = one_layer(&tar, 1);
    struct job *j;

    add_small(&out, &p);
    add_large(&out, &p, "0");
    j = run(host_of(state), &out);
    expect_ok(j);
    assert_int_equal(stat_of(j, "rootfs/pad").st_size, BIG);
    job_free(j);
}

/* docker save has a layer as a symlink to another: then that one has to be kept. */
static void test_links(void **state)
{
    static const char *const orders[] = {"0", "00"};

    for (size_t i = 0; i < COUNT(orders); i++) {
        cleanup_strbuf struct strbuf tar = {0}, out = {0};
        struct image_text im = {0};
        char *pad = noise(7);
        struct pieces p;
        struct job *j;

        for (int n = 0; n < 2; n++)
            LAYER(&im, SERVER, {.name = "pad", .data = pad, .size = BIG});
        image_docker(&im, &tar, true);
        p = pieces_of(&tar);
        assert_int_equal(p.nlarge, 1);
        add_small(&out, &p);
        add_large(&out, &p, orders[i]);
        j = run(host_of(state), &out);
        expect_ok(j);
        assert_int_equal(stat_of(j, "rootfs/pad").st_size, BIG);
        assert_false(is_there(j, "image"));
        job_free(j);
        image_text_done(&im);
        free(pad);
    }
}

/* A file of the archive that has a hole, as `tar --sparse` writes it. */
static void add_sparse(struct strbuf *out, const char *name, const char *data, size_t size, size_t used)
{
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    cleanup_strbuf struct strbuf made = {0};
    size_t room = size + (1 << 20);

    archive_write_set_format_pax(a);
    archive_write_set_bytes_in_last_block(a, 1);
    archive_write_open_memory(a, strbuf_reserve(&made, room), room, &made.len);
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)size);
    archive_entry_sparse_add_entry(e, 0, (la_int64_t)used);
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    archive_write_data(a, data, size);
    archive_write_close(a);
    archive_entry_free(e);
    archive_write_free(a);
    assert_in_range(made.len, 1024, size / 2);
    strbuf_add(out, made.data, made.len - 1024);
}

/* Its bytes do not come one after the other: it is stored, and unpacked from there. */
static void test_sparse(void **state)
{
    cleanup_strbuf struct strbuf tar = {0}, out = {0};
    struct image_text im = {0};
    char *zeros = calloc(1, BIG), name[101];
    struct pieces p;
    struct job *j;

    LAYER(&im, SERVER, {.name = "pad", .data = zeros, .size = BIG});
    image_oci(&im, &tar);
    p = pieces_of(&tar);
    assert_int_equal(p.nlarge, 1);
    snprintf(name, sizeof(name), "%.100s", p.large[0].data);
    add_small(&out, &p);
    add_sparse(&out, name, p.large[0].data + 512, im.layers[0].len, 2048);
    j = run(host_of(state), &out);
    expect_ok(j);
    assert_int_equal(stat_of(j, "rootfs/pad").st_size, BIG);
    job_free(j);
    image_text_done(&im);
    free(zeros);
}

static void test_damaged(void **state)
{
    cleanup_strbuf struct strbuf tar = {0}, whole = {0};
    struct pieces p = one_layer(&tar, 0);
    struct host *h = host_of(state);

    add_small(&whole, &p);
    add_large(&whole, &p, "0");
    for (size_t part = 1; part < 8; part++) { /* cut off */
        cleanup_strbuf struct strbuf out = {0};
        struct job *j = job_new(h);

        strbuf_add(&out, whole.data, whole.len / 8 * part);
        job_run(h, j, out.data, out.len);
        expect_refused(j, "");
        out.len = 0;
        strbuf_add(&out, whole.data, whole.len); /* one byte of the content, of which no tar knows */
        out.data[out.len - 512 * 9 * part]++;
        expect_refused(run(h, &out), "has another digest");
    }
    add_small(&whole, &p);
    expect_ok(run(h, &whole)); /* the same files again are none of the image's concern */
}

static void expect_behind(struct host *h, const struct tar_entry *before, const struct tar_entry *behind, const char *part)
{
    cleanup_strbuf struct strbuf tar = {0}, out = {0};
    struct pieces p = one_layer(&tar, 0);

    if (before)
        tar_add(&out, before);
    add_small(&out, &p);
    add_large(&out, &p, "0");
    tar_add(&out, behind);
    expect_refused(run(h, &out), part);
}

/* What follows the layer is not below the process's root: nothing leads it elsewhere. */
static void test_behind(void **state)
{
    struct host *h = host_of(state);

    expect_behind(h, NULL, &(struct tar_entry){.name = "function.ini", .data = "[function]\n"}, "comes behind the layers");
    expect_behind(h, NULL, &(struct tar_entry){.name = "l", .type = '2', .link = ".."}, "a link behind the first layer");
    expect_behind(h, NULL, &(struct tar_entry){.name = "h", .type = '1', .link = "index.json"}, "a link behind the first layer");
    expect_behind(h, &(struct tar_entry){.name = "up", .type = '2', .link = ".."}, &(struct tar_entry){.name = "up/function.ini", .data = "x"},
                  "\"up\" on its way");
    expect_behind(h, &(struct tar_entry){.name = "up", .type = '2', .link = "/"}, &(struct tar_entry){.name = "up/server", .data = "x"}, "\"up\" on its way");
    expect_behind(h, NULL, &(struct tar_entry){.name = "../function.ini", .data = "x"}, "\"..\"");
    expect_behind(h, NULL, &(struct tar_entry){.name = "function.ini/x", .data = "x"}, "comes behind the layers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order), cmocka_unit_test(test_not_stored), cmocka_unit_test(test_given_back), cmocka_unit_test(test_twice),
        cmocka_unit_test(test_links),     cmocka_unit_test(test_sparse),     cmocka_unit_test(test_damaged),    cmocka_unit_test(test_behind),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
