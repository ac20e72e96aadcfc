/* foreign_ini.c: the walk over another system's file, and the function.ini that is written meanwhile; what each key means is in foreign_keys.c, which variable counts in foreign_env.c. */
#include "foreign.h"

#include "diag.h"
#include "names.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 198 /* inifile.h */

const char *const foreign_files[FOREIGN_COUNT][3] = {
    [FOREIGN_FUNKO] = {"funko.yml"},
    [FOREIGN_STACK] = {"stack.yml", "stack.yaml"},
    [FOREIGN_SERVERLESS] = {"serverless.yml"},
};

static const char *const section_names[INI_SECTIONS] = {
    [INI_FUNCTION] = "function", [INI_LIMITS] = "limits",   [INI_SCALE] = "scale",         [INI_HTTP] = "http",
    [INI_ENV] = "env",           [INI_SECRETS] = "secrets", [INI_CRON] = "cron scheduled",
};

void foreign_done(struct foreign *f)
{
    strbuf_done(&f->ini);
    strbuf_done(&f->notes);
}

void foreign_note(struct conversion *c, const struct ynode *at, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) /* of a value: a note is one line */
        *p = (unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p;
    strbuf_printf(&c->out->notes, "%s:%u: %s%s%s\n", c->what, at->line, at->key ? at->key : "", at->key ? ": " : "", text);
}

int foreign_refuse(struct conversion *c, const struct ynode *at, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return diag_set(c->d, EINVAL, "%s:%u: %s%s%s", c->what, at->line, at->key ? at->key : "", at->key ? ": " : "", text);
}

int foreign_text(struct conversion *c, const struct ynode *at, const char **ret)
{
    if (at->kind != YTREE_TEXT)
        return foreign_refuse(c, at, "one value is expected");
    if (strstr(at->text, "${"))
        foreign_note(c, at, "${...} is not expanded: the value is taken as it stands");
    *ret = at->text;
    return 0;
}

/* Does it survive the way through an .ini line? Blanks around it, and a quote before it, do between quotes. */
static bool writable_value(const char *value, bool *ret_quote)
{
    size_t len = strlen(value);

    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    if (strstr(value, " ;"))
        return false;
    *ret_quote = len > 0 && (*value == ' ' || value[len - 1] == ' ' || *value == ';' || (*value == '"' && len > 1 && value[len - 1] == '"'));
    return !*ret_quote || !strchr(value, '"');
}

int foreign_put(struct conversion *c, enum ini_section section, const char *key, const struct ynode *at, const char *value)
{
    bool quote = false;

    if (strlen(key) + strlen(value) + 5 > LINE_BYTES || !writable_value(value, &quote))
        return foreign_refuse(
            c, at,
            "the value is too long for a line of function.ini, or has control characters, \" ;\" or mixed quotes: keep it in the package as a file env/%.40s",
            key);
    if (strpbrk(key, "=:[]#;\" \t") || !*key)
        return foreign_refuse(c, at, "\"%.40s\" cannot be a key of function.ini", key);
    strbuf_printf(&c->sections[section], "%s = %s%s%s\n", key, quote ? "\"" : "", value, quote ? "\"" : "");
    return 0;
}

int foreign_take(struct conversion *c, const struct ynode *map, const struct foreign_key *keys)
{
    int r = 0;

    if (map->kind != YTREE_MAP)
        return map->kind == YTREE_TEXT && !*map->text ? 0 : foreign_refuse(c, map, "KEY: VALUE lines are expected below it");
    for (const struct ynode *n = map->first; n && r == 0; n = n->next) {
        const struct foreign_key *k = keys;

        while (k->key && strcmp(k->key, n->key) != 0)
            k++;
        if (k->take)
            r = k->take(c, n);
        else if ((!k->key || *k->why) && !(n->kind == YTREE_LIST && !n->first)) /* of an empty list nothing is lost */
            foreign_note(c, n, "not taken over: %s", k->key ? k->why : "not known here");
    }
    return r;
}

/* The map of functions; the file itself where it is one function. */
static const struct ynode *functions_of(enum foreign_kind kind, const struct ytree *t)
{
    return kind == FOREIGN_FUNKO ? NULL : ytree_get(ytree_top(t), "functions");
}

const char *foreign_name(enum foreign_kind kind, const struct ytree *t, unsigned i)
{
    const struct ynode *all = functions_of(kind, t), *n = all && all->kind == YTREE_MAP ? all->first : NULL;

    for (; n && i > 0; i--)
        n = n->next;
    return n ? n->key : NULL;
}

static int choose(struct conversion *c, enum foreign_kind kind, const struct ytree *t, const char *pick)
{
    const struct ynode *all = functions_of(kind, t);
    struct strbuf names cleanup_strbuf = {0};

    if (kind == FOREIGN_FUNKO) {
        c->function = ytree_top(t);
        return 0;
    }
    if (!all || all->kind != YTREE_MAP || !all->first)
        return diag_set(c->d, EINVAL, "%s:%u: there is no function below functions:", c->what, all ? all->line : 1);
    for (const struct ynode *n = all->first; n; n = n->next) {
        if (!all->first->next || (pick && strcmp(n->key, pick) == 0))
            c->function = n;
        strbuf_printf(&names, " %.60s", n->key);
    }
    if (c->function)
        return 0;
    if (pick)
        return diag_set(c->d, ENOENT, "%s: there is no function %.60s; there are:%.300s", c->what, pick, names.data);
    return diag_set(c->d, EINVAL, "%s has several functions, say which with --name, or --all:%.300s", c->what, names.data);
}

static int write_ini(struct conversion *c)
{
    for (int i = 0; i < INI_SECTIONS; i++) {
        if (c->sections[i].len)
            strbuf_printf(&c->out->ini, "%s[%s]\n%s", c->out->ini.len ? "\n" : "", section_names[i], c->sections[i].data);
        c->out->ini.failed |= c->sections[i].failed;
    }
    return c->out->ini.failed || c->out->notes.failed ? diag_set(c->d, ENOMEM, "out of memory") : 0;
}

static int convert(struct conversion *c, enum foreign_kind kind, const struct ytree *t, const char *pick, const struct foreign_reader *reader)
{
    int r = choose(c, kind, t, pick);

    assert(r < 0 || c->function);
    if (r == 0 && kind != FOREIGN_FUNKO) {
        if (!name_valid(c->function->key))
            return foreign_refuse(c, c->function, "is no name for a function: letters, digits, '-' and '_', at most %d", NAME_PART_MAX);
        str_copy(c->out->function, sizeof(c->out->function), c->function->key);
        r = foreign_put(c, INI_FUNCTION, "name", c->function, c->function->key);
    }
    if (r == 0 && kind == FOREIGN_STACK)
        r = foreign_env_open(c, reader);
    if (r == 0 && foreign_top[kind])
        r = foreign_take(c, ytree_top(t), foreign_top[kind]);
    if (r == 0)
        r = foreign_take(c, c->function, foreign_keys[kind]);
    return r == 0 ? write_ini(c) : r;
}

int foreign_convert(enum foreign_kind kind, const char *what, const struct ytree *t, const char *pick, const struct foreign_reader *reader, struct foreign *ret,
                    struct diag *d)
{
    struct conversion c = {.what = what, .out = ret, .d = d};
    int r;

    *ret = (struct foreign){0};
    r = convert(&c, kind, t, pick, reader);
    foreign_env_close(&c);
    for (int i = 0; i < INI_SECTIONS; i++)
        strbuf_done(&c.sections[i]);
    if (r < 0)
        foreign_done(ret);
    return r;
}
