#include "names.h"

#include "diag.h"
#include "str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#define INSTANCE_SUFFIX 6

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool name_span_valid(const char *s, size_t len)
{
    if (len == 0 || len > NAME_PART_MAX || !is_alnum(s[0]) || !is_alnum(s[len - 1]))
        return false;
    for (size_t i = 1; i < len - 1; i++)
        if (!is_alnum(s[i]) && s[i] != '-' && s[i] != '_')
            return false;
    return true;
}

bool name_valid(const char *part)
{
    return name_span_valid(part, strlen(part));
}

static int name_refuse(struct diag *d, const char *what, const char *text)
{
    return diag_set(d, EINVAL, "%s \"%.80s\" is not valid: use 1 to %d letters, digits, '-' and '_', beginning and ending with a letter or digit", what, text,
                    NAME_PART_MAX);
}

int name_make(const char *name, const char *env, struct fn_id *ret, struct diag *d)
{
    struct fn_id id = {0};

    if (!env || !*env)
        env = NAME_DEFAULT_ENV;
    if (!name_valid(name))
        return name_refuse(d, "function name", name);
    if (!name_valid(env))
        return name_refuse(d, "environment name", env);
    str_copy(id.name, sizeof(id.name), name);
    str_copy(id.env, sizeof(id.env), env);
    *ret = id;
    return 0;
}

int name_parse(const char *text, struct fn_id *ret, struct diag *d)
{
    char name[NAME_FUNCTION_MAX + 1];
    char *dot;

    if (str_copy(name, sizeof(name), text) < 0)
        return name_refuse(d, "function name", text);
    dot = strchr(name, '.');
    if (dot) {
        *dot++ = '\0';
        if (!*dot)
            return name_refuse(d, "environment name", dot);
    }
    return name_make(name, dot, ret, d);
}

const char *name_format(const struct fn_id *id, char *buf)
{
    if (strcasecmp(id->env, NAME_DEFAULT_ENV) == 0)
        snprintf(buf, NAME_FUNCTION_MAX + 1, "%s", id->name);
    else
        snprintf(buf, NAME_FUNCTION_MAX + 1, "%s.%s", id->name, id->env);
    return buf;
}

bool name_equal(const struct fn_id *a, const struct fn_id *b)
{
    return strcasecmp(a->name, b->name) == 0 && strcasecmp(a->env, b->env) == 0;
}

int name_new_instance(const struct fn_id *id, char *buf)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char raw[INSTANCE_SUFFIX];
    size_t len = strlen(id->name);

    if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
        return -errno;
    memcpy(buf, id->name, len);
    buf[len++] = '-';
    for (size_t i = 0; i < sizeof(raw); i++)
        buf[len++] = alphabet[raw[i] % (sizeof(alphabet) - 1)];
    buf[len] = '\0';
    return 0;
}

bool name_instance_valid(const char *text)
{
    size_t len = strlen(text);

    if (len < INSTANCE_SUFFIX + 2 || len > NAME_INSTANCE_MAX || text[len - INSTANCE_SUFFIX - 1] != '-')
        return false;
    for (size_t i = len - INSTANCE_SUFFIX; i < len; i++)
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]))
            return false;
    return name_span_valid(text, len - INSTANCE_SUFFIX - 1);
}
