/*
 * api_runtimes.c: runtimes and images. What the runner says of images comes as one record for each use of one; here they become objects by digest, or by the runtime's name.
 */
#include "api_private.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES_MAX 100000U /* uses that are shown */

/* ---- PUT and DELETE /runtimes/NAME ---- */

static void on_put(struct upload *u, const struct record_reply *reply)
{
    struct api_call *c = u->call;

    api_reply_json(c, 201, json_pack("{s:s, s:I}", "name", c->name, "bytes", (json_int_t)reply->image_bytes));
}

static struct record_runtime runtime_record(const struct api_call *c, uint32_t type)
{
    struct record_runtime rec = {.head = RECORD_INIT(type, 0)};

    str_copy(rec.name, sizeof(rec.name), c->name);
    return rec;
}

static int put_request(struct upload *u, struct diag *d)
{
    struct record_runtime rec = runtime_record(u->call, RECORD_RUNTIME_PUT);

    return api_upload_send(u, &rec.head, d);
}

void api_put_runtime(struct api_call *c)
{
    struct upload *u = calloc(1, sizeof(*u));

    if (!u) {
        api_fail_set(c, ENOMEM, "not enough memory");
        return;
    }
    u->on_done = on_put;
    api_upload(c, u, put_request);
}

void api_remove_runtime(struct api_call *c)
{
    struct record_runtime rec = runtime_record(c, RECORD_RUNTIME_REMOVE);

    api_ask_empty(c, &rec.head);
}

/* ---- images ---- */

/* The object of this image, made when it is first seen. */
static json_t *image_of(json_t *images, const struct record_image *rec)
{
    json_t *image = json_object_get(images, rec->digest);

    if (image)
        return image;
    image = json_pack("{s:s, s:I, s:I, s:[], s:[], s:[]}", "digest", rec->digest, "bytes", (json_int_t)rec->bytes, "entries", (json_int_t)rec->entries,
                      "runtimes", "versions", "layers_of");
    json_object_set_new(images, rec->digest, image);
    return image;
}

static void add_use(json_t *images, const struct record_image *rec)
{
    json_t *image = image_of(images, rec);
    const char *list = rec->use == RECORD_IMAGE_OF_VERSION ? "versions" : "layers_of";

    if (rec->use == RECORD_IMAGE_NAMED)
        json_array_append_new(json_object_get(image, "runtimes"), json_string(rec->runtime));
    else if (rec->use != RECORD_IMAGE_UNUSED)
        json_array_append_new(json_object_get(image, list),
                              json_pack("{s:s, s:s, s:i}", "function", rec->fn.name, "environment", rec->fn.env, "version", (int)rec->version));
}

static void on_image(void *arg, const struct record_head *rec, int fd)
{
    struct api_call *c = arg;
    json_t *list, *image;
    const char *digest;

    if (rec->type == RECORD_IMAGE && c->uses++ < IMAGES_MAX)
        add_use(c->json, (const struct record_image *)rec);
    if (!api_replied(c, rec, fd))
        return;
    list = json_array();
    json_object_foreach(c->json, digest, image) json_array_append(list, image);
    api_reply_json(c, 200, json_pack("{s:o}", "images", list));
}

static void ask_images(struct api_call *c, link_reply_fn *on_record)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_IMAGES_GET, 0)};

    c->json = json_object();
    api_ask_many(c, &rec.head, on_record);
}

void api_get_images(struct api_call *c)
{
    ask_images(c, on_image);
}

/* One object for each name of an image. */
static json_t *runtimes_of(json_t *images)
{
    json_t *list = json_array(), *image, *name;
    const char *digest;
    size_t i;

    json_object_foreach(images, digest, image) json_array_foreach(json_object_get(image, "runtimes"), i, name)
        json_array_append_new(list, json_pack("{s:O, s:s, s:O, s:O, s:i}", "name", name, "image", digest, "bytes", json_object_get(image, "bytes"), "entries",
                                              json_object_get(image, "entries"), "versions", (int)json_array_size(json_object_get(image, "layers_of"))));
    return list;
}

static void on_runtime(void *arg, const struct record_head *rec, int fd)
{
    struct api_call *c = arg;

    if (rec->type == RECORD_IMAGE && c->uses++ < IMAGES_MAX)
        add_use(c->json, (const struct record_image *)rec);
    if (api_replied(c, rec, fd))
        api_reply_json(c, 200, json_pack("{s:o}", "runtimes", runtimes_of(c->json)));
}

void api_get_runtimes(struct api_call *c)
{
    ask_images(c, on_runtime);
}

static void on_pruned(struct api_call *c, const struct record_reply *reply, int fd)
{
    fd_close(fd);
    api_reply_json(c, 200, json_pack("{s:i, s:I}", "images", (int)reply->images, "bytes", (json_int_t)reply->image_bytes));
}

void api_prune(struct api_call *c)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_PRUNE, 0)};

    api_ask(c, &rec.head, on_pruned);
}
