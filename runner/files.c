#include "files.h"

#include "certdir.h"
#include "config.h"
#include "control.h"
#include "diag.h"
#include "fd.h"
#include "log.h"
#include "record.h"
#include "str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static_assert(2 * CERTDIR_MAX + 1 <= RECORD_FILES_MAX, "every certificate of a directory can be passed");

struct pushing {
    struct control *control;
    uint32_t count;
};

static void push(struct pushing *p, uint32_t kind, const char *name, int fd)
{
    struct record_file rec = {.head = RECORD_INIT(RECORD_FILE, 0), .kind = kind};

    if (str_copy(rec.name, sizeof(rec.name), name) < 0)
        return;
    control_push_fd(p->control, &rec.head, fd);
    p->count++;
}

/* Whatever of the two can be had is passed: a certificate without its key is one that is broken (the gateway keeps what it had), not one that was taken away. */
static int push_certificate(void *arg, int dir, const struct certdir_entry *e)
{
    struct {
        uint32_t kind;
        const char *path;
    } both[] = {{RECORD_FILE_CERTIFICATE, e->certificate}, {RECORD_FILE_KEY, e->key}};

    for (unsigned i = 0; i < 2; i++) {
        struct diag d = {0};
        cleanup_fd int fd = certdir_open(dir, both[i].path, both[i].kind == RECORD_FILE_KEY, &d);

        if (fd < 0)
            log_diag(LOG_ERR, "certificate not usable", &d, "name=%s", e->name);
        else
            push(arg, both[i].kind, e->name, fd);
    }
    return 0;
}

/*
 * Not the directory itself: with a descriptor of that, a gateway that was taken over could walk up to the host's root (".."), out of its own. A copy of the mount ends at the directory; it follows no symlinks either.
 */
static int copy_mount(const char *path, struct diag *d)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW};
    cleanup_fd int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (fd < 0 || syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return diag_errno(d, errno, "%s", path);
    return take_fd(&fd);
}

static void push_acme(struct pushing *p, const char *path)
{
    struct diag d = {0};
    cleanup_fd int fd = copy_mount(path, &d);

    if (fd < 0)
        log_diag(LOG_WARNING, "no ACME challenges are answered", &d, "remedy=\"make the directory, or set gateway.acme_dir\"");
    else
        push(p, RECORD_FILE_ACME, path, fd);
}

/* Never through a symlink at its end; what is not a plain file could make who writes there wait. */
static int open_access_log(const char *path, struct diag *d)
{
    cleanup_fd int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0640);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return diag_errno(d, errno, "gateway.access_log = %s: cannot open (under systemd fnd may write below /var/log/fnd)", path);
    if (!S_ISREG(st.st_mode))
        return diag_set(d, EINVAL, "gateway.access_log = %s: is no plain file", path);
    return take_fd(&fd);
}

static void push_access_log(struct pushing *p, const char *path)
{
    struct diag d = {0};
    cleanup_fd int fd = open_access_log(path, &d);

    if (fd < 0)
        log_diag(LOG_ERR, "no access log", &d, NULL);
    else
        push(p, RECORD_FILE_ACCESS_LOG, path, fd);
}

int files_init(const struct config *c, struct diag *d)
{
    int r = fd_mkdir_p(AT_FDCWD, c->acme_dir, 0755);

    if (r < 0)
        return diag_errno(d, -r, "gateway.acme_dir = %s: cannot make the directory", c->acme_dir);
    if (c->access_log[0]) {
        cleanup_fd int fd = open_access_log(c->access_log, d);

        r = fd < 0 ? fd : 0;
    }
    return r;
}

void files_push(const struct config *c, struct control *control)
{
    struct pushing p = {.control = control};
    struct record_files rec = {.head = RECORD_INIT(RECORD_FILES, 0)};
    struct diag d = {0};

    if (certdir_each(c->tls_dir, push_certificate, &p, &d) < 0)
        log_diag(LOG_ERR, "certificates missing", &d, NULL);
    push_acme(&p, c->acme_dir);
    if (c->access_log[0])
        push_access_log(&p, c->access_log);
    rec.count = p.count;
    control_push(control, &rec.head);
}
