/*
 * rerun.c: `fnctl run --watch`: what is in the directory is what runs. When it has been quiet for a moment after a change, the directory is read, built and deployed anew; when that fails, the message is printed
 * and the version that runs goes on.
 *
 * Each watch is older than what was read of the directory, and the next one is opened before the old one is asked for the last time: a change while a deploy is under way, the first one too, starts the next
 * round.
 */
#include "project.h"

#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUIET_NS   (100 * NS_PER_MS)
#define LONGEST_NS (2 * NS_PER_SEC) /* somebody writes without end */

/* Until something counts, and then nothing has for a while. 1, or a negative errno. */
static int wait_for_change(struct ctl *ctl, const struct project *p, bool changed, struct diag *d)
{
    uint64_t first = clock_mono_ns(), last = first;

    for (;;) {
        uint64_t now = clock_mono_ns();
        int r;

        if (changed && (now - last >= QUIET_NS || now - first >= LONGEST_NS))
            return 1;
        r = ctl_wait(ctl, dirwatch_fd(p->watch), POLLIN, changed ? (int)((QUIET_NS - (now - last)) / NS_PER_MS) + 1 : -1);
        if (r == -ECANCELED)
            return r;
        r = r < 0 ? diag_errno(d, -r, "waiting for changes") : dirwatch_read(p->watch, p->ignore, d);
        if (r < 0)
            return r;
        if (r > 0) {
            last = clock_mono_ns();
            first = changed ? first : last;
            changed = true;
        }
    }
}

static int deploy(struct ctl *ctl, const struct project *p, struct builder **builder)
{
    const char *why = needs_builder(p);
    json_t *fn cleanup_json = NULL;
    uint64_t begin = clock_mono_ns();
    struct diag d = {0};
    struct body b;
    int r;

    ctl_body_init(&b);
    r = why ? builder_body(ctl, p, why, builder, &b) : project_open(p, &(struct pack_options){0}, &b, &d) < 0 ? ctl_fail_diag(CTL_FAILED, &d) : CTL_OK;
    if (r == CTL_OK && *p->facts.runtime)
        r = runtimes_need(ctl, p->facts.runtime);
    if (r == CTL_OK)
        r = ctl_deploy(ctl, &b, &fn);
    ctl_body_done(&b);
    if (r == CTL_OK)
        fprintf(stderr, "changed   version %llu is ready (%.0f ms)\n", (unsigned long long)ctl_json_uint(fn, "version"),
                (double)(clock_mono_ns() - begin) / NS_PER_MS);
    return r;
}

static int load(const struct source *source, const char *pick, struct project *p, struct diag *d)
{
    int r = project_load(source, PROJECT_CHECKED, pick, p, d);

    return r == 0 ? dirwatch_open(source->path, p->ignore, &p->watch, d) : r;
}

/* Twice: which directories are watched is known only when they have been read. */
int rerun_load(const struct source *source, const char *pick, struct project *p, struct diag *d)
{
    struct project first;
    int r = load(source, pick, &first, d);

    *p = (struct project){0};
    if (r == 0)
        r = project_load(source, PROJECT_CHECKED, pick, p, d);
    p->watch = take_ptr(first.watch);
    project_done(&first);
    return r;
}

/* Reads the directory anew into *p (what is there stays when that fails), watches it by what it says now. 1: it has changed meanwhile. */
static int renew(struct project *p, const struct source *source, const char *pick, struct diag *d)
{
    struct project now;
    int r = load(source, pick, &now, d);

    if (r < 0) {
        project_done(&now);
        return r;
    }
    r = dirwatch_read(p->watch, now.ignore, d);
    project_done(p);
    *p = now;
    return r;
}

int rerun(struct ctl *ctl, struct project *p, const struct source *source, const char *pick, struct builder **builder)
{
    struct diag d = {0};
    bool changed = false;
    int r = 0;

    while (r == 0) {
        r = wait_for_change(ctl, p, changed, &d);
        if (r < 0)
            break;
        r = renew(p, source, pick, &d);
        changed = r > 0;
        if (r < 0 || deploy(ctl, p, builder) != CTL_OK) {
            if (ctl->stop)
                break;
            if (r < 0)
                ctl_fail_diag(CTL_FAILED, &d);
            ctl_fail(CTL_FAILED, "the version before goes on");
        }
        r = ctl->stop ? -ECANCELED : 0;
    }
    return ctl->stop ? CTL_OK : ctl_fail_diag(CTL_FAILED, &d);
}
