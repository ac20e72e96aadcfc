/* ctl_deploy.c: sending an archive to the daemon, and telling why it did not become a version. */
#include "ctl.h"

#include "api.h"

#include <stdio.h>
#include <string.h>

#define DEPLOY_VARS_MAX 16384 /* they travel in the request's head */
#define DEPLOY_SETS_MAX 8192
#define LAST_LINES      20

static int deploy_target(const struct options *o, struct strbuf *out)
{
    size_t vars = 0, sets = 0;

    strbuf_puts(out, API_PREFIX "/functions?");
    if (o->name) {
        char fn[NAME_FUNCTION_MAX + 1], *dot;
        int r = ctl_api_function(o->name, fn);

        if (r != CTL_OK)
            return r;
        dot = strchr(fn, '.');
        if (dot && o->env_name)
            return ctl_fail(CTL_USAGE, "--name %s says the environment, and so does --env-name: one of them is enough", fn);
        if (dot) {
            *dot = '\0';
            strbuf_printf(out, "environment=%s&", dot + 1);
        }
        strbuf_printf(out, "name=%s&", fn);
    }
    if (o->env_name) {
        if (!name_valid(o->env_name))
            return ctl_fail(CTL_USAGE, "--env-name %.80s is not valid: use letters, digits, '-' and '_'", o->env_name);
        strbuf_printf(out, "environment=%s&", o->env_name);
    }
    if (o->scale.set)
        strbuf_printf(out, "replicas=%llu&", (unsigned long long)o->scale.value);
    for (unsigned i = 0; i < o->vars.count; i++) {
        if (!ctl_text_is_env(o->vars.items[i]))
            return ctl_fail(CTL_USAGE, "--env %.80s: KEY=VALUE is needed, KEY of letters, digits and '_'", o->vars.items[i]);
        vars += strlen(o->vars.items[i]);
        strbuf_puts(out, "var=");
        ctl_api_quote(out, o->vars.items[i]);
        strbuf_puts(out, "&");
    }
    for (unsigned i = 0; i < o->sets.count; i++) {
        const char *set = o->sets.items[i], *dot = strchr(set, '.'), *equals = strchr(set, '=');

        if (!dot || !equals || dot == set || dot > equals || dot + 1 == equals)
            return ctl_fail(CTL_USAGE, "--set %.80s: SECTION.KEY=VALUE is needed, as in function.ini (function.port=80)", set);
        sets += strlen(set) + 1;
        strbuf_puts(out, "set=");
        ctl_api_quote(out, set);
        strbuf_puts(out, "&");
    }
    if (out->failed)
        return ctl_fail(CTL_FAILED, "out of memory");
    out->data[--out->len] = '\0'; /* the last separator */
    if (vars > DEPLOY_VARS_MAX)
        return ctl_fail(CTL_USAGE, "--env: %zu bytes in all, at most %d go on a command line: put them into function.ini (env_file)", vars, DEPLOY_VARS_MAX);
    if (sets > DEPLOY_SETS_MAX)
        return ctl_fail(CTL_USAGE, "--set: %zu bytes in all, at most %d go on a command line: put them into function.ini", sets, DEPLOY_SETS_MAX);
    return CTL_OK;
}

int ctl_deploy_check(const struct options *o)
{
    struct strbuf target cleanup_strbuf = {0};

    return deploy_target(o, &target);
}

static void print_lines(const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");

        fprintf(stderr, "  | %.*s\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

/* What the instance that failed had to say: in the answer, or in its log that outlives it. Silent where there is nothing. */
static void print_last_log(struct ctl *ctl, const json_t *error)
{
    const json_t *lines = json_object_get(error, "last_log");
    struct strbuf text cleanup_strbuf = {0};
    struct text_filter filter = {0};
    const json_t *line;
    size_t i;

    json_array_foreach(lines, i, line)
    {
        const char *s = json_string_value(line);

        ctl_text_filter(&filter, s ? s : "", s ? strlen(s) : 0, &text);
        strbuf_puts(&text, "\n");
    }
    if (!lines && ctl_json_text(error, "function", NULL)) {
        char fn[NAME_FUNCTION_MAX + 1], target[512];
        struct fn_id id;
        struct api_call c = {.method = "GET", .target = target, .raw = true};

        if (name_parse(ctl_json_text(error, "function", ""), &id, NULL) < 0)
            return;
        snprintf(target, sizeof(target), API_PREFIX "/functions/%s/logs?lines=%d", name_format(&id, fn), LAST_LINES);
        if (ctl_api_perform(ctl, &c) == CTL_OK && c.status == 200 && c.answer.len)
            ctl_text_filter(&filter, c.answer.data, c.answer.len, &text);
        ctl_api_call_done(&c);
    }
    if (text.len)
        print_lines(text.data);
}

/* What was not taken over as it came. */
static void print_notes(const json_t *function)
{
    const json_t *note;
    size_t i;

    json_array_foreach(json_object_get(function, "notes"), i, note) ctl_fail(0, "note: %.500s", json_string_value(note) ? json_string_value(note) : "");
}

struct asking {
    bool (*has)(const char *name);
    char *missing;
};

/* The message begins with it (api.h). */
static bool can_be_given(void *arg, const json_t *error)
{
    static const char begin[] = "runtime ", end[] = " is not here";
    const char *text = ctl_json_text(error, "message", "");
    char name[NAME_PART_MAX + 1];
    struct asking *a = arg;
    size_t len;

    if (strcmp(ctl_json_text(error, "error", ""), API_NO_RUNTIME) != 0 || strncmp(text, begin, sizeof(begin) - 1) != 0)
        return false;
    text += sizeof(begin) - 1;
    len = strcspn(text, " ");
    if (len >= sizeof(name) || strncmp(text + len, end, sizeof(end) - 1) != 0)
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)len, text);
    if (!name_valid(name) || !a->has(name))
        return false;
    str_copy(a->missing, sizeof(name), name);
    return true;
}

static int deploy(struct ctl *ctl, struct body *b, struct asking *asking, json_t **ret_function)
{
    struct strbuf target cleanup_strbuf = {0};
    struct api_call c = {.method = "POST", .body = b, .no_timeout = true, .expects = asking ? can_be_given : NULL, .arg = asking};
    int r = deploy_target(ctl->o, &target);

    if (r != CTL_OK)
        return r;
    c.target = target.data;
    c.subject = b->name && ctl->fetched ? ctl->fetched : b->name;
    r = ctl_api_perform(ctl, &c);
    if (r != CTL_OK && c.error && !(asking && *asking->missing))
        print_last_log(ctl, c.error);
    if (r == CTL_OK) {
        json_t *j = json_loadb(c.answer.len ? c.answer.data : "", c.answer.len, 0, NULL);

        if (json_is_object(j)) {
            print_notes(j);
            *ret_function = j;
        } else {
            json_decref(j);
            r = ctl_fail(CTL_FAILED, "deploy: the answer is no JSON object");
        }
    }
    ctl_api_call_done(&c);
    return r;
}

int ctl_deploy(struct ctl *ctl, struct body *b, json_t **ret_function)
{
    return deploy(ctl, b, NULL, ret_function);
}

int ctl_deploy_asking(struct ctl *ctl, struct body *b, bool (*has)(const char *name), char *missing, json_t **ret_function)
{
    struct asking a = {.has = has, .missing = missing};

    *missing = '\0';
    return deploy(ctl, b, &a, ret_function);
}
