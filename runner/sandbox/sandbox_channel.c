/* sandbox_channel.c: what a child reports over, and where the plan comes from. */
#include "sandbox_private.h"

#include "fd.h"

#include <errno.h>
#include <sys/socket.h>

/* Room for the largest plan in one message, whatever net.core.wmem_default says (the kernel doubles the figure for its own overhead). */
int sandbox_channel_make(int ret_ends[2])
{
    const int room = PLAN_MAX;
    int ends[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    r = setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) < 0 ? -errno : fd_set_nonblock(ends[0], 1);
    if (r < 0) {
        fd_close(ends[0]);
        fd_close(ends[1]);
        return r;
    }
    ret_ends[0] = ends[0];
    ret_ends[1] = ends[1];
    return 0;
}
