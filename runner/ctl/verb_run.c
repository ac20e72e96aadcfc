/* verb_run.c: `fnctl run`: a private daemon, one function, one request or its log until interrupted. */
#include "ctl_private.h"
#include "project/project.h"

#include "clock.h"
#include "fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LISTEN_DEFAULT "127.0.0.1"
#define LOG_LINES      1000
#define LOG_RETRY_MS   200
#define LOG_RETRIES    50

static int check_options(struct options *o)
{
    struct in_addr addr;
    int r = ctl_request_check(o);

    if (r == CTL_OK)
        r = ctl_deploy_check(o);
    if (r != CTL_OK)
        return r;
    if (!o->once && (o->method || o->data || o->path || o->headers.count))
        return ctl_fail(CTL_USAGE, "run: -X, -H, -d, --path and --request-file say what --once sends: add --once");
    if (o->once && o->watch)
        return ctl_fail(CTL_USAGE, "run: --once ends after one request, --watch never does: leave out one");
    if (o->listen && inet_pton(AF_INET, o->listen, &addr) != 1)
        return ctl_fail(CTL_USAGE, "--listen %.80s: an IPv4 address such as 127.0.0.1 or 0.0.0.0 is needed", o->listen);
    if (o->name && strchr(o->name, '.'))
        return ctl_fail(CTL_USAGE, "--name %.80s: a private daemon has one environment only", o->name);
    if (geteuid() != 0)
        return ctl_fail(CTL_DENIED, "run: sandboxes are made by root: sudo fnctl run ...");
    return CTL_OK;
}

/* Of the first instance that is ready: its start to its first good answer. */
static double ready_ms(const json_t *fn, double missing)
{
    const json_t *in;
    size_t i;

    json_array_foreach(json_object_get(fn, "instances"), i, in) if (ctl_json_real_or(in, "ready_ms", 0) > 0) return ctl_json_real_or(in, "ready_ms", 0);
    return missing;
}

static void announce(struct ctl *ctl, const struct private_daemon *p, const char *fn, const json_t *deployed, uint64_t begin_ns)
{
    const char *address = ctl->o->listen ? ctl->o->listen : LISTEN_DEFAULT;
    bool any = strcmp(address, "0.0.0.0") == 0;
    json_t *now cleanup_json = NULL;
    char size[TEXT_MAX];
    double all = (double)(clock_mono_ns() - begin_ns) / NS_PER_MS;

    if (ctl_api_change(ctl, "GET", fn, NULL, NULL, &now) != CTL_OK)
        return;
    fprintf(stderr, "function  %s\nversion   %" PRIu64 "\nimage     %s\nready     %.1f ms\nurl       http://%s:%u/fn/%s/%s\n", fn,
            ctl_json_uint(deployed, "version"), ctl_text_size(ctl_json_uint(deployed, "image_bytes"), size), ready_ms(now, all), any ? LISTEN_DEFAULT : address,
            p->port, fn, any ? " (on all addresses)" : "");
    if (ctl->o->admin.set)
        fprintf(stderr, "admin     http://127.0.0.1:%" PRIu64 "/\npassword  %s/state/auth/initial (user admin)\n", ctl->o->admin.value, p->run);
    fflush(stderr);
}

static bool output_closed(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* Until something stops us. The stream ends when the gateway does, which the daemon starts again: then it is taken up. */
static int follow(struct ctl *ctl, const char *fn)
{
    uint64_t lines = LOG_LINES;

    for (unsigned failures = 0; !ctl->stop && failures < LOG_RETRIES; failures++) {
        uint64_t begin = clock_mono_ns();

        ctl_logs(ctl, fn, NULL, lines, true);
        if (ctl->stop)
            break;
        if (output_closed())
            return CTL_FAILED;
        if (clock_mono_ns() - begin > NS_PER_SEC)
            failures = 0;
        lines = 0;
        ctl_wait(ctl, -1, 0, LOG_RETRY_MS);
    }
    return ctl->stop ? CTL_OK : ctl_fail(CTL_FAILED, "the log of %s cannot be followed any longer", fn);
}

static int follow_beside(struct ctl *ctl, void *arg)
{
    return follow(ctl, arg);
}

/* The log goes on in another process, since this one deploys. */
static int follow_and_rerun(struct ctl *ctl, struct project *project, struct rerun *again, char *fn)
{
    pid_t log;
    int r;

    ctl->o->name = fn; /* whatever function.ini says from now on */
    log = beside_start(ctl, follow_beside, fn, STDOUT_FILENO);
    r = rerun(ctl, project, again);
    beside_end(&log);
    ctl->o->name = NULL;
    return r;
}

/* Its package, where something has to be installed; and the runtime that it names. */
static int prepare(struct ctl *ctl, const struct project *project, const char *why, struct body *b)
{
    int r = why ? builder_body(ctl, project, why, NULL, b) : CTL_OK;

    return r == CTL_OK ? runtimes_need(ctl, runtimes_of(ctl, project)) : r;
}

/*
 * Which runtime an archive names is not looked for here, where whatever parses it would have root's rights: the daemon's jail says so, and the second time it is there. A package that a builder has made is in a file
 * without a name, and its runtime was given to the daemon before.
 */
static bool to_be_looked_at(const char *runtime)
{
    return runtimes_on_host(runtime) || runtimes_unheard_of(runtime);
}

static int deploy(struct ctl *ctl, const struct project *project, const char *why, struct body *b, json_t **ret)
{
    char missing[NAME_PART_MAX + 1];
    struct diag d = {0};
    int r = prepare(ctl, project, why, b);

    if (r != CTL_OK)
        return r;
    r = why ? ctl_deploy(ctl, b, ret) : ctl_deploy_asking(ctl, b, to_be_looked_at, missing, ret);

    if (why || !*missing)
        return r;
    r = runtimes_need(ctl, missing);
    ctl_body_done(b);
    if (r == CTL_OK && project_open(project, &(struct pack_options){0}, b, &d) < 0)
        r = ctl_fail_diag(CTL_FAILED, &d);
    return r == CTL_OK ? ctl_deploy(ctl, b, ret) : r;
}

/* b: of what is deployed once. */
static int serve(struct ctl *ctl, const struct private_daemon *p, struct project *project, struct rerun *again, const char *why, struct body *b)
{
    json_t *deployed cleanup_json = NULL;
    char fn[NAME_FUNCTION_MAX + 1];
    uint64_t begin;
    int r;

    ctl->socket = p->socket;
    ctl->is_private = true;
    ctl_remote_none(ctl);
    r = ctl_secrets_put(ctl);
    begin = clock_mono_ns();
    if (r == CTL_OK)
        r = ctl->o->watch ? rerun_first(ctl, project, again, &deployed) : deploy(ctl, project, why, b, &deployed);
    ctl_body_done(b);
    if (r == CTL_OK)
        r = ctl_api_function(ctl_json_text(deployed, "name", ""), fn);
    if (r != CTL_OK)
        return r;
    announce(ctl, p, fn, deployed, begin);
    if (ctl->stop)
        return CTL_FAILED;
    if (ctl->o->watch)
        return follow_and_rerun(ctl, project, again, fn);
    return ctl->o->once ? ctl_request_send(ctl, fn, false) : follow(ctl, fn);
}

static int start_and_serve(struct ctl *ctl, struct project *project, struct rerun *again, const char *why, struct body *b)
{
    const struct options *o = ctl->o;
    struct private_options po = {
        .address = o->listen ? o->listen : LISTEN_DEFAULT,
        .port = (unsigned)o->port.value,
        .admin = (unsigned)o->admin.value,
    };
    struct private_daemon p;
    struct diag d = {0};
    int r = ctl_private_start(ctl, &po, &p, &d);

    if (r == -ECANCELED)
        return o->once ? CTL_FAILED : CTL_OK;
    if (r < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    r = serve(ctl, &p, project, again, why, b);
    builder_end(*again->builder);
    if (ctl->stop == STOP_DAEMON) {
        ctl_private_print_tail(&p);
        r = ctl_fail(CTL_FAILED, "the private daemon ended by itself");
    } else if (ctl->stop == STOP_SIGNAL && !o->once) {
        r = CTL_OK;
    }
    if (ctl_private_stop(&p, &d) < 0)
        r = ctl_fail_diag(CTL_FAILED, &d);
    return r;
}

/* What is deployed once is opened before a daemon is started for it. */
static int load(struct ctl *ctl, const struct rerun *again, struct project *project, const char **ret_why, struct body *b)
{
    struct diag d = {0};

    if (ctl->o->watch)
        return rerun_load(ctl, again, project);
    if (project_load(again->source, PROJECT_CHECKED, again->pick, project, &d) < 0 ||
        (!(*ret_why = needs_builder(project)) && project_open(project, &(struct pack_options){0}, b, &d) < 0))
        return ctl_fail_diag(CTL_FAILED, &d);
    return CTL_OK;
}

static int load_and_serve(struct ctl *ctl, struct rerun *again, struct project *project, struct body *b)
{
    const char *why = NULL;
    int r = load(ctl, again, project, &why, b);

    if (r != CTL_OK || ctl->stop)
        return r;
    project_print_notes(project);
    if (!ctl->o->name && *project->name)
        ctl->o->name = project->name;
    r = ctl_secrets_check(ctl->o);
    return r == CTL_OK ? start_and_serve(ctl, project, again, why, b) : r;
}

int verb_run(struct ctl *ctl, const struct text_list *args)
{
    struct builder *builder = NULL;
    struct source source;
    struct rerun again = {.source = &source, .pick = ctl->o->name, .builder = &builder};
    cleanup_fd int signals = -1;
    struct project project = {0};
    struct diag d = {0};
    struct body b;
    int r = check_options(ctl->o);

    if (r != CTL_OK)
        return r;
    if (ctl_source_find(args->items[0], &source, &d) < 0 || (ctl->o->admin.set && ctl_port_free(LISTEN_DEFAULT, (unsigned)ctl->o->admin.value, &d) < 0))
        return ctl_fail_diag(CTL_FAILED, &d);
    if (ctl->o->watch && source.kind != SOURCE_DIRECTORY)
        return ctl_fail(CTL_USAGE, "run --watch: %s is no directory", source.path);
    if (ctl_signals_watch(ctl, &signals) < 0)
        return ctl_fail(CTL_FAILED, "signalfd: %s", strerror(errno));
    ctl_body_init(&b);
    r = load_and_serve(ctl, &again, &project, &b);
    ctl_unwatch(ctl, signals);
    ctl_body_done(&b);
    project_done(&project);
    return r;
}
