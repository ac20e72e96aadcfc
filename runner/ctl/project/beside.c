/* beside.c: something that goes on while fnctl does something else, in a process of its own, since there is one connection and one loop in each: a log that is followed. It goes when its parent does. */
#include "project.h"

#include "fd.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t beside_start(struct ctl *ctl, int (*fn)(struct ctl *ctl, void *arg), void *arg, int output_fd)
{
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid < 0 ? 0 : pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || (output_fd != STDOUT_FILENO && dup2(output_fd, STDOUT_FILENO) < 0))
        _exit(1);
    ctl->nwatches = 0; /* the parent's: what is read there would be lost to it */
    ctl->api = NULL;   /* its connections are the parent's, too */
    _exit(fn(ctl, arg));
}

void beside_wait(pid_t pid, int ms)
{
    cleanup_fd int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (fd >= 0)
        poll(&p, 1, ms);
}

void beside_end(pid_t *pid)
{
    if (*pid == 0)
        return;
    kill(*pid, SIGKILL);
    waitpid(*pid, NULL, 0);
    *pid = 0;
}
