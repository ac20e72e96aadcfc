/* foreign_keys.c: the keys of other systems, a table per map in their files; facts as in their documentation. */
#include "foreign.h"

#include "function_facts.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CONTRACT "HANDLER_CONTRACT" /* which signature a shim calls */

/* Does this version have it? What the parser refuses would make the whole deploy fail. */
static bool taken_by_parser(const char *ini)
{
    return function_facts_check(ini, strlen(ini), NULL) >= 0;
}

static int put_text(struct conversion *c, enum ini_section section, const char *key, const struct ynode *v)
{
    const char *text;
    int r = foreign_text(c, v, &text);

    return r == 0 && *text ? foreign_put(c, section, key, v, text) : r;
}

/* yes or no, as YAML 1.1 has them. */
static int get_bool(struct conversion *c, const struct ynode *v, bool *ret)
{
    const char *text;
    int r = foreign_text(c, v, &text);

    if (r < 0)
        return r;
    *ret = strcasecmp(text, "true") == 0 || strcasecmp(text, "yes") == 0 || strcasecmp(text, "on") == 0;
    if (!*ret && strcasecmp(text, "false") != 0 && strcasecmp(text, "no") != 0 && strcasecmp(text, "off") != 0)
        return foreign_refuse(c, v, "\"%.40s\": true or false is expected", text);
    return 0;
}

static int put_number(struct conversion *c, enum ini_section section, const char *key, const struct ynode *v, const char *unit)
{
    char value[32];
    const char *text;
    uint64_t n;
    int r = foreign_text(c, v, &text);

    if (r < 0)
        return r;
    if (str_parse_uint(text, UINT32_MAX, &n) < 0)
        return foreign_refuse(c, v, "\"%.40s\" is no whole number", text);
    snprintf(value, sizeof(value), "%u%s", (unsigned)n, unit);
    return foreign_put(c, section, key, v, value);
}

/* "a, b": a list of texts, or one. */
static int put_list(struct conversion *c, enum ini_section section, const char *key, const struct ynode *v)
{
    struct strbuf all cleanup_strbuf = {0};
    const char *text;

    if (v->kind != YTREE_LIST)
        return put_text(c, section, key, v);
    for (const struct ynode *n = v->first; n; n = n->next) {
        if (foreign_text(c, n, &text) < 0)
            return -EINVAL;
        strbuf_printf(&all, "%s%s", all.len ? ", " : "", text);
    }
    return all.failed ? -ENOMEM : all.len ? foreign_put(c, section, key, v, all.data) : 0;
}

static int put_name(struct conversion *c, const struct ynode *v)
{
    return put_text(c, INI_FUNCTION, "name", v);
}

static int put_secrets(struct conversion *c, const struct ynode *v)
{
    if (!taken_by_parser("[secrets]\nnames = a\n")) {
        foreign_note(c, v, "not taken over: secrets need a later version of fnd");
        return 0;
    }
    return put_list(c, INI_SECRETS, "names", v);
}

static int put_cron(struct conversion *c, const struct ynode *at, const struct ynode *schedule)
{
    int r;

    if (!taken_by_parser("[cron a]\nschedule = * * * * *\npath = /\n")) {
        foreign_note(c, at, "not taken over: schedules need a later version of fnd");
        return 0;
    }
    r = put_text(c, INI_CRON, "schedule", schedule);
    return r == 0 ? foreign_put(c, INI_CRON, "path", at, "/") : r;
}

/* ---- funko.yml ---- */

static int funko_runtime(struct conversion *c, const struct ynode *v)
{
    static const struct {
        const char *theirs, *runtime, *key, *value;
    } known[] = {{"flask", "flask", "handler", "funko:app"}, {"express", "express", "command", "node funko.js"}};
    const char *text;
    int r = foreign_text(c, v, &text);

    for (size_t i = 0; i < COUNT(known) && r == 0; i++) {
        if (strcmp(text, known[i].theirs) != 0)
            continue;
        r = foreign_put(c, INI_FUNCTION, "runtime", v, known[i].runtime);
        return r < 0 ? r : foreign_put(c, INI_FUNCTION, known[i].key, v, known[i].value);
    }
    if (r == 0)
        foreign_note(
            c, v, "there is no runtime %.40s here: the directory is taken as the root filesystem, with its program in it (fnctl new --list names the runtimes)",
            text);
    return r;
}

static const struct foreign_key funko_options[] = {
    {"ship_packages", NULL, "write the names into a file `packages`, one a line: the builder installs them"},
    {"devel_packages", NULL, "the builder has what building needs; what is missing goes into the file `packages`"},
    {"healthcheck_options", NULL, "fnd asks GET /ping itself: [health] interval and threshold"},
    {"healthcheck_command", NULL, "fnd asks GET /ping itself: [health] path says another place"},
    {"copy_from_build", NULL, "the package is what the directory holds"},
    {0},
};

static int funko_take_options(struct conversion *c, const struct ynode *v)
{
    return foreign_take(c, v, funko_options);
}

static const struct foreign_key funko[] = {
    {"name", put_name, NULL},
    {"runtime", funko_runtime, NULL},
    {"options", funko_take_options, NULL},
    {0},
};

/* ---- stack.yml ---- */

/* OpenFaaS' own templates: what their index calls, and what the shims call by the name of the contract. What others of the same beginning call is not known. */
static const struct stack_template {
    const char *prefix, *runtime, *handler, *contract, *calls;
} stack_templates[] = {
    {"python3-http", "flask", "handler.handle", "openfaas-http", "handle(event, context)"},
    {"python3-flask", "flask", "handler.handle", "openfaas-flask", "handle(req)"},
    {"python27-flask", "flask", "handler.handle", "openfaas-flask", "handle(req)"},
    {"python3", "python", "handler.handle", "openfaas-classic", "handle(req)"},
    {"python27", "python", "handler.handle", "openfaas-classic", "handle(req)"},
    {"python", "python", "handler.handle", "openfaas-classic", "handle(req)"},
    {"ruby-http", "ruby", "handler.Handler", "openfaas-http", "Handler#run(body, headers)"},
    {"ruby", "ruby", "handler.Handler", "openfaas-classic", "Handler#run(req)"},
    {"node", "node", "handler", "openfaas-classic", "the exported function (context, callback)"},
    {"node#", "node", "handler", "openfaas-http", "the exported function (event, context)"}, /* node12, node22 ... */
    {"node#-express", "node", "handler", "openfaas-http", "the exported function (event, context)"},
};

/* The same for another base or machine. */
static bool is_variant(const char *rest)
{
    static const char *const variants[] = {"", "-debian", "-alpine", "-armhf", "-arm64"};

    for (size_t i = 0; i < COUNT(variants); i++)
        if (strcmp(rest, variants[i]) == 0)
            return true;
    return false;
}

static const struct stack_template *find_template(const char *lang)
{
    for (size_t i = 0; i < COUNT(stack_templates); i++) {
        const char *p = stack_templates[i].prefix, *l = lang;

        for (; *p && (*p == '#' ? isdigit((unsigned char)*l) : *p == *l); p++)
            l += *p == '#' ? strspn(l, "0123456789") : 1;
        if (!*p && is_variant(l))
            return &stack_templates[i];
    }
    return NULL;
}

/* What a template forks itself is no word of the function's. */
static bool is_index(const char *fprocess)
{
    static const char *const own[] = {"python index.py", "python3 index.py", "node index.js", "ruby index.rb"};

    for (size_t i = 0; i < COUNT(own); i++)
        if (strcmp(fprocess, own[i]) == 0)
            return true;
    return false;
}

static int stack_lang(struct conversion *c, const struct ynode *v)
{
    const struct ynode *fprocess = ytree_get(c->function, "fprocess");
    const struct stack_template *t;
    const char *text;
    int r = foreign_text(c, v, &text);

    if (r < 0)
        return r;
    if (strncasecmp(text, "dockerfile", 10) == 0) {
        foreign_note(c, v, "not taken over: build the image elsewhere, and deploy its archive (fnctl deploy IMAGE)");
        return 0;
    }
    if (fprocess && !(fprocess->kind == YTREE_TEXT && is_index(fprocess->text))) {
        foreign_note(c, v, "not taken over: fprocess says what runs");
        return 0;
    }
    t = find_template(text);
    if (!t) {
        foreign_note(
            c,
            v, "the template %.40s is not known here (python3, -http, -flask, ruby, -http, node, node10 and later are): build the image elsewhere, and deploy its archive (fnctl deploy IMAGE)",
            text);
        return 0;
    }
    foreign_note(c, v, "%.40s is taken as Debian's: runtime = %s, handler = %s, [env] HANDLER_CONTRACT = %s, which calls %s", text, t->runtime, t->handler,
                 t->contract, t->calls);
    r = foreign_put(c, INI_FUNCTION, "runtime", v, t->runtime);
    if (r == 0)
        r = foreign_put(c, INI_FUNCTION, "handler", v, t->handler);
    return r == 0 && !foreign_env_map(c, CONTRACT) ? foreign_put(c, INI_ENV, CONTRACT, v, t->contract) : r;
}

/* What it forks is in the image. Without one, busybox has what a line of shell needs. */
static int stack_fprocess(struct conversion *c, const struct ynode *v)
{
    const char *text;
    int r = foreign_text(c, v, &text);

    if (r == 0 && is_index(text)) {
        if (!ytree_get(c->function, "lang"))
            foreign_note(c, v, "not taken over: a template's own, and no lang says which");
        return 0;
    }
    if (r == 0)
        r = put_text(c, INI_FUNCTION, "command", v);
    if (r == 0)
        r = foreign_put(c, INI_FUNCTION, "mode", v, "stdio");
    return r == 0 && !ytree_get(c->function, "image") ? foreign_put(c, INI_FUNCTION, "runtime", v, "shell") : r;
}

/* A directory beside the file, never above it. */
static int stack_handler(struct conversion *c, const struct ynode *v)
{
    const char *text;
    int r = foreign_text(c, v, &text);

    if (r < 0)
        return r;
    while (strncmp(text, "./", 2) == 0)
        text += 2 + strspn(text + 2, "/");
    if (foreign_leads_out(text))
        return foreign_refuse(c, v, "%.60s: a directory below this one is expected", text);
    return strcmp(text, ".") == 0 ? 0 : str_copy(c->out->directory, sizeof(c->out->directory), text) < 0 ? foreign_refuse(c, v, "the path is too long") : 0;
}

static int stack_image(struct conversion *c, const struct ynode *v)
{
    const char *text;
    int r = foreign_text(c, v, &text);

    if (r == 0 && !ytree_get(c->function, "handler"))
        foreign_note(c, v, "not taken over: the image itself is deployed by fnctl import docker://%.80s, or by fnctl deploy with an archive of it", text);
    return r;
}

/* Kubernetes writes 128Mi, Docker 128m. */
static int stack_memory(struct conversion *c, const struct ynode *v)
{
    const char *text;
    char value[32];
    uint64_t bytes;
    int r = foreign_text(c, v, &text);

    if (r < 0)
        return r;
    if (str_copy(value, sizeof(value), text) == 0)
        for (char *p = value; *p; p++)
            *p = *p == 'm' ? 'M' : *p == 'g' ? 'G' : *p == 'k' ? 'K' : *p;
    return str_parse_size(value, &bytes) < 0 ? foreign_refuse(c, v, "\"%.40s\" is no size (128Mi, 128m)", text) : foreign_put(c, INI_LIMITS, "memory", v, value);
}

static int stack_cpu(struct conversion *c, const struct ynode *v)
{
    const char *text;
    uint64_t milli;
    int r = foreign_text(c, v, &text);

    if (r < 0)
        return r;
    return str_parse_cpu(text, &milli) < 0 ? foreign_refuse(c, v, "\"%.40s\" is no number of CPUs (0.5, 500m)", text)
                                           : foreign_put(c, INI_LIMITS, "cpu", v, text);
}

static const struct foreign_key stack_limits_keys[] = {{"memory", stack_memory, NULL}, {"cpu", stack_cpu, NULL}, {0}};

static int stack_limits(struct conversion *c, const struct ynode *v)
{
    return foreign_take(c, v, stack_limits_keys);
}

static int stack_scale_min(struct conversion *c, const struct ynode *v)
{
    return put_number(c, INI_SCALE, "min", v, "");
}

static int stack_scale_max(struct conversion *c, const struct ynode *v)
{
    return put_number(c, INI_SCALE, "max", v, "");
}

static const struct foreign_key stack_labels_keys[] = {{"com.openfaas.scale.min", stack_scale_min, NULL}, {"com.openfaas.scale.max", stack_scale_max, NULL}, {0}};

static int stack_labels(struct conversion *c, const struct ynode *v)
{
    return foreign_take(c, v, stack_labels_keys);
}

/* The cron connector's: topic: cron-function, and when. */
static bool is_scheduled(const struct conversion *c)
{
    const struct ynode *all = ytree_get(c->function, "annotations"), *topic = ytree_get(all, "topic");

    return topic && topic->kind == YTREE_TEXT && strcmp(topic->text, "cron-function") == 0 && ytree_get(all, "schedule");
}

static int stack_topic(struct conversion *c, const struct ynode *v)
{
    if (!is_scheduled(c))
        foreign_note(c, v, "not taken over: there are no connectors: whoever knows of the event calls the function's URL");
    return 0;
}

static int stack_schedule(struct conversion *c, const struct ynode *v)
{
    if (is_scheduled(c))
        return put_cron(c, v, v);
    foreign_note(c, v, "not taken over: a schedule is [cron NAME] in function.ini, with the path that it asks");
    return 0;
}

static const struct foreign_key stack_annotations_keys[] = {
    {"topic", stack_topic, NULL},
    {"schedule", stack_schedule, NULL},
    {"com.openfaas.health.http.path", NULL, "a handler's health is asked by GET /ping, which is answered for it; [health] path says another place"},
    {0},
};

static int stack_annotations(struct conversion *c, const struct ynode *v)
{
    return foreign_take(c, v, stack_annotations_keys);
}

static int stack_readonly(struct conversion *c, const struct ynode *v)
{
    bool readonly;
    int r = get_bool(c, v, &readonly);

    return r == 0 && !readonly ? foreign_put(c, INI_FUNCTION, "writable", v, "yes") : r;
}

static const struct foreign_key stack[] = {
    {"lang", stack_lang, NULL},
    {"handler", stack_handler, NULL},
    {"image", stack_image, NULL},
    {"fprocess", stack_fprocess, NULL},
    {"environment", foreign_env_watchdog, NULL},
    {"limits", stack_limits, NULL},
    {"labels", stack_labels, NULL},
    {"annotations", stack_annotations, NULL},
    {"secrets", put_secrets, NULL},
    {"readonly_root_filesystem", stack_readonly, NULL},
    {"environment_file", foreign_env_files, NULL},
    {"requests", NULL, "memory and CPU are promised as [limits] says"},
    {"constraints", NULL, "there is one host"},
    {"namespace", NULL, "fnctl deploy --env-name says the environment"},
    {"build_args", NULL, "nothing is built from a Dockerfile"},
    {"build_secrets", NULL, "nothing is built from a Dockerfile"},
    {"build_options", NULL, "Debian packages go into the file `packages`"},
    {"skip_build", NULL, ""},
    {"publish", NULL, ""},
    {0},
};

static const struct foreign_key stack_configuration_keys[] = {
    {"templates", NULL, ""}, /* of each function's lang it is said */
    {"copy", NULL, "copy or link the directories into the function's own"},
    {0},
};

static int stack_configuration(struct conversion *c, const struct ynode *v)
{
    return foreign_take(c, v, stack_configuration_keys);
}

static const struct foreign_key stack_top[] = {
    {"version", NULL, ""}, {"provider", NULL, ""}, {"functions", NULL, ""}, {"configuration", stack_configuration, NULL}, {0},
};

/* ---- serverless.yml ---- */

static int serverless_runtime(struct conversion *c, const struct ynode *v)
{
    static const struct {
        const char *prefix, *runtime;
    } known[] = {{"nodejs", "node"}, {"python", "python"}, {"ruby", "ruby"}};
    const char *text;
    int r = foreign_text(c, v, &text);

    for (size_t i = 0; i < COUNT(known) && r == 0; i++) {
        if (strncmp(text, known[i].prefix, strlen(known[i].prefix)) != 0)
            continue;
        if (text[strlen(known[i].prefix)])
            foreign_note(c, v, "%.40s is taken as Debian's %s", text, known[i].runtime);
        return foreign_put(c, INI_FUNCTION, "runtime", v, known[i].runtime);
    }
    if (r == 0)
        foreign_note(c, v, "there is no runtime %.40s here (fnctl new --list)", text);
    return r;
}

static int serverless_handler(struct conversion *c, const struct ynode *v)
{
    int r = put_text(c, INI_FUNCTION, "handler", v);

    return r == 0 && !foreign_env_map(c, CONTRACT) ? foreign_put(c, INI_ENV, CONTRACT, v, "spotinst") : r;
}

static int serverless_memory(struct conversion *c, const struct ynode *v)
{
    return put_number(c, INI_LIMITS, "memory", v, "M");
}

static int serverless_timeout(struct conversion *c, const struct ynode *v)
{
    return put_number(c, INI_LIMITS, "timeout", v, "s");
}

static int serverless_access(struct conversion *c, const struct ynode *v)
{
    return put_text(c, INI_FUNCTION, "access", v);
}

/* The platform's defaults where it only says that there is CORS. */
static int serverless_cors(struct conversion *c, const struct ynode *v)
{
    static const struct {
        const char *theirs, *key, *otherwise;
    } parts[] = {{"origin", "cors", "*"},
                 {"headers", "cors_headers", "Content-Type,Authorization"},
                 {"methods", "cors_methods", "DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT"}};
    static const struct foreign_key known[] = {{"enabled", NULL, ""}, {"origin", NULL, ""}, {"headers", NULL, ""}, {"methods", NULL, ""}, {0}};
    const struct ynode *enabled = v->kind == YTREE_TEXT && *v->text ? v : ytree_get(v, "enabled");
    bool on = false;
    int r = enabled ? get_bool(c, enabled, &on) : 0;

    if (r == 0 && enabled != v)
        r = foreign_take(c, v, known);
    if (r == 0 && !enabled)
        foreign_note(c, v, "not taken over: without `enabled: true` there is none");
    for (size_t i = 0; i < COUNT(parts) && r == 0 && on; i++) {
        const struct ynode *n = ytree_get(v, parts[i].theirs);

        r = n ? put_list(c, INI_HTTP, parts[i].key, n) : foreign_put(c, INI_HTTP, parts[i].key, v, parts[i].otherwise);
    }
    return r;
}

static int serverless_cron(struct conversion *c, const struct ynode *v)
{
    static const struct foreign_key known[] = {{"value", NULL, ""}, {"active", NULL, ""}, {0}};
    const struct ynode *value = ytree_get(v, "value"), *active = ytree_get(v, "active");
    bool on = true;
    int r = foreign_take(c, v, known);

    if (r == 0 && active)
        r = get_bool(c, active, &on);
    if (r < 0)
        return r;
    if (!value)
        return foreign_refuse(c, v, "value: '0 3 * * *' is missing below it");
    r = put_cron(c, v, value);
    return r == 0 && !on && c->sections[INI_CRON].len ? foreign_put(c, INI_CRON, "active", v, "no") : r;
}

static const struct foreign_key serverless[] = {
    {"runtime", serverless_runtime, NULL},
    {"handler", serverless_handler, NULL},
    {"memory", serverless_memory, NULL},
    {"timeout", serverless_timeout, NULL},
    {"access", serverless_access, NULL},
    {"cors", serverless_cors, NULL},
    {"cron", serverless_cron, NULL},
    {"environmentVariables", foreign_env_put, NULL},
    {"environment", foreign_env_put, NULL},
    {"activeVersions", NULL, "the newest version is the one that is asked"},
    {"events", NULL, "a function is asked by its URL; [http] paths gives it one of its own"},
    {"iamRoleConfig", NULL, "there are no roles of a cloud here"},
    {0},
};

/* Of all functions that say none of their own. */
static int serverless_default_runtime(struct conversion *c, const struct ynode *v)
{
    return ytree_get(c->function, "runtime") ? 0 : serverless_runtime(c, v);
}

static int serverless_provider(struct conversion *c, const struct ynode *v)
{
    static const struct foreign_key known[] = {
        {"name", NULL, ""},
        {"stage", NULL, ""},
        {"runtime", serverless_default_runtime, NULL},
        {"spotinst", NULL, "fnctl deploy --env-name says the environment"},
        {0},
    };
    const struct ynode *name = v->kind == YTREE_TEXT ? v : ytree_get(v, "name");

    if (!name || strcmp(name->text, "spotinst") != 0)
        foreign_note(c, name ? name : v, "read as Spotinst's form: other providers mean other things by the same keys");
    return name == v ? 0 : foreign_take(c, v, known);
}

static const struct foreign_key serverless_top[] = {
    {"service", NULL, ""},
    {"frameworkVersion", NULL, ""},
    {"provider", serverless_provider, NULL},
    {"functions", NULL, ""},
    {"plugins", NULL, ""},
    {"package", NULL, "what is no part of the package stands in .fndignore"},
    {0},
};

const struct foreign_key *const foreign_keys[FOREIGN_COUNT] = {[FOREIGN_FUNKO] = funko, [FOREIGN_STACK] = stack, [FOREIGN_SERVERLESS] = serverless};
const struct foreign_key *const foreign_top[FOREIGN_COUNT] = {[FOREIGN_STACK] = stack_top, [FOREIGN_SERVERLESS] = serverless_top};
