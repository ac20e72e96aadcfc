/* Images of the container world in the jail: what their layers and their configuration become, and which one is chosen. */
#include "root/image_corpus.h"

static void expect_no_rest(const struct job *j)
{
    assert_false(is_there(j, "image"));
    assert_false(is_there(j, ".zip"));
    assert_false(is_there(j, "rootfs/blobs"));
    assert_false(is_there(j, "rootfs/index.json"));
}

static void expect_note(const struct job *j, const char *part)
{
    if (!strstr(j->notes, part))
        fail_msg("\"%s\" has no \"%s\"", j->notes, part);
}

/* ---- layers ---- */

static void test_layers(void **state)
{
    static const char *const filters[] = {NULL, "gzip", "zstd"};
    static const char *const medias[] = {OCI("layer.v1.tar"), OCI("layer.v1.tar+gzip"), OCI("layer.v1.tar+zstd")};
    char sha[65] = "";

    for (unsigned i = 0; i < COUNT(filters); i++) {
        struct image_text im = {.filter = filters[i], .media = medias[i]};
        struct job *j;

        LAYER(&im, SERVER, {.name = "a/", .type = '5', .mode = 0700}, {.name = "a/gone", .data = "x"}, {.name = "a/stays", .data = "x"},
              {.name = "d/e/f", .data = "x"}, {.name = "o/below/x", .data = "x"}, {.name = "o/file", .data = "x"}, {.name = "file", .data = "x"},
              {.name = "dir/x", .data = "x"}, {.name = "link", .type = '2', .link = "a"}, {.name = "s", .data = "x", .mode = 06755},
              {.name = "below", .data = "hard"}, {.name = "old", .type = '2', .link = "server"}, {.name = "node", .type = '3'},
              {.name = "dev/null", .type = '3'});
        LAYER(&im, {.name = "a/.wh.gone"}, {.name = "a/new", .data = "new"}, {.name = "d/.wh.e"}, {.name = "o/.wh..wh..opq"}, {.name = "o/mine", .data = "m"},
              {.name = "file/", .type = '5'}, {.name = "file/in", .data = "in"}, {.name = "dir", .data = "now a file"}, {.name = "link/through", .data = "t"},
              {.name = "hard", .type = '1', .link = "below"}, {.name = ".wh.nothing"}, {.name = "no/such/.wh.x"}, {.name = ".wh..wh.plnk"});
        LAYER(&im, {.name = ".wh.below"}, {.name = "link/", .type = '5', .mode = 0755}, {.name = "link/own", .data = "own"},
              {.name = "old2", .type = '1', .link = "old"});
        j = image_run(host_of(state), &im);
        expect_ok(j);
        expect_no_rest(j);
        assert_false(is_there(j, "rootfs/a/gone"));
        assert_true(is_there(j, "rootfs/a/stays"));
        expect_content(j, "rootfs/a/new", "new");
        assert_true(is_there(j, "rootfs/d"));
        assert_false(is_there(j, "rootfs/d/e"));
        assert_false(is_there(j, "rootfs/o/below"));
        assert_false(is_there(j, "rootfs/o/file"));
        expect_content(j, "rootfs/o/mine", "m");
        expect_content(j, "rootfs/file/in", "in");
        expect_content(j, "rootfs/dir", "now a file");
        expect_content(j, "rootfs/a/through", "t");
        expect_content(j, "rootfs/hard", "hard");
        assert_false(is_there(j, "rootfs/below"));
        assert_true(S_ISDIR(stat_of(j, "rootfs/link").st_mode));
        expect_content(j, "rootfs/link/own", "own");
        assert_false(is_there(j, "rootfs/a/own"));
        assert_true(S_ISLNK(stat_of(j, "rootfs/old2").st_mode));
        assert_int_equal(stat_of(j, "rootfs/s").st_mode & 07777, 0755);
        assert_false(is_there(j, "rootfs/node"));
        assert_false(is_there(j, "rootfs/dev/null"));
        expect_note(j, "1 device nodes, fifos or sockets of the image were left out, node first");
        assert_false(is_there(j, "rootfs/.wh.nothing"));
        if (*sha)
            assert_string_equal(j->res.sha256, sha);
        memcpy(sha, j->res.sha256, sizeof(sha));
        job_free(j);
        image_text_done(&im);
    }
}

/* A whiteout hides lower layers alone, wherever in its layer it stands. */
static void test_whiteout_order(void **state)
{
    struct image_text im = {0};
    struct job *j;

    LAYER(&im, SERVER, {.name = "a/low", .data = "x"}, {.name = "a/both", .data = "low"}, {.name = "b/low", .data = "x"}, {.name = "b/deep/low", .data = "x"},
          {.name = "c", .data = "low"}, {.name = "e/low", .data = "x"});
    LAYER(&im, {.name = "a/both", .data = "up"}, {.name = "a/mine/x", .data = "x"}, {.name = "a/.wh..wh..opq"}, {.name = "b/deep/up", .data = "x"},
          {.name = ".wh.b"}, {.name = "c", .data = "up"}, {.name = ".wh.c"}, {.name = "e/", .type = '5'}, {.name = ".wh.e"});
    j = image_run(host_of(state), &im);
    expect_ok(j);
    assert_false(is_there(j, "rootfs/a/low"));
    expect_content(j, "rootfs/a/both", "up");
    assert_true(is_there(j, "rootfs/a/mine/x"));
    assert_false(is_there(j, "rootfs/b/low"));
    assert_false(is_there(j, "rootfs/b/deep/low"));
    assert_true(is_there(j, "rootfs/b/deep/up"));
    expect_content(j, "rootfs/c", "up");
    assert_true(is_there(j, "rootfs/e"));
    assert_false(is_there(j, "rootfs/e/low"));
    job_free(j);
    image_text_done(&im);
}

static void test_docker(void **state)
{
    for (unsigned links = 0; links < 2; links++) {
        cleanup_strbuf struct strbuf tar = {0}, packed = {0};
        struct job *j = job_new(host_of(state));
        struct image_text im = {0};

        LAYER(&im, SERVER, {.name = "gone", .data = "x"});
        if (links)
            LAYER(&im, SERVER, {.name = "gone", .data = "x"});
        LAYER(&im, {.name = ".wh.gone"}, {.name = "new", .data = "new"});
        image_docker(&im, &tar, links);
        tar_compress(&tar, "gzip", &packed);
        job_run(host_of(state), j, packed.data, packed.len);
        expect_ok(j);
        expect_no_rest(j);
        assert_false(is_there(j, "rootfs/gone"));
        expect_content(j, "rootfs/new", "new");
        assert_false(is_there(j, "rootfs/manifest.json"));
        assert_memory_equal(j->spec->strings, "/server", 8);
        job_free(j);
        image_text_done(&im);
    }
}

/* Files that look like an image's and are not. */
static void test_packages_that_look_alike(void **state)
{
    static const char *const lists[] = {"{\"name\": \"my app\"}", "[]", "[1]", "not json", "[{\"Config\": 1}]", "[{\"Config\": \"x\"}]"};
    struct job *j;

    for (unsigned i = 0; i < COUNT(lists); i++) {
        j = UNPACK(host_of(state), {.name = "manifest.json", .data = lists[i]});
        expect_ok(j);
        assert_true(is_there(j, "rootfs/manifest.json"));
        job_free(j);
    }
    j = UNPACK(host_of(state), {.name = "oci-layout", .data = "{}"}, {.name = "index.json", .data = "{}"},
               {.name = "function.ini", .data = "[function]\ncommand = /server\n"});
    expect_ok(j);
    assert_true(is_there(j, "rootfs/oci-layout"));
    job_free(j);
}

/* ---- the configuration ---- */

static struct job *run_with(struct host *h, const char *config, const char *sets, size_t sets_len)
{
    cleanup_strbuf struct strbuf tar = {0};
    struct image_text im = {.config = config};
    struct job *j = job_new(h);

    LAYER(&im, SERVER, {.name = "srv/app", .data = "#!", .mode = 0755}, {.name = "etc/passwd", .data = "root:x:0:0::/:\napp:x:500:501::/:\n"},
          {.name = "etc/group", .data = "root:x:0:\nfew:x:77:app\n"});
    image_oci(&im, &tar);
    memcpy(j->req.sets, sets, sets_len);
    j->req.sets_len = (uint32_t)sets_len;
    job_run(h, j, tar.data, tar.len);
    image_text_done(&im);
    return j;
}

static void test_config(void **state)
{
    static const char *const roots[] = {"0:0", "0:9", "root", "root:root", ""};
    static const char sets[] = "function.port=81\0function.command=/srv/app x\0health.path=/up\0function.user=7";
    struct host *h = host_of(state);
    struct job *j =
        run_with(h,
                 "{\"Entrypoint\":[\"./app\",\"a b\"],\"Cmd\":[\"c\"],\"Env\":[\"PATH=/bin\",\"PORT=99\",\"BAD NAME=1\",\"FND_X=1\"],\"WorkingDir\":\"/srv\","
                 "\"User\":\"app:few\",\"ExposedPorts\":{\"8080/tcp\":{},\"53/udp\":{}},\"StopSignal\":\"SIGQUIT\",\"Volumes\":{\"/data\":{}},"
                 "\"Healthcheck\":{\"Test\":[\"CMD\",\"true\"]}}",
                 "", 0);

    expect_ok(j);
    assert_int_equal(j->spec->argc, 3);
    assert_memory_equal(j->spec->strings, "./app\0a b\0c\0PATH=/bin", 22);
    assert_int_equal(j->spec->envc, 1);
    assert_string_equal(j->spec->cwd, "/srv");
    assert_int_equal(j->spec->uid, 500);
    assert_int_equal(j->spec->gid, 77);
    assert_int_equal(j->spec->port, 8080);
    assert_string_equal(j->spec->health_path, "");
    expect_note(j, "StopSignal SIGQUIT");
    expect_note(j, "Healthcheck");
    expect_note(j, "Volumes (/data)");
    expect_note(j, "2 variables of the image are left out, BAD NAME first");
    job_free(j);
    j = run_with(h, "{\"Cmd\":[\"server\"],\"Env\":[\"PORT=99\"],\"User\":\"0\",\"WorkingDir\":\"/made/here\"}", "", 0);
    expect_ok(j);
    assert_int_equal(j->spec->port, 99);
    assert_int_equal(j->spec->uid, 1000);
    assert_true(is_there(j, "rootfs/made/here"));
    assert_string_equal(j->spec->cwd, "/made/here");
    expect_note(j, "the image runs as root: here as user 1000");
    job_free(j);
    for (size_t i = 0; i < COUNT(roots); i++) {
        char config[100];

        snprintf(config, sizeof(config), "{\"Cmd\":[\"/server\"],\"User\":\"%s\"}", roots[i]);
        j = run_with(h, config, "", 0);
        expect_ok(j);
        assert_int_equal(j->spec->uid, 1000);
        expect_note(j, "the image runs as root");
        job_free(j);
    }
    j = run_with(h, "{\"Cmd\":[\"/server\"],\"ExposedPorts\":{\"80/tcp\":{},\"443\":{}},\"User\":\"nobody\"}", "", 0);
    expect_ok(j);
    assert_int_equal(j->spec->port, 3000);
    expect_note(j, "exposes several ports");
    expect_note(j, "User nobody of the image cannot be had");
    job_free(j);
    j = run_with(h, "{\"Cmd\":[\"/server\"],\"ExposedPorts\":{\"80/tcp\":{}},\"User\":\"app\"}", sets, sizeof(sets));
    expect_ok(j);
    assert_int_equal(j->spec->port, 81);
    assert_int_equal(j->spec->uid, 7);
    assert_int_equal(j->spec->argc, 2);
    assert_string_equal(j->spec->health_path, "/up");
    job_free(j);
    expect_refused(run_with(h, "{}", "", 0), "neither Entrypoint nor Cmd");
    expect_refused(run_with(h, "{\"Cmd\":[\"/nothing\"]}", "", 0), "\"/nothing\", which the image's configuration starts, is not in the image");
    expect_refused(run_with(h, "{\"Cmd\":[\"/etc/passwd\"]}", "", 0), "not an executable file");
    expect_refused(run_with(h, "{\"Cmd\":[\"\"]}", "", 0), "empty word");
    expect_refused(run_with(h, "{\"Cmd\":[\"/server\"],\"WorkingDir\":\"/../..\"}", "", 0), "WorkingDir");
    expect_refused(run_with(h, "{\"Cmd\":[\"/server\"],\"WorkingDir\":\"/server\"}", "", 0), "WorkingDir");
    expect_refused(run_with(h, "{\"Cmd\":\"/server\"}", "", 0), "no list of words");
}

/* An image with a function.ini in its root, and one that was exported. */
static void test_function_ini(void **state)
{
    struct host *h = host_of(state);
    struct image_text im = {.config = "{\"Cmd\":[\"/nothing\"],\"Env\":[\"A=1\",\"B=1\"],\"ExposedPorts\":{\"80/tcp\":{}}}"};
    struct job *j;

    LAYER(&im, SERVER, {.name = "function.ini", .data = "[function]\ncommand = /server x\nport = 3000\n[env]\nA = 2\n"});
    j = image_run(h, &im);
    expect_ok(j);
    assert_int_equal(j->spec->port, 3000);
    assert_int_equal(j->spec->argc, 2);
    assert_memory_equal(j->spec->strings, "/server\0x\0A=2\0B=1", 18);
    assert_true(is_there(j, "function.ini"));
    job_free(j);
    image_text_done(&im);
    im = (struct image_text){0};
    LAYER(&im, SERVER, {.name = "function.ini", .data = "[function]\nruntime = python\nhandler = a.b\n"});
    expect_refused(image_run(h, &im), "[function] runtime = python: an image is a whole root by itself");
    image_text_done(&im);
    im = (struct image_text){
        .config = "{\"Cmd\":[\"/server\",\"y\"],\"Env\":[\"A=3\"],\"User\":\"9:9\",\"ExposedPorts\":{\"81/tcp\":{}},\"Labels\":{\"fnd.function.ini\":"
                  "\"[function]\\ncommand = /gone\\nport = 80\\nuser = 5\\nenv_file = gone\\n[limits]\\nmemory = 77M\\n[network]\\negress = "
                  "lan\\n[secrets]\\nnames = key\\n\"}}"};
    LAYER(&im, SERVER);
    j = image_run(h, &im);
    expect_ok(j);
    assert_int_equal(j->spec->port, 81);
    assert_int_equal(j->spec->uid, 9);
    assert_int_equal(j->spec->memory_bytes, 77 << 20);
    assert_string_equal(j->spec->health_path, "/ping");
    assert_memory_equal(j->spec->strings, "/server\0y\0A=3", 14);
    expect_content(
        j, "function.ini",
        "[function]\ncommand = /gone\nport = 80\nuser = 5\nenv_file = gone\n[limits]\nmemory = 77M\n[network]\negress = lan\n[secrets]\nnames = key\n");
    expect_note(j, "the image's label fnd.function.ini asks for [network] egress = lan");
    expect_note(j, "asks for [secrets] names = key");
    assert_null(strstr(j->notes, "[http] hosts"));
    job_free(j);
    image_text_done(&im);
    im = (struct image_text){.config = "{\"Cmd\":[\"/server\"],\"Labels\":{\"fnd.function.ini\":\"[function]\\nprot = 1\\n\"}}"};
    LAYER(&im, SERVER);
    expect_refused(image_run(h, &im), "label fnd.function.ini: function.ini:2: [function] has no key prot");
    image_text_done(&im);
}

/* ---- which image ---- */

static void test_index(void **state)
{
#define OTHER "\"mediaType\":\"" OCI("manifest.v1+json") "\",\"digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\""
    struct host *h = host_of(state);
    struct image_text im = {0};
    struct job *j;

    LAYER(&im, SERVER);
    j = run_index(h,
                  "{\"manifests\":[{" OTHER
                  ",\"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\"}},{@,\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}},"
                  "{" OTHER ",\"platform\":{\"architecture\":\"unknown\"},\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"}},{@}]}",
                  &im);
    expect_ok(j);
    job_free(j);
    expect_refused(
        run_index(
            h, "{\"manifests\":[{" OTHER ",\"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\"}},{" OTHER ",\"platform\":{\"architecture\":\"s390x\"}}]}",
            &im),
        "the image is for arm64, s390x, this host is x86-64: save the one for linux/amd64 (skopeo copy --override-arch amd64 docker://REF oci-archive:FILE)");
    expect_refused(run_index(h, "{\"manifests\":[{" OTHER ",\"platform\":{\"architecture\":\"amd64\",\"os\":\"windows\"}}]}", &im), "the image is for windows");
    expect_refused(run_index(h,
                             "{\"manifests\":[{@,\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"}},{" OTHER
                             ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"b\"}}]}",
                             &im),
                   "several images: a, b");
    expect_refused(run_index(h, "{\"manifests\":[]}", &im), "names no image");
    expect_refused(run_index(h, "{\"manifests\":{}}", &im), "no list of manifests");
    expect_refused(run_index(h, "{}", &im), "no list of manifests");
    expect_refused(run_index(h, "[]", &im), "no list of manifests");
    expect_refused(run_index(h, "{\"manifests\":[1]}", &im), "without a digest");
    expect_refused(run_index(h, "{\"manifests\":[{" OTHER "}]}", &im), "the image's archive has no blobs/sha256/0000");
    expect_refused(run_index(h, "{\"manifests\":[{\"digest\":\"sha256:../../../etc/passwd\"}]}", &im), "64 hexadecimal digits");
    expect_refused(run_index(h, "{\"manifests\":[{\"digest\":\"sha512:00\"}]}", &im), "64 hexadecimal digits");
    expect_refused(
        run_index(h, "{\"manifests\":[{\"mediaType\":\"text/plain\",\"digest\":\"sha256:0000000000000000000000000000000000000000000000000000000000000000\"}]}",
                  &im),
        "\"text/plain\", which is neither");
    expect_refused(run_index(h, "{\"manifests\":[", &im), "index.json is not JSON: line 1");
    expect_refused(run_index(h, "{\"manifests\":[],\"manifests\":[]}", &im), "is not JSON");
    image_text_done(&im);
    im = (struct image_text){.architecture = "arm64"};
    LAYER(&im, SERVER);
    expect_refused(run_index(h, "{\"manifests\":[{@}]}", &im), "the image is for arm64, this host is x86-64");
    image_text_done(&im);
    im = (struct image_text){.config_media = "application/vnd.cncf.helm.config.v1+json"};
    LAYER(&im, SERVER);
    expect_refused(run_index(h, "{\"manifests\":[{@}]}", &im), "this is no image of programs");
    image_text_done(&im);
}

/* An index in an index, to the depth that is taken, and one deeper; and one that names the same a thousand times. */
static void test_nested_index(void **state)
{
    struct image_text im = {0};

    LAYER(&im, SERVER);
    for (unsigned depth = 1; depth <= 5; depth++) {
        cleanup_strbuf struct strbuf tar = {0}, text = {0};
        struct blob b = image_blobs(&im, &tar);
        struct job *j = job_new(host_of(state));

        strbuf_puts(&text, "{\"manifests\":[");
        index_text(&text, &b, NULL);
        for (unsigned i = 0; i < depth; i++) {
            strbuf_puts(&text, "]}");
            b = add_blob(&tar, text.data, text.len);
            text.len = 0;
            strbuf_printf(&text, "{\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\"}", OCI("index.v1+json"), b.digest);
        }
        strbuf_puts(&text, "]}");
        add_text(&tar, "index.json", text.data);
        add_text(&tar, "oci-layout", "{}");
        tar_end(&tar);
        job_run(host_of(state), j, tar.data, tar.len);
        if (depth <= 4) {
            expect_ok(j);
            job_free(j);
        } else {
            expect_refused(j, "nested more than 4 deep");
        }
    }
    {
        cleanup_strbuf struct strbuf tar = {0}, text = {0};
        struct blob b = image_blobs(&im, &tar);
        struct job *j = job_new(host_of(state));

        for (unsigned level = 0; level < 3; level++) {
            text.len = 0;
            strbuf_puts(&text, "{\"manifests\":[");
            for (unsigned i = 0; i < 200; i++)
                strbuf_printf(&text, "%s{\"mediaType\":\"%s\",\"digest\":\"%s\"}", i ? "," : "", level ? OCI("index.v1+json") : OCI("manifest.v1+json"),
                              b.digest);
            strbuf_puts(&text, "]}");
            b = add_blob(&tar, text.data, text.len);
        }
        add_text(&tar, "index.json", text.data);
        add_text(&tar, "oci-layout", "{}");
        tar_end(&tar);
        job_run(host_of(state), j, tar.data, tar.len);
        expect_refused(j, "more than 1000 manifests");
    }
    image_text_done(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers), cmocka_unit_test(test_whiteout_order), cmocka_unit_test(test_docker), cmocka_unit_test(test_packages_that_look_alike),
        cmocka_unit_test(test_config), cmocka_unit_test(test_function_ini),   cmocka_unit_test(test_index),  cmocka_unit_test(test_nested_index),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
