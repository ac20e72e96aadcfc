/* verb_token.c: `fnctl token add|ls|rm`, `fnctl passwd`. */
#include "ctl.h"

#include "api.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "30d", or what str_parse_duration() takes. */
static int parse_expiry(const char *text, uint64_t *ret_s)
{
    size_t len = strlen(text);
    char days[16];
    uint64_t v = 0;
    int r;

    if (len > 1 && len <= sizeof(days) && text[len - 1] == 'd') {
        memcpy(days, text, len - 1);
        days[len - 1] = '\0';
        r = str_parse_uint(days, 36600, &v);
        *ret_s = v * 86400;
    } else {
        r = str_parse_duration(text, &v);
        *ret_s = v / NS_PER_SEC;
    }
    return r < 0 || *ret_s == 0 ? ctl_fail(CTL_USAGE, "--expires %.40s: a time such as 12h or 90d", text) : CTL_OK;
}

static int add(struct ctl *ctl, const char *name)
{
    const struct options *o = ctl->o;
    const char *scope = o->scope_admin ? "admin" : o->scope_invoke ? "invoke" : "function";
    json_t *body cleanup_json = NULL, *made cleanup_json = NULL;
    char fn[NAME_FUNCTION_MAX + 1], *text;
    uint64_t expires = 0;
    int r = CTL_OK;

    if (o->scope_admin + o->scope_invoke + (o->function != NULL) != 1)
        return ctl_fail(
            CTL_USAGE,
            "token add %s: what is it for? --function NAME (calls that private function), --invoke (calls every private function), or --admin (everything)",
            name);
    if (o->function)
        r = ctl_api_function(o->function, fn);
    if (r == CTL_OK && o->expires)
        r = parse_expiry(o->expires, &expires);
    if (r != CTL_OK)
        return r;
    body = json_pack("{s:s, s:s, s:I, s:s*}", "name", name, "scope", scope, "expires_seconds", (json_int_t)expires, "function", o->function ? fn : NULL);
    text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (!text)
        return ctl_fail(CTL_USAGE, "token add: the name is no text");
    r = ctl_api_json(ctl, "POST", API_PREFIX "/tokens", text, &made);
    free(text);
    if (r != CTL_OK)
        return r;
    if (o->json)
        return ctl_print_json(ctl, made);
    fprintf(stderr, "token %s, said this once:\n", name);
    printf("%s\n", ctl_json_text(made, "token", "?"));
    return CTL_OK;
}

static int list(struct ctl *ctl)
{
    static const char *const heads[] = {"NAME", "SCOPE", "FUNCTION", "MADE", "EXPIRES"};
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *t;
    struct table table;
    size_t i;
    int r = ctl_api_json(ctl, "GET", API_PREFIX "/tokens", NULL, &answer);

    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    ctl_table_init(&table, heads, CTL_COUNT(heads));
    json_array_foreach(json_object_get(answer, "tokens"), i, t)
    {
        ctl_table_cell(&table, "%s", ctl_json_text(t, "name", "?"));
        ctl_table_cell(&table, "%s", ctl_json_text(t, "scope", "?"));
        ctl_table_cell(&table, "%s", ctl_json_text(t, "function", "-"));
        ctl_table_cell(&table, "%.10s", ctl_json_text(t, "made", "-"));
        ctl_table_cell(&table, "%.16s", ctl_json_text(t, "expires", "never"));
    }
    ctl_table_format(&table, &out);
    ctl_table_done(&table);
    return ctl_flush(ctl, &out);
}

int verb_token(struct ctl *ctl, const struct text_list *args)
{
    const char *verb = args->items[0], *name = args->count > 1 ? args->items[1] : NULL;
    char target[128];

    if (name && !name_valid(name))
        return ctl_fail(CTL_USAGE, "token %.80s: letters, digits, '-' and '_', at most %d of them", name, NAME_PART_MAX);
    if (strcmp(verb, "ls") == 0 && !name)
        return list(ctl);
    if (strcmp(verb, "add") == 0 && name)
        return add(ctl, name);
    if (strcmp(verb, "rm") == 0 && name) {
        snprintf(target, sizeof(target), API_PREFIX "/tokens/%s", name);
        return ctl_api_json(ctl, "DELETE", target, NULL, NULL);
    }
    return ctl_fail(CTL_USAGE, "token: `add NAME`, `ls` or `rm NAME`");
}

/* A profile that has the old one is of no use any more. */
static int keep_new(struct ctl *ctl, const char *password)
{
    const char *profile = ctl->o->profile;
    char current[NAME_PART_MAX + 1];
    struct diag d = {0};

    if (!ctl->is_remote || ctl_remote_is_token(ctl->remote.secret))
        return CTL_OK;
    if (!profile && ctl_profile_current(current, &d) > 0)
        profile = current;
    if (!profile)
        return CTL_OK;
    str_copy(ctl->remote.secret, sizeof(ctl->remote.secret), password);
    return ctl_profile_save(profile, &ctl->remote, &d) < 0 ? ctl_fail_diag(CTL_FAILED, &d) : CTL_OK;
}

int verb_passwd(struct ctl *ctl, const struct text_list *args)
{
    char password[SECRET_MAX + 1];
    json_t *body cleanup_json = NULL;
    struct diag d = {0};
    char *text;
    int r = ctl_remote_need(ctl);

    if (r != CTL_OK)
        return r;
    if (ctl_secret_read("new password of admin", true, password, sizeof(password), &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    body = json_pack("{s:s}", "password", password);
    text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (!text)
        return ctl_fail(CTL_USAGE, "passwd: the password is not valid UTF-8");
    r = ctl_api_json(ctl, "PUT", API_PREFIX "/password", text, NULL);
    explicit_bzero(text, strlen(text));
    free(text);
    if (r == CTL_OK)
        r = keep_new(ctl, password);
    explicit_bzero(password, sizeof(password));
    return r;
}
