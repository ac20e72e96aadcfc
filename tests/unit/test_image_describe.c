/* What an exported function's image says of itself: configuration, manifest and indexes as data, word for word, and what no such text can hold. */
#include "unit/check.h"

#include "../../runner/unpack/image_export.h"
#include "diag.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOWER "1111111111111111111111111111111111111111111111111111111111111111"
#define UPPER "2222222222222222222222222222222222222222222222222222222222222222"

static const struct image_tree trees[] = {{.what = "the runtime", .sha256 = LOWER, .size = 4096}, {.what = "the function", .sha256 = UPPER, .size = 5000000000}};

/* The words of a command, then the variables, each list with a NULL at its end. */
static struct spec *make(const char *const *argv, const char *const *envp)
{
    struct spec *s = calloc(1, sizeof(*s) + 4096);

    assert_non_null(s);
    spec_init(s);
    for (; *argv; argv++, s->argc++)
        s->strings_len += (uint32_t)snprintf(s->strings + s->strings_len, 4096 - s->strings_len, "%s", *argv) + 1;
    for (; *envp; envp++, s->envc++)
        s->strings_len += (uint32_t)snprintf(s->strings + s->strings_len, 4096 - s->strings_len, "%s", *envp) + 1;
    s->memory_bytes = 64 << 20;
    return s;
}
#define WORDS(...)                                                                                                                                             \
    (const char *const[])                                                                                                                                      \
    {                                                                                                                                                          \
        __VA_ARGS__, NULL                                                                                                                                      \
    }
#define NOTHING                                                                                                                                                \
    (const char *const[])                                                                                                                                      \
    {                                                                                                                                                          \
        NULL                                                                                                                                                   \
    }

static struct unpack_request *request(const char *name, const char *env)
{
    struct unpack_request *req = calloc(1, sizeof(*req));

    assert_non_null(req);
    snprintf(req->id.name, sizeof(req->id.name), "%s", name);
    snprintf(req->id.env, sizeof(req->id.env), "%s", env);
    req->exported = (struct unpack_export){.version = 3, .deployed_real_ns = UINT64_C(1600000000999999999)};
    return req;
}

struct described {
    json_t *of[IMAGE_DOC_COUNT];
    struct image_document docs[IMAGE_DOC_COUNT];
};

static struct described describe(const struct spec *s, const struct unpack_request *req, unsigned ntrees)
{
    struct described r = {0};
    struct diag d = {0};

    if (image_describe(s, req, trees, ntrees, r.docs, &d) < 0)
        fail_msg("%s", d.text);
    for (unsigned i = 0; i < IMAGE_DOC_COUNT; i++) {
        r.of[i] = json_loads(r.docs[i].data, 0, NULL);
        assert_non_null(r.of[i]);
    }
    return r;
}

static void described_done(struct described *r)
{
    for (unsigned i = 0; i < IMAGE_DOC_COUNT; i++)
        json_decref(r->of[i]);
    image_describe_done(r->docs);
}

static void expect(const json_t *o, const char *path, const char *text)
{
    char key[100], *found;
    json_t *want = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(want);
    while (*path) {
        size_t n = strcspn(path, "|");

        snprintf(key, sizeof(key), "%.*s", (int)n, path);
        o = json_is_array(o) ? json_array_get(o, strtoul(key, NULL, 10)) : json_object_get(o, key);
        path += n + (path[n] == '|');
    }
    found = o ? json_dumps(o, JSON_ENCODE_ANY) : strdup("nothing");
    if (!json_equal(o, want))
        fail_msg("%s, not %s", found, text);
    free(found);
    json_decref(want);
}

static void expect_none(const json_t *o, const char *key)
{
    if (json_object_get(o, key))
        fail_msg("%s is there", key);
}

static void test_over_a_runtime(void **state)
{
    struct spec *s = make(NOTHING, WORDS("A=1", "PORT=9", "PORTS=10", "FND_FUNCTION=x", "HOME=/here"));
    struct unpack_request *req = request("Shop-_x", "staging");
    struct described r;
    json_t *config;
    char text[400];

    s->uid = 7;
    s->gid = 9;
    s->port = 8080;
    s->nvolumes = 1;
    snprintf(s->volumes[0].name, sizeof(s->volumes[0].name), "data");
    snprintf(s->volumes[0].path, sizeof(s->volumes[0].path), "/data");
    snprintf(s->cwd, sizeof(s->cwd), "/srv");
    snprintf(s->runtime, sizeof(s->runtime), "box");
    snprintf(s->handler, sizeof(s->handler), "h.main");
    snprintf(s->health_path, sizeof(s->health_path), "/alive");
    r = describe(s, req, 2);

    config = json_object_get(r.of[IMAGE_DOC_CONFIG], "config");
    expect(config, "Env",
           "[\"A=1\",\"PORTS=10\",\"HOME=/"
           "here\",\"PORT=8080\",\"FND_FUNCTION=Shop-_x\",\"FND_ENVIRONMENT=staging\",\"FND_VERSION=3\",\"FND_MEMORY=67108864\",\"FND_RUNTIME=box\","
           "\"FND_HANDLER=h.main\",\"FND_HEALTH_PATH=/alive\",\"PATH=" IMAGE_PATH "\"]");
    expect(config, "WorkingDir", "\"/srv\"");
    expect(config, "User", "\"7:9\"");
    expect(config, "ExposedPorts", "{\"8080/tcp\":{}}");
    expect(config, "Volumes", "{\"/data\":{}}");
    expect(config, "Entrypoint", "[]");
    expect_none(config, "Cmd");
    expect(config, "Labels|org.opencontainers.image.title", "\"Shop-_x\"");
    expect(config, "Labels|org.opencontainers.image.version", "\"3\"");
    expect_none(json_object_get(config, "Labels"), IMAGE_SETS_LABEL);
    expect(r.of[IMAGE_DOC_CONFIG], "created", "\"2020-09-13T12:26:40Z\"");
    expect(r.of[IMAGE_DOC_CONFIG], "architecture", "\"" IMAGE_ARCH "\"");
    expect(r.of[IMAGE_DOC_CONFIG], "os", "\"linux\"");
    expect(r.of[IMAGE_DOC_CONFIG], "rootfs", "{\"type\":\"layers\",\"diff_ids\":[\"sha256:" LOWER "\",\"sha256:" UPPER "\"]}");
    expect(r.of[IMAGE_DOC_CONFIG], "history",
           "[{\"created\":\"2020-09-13T12:26:40Z\",\"created_by\":\"the runtime\"},{\"created\":\"2020-09-13T12:26:40Z\",\"created_by\":\"the function\"}]");

    expect(r.of[IMAGE_DOC_MANIFEST], "layers",
           "[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:" LOWER
           "\",\"size\":4096},{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:" UPPER "\",\"size\":5000000000}]");
    snprintf(text, sizeof(text), "{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:%s\",\"size\":%zu}",
             r.docs[IMAGE_DOC_CONFIG].sha256, strlen(r.docs[IMAGE_DOC_CONFIG].data));
    expect(r.of[IMAGE_DOC_MANIFEST], "config", text);
    snprintf(text, sizeof(text),
             "[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:%s\",\"size\":%zu,\"platform\":{\"architecture\":\"" IMAGE_ARCH
             "\",\"os\":\"linux\"},\"annotations\":{\"org.opencontainers.image.ref.name\":\"3\",\"io.containerd.image.name\":\"shop-x.staging:3\"}}]",
             r.docs[IMAGE_DOC_MANIFEST].sha256, strlen(r.docs[IMAGE_DOC_MANIFEST].data));
    expect(r.of[IMAGE_DOC_INDEX], "manifests", text);
    snprintf(text, sizeof(text),
             "[{\"Config\":\"blobs/sha256/%s\",\"RepoTags\":[\"shop-x.staging:3\"],\"Layers\":[\"blobs/sha256/" LOWER "\",\"blobs/sha256/" UPPER "\"]}]",
             r.docs[IMAGE_DOC_CONFIG].sha256);
    expect(r.of[IMAGE_DOC_DOCKER], "", text);
    described_done(&r);
    free(req);
    free(s);
}

static void test_stdio(void **state)
{
    struct spec *s = make(WORDS("/bin/a", "b c", ""), WORDS("PATH=/bin"));
    struct unpack_request *req = request("words", "default");
    struct described r;
    json_t *config;

    s->mode = SPEC_MODE_STDIO;
    s->timeout_ns = 1500 * UINT64_C(1000000);
    snprintf(s->health_path, sizeof(s->health_path), "/well");
    snprintf(s->application, sizeof(s->application), "a ; b"); /* which no line of a function.ini can hold */
    r = describe(s, req, 1);
    config = json_object_get(r.of[IMAGE_DOC_CONFIG], "config");
    expect(config, "Entrypoint", "[\"" SPEC_WATCHDOG "\"]");
    expect(config, "Cmd", "[\"/bin/a\",\"b c\",\"\"]");
    expect(config, "Env",
           "[\"PATH=/bin\",\"PORT=3000\",\"FND_FUNCTION=words\",\"FND_ENVIRONMENT=default\",\"FND_VERSION=3\",\"FND_MEMORY=67108864\",\"FND_HEALTH_PATH=/"
           "well\",\"FND_TIMEOUT_MS=1500\",\"HOME=" IMAGE_HOME "\"]");
    assert_non_null(json_object_get(json_object_get(config, "Labels"), IMAGE_SETS_LABEL));
    expect_none(config, "Volumes");
    expect(r.of[IMAGE_DOC_DOCKER], "0|RepoTags", "[\"words:3\"]");
    described_done(&r);
    free(req);
    free(s);
}

/* A server that has its whole root knows of no health path, and of no time limit. */
static void test_http(void **state)
{
    struct spec *s = make(WORDS("/server"), NOTHING);
    struct unpack_request *req = request("a", "default");
    struct described r, again;

    s->timeout_ns = 1500 * UINT64_C(1000000);
    snprintf(s->health_path, sizeof(s->health_path), "/well");
    r = describe(s, req, 1);
    expect(r.of[IMAGE_DOC_CONFIG], "config|Env",
           "[\"PORT=3000\",\"FND_FUNCTION=a\",\"FND_ENVIRONMENT=default\",\"FND_VERSION=3\",\"FND_MEMORY=67108864\",\"HOME=" IMAGE_HOME "\",\"PATH=" IMAGE_PATH
           "\"]");
    expect(r.of[IMAGE_DOC_CONFIG], "config|Entrypoint", "[\"/server\"]");
    expect_none(json_object_get(r.of[IMAGE_DOC_CONFIG], "config"), "Cmd");
    again = describe(s, req, 1);
    for (unsigned i = 0; i < IMAGE_DOC_COUNT; i++)
        assert_string_equal(r.docs[i].data, again.docs[i].data);
    described_done(&r);
    described_done(&again);
    free(req);
    free(s);
}

static void expect_refused(struct spec *s, const char *part)
{
    struct image_document docs[IMAGE_DOC_COUNT] = {0};
    struct unpack_request *req = request("a", "default");
    struct diag d = {0};

    assert_int_equal(image_describe(s, req, trees, 1, docs, &d), -EINVAL);
    if (!strstr(d.text, part))
        fail_msg("\"%s\" has no \"%s\"", d.text, part);
    image_describe_done(docs);
    free(req);
    free(s);
}

static void test_no_text(void **state)
{
    struct spec *s = make(WORDS("/server"), NOTHING);

    snprintf(s->application, sizeof(s->application), "\xff");
    expect_refused(s, "function.ini has a value that is no UTF-8 text");
    expect_refused(make(WORDS("/server"), WORDS("A=\xff")), "variable \"A=");
    expect_refused(make(WORDS("/server", "\xc3"), NOTHING), "the command's word");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_over_a_runtime), cmocka_unit_test(test_stdio), cmocka_unit_test(test_http),
                                       cmocka_unit_test(test_no_text)};

    return cmocka_run_group_tests_name("image_describe", tests, NULL, NULL);
}
