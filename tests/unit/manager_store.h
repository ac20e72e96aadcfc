/* manager_store.h: the store and the jail in the world of manager_world.h, which includes it. */
#pragma once

/* ---- the store ---- */

static int open_dir(void)
{
    return open(w.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int store_each(struct store *s, store_fn *fn, void *arg, struct diag *d)
{
    const struct store_function f = {.id = {.env = "default", .name = "hello"}, .current = 1, .scale = w.scale};

    return fn(arg, &f);
}

static struct spec *new_spec(void)
{
    static const char program[] = "/server";
    struct spec *spec = calloc(1, sizeof(*spec) + sizeof(program));

    assert_non_null(spec);
    spec_init(spec);
    memcpy(spec->strings, program, sizeof(program));
    spec->strings_len = sizeof(program);
    spec->argc = 1;
    return spec;
}

int store_version_open(struct store *s, const struct fn_id *id, uint32_t number, struct store_version *ret, struct diag *d)
{
    void (*shape)(struct spec *) = strcmp(id->name, "hello") == 0 ? w.shape_hello : w.shape_other;

    *ret = (struct store_version){.number = number, .spec = new_spec(), .image_fd = -1, .runtime_fd = -1};
    if (shape)
        shape(ret->spec);
    return 0;
}

void store_version_done(struct store_version *v)
{
    free(v->spec);
}

int store_staging_new(struct store *s, struct store_staging *ret, struct diag *d)
{
    *ret = (struct store_staging){.dir_fd = -1};
    return w.staging_err ? diag_errno(d, w.staging_err, "staging") : 0;
}

void store_staging_drop(struct store *s, struct store_staging *st)
{
}

int store_publish(struct store *s, const struct fn_id *id, struct store_staging *st, const struct unpack_result *u, const struct spec *spec,
                  uint32_t *ret_number, struct diag *d)
{
    *ret_number = 2;
    return w.publish_err ? diag_errno(d, w.publish_err, "publishing") : 0;
}

int store_runtime_find(struct store *s, const char *name, char ret_digest[65], struct diag *d)
{
    return diag_set(d, ENOENT, "runtime %s is not here", name);
}

int store_runtime_put(struct store *s, const char *name, struct store_staging *st, const struct unpack_result *u, struct diag *d)
{
    w.runtimes++;
    return w.publish_err ? diag_errno(d, w.publish_err, "publishing") : 0;
}

int store_runtime_remove(struct store *s, const char *name, struct diag *d)
{
    return 0;
}

void store_image_about(struct store *s, struct store_image *image)
{
    image->bytes = 5;
}

int store_each_use(struct store *s, store_use_fn *fn, void *arg)
{
    const struct store_use u = {.kind = STORE_USED_BY_NAME, .image.digest = "d", .runtime = "box"};

    return fn(arg, &u);
}

int store_each_unused(struct store *s, store_image_fn *fn, void *arg, struct diag *d)
{
    return 0;
}

int store_sweep(struct store *s, uint32_t *ret_images, uint64_t *ret_bytes, struct diag *d)
{
    *ret_images = 1;
    *ret_bytes = 5;
    return 0;
}

int store_set_current(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d)
{
    if (w.current_err)
        return diag_errno(d, w.current_err, "making it current");
    if (strcmp(id->name, "hello") == 0)
        w.current = number;
    return 0;
}

int store_set_scale(struct store *s, const struct fn_id *id, uint32_t scale, struct diag *d)
{
    if (strcmp(id->name, "hello") == 0)
        w.stored_scale = scale;
    return 0;
}

int store_set_stopped(struct store *s, const struct fn_id *id, bool stopped, struct diag *d)
{
    return 0;
}

int store_drop_version(struct store *s, const struct fn_id *id, uint32_t number, struct diag *d)
{
    w.dropped = number;
    return 0;
}

int store_prune(struct store *s, const struct fn_id *id, const struct store_keep *k, struct diag *d)
{
    w.pruned++;
    return k->in_use(k->arg, k->current - 1);
}

int store_remove(struct store *s, const struct fn_id *id, struct diag *d)
{
    return 0;
}

int store_log_dir(struct store *s, const struct fn_id *id, struct diag *d)
{
    return open_dir();
}

int store_log_newest(struct store *s, const struct fn_id *id, char ret_instance[NAME_INSTANCE_MAX + 1])
{
    return -ENOENT;
}

void store_log_prune(struct store *s, const struct fn_id *id, store_alive_fn *alive, void *arg)
{
}

/* ---- the jail ---- */

int unpacker_start(const struct unpacker_start *s, const struct unpack_request *req, struct unpacker *ret, struct diag *d)
{
    *ret = (struct unpacker)UNPACKER_NONE;
    ret->job = s->job;
    ret->socket_fd = eventfd(!w.jail_silent, EFD_CLOEXEC | EFD_NONBLOCK);
    return 0;
}

int unpacker_on_socket(struct unpacker *u, struct unpack_result *ret, struct spec **ret_spec, struct diag *d)
{
    *ret = (struct unpack_result){.bytes = 1};
    *ret_spec = u->job == UNPACKER_EXTRACT ? new_spec() : NULL;
    return 0;
}

void unpacker_kill_close(struct unpacker *u)
{
    u->socket_fd = fd_close(u->socket_fd);
}

/* ---- secrets: none are there ---- */

int secret_set(struct store *s, const struct fn_id *id, const char *key, const void *value, size_t len, struct diag *d)
{
    assert_true(len <= SECRET_VALUE_MAX);
    return name_valid(key) ? 0 : diag_set(d, EINVAL, "no name");
}

int secret_remove(struct store *s, const struct fn_id *id, const char *key, struct diag *d)
{
    return diag_set(d, ENOENT, "no secret %s", key);
}

int secret_list(struct store *s, const struct fn_id *id, struct strbuf *out, struct diag *d)
{
    return 0;
}

int secrets_check(struct store *s, const struct fn_id *id, const struct spec *spec, struct diag *d)
{
    return spec->nsecrets ? diag_set(d, ENOENT, "no secret %s", spec->secrets[0]) : 0;
}

int secrets_read(struct store *s, const struct fn_id *id, const struct spec *spec, struct secrets *ret, struct diag *d)
{
    *ret = (struct secrets){0};
    return secrets_check(s, id, spec, d);
}

void secrets_done(struct secrets *s)
{
}
