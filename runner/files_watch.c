/*
 * files_watch.c: certificates are taken when they change (inotify(7)): of the directory, of those in it, and of the one above it, since it may be made later. One push for all changes of a moment: a key and its certificate
 * are two files. What symlinks elsewhere lead to is not watched; certbot replaces the symlinks.
 */
#include "files.h"

#include "clock.h"
#include "config.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "loop.h"
#include "str.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#define EVENTS      (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_ONLYDIR)
#define MOMENT_NS   (300 * NS_PER_MS)
#define WATCHES_MAX 512U

struct files_watch {
    const struct config *config;
    struct control *control;
    struct loop *loop;
    int fd;
    struct watch watch;
    struct timer timer;
};

static void watch_below(struct files_watch *f, const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    char below[PATH_MAX];
    unsigned n = 0;

    while (dir && n < WATCHES_MAX && (e = readdir(dir))) {
        if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_LNK && e->d_type != DT_UNKNOWN))
            continue;
        n++;
        if (snprintf(below, sizeof(below), "%s/%s", path, e->d_name) < (int)sizeof(below))
            inotify_add_watch(f->fd, below, EVENTS); /* of what is no directory: nothing */
    }
    if (dir)
        closedir(dir);
}

/* What is watched already stays so, and is not watched twice. */
static void add_watches(struct files_watch *f)
{
    char parent[CONFIG_PATH_MAX];
    char *slash;

    str_copy(parent, sizeof(parent), f->config->tls_dir);
    slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
        inotify_add_watch(f->fd, parent, EVENTS);
    }
    inotify_add_watch(f->fd, f->config->tls_dir, EVENTS);
    watch_below(f, f->config->tls_dir);
}

static void on_moment_over(struct timer *t)
{
    struct files_watch *f = t->owner;

    add_watches(f); /* before the files are read: what changes from now on is told again */
    files_push(f->config, f->control);
}

static void on_event(struct watch *w, uint32_t events)
{
    struct files_watch *f = w->owner;
    char buf[4096];
    bool any = false;

    while (read(f->fd, buf, sizeof(buf)) > 0)
        any = true;
    if (any && !f->timer.loop)
        loop_arm_in(f->loop, &f->timer, MOMENT_NS);
}

struct files_watch *files_watch_new(const struct config *c, struct loop *loop, struct control *control)
{
    struct files_watch *f = calloc(1, sizeof(*f));
    int r = 0;

    if (!f)
        return NULL;
    *f = (struct files_watch){.config = c, .control = control, .loop = loop, .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
    f->timer = (struct timer){.on_expire = on_moment_over, .owner = f};
    r = f->fd < 0 ? -errno : loop_watch(loop, &f->watch, f->fd, EPOLLIN, on_event, f);
    if (r < 0)
        log_msg(LOG_WARNING, "changes of certificates are not noticed", "error=\"%s\" remedy=\"raise fs.inotify.max_user_instances\"", strerror(-r));
    else
        add_watches(f);
    return f;
}

void files_watch_free(struct files_watch *f)
{
    if (!f)
        return;
    loop_disarm(&f->timer);
    loop_unwatch(&f->watch);
    fd_close(f->fd);
    free(f);
}
