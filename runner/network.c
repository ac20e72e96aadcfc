/* network.c: see network.h. */
#include "network.h"

#include "bridges.h"
#include "config.h"
#include "control.h"
#include "diag.h"
#include "log.h"
#include "record.h"
#include "resolvers.h"
#include "str.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

static_assert(RECORD_PORTS_MAX <= NET_LISTENERS_MAX, "what a record holds, the rules take");

static void network_options(struct network *n, const struct config *c)
{
    n->config = c;
    n->options = (struct net_options){.subnet = c->subnet, .prefix_len = c->prefix_len, .gateway_port = (uint16_t)c->gateway_port, .dns = config_has_dns(c)};
    str_copy(n->options.bridge, sizeof(n->options.bridge), c->bridge);
    str_copy(n->options.port, sizeof(n->options.port), c->port);
}

int network_check(struct network *n, const struct config *c, struct diag *d)
{
    unsigned room;

    network_options(n, c);
    room = net_slots_max(&n->options);
    if (c->slots_max > room)
        return diag_set(d, EINVAL, "network.subnet has room for %u instances, runner.slots_max asks for %u: use a larger subnet or fewer slots", room,
                        c->slots_max);
    return net_subnet_free(&n->options, d);
}

/* Somebody changed our tables, or the host's addresses did. */
static void on_net(struct watch *w, uint32_t events)
{
    struct network *n = w->owner;
    struct diag d = {0};
    int r = net_on_event(n->net, &d);

    if (r < 0)
        log_diag(LOG_ERR, "network rules not restored", &d, NULL);
    else if (r == NET_EVENT_RENEWED)
        log_msg(LOG_INFO, "network rules renewed", "reason=\"another table began or ceased to filter what comes to this host\"");
    else if (r == NET_EVENT_RESTORED)
        log_msg(LOG_WARNING, "network rules restored", "reason=\"somebody else had changed or removed them\"");
}

int network_open(struct network *n, const struct config *c, struct loop *loop, struct diag *d)
{
    int r;

    network_options(n, c);
    n->loop = loop;
    r = net_open(&n->options, &n->net, d);
    if (r < 0 || net_watch_fd(n->net) < 0)
        return r;
    r = loop_watch(loop, &n->watch, net_watch_fd(n->net), EPOLLIN, on_net, n);
    return r < 0 ? diag_errno(d, -r, "cannot watch the network") : 0;
}

static void on_resolvers(void *owner)
{
    struct network *n = owner;

    if (n->resolvers) /* not while they are opened */
        control_push(n->control, &resolvers_record(n->resolvers)->head);
}

int network_serve(struct network *n, struct control *control, struct diag *d)
{
    const struct resolvers_parts parts = {
        .config = n->config, .loop = n->loop, .conf = RESOLVERS_CONF, .systemd = RESOLVERS_SYSTEMD, .on_change = on_resolvers, .owner = n};

    n->control = control;
    n->bridges = bridges_new(n->config, control);
    return n->bridges ? resolvers_new(&parts, &n->resolvers, d) : diag_set(d, ENOMEM, "out of memory");
}

void network_on_bridge(struct network *n, const char *name, struct in_addr addr)
{
    bridges_on_bridge(n->bridges, name, addr);
}

void network_on_listening(struct network *n, const struct record_listening *rec)
{
    struct diag d = {0};

    if (net_listeners(n->net, rec->ports, rec->count, &d) < 0)
        log_diag(LOG_WARNING, "closed connections to the gateway stay in the table of connection tracking", &d, NULL);
}

void network_snapshot(struct network *n)
{
    control_push(n->control, &resolvers_record(n->resolvers)->head);
    bridges_push(n->bridges);
}

void network_unserve(struct network *n)
{
    resolvers_free(n->resolvers);
    bridges_free(n->bridges);
    n->resolvers = NULL;
    n->bridges = NULL;
}

void network_close(struct network *n)
{
    struct diag d = {0};

    loop_unwatch(&n->watch);
    if (n->net && net_remove(n->net, &d) < 0)
        log_diag(LOG_WARNING, "network not removed", &d, NULL);
    net_free(n->net);
    n->net = NULL;
}
