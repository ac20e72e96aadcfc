/* verb_secret.c: `fnctl secret set|ls|rm`, and `run --secret`. A value comes from the terminal without echo, from a pipe, or from a file; never from argv. */
#include "ctl.h"

#include "api.h"
#include "fd.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int check_key(const char *key)
{
    return name_valid(key) ? CTL_OK : ctl_fail(CTL_USAGE, "secret %.80s: letters, digits, '-' and '_', at most %d of them", key, NAME_PART_MAX);
}

/* Of the API: fn and key are checked, and need no escapes. */
static int call(struct ctl *ctl, const char *method, const char *fn, const char *key, const char *value, size_t len)
{
    char target[NAME_FUNCTION_MAX + NAME_PART_MAX + 64];
    struct api_call c = {.method = method, .target = target};
    struct body b;
    int r;

    snprintf(target, sizeof(target), API_PREFIX "/functions/%s/secrets?name=%s", fn, key);
    ctl_body_init(&b);
    if (value) {
        ctl_body_bytes(&b, value, len);
        c.body = &b;
    }
    r = ctl_api_perform(ctl, &c);
    ctl_api_call_done(&c);
    ctl_body_done(&b);
    return r;
}

static int set_value(struct ctl *ctl, const char *fn, const char *key, const char *value, size_t len)
{
    if (len == 0 || len > SECRET_VALUE_MAX)
        return ctl_fail(CTL_USAGE, "secret %s: a value has 1 to %u bytes, this one %zu", key, SECRET_VALUE_MAX, len);
    return call(ctl, "PUT", fn, key, value, len);
}

/* A file byte for byte; of a pipe, the newline that ends it is not part of the value. */
static int set_from_fd(struct ctl *ctl, const char *fn, const char *key, int fd, const char *what, bool line)
{
    char *value = NULL;
    ssize_t n = fd_read_all(fd, SECRET_VALUE_MAX + 1, &value);
    int r;

    if (n < 0)
        return n == -EFBIG ? ctl_fail(CTL_USAGE, "%s: longer than %u bytes", what, SECRET_VALUE_MAX) : ctl_fail(CTL_FAILED, "%s: %s", what, strerror((int)-n));
    if (line && n > 0 && value[n - 1] == '\n')
        n--;
    r = set_value(ctl, fn, key, value, (size_t)n);
    explicit_bzero(value, (size_t)n);
    free(value);
    return r;
}

static int set_from_file(struct ctl *ctl, const char *fn, const char *key, const char *path)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ctl_fail(CTL_FAILED, "%.200s: %s", path, strerror(errno));
    return set_from_fd(ctl, fn, key, fd, path, false);
}

static int set_typed(struct ctl *ctl, const char *fn, const char *key)
{
    char value[SECRET_MAX + 1], prompt[NAME_PART_MAX + 32];
    struct diag d = {0};
    int r;

    snprintf(prompt, sizeof(prompt), "value of %s", key);
    r = ctl_secret_read(prompt, true, value, sizeof(value), &d);
    r = r < 0 ? ctl_fail_diag(CTL_FAILED, &d) : set_value(ctl, fn, key, value, strlen(value));
    explicit_bzero(value, sizeof(value));
    return r;
}

static int set(struct ctl *ctl, const char *fn, const char *key)
{
    int r = ctl_remote_need(ctl); /* before somebody types a secret in vain */

    if (r != CTL_OK)
        return r;
    if (ctl->o->from)
        r = set_from_file(ctl, fn, key, ctl->o->from);
    else if (isatty(STDIN_FILENO))
        r = set_typed(ctl, fn, key);
    else
        r = set_from_fd(ctl, fn, key, STDIN_FILENO, "standard input", true);
    if (r == CTL_OK)
        fprintf(stderr, "secret %s of %s is set; instances that run have the one before until `fnctl restart %s`\n", key, fn, fn);
    return r;
}

static int list(struct ctl *ctl, const char *fn)
{
    static const char *const heads[] = {"FUNCTION", "ENVIRONMENT", "SECRET", "SIZE", "CHANGED"};
    char target[NAME_FUNCTION_MAX + 64];
    struct strbuf out cleanup_strbuf = {0};
    json_t *answer cleanup_json = NULL;
    const json_t *s;
    struct table table;
    size_t i;
    int r;

    snprintf(target, sizeof(target), fn ? API_PREFIX "/functions/%s/secrets" : API_PREFIX "/secrets", fn);
    r = ctl_api_json(ctl, "GET", target, NULL, &answer);
    if (r != CTL_OK)
        return r;
    if (ctl->o->json)
        return ctl_print_json(ctl, answer);
    ctl_table_init(&table, heads, CTL_COUNT(heads));
    json_array_foreach(json_object_get(answer, "secrets"), i, s)
    {
        ctl_table_cell(&table, "%s", ctl_json_text(s, "function", "?"));
        ctl_table_cell(&table, "%s", ctl_json_text(s, "environment", "?"));
        ctl_table_cell(&table, "%s", ctl_json_text(s, "name", "?"));
        ctl_table_cell(&table, "%" PRIu64, ctl_json_uint(s, "bytes"));
        ctl_table_cell(&table, "%.16s", ctl_json_text(s, "changed", "-"));
    }
    ctl_table_format(&table, &out);
    ctl_table_done(&table);
    return ctl_flush(ctl, &out);
}

int verb_secret(struct ctl *ctl, const struct text_list *args)
{
    const char *verb = args->items[0], *name = args->count > 1 ? args->items[1] : NULL, *key = args->count > 2 ? args->items[2] : NULL;
    char fn[NAME_FUNCTION_MAX + 1];
    int r = name ? ctl_api_function(name, fn) : CTL_OK;

    if (r == CTL_OK && key)
        r = check_key(key);
    if (r != CTL_OK)
        return r;
    if (ctl->o->from && strcmp(verb, "set") != 0)
        return ctl_fail(CTL_USAGE, "secret %.40s: --from goes with `set`", verb);
    if (strcmp(verb, "ls") == 0 && !key)
        return list(ctl, name ? fn : NULL);
    if (strcmp(verb, "set") == 0 && key)
        return set(ctl, fn, key);
    if (strcmp(verb, "rm") == 0 && key)
        return call(ctl, "DELETE", fn, key, NULL, 0);
    return ctl_fail(CTL_USAGE, "secret: `set NAME SECRET`, `ls [NAME]` or `rm NAME SECRET`");
}

/* KEY=FILE */
static int split(const char *text, char key[NAME_PART_MAX + 1], const char **ret_path)
{
    const char *eq = strchr(text, '=');
    size_t len = eq ? (size_t)(eq - text) : 0;

    *ret_path = "";
    key[0] = '\0';
    if (!eq || len == 0 || len > NAME_PART_MAX || !eq[1])
        return ctl_fail(CTL_USAGE, "--secret %.80s: SECRET=FILE is needed", text);
    memcpy(key, text, len);
    key[len] = '\0';
    *ret_path = eq + 1;
    return check_key(key);
}

int ctl_secrets_check(const struct options *o)
{
    char key[NAME_PART_MAX + 1];
    const char *path;
    int r = CTL_OK;

    if (o->secrets.count > 0 && !o->name)
        return ctl_fail(CTL_USAGE, "run --secret: say --name NAME too: a secret is there before the package is read, and belongs to a name");
    for (unsigned i = 0; i < o->secrets.count && r == CTL_OK; i++) {
        r = split(o->secrets.items[i], key, &path);
        if (r == CTL_OK && access(path, R_OK) < 0)
            r = ctl_fail(CTL_FAILED, "--secret %s: %.200s: %s", key, path, strerror(errno));
    }
    return r;
}

int ctl_secrets_put(struct ctl *ctl)
{
    const struct options *o = ctl->o;
    char key[NAME_PART_MAX + 1];
    const char *path;
    int r = CTL_OK;

    for (unsigned i = 0; i < o->secrets.count && r == CTL_OK; i++) {
        r = split(o->secrets.items[i], key, &path);
        if (r == CTL_OK)
            r = set_from_file(ctl, o->name, key, path);
    }
    return r;
}
