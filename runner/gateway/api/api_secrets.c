/* api_secrets.c: secrets of functions: set, removed, listed. A value goes to the runner and comes back to nobody. */
#include "api_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Fills in all but the value. */
static int secret_record(struct api_call *c, uint32_t type, struct record_secret *rec, struct diag *d)
{
    const char *name = query_get(&c->query, "name");

    *rec = (struct record_secret){.head = RECORD_INIT(type, 0), .fn = c->id};
    if (!name || !name_valid(name))
        return diag_set(d, EINVAL, "?name=NAME says which secret: letters, digits, '-' and '_', at most %d", NAME_PART_MAX);
    return str_copy(rec->name, sizeof(rec->name), name);
}

static void set_secret(struct api_call *c)
{
    struct record_secret rec;
    struct diag d = {0};
    int r = secret_record(c, RECORD_SECRET_SET, &rec, &d);

    if (r == 0 && (c->text.len == 0 || c->text.len > sizeof(rec.value)))
        r = diag_set(&d, EINVAL, "the body is the value: 1 to %zu bytes", sizeof(rec.value));
    if (r == 0) {
        memcpy(rec.value, c->text.data, c->text.len);
        rec.len = (uint32_t)c->text.len;
    }
    api_ask_secret(c, &rec.head, r, &d);
}

void api_set_secret(struct api_call *c)
{
    api_take_body(c, set_secret);
}

void api_remove_secret(struct api_call *c)
{
    struct record_secret rec;
    struct diag d = {0};

    if (secret_record(c, RECORD_SECRET_REMOVE, &rec, &d) < 0)
        api_fail(c, &d);
    else
        api_ask_empty(c, &rec.head);
}

/* ---- listing ---- */

/* "ENV NAME KEY BYTES CHANGED" */
static json_t *secret_json(const char *line)
{
    char env[NAME_PART_MAX + 1], name[NAME_PART_MAX + 1], key[NAME_PART_MAX + 1], changed[CLOCK_RFC3339_MAX];
    uint64_t bytes, changed_ns;

    if (sscanf(line, "%57s %57s %57s %" SCNu64 " %" SCNu64, env, name, key, &bytes, &changed_ns) != 5)
        return NULL;
    clock_format_rfc3339(changed_ns, changed);
    return json_pack("{s:s, s:s, s:s, s:I, s:s}", "function", name, "environment", env, "name", key, "bytes", (json_int_t)bytes, "changed", changed);
}

static void on_listed(struct api_call *c)
{
    json_t *list = json_array();
    char *at = NULL;

    for (char *line = c->text.data ? strtok_r(c->text.data, "\n", &at) : NULL; line && list; line = strtok_r(NULL, "\n", &at)) {
        json_t *one = secret_json(line);

        if (one)
            json_array_append_new(list, one);
    }
    api_reply_json(c, 200, list ? json_pack("{s:o}", "secrets", list) : NULL);
}

/* Of the function in the path, or of all. */
void api_get_secrets(struct api_call *c)
{
    struct record_target rec = {.head = RECORD_INIT(RECORD_SECRETS_GET, 0), .fn = c->id};

    api_ask_text(c, &rec.head, on_listed);
}
