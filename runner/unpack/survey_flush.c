/*
 * survey_flush.c: the unpacked tree on disk when the survey has ended (survey.c), without the survey having waited for it where that can be had.
 *
 * A small tree is flushed file by file: syncfs(2) would wait for whatever else lies unwritten in that file system, from other functions or the rest of the host. A larger one is flushed by syncfs in a process of its own
 * while the survey reads it: nobody can write to it any more, so that what the survey sees is what was flushed. That process is made before the survey has read anything; of the survey it takes one byte, and it
 * can do nothing but wait for that, flush, and say how it went.
 */
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <unistd.h>

static int restrict_calls(void)
{
    static const int calls[] = {SCMP_SYS(read), SCMP_SYS(syncfs), SCMP_SYS(write), SCMP_SYS(exit_group)};
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = ctx ? 0 : -ENOMEM;

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]) && r == 0; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
    if (r == 0)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}

static _Noreturn void flusher(int root_fd, int go_fd, int done_fd)
{
    int err = -restrict_calls();
    char go;

    if (read(go_fd, &go, 1) == 1) { /* else it is not needed */
        if (err == 0 && syncfs(root_fd) < 0)
            err = errno;
        if (write(done_fd, &err, sizeof(err)) != sizeof(err))
            _exit(1);
    }
    _exit(0);
}

int survey_flush_start(struct survey_flush *f, int root_fd, struct diag *d)
{
    int go[2], done[2];
    pid_t pid;

    *f = (struct survey_flush){.root_fd = root_fd, .go_fd = -1, .done_fd = -1};
    if (pipe2(go, O_CLOEXEC) < 0)
        return diag_errno(d, errno, "pipe");
    if (pipe2(done, O_CLOEXEC) < 0) {
        fd_close(go[0]);
        fd_close(go[1]);
        return diag_errno(d, errno, "pipe");
    }
    pid = fork();
    if (pid == 0) {
        fd_close(go[1]);
        fd_close(done[0]);
        fd_close(UNPACK_FD_SOCKET);
        flusher(root_fd, go[0], done[1]);
    }
    fd_close(go[0]);
    fd_close(done[1]);
    f->go_fd = go[1];
    f->done_fd = done[0];
    return pid < 0 ? diag_errno(d, errno, "fork") : 0;
}

static void forget(struct survey_flush *f)
{
    while (f->count > 0)
        fd_close(f->fds[--f->count]);
}

int survey_flush_file(struct survey_flush *f, int fd, struct diag *d)
{
    int copy;

    if (f->all)
        return 0;
    if (f->count == SURVEY_FLUSH_EACH) {
        forget(f);
        f->all = true;
        return write(f->go_fd, "g", 1) == 1 ? 0 : diag_errno(d, errno, "flushing it to disk");
    }
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return diag_errno(d, errno, "keeping it to be flushed");
    f->fds[f->count++] = copy;
    return 0;
}

int survey_flush_finish(struct survey_flush *f, struct diag *d)
{
    int err = 0;

    if (f->all && read(f->done_fd, &err, sizeof(err)) != sizeof(err))
        err = EIO;
    if (!f->all && fsync(f->root_fd) < 0)
        err = errno;
    for (unsigned i = 0; i < f->count && err == 0; i++)
        if (fsync(f->fds[i]) < 0)
            err = errno;
    forget(f);
    return err ? diag_errno(d, err, "flushing it to disk") : 0;
}
