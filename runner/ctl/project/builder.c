/*
 * builder.c: a project's dependencies, installed by a function that is deployed for it, asked once, and removed (rootfs/README.md has the contract).
 *
 * What it answers was made by the code of strangers (packages run scripts while they are installed): its bytes are passed on or kept, never looked at here; the daemon's jail unpacks them as it does any package. A lock
 * comes by itself, under a name from our table, and replaces the file of that name in the project's directory by rename. The builder's name is random, since a function that is public for a while must not be found.
 *
 * One that is asked again (`fnctl run --watch`) knows what it has installed, and for what. After an answer that is none it is made anew.
 */
#include "project.h"

#include "api.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_MAX    (8U << 20)
#define MESSAGE_MAX 4096
#define LOG_LINES   1000
#define LINE_BYTES  190 /* what a line of function.ini holds */
#define LOG_WAIT_MS 10000

static const char *const locks[] = {"requirements.lock", "package-lock.json", "Gemfile.lock", "packages.lock"};

/* The indexes and proxies that the caller has configured, by how the variables begin. */
static const char *const environment[] = {APT_SOURCE_VARIABLE, "BUNDLE_",   "PIP_",        "NPM_CONFIG_",  "npm_config_", "HTTP_PROXY=",
                                          "HTTPS_PROXY=",      "NO_PROXY=", "http_proxy=", "https_proxy=", "no_proxy="};

struct builder {
    struct ctl *ctl;
    const struct project *project;
    const struct build_sink *sink;
    struct options options; /* of the deploy */
    char name[NAME_PART_MAX + 1];
    char runtime[sizeof(((struct project *)0)->facts.runtime)]; /* whose builder it is */
    bool broken;                                                /* has answered neither with a package nor with what is wrong with the source */
    pid_t log;                                                  /* 0: none */
};

/* While it is asked. */
struct asking {
    const struct build_sink *sink;
    const struct api_call *call;
    struct strbuf message; /* an answer that is no package */
    struct diag diag;      /* of the sink */
};

static int add_environment(struct strbuf *ini)
{
    strbuf_puts(ini, "[env]\n");
    for (char **v = environ; *v; v++)
        for (size_t i = 0; i < CTL_COUNT(environment); i++) {
            if (strncmp(*v, environment[i], strlen(environment[i])) != 0)
                continue;
            if (strlen(*v) > LINE_BYTES || strpbrk(*v, "\r\n") || strstr(*v, " ;"))
                return ctl_fail(CTL_USAGE, "%.*s: its value is too long or too odd for the builder's function.ini (%d bytes on a line, no \" ;\")",
                                (int)strcspn(*v, "="), *v, LINE_BYTES);
            strbuf_printf(ini, "%s\n", *v);
        }
    return CTL_OK;
}

static int add_sources(struct strbuf *ini)
{
    struct diag d = {0};

    for (char **v = environ; *v; v++)
        if (strncmp(*v, APT_SOURCE_VARIABLE, strlen(APT_SOURCE_VARIABLE)) == 0)
            return CTL_OK; /* the caller has chosen others */
    return apt_sources(ini, LINE_BYTES, &d) < 0 ? ctl_fail_diag(CTL_FAILED, &d) : CTL_OK;
}

static int make_ini(const struct builder *b, struct strbuf *ini)
{
    const char *runtime = b->project->facts.runtime;
    int r;

    strbuf_printf(ini,
                  "[function]\nruntime = %s-build\ncommand = /usr/lib/fnd/build %s\n"
                  "[limits]\nmemory = 2G\ntmp = 1536M\npids = 512\ncpu = 2\ntimeout = 30m\nbody = 1G\n[network]\negress = %s\n",
                  runtime, runtime, b->ctl->o->egress ? b->ctl->o->egress : "internet");
    r = add_environment(ini);
    return r == CTL_OK ? add_sources(ini) : r;
}

static int choose_name(struct builder *b)
{
    unsigned char bytes[8];
    size_t n;

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return ctl_fail(CTL_FAILED, "getrandom: %s", strerror(errno));
    n = (size_t)snprintf(b->name, sizeof(b->name), "build-");
    for (size_t i = 0; i < sizeof(bytes); i++)
        n += (size_t)snprintf(b->name + n, sizeof(b->name) - n, "%02x", bytes[i]);
    return CTL_OK;
}

/* A package with nothing in it but its function.ini. */
static int deploy(struct builder *b)
{
    struct ctl *ctl = b->ctl;
    struct options *mine = ctl->o;
    struct strbuf ini cleanup_strbuf = {0};
    json_t *fn cleanup_json = NULL;
    struct ignore *nothing = NULL;
    struct diag d = {0};
    struct body body;
    int r = make_ini(b, &ini);

    if (r != CTL_OK)
        return r;
    ctl_body_init(&body);
    if (ini.failed)
        return ctl_fail(CTL_FAILED, "out of memory");
    if (ignore_parse("builder", "*\n", false, &nothing, &d) < 0 ||
        ctl_pack_with(&body, b->project->source.path,
                      &(struct pack_options){.ignore = nothing, .ini = ini.data, .uniform = true, .said = b->project->source.said}, &d) < 0) {
        r = ctl_fail_diag(CTL_FAILED, &d);
    } else {
        b->options = (struct options){.verbose = mine->verbose, .name = b->name};
        ctl->o = &b->options;
        r = ctl_deploy(ctl, &body, &fn);
        ctl->o = mine;
    }
    ctl_body_done(&body);
    ignore_free(nothing);
    return r;
}

/* What it says itself is of no interest: that the builder is gone before it has begun, at worst. */
static int say_log(struct ctl *ctl, void *arg)
{
    cleanup_fd int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    return null < 0 || dup2(null, STDERR_FILENO) < 0 ? CTL_FAILED : ctl_logs(ctl, arg, NULL, LOG_LINES, true);
}

static int on_package(void *arg, const char *data, size_t len)
{
    struct asking *a = arg;

    if (a->call->status == 200)
        return a->sink->write(a->sink->arg, data, len, &a->diag);
    if (a->message.len < MESSAGE_MAX) /* the beginning is enough */
        strbuf_add(&a->message, data, len < MESSAGE_MAX ? len : MESSAGE_MAX);
    return 0;
}

static int fail_answer(struct builder *b, const struct asking *a, const char *why)
{
    const char *text = a->message.data ? a->message.data : "";

    b->broken = a->call->status != 422;
    if (a->call->status == 422)
        return ctl_fail(CTL_FAILED, "%s: %.*s", b->project->source.path, (int)strcspn(text, "\r\n"), text);
    return ctl_fail(CTL_FAILED, "%s/%s: the builder %s-build answered with status %d: %.*s", b->project->source.path, why, b->project->facts.runtime,
                    a->call->status, (int)strcspn(text, "\r\n"), text);
}

static int ask(struct builder *b, const char *why)
{
    static const char *const type[] = {"Content-Type: application/x-tar"};
    struct progress bar;
    char target[sizeof(b->name) + 8];
    struct asking a = {.sink = b->sink};
    struct body body;
    struct api_call c = {
        .method = "POST", .target = target, .body = &body, .headers = type, .nheaders = 1, .raw = true, .no_timeout = true, .on_data = on_package, .arg = &a};
    struct diag d = {0};
    int r;

    snprintf(target, sizeof(target), "/fn/%s/", b->name);
    ctl_body_init(&body);
    progress_begin(&bar, "source");
    if (project_open(b->project, &(struct pack_options){.uniform = true, .on_bytes = progress_bytes, .arg = &bar}, &body, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    a.call = &c;
    r = ctl_api_perform(b->ctl, &c);
    progress_end(&bar);
    if (r == CTL_OK && c.status != 200)
        r = fail_answer(b, &a, why);
    else if (r != CTL_OK && a.diag.err)
        ctl_fail_diag(r, &a.diag);
    ctl_api_call_done(&c);
    ctl_body_done(&body);
    strbuf_done(&a.message);
    return r;
}

static bool is_same(int dir, const char *name, const struct strbuf *text)
{
    cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    cleanup_free char *there = NULL;
    ssize_t n = fd < 0 ? -1 : fd_read_all(fd, LOCK_MAX, &there);

    return n >= 0 && (size_t)n == text->len && (n == 0 || memcmp(there, text->data, text->len) == 0);
}

/* As the directory's owner has it: sudo is no reason for files of root's. */
static int put_lock(const struct project *p, const char *name, const struct strbuf *text)
{
    cleanup_fd int dir = beneath_dir(p->source.path, p->source.said);
    struct stat st = {0};
    int r;

    if (is_same(dir, name, text)) /* nothing has changed, and nobody who watches the directory should think so */
        return CTL_OK;
    r = dir < 0 ? dir : fstat(dir, &st) < 0 ? -errno : 0;
    if (r == 0 && geteuid() != 0)
        st.st_uid = st.st_gid = (uid_t)-1;
    if (r == 0)
        r = fd_publish_file_of(dir, name, text->len ? text->data : "", text->len, 0644, st.st_uid, st.st_gid);
    return r < 0 ? ctl_fail(CTL_FAILED, "%s/%s: %s", p->source.path, name, strerror(-r)) : CTL_OK;
}

static int take_locks(struct builder *b)
{
    int r = CTL_OK;

    for (size_t i = 0; i < CTL_COUNT(locks) && r == CTL_OK; i++) {
        char target[sizeof(b->name) + 64];
        struct api_call c = {.method = "GET", .target = target, .raw = true};

        snprintf(target, sizeof(target), "/fn/%s/lock/%s", b->name, locks[i]);
        r = ctl_api_perform(b->ctl, &c);
        if (r == CTL_OK && c.status == 200 && c.answer.len <= LOCK_MAX)
            r = put_lock(b->project, locks[i], &c.answer);
        else if (r == CTL_OK && c.status != 404)
            r = ctl_fail(CTL_FAILED, "%s: the builder answered with status %d, %zu bytes", locks[i], c.status, c.answer.len);
        ctl_api_call_done(&c);
    }
    return r;
}

/* Also after a signal: the call must be made, although ctl->stop would end it. */
static int remove_builder(struct builder *b)
{
    struct options *mine = b->ctl->o;
    int stop = b->ctl->stop, r;

    b->ctl->stop = 0;
    b->ctl->o = &b->options;
    r = ctl_api_change(b->ctl, "DELETE", b->name, NULL, NULL, NULL);
    b->ctl->o = mine;
    b->ctl->stop = stop;
    return r;
}

static int start(struct ctl *ctl, const struct project *p, const char *why, struct builder **ret)
{
    cleanup_free struct builder *b = calloc(1, sizeof(*b));
    char runtime[sizeof(b->runtime) + 8];
    int r;

    if (!b)
        return ctl_fail(CTL_FAILED, "out of memory");
    b->ctl = ctl;
    b->project = p;
    snprintf(b->runtime, sizeof(b->runtime), "%s", p->facts.runtime);
    snprintf(runtime, sizeof(runtime), "%s-build", b->runtime);
    r = choose_name(b);
    if (r == CTL_OK)
        r = runtimes_need(ctl, runtime);
    if (r == CTL_OK)
        r = deploy(b);
    if (r != CTL_OK)
        return ctl->stop ? r : ctl_fail(r, "%s/%s names what is to be installed, which needs the builder of runtime %s", p->source.path, why, p->facts.runtime);
    b->log = beside_start(ctl, say_log, b->name, STDERR_FILENO);
    *ret = take_ptr(b);
    return CTL_OK;
}

/* Its last words come after it is gone; a message that says "in the log above" relies on them. */
int builder_end(struct builder *b)
{
    int r;

    if (!b)
        return CTL_OK;
    r = b->ctl->stop && b->ctl->is_private ? CTL_OK : remove_builder(b); /* a daemon that ends takes it along */
    if (r == CTL_OK && !b->ctl->stop)
        beside_wait(b->log, LOG_WAIT_MS);
    beside_end(&b->log);
    free(b);
    return r;
}

static int build(struct builder *b, const struct project *p, const char *why, const struct build_sink *sink)
{
    int r;

    b->project = p;
    b->sink = sink;
    b->broken = true;
    r = ask(b, why);
    if (r == CTL_OK)
        r = take_locks(b);
    b->broken &= r != CTL_OK;
    return r;
}

int builder_run(struct ctl *ctl, const struct project *p, const char *why, const struct build_sink *sink)
{
    struct builder *b = NULL;
    int r = start(ctl, p, why, &b), gone;

    if (!b) /* and r says so */
        return r;
    r = build(b, p, why, sink);
    gone = builder_end(b);
    return r != CTL_OK ? r : gone;
}

/* The builder that is kept, or another in its place. */
static int run_kept(struct ctl *ctl, const struct project *p, const char *why, struct builder **keep, const struct build_sink *sink)
{
    int r = CTL_OK;

    if (*keep && strcmp((*keep)->runtime, p->facts.runtime) != 0)
        r = builder_end(take_ptr(*keep));
    if (r == CTL_OK && !*keep)
        r = start(ctl, p, why, keep);
    if (r != CTL_OK || !*keep)
        return r;
    r = build(*keep, p, why, sink);
    if ((*keep)->broken)
        builder_end(take_ptr(*keep));
    return r;
}

static int write_fd(void *arg, const void *data, size_t len, struct diag *d)
{
    int r = fd_write_all(*(int *)arg, data, len);

    return r < 0 ? diag_errno(d, -r, "keeping the package in a temporary file") : 0;
}

int builder_body(struct ctl *ctl, const struct project *p, const char *why, struct builder **keep, struct body *b)
{
    const char *dir = getenv("TMPDIR");
    cleanup_fd int fd = open(dir && *dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct build_sink sink = {.write = write_fd, .arg = &fd};
    int r;

    if (fd < 0)
        return ctl_fail(CTL_FAILED, "%s: a temporary file for the package: %s (set TMPDIR)", dir && *dir ? dir : "/var/tmp", strerror(errno));
    r = keep ? run_kept(ctl, p, why, keep, &sink) : builder_run(ctl, p, why, &sink);
    if (r == CTL_OK && lseek(fd, 0, SEEK_SET) < 0)
        r = ctl_fail(CTL_FAILED, "lseek: %s", strerror(errno));
    if (r == CTL_OK)
        ctl_body_fd(b, take_fd(&fd));
    return r;
}
