/* api_info.c: version, configuration, and the plan of a sandbox: what the runner says, handed on. */
#include "api_private.h"

#include "diag.h"
#include "fd.h"
#include "version.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX        (4U * 1024 * 1024) /* a plan is a few hundred lines */
#define CONFIG_ROWS_MAX 1000U
#define API_VERSION     1

void api_get_version(struct api_call *c)
{
    const struct record_welcome *welcome = &worker_picture(c->worker)->welcome;
    const char *runner = welcome->runner_version;
    json_t *text = *runner ? api_json_text(runner, strlen(runner)) : json_null();

    api_reply_json(c, 200, json_pack("{s:s, s:i, s:o}", "version", FND_VERSION, "api", API_VERSION, "runner", text));
}

static void show_host(void *arg)
{
    struct api_call *c = arg;

    api_reply_json(c, 200, api_json_host(&worker_picture(c->worker)->host));
}

void api_get_host(struct api_call *c)
{
    stats_get(&c->stats, c->worker, show_host, c);
}

static void on_text(void *arg, const struct record_head *rec, int fd)
{
    struct api_call *c = arg;
    const struct record_text *text = (const struct record_text *)rec;

    if (rec->type == RECORD_TEXT && c->text.len + text->len <= TEXT_MAX)
        strbuf_add(&c->text, text->text, text->len);
    if (api_replied(c, rec, fd))
        c->on_text(c);
}

void api_ask_text(struct api_call *c, struct record_head *rec, void (*done)(struct api_call *c))
{
    c->on_text = done;
    api_ask_many(c, rec, on_text);
}

static void on_plan(struct api_call *c)
{
    api_reply_text(c, c->text.data ? c->text.data : "", c->text.len);
}

void api_get_plan(struct api_call *c)
{
    const struct gw_function *f = api_call_function(c);
    struct record_target rec = {.head = RECORD_INIT(RECORD_PLAN, 0)};

    if (!f)
        return;
    rec.fn = f->rec.fn;
    api_ask_text(c, &rec.head, on_plan);
}

static json_t *config_text(const char *s)
{
    return api_json_text(s, strlen(s));
}

static void on_config(void *arg, const struct record_head *rec, int fd)
{
    struct api_call *c = arg;
    const struct record_config *row = (const struct record_config *)rec;
    json_t *list;

    if (rec->type == RECORD_CONFIG && json_array_size(c->json) < CONFIG_ROWS_MAX)
        json_array_append_new(c->json, json_pack("{s:o, s:o, s:o, s:o}", "key", config_text(row->key), "value", config_text(row->value), "default",
                                                 config_text(row->def), "origin", config_text(row->origin)));
    if (!api_replied(c, rec, fd))
        return;
    list = c->json;
    c->json = NULL;
    api_reply_json(c, 200, list ? json_pack("{s:o}", "config", list) : NULL);
}

void api_get_config(struct api_call *c)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_CONFIG_GET, 0)};

    c->json = json_array();
    api_ask_many(c, &rec.head, on_config);
}

/* The names that came, by spaces, as a list. */
static json_t *words(const char *text, size_t len)
{
    json_t *list = json_array();

    while (len > 0) {
        size_t n = 0;

        while (n < len && text[n] != ' ')
            n++;
        json_array_append_new(list, api_json_text(text, n));
        n += n < len;
        text += n;
        len -= n;
    }
    return list;
}

static void on_reloaded(struct api_call *c)
{
    api_reply_json(c, 200, json_pack("{s:o}", "restart", words(c->text.data, c->text.len)));
}

void api_reload(struct api_call *c)
{
    struct record_empty rec = {.head = RECORD_INIT(RECORD_RELOAD, 0)};

    api_ask_text(c, &rec.head, on_reloaded);
}
