/* net.c: opening and removing: what must be true of the host before anything is changed on it, sweeping what a killed daemon left, the host's table. */
#include "net_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netlink/netlink.h>
#include <string.h>
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
        r = rules_host_install(&n->o, d);
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
    n->host_ns = -1;
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
    rules = rules_host_remove(&n->o, r == 0 ? d : NULL);
    return r < 0 ? r : rules;
}

void net_free(struct net *n)
{
    if (!n)
        return;
    rt_close(&n->rt);
    fd_close(n->host_ns);
    free(n);
}
