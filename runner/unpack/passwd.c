/* passwd.c: which inner ids a function runs under. The passwd is the image's own: nothing of the host's accounts is asked. */
#include "unpack_internal.h"

#include "diag.h"
#include "str.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define FUNCTION_UID_MIN 2
#define FUNCTION_ID_MAX  65533

struct account {
    char name[64];
    uint64_t uid, gid;
};

/* name:password:uid:gid:... A line that is formed differently is not one. */
static bool account_parse(const char *line, size_t len, struct account *ret)
{
    char buf[512], *field[4];
    char *p = buf;

    if (len >= sizeof(buf))
        return false;
    memcpy(buf, line, len);
    buf[len] = '\0';
    for (size_t i = 0; i < 4; i++) {
        char *colon = p ? strchr(p, ':') : NULL;

        if (!colon && i < 3)
            return false;
        field[i] = p;
        if (colon)
            *colon = '\0';
        p = colon ? colon + 1 : NULL;
    }
    return str_copy(ret->name, sizeof(ret->name), field[0]) == 0 && str_parse_uint(field[2], UINT32_MAX, &ret->uid) == 0 &&
           str_parse_uint(field[3], UINT32_MAX, &ret->gid) == 0;
}

/* By name, or where that is NULL by uid. The first one counts, as in getpwnam(3). */
static bool account_find(const char *text, size_t len, const char *name, uint64_t uid, struct account *ret)
{
    const char *end = text ? text + len : NULL;

    for (const char *line = text; line < end;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((lf ? lf : end) - line);

        if (account_parse(line, n, ret) && (name ? strcmp(ret->name, name) == 0 : ret->uid == uid))
            return true;
        line += n + 1;
    }
    return false;
}

/* name:password:gid:members, the first one of the name. */
static bool group_find(const char *text, size_t len, const char *name, uint64_t *ret_gid)
{
    const char *end = text ? text + len : NULL;
    size_t n = strlen(name);

    for (const char *line = text; line < end;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line)), *stop = lf ? lf : end;
        const char *password = (size_t)(stop - line) > n && memcmp(line, name, n) == 0 && line[n] == ':' ? line + n + 1 : stop;
        const char *colon = memchr(password, ':', (size_t)(stop - password));
        char digits[12] = "";

        for (size_t i = 0; colon && i + 1 < sizeof(digits) && colon + 1 + i < stop && colon[1 + i] != ':'; i++)
            digits[i] = colon[1 + i];
        if (colon && str_parse_uint(digits, UINT32_MAX, ret_gid) == 0)
            return true;
        line = stop + 1;
    }
    return false;
}

int passwd_resolve_group(const char *group, const char *text, size_t len, uint32_t *ret_gid, struct diag *d)
{
    uint64_t gid;

    if (str_parse_uint(group, UINT32_MAX, &gid) < 0 && !group_find(text, len, group, &gid))
        return diag_set(d, EINVAL, "group: \"%.60s\" is not in the package's etc/group", group);
    if (gid < 1 || gid > FUNCTION_ID_MAX)
        return diag_set(d, EINVAL, "group: \"%.60s\" is %llu, allowed is 1 to %d", group, (unsigned long long)gid, FUNCTION_ID_MAX);
    *ret_gid = (uint32_t)gid;
    return 0;
}

int passwd_resolve(const char *user, const char *text, size_t len, uint32_t *ret_uid, uint32_t *ret_gid, struct diag *d)
{
    bool by_number = isdigit((unsigned char)*user);
    struct account a = {0};
    uint64_t uid = 0;

    if (by_number && str_parse_uint(user, UINT32_MAX, &uid) < 0)
        return diag_set(d, EINVAL, "user: \"%s\" is neither a number nor a name", user);
    if (!by_number && !account_find(text, len, user, 0, &a))
        return diag_set(d, EINVAL, "user: \"%s\" is not in the package's etc/passwd: say a number, or add it there", user);
    if (by_number) {
        a.uid = uid;
        if (!account_find(text, len, NULL, uid, &a) || a.gid < 1 || a.gid > FUNCTION_ID_MAX)
            a.gid = uid;
        a.uid = uid;
    }
    if (a.uid == 0)
        return diag_set(d, EINVAL, "user: a function never runs as root: say a number from %d to %d", FUNCTION_UID_MIN, FUNCTION_ID_MAX);
    if (a.uid < FUNCTION_UID_MIN || a.uid > FUNCTION_ID_MAX)
        return diag_set(d, EINVAL, "user: \"%s\" is user %llu, allowed is %d to %d", user, (unsigned long long)a.uid, FUNCTION_UID_MIN, FUNCTION_ID_MAX);
    if (a.gid < 1 || a.gid > FUNCTION_ID_MAX)
        return diag_set(d, EINVAL, "user: \"%s\" is in group %llu, allowed is 1 to %d: say the number %llu, which then is the group too", user,
                        (unsigned long long)a.gid, FUNCTION_ID_MAX, (unsigned long long)a.uid);
    *ret_uid = (uint32_t)a.uid;
    *ret_gid = (uint32_t)a.gid;
    return 0;
}
