/*
 * netlink.c: rtnetlink(7) sockets, requests in batches, dumps. libnl's own error codes end here.
 *
 * Messages are built with libnl-3 and sent and acknowledged by hand: libnl maps the kernel's errno to its NLE numbers and loses both the exact error (EADDRINUSE, ENODEV and others fall together) and the
 * kernel's text (NETLINK_EXT_ACK), and acknowledges every message on its own.
 */
#include "net_internal.h"

#include "clock.h"
#include "diag.h"

#include <assert.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define RT_MSG_BYTES  768 /* the largest request (a veth pair) has 250 */
#define RT_DUMP_TRIES 10

/* libnl's numbers collide with errno's (NLE_PERM is 28, ENOSPC), so they are never returned or printed as they are. */
static const int nle_errno[NLE_MAX + 1] = {
    [NLE_FAILURE] = EIO,
    [NLE_INTR] = EINTR,
    [NLE_BAD_SOCK] = EBADF,
    [NLE_AGAIN] = EAGAIN,
    [NLE_NOMEM] = ENOMEM,
    [NLE_EXIST] = EEXIST,
    [NLE_INVAL] = EINVAL,
    [NLE_RANGE] = ERANGE,
    [NLE_MSGSIZE] = EMSGSIZE,
    [NLE_OPNOTSUPP] = EOPNOTSUPP,
    [NLE_AF_NOSUPPORT] = EAFNOSUPPORT,
    [NLE_OBJ_NOTFOUND] = ENOENT,
    [NLE_NOADDR] = EADDRNOTAVAIL,
    [NLE_MSG_TRUNC] = EMSGSIZE,
    [NLE_BUSY] = EBUSY,
    [NLE_NOACCESS] = EACCES,
    [NLE_PERM] = EPERM,
    [NLE_NODEV] = ENODEV,
    [NLE_DUMP_INTR] = EINTR,
    [NLE_ATTRSIZE] = EINVAL,
};

static int rt_fail(int nle, struct diag *d, const char *what)
{
    unsigned i = (unsigned)(nle < 0 ? -nle : nle);
    int err = i <= NLE_MAX && nle_errno[i] ? nle_errno[i] : EIO;

    return diag_errno(d, err, "%s", what);
}

int rt_open(struct nl_sock **ret, struct diag *d)
{
    cleanup_rt struct nl_sock *s = nl_socket_alloc();
    const int on = 1;
    int r;

    if (!s)
        return diag_errno(d, ENOMEM, "rtnetlink");
    r = nl_connect(s, NETLINK_ROUTE); /* SOCK_CLOEXEC */
    if (r < 0)
        return rt_fail(r, d, "rtnetlink socket");
    nl_socket_disable_auto_ack(s);
    nl_socket_disable_seq_check(s);
    /* Without the kernel's texts the errors still have numbers. */
    (void)setsockopt(nl_socket_get_fd(s), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
    *ret = s;
    s = NULL;
    return 0;
}

void rt_close(struct nl_sock **s)
{
    nl_socket_free(*s);
    *s = NULL;
}

void rt_batch_done(struct rt_batch *b)
{
    for (unsigned i = 0; i < b->n; i++)
        nlmsg_free(b->req[i].msg);
    b->n = 0;
}

void rt_request(struct rt_batch *b, const char *what, int type, int flags, const void *head, size_t len)
{
    struct nl_msg *m;

    if (b->err)
        return;
    assert(b->n < RT_BATCH_MAX);
    m = nlmsg_alloc_size(RT_MSG_BYTES);
    if (!m || !nlmsg_put(m, NL_AUTO_PORT, NL_AUTO_SEQ, type, 0, NLM_F_REQUEST | flags) || nlmsg_append(m, (void *)head, len, NLMSG_ALIGNTO) < 0) {
        nlmsg_free(m);
        b->err = -NLE_NOMEM;
        return;
    }
    b->req[b->n].what = what;
    b->req[b->n].tolerated = 0;
    b->req[b->n++].msg = m;
}

void rt_tolerate(struct rt_batch *b, int err)
{
    if (!b->err)
        b->req[b->n - 1].tolerated = err;
}

void rt_put(struct rt_batch *b, int type, const void *data, size_t len)
{
    if (!b->err)
        b->err = nla_put(b->req[b->n - 1].msg, type, (int)len, data);
}

void rt_put_u8(struct rt_batch *b, int type, uint8_t v)
{
    rt_put(b, type, &v, sizeof(v));
}

void rt_put_u32(struct rt_batch *b, int type, uint32_t v)
{
    rt_put(b, type, &v, sizeof(v));
}

void rt_put_str(struct rt_batch *b, int type, const char *s)
{
    rt_put(b, type, s, strlen(s) + 1);
}

struct nlattr *rt_nest(struct rt_batch *b, int type)
{
    struct nlattr *nest;

    if (b->err)
        return NULL;
    nest = nla_nest_start(b->req[b->n - 1].msg, type);
    if (!nest)
        b->err = -NLE_NOMEM;
    return nest;
}

void rt_nest_end(struct rt_batch *b, struct nlattr *nest)
{
    if (!b->err)
        nla_nest_end(b->req[b->n - 1].msg, nest);
}

void rt_put_raw(struct rt_batch *b, const void *data, size_t len)
{
    if (!b->err)
        b->err = nlmsg_append(b->req[b->n - 1].msg, (void *)data, len, NLMSG_ALIGNTO);
}

/* The kernel's own words for an error, where it has some (NLMSGERR_ATTR_MSG). */
static const char *rt_ext_text(struct nlmsghdr *h, const struct nlmsgerr *e)
{
    size_t skip = sizeof(*e);
    struct nlattr *text;

    if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
        return NULL;
    if (!(h->nlmsg_flags & NLM_F_CAPPED))
        skip += e->msg.nlmsg_len - sizeof(e->msg);
    if (skip > (size_t)nlmsg_datalen(h))
        return NULL;
    text = nlmsg_find_attr(h, (int)skip, NLMSGERR_ATTR_MSG);
    return text && memchr(nla_data(text), '\0', (size_t)nla_len(text)) ? nla_get_string(text) : NULL;
}

/* One answer. Returns whether it is the last request's; the first error that is not tolerated goes to *first and the diag. */
static bool rt_answer(const struct rt_batch *b, struct nlmsghdr *h, int *first, struct diag *d)
{
    const struct nlmsgerr *e = NLMSG_DATA(h);
    const char *text;
    unsigned i = 0;

    while (i < b->n && nlmsg_hdr(b->req[i].msg)->nlmsg_seq != h->nlmsg_seq)
        i++;
    if (i == b->n)
        return false; /* an answer to an earlier batch, whose reader had given up */
    if (h->nlmsg_type != NLMSG_ERROR && b->on_object)
        b->on_object(h, b->arg);
    if (h->nlmsg_type != NLMSG_ERROR || nlmsg_datalen(h) < (int)sizeof(*e))
        return false;
    if (e->error && -e->error != b->req[i].tolerated && *first == 0) {
        *first = e->error;
        text = rt_ext_text(h, e);
        if (text)
            diag_errno(d, -e->error, "%s: %s", b->req[i].what, text);
        else
            diag_errno(d, -e->error, "%s", b->req[i].what);
    }
    return i + 1 == b->n;
}

/* A failed allocation of an answer shows as ENOBUFS, so this never waits for what cannot come: the kernel answers before sendmsg returns. */
static int rt_answers(int fd, const struct rt_batch *b, struct diag *d)
{
    char buf[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
    bool last = false;
    int first = 0;

    while (!last) {
        struct sockaddr_nl from = {0};
        socklen_t from_len = sizeof(from);
        ssize_t got = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len);
        int left;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return diag_errno(d, errno, "rtnetlink: receive");
        if (from.nl_pid != 0)
            continue; /* not the kernel */
        left = (int)got;
        for (struct nlmsghdr *h = (struct nlmsghdr *)buf; nlmsg_ok(h, left); h = nlmsg_next(h, &left))
            last |= rt_answer(b, h, &first, d);
    }
    return first;
}

int rt_send(struct nl_sock *s, struct rt_batch *b, struct diag *d)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct iovec iov[RT_BATCH_MAX];
    struct msghdr msg = {.msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = iov, .msg_iovlen = b->n};
    ssize_t sent;

    if (b->err)
        return rt_fail(b->err, d, "rtnetlink request");
    if (b->n == 0)
        return 0;
    for (unsigned i = 0; i < b->n; i++) {
        struct nlmsghdr *h = nlmsg_hdr(b->req[i].msg);

        h->nlmsg_seq = nl_socket_use_seq(s);
        h->nlmsg_pid = nl_socket_get_local_port(s);
        iov[i] = (struct iovec){.iov_base = h, .iov_len = NLMSG_ALIGN(h->nlmsg_len)};
    }
    nlmsg_hdr(b->req[b->n - 1].msg)->nlmsg_flags |= NLM_F_ACK;
    do
        sent = sendmsg(nl_socket_get_fd(s), &msg, 0);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return diag_errno(d, errno, "rtnetlink: send");
    return rt_answers(nl_socket_get_fd(s), b, d);
}

struct rt_dump_arg {
    void (*fn)(struct nlmsghdr *h, void *arg);
    void *arg;
};

static int rt_on_object(struct nl_msg *m, void *arg)
{
    const struct rt_dump_arg *a = arg;

    a->fn(nlmsg_hdr(m), a->arg);
    return NL_OK;
}

int rt_dump(struct nl_sock *s, int type, int family, void (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct diag *d)
{
    struct rt_dump_arg a = {.fn = fn, .arg = arg};
    int r = -NLE_DUMP_INTR;

    nl_socket_modify_cb(s, NL_CB_VALID, NL_CB_CUSTOM, rt_on_object, &a);
    for (unsigned i = 0; i < RT_DUMP_TRIES && r == -NLE_DUMP_INTR; i++) {
        struct rtgenmsg head = {.rtgen_family = (unsigned char)family};

        r = nl_send_simple(s, type, NLM_F_DUMP, &head, sizeof(head));
        if (r >= 0)
            r = nl_recvmsgs_default(s);
    }
    nl_socket_modify_cb(s, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
    return r < 0 ? rt_fail(r, d, "rtnetlink dump") : 0;
}

/* Interface ioctls work on every kind of socket, and answer for the namespace that the socket was made in. */
int rt_ifindex(struct nl_sock *s, const char *name)
{
    struct ifreq q = {0};

    snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
    return ioctl(nl_socket_get_fd(s), SIOCGIFINDEX, &q) < 0 ? -errno : q.ifr_ifindex;
}

static void on_operstate(struct nlmsghdr *h, void *arg)
{
    const struct nlattr *at = nlmsg_find_attr(h, sizeof(struct ifinfomsg), IFLA_OPERSTATE);

    if (h->nlmsg_type == RTM_NEWLINK && at)
        *(uint8_t *)arg = nla_get_u8(at);
}

/*
 * When both ends of a pair are up, its carrier is on; but that the end that was first has a queue, that the bridge forwards to it, and that the bridge itself has a carrier is the work of the link watch, a
 * work item that needs RTNL and comes later. A SYN sent before is lost, and the next comes a second later. The state UP is set by that same work item, which holds RTNL until all is done, and the question
 * takes RTNL too (since 6.8 it even runs a pending event first). UNKNOWN, the state at birth, is not yet UP.
 */
bool rt_wait_up(struct nl_sock *s, int ifindex)
{
    const struct timespec pause = {.tv_nsec = 20000};
    const struct ifinfomsg head = {.ifi_index = ifindex};
    uint64_t deadline = clock_mono_ns() + RT_WAIT_UP_NS;
    uint8_t state = IF_OPER_UNKNOWN;

    for (;;) {
        cleanup_batch struct rt_batch b = {.on_object = on_operstate, .arg = &state};

        rt_request(&b, "state", RTM_GETLINK, 0, &head, sizeof(head));
        rt_put_u32(&b, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        if (rt_send(s, &b, NULL) < 0)
            return false;
        if (state == IF_OPER_UP)
            return true;
        if (clock_mono_ns() > deadline)
            return false;
        nanosleep(&pause, NULL);
    }
}
