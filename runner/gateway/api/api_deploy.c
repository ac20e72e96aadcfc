/* api_deploy.c: POST /functions: the archive goes to the runner (api_upload.c); the answer is the function, once its new version is proved. */
#include "api_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PICTURE_NS    (5 * NS_PER_MS)
#define PICTURE_TRIES 200
#define REPLICAS_MAX  100000U

/* ---- the answer ---- */

static const struct gw_function *deployed_function(const struct upload *u)
{
    const struct gw_function *f = worker_picture(u->call->worker)->functions;

    while (f && f->rec.function != u->function)
        f = f->next;
    return f && f->rec.version >= u->version ? f : NULL;
}

/* What the runner's TEXT records said, line by line, as "notes". */
static json_t *add_notes(const struct api_call *c, json_t *function)
{
    json_t *notes = json_array();
    const char *line = c->text.data ? c->text.data : "";

    for (size_t len; *line; line += len + (line[len] == '\n')) {
        len = strcspn(line, "\n");
        if (len > 0 && json_array_append_new(notes, api_json_text(line, len)) < 0)
            break;
    }
    if (function && json_array_size(notes) > 0)
        json_object_set(function, "notes", notes);
    json_decref(notes);
    return function;
}

/* The runner pushes the function before it replies; a picture that is a little behind is waited for. */
static void answer_function(struct timer *t)
{
    struct upload *u = t->owner;
    struct api_call *c = u->call;
    const struct gw_function *f = deployed_function(u);

    if (f) {
        name_format(&f->rec.fn, c->name);
        api_reply_json(c, 201, add_notes(c, api_json_function(worker_picture(c->worker), f)));
    } else if (u->tries++ >= PICTURE_TRIES || loop_arm_in(worker_loop(c->worker), t, PICTURE_NS) < 0) {
        api_fail_set(c, EIO, "version %u was deployed, and the runner does not show it", u->version);
    }
}

static void on_deployed(struct upload *u, const struct record_reply *reply)
{
    u->function = reply->function;
    u->version = reply->version;
    u->timer.on_expire = answer_function;
    answer_function(&u->timer);
}

/* ---- the request ---- */

static int add_var(struct record_deploy *rec, const char *var, struct diag *d)
{
    const char *equals = strchr(var, '=');
    size_t len = strlen(var) + 1;

    if (!equals || equals == var)
        return diag_set(d, EINVAL, "var=\"%.60s\" is not KEY=VALUE", var);
    if (len > sizeof(rec->vars) - rec->vars_len)
        return diag_set(d, E2BIG, "the variables are longer than %zu bytes: put them into the package's env_file", sizeof(rec->vars));
    memcpy(rec->vars + rec->vars_len, var, len);
    rec->vars_len += (uint32_t)len;
    return 0;
}

static int add_set(struct record_deploy *rec, const char *set, struct diag *d)
{
    size_t len = strlen(set) + 1;

    if (len > sizeof(rec->sets) - rec->sets_len)
        return diag_set(d, E2BIG, "the settings (set=) are longer than %zu bytes: put them into the package's function.ini", sizeof(rec->sets));
    memcpy(rec->sets + rec->sets_len, set, len);
    rec->sets_len += (uint32_t)len;
    return 0;
}

static int parse_name(const struct query *q, struct fn_id *ret, struct diag *d)
{
    const char *name = query_get(q, "name"), *env = query_get(q, "environment");
    struct fn_id id;
    int r;

    if (name)
        return name_make(name, env, ret, d);
    /* function.ini will say the name; the environment is checked with one that is valid. */
    r = name_make("x", env, &id, d);
    if (r < 0)
        return r;
    id.name[0] = '\0';
    *ret = id;
    return 0;
}

static int parse_query(const struct query *q, struct record_deploy *rec, struct diag *d)
{
    const char *replicas = query_get(q, "replicas");
    uint64_t n = 0;
    int r = parse_name(q, &rec->fn, d);

    if (r < 0)
        return r;
    if (replicas && (str_parse_uint(replicas, REPLICAS_MAX, &n) < 0 || n == 0))
        return diag_set(d, EINVAL, "replicas=\"%.20s\" is not a number from 1 to %u", replicas, REPLICAS_MAX);
    rec->replicas = (uint32_t)n;
    for (unsigned i = 0; i < q->count && r == 0; i++)
        if (strcmp(q->params[i].key, "var") == 0)
            r = add_var(rec, q->params[i].value, d);
        else if (strcmp(q->params[i].key, "set") == 0)
            r = add_set(rec, q->params[i].value, d);
    return r;
}

static int deploy_request(struct upload *u, struct diag *d)
{
    cleanup_free struct record_deploy *rec = calloc(1, sizeof(*rec));
    struct api_call *c = u->call;
    int r;

    if (!rec)
        return diag_set(d, ENOMEM, "not enough memory");
    rec->head = (struct record_head)RECORD_INIT(RECORD_DEPLOY, 0);
    r = parse_query(&c->query, rec, d);
    if (r < 0)
        return r;
    if (*rec->fn.name)
        name_format(&rec->fn, c->name);
    return api_upload_send(u, &rec->head, d);
}

void api_deploy(struct api_call *c)
{
    struct upload *u = calloc(1, sizeof(*u));

    if (!u) {
        api_fail_set(c, ENOMEM, "not enough memory");
        return;
    }
    u->on_done = on_deployed;
    api_upload(c, u, deploy_request);
}
