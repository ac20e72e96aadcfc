/*
 * dns_local.c: the names that are answered from the picture.
 *
 *   gateway.fnd.internal     the bridge's address, where the gateway listens
 *   NAME.fnd.internal        READY instances of the function NAME in the asker's environment, if both say mesh = yes
 *   NAME.ENV.fnd.internal    the same in another environment
 *   localhost                the sandbox's own loopback
 *
 * A function that has no mesh does not exist here: nobody learns what else runs on this host.
 */
#include "dns_private.h"

#include <arpa/inet.h>
#include <string.h>

#define ADDRS_MAX 16U

static const struct dns_policy *policy_of(const struct gw_function *f)
{
    return f->dns;
}

/* At most ADDRS_MAX, beginning elsewhere each time. */
static unsigned ready_addrs(struct dns *d, const struct gw_function *f, uint32_t *ret)
{
    unsigned i = 0, n = 0, first;

    for (const struct gw_instance *inst = f->instances; inst; inst = inst->next)
        n += inst->rec.state == INSTANCE_READY;
    if (n == 0)
        return 0;
    first = d->turn++ % n;
    for (const struct gw_instance *inst = f->instances; inst; inst = inst->next) {
        unsigned place;

        if (inst->rec.state != INSTANCE_READY)
            continue;
        place = (i++ + n - first) % n;
        if (place < ADDRS_MAX)
            ret[place] = inst->rec.addr;
    }
    return n < ADDRS_MAX ? n : ADDRS_MAX;
}

/* "NAME" or "NAME.ENV"; NULL: there is none that the asker may know of. */
static const struct gw_function *mesh_function(const struct dns *d, const struct dns_client *c, const char *text)
{
    const struct gw_function *asker = c->inst->function, *f;
    char name[DNS_NAME_MAX + 1];
    const char *env = asker->rec.fn.env;
    struct fn_id id;
    char *dot;

    memcpy(name, text, strlen(text) + 1);
    dot = strchr(name, '.');
    if (dot) {
        *dot = '\0';
        env = dot + 1;
    }
    if (name_make(name, env, &id, NULL) < 0)
        return NULL;
    f = picture_function(d->picture, &id);
    return f && policy_of(f) && policy_of(f)->mesh && policy_of(asker) && policy_of(asker)->mesh ? f : NULL;
}

static void answer(const struct dns_question *q, unsigned type, const void *addrs, unsigned n, unsigned *ret_rcode, struct dns_answer **ret)
{
    *ret_rcode = DNS_NOERROR;
    if (q->type != type || n == 0)
        return;
    *ret = dns_answer_make(q, type, addrs, n);
    if (!*ret)
        *ret_rcode = DNS_SERVFAIL;
}

void dns_local_answer(struct dns *d, const struct dns_client *c, const struct dns_verdict *v, const struct dns_question *q, uint32_t bridge,
                      unsigned *ret_rcode, struct dns_answer **ret)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    const struct dns_policy *p = policy_of(c->inst->function);
    uint32_t addrs[ADDRS_MAX] = {htonl(INADDR_LOOPBACK)};
    const struct gw_function *f;

    *ret = NULL;
    if (v->kind == DNS_LOOPBACK) {
        if (q->type == DNS_AAAA && p && p->ipv6)
            answer(q, DNS_AAAA, loopback6, 1, ret_rcode, ret);
        else
            answer(q, DNS_A, addrs, 1, ret_rcode, ret);
    } else if (v->rest[0] == '\0') {
        *ret_rcode = DNS_NOERROR;
    } else if (strcmp(v->rest, "gateway") == 0) {
        answer(q, DNS_A, &bridge, 1, ret_rcode, ret);
    } else {
        f = mesh_function(d, c, v->rest);
        if (f)
            answer(q, DNS_A, addrs, ready_addrs(d, f, addrs), ret_rcode, ret);
        else
            *ret_rcode = DNS_NXDOMAIN;
    }
}
