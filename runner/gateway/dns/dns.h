/*
 * dns.h: the DNS forwarder, as the worker sees it: what the runner said goes in, queries come on the sockets that it brought.
 *
 * All of it runs in the worker's thread on its loop and never blocks.
 */
#pragma once

#include "../gateway.h"

struct dns;

int dns_new(struct loop *loop, struct link *link, struct picture *picture, struct dns **ret);
void dns_free(struct dns *d);
void dns_stop(struct dns *d); /* takes no more queries; those under way are answered */

/* RECORD_LISTENER of the kinds DNS_UDP and DNS_TCP. Takes fd in any case. */
int dns_listen(struct dns *d, const struct record_listener *rec, int fd, struct diag *diag);
void dns_on_welcome(struct dns *d);
void dns_on_synced(struct dns *d); /* listeners that the runner did not name again go */

/* RECORD_RESOLVERS; RECORD_POLICY of function f (NULL: of none that is known). -ENOMEM: the function may look up nothing. */
void dns_set_resolvers(struct dns *d, const struct record_resolvers *rec);
int dns_set_policy(struct dns *d, struct gw_function *f, const struct record_policy *rec);
void dns_function_gone(struct dns *d, struct gw_function *f);

/* An instance is there, and may ask from its address; it is gone, and so is all that it asked. -ENOMEM: it is not answered; tried again at the next record of it. */
int dns_instance(struct dns *d, struct gw_instance *inst);
void dns_instance_gone(struct dns *d, struct gw_instance *inst);
