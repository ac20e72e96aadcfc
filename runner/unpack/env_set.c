/* env_set.c: an environment being put together from several sources; keys are unique, the last value wins. */
#include "unpack_internal.h"

#include "diag.h"
#include "str.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void env_set_done(struct env_set *e)
{
    for (unsigned i = 0; i < e->count; i++)
        free(e->items[i]);
    free(e->items);
    *e = (struct env_set){0};
}

/* What spec_check() will accept. */
static bool key_ok(const char *key)
{
    if (!isalpha((unsigned char)*key) && *key != '_')
        return false;
    for (; *key; key++)
        if (!isalnum((unsigned char)*key) && *key != '_' && *key != '-' && *key != '.')
            return false;
    return true;
}

/* Those that every plan sets itself: another value would be dropped there without a word. */
static int refuse_own(const char *key, struct diag *d)
{
    if (strcmp(key, "PORT") == 0)
        return diag_set(d, EINVAL, "the variable PORT is set by fnd: say `port = N` in [function]");
    if (strncmp(key, "FND_", 4) == 0)
        return diag_set(d, EINVAL, "the variable %.60s: names that begin with FND_ are set by fnd alone", key);
    return 0;
}

static char **env_set_find(const struct env_set *e, const char *key)
{
    size_t len = strlen(key);

    for (unsigned i = 0; i < e->count; i++)
        if (strncmp(e->items[i], key, len) == 0 && e->items[i][len] == '=')
            return &e->items[i];
    return NULL;
}

bool env_set_has(const struct env_set *e, const char *key)
{
    return env_set_find(e, key) != NULL;
}

/* The caller's (free); NULL without memory. */
static char *join(const char *key, const char *value)
{
    struct strbuf b = {0};

    strbuf_puts(&b, key);
    strbuf_puts(&b, "=");
    strbuf_puts(&b, value);
    if (b.failed)
        strbuf_done(&b);
    return b.data;
}

int env_set_put(struct env_set *e, const char *key, const char *value, struct diag *d)
{
    char **place, *item;

    if (!key_ok(key))
        return diag_set(d, EINVAL, "\"%.60s\" is no name for a variable: use letters, digits and '_', not beginning with a digit", key);
    if (refuse_own(key, d) < 0)
        return -EINVAL;
    if (strlen(key) + strlen(value) + 2 > SPEC_STRINGS_MAX)
        return diag_set(d, E2BIG, "the variable %.60s has more than %u bytes", key, SPEC_STRINGS_MAX);
    place = env_set_find(e, key);
    if (!place && e->count >= SPEC_ENV_MAX)
        return diag_set(d, E2BIG, "more than %d variables", SPEC_ENV_MAX);
    if (!place && e->count == e->room) {
        unsigned room = e->room ? e->room * 2 : 16;
        char **grown = realloc(e->items, room * sizeof(*grown));

        if (!grown)
            return diag_set(d, ENOMEM, "out of memory");
        e->items = grown;
        e->room = room;
    }
    item = join(key, value);
    if (!item)
        return diag_set(d, ENOMEM, "out of memory");
    if (place) {
        free(*place);
        *place = item;
    } else {
        e->items[e->count++] = item;
    }
    return 0;
}

int env_set_merge(struct env_set *e, const struct env_set *from, struct diag *d)
{
    for (unsigned i = 0; i < from->count; i++) {
        char *eq = strchr(from->items[i], '=');
        int r;

        *eq = '\0';
        r = env_set_put(e, from->items[i], eq + 1, d);
        *eq = '=';
        if (r < 0)
            return r;
    }
    return 0;
}
