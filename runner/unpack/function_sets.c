/* function_sets.c: settings of the command line (--set SECTION.KEY=VALUE), laid over function.ini: for packages that know nothing of fnd. Each goes through the same table of keys. */
#include "unpack_internal.h"

#include "diag.h"

#include <errno.h>
#include <string.h>

/* The key and the value begin behind the first '.' and the first '=': sections have no '.' in their names, keys of [env] may. */
static int set_split(const char *set, char buf[FUNCTION_SET_MAX], const char **ret_key, const char **ret_value, struct diag *d)
{
    size_t len = strlen(set);
    char *dot, *equals;

    if (len >= FUNCTION_SET_MAX)
        return diag_set(d, E2BIG, "--set %.60s...: more than %d bytes", set, FUNCTION_SET_MAX - 1);
    memcpy(buf, set, len + 1);
    for (const char *p = buf; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return diag_set(d, EINVAL, "--set %.*s...: it has control characters", (int)(p - buf < 60 ? p - buf : 60), buf);
    dot = strchr(buf, '.');
    equals = strchr(buf, '=');
    if (!dot || !equals || dot == buf || dot > equals || dot + 1 == equals)
        return diag_set(d, EINVAL, "--set %.80s: it is not SECTION.KEY=VALUE, as in function.ini (function.port=80)", set);
    *dot = *equals = '\0';
    *ret_key = dot + 1;
    *ret_value = equals + 1;
    return 0;
}

static bool same_key(const char *set, const char *section, const char *key)
{
    size_t s = strlen(section), k = strlen(key);

    return strncmp(set, section, s) == 0 && set[s] == '.' && strncmp(set + s + 1, key, k) == 0 && set[s + 1 + k] == '=';
}

static bool has_before(const struct function_ini *f, const char *end, const char *section, const char *key)
{
    for (const char *set = f->sets; set < end; set += strlen(set) + 1)
        if (same_key(set, section, key))
            return true;
    return false;
}

bool function_sets_has(const struct function_ini *f, const char *section, const char *key)
{
    return f->sets_len > 0 && has_before(f, f->sets + f->sets_len, section, key);
}

int function_sets_apply(struct function_ini *f, struct diag *d)
{
    char section[FUNCTION_SET_MAX];

    if (f->sets_len == 0)
        return 0;
    for (const char *set = f->sets; set < f->sets + f->sets_len; set += strlen(set) + 1) {
        const char *key = NULL, *value = NULL;
        int r = set_split(set, section, &key, &value, d);

        if (r < 0)
            return r;
        if (has_before(f, set, section, key))
            return diag_set(d, EINVAL, "--set %.60s.%.60s comes twice", section, key);
        if (function_ini_put(f, section, key, value, 0, d) < 0)
            return diag_prefix(d, "--set %.60s.%.60s", section, key);
    }
    return 0;
}

int function_sets_label(struct function_ini *f, const char *lines, struct diag *d)
{
    char set[FUNCTION_SET_MAX], section[FUNCTION_SET_MAX];

    for (size_t len; *lines; lines += len + (lines[len] == '\n')) {
        const char *key = "", *value = "";
        int r;

        len = strcspn(lines, "\n");
        if (len >= sizeof(set))
            return diag_set(d, E2BIG, "\"%.60s...\" has more than %d bytes", lines, FUNCTION_SET_MAX - 1);
        memcpy(set, lines, len);
        set[len] = '\0';
        r = set_split(set, section, &key, &value, d);
        if (r == 0 && !function_sets_has(f, section, key))
            r = function_ini_put(f, section, key, value, 0, d);
        if (r < 0)
            return r;
    }
    return 0;
}

int function_sets_place(struct diag *d, unsigned line, const char *what)
{
    return line > 0 ? diag_prefix(d, UNPACK_INI ":%u: [function]%s", line, what) : diag_prefix(d, "--set: [function]%s", what);
}
