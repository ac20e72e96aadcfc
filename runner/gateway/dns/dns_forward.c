/*
 * dns_forward.c: a query from its coming to its answer.
 *
 *   counted (rate, number)    -> dropped
 *   parsed                    -> refused (RFC 1035 says how), or dropped
 *   decided by the policy     -> answered here, refused
 *   cached, or asked          -> failed (SERVFAIL)
 *   opened, for egress lists  -> failed: the answer goes out only when the runner has said that its addresses can be reached
 *   answered: addresses that the policy does not let through are taken out, and if none is left the answer is an empty one
 *
 * The policy is looked up again when the answer is there: it may be another one by then. A query belongs to its instance: when that is gone so are its queries. It lives QUERY_NS at most.
 */
#include "dns_private.h"

#include "clock.h"
#include "fd.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define QUERY_NS         (4800 * NS_PER_MS) /* before libc's 5 s are over; a job has 4.5 */
#define LOG_NS           (10 * NS_PER_SEC)
#define JOB_DESCRIPTORS  3U
#define DESCRIPTOR_SHARE 16U /* of the process's descriptors, DNS takes one in so many */

struct dns_query {
    struct dns *dns;
    struct dns_source from;
    struct dns_query *next, **prev; /* of the client */
    struct dns_query_head head;
    struct timer timer;
    struct dns_waiter waiter;
    uint64_t open_id; /* DNS_OPEN under way; 0: none */
    enum dns_result result;
    struct dns_answer *answer;
    uint32_t ttl_s;
    bool listed; /* only what stands in `opened` may go out */
    struct dns_opened opened;
};

static struct dns_policy *policy_of(const struct dns_query *q)
{
    return q->from.client->inst->function->dns;
}

void dns_query_free(struct dns_query *q)
{
    dns_waiter_cancel(&q->waiter);
    loop_disarm(&q->timer);
    if (q->open_id)
        link_forget(q->dns->link, q->open_id);
    *q->prev = q->next;
    if (q->next)
        q->next->prev = q->prev;
    q->from.client->nqueries--;
    q->dns->nqueries--;
    if (q->from.conn)
        q->from.conn->query = NULL;
    dns_answer_unref(q->answer);
    free(q);
}

void dns_client_end_queries(struct dns_client *c, int fd)
{
    for (struct dns_query *q = c->queries, *next; q; q = next) {
        next = q->next;
        if (!q->from.conn && q->from.fd == fd)
            dns_query_free(q);
    }
}

void dns_client_end(struct dns *d, struct dns_client *c)
{
    while (c->conns)
        dns_conn_close(c->conns);
    while (c->queries)
        dns_query_free(c->queries);
    free(c);
}

/* ---- replies ---- */

static bool keep_allowed(void *arg, unsigned type, const uint8_t *addr)
{
    const struct dns_query *q = arg;

    if (q->listed)
        return type == q->head.q.type && dns_opened_has(&q->opened, type, addr);
    return dns_policy_keeps(policy_of(q), type, addr, q->dns->bridges, q->dns->nbridges);
}

/* Nothing of the query or of its connection is left when this returns. */
static void send_reply(struct dns_query *q, const struct dns_reply *r, enum dns_result result)
{
    struct dns *d = q->dns;
    struct dns_source from = q->from;
    size_t size = q->head.edns_size ? q->head.edns_size : DNS_UDP_MIN;
    size_t most = from.conn ? DNS_TCP_MAX : size < DNS_UDP_MAX ? size : DNS_UDP_MAX;
    size_t len = dns_reply_build(r, d->buf, most);

    shared_add(&d->results[result], 1);
    dns_query_free(q);
    if (from.conn)
        dns_conn_reply(from.conn, d->buf, len);
    else
        sendto(from.fd, d->buf, len, 0, (const struct sockaddr *)&from.peer, sizeof(from.peer));
}

static void reply_code(struct dns_query *q, unsigned rcode, unsigned ede, enum dns_result result)
{
    const struct dns_reply r = {.query = &q->head, .rcode = rcode, .ede = ede};

    send_reply(q, &r, result);
}

static void reply_failed(struct dns_query *q)
{
    reply_code(q, DNS_SERVFAIL, DNS_EDE_NONE, DNS_FAILED);
}

static void reply_answer(struct dns_query *q)
{
    const struct dns_reply r = {
        .query = &q->head, .rcode = q->answer->rcode, .answer = q->answer, .ttl_s = q->ttl_s, .ede = DNS_EDE_NONE, .keep = keep_allowed, .arg = q};

    send_reply(q, &r, q->result);
}

static void on_late(struct timer *t)
{
    reply_failed(t->owner);
}

/* ---- names of a list: opened before they are told ---- */

/* A function decides how often this happens. */
static void log_not_opened(struct dns_query *q, const struct diag *why)
{
    uint64_t now_ns = clock_mono_ns();

    if (q->dns->logged_ns && now_ns - q->dns->logged_ns < LOG_NS)
        return;
    q->dns->logged_ns = now_ns;
    log_diag(LOG_WARNING, "name not opened", why, "function=%s", q->from.client->inst->function->rec.fn.name);
}

static void on_opened(void *arg, const struct record_head *rec, int fd)
{
    struct dns_query *q = arg;
    const struct record_reply *reply = (const struct record_reply *)rec;
    struct dns_host *h;

    fd_close(fd);
    if (rec->type != RECORD_REPLY)
        return;
    q->open_id = 0;
    h = dns_policy_host(policy_of(q), &q->head.q);
    if (reply->diag.err || !h) {
        if (reply->diag.err)
            log_not_opened(q, &reply->diag);
        reply_failed(q);
        return;
    }
    dns_listed_opened(q->dns, h, q->head.q.type, &q->opened);
    reply_answer(q);
}

static void answer_listed(struct dns_query *q)
{
    struct dns_host *h = dns_policy_host(policy_of(q), &q->head.q);

    if (!h) {
        reply_code(q, DNS_NXDOMAIN, DNS_EDE_PROHIBITED, DNS_RESULT_REFUSED);
        return;
    }
    q->listed = true;
    dns_listed_collect(q->dns, policy_of(q), q->head.q.type, q->answer, &q->opened);
    q->ttl_s = dns_listed_ttl(q->answer);
    if (q->opened.n == 0 || dns_listed_is_open(h, q->head.q.type, &q->opened))
        reply_answer(q);
    else if (dns_listed_request(q->dns, q->from.client->inst->function, h, q->head.q.type, &q->opened, on_opened, q, &q->open_id) < 0)
        reply_failed(q);
}

/* ---- from query to answer ---- */

static void on_answer(struct dns_query *q, struct dns_answer *a)
{
    const struct dns_policy *p = policy_of(q);

    q->answer = dns_answer_ref(a);
    q->ttl_s = dns_answer_ttl(a);
    if (!p || p->egress == SPEC_EGRESS_LIST || ((q->head.q.type == DNS_A || q->head.q.type == DNS_AAAA) && dns_policy_host(policy_of(q), &q->head.q)))
        answer_listed(q);
    else
        reply_answer(q);
}

static void on_resolved(struct dns_waiter *w, struct dns_answer *a)
{
    struct dns_query *q = w->owner;

    if (a)
        on_answer(q, a);
    else
        reply_failed(q);
}

static void ask(struct dns_query *q)
{
    struct dns *d = q->dns;
    const struct gw_function *f = q->from.client->inst->function;
    struct dns_answer *a = dns_cache_get(&d->resolve.cache, f, &q->head.q, clock_mono_ns());

    q->result = a ? DNS_CACHED : DNS_FORWARDED;
    q->waiter = (struct dns_waiter){.on_done = on_resolved, .owner = q};
    if (loop_arm_in(d->loop, &q->timer, QUERY_NS) < 0 || (a && a->rcode == DNS_SERVFAIL))
        reply_failed(q);
    else if (a)
        on_answer(q, a);
    else if (dns_resolve_ask(&d->resolve, f, &q->head.q, &q->waiter) < 0)
        reply_failed(q);
}

static void answer_locally(struct dns_query *q, const struct dns_verdict *v)
{
    struct dns_reply r = {.query = &q->head, .ttl_s = DNS_TTL_MESH_S, .ede = DNS_EDE_NONE};

    dns_local_answer(q->dns, q->from.client, v, &q->head.q, q->from.bridge, &r.rcode, &q->answer);
    r.answer = q->answer;
    send_reply(q, &r, DNS_LOCAL);
}

static void decide(struct dns_query *q)
{
    struct dns_verdict v = dns_policy_decide(policy_of(q), &q->head.q, q->dns->bridges, q->dns->nbridges);

    switch (v.kind) {
    case DNS_SAY:
        reply_code(q, v.rcode, v.ede, v.ede == DNS_EDE_PROHIBITED ? DNS_RESULT_REFUSED : DNS_LOCAL);
        break;
    case DNS_LOOPBACK:
    case DNS_MESH:
        answer_locally(q, &v);
        break;
    case DNS_ASK:
    default:
        ask(q);
        break;
    }
}

static struct dns_query *query_new(struct dns *d, const struct dns_source *from)
{
    struct dns_client *c = from->client;
    struct dns_query *q = NULL;

    if (dns_client_may_ask(c, clock_mono_ns()) && c->nqueries < DNS_CLIENT_QUERIES && d->nqueries < DNS_QUERIES_MAX)
        q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->dns = d;
    q->from = *from;
    q->timer = (struct timer){.on_expire = on_late, .owner = q};
    q->next = c->queries;
    q->prev = &c->queries;
    if (q->next)
        q->next->prev = &q->next;
    c->queries = q;
    c->nqueries++;
    d->nqueries++;
    if (from->conn)
        from->conn->query = q;
    return q;
}

void dns_handle(struct dns *d, const struct dns_source *from, const uint8_t *msg, size_t len)
{
    struct dns_query *q = query_new(d, from);
    int r = q ? dns_query_parse(msg, len, &q->head) : -EBUSY;

    if (r == 0) {
        decide(q);
    } else if (r > 0) {
        reply_code(q, (unsigned)r, DNS_EDE_NONE, DNS_RESULT_REFUSED);
    } else { /* silence: who asks too much asks again after his timeout, and so slows down */
        shared_add(&d->results[DNS_DROPPED], 1);
        if (q)
            dns_query_free(q);
        if (from->conn)
            dns_conn_reply(from->conn, NULL, 0);
    }
}

/* ---- dns.h ---- */

static unsigned most_jobs(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur / DESCRIPTOR_SHARE / JOB_DESCRIPTORS < 16)
        return 16;
    l.rlim_cur /= DESCRIPTOR_SHARE * JOB_DESCRIPTORS;
    return l.rlim_cur < DNS_JOBS_MAX ? (unsigned)l.rlim_cur : DNS_JOBS_MAX;
}

int dns_new(struct loop *loop, struct link *link, struct picture *picture, struct dns **ret)
{
    struct dns *d = calloc(1, sizeof(*d));

    if (!d)
        return -ENOMEM;
    d->loop = d->resolve.loop = loop;
    d->link = link;
    d->picture = picture;
    d->results = picture_slot(picture)->dns_results;
    d->resolve.jobs_max = most_jobs();
    dns_refresh_init(d);
    dns_listeners_init(d);
    *ret = d;
    return 0;
}

void dns_stop(struct dns *d)
{
    for (unsigned i = 0; i < DNS_LISTENERS_MAX; i++) {
        loop_unwatch(&d->listeners[i].watch);
        loop_disarm(&d->listeners[i].pause);
    }
    d->stopped = true;
}

void dns_free(struct dns *d)
{
    struct dns_client *c;

    if (!d)
        return;
    dns_refresh_done(d);
    while ((c = dns_client_remove_any(&d->clients)) != NULL)
        dns_client_end(d, c);
    dns_resolve_done(&d->resolve);
    dns_listeners_close(d);
    free(d);
}

void dns_set_resolvers(struct dns *d, const struct record_resolvers *rec)
{
    unsigned n = 0;

    for (unsigned i = 0; i < rec->count && i < RECORD_RESOLVERS_MAX; i++) {
        const struct record_resolver *from = &rec->resolvers[i];
        struct dns_resolver_addr *to = &d->resolve.resolvers[n];

        if (from->port == 0 || from->port > UINT16_MAX || (from->family != AF_INET && from->family != AF_INET6))
            continue;
        *to = (struct dns_resolver_addr){.len = from->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)};
        if (from->family == AF_INET) {
            struct sockaddr_in *sin = (struct sockaddr_in *)&to->addr;

            sin->sin_family = AF_INET;
            sin->sin_port = htons((uint16_t)from->port);
            memcpy(&sin->sin_addr, from->addr, sizeof(sin->sin_addr));
        } else {
            struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&to->addr;

            sin6->sin6_family = AF_INET6;
            sin6->sin6_port = htons((uint16_t)from->port);
            sin6->sin6_scope_id = from->scope;
            memcpy(&sin6->sin6_addr, from->addr, sizeof(sin6->sin6_addr));
        }
        n++;
    }
    d->resolve.nresolvers = n;
}

int dns_set_policy(struct dns *d, struct gw_function *f, const struct record_policy *rec)
{
    struct dns_policy *old;

    if (!f)
        return 0;
    old = f->dns;
    f->dns = dns_policy_new(rec);
    dns_policy_carry(old, f->dns);
    dns_listed_doubt(f->dns);
    free(old);
    return f->dns ? 0 : -ENOMEM;
}

void dns_function_gone(struct dns *d, struct gw_function *f)
{
    dns_refresh_forget(d, f);
    dns_resolve_forget(&d->resolve, f);
    free(f->dns);
    f->dns = NULL;
}

int dns_instance(struct dns *d, struct gw_instance *inst)
{
    struct dns_client *old = NULL;
    int r = dns_client_add(&d->clients, inst, clock_mono_ns(), &old);

    if (old)
        dns_client_end(d, old);
    return r < 0 ? r : 0;
}

void dns_instance_gone(struct dns *d, struct gw_instance *inst)
{
    struct dns_client *c = dns_client_remove(&d->clients, inst);

    if (c)
        dns_client_end(d, c);
}
