/*
 * cg_events.c: which groups have reached a limit. The kernel says so by inotify on the *.events files (cgroup-v2.rst; cgroup_file_notify() lets at most one through every 10 ms for a file), so that hosts on which
 * nothing happens cost nothing, and one descriptor serves all groups.
 */
#include "cg_internal.h"

#include "diag.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static const struct {
    enum cg_controller controller;
    const char *file;
} sources[CG_EVENTS_WATCHES] = {{CG_MEMORY, "memory.events"}, {CG_PIDS, "pids.events"}};

int cg_events_open(struct diag *d)
{
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    return fd < 0 ? diag_errno(d, errno, "inotify, for the events of cgroups") : fd;
}

/* A watch that cannot be had is one event that is found later, by who looks at the figures. */
void cg_events_watch(int events_fd, const struct cg_group *g, int ret_watches[CG_EVENTS_WATCHES])
{
    for (unsigned i = 0; i < CG_EVENTS_WATCHES; i++) {
        char path[64];

        ret_watches[i] = -1;
        if (g->root->where[sources[i].controller] != CG_V2 || g->dir_fd < 0)
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", g->dir_fd, sources[i].file);
        ret_watches[i] = inotify_add_watch(events_fd, path, IN_MODIFY);
    }
}

void cg_events_unwatch(int events_fd, int watches[CG_EVENTS_WATCHES])
{
    for (unsigned i = 0; i < CG_EVENTS_WATCHES; i++) {
        if (watches[i] >= 0)
            inotify_rm_watch(events_fd, watches[i]);
        watches[i] = -1;
    }
}

int cg_events_read(int events_fd, int *ret_watches, unsigned n)
{
    _Alignas(struct inotify_event) char buf[sizeof(struct inotify_event) * 32];
    size_t want = n < 32 ? n : 32;
    ssize_t len = read(events_fd, buf, want * sizeof(struct inotify_event)); /* watches of files bring no names */
    int found = 0;

    if (len < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (size_t at = 0; at + sizeof(struct inotify_event) <= (size_t)len;) {
        struct inotify_event e;

        memcpy(&e, buf + at, sizeof(e));
        at += sizeof(e) + e.len;
        if (e.mask & IN_Q_OVERFLOW)
            ret_watches[found++] = CG_EVENTS_ALL;
        else
            ret_watches[found++] = e.mask & IN_MODIFY ? e.wd : CG_EVENTS_NONE;
    }
    return found;
}
