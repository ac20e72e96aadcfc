/* ctl_check_net.c: the network of an instance, by the daemon's own code in a network namespace of its own; and what the host's network leaves us. */
#include "ctl_check.h"

#include "fd.h"
#include "netns.h"
#include "spec.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIED_PORT 3000
#define CONNECT_MS 3000

static void net_options_of(const struct config *c, struct net_options *ret)
{
    *ret = (struct net_options){.subnet = c->subnet, .prefix_len = c->prefix_len};
    str_copy(ret->bridge, sizeof(ret->bridge), c->bridge);
    str_copy(ret->port, sizeof(ret->port), c->port);
}

static int self_netns(void)
{
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Two fresh network namespaces: the caller's own plays the host, *ret the slot. */
static int second_netns(int *ret_host, struct diag *d)
{
    cleanup_fd int host = self_netns(), slot = -1;

    if (host < 0 || unshare(CLONE_NEWNET) < 0)
        return diag_errno(d, errno, "network namespace");
    slot = self_netns();
    if (slot < 0 || setns(host, CLONE_NEWNET) < 0)
        return diag_errno(d, errno, "network namespace");
    *ret_host = take_fd(&host);
    return take_fd(&slot);
}

/* A socket belongs to the namespace in which it was made. */
static int listen_in(int netns, int back)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(TRIED_PORT)};
    cleanup_fd int fd = -1;
    int r = 0;

    if (setns(netns, CLONE_NEWNET) < 0)
        return -errno;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1) < 0)
        r = -errno;
    if (setns(back, CLONE_NEWNET) < 0)
        r = -errno;
    return r < 0 ? r : take_fd(&fd);
}

static int connect_to(struct in_addr addr)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(TRIED_PORT), .sin_addr = addr};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(int);
    int err = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    if (poll(&p, 1, CONNECT_MS) != 1)
        return -ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? -errno : -err;
}

static int try_slot(struct net *net, int slot, int host, char *detail, struct diag *d)
{
    struct net_slot_names names;
    cleanup_fd int listener = -1;
    char addr[INET_ADDRSTRLEN];
    int r = net_slot_make(net, 0, slot, &(struct net_policy){.egress = SPEC_EGRESS_NO}, &names, d);

    if (r < 0)
        return r;
    listener = listen_in(slot, host);
    if (listener < 0)
        return diag_errno(d, -listener, "listening in the slot");
    inet_ntop(AF_INET, &names.addr, addr, sizeof(addr));
    r = connect_to(names.addr);
    if (r < 0)
        return diag_errno(d, -r, "connecting to %s in the slot", addr);
    ctl_check_say(detail, "namespace, veth, bridge and rules made, %s answers", addr);
    return net_slot_remove(net, 0, d);
}

int ctl_check_network(const struct check_env *e, char *detail, struct diag *d)
{
    cleanup_fd int slot = -1, host = -1;
    struct net_options o;
    struct net *net = NULL;
    int r;

    net_options_of(&e->config, &o);
    slot = second_netns(&host, d);
    if (slot < 0)
        return slot;
    r = net_open(&o, &net, d);
    if (r < 0)
        return r;
    r = try_slot(net, slot, host, detail, d);
    net_free(net);
    return r;
}

static int try_table(const char *rules, const char *what, struct diag *d)
{
    struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    const char *text;
    int r;

    if (!ctx)
        return diag_set(d, ENOMEM, "libnftables cannot be used");
    nft_ctx_buffer_output(ctx);
    nft_ctx_buffer_error(ctx);
    r = nft_run_cmd_from_buffer(ctx, rules);
    text = nft_ctx_get_error_buffer(ctx);
    if (r != 0)
        diag_set(d, EIO, "%s: %.*s", what, text ? (int)strcspn(text, "\n") : 1, text ? text : "?");
    nft_ctx_free(ctx);
    return r != 0 ? -EIO : 0;
}

int ctl_check_nftables(const struct check_env *e, char *detail, struct diag *d)
{
    static const char rules[] = "table inet fnd_doctor {\n"
                                " set ports { type ifname; elements = { \"lo\" } }\n"
                                " chain input { type filter hook input priority 0; policy accept; iifname @ports tcp flags & (syn | ack) == syn drop; }\n"
                                " chain forward { type filter hook forward priority 0; policy drop; }\n"
                                "}\n";
    int r = try_table(rules, "a table of family inet", d);

    if (r == 0)
        ctl_check_say(detail, "a table of family inet with a set and two chains");
    return r;
}

/* What rules_host.c goes without where it is not there. */
int ctl_check_tracking(const struct check_env *e, char *detail, struct diag *d)
{
    static const char rules[] = "table inet fnd_doctor {\n"
                                " ct timeout short {\n  protocol tcp; l3proto ip; policy = { time_wait : 5 };\n }\n"
                                " chain input { type filter hook input priority 0; policy accept; ct state new tcp dport 1 ct timeout set \"short\"; }\n"
                                "}\n";
    char most[32] = "?";
    int r = try_table(rules, "times of fnd's own for closed connections", d);

    (void)fd_read_file(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_max", most, sizeof(most));
    if (r == 0)
        ctl_check_say(detail, "times of fnd's own, room for %.*s connections", (int)strcspn(most, "\n"), most);
    return r;
}

int ctl_check_foreign(const struct check_env *e, char *detail, struct diag *d)
{
    struct net_options o;
    int r;

    net_options_of(&e->config, &o);
    r = net_foreign_policy(&o, d);
    if (r == 0)
        ctl_check_say(detail, "none is in the way of %s0", o.bridge);
    return r;
}

int ctl_check_subnet(const struct check_env *e, char *detail, struct diag *d)
{
    struct net_options o;
    char addr[INET_ADDRSTRLEN];
    int r;

    net_options_of(&e->config, &o);
    r = net_subnet_free(&o, d);
    inet_ntop(AF_INET, &o.subnet, addr, sizeof(addr));
    if (r == 0)
        ctl_check_say(detail, "%s/%u", addr, o.prefix_len);
    return r;
}

/* The inode of the socket that listens on the port, from proc_pid_net(5); 0: none. */
static uint64_t listener_inode(unsigned port)
{
    FILE *f = fopen("/proc/self/net/tcp", "re");
    unsigned local, state;
    unsigned long long inode, found = 0;
    char line[512];

    while (f && !found && fgets(line, sizeof(line), f))
        if (sscanf(line, " %*u: %*8x:%x %*8x:%*x %x %*s %*s %*s %*u %*u %llu", &local, &state, &inode) == 3 && local == port && state == 10) /* TCP_LISTEN */
            found = inode;
    if (f)
        fclose(f);
    return found;
}

static bool holds_socket(int proc, const char *pid, uint64_t inode)
{
    char path[64], link[64], wanted[64];
    cleanup_fd int fd = -1;
    struct dirent *entry;
    bool found = false;
    DIR *dir;

    snprintf(wanted, sizeof(wanted), "socket:[%llu]", (unsigned long long)inode);
    snprintf(path, sizeof(path), "%.20s/fd", pid);
    fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return false;
    take_fd(&fd); /* the stream's now */
    while (!found && (entry = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

        found = n > 0 && (size_t)n == strlen(wanted) && memcmp(link, wanted, (size_t)n) == 0;
    }
    closedir(dir);
    return found;
}

/* Is it held by our own daemon, or by systemd for it (fnd.socket)? *ret_name says by whom. */
static bool is_ours(uint64_t inode, char *ret_name, size_t size)
{
    static const char *const names[] = {"fnd-gateway\n", "fnd\n", "systemd\n"};
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        char path[64], comm[32];

        snprintf(path, sizeof(path), "%.20s/comm", entry->d_name);
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || fd_read_file(dirfd(dir), path, comm, sizeof(comm)) < 0)
            continue;
        for (size_t i = 0; i < CTL_COUNT(names) && !found; i++)
            found = strcmp(comm, names[i]) == 0 && holds_socket(dirfd(dir), entry->d_name, inode);
        if (found)
            snprintf(ret_name, size, "%.*s", (int)strcspn(comm, "\n"), comm);
    }
    if (dir)
        closedir(dir);
    return found;
}

static int check_port(const char *key, const char *listen, char *detail, struct diag *d)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *colon = strrchr(listen, ':');
    char addr[INET_ADDRSTRLEN], holder[32];
    uint64_t port = 0, inode;
    int one = 1, err;

    if (!colon) {
        ctl_check_say(detail, "%s = none", key);
        return 0;
    }
    snprintf(addr, sizeof(addr), "%.*s", (int)(colon - listen), listen);
    if (inet_pton(AF_INET, addr, &sa.sin_addr) != 1 || str_parse_uint(colon + 1, 65535, &port) < 0)
        return diag_set(d, EINVAL, "%s = %s is no address", key, listen);
    sa.sin_port = htons((uint16_t)port);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
        return diag_errno(d, errno, "%s", listen);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
        ctl_check_say(detail, "%s is free", listen);
        return 0;
    }
    err = errno;
    inode = err == EADDRINUSE ? listener_inode((unsigned)port) : 0;
    if (inode && is_ours(inode, holder, sizeof(holder))) {
        ctl_check_say(detail, "%s is held by %s", listen, holder);
        return 0;
    }
    return diag_errno(d, err, "%s = %s", key, listen);
}

int ctl_check_port_public(const struct check_env *e, char *detail, struct diag *d)
{
    return check_port("gateway.listen", e->config.listen, detail, d);
}

int ctl_check_port_admin(const struct check_env *e, char *detail, struct diag *d)
{
    return check_port("gateway.admin", e->config.admin, detail, d);
}
