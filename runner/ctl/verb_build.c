/* verb_build.c: `fnctl build`: a directory as one file that can be deployed anywhere. A private daemon is only started where something has to be installed. */
#include "ctl_private.h"
#include "project/project.h"

#include "fd.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 65536

struct build {
    struct ctl *ctl;
    struct project project;
    const char *why; /* a builder is needed */
    struct packfile *file;
    char path[PATH_MAX];
};

static int write_file(void *arg, const void *data, size_t len, struct diag *d)
{
    return packfile_write(arg, data, len, d);
}

/* The directory as it stands; the file may be made within it. */
static int pack(struct build *b)
{
    struct progress bar;
    struct stat skip[2];
    struct pack_options o = {.uniform = true, .skip = skip, .nskip = 1, .on_bytes = progress_bytes, .arg = &bar};
    struct diag d = {0};
    char piece[PIECE];
    struct body body;
    ssize_t n = packfile_stat(b->file, &skip[0]);

    ctl_body_init(&body);
    o.nskip += stat(b->path, &skip[1]) == 0;
    progress_begin(&bar, "packing");
    if (n == 0)
        n = project_open(&b->project, &o, &body, &d);
    while (n >= 0 && (n = body.read(&body, piece, sizeof(piece))) > 0)
        if (packfile_write(b->file, piece, (size_t)n, &d) < 0)
            n = -EIO;
    progress_end(&bar);
    if (n < 0)
        ctl_fail_diag(CTL_FAILED, body.diag.err ? &body.diag : &d);
    ctl_body_done(&body);
    return n < 0 ? CTL_FAILED : CTL_OK;
}

static int build_in(struct ctl *ctl, void *arg)
{
    struct build *b = arg;
    struct build_sink sink = {.write = write_file, .arg = b->file};

    return builder_run(ctl, &b->project, b->why, &sink);
}

static int choose_path(struct build *b)
{
    const char *name = *b->project.facts.name ? b->project.facts.name : b->project.name;
    int n = b->ctl->o->output ? snprintf(b->path, sizeof(b->path), "%s", b->ctl->o->output) : snprintf(b->path, sizeof(b->path), "%s.tar.gz", name);

    if (n < 0 || (size_t)n >= sizeof(b->path))
        return ctl_fail(CTL_USAGE, "-o %.80s...: the path is too long", b->ctl->o->output);
    return !b->ctl->o->output && !*name ? ctl_fail(CTL_USAGE, "build: the function has no name: say -o FILE, or name in function.ini") : CTL_OK;
}

static int finish(struct build *b)
{
    struct strbuf out cleanup_strbuf = {0};
    char sha256[65], size[TEXT_MAX];
    struct diag d = {0};
    uint64_t bytes;

    if (packfile_close(take_ptr(b->file), &bytes, sha256, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    strbuf_printf(&out, "%s  %s  %s\n", sha256, b->path, ctl_text_size(bytes, size));
    return ctl_flush(b->ctl, &out);
}

static int build(struct build *b, const struct source *source)
{
    struct diag d = {0};
    int r;

    if (source->kind != SOURCE_DIRECTORY)
        return ctl_fail(CTL_USAGE, "build: %s is a package already: fnctl deploy takes it", source->path);
    if (project_load(source, PROJECT_CHECKED, b->ctl->o->name, &b->project, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    project_print_notes(&b->project);
    r = choose_path(b);
    if (r != CTL_OK)
        return r;
    b->why = needs_builder(&b->project);
    if (b->why && geteuid() != 0)
        return ctl_fail(CTL_DENIED, "build: what %s/%s names is installed in a sandbox, which root makes: sudo fnctl build ...", source->path, b->why);
    if (packfile_open(b->path, &b->file, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    r = b->why ? ctl_private_with(b->ctl, &(struct private_options){.address = "127.0.0.1"}, build_in, b) : pack(b);
    if (r == CTL_OK)
        r = finish(b);
    packfile_abort(b->file);
    return r;
}

int verb_build(struct ctl *ctl, const struct text_list *args)
{
    struct build b = {.ctl = ctl};
    struct source source;
    struct diag d = {0};
    int r;

    if (ctl_source_find(args->items[0], &source, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    r = build(&b, &source);
    project_done(&b.project);
    return r;
}
