/*
 * verb_export.c: a function as an image's archive, into a file or a pipe. The file appears when all of it is there: what came before is without a name until then, where the file system knows such files.
 */
#include "ctl.h"

#include "api.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct output {
    struct ctl *ctl;
    const char *file; /* NULL: standard output */
    int fd, err;
    bool direct; /* a device or a pipe: nothing is to be published */
    bool named;  /* it has a name already: part */
    char part[PATH_MAX];
};

static int on_bytes(void *arg, const char *data, size_t len)
{
    struct output *o = arg;

    if (!o->file)
        return ctl_write(o->ctl, data, len);
    o->err = fd_write_all(o->fd, data, len);
    return o->err < 0 ? -ECANCELED : 0; /* what is wrong with a file is said here */
}

static int output_open(struct output *o)
{
    const char *slash = strrchr(o->file, '/');
    int len = slash ? (int)(slash - o->file) : 0;
    char dir[PATH_MAX];
    struct stat st;

    if (stat(o->file, &st) == 0 && !S_ISREG(st.st_mode)) {
        o->direct = true;
        o->fd = open(o->file, O_WRONLY | O_CLOEXEC);
        return o->fd < 0 ? -errno : 0;
    }
    if (snprintf(o->part, sizeof(o->part), "%s.%d.part", o->file, (int)getpid()) >= (int)sizeof(o->part))
        return -ENAMETOOLONG;
    snprintf(dir, sizeof(dir), "%.*s", slash ? (len > 0 ? len : 1) : 1, slash ? o->file : ".");
    o->fd = open(dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
    if (o->fd >= 0)
        return 0;
    o->fd = open(o->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    o->named = o->fd >= 0;
    return o->fd < 0 ? -errno : 0;
}

static int output_publish(struct output *o)
{
    char self[40];

    if (o->direct)
        return 0;
    snprintf(self, sizeof(self), "/proc/self/fd/%d", o->fd);
    if (!o->named && linkat(AT_FDCWD, self, AT_FDCWD, o->part, AT_SYMLINK_FOLLOW) < 0)
        return -errno;
    o->named = true;
    if (rename(o->part, o->file) < 0)
        return -errno;
    o->named = false;
    return 0;
}

static int call(struct output *o, const char *fn)
{
    const struct opt_number *version = &o->ctl->o->version_number;
    char target[512];
    struct api_call c = {.method = "GET", .target = target, .no_timeout = true, .on_data = on_bytes, .arg = o};
    int r, n = snprintf(target, sizeof(target), API_PREFIX "/functions/%s/export", fn);

    if (version->set)
        snprintf(target + n, sizeof(target) - (size_t)n, "?version=%" PRIu64, version->value);
    r = ctl_api_perform(o->ctl, &c);
    ctl_api_call_done(&c);
    return r;
}

int verb_export(struct ctl *ctl, const struct text_list *args)
{
    struct output o = {.ctl = ctl, .file = ctl->o->output, .fd = -1};
    char fn[NAME_FUNCTION_MAX + 1];
    int r = ctl_api_function(args->items[0], fn), e;

    if (r != CTL_OK)
        return r;
    if (o.file && strcmp(o.file, "-") == 0)
        o.file = NULL;
    if (!o.file && isatty(STDOUT_FILENO))
        return ctl_fail(CTL_USAGE, "export: an archive is nothing for a terminal: say -o FILE, or send it into a pipe (fnctl export %s | podman load)", fn);
    e = o.file ? output_open(&o) : 0;
    if (e < 0)
        return ctl_fail(CTL_FAILED, "%.200s: %s", o.file, strerror(-e));
    r = call(&o, fn);
    e = r == CTL_OK && o.file ? output_publish(&o) : o.err;
    if (e < 0)
        r = ctl_fail(CTL_FAILED, "%.200s: %s", o.file, strerror(-e));
    if (o.named)
        unlink(o.part);
    fd_close(o.fd);
    return r;
}
