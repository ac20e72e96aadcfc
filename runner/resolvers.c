/*
 * resolvers.c: see resolvers.h.
 *
 * With `auto`, the host's resolv.conf counts; where that names nothing but the stub of systemd-resolved, what resolved itself asks does: the stub also answers from the host's own names, which are not for functions.
 * Files are replaced by rename, and a symlink may lead elsewhere tomorrow: directories are watched, and looked for anew after every change.
 */
#include "resolvers.h"

#include "clock.h"
#include "config.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "loop.h"
#include "resolver.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#define FILE_MAX_BYTES 65536
#define SETTLE_NS      (100 * NS_PER_MS) /* whoever writes it may write others beside it */
#define EVENTS         (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR)

struct resolvers {
    struct resolvers_parts p;
    struct record_resolvers rec;
    int inotify_fd;
    struct watch watch;
    struct timer timer;
};

static unsigned read_conf(const char *path, struct record_resolver ret[RECORD_RESOLVERS_MAX], bool *ret_stub)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    cleanup_free char *text = NULL;
    ssize_t len = fd < 0 ? -errno : fd_read_all(fd, FILE_MAX_BYTES, &text);

    *ret_stub = false;
    return len < 0 ? 0 : resolver_conf(text, (size_t)len, ret, ret_stub);
}

static void find(const struct resolvers *r, struct record_resolvers *ret)
{
    struct record_resolver behind[RECORD_RESOLVERS_MAX] = {0};
    bool stub, again;
    unsigned n;

    *ret = (struct record_resolvers){.head = RECORD_INIT(RECORD_RESOLVERS, 0)};
    if (!config_has_dns(r->p.config))
        return;
    if (strcmp(r->p.config->dns, "auto") != 0) {
        int count = resolver_list(r->p.config->dns, ret->resolvers);

        ret->count = count < 0 ? 0 : (uint32_t)count;
        return;
    }
    ret->count = read_conf(r->p.conf, ret->resolvers, &stub);
    n = stub ? read_conf(r->p.systemd, behind, &again) : 0;
    if (n == 0)
        return;
    memcpy(ret->resolvers, behind, sizeof(behind));
    ret->count = n;
}

static void watch_directory(const struct resolvers *r, const char *path)
{
    char copy[PATH_MAX], real[PATH_MAX];

    if (str_copy(copy, sizeof(copy), path) == 0)
        inotify_add_watch(r->inotify_fd, dirname(copy), EVENTS); /* one that is watched already stays one */
    if (realpath(path, real) && strcmp(real, path) != 0)
        inotify_add_watch(r->inotify_fd, dirname(real), EVENTS);
}

static void reload(struct resolvers *r)
{
    struct record_resolvers before = r->rec;

    watch_directory(r, r->p.conf);
    watch_directory(r, r->p.systemd);
    find(r, &r->rec);
    if (memcmp(&before, &r->rec, sizeof(before)) == 0)
        return;
    if (r->rec.count == 0 && config_has_dns(r->p.config))
        log_msg(LOG_WARNING, "functions cannot look up names", "reason=\"%s names no resolver\" remedy=\"set network.dns to the addresses of one\"", r->p.conf);
    else
        log_msg(LOG_DEBUG, "resolvers", "count=%u", r->rec.count);
    if (r->p.on_change)
        r->p.on_change(r->p.owner);
}

static void on_timer(struct timer *t)
{
    reload(t->owner);
}

static void on_inotify(struct watch *w, uint32_t events)
{
    struct resolvers *r = w->owner;
    char buf[4096] __attribute__((aligned(8)));

    while (read(r->inotify_fd, buf, sizeof(buf)) > 0)
        if (!r->timer.loop)
            loop_arm_in(r->p.loop, &r->timer, SETTLE_NS);
}

int resolvers_new(const struct resolvers_parts *parts, struct resolvers **ret, struct diag *d)
{
    struct resolvers *r = calloc(1, sizeof(*r));
    int e = 0;

    if (!r)
        return diag_set(d, ENOMEM, "out of memory");
    r->p = *parts;
    r->inotify_fd = -1;
    r->timer = (struct timer){.on_expire = on_timer, .owner = r};
    if (strcmp(parts->config->dns, "auto") == 0) {
        r->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        e = r->inotify_fd < 0 ? -errno : loop_watch(parts->loop, &r->watch, r->inotify_fd, EPOLLIN, on_inotify, r);
    }
    if (e < 0) { /* a host that is out of inotify instances: what is read now is what counts */
        log_msg(LOG_WARNING, "changes of the host's resolvers are not noticed", "error=\"%s\" remedy=\"raise fs.inotify.max_user_instances\"", strerror(-e));
        r->inotify_fd = fd_close(r->inotify_fd);
    }
    reload(r);
    *ret = r;
    return 0;
}

void resolvers_free(struct resolvers *r)
{
    if (!r)
        return;
    loop_disarm(&r->timer);
    loop_unwatch(&r->watch);
    fd_close(r->inotify_fd);
    free(r);
}

const struct record_resolvers *resolvers_record(const struct resolvers *r)
{
    return &r->rec;
}
