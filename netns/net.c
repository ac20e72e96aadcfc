/* net.c: opening and removing: what must be true of the host before anything is changed on it, sweeping what a killed daemon left, the host's table. */
#include "nft_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int net_refuse_clash(const struct link_list *links, struct diag *d)
{
    for (size_t i = 0; i < links->n; i++)
        if (links->rows[i].owner == LINK_CLASH)
            return diag_set(d, EEXIST, "interface %s is there already and is not ours: " NET_REMEDY_NAMES, links->rows[i].name);
    return 0;
}

static int net_own_namespaces(struct net *n, struct diag *d)
{
    struct stat net, user;

    n->host_ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (n->host_ns < 0 || fstat(n->host_ns, &net) < 0 || stat("/proc/thread-self/ns/user", &user) < 0)
        return diag_errno(d, errno, "/proc/thread-self/ns");
    n->host_ns_ino = net.st_ino;
    n->userns_ino = user.st_ino;
    return 0;
}

/* Listening begins before what is listened to is read. */
static int net_watch_rules(struct net *n, struct diag *d)
{
    const int room = NFT_SEND_BUFFER;
    int r = watch_open(n, d), filtered;

    if (r < 0)
        return r;
    n->nft_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (n->nft_fd < 0)
        return diag_errno(d, errno, "netfilter socket");
    (void)setsockopt(n->nft_fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    r = addrs_refresh(n, d);
    if (r < 0)
        return r;
    filtered = foreign_filters_input(n->nft_fd, n->o.bridge);
    n->notrack = filtered == 0;
    uplink_recall(n);
    return 0;
}

/* Everything that can be refused is refused before the first change. */
static int net_start(struct net *n, struct diag *d)
{
    cleanup_links struct link_list links = {0};
    int r = net_own_namespaces(n, d);

    if (r == 0)
        r = rt_open(&n->rt, d);
    if (r == 0)
        r = link_list_read(n->rt, &n->o, &links, d);
    if (r == 0)
        r = net_refuse_clash(&links, d);
    if (r == 0)
        r = subnet_free_in(n->rt, &n->o, &links, d);
    if (r == 0)
        r = net_watch_rules(n, d);
    if (r == 0)
        r = rules_install(n, d);
    if (r == 0 && link_list_remove(n->rt, &links, d) < 0)
        r = diag_prefix(d, "left by an earlier daemon");
    return r;
}

int net_open(const struct net_options *o, struct net **ret, struct diag *d)
{
    struct net *n;
    int r = net_options_check(o, d);

    if (r < 0)
        return r;
    n = calloc(1, sizeof(*n));
    if (!n)
        return diag_errno(d, ENOMEM, "network");
    n->o = *o;
    n->host_ns = n->nft_fd = -1;
    n->watch = (struct net_watch){.epoll_fd = -1, .nft_fd = -1, .rt_fd = -1, .timer_fd = -1};
    r = net_start(n, d);
    if (r < 0) {
        net_free(n);
        return r;
    }
    *ret = n;
    return 0;
}

/* Links first: while they are there, the rules are. */
int net_remove(struct net *n, struct diag *d)
{
    cleanup_links struct link_list links = {0};
    int r = link_list_read(n->rt, &n->o, &links, d), rules;

    if (r == 0)
        r = link_list_remove(n->rt, &links, d);
    memset(n->bridges, 0, sizeof(n->bridges));
    memset(n->bridges6, 0, sizeof(n->bridges6));
    known_done(n);
    uplink_restore(n);
    rules = rules_host_remove(&n->o, r == 0 ? d : NULL);
    return r < 0 ? r : rules;
}

void net_free(struct net *n)
{
    if (!n)
        return;
    known_done(n);
    addrs_done(&n->addrs);
    watch_close(&n->watch);
    rt_close(&n->rt);
    fd_close(n->nft_fd);
    fd_close(n->host_ns);
    free(n);
}
