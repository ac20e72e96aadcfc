/* resolvers.h: whom the gateway's DNS forwarder asks (network.dns). The gateway cannot read the host's files, and they change: the runner follows them and tells. */
#pragma once

struct config;
struct control;
struct diag;
struct loop;
struct resolvers;

#define RESOLVERS_CONF    "/etc/resolv.conf"
#define RESOLVERS_SYSTEMD "/run/systemd/resolve/resolv.conf" /* what systemd-resolved itself asks */

struct resolvers_parts { /* borrowed */
    const struct config *config;
    struct loop *loop;
    const char *conf, *systemd; /* the two above */
    void (*on_change)(void *owner);
    void *owner;
};

int resolvers_new(const struct resolvers_parts *parts, struct resolvers **ret, struct diag *d);
void resolvers_free(struct resolvers *r);

struct record_resolvers;
const struct record_resolvers *resolvers_record(const struct resolvers *r);
