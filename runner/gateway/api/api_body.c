/* api_body.c: small bodies, taken whole. */
#include "api_private.h"

#include "diag.h"

#include <errno.h>

#define BODY_MAX 65536U

static void fail_body(struct api_call *c)
{
    api_fail_set(c, EFBIG, "the body is larger than %u bytes", BODY_MAX);
}

static size_t on_body(struct exchange *ex, void *arg, const char *data, size_t len)
{
    struct api_call *c = arg;

    if (c->text.len + len > BODY_MAX)
        fail_body(c);
    else
        strbuf_add(&c->text, data, len);
    return len;
}

static void on_body_end(struct exchange *ex, void *arg)
{
    struct api_call *c = arg;

    if (c->text.failed)
        api_fail_set(c, ENOMEM, "not enough memory for the body");
    else
        c->on_body(c);
}

void api_take_body(struct api_call *c, void (*fn)(struct api_call *c))
{
    static const struct exchange_handler handler = {.on_body = on_body, .on_body_end = on_body_end, .on_abort = api_on_abort};

    c->on_body = fn;
    if (exchange_request(c->ex)->body_bytes > (int64_t)BODY_MAX)
        fail_body(c);
    else
        exchange_handle(c->ex, &handler, c);
}

json_t *api_body_object(struct api_call *c, struct diag *d)
{
    json_error_t error;
    json_t *root = json_loadb(c->text.data ? c->text.data : "", c->text.len, JSON_REJECT_DUPLICATES, &error);

    if (json_is_object(root))
        return root;
    if (root)
        diag_set(d, EINVAL, "the body is no JSON object");
    else
        diag_set(d, EINVAL, "the body is not JSON: %.100s, line %d", error.text, error.line);
    json_decref(root);
    return NULL;
}
