/*
 * rerun.c: `fnctl run --watch`: what is in the directory is what runs. When it has been quiet for a moment after a change, the directory is read, built and deployed anew; when that fails, the message is printed
 * and the version that runs goes on. When there is none yet, the next change is waited for all the same; what no change of the directory can cure ends it.
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

static int deploy(struct ctl *ctl, const struct project *p, struct builder **builder, json_t **ret)
{
    const char *why = needs_builder(p);
    struct diag d = {0};
    struct body b;
    int r;

    ctl_body_init(&b);
    r = why ? builder_body(ctl, p, why, builder, &b) : project_open(p, &(struct pack_options){0}, &b, &d) < 0 ? ctl_fail_diag(CTL_FAILED, &d) : CTL_OK;
    if (r == CTL_OK)
        r = runtimes_need(ctl, runtimes_of(ctl, p));
    if (r == CTL_OK)
        r = ctl_deploy(ctl, &b, ret);
    ctl_body_done(&b);
    return r;
}

static int load(const struct rerun *w, struct project *p, struct diag *d)
{
    int r = project_load(w->source, PROJECT_CHECKED, w->pick, p, d);

    return r == 0 ? dirwatch_open(w->source->path, p->ignore, &p->watch, d) : r;
}

/* Twice: which directories are watched is known only when they have been read. */
static int load_twice(const struct rerun *w, struct project *p, struct diag *d)
{
    struct project first;
    int r = load(w, &first, d);

    *p = (struct project){0};
    if (r == 0)
        r = project_load(w->source, PROJECT_CHECKED, w->pick, p, d);
    p->watch = take_ptr(first.watch);
    project_done(&first);
    if (r < 0)
        project_done(p);
    return r;
}

static bool err_is_curable(int err)
{
    static const int others[] = {EACCES, EPERM, ENOMEM, EMFILE, ENFILE, ENOSPC};

    for (size_t i = 0; i < CTL_COUNT(others); i++)
        if (err == others[i])
            return false;
    return true;
}

static void say_waiting(const struct rerun *w)
{
    ctl_fail(CTL_FAILED, "waiting for the next change of %s", w->source->path);
}

/* What is no part of a package by itself is left out of the watch; the directory's own rules may be what cannot be read. */
static int watch_all(const struct rerun *w, struct project *ret, struct diag *d)
{
    int r = ignore_parse(IGNORE_FILE, "", true, &ret->ignore, d);

    return r == 0 ? dirwatch_open(w->source->path, ret->ignore, &ret->watch, d) : r;
}

/* The second time it is watched since before it was read. */
int rerun_load(struct ctl *ctl, const struct rerun *w, struct project *p)
{
    struct project waiting = {0};
    struct diag d = {0};
    int r;

    while ((r = load_twice(w, p, &d)) < 0 && err_is_curable(-r)) {
        if (waiting.watch) {
            ctl_fail_diag(CTL_FAILED, &d);
            say_waiting(w);
            r = wait_for_change(ctl, &waiting, false, &d);
        } else {
            r = watch_all(w, &waiting, &d);
        }
        if (r < 0)
            break;
    }
    dirwatch_close(waiting.watch);
    ignore_free(waiting.ignore);
    return r == 0 || r == -ECANCELED ? CTL_OK : ctl_fail_diag(CTL_FAILED, &d);
}

/* Reads the directory anew into *p (what is there stays when that fails), watches it by what it says now. 1: it has changed meanwhile. */
static int renew(struct project *p, const struct rerun *w, struct diag *d)
{
    struct project now;
    int r = load(w, &now, d);

    if (r < 0) {
        project_done(&now);
        return r;
    }
    r = dirwatch_read(p->watch, now.ignore, d);
    project_done(p);
    *p = now;
    return r;
}

/* The next change, read into *p. CTL_OK, CTL_FAILED with its message, or -errno: there will be no other. */
static int next(struct ctl *ctl, struct project *p, struct rerun *w, struct diag *d)
{
    int r = wait_for_change(ctl, p, w->changed, d);

    if (r < 0)
        return r;
    r = renew(p, w, d);
    w->changed = r > 0;
    if (ctl->stop)
        return -ECANCELED;
    return r < 0 ? ctl_fail_diag(CTL_FAILED, d) : CTL_OK;
}

int rerun_first(struct ctl *ctl, struct project *p, struct rerun *w, json_t **ret)
{
    struct diag d = {0};
    int r = CTL_OK;

    for (;;) {
        if (r == CTL_OK) {
            ctl->o->name = w->pick ? w->pick : *p->name ? p->name : NULL;
            r = deploy(ctl, p, w->builder, ret);
            if (r == CTL_OK || r == CTL_NO_DAEMON || ctl->stop)
                return r;
        }
        say_waiting(w);
        r = next(ctl, p, w, &d);
        if (r < 0)
            return ctl->stop ? CTL_FAILED : ctl_fail_diag(CTL_FAILED, &d);
    }
}

int rerun(struct ctl *ctl, struct project *p, struct rerun *w)
{
    struct diag d = {0};
    int r = CTL_OK;

    while (!ctl->stop && (r = next(ctl, p, w, &d)) >= 0) {
        json_t *fn cleanup_json = NULL;
        uint64_t begin = clock_mono_ns();

        if (r == CTL_OK)
            r = deploy(ctl, p, w->builder, &fn);
        if (r == CTL_OK)
            fprintf(stderr, "changed   version %llu is ready (%.0f ms)\n", (unsigned long long)ctl_json_uint(fn, "version"),
                    (double)(clock_mono_ns() - begin) / NS_PER_MS);
        else if (!ctl->stop)
            ctl_fail(CTL_FAILED, "the version before goes on");
    }
    return ctl->stop ? CTL_OK : ctl_fail_diag(CTL_FAILED, &d);
}
