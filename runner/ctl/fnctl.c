/*
 * fnctl: the command line. Knows the daemon only by its API (api.h), and `fnd` as a program that it can start (`fnctl run`).
 */
#include "ctl.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A program started without 0, 1 or 2 would get one of them for its next open file. */
static void fill_standard_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int usage_error(const struct verb *v, const char *text)
{
    if (v)
        return ctl_fail(CTL_USAGE, "%s: %s\nusage: fnctl %s%s%s (fnctl help %s)", v->name, text, v->name, *v->args ? " " : "", v->args, v->name);
    return ctl_fail(CTL_USAGE, "%s: the options of a verb stand behind it, as in: fnctl ls --json (fnctl help)", text);
}

/* Options and arguments in any order; where a command follows the first argument, it is taken as it stands. */
static int parse_verb(const struct verb *v, const struct opt_def *const *tables, int argc, char **argv, struct options *o, struct text_list *args, struct diag *d)
{
    int used = 0;

    if (v->max_args != VERB_COMMAND)
        return ctl_opt_parse(tables, argc, argv, false, o, args, d);
    for (int i = 0; i < 2 && used < argc; i++) { /* the name, then the first word */
        int r = ctl_opt_parse(tables, argc - used, argv + used, true, o, args, d);

        if (r < 0)
            return r;
        used += r;
        if (used < argc && i == 0 && ctl_list_add(args, argv[used++]) < 0)
            return diag_set(d, ENOMEM, "out of memory");
    }
    while (used < argc)
        if (ctl_list_add(args, argv[used++]) < 0)
            return diag_set(d, ENOMEM, "out of memory");
    return used;
}

static int run_verb(struct ctl *ctl, const struct verb *v, int argc, char **argv)
{
    const struct opt_def *tables[CTL_COUNT(v->opts) + 2] = {NULL};
    struct text_list args = {0};
    struct diag d = {0};
    int r;

    unsigned n = 0;

    for (; n < CTL_COUNT(v->opts) && v->opts[n]; n++)
        tables[n] = v->opts[n];
    tables[n] = ctl_opts_common; /* behind the verb's own: --version N of export */
    if (parse_verb(v, tables, argc, argv, ctl->o, &args, &d) < 0) {
        r = usage_error(v, d.text);
    } else if (ctl->o->help) {
        verb_print_usage(v);
        r = CTL_OK;
    } else if (args.count < v->min_args || args.count > v->max_args) {
        r = usage_error(v, args.count < v->min_args ? "an argument is missing" : "too many arguments");
    } else {
        if (ctl->o->socket)
            ctl->socket = ctl->o->socket;
        r = v->run(ctl, &args);
    }
    ctl_list_done(&args);
    return r;
}

static int dispatch(struct ctl *ctl, int argc, char **argv)
{
    const struct opt_def *tables[] = {ctl_opts_common, NULL};
    struct text_list none = {0};
    struct diag d = {0};
    const struct verb *v;
    int used = ctl_opt_parse(tables, argc, argv, true, ctl->o, &none, &d);

    ctl_list_done(&none);
    if (used < 0)
        return usage_error(NULL, d.text);
    if (ctl->o->version)
        return verb_version(ctl, NULL);
    if (used == argc) {
        verb_help(ctl, NULL);
        return ctl->o->help ? CTL_OK : CTL_USAGE;
    }
    v = verb_find(argv[used]);
    if (!v)
        return verb_unknown(argv[used]);
    return run_verb(ctl, v, argc - used - 1, argv + used + 1);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    const char *socket = getenv("FND_SOCKET");
    struct ctl ctl = {.o = &o, .socket = socket && *socket ? socket : CTL_SOCKET};
    int r;

    fill_standard_fds();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write */
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would make waitpid(2) useless */
    r = dispatch(&ctl, argc > 0 ? argc - 1 : 0, argv + 1);
    if (fflush(stdout) == EOF && r == CTL_OK)
        r = ctl_fail(CTL_FAILED, "standard output: %s", strerror(errno));
    ctl_api_free(&ctl);
    explicit_bzero(&ctl.remote, sizeof(ctl.remote));
    ctl_options_done(&o);
    return r;
}
