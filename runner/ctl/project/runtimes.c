/* runtimes.c: a private daemon begins without runtimes: what was built on this host is given to it when a function asks for it. Never from the network. */
#include "project.h"

#include "api.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool find_file(const char *name, bool shipped, char *path, size_t size)
{
    char exe[PATH_MAX];
    const char *places[] = {exe, FND_SHARE, "/var/cache/fnd/runtimes"};

    if (!name_valid(name) || ctl_exe_dir(exe, sizeof(exe)) < 0)
        return false;
    for (size_t i = 0; i < CTL_COUNT(places) - shipped; i++) {
        int n = snprintf(path, size, "%s/runtime-%s.tar", places[i], name);

        if (n > 0 && (size_t)n < size && access(path, R_OK) == 0)
            return true;
    }
    return false;
}

bool runtimes_shipped(const char *name, char *path, size_t size)
{
    return find_file(name, true, path, size);
}

bool runtimes_on_host(const char *name)
{
    char path[PATH_MAX];

    return find_file(name, false, path, sizeof(path));
}

/* *ret is NULL where what answers does not say. */
static int get_list(struct ctl *ctl, bool quiet, json_t **ret)
{
    struct api_call c = {.method = "GET", .target = API_PREFIX "/runtimes", .raw = true, .quiet = quiet};
    json_t *j = NULL;
    int r = ctl_api_perform(ctl, &c);

    if (r == CTL_OK && c.status == 200)
        j = json_loadb(c.answer.len ? c.answer.data : "", c.answer.len, 0, NULL);
    ctl_api_call_done(&c);
    *ret = json_incref(json_object_get(j, "runtimes"));
    json_decref(j);
    return r;
}

json_t *runtimes_list(struct ctl *ctl)
{
    json_t *list = NULL;

    get_list(ctl, true, &list);
    return list;
}

bool runtimes_has(const json_t *list, const char *name)
{
    const json_t *r;
    size_t i;

    json_array_foreach(list, i, r) if (strcmp(ctl_json_text(r, "name", ""), name) == 0) return true;
    return false;
}

/* What may be meant by a name. */
struct guess {
    const char *name, *here; /* of the daemon: " a b", or "" */
    char near[NAME_PART_MAX + 1];
    unsigned distance;
    bool known;
    struct strbuf recipes;
};

/* "python3" and "node18" mean what they begin with, the longest of it; else what differs by a letter or two does. */
static void guess_by(struct guess *g, const char *name)
{
    const char *near = NULL;

    if (strncmp(g->name, name, strlen(name)) == 0) {
        if (g->distance > 0 || strlen(name) > strlen(g->near))
            near = name;
        g->distance = 0;
    } else if (g->distance > 0) {
        ctl_nearest(g->name, name, &near, &g->distance);
    }
    if (near)
        str_copy(g->near, sizeof(g->near), near);
}

/* Builders, and what they are made of, run no functions. */
static void on_recipe(void *arg, const char *name)
{
    struct guess *g = arg;

    g->known |= strcmp(g->name, name) == 0;
    if (str_ends_with(name, "-build") || strcmp(name, "builder") == 0)
        return;
    guess_by(g, name);
    strbuf_printf(&g->recipes, " %s", name);
}

bool runtimes_unheard_of(const char *name)
{
    struct guess g = {.name = name, .distance = 3};
    bool r;

    runtime_recipes(on_recipe, &g);
    r = !g.known && g.recipes.len > 0;
    strbuf_done(&g.recipes);
    return r;
}

static int say_missing(struct guess *g)
{
    const char *name = g->name;
    char meant[NAME_PART_MAX + 32] = "";

    runtime_recipes(on_recipe, g);
    if (*g->near)
        snprintf(meant, sizeof(meant), ": did you mean %s?", g->near);
    if (g->known || !g->recipes.len)
        ctl_fail(CTL_FAILED, "runtime %s is not here: make it by `fnctl runtime build %s`, or put a tree by `fnctl runtime put %s ARCHIVE`; here %s%.300s",
                 name, name, name, *g->here ? "are:" : "is none", g->here);
    else
        ctl_fail(CTL_FAILED, "runtime %s is not here, and there is no recipe of that name%s `fnctl runtime build` makes:%.600s; here %s%.300s", name,
                 *meant ? meant : ":", g->recipes.data, *g->here ? "are:" : "is none", g->here);
    strbuf_done(&g->recipes);
    return CTL_FAILED;
}

int runtimes_ask(struct ctl *ctl, const char *name)
{
    json_t *list cleanup_json = NULL;
    struct strbuf names cleanup_strbuf = {0};
    struct guess g = {.name = name, .distance = 3};
    const json_t *one;
    size_t i;
    int r;

    if (!name_valid(name))
        return CTL_OK;
    r = get_list(ctl, false, &list);
    if (r != CTL_OK || !json_is_array(list) || runtimes_has(list, name))
        return r;
    json_array_foreach(list, i, one)
    {
        strbuf_printf(&names, " %s", ctl_json_text(one, "name", "?"));
        if (!str_ends_with(ctl_json_text(one, "name", "?"), "-build"))
            guess_by(&g, ctl_json_text(one, "name", "?"));
    }
    if (names.len)
        ctl_text_clean(names.data);
    g.here = names.len ? names.data : "";
    return say_missing(&g);
}

const char *runtimes_of(const struct ctl *ctl, const struct project *p)
{
    static const char key[] = "function.runtime=";
    const struct text_list *sets = &ctl->o->sets;

    for (unsigned i = 0; i < sets->count; i++)
        if (strncmp(sets->items[i], key, sizeof(key) - 1) == 0)
            return sets->items[i] + sizeof(key) - 1;
    return p->facts.runtime;
}

int runtimes_need(struct ctl *ctl, const char *name)
{
    json_t *list cleanup_json = NULL;
    char path[PATH_MAX], target[128];
    struct diag d = {0};
    struct body b;
    struct api_call c = {.method = "PUT", .target = target, .body = &b, .no_timeout = true};
    int r;

    if (!ctl->is_private || !*name)
        return CTL_OK;
    if (!find_file(name, false, path, sizeof(path)))
        return runtimes_ask(ctl, name);
    list = runtimes_list(ctl);
    if (!list || runtimes_has(list, name))
        return CTL_OK;
    if (ctl_body_file(&b, path, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    snprintf(target, sizeof(target), API_PREFIX "/runtimes/%s", name);
    r = ctl_api_perform(ctl, &c);
    ctl_api_call_done(&c);
    ctl_body_done(&b);
    return r;
}
