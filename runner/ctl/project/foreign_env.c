/*
 * foreign_env.c: the variables of other systems' functions: which of several places that say one counts, and the files beside stack.yml that say some. It opens no file itself.
 *
 * Files win over the function's own `environment`, and later ones over earlier ones, as faas-cli has it (commands/deploy.go: readFiles, compileEnvironment).
 */
#include "foreign.h"

#include "diag.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

bool foreign_leads_out(const char *path)
{
    return *path == '/' || strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 || strstr(path, "/../") || str_ends_with(path, "/..");
}

static const struct ynode *map_of(const struct foreign_file *f)
{
    return ytree_get(ytree_top(f->tree), "environment");
}

const struct ynode *foreign_env_map(const struct conversion *c, const char *name)
{
    static const char *const maps[] = {"environmentVariables", "environment"};

    for (unsigned i = c->nfiles; i > 0; i--)
        if (ytree_get(map_of(&c->files[i - 1]), name))
            return map_of(&c->files[i - 1]);
    for (size_t i = 0; i < COUNT(maps); i++) {
        const struct ynode *map = ytree_get(c->function, maps[i]);

        if (ytree_get(map, name))
            return map;
    }
    return NULL;
}

/* From which of the files; "environmentVariables" where it is none of them. */
static const char *name_of(const struct conversion *c, const struct ynode *map)
{
    for (unsigned i = 0; i < c->nfiles; i++)
        if (map_of(&c->files[i]) == map)
            return c->files[i].name;
    return map->key;
}

static int put_map(struct conversion *c, const struct ynode *map, bool note)
{
    int r = 0;

    if (map->kind != YTREE_MAP)
        return map->kind == YTREE_TEXT && !*map->text ? 0 : foreign_refuse(c, map, "NAME: VALUE lines are expected below it");
    for (const struct ynode *n = map->first; n && r == 0; n = n->next) {
        const struct ynode *counts = foreign_env_map(c, n->key);
        const char *text;

        if (counts != map && !note)
            continue;
        r = foreign_text(c, n, &text);
        if (r == 0 && counts != map)
            foreign_note(c, n, "not taken over: %.80s says it, too", name_of(c, counts));
        else if (r == 0)
            r = foreign_put(c, INI_ENV, n->key, n, text);
    }
    return r;
}

int foreign_env_put(struct conversion *c, const struct ynode *v)
{
    return put_map(c, v, true);
}

/* The one that ends a request is our limit, too. */
static int put_timeout(struct conversion *c, const struct ynode *map)
{
    const struct ynode *timeout = ytree_get(map, "exec_timeout");
    uint64_t ns;

    if (!timeout || foreign_env_map(c, timeout->key) != map || str_parse_duration(timeout->text, &ns) < 0 || ns == 0)
        return 0;
    return foreign_put(c, INI_LIMITS, "timeout", timeout, timeout->text);
}

int foreign_env_watchdog(struct conversion *c, const struct ynode *v)
{
    int r = put_map(c, v, true);

    return r == 0 ? put_timeout(c, v) : r;
}

/* What is said of a file's line names the file. */
int foreign_env_files(struct conversion *c, const struct ynode *v)
{
    static const struct foreign_key known[] = {{"environment", NULL, ""}, {0}};
    const char *what = c->what;
    int r = 0;

    for (unsigned i = 0; i < c->nfiles && r == 0; i++) {
        const struct ynode *top = ytree_top(c->files[i].tree), *map = map_of(&c->files[i]);

        c->what = c->files[i].what;
        r = foreign_take(c, top, known);
        if (r == 0)
            r = map ? put_map(c, map, false) : foreign_refuse(c, top, "environment: with NAME: VALUE lines below it is expected");
        if (r == 0)
            r = put_timeout(c, map);
    }
    c->what = what;
    return r;
}

static const char *prefix(const struct ynode *at)
{
    return at->key ? "" : "environment_file: "; /* of a list */
}

static int open_one(struct conversion *c, const struct foreign_reader *reader, const struct ynode *at)
{
    struct foreign_file *f = &c->files[c->nfiles];
    char what[PATH_MAX + 32];
    const char *name;
    int r = foreign_text(c, at, &name);

    if (r < 0)
        return r;
    while (strncmp(name, "./", 2) == 0)
        name += 2 + strspn(name + 2, "/");
    if (foreign_leads_out(name))
        return foreign_refuse(c, at, "%s%.80s: a file below this directory is expected: copy it there", prefix(at), name);
    if (c->nfiles == FOREIGN_ENV_FILES)
        return foreign_refuse(c, at, "%smore than %d files", prefix(at), FOREIGN_ENV_FILES);
    r = reader->read(reader->arg, name, what, sizeof(what), &f->tree, c->d);
    if (r <= 0)
        return r < 0 ? r : foreign_refuse(c, at, "%s%.80s is not there", prefix(at), name);
    f->name = name;
    f->what = strdup(what);
    c->nfiles++;
    return f->what ? 0 : diag_set(c->d, ENOMEM, "out of memory");
}

int foreign_env_open(struct conversion *c, const struct foreign_reader *reader)
{
    const struct ynode *v = ytree_get(c->function, "environment_file");
    int r = 0;

    if (!v || (v->kind == YTREE_TEXT && !*v->text))
        return 0;
    if (v->kind == YTREE_MAP)
        return foreign_refuse(c, v, "a list of files is expected");
    if (v->kind == YTREE_TEXT)
        return open_one(c, reader, v);
    for (const struct ynode *n = v->first; n && r == 0; n = n->next)
        r = open_one(c, reader, n);
    return r;
}

void foreign_env_close(struct conversion *c)
{
    while (c->nfiles > 0) {
        c->nfiles--;
        free(c->files[c->nfiles].what);
        ytree_free(c->files[c->nfiles].tree);
    }
}
