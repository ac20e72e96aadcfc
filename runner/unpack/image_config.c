/* image_config.c: an image's configuration (OCI config.md) as plain data. Nothing is decided here about what becomes of it. */
#include "image.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void image_config_done(struct image_config *c)
{
    strbuf_done(&c->words);
    env_set_done(&c->env);
    free(c->ini);
    free(c->sets);
    free(c->diff_ids);
    *c = (struct image_config){0};
}

static int take_text(const json_t *o, const char *key, char *buf, size_t size, struct diag *d)
{
    const json_t *v = json_object_get(o, key);

    if (!v || json_is_null(v))
        return 0;
    if (!json_is_string(v))
        return diag_set(d, EINVAL, "%s of the image's configuration is no text", key);
    if (str_copy(buf, size, json_string_value(v)) < 0)
        return diag_set(d, EINVAL, "%s of the image's configuration is longer than %zu bytes", key, size - 1);
    return 0;
}

static int take_words(const json_t *o, const char *key, struct image_config *c, struct diag *d)
{
    const json_t *list = json_object_get(o, key), *word;
    size_t i;

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return diag_set(d, EINVAL, "%s of the image's configuration is no list of words", key);
    json_array_foreach(list, i, word)
    {
        if (!json_is_string(word))
            return diag_set(d, EINVAL, "%s of the image's configuration holds what is no text", key);
        if (++c->argc > SPEC_ARGS_MAX)
            return diag_set(d, E2BIG, "Entrypoint and Cmd of the image have more than %d words", SPEC_ARGS_MAX);
        strbuf_add(&c->words, json_string_value(word), json_string_length(word) + 1);
        if (c->words.len > SPEC_STRINGS_MAX)
            return diag_set(d, E2BIG, "Entrypoint and Cmd of the image have more than %u bytes", SPEC_STRINGS_MAX);
    }
    return 0;
}

static void drop_variable(struct image_config *c, const char *item, size_t key_len)
{
    if (c->env_dropped++ > 0)
        return;
    if (key_len >= sizeof(c->env_dropped_name))
        key_len = sizeof(c->env_dropped_name) - 1;
    memcpy(c->env_dropped_name, item, key_len);
    c->env_dropped_name[key_len] = '\0';
}

static int take_variable(struct image_config *c, const char *item, struct diag *d)
{
    const char *equals = strchr(item, '=');
    size_t len = equals ? (size_t)(equals - item) : strlen(item);
    cleanup_free char *key = strndup(item, len);
    struct diag why = {0};
    uint64_t port;
    int r;

    if (!key)
        return diag_set(d, ENOMEM, "out of memory");
    if (strcmp(key, "PORT") == 0) {
        if (equals && str_parse_uint(equals + 1, 65535, &port) == 0)
            c->env_port = (uint32_t)port;
        return 0;
    }
    if (c->ini && (strncmp(key, "FND_", 4) == 0 || strcmp(item, "HOME=" IMAGE_HOME) == 0 || strcmp(item, "PATH=" IMAGE_PATH) == 0))
        return 0; /* they are what an export says beside the function's own */
    r = env_set_put(&c->env, key, equals ? equals + 1 : "", &why);
    if (r == -EINVAL) {
        drop_variable(c, item, len);
        return 0;
    }
    if (r < 0 && d)
        *d = why;
    return r;
}

static int take_env(const json_t *o, struct image_config *c, struct diag *d)
{
    const json_t *list = json_object_get(o, "Env"), *item;
    size_t i;

    if (!list || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return diag_set(d, EINVAL, "Env of the image's configuration is no list");
    json_array_foreach(list, i, item)
    {
        int r;

        if (!json_is_string(item))
            return diag_set(d, EINVAL, "Env of the image's configuration holds what is no text");
        r = take_variable(c, json_string_value(item), d);
        if (r < 0)
            return diag_prefix(d, "Env of the image's configuration");
    }
    return 0;
}

/* "80", "80/tcp", "53/udp". */
static void take_ports(json_t *o, struct image_config *c)
{
    json_t *value;
    const char *key;

    json_object_foreach(json_object_get(o, "ExposedPorts"), key, value)
    {
        size_t len = strcspn(key, "/");
        char digits[8] = "";
        uint64_t port;

        if (key[len] && strcmp(key + len, "/tcp") != 0)
            continue;
        if (len < sizeof(digits)) {
            memcpy(digits, key, len);
            digits[len] = '\0';
        }
        if (str_parse_uint(digits, 65535, &port) < 0 || port == 0)
            port = 0; /* a range: not the one port */
        if (c->ports++ == 0)
            c->port = (uint32_t)port;
        if (port == 0)
            c->ports++;
    }
}

static void take_volumes(json_t *o, struct image_config *c)
{
    json_t *value;
    const char *key;

    json_object_foreach(json_object_get(o, "Volumes"), key, value)
    {
        size_t len = strlen(c->volumes);

        c->nvolumes++;
        if (len + strlen(key) + 2 < sizeof(c->volumes))
            snprintf(c->volumes + len, sizeof(c->volumes) - len, "%s%s", len ? " " : "", key);
    }
}

static bool health_is_given(const json_t *o)
{
    const char *first = json_string_value(json_array_get(json_object_get(json_object_get(o, "Healthcheck"), "Test"), 0));

    return first && strcmp(first, "NONE") != 0;
}

static int take_label(const json_t *o, const char *label, char **ret, struct diag *d)
{
    const char *text = image_json_text(json_object_get(o, "Labels"), label);

    if (!text)
        return 0;
    *ret = strdup(text);
    return *ret ? 0 : diag_set(d, ENOMEM, "out of memory");
}

static int take_diff_ids(const json_t *root, struct image_config *c, struct diag *d)
{
    const json_t *list = json_object_get(json_object_get(root, "rootfs"), "diff_ids"), *id;
    struct image_blob b;
    size_t i, count = json_array_size(list);

    if (count == 0)
        return 0;
    if (count > IMAGE_LAYERS_MAX)
        return diag_set(d, E2BIG, "the image's configuration has %zu layers, at most %u are taken", count, IMAGE_LAYERS_MAX);
    c->diff_ids = calloc(count, sizeof(*c->diff_ids));
    if (!c->diff_ids)
        return diag_set(d, ENOMEM, "out of memory");
    json_array_foreach(list, i, id)
    {
        int r = image_blob_of_digest(json_string_value(id), &b, d);

        if (r < 0)
            return diag_prefix(d, "diff_ids of the image's configuration");
        memcpy(c->diff_ids[c->ndiff_ids++], b.sha256, 65);
    }
    return 0;
}

static int take_config(json_t *root, struct image_config *c, struct diag *d)
{
    json_t *o = json_object_get(root, "config");
    int r = take_text(root, "architecture", c->architecture, sizeof(c->architecture), d);

    if (r == 0)
        r = take_text(root, "os", c->os, sizeof(c->os), d);
    if (r == 0)
        r = take_diff_ids(root, c, d);
    if (r == 0)
        r = take_label(o, IMAGE_INI_LABEL, &c->ini, d);
    if (r == 0 && c->ini)
        r = take_label(o, IMAGE_SETS_LABEL, &c->sets, d);
    if (r == 0)
        r = take_words(o, "Entrypoint", c, d);
    if (r == 0)
        r = take_words(o, "Cmd", c, d);
    if (r == 0)
        r = take_env(o, c, d);
    if (r == 0)
        r = take_text(o, "WorkingDir", c->cwd, sizeof(c->cwd), d);
    if (r == 0)
        r = take_text(o, "User", c->user, sizeof(c->user), d);
    if (r == 0)
        r = take_text(o, "StopSignal", c->stop_signal, sizeof(c->stop_signal), d);
    take_ports(o, c);
    take_volumes(o, c);
    c->has_health = health_is_given(o);
    if (r == 0 && c->words.failed)
        r = diag_set(d, ENOMEM, "out of memory");
    return r;
}

int image_config_parse(const char *text, size_t len, struct image_config *ret, struct diag *d)
{
    json_t *root = image_json_parse("configuration", text, len, d);
    struct image_config c = {0};
    int r;

    if (!root)
        return -EINVAL;
    r = json_is_object(root) ? take_config(root, &c, d) : diag_set(d, EINVAL, "the image's configuration is no object");
    json_decref(root);
    if (r < 0)
        image_config_done(&c);
    else
        *ret = c;
    return r;
}
