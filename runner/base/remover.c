/* remover.c: see remover.h. The child has one descriptor, dies with its parent, and executes nothing. */
#include "remover.h"

#include "clock.h"
#include "fd.h"
#include "log.h"
#include "loop.h"
#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define REMOVER_INLINE_NS (10 * NS_PER_MS)

struct job {
    struct job *next;
    int dirfd;
    char name[NAME_MAX + 1];
};

struct remover {
    struct loop *loop;
    struct job *head, **tail;
    int pid_fd; /* of the child that works on the head, or -1 */
    struct watch watch;
};

static void next_job(struct remover *r);

static void drop_head(struct remover *r)
{
    struct job *j = r->head;

    r->head = j->next;
    if (!r->head)
        r->tail = &r->head;
    fd_close(j->dirfd);
    free(j);
}

static _Noreturn void work(const struct job *j, pid_t parent)
{
    int dir;

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    dir = dup3(j->dirfd, 0, O_CLOEXEC);
    close_range(1, ~0U, 0); /* locks, listeners and channels are the parent's */
    _exit(dir < 0 || fd_remove_tree(dir, j->name) < 0);
}

static void reap(struct remover *r)
{
    siginfo_t info = {0};

    loop_unwatch(&r->watch);
    while (waitid(P_PIDFD, (id_t)r->pid_fd, &info, WEXITED) < 0 && errno == EINTR)
        ;
    r->pid_fd = fd_close(r->pid_fd);
    if (info.si_code != CLD_EXITED || info.si_status != 0)
        log_msg(LOG_WARNING, "not removed, the next start will try again", "name=%s", r->head->name);
}

static void on_end(struct watch *w, uint32_t events)
{
    struct remover *r = w->owner;

    reap(r);
    drop_head(r);
    next_job(r);
}

static int start_child(struct remover *r)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0)
        work(r->head, parent);
    if (pid < 0)
        return -errno;
    r->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (r->pid_fd >= 0 && loop_watch(r->loop, &r->watch, r->pid_fd, EPOLLIN, on_end, r) == 0)
        return 0;
    r->pid_fd = fd_close(r->pid_fd);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return -EAGAIN;
}

static void next_job(struct remover *r)
{
    while (r->head && start_child(r) < 0) {
        fd_remove_tree(r->head->dirfd, r->head->name);
        drop_head(r);
    }
}

static int add_job(struct remover *r, int dirfd, const char *name)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        return -ENOMEM;
    j->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 1);
    if (j->dirfd < 0 || str_copy(j->name, sizeof(j->name), name) < 0) {
        fd_close(j->dirfd);
        free(j);
        return -EMFILE;
    }
    *r->tail = j;
    r->tail = &j->next;
    return 0;
}

int remover_new(struct loop *l, struct remover **ret)
{
    struct remover *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    *r = (struct remover){.loop = l, .pid_fd = -1};
    r->tail = &r->head;
    *ret = r;
    return 0;
}

void remover_take(struct remover *r, int dirfd, const char *name)
{
    if (fd_remove_tree_until(dirfd, name, clock_mono_ns() + REMOVER_INLINE_NS) != -ETIME)
        return;
    if (add_job(r, dirfd, name) < 0)
        fd_remove_tree(dirfd, name);
    else if (r->pid_fd < 0)
        next_job(r);
}

void remover_free(struct remover *r)
{
    if (!r)
        return;
    if (r->pid_fd >= 0) {
        syscall(SYS_pidfd_send_signal, r->pid_fd, SIGKILL, NULL, 0);
        reap(r);
    }
    while (r->head)
        drop_head(r);
    free(r);
}
