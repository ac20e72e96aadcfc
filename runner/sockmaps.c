/*
 * sockmaps.c: see sockmaps.h. Small messages between gateway and instance go from socket to socket, past TCP, veth, bridge and firewall of the host.
 *
 * Theory of operation. Two sockops programs see connections being established: one in the gateway's cgroup enters those that the gateway asks for (SO_PRIORITY, our network namespace) into the map `gateway`, with a state;
 * one in the cgroup of the instances enters the other end, if there is such a state, into the map `instance`. The key is the whole 4-tuple. From then on an sk_msg program sees each message of either end, before TCP
 * does, and may put it into the receive queue of the other end.
 *
 * What is known of such queues (net/core/skmsg.c, net/ipv4/tcp_bpf.c; 6.1 and 6.18), and what follows from it:
 *
 *   order    A reader gets all of that queue first, then what came by TCP. So of one direction only a beginning may go the short way; what comes after a message that went by TCP must go by TCP too, until the reader
 *            has read everything. The gateway sends a request on such a connection in one message, and only when it has read the whole answer before: its message is the point from which an answer may be short again.
 *            A request that is not small sets `plain`, for good: the function may answer before it has read it.
 *   bound    The queue has no limit and holds back no writer. So the programs count: SOCKMAP_BYTES in SOCKMAP_MESSAGES for an answer, since the gateway's last request; SOCKMAP_LIFETIME for all requests of a
 *            connection, since nothing says whether a function has read them. Requests with a body that is not there at once, upgraded connections and large requests are never on such a connection.
 *   splice   splice(2) does not look at that queue: the gateway splices from such a connection only after SOCKMAP_BYTES of the answer.
 *   ends     FIN and RST go by TCP. What was queued before is still read. Who waits inside recv(2) while a reset or a signal comes is told EAGAIN, of a blocking socket too, instead of ECONNRESET or EINTR (tcp_msg_wait_data()
 *            waits once; seen on 6.1). Who waits in poll or epoll, as the gateway does, sees no difference.
 *
 * Price. A function's sockets then run through code of the kernel that has had its share of errors (skmsg, the more so with TCP_ULP), and through that oddity of recv(2). So it has to be switched on.
 *
 * Rules of the network. A connection is made by TCP, past all rules. A rule that is added later to cut connections that are there, and byte counters, do not see short messages. No socket can get in whose owner is not
 * at one end of that very connection: an instance's end needs a state that only enter_gateway makes, which looks at the network namespace; an address of another instance cannot be the local end of a connection that
 * is established in a slot.
 *
 * Lifetime. Nothing is pinned: what is attached to cgroups goes with this process. The gateway holds the two maps of sockets, so that a runner that is killed takes no message along that is in a queue; connections that it
 * opens from then on go by TCP, until a new runner brings new maps.
 */
#include "sockmaps.h"

#include "cgroup.h"
#include "diag.h"
#include "fd.h"
#include "record.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert((int)SOCKMAP_GATEWAY == RECORD_SOCKMAP_GATEWAY && (int)SOCKMAP_INSTANCE == RECORD_SOCKMAP_INSTANCE, "maps are passed by their numbers");

#define TRIAL_GROUP "sockmap-trial"

struct sockmaps {
    int maps[SOCKMAP_MAPS], programs[SOCKMAP_PROGRAMS], links[2];
};

static int own_netns(unsigned long long *ret_cookie)
{
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t cookie = 0;
    socklen_t len = sizeof(cookie);

    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
        return -errno;
    *ret_cookie = cookie;
    return 0;
}

static int load(struct sockmaps *s, struct diag *d)
{
    unsigned long long cookie = 0;
    int r = own_netns(&cookie);

    if (r < 0)
        return diag_errno(d, -r, "network namespace");
    for (unsigned i = 0; i < SOCKMAP_MAPS; i++) {
        s->maps[i] = sockmaps_make(i, d);
        if (s->maps[i] < 0)
            return s->maps[i];
    }
    for (unsigned i = 0; i < SOCKMAP_PROGRAMS; i++) {
        s->programs[i] = sockmaps_load(i, s->maps, cookie, d);
        if (s->programs[i] < 0)
            return s->programs[i];
    }
    return 0;
}

static int attach_map(int map, int program)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.target_fd = (uint32_t)map;
    attr.attach_bpf_fd = (uint32_t)program;
    attr.attach_type = BPF_SK_MSG_VERDICT;
    return sockmaps_bpf(BPF_PROG_ATTACH, &attr, sizeof(attr));
}

static int attach_cgroup(int cgroup, int program)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.link_create.prog_fd = (uint32_t)program;
    attr.link_create.target_fd = (uint32_t)cgroup;
    attr.link_create.attach_type = BPF_CGROUP_SOCK_OPS;
    return sockmaps_bpf(BPF_LINK_CREATE, &attr, sizeof(attr));
}

static int attach(struct sockmaps *s, const struct cg_root *cgroups, struct diag *d)
{
    cleanup_fd int own = cg_own_open(d);
    int r;

    if (own < 0)
        return own;
    r = attach_map(s->maps[SOCKMAP_GATEWAY], s->programs[SOCKMAP_FROM_GATEWAY]);
    if (r >= 0)
        r = attach_map(s->maps[SOCKMAP_INSTANCE], s->programs[SOCKMAP_FROM_INSTANCE]);
    if (r < 0)
        return diag_errno(d, -r, "attaching to a map");
    r = s->links[0] = attach_cgroup(own, s->programs[SOCKMAP_ENTER_GATEWAY]);
    if (r >= 0)
        r = s->links[1] = attach_cgroup(cg_root_dir(cgroups), s->programs[SOCKMAP_ENTER_INSTANCE]);
    return r < 0 ? diag_errno(d, -r, "attaching to a cgroup") : 0;
}

static int try(const struct sockmaps *s, const struct cg_root *cgroups, struct diag *d)
{
    int root = cg_root_dir(cgroups), r;
    cleanup_fd int group = -1;

    if (mkdirat(root, TRIAL_GROUP, 0755) < 0 && errno != EEXIST)
        return diag_errno(d, errno, "cgroup " TRIAL_GROUP);
    group = openat(root, TRIAL_GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = group < 0 ? diag_errno(d, errno, "cgroup " TRIAL_GROUP) : sockmaps_trial(group, s->maps[SOCKMAP_STATE], d);
    for (int i = 0; i < 100 && unlinkat(root, TRIAL_GROUP, AT_REMOVEDIR) < 0 && errno == EBUSY; i++)
        usleep(1000); /* the process has been waited for; its cgroup lets go of it a little later */
    return r;
}

int sockmaps_open(const struct cg_root *cgroups, struct sockmaps **ret, struct diag *d)
{
    struct sockmaps *s = malloc(sizeof(*s));
    int r;

    if (!s)
        return diag_errno(d, ENOMEM, "sockmap");
    memset(s, 0xff, sizeof(*s)); /* -1 */
    r = load(s, d);
    if (r == 0)
        r = attach(s, cgroups, d);
    if (r == 0)
        r = try(s, cgroups, d);
    if (r < 0) {
        sockmaps_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void sockmaps_free(struct sockmaps *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < 2; i++)
        fd_close(s->links[i]);
    for (unsigned i = 0; i < SOCKMAP_PROGRAMS; i++)
        fd_close(s->programs[i]);
    for (unsigned i = 0; i < SOCKMAP_MAPS; i++)
        fd_close(s->maps[i]);
    free(s);
}

int sockmaps_map(const struct sockmaps *s, unsigned end)
{
    return s && end < RECORD_SOCKMAP_ENDS ? s->maps[end] : -1;
}
