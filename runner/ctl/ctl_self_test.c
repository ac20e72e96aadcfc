/*
 * ctl_self_test.c: `fnctl doctor --self-test`: a private daemon, as `fnctl run` has it, and in it the sample `selftest`, which tries what a function must not
 * be able to do on this host, and what it must. Its report is lines of four fields; anything else is an error.
 */
#include "ctl_private.h"

#include "fd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME   "selftest"
#define FIELDS 4

/* Beside the running program, or installed: never from the current directory, which may be anybody's. */
static int find_package(struct source *ret, struct diag *d)
{
    char dir[PATH_MAX];
    const char *places[] = {dir, FND_SHARE};

    if (ctl_exe_dir(dir, sizeof(dir)) < 0)
        return diag_set(d, ENOENT, "/proc/self/exe cannot be read: is /proc mounted?");
    for (size_t i = 0; i < CTL_COUNT(places); i++) {
        const int n = snprintf(ret->path, sizeof(ret->path), "%.3000s/" NAME ".tar.gz", places[i]);

        ret->kind = SOURCE_ARCHIVE;
        if (n > 0 && (size_t)n < sizeof(ret->path) && access(ret->path, R_OK) == 0)
            return 0;
    }
    return diag_set(d, ENOENT, NAME ".tar.gz is neither in %s nor in " FND_SHARE ": build it (make) or install it", dir);
}

static bool split(char *line, char *fields[FIELDS])
{
    for (unsigned i = 0; i < FIELDS; i++) {
        fields[i] = strsep(&line, "\t");
        if (!fields[i] || !*fields[i])
            return false;
    }
    return !line && (strcmp(fields[0], "ok") == 0 || strcmp(fields[0], "FAIL") == 0);
}

/* One line into the table, or into the list of --json. 1 when it failed, -EPROTO when it is none. */
static int take_line(char *line, struct table *t, json_t *list)
{
    char *fields[FIELDS];
    bool ok;

    if (!split(line, fields))
        return -EPROTO;
    ok = strcmp(fields[0], "ok") == 0;
    for (unsigned i = 0; i < FIELDS; i++)
        ctl_table_cell(t, "%s", fields[i]);
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "attempt", fields[1], "expected", fields[2], "result", fields[3], "ok", ok));
    return !ok;
}

static int print_report(struct ctl *ctl, char *text)
{
    static const char *const heads[FIELDS] = {"", "A FUNCTION TRIES TO", "EXPECTED", "RESULT"};
    json_t *all cleanup_json = json_pack("{s:[]}", "self_test"), *list = json_object_get(all, "self_test");
    struct strbuf out cleanup_strbuf = {0};
    unsigned lines = 0, failed = 0;
    struct table t;
    int r = 0;

    ctl_table_init(&t, heads, FIELDS);
    for (char *line; r >= 0 && (line = strsep(&text, "\n"));) {
        if (!*line)
            continue;
        r = take_line(line, &t, list);
        failed += r > 0;
        lines++;
    }
    ctl_table_format(&t, &out);
    ctl_table_done(&t);
    if (r < 0 || lines == 0)
        return ctl_fail(CTL_FAILED, "self-test: the function's report is broken");
    r = ctl->o->json ? ctl_print_json(ctl, all) : ctl_flush(ctl, &out);
    if (r != CTL_OK)
        return r;
    return failed ? ctl_fail(CTL_FAILED, "self-test: %u of %u attempts did not end as they must", failed, lines) : CTL_OK;
}

static int deploy_and_ask(struct ctl *ctl, const struct private_daemon *p, struct body *b)
{
    struct api_call c = {.method = "GET", .target = "/fn/" NAME "/", .no_timeout = true};
    json_t *deployed cleanup_json = NULL;
    int r;

    ctl->socket = p->socket;
    ctl_remote_none(ctl);
    ctl->o->name = NAME;
    r = ctl_deploy(ctl, b, &deployed);
    ctl_body_done(b);
    if (r == CTL_OK)
        r = ctl_api_perform(ctl, &c);
    if (r == CTL_OK)
        r = c.answer.data ? print_report(ctl, c.answer.data) : ctl_fail(CTL_FAILED, "self-test: the function's report is empty");
    ctl_api_call_done(&c);
    return r;
}

static int with_daemon(struct ctl *ctl, struct body *b)
{
    const struct private_options po = {.address = "127.0.0.1"};
    struct private_daemon p;
    struct diag d = {0};
    int r = ctl_private_start(ctl, &po, &p, &d);

    if (r == -ECANCELED)
        return CTL_FAILED;
    if (r < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    r = deploy_and_ask(ctl, &p, b);
    if (ctl->stop == STOP_DAEMON) {
        ctl_private_print_tail(&p);
        r = ctl_fail(CTL_FAILED, "the private daemon ended by itself");
    }
    if (ctl_private_stop(&p, &d) < 0)
        r = ctl_fail_diag(CTL_FAILED, &d);
    return r;
}

int ctl_self_test(struct ctl *ctl)
{
    cleanup_fd int signals = -1;
    struct source source;
    struct diag d = {0};
    struct body b;
    int r;

    ctl_body_init(&b);
    if (find_package(&source, &d) < 0 || ctl_source_open(&source, &b, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    if (ctl_signals_watch(ctl, &signals) < 0)
        r = ctl_fail(CTL_FAILED, "signalfd: %s", strerror(errno));
    else
        r = with_daemon(ctl, &b);
    ctl_unwatch(ctl, signals);
    ctl_body_done(&b);
    return r;
}
