/* plan_network.c: the files by which a function finds its network: /etc/hosts and /etc/resolv.conf. Names and addresses in them come from a checked spec and from the runner. */
#include "sandbox_private.h"

#include "str.h"

#include <arpa/inet.h>

static void add_host(struct strbuf *out, int family, const void *addr, const char *name)
{
    char text[INET6_ADDRSTRLEN];

    strbuf_printf(out, "%s\t%s\n", inet_ntop(family, addr, text, sizeof(text)), name);
}

/* The first line that names an address or a name wins, so what is ours stands before what the function asked for. */
void plan_hosts_text(const struct plan_input *in, struct strbuf *out)
{
    const struct spec *s = in->spec;

    strbuf_puts(out, "127.0.0.1\tlocalhost\n");
    if (s->ipv6)
        strbuf_puts(out, "::1\tlocalhost\n");
    add_host(out, AF_INET, &in->addr, in->instance);
    if (s->ipv6)
        add_host(out, AF_INET6, &in->addr6, in->instance);
    add_host(out, AF_INET, &in->gateway_addr, "gateway");
    for (uint32_t i = 0; i < s->nservices; i++)
        add_host(out, AF_INET, &s->services[i].addr, s->services[i].name);
}

/* Never the host's own: its addresses (a stub at 127.0.0.53, a resolver of the network) are not the function's to reach. no-aaaa spares half of the queries; resolvers that do not know it pass over it. */
void plan_resolv_text(const struct plan_input *in, struct strbuf *out)
{
    char text[INET_ADDRSTRLEN];

    const bool none = in->spec->egress == SPEC_EGRESS_NO && !in->spec->mesh; /* mesh: the names of other functions, and no others */

    if (none || !in->dns) {
        strbuf_puts(out, none ? "# This function may not look up names.\n" : "# Names are not looked up on this host.\n");
        return;
    }
    strbuf_printf(out, "nameserver %s\noptions timeout:5 attempts:2%s\n", inet_ntop(AF_INET, &in->gateway_addr, text, sizeof(text)),
                  in->spec->ipv6 ? "" : " no-aaaa");
}
