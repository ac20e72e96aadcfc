/*
 * image_describe.c: what is said of an exported function's layers: the image's configuration, manifest and index (OCI image-spec 1.1), and docker save's manifest.json.
 *
 * The configuration says what the function's sandbox gave it, as far as another system can: command, variables, directory, user, port, volumes. All else of it is in labels, as function.ini would say it, for who imports
 * it again (image_function.c). Secrets are never there: only their names.
 */
#include "image_export.h"

#include "diag.h"
#include "fd.h"
#include "function_format.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OCI(kind)     "application/vnd.oci.image." kind
#define CREATED_BYTES 32

/* JSON is UTF-8, and its texts have no NUL. Takes what is put into o for its own, whether there was memory for it is seen when it is written. */
static int put_text(json_t *array, const char *text, const char *what, struct diag *d)
{
    json_t *j = json_string(text);

    if (!j)
        return diag_set(d, EINVAL, "%s \"%.60s\" is no UTF-8 text, and an image's configuration can hold no other", what, text);
    return json_array_append_new(array, j) < 0 ? diag_set(d, ENOMEM, "out of memory") : 0;
}

static bool is_said(const char *const *envp, const char *name)
{
    size_t len = strlen(name);

    for (; *envp; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return true;
    return false;
}

static int put_variable(json_t *env, const char *name, const char *value, struct diag *d)
{
    char item[SPEC_PATH_MAX + 32];

    snprintf(item, sizeof(item), "%s=%s", name, value);
    return put_text(env, item, "variable", d);
}

/* The function's, and what the sandbox sets besides (plan.c) where it means something elsewhere. */
static int put_env(json_t *env, const struct spec *s, const struct unpack_request *req, struct diag *d)
{
    char port[12], version[12], timeout[24], memory[24];
    const bool stdio = s->mode == SPEC_MODE_STDIO;
    const struct {
        const char *name, *value;
    } own[] = {
        {"PORT", port},
        {"FND_FUNCTION", req->id.name},
        {"FND_ENVIRONMENT", req->id.env},
        {"FND_VERSION", version},
        {"FND_MEMORY", memory},
        {"FND_RUNTIME", *s->runtime ? s->runtime : NULL},
        {"FND_HANDLER", *s->handler ? s->handler : NULL},
        {"FND_HEALTH_PATH", *s->health_path && (*s->runtime || stdio) ? s->health_path : NULL},
        {"FND_TIMEOUT_MS", stdio ? timeout : NULL},
        {"HOME", IMAGE_HOME},
        {"PATH", IMAGE_PATH},
    };
    const char **envp = calloc(SPEC_ENV_MAX + 1, sizeof(*envp));
    int r = 0;

    if (!envp)
        return diag_set(d, ENOMEM, "out of memory");
    snprintf(port, sizeof(port), "%u", s->port);
    snprintf(version, sizeof(version), "%u", req->exported.version);
    snprintf(timeout, sizeof(timeout), "%llu", (unsigned long long)(s->timeout_ns / 1000000));
    snprintf(memory, sizeof(memory), "%llu", (unsigned long long)s->memory_bytes);
    spec_envp(s, envp);
    for (const char *const *e = envp; r == 0 && *e; e++)
        if (strncmp(*e, "PORT=", 5) != 0 && strncmp(*e, "FND_", 4) != 0)
            r = put_text(env, *e, "variable", d);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && r == 0; i++)
        if (own[i].value && (i + 2 < sizeof(own) / sizeof(own[0]) || !is_said(envp, own[i].name)))
            r = put_variable(env, own[i].name, own[i].value, d);
    free(envp);
    return r;
}

/* A program that serves stdio stands before the command, which can be said otherwise where it runs. */
static int put_command(json_t *config, const struct spec *s, struct diag *d)
{
    const char **argv = calloc(SPEC_ARGS_MAX + 1, sizeof(*argv));
    json_t *words = argv ? json_array() : NULL;
    int r = words ? 0 : diag_set(d, ENOMEM, "out of memory");

    if (!argv)
        return r;
    spec_argv(s, argv);
    for (const char *const *a = argv; r == 0 && *a; a++)
        r = put_text(words, *a, "the command's word", d);
    free(argv);
    if (r < 0) {
        json_decref(words);
        return r;
    }
    json_object_set_new(config, s->mode == SPEC_MODE_STDIO ? "Cmd" : "Entrypoint", words);
    if (s->mode == SPEC_MODE_STDIO)
        json_object_set_new(config, "Entrypoint", json_pack("[s]", SPEC_WATCHDOG));
    return 0;
}

static int put_labels(json_t *config, const struct spec *s, const struct unpack_request *req, struct diag *d)
{
    cleanup_strbuf struct strbuf ini = {0}, sets = {0};
    json_t *labels =
        json_pack("{s:s, s:o}", "org.opencontainers.image.title", req->id.name, "org.opencontainers.image.version", json_sprintf("%u", req->exported.version));
    int r = function_ini_format(s, &ini, &sets, d);

    if (r == 0) {
        json_object_set_new(labels, IMAGE_INI_LABEL, json_string(ini.data ? ini.data : ""));
        if (sets.len > 0)
            json_object_set_new(labels, IMAGE_SETS_LABEL, json_string(sets.data));
        if (json_object_size(labels) < (sets.len > 0 ? 4U : 3U))
            r = diag_set(d, EINVAL, "function.ini has a value that is no UTF-8 text, and an image's label can hold no other");
    }
    json_object_set_new(config, "Labels", labels);
    return r;
}

static void put_volumes(json_t *config, const struct spec *s)
{
    json_t *volumes = json_object();

    for (uint32_t i = 0; i < s->nvolumes; i++)
        json_object_set_new(volumes, s->volumes[i].path, json_object());
    if (s->nvolumes > 0)
        json_object_set_new(config, "Volumes", volumes);
    else
        json_decref(volumes);
}

/* When the version was deployed: the same each time. */
static void created(const struct unpack_request *req, char buf[CREATED_BYTES])
{
    const time_t at = (time_t)(req->exported.deployed_real_ns / 1000000000U);
    struct tm tm = {0};

    gmtime_r(&at, &tm);
    strftime(buf, CREATED_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int describe_config(const struct spec *s, const struct unpack_request *req, const struct image_tree *trees, unsigned ntrees, json_t **ret, struct diag *d)
{
    json_t *config = json_object(), *env = json_array(), *ids = json_array(), *history = json_array();
    char user[32], tcp[24], at[CREATED_BYTES] = "";
    int r;

    created(req, at);
    snprintf(user, sizeof(user), "%u:%u", s->uid, s->gid);
    snprintf(tcp, sizeof(tcp), "%u/tcp", s->port);
    r = put_env(env, s, req, d);
    json_object_set_new(config, "Env", env);
    if (r == 0)
        r = put_command(config, s, d);
    if (r == 0)
        r = put_labels(config, s, req, d);
    put_volumes(config, s);
    json_object_set_new(config, "WorkingDir", json_string(s->cwd));
    json_object_set_new(config, "User", json_string(user));
    json_object_set_new(config, "ExposedPorts", json_pack("{s:{}}", tcp));
    for (unsigned i = 0; i < ntrees; i++) {
        json_array_append_new(ids, json_sprintf("sha256:%s", trees[i].sha256));
        json_array_append_new(history, json_pack("{s:s, s:s}", "created", at, "created_by", trees[i].what));
    }
    *ret = json_pack("{s:s, s:s, s:s, s:o, s:{s:s, s:o}, s:o}", "created", at, "architecture", IMAGE_ARCH, "os", "linux", "config", config, "rootfs", "type",
                     "layers", "diff_ids", ids, "history", history);
    return r;
}

/* ---- what refers to others by their digests ---- */

/* Takes j. */
static int document_make(json_t *j, struct image_document *ret, struct diag *d)
{
    struct digest *g = NULL;
    int r = digest_new(&g, d);

    ret->data = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    if (r == 0 && !ret->data)
        r = diag_set(d, ENOMEM, "out of memory");
    if (r == 0) {
        ret->len = strlen(ret->data);
        digest_data(g, ret->data, ret->len);
        r = digest_finish(g, ret->sha256, d);
    }
    digest_free(g);
    return r;
}

static json_t *descriptor(const char *type, const char *sha256, uint64_t size)
{
    return json_pack("{s:s, s:o, s:I}", "mediaType", type, "digest", json_sprintf("sha256:%s", sha256), "size", (json_int_t)size);
}

/* A repository's name: lower case, single separators between letters and digits (the distribution specification's <name>). */
static void repository(const struct fn_id *id, char *ret, size_t size)
{
    char all[NAME_FUNCTION_MAX + 1];
    size_t n = 0;

    for (const char *p = name_format(id, all); *p && n + 1 < size; p++)
        if (isalnum((unsigned char)*p) || (n > 0 && isalnum((unsigned char)ret[n - 1])))
            ret[n++] = (char)tolower((unsigned char)*p);
    ret[n] = '\0';
}

static json_t *describe_index(const struct image_document *manifest, const char *reference, const char *tag)
{
    json_t *entry = descriptor(OCI("manifest.v1+json"), manifest->sha256, manifest->len);

    json_object_set_new(entry, "annotations", json_pack("{s:s, s:s}", "org.opencontainers.image.ref.name", tag, "io.containerd.image.name", reference));
    json_object_set_new(entry, "platform", json_pack("{s:s, s:s}", "architecture", IMAGE_ARCH, "os", "linux"));
    return json_pack("{s:i, s:s, s:[o]}", "schemaVersion", 2, "mediaType", OCI("index.v1+json"), "manifests", entry);
}

int image_describe(const struct spec *s, const struct unpack_request *req, const struct image_tree *trees, unsigned ntrees,
                   struct image_document ret[IMAGE_DOC_COUNT], struct diag *d)
{
    char name[NAME_FUNCTION_MAX + 1], reference[NAME_FUNCTION_MAX + 40], tag[12];
    json_t *config = NULL, *layers = json_array(), *paths = json_array();
    int r = describe_config(s, req, trees, ntrees, &config, d);

    if (r == 0)
        r = document_make(json_incref(config), &ret[IMAGE_DOC_CONFIG], d);
    json_decref(config);
    for (unsigned i = 0; i < ntrees; i++) {
        json_array_append_new(layers, descriptor(OCI("layer.v1.tar"), trees[i].sha256, trees[i].size));
        json_array_append_new(paths, json_sprintf("blobs/sha256/%s", trees[i].sha256));
    }
    repository(&req->id, name, sizeof(name));
    snprintf(tag, sizeof(tag), "%u", req->exported.version);
    snprintf(reference, sizeof(reference), "%s:%s", name, tag);
    if (r == 0)
        r = document_make(json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType", OCI("manifest.v1+json"), "config",
                                    descriptor(OCI("config.v1+json"), ret[IMAGE_DOC_CONFIG].sha256, ret[IMAGE_DOC_CONFIG].len), "layers", layers),
                          &ret[IMAGE_DOC_MANIFEST], d);
    if (r == 0)
        r = document_make(describe_index(&ret[IMAGE_DOC_MANIFEST], reference, tag), &ret[IMAGE_DOC_INDEX], d);
    if (r == 0)
        r = document_make(
            json_pack("[{s:o, s:[s], s:O}]", "Config", json_sprintf("blobs/sha256/%s", ret[IMAGE_DOC_CONFIG].sha256), "RepoTags", reference, "Layers", paths),
            &ret[IMAGE_DOC_DOCKER], d);
    json_decref(layers);
    json_decref(paths);
    return r;
}

void image_describe_done(struct image_document docs[IMAGE_DOC_COUNT])
{
    for (unsigned i = 0; i < IMAGE_DOC_COUNT; i++)
        free(docs[i].data);
}
