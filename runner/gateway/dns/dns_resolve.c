/*
 * dns_resolve.c: questions to the resolvers, over UDP, over TCP where an answer was cut.
 *
 * A job is one question of one function; who asks the same meanwhile waits with it. It lives at most DNS_PATIENCE_NS: less than the 5 s after which libc's resolvers give up themselves, so that they hear "no" rather than nothing.
 * Its attempts begin 0, 1 and 3 s after its start, or as soon as the one before has failed; each goes to the next resolver from a socket of its own, so port (the kernel's choice, at random) and id (16 random bits) are fresh, and
 * stays open while later ones run: a slow resolver's answer is still an answer. A connected socket takes packets of this resolver alone. What does not fit the question is ignored, as if it had never come; what does not make sense, or is
 * neither NOERROR nor NXDOMAIN, fails the attempt. The job fails when all attempts have.
 */
#include "dns_private.h"

#include "clock.h"
#include "fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#define DNS_PATIENCE_NS (4500 * NS_PER_MS)
#define ATTEMPTS        3U
#define TURN            8 /* datagrams of one socket in one turn */

/* When the next attempt begins, after the one before. */
static const uint64_t waits_ns[ATTEMPTS] = {NS_PER_SEC, 2 * NS_PER_SEC, DNS_PATIENCE_NS};

struct attempt {
    struct dns_job *job;
    struct watch watch;
    struct dns_stream stream; /* after a cut answer */
    const struct dns_resolver_addr *to;
    int fd; /* UDP; -1: over */
    uint16_t id;
};

struct dns_job {
    struct dns_resolve *r;
    struct dns_job *next, **prev;
    const void *function; /* NULL: it is gone */
    struct dns_question q;
    struct dns_waiter *waiters;
    struct attempt attempts[ATTEMPTS];
    struct dns_resolver_addr to[ATTEMPTS]; /* a copy: the list may change */
    unsigned begun;
    bool no_edns;
    uint64_t deadline_ns;
    struct timer next_timer, end_timer;
};

static void waiter_unlink(struct dns_waiter *w)
{
    assert(w->prev);
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->next = NULL;
    w->prev = NULL;
}

void dns_waiter_cancel(struct dns_waiter *w)
{
    if (w->prev)
        waiter_unlink(w);
}

static void attempt_end(struct attempt *a)
{
    loop_unwatch(&a->watch);
    a->fd = fd_close(a->fd);
    if (a->stream.fd >= 0)
        a->job->r->nstreams--;
    dns_stream_close(&a->stream);
}

static void job_free(struct dns_job *j)
{
    for (unsigned i = 0; i < ATTEMPTS; i++)
        attempt_end(&j->attempts[i]);
    loop_disarm(&j->next_timer);
    loop_disarm(&j->end_timer);
    *j->prev = j->next;
    if (j->next)
        j->next->prev = j->prev;
    j->r->njobs--;
    free(j);
}

/* The job is out of sight before anybody is told: who is told may ask again. */
static void job_done(struct dns_job *j, struct dns_answer *a)
{
    struct dns_waiter *waiters = j->waiters;

    if (waiters)
        waiters->prev = &waiters;
    job_free(j);
    while (waiters) {
        struct dns_waiter *w = waiters;

        waiter_unlink(w);
        w->on_done(w, a);
    }
}

static void job_answered(struct dns_job *j, struct dns_answer *a)
{
    uint64_t now_ns = clock_mono_ns();

    if (a->ttl_s > DNS_TTL_MAX_S)
        a->ttl_s = DNS_TTL_MAX_S;
    a->expires_ns = now_ns + a->ttl_s * NS_PER_SEC;
    if (j->function)
        dns_cache_put(&j->r->cache, j->function, &j->q, a, now_ns);
    job_done(j, a);
    dns_answer_unref(a);
}

/* RFC 9520: for a while the answer is no, at once. libc asks again as soon as it hears of a failure. */
static void job_failed(struct dns_job *j)
{
    struct dns_answer *a = j->function ? dns_answer_make(&j->q, DNS_A, NULL, 0) : NULL;
    uint64_t now_ns = clock_mono_ns();

    if (a) {
        a->rcode = DNS_SERVFAIL;
        a->expires_ns = now_ns + DNS_TTL_FAILED_S * NS_PER_SEC;
        dns_cache_put(&j->r->cache, j->function, &j->q, a, now_ns);
        dns_answer_unref(a);
    }
    job_done(j, NULL);
}

static bool attempt_runs(const struct attempt *a)
{
    return a->fd >= 0 || a->stream.fd >= 0;
}

static int attempt_begin(struct dns_job *j);

/* Of all attempts none is left, or there are more to begin. The job may be gone afterwards. */
static void job_go_on(struct dns_job *j)
{
    while (j->begun < ATTEMPTS)
        if (attempt_begin(j) == 0)
            return;
    for (unsigned i = 0; i < ATTEMPTS; i++)
        if (attempt_runs(&j->attempts[i]))
            return;
    job_failed(j);
}

static void attempt_failed(struct attempt *a)
{
    attempt_end(a);
    job_go_on(a->job);
}

static void on_cut(struct attempt *a);

/* Returns 1 when the attempt is over, and perhaps the job. */
static int on_message(struct attempt *a, const uint8_t *msg, size_t len, bool whole)
{
    struct dns_job *j = a->job;
    struct dns_answer *answer = NULL;
    unsigned rcode = 0;
    bool cut = false;

    if (dns_response_check(msg, len, a->id, &j->q, &rcode, &cut) < 0) {
        if (!whole)
            return 0;
        attempt_failed(a);
    } else if (cut && !whole) {
        on_cut(a);
    } else if ((rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN) && dns_answer_parse(msg, len, &j->q, &answer) == 0) {
        job_answered(j, answer);
    } else {
        if (rcode == DNS_FORMERR || rcode == DNS_NOTIMP) /* it may not know EDNS (RFC 6891, 6.2.2) */
            j->no_edns = true;
        attempt_failed(a);
    }
    return 1;
}

static void on_datagram(struct watch *w, uint32_t events)
{
    struct attempt *a = w->owner;
    uint8_t buf[4096];

    for (int i = 0; i < TURN; i++) {
        ssize_t n = recv(a->fd, buf, sizeof(buf), MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) { /* nobody listens there (ECONNREFUSED), no route */
            attempt_failed(a);
            return;
        }
        if ((size_t)n <= sizeof(buf) && on_message(a, buf, (size_t)n, false))
            return;
    }
}

static void on_stream(struct dns_stream *s, const uint8_t *msg, size_t len)
{
    struct attempt *a = s->owner;

    a->job->r->nstreams--;
    if (msg)
        on_message(a, msg, len, true);
    else
        attempt_failed(a);
}

static void on_cut(struct attempt *a)
{
    struct dns_job *j = a->job;
    uint8_t ask[DNS_ASK_MAX];
    size_t len = dns_ask_build(ask, a->id, &j->q, !j->no_edns);

    loop_unwatch(&a->watch);
    a->fd = fd_close(a->fd);
    if (j->r->nstreams >= DNS_STREAMS_MAX || dns_stream_open(&a->stream, j->r->loop, a->to, ask, len) < 0) {
        attempt_failed(a);
        return;
    }
    j->r->nstreams++;
}

static int attempt_send(struct attempt *a)
{
    struct dns_job *j = a->job;
    uint8_t ask[DNS_ASK_MAX];
    size_t len;

    if (getrandom(&a->id, sizeof(a->id), GRND_NONBLOCK) != sizeof(a->id))
        return -EAGAIN;
    a->fd = socket(a->to->addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (a->fd < 0 || connect(a->fd, (const struct sockaddr *)&a->to->addr, a->to->len) < 0)
        return -errno;
    len = dns_ask_build(ask, a->id, &j->q, !j->no_edns);
    if (send(a->fd, ask, len, 0) < 0)
        return -errno;
    return loop_watch(j->r->loop, &a->watch, a->fd, EPOLLIN, on_datagram, a);
}

static int attempt_begin(struct dns_job *j)
{
    struct attempt *a = &j->attempts[j->begun++];
    int r = attempt_send(a);

    if (r < 0)
        attempt_end(a);
    else
        loop_arm_in(j->r->loop, &j->next_timer, waits_ns[j->begun - 1]);
    return r;
}

static void on_next(struct timer *t)
{
    struct dns_job *j = t->owner;

    if (j->begun < ATTEMPTS)
        job_go_on(j);
}

static void on_end(struct timer *t)
{
    job_failed(t->owner);
}

static struct dns_job *job_find(const struct dns_resolve *r, const void *function, const struct dns_question *q)
{
    struct dns_job *j = r->jobs;

    while (j && (j->function != function || j->q.type != q->type || !dns_name_equal(&j->q.name, &q->name)))
        j = j->next;
    return j;
}

static struct dns_job *job_new(struct dns_resolve *r, const void *function, const struct dns_question *q)
{
    struct dns_job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->r = r;
    j->function = function;
    j->q = *q;
    j->next_timer = (struct timer){.on_expire = on_next, .owner = j};
    j->end_timer = (struct timer){.on_expire = on_end, .owner = j};
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        j->to[i] = r->resolvers[i % r->nresolvers];
        j->attempts[i] = (struct attempt){.job = j, .fd = -1, .to = &j->to[i], .stream = {.fd = -1, .on_message = on_stream, .owner = &j->attempts[i]}};
    }
    j->next = r->jobs;
    j->prev = &r->jobs;
    if (j->next)
        j->next->prev = &j->next;
    r->jobs = j;
    r->njobs++;
    return j;
}

static void wait_for(struct dns_job *j, struct dns_waiter *w)
{
    w->next = j->waiters;
    w->prev = &j->waiters;
    if (w->next)
        w->next->prev = &w->next;
    j->waiters = w;
}

int dns_resolve_ask(struct dns_resolve *r, const void *function, const struct dns_question *q, struct dns_waiter *w)
{
    struct dns_job *j = job_find(r, function, q);
    int err = 0;

    if (j) {
        wait_for(j, w);
        return 0;
    }
    if (r->nresolvers == 0)
        return -ENETUNREACH;
    if (r->njobs >= r->jobs_max)
        return -EBUSY;
    j = job_new(r, function, q);
    if (!j)
        return -ENOMEM;
    err = loop_arm_in(r->loop, &j->end_timer, DNS_PATIENCE_NS);
    while (err == 0 && j->begun < ATTEMPTS)
        if (attempt_begin(j) == 0) {
            wait_for(j, w);
            return 0;
        }
    job_free(j);
    return err < 0 ? err : -ENETUNREACH;
}

void dns_resolve_forget(struct dns_resolve *r, const void *function)
{
    dns_cache_drop(&r->cache, function);
    for (struct dns_job *j = r->jobs; j; j = j->next)
        if (j->function == function)
            j->function = NULL;
}

void dns_resolve_done(struct dns_resolve *r)
{
    while (r->jobs) {
        while (r->jobs->waiters)
            waiter_unlink(r->jobs->waiters);
        job_free(r->jobs);
    }
    dns_cache_done(&r->cache);
}
