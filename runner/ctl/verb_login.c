/* verb_login.c: `fnctl login URL [NAME]`, `fnctl profile`. */
#include "ctl.h"

#include "api.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The host's first label, or all of an address with '-' for what no name has. */
static void default_name(const struct remote *r, char *buf)
{
    const char *host = strstr(r->origin, "://") + 3;
    size_t n = 0;
    bool numeric = strspn(host, "0123456789.:[]abcdefABCDEF") == strlen(host);

    for (; *host && *host != ':' && n < NAME_PART_MAX && (numeric || *host != '.'); host++)
        if (n > 0 || strchr("[.", *host) == NULL)
            buf[n++] = *host == '.' || *host == '[' || *host == ']' ? '-' : *host;
    while (n > 0 && buf[n - 1] == '-')
        n--;
    buf[n] = '\0';
}

static int take_options(const struct options *o, struct remote *r, struct diag *d)
{
    r->insecure = o->insecure;
    if (!o->cacert)
        return 0;
    if (strlen(o->cacert) >= sizeof(r->cacert) || !realpath(o->cacert, r->cacert))
        return diag_errno(d, errno ? errno : ENAMETOOLONG, "--cacert %.80s", o->cacert);
    return 0;
}

/* The daemon may say that its functions are called elsewhere: its admin listener, for one, serves none. */
static int find_functions(struct ctl *ctl)
{
    json_t *config cleanup_json = NULL;
    struct remote *r = &ctl->remote, parsed;
    const json_t *row;
    size_t i;
    int e = ctl_api_json(ctl, "GET", API_PREFIX "/config", NULL, &config);

    json_array_foreach(json_object_get(config, "config"), i, row)
    {
        const char *url = ctl_json_text(row, "value", "");

        if (strcmp(ctl_json_text(row, "key", ""), "gateway.public_url") == 0 && ctl_remote_parse(url, &parsed, NULL) == 0)
            str_copy(r->functions, sizeof(r->functions), url);
    }
    return e;
}

static int log_in(struct ctl *ctl, const char *name)
{
    json_t *who cleanup_json = NULL;
    struct diag d = {0};
    int r;

    ctl->is_remote = ctl->remote_known = true;
    r = ctl_api_json(ctl, "GET", API_PREFIX "/whoami", NULL, &who);
    if (r == CTL_OK)
        r = find_functions(ctl);
    if (r != CTL_OK)
        return r;
    if (ctl_profile_save(name, &ctl->remote, &d) < 0 || ctl_profile_use(name, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    printf("logged in at %s%s as %s; profile %s is in use (fnctl profile use " PROFILE_LOCAL " goes back to this host)\n", ctl->remote.origin, ctl->remote.path,
           ctl_json_text(who, "who", "?"), name);
    return CTL_OK;
}

int verb_login(struct ctl *ctl, const struct text_list *args)
{
    char name[NAME_PART_MAX + 1];
    struct remote *r = &ctl->remote;
    struct diag d = {0};
    int e;

    if (ctl->o->profile || ctl->o->socket)
        return ctl_fail(CTL_USAGE, "login: the profile is the second argument: fnctl login URL NAME");
    if (ctl_remote_parse(args->items[0], r, &d) < 0 || take_options(ctl->o, r, &d) < 0)
        return ctl_fail_diag(CTL_USAGE, &d);
    default_name(r, name);
    if (args->count > 1 && str_copy(name, sizeof(name), args->items[1]) < 0)
        *name = '\0';
    if (!name_valid(name) || strcmp(name, PROFILE_LOCAL) == 0)
        return ctl_fail(CTL_USAGE, "login: a name for the profile is needed (letters, digits, '-' and '_', not \"" PROFILE_LOCAL "\"): fnctl login URL NAME");
    str_copy(r->secret, sizeof(r->secret), "?"); /* whether one may go there is said before it is asked for */
    if (ctl_remote_check(r, ctl->o->insecure, &d) < 0)
        return ctl_fail_diag(CTL_USAGE, &d);
    if (!r->https && !r->loopback)
        ctl_fail(0, "warning: what you type goes over plain http to %s, for everybody on the way to read", r->origin);
    e = ctl_secret_read("password of admin, or token", false, r->secret, sizeof(r->secret), &d);
    return e < 0 ? ctl_fail_diag(CTL_FAILED, &d) : log_in(ctl, name);
}

/* ---- profile ---- */

struct listing {
    struct table table;
    const char *current;
};

static int list_one(void *arg, const char *name)
{
    struct listing *l = arg;
    struct diag d = {0};
    struct remote r;
    int e = ctl_profile_load(name, &r, &d);

    ctl_table_cell(&l->table, "%s", strcmp(name, l->current) == 0 ? "*" : "");
    ctl_table_cell(&l->table, "%s", name);
    if (e < 0)
        ctl_table_cell(&l->table, "(%s)", d.text);
    else
        ctl_table_cell(&l->table, "%s%s", r.origin, r.path);
    ctl_table_cell(&l->table, "%s", e < 0 ? "" : ctl_remote_is_token(r.secret) ? "token" : "password");
    explicit_bzero(&r, sizeof(r));
    return 0;
}

static int list(struct ctl *ctl)
{
    static const char *const heads[] = {"", "PROFILE", "URL", "CREDENTIALS"};
    struct strbuf out cleanup_strbuf = {0};
    char current[NAME_PART_MAX + 1] = "";
    struct listing l = {.current = current};
    struct diag d = {0};
    int r;

    if (ctl_profile_current(current, &d) <= 0)
        str_copy(current, sizeof(current), PROFILE_LOCAL);
    ctl_table_init(&l.table, heads, CTL_COUNT(heads));
    ctl_table_cell(&l.table, "%s", strcmp(current, PROFILE_LOCAL) == 0 ? "*" : "");
    ctl_table_cell(&l.table, PROFILE_LOCAL);
    ctl_table_cell(&l.table, "%s", ctl->socket);
    ctl_table_cell(&l.table, "-");
    r = ctl_profile_each(list_one, &l, &d);
    ctl_table_format(&l.table, &out);
    ctl_table_done(&l.table);
    return r < 0 ? ctl_fail_diag(CTL_FAILED, &d) : ctl_flush(ctl, &out);
}

int verb_profile(struct ctl *ctl, const struct text_list *args)
{
    const char *verb = args->items[0], *name = args->count > 1 ? args->items[1] : NULL;
    struct diag d = {0};
    struct remote known;
    int r = 0;

    if (strcmp(verb, "ls") == 0 && !name)
        return list(ctl);
    if (strcmp(verb, "use") == 0 && name) {
        if (strcmp(name, PROFILE_LOCAL) != 0)
            r = ctl_profile_load(name, &known, &d);
        if (r == 0)
            r = ctl_profile_use(name, &d);
        return r < 0 ? ctl_fail_diag(d.err == ENOENT ? CTL_NOT_FOUND : CTL_FAILED, &d) : CTL_OK;
    }
    if (strcmp(verb, "rm") == 0 && name)
        return ctl_profile_remove(name, &d) < 0 ? ctl_fail_diag(d.err == ENOENT ? CTL_NOT_FOUND : CTL_FAILED, &d) : CTL_OK;
    return ctl_fail(CTL_USAGE, "profile: `ls`, `use NAME` or `rm NAME`");
}
