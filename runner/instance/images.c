/*
 * images.c: from an archive to an image with a name, which packages lie over; and what images there are.
 *
 * The archive takes the same way as a function's (unpacking.c), and the name is led to the image only when all of it is there: whoever deploys at this moment gets the tree of before. Nothing is started to prove it.
 */
#include "manager.h"

#include "diag.h"
#include "fd.h"
#include "log.h"
#include "str.h"

#include <errno.h>
#include <string.h>

#define RUNTIME_PUTS_MAX 2U /* at once */

struct runtime_put {
    struct manager *manager;
    struct runtime_put *next;
    uint64_t client, id; /* of the request; client 0: nobody waits any more */
    char name[NAME_PART_MAX + 1];
    bool complete, unpacked;
    struct store_staging staging;
    struct unpacking unpacking;
};

static void put_freed(void *arg)
{
    free(arg);
}

/* Answers, and gives back everything but what was published. */
static void put_over(struct runtime_put *p, const struct diag *diag)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, p->id), .diag = *diag, .image_bytes = p->unpacking.result.bytes};
    struct manager *m = p->manager;
    struct runtime_put **at = &m->runtime_puts;

    if (diag->err)
        log_diag(LOG_WARNING, "runtime not taken", diag, "runtime=%s", p->name);
    else
        log_msg(LOG_INFO, "runtime is here", "runtime=%s image=%.12s bytes=%llu", p->name, p->unpacking.result.sha256,
                (unsigned long long)p->unpacking.result.bytes);
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    unpacking_stop(&p->unpacking);
    store_staging_drop(m->p.store, &p->staging);
    if (p->client)
        m->p.hooks.reply(m->p.owner, p->client, &rec.head, -1);
    if (loop_defer(m->p.loop, put_freed, p) < 0)
        log_msg(LOG_WARNING, "runtime leaked", "runtime=%s", p->name);
}

static void put_step(struct runtime_put *p)
{
    struct manager *m = p->manager;
    struct diag diag = {0};

    if (!p->complete || !p->unpacked)
        return;
    if (budget_disk(m, p->unpacking.result.bytes, &diag) == 0)
        store_runtime_put(m->p.store, p->name, &p->staging, &p->unpacking.result, &diag);
    put_over(p, &diag);
}

static void put_on_unpacked(void *owner, struct diag *diag)
{
    struct runtime_put *p = owner;

    if (diag->err) {
        budget_explain(p->manager, diag);
        put_over(p, diag);
        return;
    }
    p->unpacked = true;
    put_step(p);
}

static int put_check(struct manager *m, const struct record_runtime *rec, int archive_fd, struct diag *d)
{
    unsigned count = 0;

    for (const struct runtime_put *p = m->runtime_puts; p; p = p->next)
        count++;
    if (!name_valid(rec->name))
        return diag_set(d, EINVAL, "runtime \"%s\": use letters, digits, '-' and '_', beginning and ending with a letter or digit, at most %d", rec->name,
                        NAME_PART_MAX);
    if (archive_fd < 0)
        return diag_set(d, EPROTO, "runtime %s: no archive came with the request", rec->name);
    if (m->stopping)
        return diag_set(d, EBUSY, "runtime %s: the daemon is stopping", rec->name);
    if (count >= RUNTIME_PUTS_MAX)
        return diag_set(d, EBUSY, "runtime %s: %u others are being unpacked: try again when one is done", rec->name, count);
    return budget_disk(m, 0, d);
}

static int put_unpack(struct runtime_put *p, int archive_fd, struct diag *d)
{
    int r = store_staging_new(p->manager->p.store, &p->staging, d);

    if (r < 0)
        return r;
    p->unpacking = (struct unpacking){.manager = p->manager, .staging_fd = p->staging.dir_fd, .on_end = put_on_unpacked, .owner = p};
    return unpacking_start(&p->unpacking, &(struct unpacking_of){.kind = UNPACK_RUNTIME}, archive_fd, d);
}

void images_put(struct manager *m, uint64_t client, const struct record_runtime *rec, int archive_fd)
{
    cleanup_fd int archive = archive_fd; /* the jail has its own copy once it runs */
    struct runtime_put *p = NULL;
    struct diag diag = {0};

    if (put_check(m, rec, archive, &diag) == 0) {
        p = calloc(1, sizeof(*p));
        if (!p)
            diag_set(&diag, ENOMEM, "runtime %s: out of memory", rec->name);
    }
    if (!p) {
        manager_reply(m, client, rec->head.id, NULL, &diag);
        return;
    }
    *p = (struct runtime_put){.manager = m, .next = m->runtime_puts, .client = client, .id = rec->head.id, .staging = {.dir_fd = -1}};
    str_copy(p->name, sizeof(p->name), rec->name);
    m->runtime_puts = p;
    if (put_unpack(p, archive, &diag) < 0)
        put_over(p, &diag);
}

void images_put_end(struct manager *m, uint64_t client, const struct record_deploy_end *rec)
{
    for (struct runtime_put *p = m->runtime_puts; p; p = p->next) {
        struct diag diag = {0};

        if (p->client != client || p->id != rec->head.id || p->complete)
            continue;
        if (rec->complete) {
            p->complete = true;
            put_step(p);
        } else {
            diag_set(&diag, ECANCELED, "runtime %s: the upload was given up before its end", p->name);
            put_over(p, &diag);
        }
        return;
    }
}

void images_client_gone(struct manager *m, uint64_t client)
{
    for (struct runtime_put *p = m->runtime_puts, *next; p; p = next) {
        struct diag diag = {0};

        next = p->next;
        if (p->client != client)
            continue;
        p->client = 0;
        if (!p->complete) {
            diag_set(&diag, ECANCELED, "runtime %s: the gateway went away during the upload", p->name);
            put_over(p, &diag);
        }
    }
}

void images_abort_all(struct manager *m)
{
    while (m->runtime_puts) {
        struct diag diag = {0};

        diag_set(&diag, ECANCELED, "runtime %s: the daemon is stopping", m->runtime_puts->name);
        put_over(m->runtime_puts, &diag);
    }
}

int images_remove_name(struct manager *m, const struct record_runtime *rec, struct diag *d)
{
    return store_runtime_remove(m->p.store, rec->name, d);
}

/* ---- images ---- */

struct images_answer {
    struct manager *manager;
    uint64_t client, id;
};

static void send_image(const struct images_answer *a, struct record_image *rec, const struct store_image *image)
{
    rec->head = (struct record_head)RECORD_INIT(RECORD_IMAGE, a->id);
    rec->bytes = image->bytes;
    rec->entries = image->entries;
    str_copy(rec->digest, sizeof(rec->digest), image->digest);
    a->manager->p.hooks.reply(a->manager->p.owner, a->client, &rec->head, -1);
}

static int send_use(void *arg, const struct store_use *u)
{
    static const uint32_t uses[] = {
        [STORE_USED_AS_IMAGE] = RECORD_IMAGE_OF_VERSION, [STORE_USED_AS_RUNTIME] = RECORD_IMAGE_BELOW_VERSION, [STORE_USED_BY_NAME] = RECORD_IMAGE_NAMED};
    struct record_image rec = {.use = uses[u->kind], .version = u->version, .fn = u->id};
    const struct images_answer *a = arg;
    struct store_image image = u->image;

    store_image_about(a->manager->p.store, &image);
    str_copy(rec.runtime, sizeof(rec.runtime), u->runtime);
    send_image(a, &rec, &image);
    return 0;
}

static int send_unused(void *arg, const struct store_image *image)
{
    send_image(arg, &(struct record_image){.use = RECORD_IMAGE_UNUSED}, image);
    return 0;
}

int images_send(struct manager *m, uint64_t client, uint64_t id, struct diag *d)
{
    struct images_answer a = {.manager = m, .client = client, .id = id};
    int r = store_each_use(m->p.store, send_use, &a);

    if (r < 0)
        return diag_errno(d, -r, "images: cannot read who uses them");
    return store_each_unused(m->p.store, send_unused, &a, d);
}

int images_prune(struct manager *m, uint64_t client, uint64_t id, struct diag *d)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, id)};
    int r = store_sweep(m->p.store, &rec.images, &rec.image_bytes, d);

    if (r < 0)
        return r;
    m->p.hooks.reply(m->p.owner, client, &rec.head, -1);
    return 1;
}
