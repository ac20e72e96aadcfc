/*
 * exports.c: a version's trees -> an image's archive, in the jail (unpacking.c), into a pipe whose other end the gateway has. Nothing of the archive is seen here.
 *
 * A version that is removed meanwhile takes its trees along: the export then ends with an error, and what was written lacks its end. So that a client who goes away, or stands still, holds nothing, the gateway says
 * so (DEPLOY_END), its end of the pipe says so, and the clocks of unpacking.c do.
 */
#include "manager.h"

#include "diag.h"
#include "fd.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define EXPORTS_MAX 4U /* at once */

struct export
{
    struct manager *manager;
    struct export *next;
    uint64_t client, id; /* of the request; client 0: nobody waits any more */
    struct fn_id fn;
    struct store_version version;
    struct unpacking unpacking;
};

static void export_freed(void *arg)
{
    free(arg);
}

static void export_over(struct export *x, const struct diag *diag)
{
    struct record_reply rec = {.head = RECORD_INIT(RECORD_REPLY, x->id), .diag = *diag, .version = x->version.number};
    struct export **at = &x->manager->exports;
    struct manager *m = x->manager;

    if (diag->err)
        log_diag(LOG_WARNING, "not exported", diag, "function=%s environment=%s version=%u", x->fn.name, x->fn.env, x->version.number);
    else
        log_msg(LOG_INFO, "exported", "function=%s environment=%s version=%u", x->fn.name, x->fn.env, x->version.number);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    unpacking_stop(&x->unpacking);
    store_version_done(&x->version);
    if (x->client)
        m->p.hooks.reply(m->p.owner, x->client, &rec.head, -1);
    if (loop_defer(m->p.loop, export_freed, x) < 0)
        log_msg(LOG_WARNING, "export leaked", "function=%s", x->fn.name);
}

static void on_written(void *owner, struct diag *diag)
{
    export_over(owner, diag);
}

/* What the jail writes to must be a pipe: nothing else is the gateway's to give, and a pipe's end says when nobody reads. */
static bool is_pipe(int fd)
{
    struct stat st;
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_ACCMODE) == O_WRONLY && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

static int export_check(const struct manager *m, int pipe_fd, struct diag *d)
{
    unsigned count = 0;

    for (const struct export *x = m->exports; x; x = x->next)
        count++;
    if (!is_pipe(pipe_fd))
        return diag_set(d, EPROTO, "export: no pipe came with the request");
    if (m->stopping)
        return diag_set(d, EBUSY, "export: the daemon is stopping");
    if (count >= EXPORTS_MAX)
        return diag_set(d, EBUSY, "export: %u others are under way: try again when one is done", count);
    return 0;
}

static int export_open(struct export *x, const struct function *f, uint32_t number, struct diag *d)
{
    int r;

    if (number == 0 && !f->version)
        return diag_set(d, ENOENT, "%s has no version yet: its first deploy is under way, or failed", f->id.name);
    if (number == 0)
        number = f->version->v.number;
    r = store_version_open(x->manager->p.store, &f->id, number, &x->version, d);
    if (r == -ENOENT && f->version)
        return diag_set(d, ENOENT, "%s has no version %u: the current one is %u, and [function] keep says how many are kept", f->id.name, number,
                        f->version->v.number);
    return r;
}

static int export_start(struct export *x, int pipe_fd, struct diag *d)
{
    const struct unpacking_export of = {.version = &x->version, .fn = &x->fn, .pipe_fd = pipe_fd};

    x->unpacking = (struct unpacking){.manager = x->manager, .staging_fd = x->version.image_fd, .on_end = on_written, .owner = x};
    return unpacking_export(&x->unpacking, &of, d);
}

int exports_begin(struct manager *m, struct function *f, uint64_t client, const struct record_export *rec, int pipe_fd, struct diag *d)
{
    struct diag failed = {0};
    struct export *x;
    int r = export_check(m, pipe_fd, d);

    if (r < 0)
        return r;
    x = calloc(1, sizeof(*x));
    if (!x)
        return diag_set(d, ENOMEM, "export: out of memory");
    *x = (struct export){.manager = m, .next = m->exports, .client = client, .id = rec->head.id, .fn = f->id};
    x->version.image_fd = x->version.runtime_fd = -1;
    r = export_open(x, f, rec->version, d);
    if (r < 0) {
        free(x);
        return r;
    }
    m->exports = x;
    if (export_start(x, pipe_fd, &failed) < 0)
        export_over(x, &failed);
    return 1;
}

void exports_end(struct manager *m, uint64_t client, const struct record_deploy_end *rec)
{
    for (struct export *x = m->exports; x; x = x->next) {
        struct diag diag = {0};

        if (x->client != client || x->id != rec->head.id)
            continue;
        diag_set(&diag, ECANCELED, "export: whoever asked for it went away");
        x->client = 0; /* nor is a reply waited for */
        export_over(x, &diag);
        return;
    }
}

static void end_all(struct manager *m, uint64_t client, const char *why)
{
    for (struct export *x = m->exports, *next; x; x = next) {
        struct diag diag = {0};

        next = x->next;
        if (client && x->client != client)
            continue;
        if (client)
            x->client = 0;
        diag_set(&diag, ECANCELED, "export: %s", why);
        export_over(x, &diag);
    }
}

void exports_client_gone(struct manager *m, uint64_t client)
{
    end_all(m, client, "the gateway went away");
}

void exports_abort_all(struct manager *m)
{
    end_all(m, 0, "the daemon is stopping");
}
