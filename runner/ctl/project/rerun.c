/*
 * rerun.c: `fnctl run --watch`: what is in the directory is what runs. When it has been quiet for a moment after a change, the directory is read, built and deployed anew; when that fails, the message is printed
 * and the version that runs goes on.
 *
 * The next watch is opened before the old one is asked for the last time: a change while a deploy is under way starts the next round.
 */
#include "project.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUIET_NS   (100 * NS_PER_MS)
#define LONGEST_NS (2 * NS_PER_SEC) /* somebody writes without end */

/* Until something counts, and then nothing has for a while. 1, or a negative errno. */
static int wait_for_change(struct ctl *ctl, struct dirwatch *w, const struct ignore *g, bool changed, struct diag *d)
{
    uint64_t first = clock_mono_ns(), last = first;

    for (;;) {
        uint64_t now = clock_mono_ns();
        int r;

        if (changed && (now - last >= QUIET_NS || now - first >= LONGEST_NS))
            return 1;
        r = ctl_wait(ctl, dirwatch_fd(w), POLLIN, changed ? (int)((QUIET_NS - (now - last)) / NS_PER_MS) + 1 : -1);
        if (r == -ECANCELED)
            return r;
        r = r < 0 ? diag_errno(d, -r, "waiting for changes") : dirwatch_read(w, g, d);
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

/* Reads the directory anew into *p (what is there stays when that fails), watches it by what it says now. */
static int renew(struct project *p, const struct source *source, const char *pick, struct dirwatch **w, struct diag *d)
{
    struct dirwatch *next = NULL;
    struct project now;
    int r = project_load(source, PROJECT_CHECKED, pick, &now, d);

    if (r == 0)
        r = dirwatch_open(source->path, now.ignore, &next, d);
    if (r < 0) {
        project_done(&now);
        return r;
    }
    r = dirwatch_read(*w, now.ignore, d);
    dirwatch_close(*w);
    *w = next;
    project_done(p);
    *p = now;
    return r;
}

int rerun(struct ctl *ctl, struct project *p, const struct source *source, const char *pick, struct builder **builder)
{
    struct dirwatch *w = NULL;
    struct diag d = {0};
    bool changed = false;
    int r = dirwatch_open(source->path, p->ignore, &w, &d);

    while (r == 0) {
        r = wait_for_change(ctl, w, p->ignore, changed, &d);
        if (r < 0)
            break;
        r = renew(p, source, pick, &w, &d);
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
    dirwatch_close(w);
    return ctl->stop ? CTL_OK : ctl_fail_diag(CTL_FAILED, &d);
}
