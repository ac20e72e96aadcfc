/* account.c: what is written down about a request when it is over: its line in the access log. Off the path of a request where the log is off. */
#include "http.h"

#include "../log/access_log.h"
#include "../worker.h"

#include <stdlib.h>
#include <string.h>

struct account {
    struct strbuf middle;
    enum access_form form;
    char instance[NAME_INSTANCE_MAX + 1];
};

struct text {
    const char *at;
    size_t len;
};

static struct text find(const struct head *h, const char *data, const char *name)
{
    for (unsigned i = 0; i < h->nfields; i++)
        if (h->fields[i].id == FIELD_OTHER && text_is(data + h->fields[i].name, h->fields[i].name_len, name))
            return (struct text){data + h->fields[i].value, h->fields[i].value_len};
    return (struct text){"", 0};
}

void account_begin(struct exchange *ex, const char *data)
{
    const struct access_log *log = ex->worker->picture.gateway->log;
    const struct head *h = &ex->head;
    struct text agent, referer;
    struct account *a;

    if (!access_log_is_on(log))
        return;
    a = calloc(1, sizeof(*a));
    if (!a)
        return;
    a->form = access_log_form(log);
    agent = find(h, data, "user-agent");
    referer = find(h, data, "referer");
    access_line_middle(&a->middle, a->form,
                       &(struct access_request){
                           .client = ex->client,
                           .client_len = strlen(ex->client),
                           .request_id = ex->request_id,
                           .request_id_len = ex->request_id_len,
                           .method = data + h->method,
                           .method_len = h->method_len,
                           .target = data + h->target,
                           .target_len = h->target_len,
                           .host = data + ex->rq.host,
                           .host_len = ex->rq.host_len,
                           .protocol = ex->conn->of    ? "HTTP/2"
                                       : ex->rq.http10 ? "HTTP/1.0"
                                                       : "HTTP/1.1",
                           .protocol_len = !h->started    ? 0
                                           : ex->conn->of ? 6
                                                          : 8,
                           .user_agent = agent.at,
                           .user_agent_len = agent.len,
                           .referer = referer.at,
                           .referer_len = referer.len,
                       });
    ex->account = a;
}

void account_instance(struct exchange *ex, const struct gw_instance *inst)
{
    if (ex->account)
        str_copy(ex->account->instance, sizeof(ex->account->instance), inst->rec.name);
}

static void write_line(const struct exchange *ex, struct account *a, unsigned status)
{
    const struct worker *w = ex->worker;
    char name[NAME_FUNCTION_MAX + 1];
    cleanup_strbuf struct strbuf line = {0};

    access_line(&line, a->form, a->middle.data,
                &(struct access_end){
                    .real_ns = clock_real_ns(),
                    .duration_ns = loop_now_ns(w->loop) - ex->start_ns,
                    .status = status,
                    .request_bytes = ex->up_flow.body.total,
                    .response_bytes = ex->down_flow.body.total + ex->local.payload_bytes,
                    .function = ex->function ? name_format(&ex->function->rec.fn, name) : NULL,
                    .instance = a->instance[0] ? a->instance : NULL,
                });
    if (!line.failed)
        access_log_put(w->picture.gateway->log, w->picture.worker, line.data, line.len);
}

void account_end(struct exchange *ex, unsigned status)
{
    struct account *a = ex->account;

    if (a->middle.data && !a->middle.failed)
        write_line(ex, a, status);
    strbuf_done(&a->middle);
    free(a);
    ex->account = NULL;
}
