/* verb_runtime.c: `fnctl runtime ls|build|put|rm`, `fnctl images`, `fnctl prune`. */
#include "project/project.h"

#include "api.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void bytes_cell(struct table *t, const json_t *o)
{
    char size[TEXT_MAX];

    ctl_table_cell(t, "%s", ctl_text_size(ctl_json_uint(o, "bytes"), size));
}

static int runtime_list(struct ctl *ctl, const char *const *args)
{
    static const char *const heads[] = {"NAME", ">SIZE", ">FILES", ">VERSIONS", "IMAGE"};
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *o;
    struct table t;
    size_t i;
    int r = ctl_api_json(ctl, "GET", API_PREFIX "/runtimes", NULL, &answer);

    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    if (json_array_size(json_object_get(answer, "runtimes")) == 0)
        return ctl_fail(CTL_OK, "no runtime yet: fnctl runtime build NAME, or fnctl runtime put NAME ARCHIVE");
    ctl_table_init(&t, heads, CTL_COUNT(heads));
    json_array_foreach(json_object_get(answer, "runtimes"), i, o)
    {
        ctl_table_cell(&t, "%s", ctl_json_text(o, "name", "?"));
        bytes_cell(&t, o);
        ctl_table_cell(&t, "%" PRIu64, ctl_json_uint(o, "entries"));
        ctl_table_cell(&t, "%" PRIu64, ctl_json_uint(o, "versions"));
        ctl_table_cell(&t, "%.12s", ctl_json_text(o, "image", "?"));
    }
    ctl_table_format(&t, &out);
    ctl_table_done(&t);
    return ctl_flush(ctl, &out);
}

/* The answer of a PUT, as runtime_list() has its rows. */
int ctl_runtime_put(struct ctl *ctl, const char *name, struct body *b)
{
    struct api_call c = {.method = "PUT", .body = b, .no_timeout = true};
    struct strbuf out cleanup_strbuf = {0};
    json_t *made cleanup_json = NULL;
    char target[128], size[TEXT_MAX];
    int r;

    snprintf(target, sizeof(target), API_PREFIX "/runtimes/%s", name);
    c.target = target;
    r = ctl_api_perform(ctl, &c);
    if (r == CTL_OK)
        made = json_loadb(c.answer.len ? c.answer.data : "", c.answer.len, 0, NULL);
    ctl_api_call_done(&c);
    if (r != CTL_OK)
        return r;
    if (!json_is_object(made))
        return ctl_fail(CTL_FAILED, "runtime put: the answer is no JSON object");
    if (ctl->o->json)
        return ctl_print_json(ctl, made);
    strbuf_printf(&out, "runtime %s is here (%s)\n", name, ctl_text_size(ctl_json_uint(made, "bytes"), size));
    return ctl_flush(ctl, &out);
}

static int runtime_put(struct ctl *ctl, const char *const *args)
{
    struct diag d = {0};
    struct source source;
    struct body b;
    int r;

    ctl_body_init(&b);
    if (ctl_source_find_tree(args[1], &source, &d) < 0 || ctl_source_open(&source, &b, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    r = ctl_runtime_put(ctl, args[0], &b);
    ctl_body_done(&b);
    return r;
}

static int build(struct ctl *ctl, const char *const *args)
{
    return runtime_build(ctl, args[0]);
}

static int runtime_remove(struct ctl *ctl, const char *const *args)
{
    char target[128];

    snprintf(target, sizeof(target), API_PREFIX "/runtimes/%s", args[0]);
    return ctl_api_json(ctl, "DELETE", target, NULL, NULL);
}

static const struct {
    const char *name;
    unsigned args; /* behind it; the first is a runtime's name */
    int (*run)(struct ctl *ctl, const char *const *args);
} subverbs[] = {
    {"ls", 0, runtime_list},
    {"build", 1, build},
    {"put", 2, runtime_put},
    {"rm", 1, runtime_remove},
};

int verb_runtime(struct ctl *ctl, const struct text_list *args)
{
    for (size_t i = 0; i < CTL_COUNT(subverbs); i++) {
        if (strcmp(args->items[0], subverbs[i].name) != 0 || args->count - 1 != subverbs[i].args)
            continue;
        if (args->count > 1 && !name_valid(args->items[1]))
            return ctl_fail(CTL_USAGE, "runtime %s %.80s: letters, digits, '-' and '_', at most %d of them", args->items[0], args->items[1], NAME_PART_MAX);
        return subverbs[i].run(ctl, args->items + 1);
    }
    return ctl_fail(CTL_USAGE, "runtime: `ls`, `build NAME`, `put NAME DIRECTORY|ARCHIVE` or `rm NAME`");
}

/* "hello:3 hello:4 python", cut after some. */
#define USERS_SHOWN 6

/* version 0: of a name alone */
static void users_add(struct strbuf *out, size_t n, const char *name, uint64_t version)
{
    if (n == USERS_SHOWN)
        strbuf_puts(out, " ...");
    if (n >= USERS_SHOWN)
        return;
    strbuf_printf(out, "%s%s", n > 0 ? " " : "", name);
    if (version > 0)
        strbuf_printf(out, ":%" PRIu64, version);
}

static void users_text(const json_t *image, struct strbuf *out)
{
    static const char *const lists[] = {"versions", "layers_of"};
    const json_t *o;
    size_t i, n = 0;

    json_array_foreach(json_object_get(image, "runtimes"), i, o) users_add(out, n++, json_is_string(o) ? json_string_value(o) : "?", 0);
    for (size_t k = 0; k < CTL_COUNT(lists); k++)
        json_array_foreach(json_object_get(image, lists[k]), i, o)
        {
            char fn[NAME_FUNCTION_MAX + 1];
            struct fn_id id;

            if (name_make(ctl_json_text(o, "function", "?"), ctl_json_text(o, "environment", "?"), &id, NULL) == 0)
                users_add(out, n++, name_format(&id, fn), ctl_json_uint(o, "version"));
        }
    if (n == 0)
        strbuf_puts(out, "-");
}

int verb_images(struct ctl *ctl, const struct text_list *args)
{
    static const char *const heads[] = {"IMAGE", ">SIZE", ">FILES", "USED BY"};
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *o;
    struct table t;
    size_t i;
    int r = ctl_api_json(ctl, "GET", API_PREFIX "/images", NULL, &answer);

    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    ctl_table_init(&t, heads, CTL_COUNT(heads));
    json_array_foreach(json_object_get(answer, "images"), i, o)
    {
        struct strbuf users cleanup_strbuf = {0};

        users_text(o, &users);
        ctl_table_cell(&t, "%.12s", ctl_json_text(o, "digest", "?"));
        bytes_cell(&t, o);
        ctl_table_cell(&t, "%" PRIu64, ctl_json_uint(o, "entries"));
        ctl_table_cell(&t, "%s", users.data ? users.data : "");
    }
    ctl_table_format(&t, &out);
    ctl_table_done(&t);
    return ctl_flush(ctl, &out);
}

int verb_prune(struct ctl *ctl, const struct text_list *args)
{
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    char size[TEXT_MAX];
    int r = ctl_api_json(ctl, "POST", API_PREFIX "/prune", NULL, &answer);

    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    strbuf_printf(&out, "%" PRIu64 " images removed (%s)\n", ctl_json_uint(answer, "images"), ctl_text_size(ctl_json_uint(answer, "bytes"), size));
    return ctl_flush(ctl, &out);
}
