/* dns_private.h: shared by the files of dns/ alone. Who may ask: dns_client.c; what was answered before: dns_cache.c; asking others: dns_resolve.c; queries: dns_forward.c; sockets: dns_listen.c, dns_conn.c. */
#pragma once

#include "dns.h"
#include "dns_message.h"
#include "dns_policy.h"

#include <assert.h>
#include <netinet/in.h>
#include <sys/socket.h>

/*
 * Bounds. Of an instance: what a busy server asks for, times ten. Of all: memory of queries 4096 * 0.8 KB, of jobs 1024 * 1 KB, of connections 256 * 66 KB at most; descriptors 3 a job.
 */
#define DNS_CLIENT_QUERIES 64U
#define DNS_CLIENT_CONNS   8U
#define DNS_CLIENT_RATE    200U /* per second, and as many at once after a rest */
#define DNS_QUERIES_MAX    4096U
#define DNS_JOBS_MAX       1024U
#define DNS_CONNS_MAX      256U
#define DNS_STREAMS_MAX    256U /* TCP connections to resolvers */
#define DNS_LISTENERS_MAX  128U
#define DNS_REFRESHES_MAX  256U /* at once; others come later */

/* Time to live, in answers and for what the runner opens. The floor only for names of a list: below it, what was opened would be gone before it is used. */
#define DNS_TTL_MAX_S      300U
#define DNS_TTL_LIST_S     5U
#define DNS_TTL_FAILED_S   5U
#define DNS_TTL_MESH_S     2U
#define DNS_REFRESH_S      15U /* looked up again so long before what was opened closes */
#define DNS_REFRESH_TURN_S 5U
#define DNS_OPEN_GRACE_S   30U /* opened this much longer than the answer may be used: a connection that is begun in its last second */

/* ---- dns_client.c: instances by address ---- */

struct dns_query;
struct dns_conn;

struct dns_client {
    struct dns_client *next; /* of its bucket */
    uint32_t addr;
    struct gw_instance *inst;
    uint64_t allowance_ns; /* a token bucket as a time: what has run up since filled_ns, at most a second */
    uint64_t filled_ns;
    unsigned nqueries, nconns;
    struct dns_query *queries;
    struct dns_conn *conns;
};

#define DNS_CLIENT_BUCKETS 1024U
struct dns_clients {
    struct dns_client *buckets[DNS_CLIENT_BUCKETS];
};

struct dns_client *dns_client_find(const struct dns_clients *c, uint32_t addr);
/* 1: it was not there before. Another instance at the address gives its place up: *ret_old is what was there, unlinked, the caller's to end. */
int dns_client_add(struct dns_clients *c, struct gw_instance *inst, uint64_t now_ns, struct dns_client **ret_old);
/* Of this instance, unlinked, the caller's to end; NULL. */
struct dns_client *dns_client_remove(struct dns_clients *c, const struct gw_instance *inst);
struct dns_client *dns_client_remove_any(struct dns_clients *c);
bool dns_client_may_ask(struct dns_client *c, uint64_t now_ns); /* takes a token */

/* ---- dns_cache.c: answers, by function: what one asks neither shows another one what it asked nor changes what it is told ---- */

#define DNS_CACHE_ENTRIES      1024U
#define DNS_CACHE_BYTES        (1024U * 1024U)
#define DNS_CACHE_ANSWER_BYTES 8192U /* larger ones are not kept */
#define DNS_CACHE_OWN          128U  /* entries of one function */

struct dns_entry {
    struct dns_entry *next_hash, *newer, *older;
    const void *function; /* only compared */
    struct dns_question q;
    struct dns_answer *answer;
    size_t size;
};

struct dns_cache {
    struct dns_entry *buckets[DNS_CACHE_ENTRIES];
    struct dns_entry *newest, *oldest;
    unsigned count;
    size_t bytes;
};

/* Borrowed; NULL: none that is still good. */
struct dns_answer *dns_cache_get(struct dns_cache *c, const void *function, const struct dns_question *q, uint64_t now_ns);
void dns_cache_put(struct dns_cache *c, const void *function, const struct dns_question *q, struct dns_answer *a, uint64_t now_ns);
void dns_cache_drop(struct dns_cache *c, const void *function);
void dns_cache_done(struct dns_cache *c);

/* ---- dns_resolve.c: questions to resolvers ---- */

struct dns_resolver_addr {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* Who waits for a job. on_done: once, unless cancelled before; a NULL: nobody answered. */
struct dns_waiter {
    struct dns_waiter *next, **prev;                             /* private; prev NULL: waits for nothing */
    void (*on_done)(struct dns_waiter *w, struct dns_answer *a); /* a is borrowed */
    void *owner;
};

struct dns_job;
struct dns_resolve {
    struct loop *loop;
    struct dns_cache cache;
    struct dns_resolver_addr resolvers[RECORD_RESOLVERS_MAX];
    unsigned nresolvers;
    struct dns_job *jobs;
    unsigned njobs, jobs_max, nstreams;
};

/* Asks for a question of this function, together with others that wait for the same. -EBUSY: too many; -ENETUNREACH: no resolver is known. */
int dns_resolve_ask(struct dns_resolve *r, const void *function, const struct dns_question *q, struct dns_waiter *w);
void dns_waiter_cancel(struct dns_waiter *w);
void dns_resolve_forget(struct dns_resolve *r, const void *function); /* the function is gone */
void dns_resolve_done(struct dns_resolve *r);                         /* nobody is told */

/* ---- dns_stream.c: one question over TCP ---- */

struct dns_stream {
    struct watch watch;
    int fd;
    void (*on_message)(struct dns_stream *s, const uint8_t *msg, size_t len); /* msg NULL: it failed. The stream is closed already */
    void *owner;
    uint8_t out[2 + DNS_ASK_MAX], in[2], *msg;
    size_t out_len, out_at, in_at, msg_len, msg_at;
};

int dns_stream_open(struct dns_stream *s, struct loop *loop, const struct dns_resolver_addr *to, const uint8_t *ask, size_t len);
void dns_stream_close(struct dns_stream *s);

/* ---- dns_listen.c, dns_conn.c: sockets towards the instances ---- */

struct dns_listener {
    struct dns *dns;
    struct watch watch;
    struct timer pause;
    int fd; /* -1: unused */
    uint32_t kind, addr, port;
    bool heard;
};

struct dns_conn {
    struct dns *dns;
    struct dns_client *client;
    struct dns_conn *next, **prev; /* of the client */
    struct watch watch;
    struct timer idle, again; /* again: what has been read already goes on in the next turn */
    struct dns_query *query;  /* one at a time; the next is read when its answer is out */
    uint32_t bridge;
    int fd;
    uint8_t in[2 + 1024]; /* a query is a name and some options */
    size_t in_len;
    uint8_t *out;
    size_t out_len, out_at;
};

void dns_listeners_init(struct dns *d);
void dns_listeners_close(struct dns *d);
void dns_conn_new(struct dns *d, uint32_t bridge, struct dns_client *client, int fd); /* takes fd */
void dns_conn_close(struct dns_conn *c);
void dns_conn_reply(struct dns_conn *c, const uint8_t *msg, size_t len); /* NULL: no answer, the connection ends */

/* ---- dns_forward.c ---- */

/* What became of queries; the label of fnd_dns_queries_total. */
enum dns_result { DNS_FORWARDED, DNS_CACHED, DNS_LOCAL, DNS_RESULT_REFUSED, DNS_FAILED, DNS_DROPPED, DNS_RESULT_COUNT };
static_assert(DNS_RESULT_COUNT == SHARED_DNS_RESULTS, "the worker has a place for each");

struct dns_source {
    struct dns_client *client;
    uint32_t bridge;         /* address that was asked */
    int fd;                  /* UDP: where to answer */
    struct sockaddr_in peer; /* UDP: whom */
    struct dns_conn *conn;   /* TCP; NULL: UDP */
};

struct dns {
    struct loop *loop;
    struct link *link;
    struct picture *picture;
    struct dns_clients clients;
    struct dns_resolve resolve;
    struct dns_listener listeners[DNS_LISTENERS_MAX];
    uint32_t bridges[DNS_LISTENERS_MAX];
    unsigned nbridges, nqueries, nconns, turn;
    shared_count *results; /* this worker's, by enum dns_result */
    uint64_t logged_ns;
    struct dns_refresh *refreshes;
    unsigned nrefreshes;
    struct timer refresh_timer; /* armed while anything is open */
    bool stopped;
    uint8_t buf[DNS_TCP_MAX + 1];
};

void dns_handle(struct dns *d, const struct dns_source *from, const uint8_t *msg, size_t len);
void dns_query_free(struct dns_query *q);
void dns_client_end_queries(struct dns_client *c, int fd); /* those that are answered on this socket */
void dns_client_end(struct dns *d, struct dns_client *c);  /* its queries and connections too */

/* ---- dns_listed.c: addresses of names of lists ---- */

/* Seconds that the answer may still be used. */
uint32_t dns_answer_ttl(const struct dns_answer *a);
/* The same for a name of a list: at least DNS_TTL_LIST_S. */
uint32_t dns_listed_ttl(const struct dns_answer *a);
bool dns_opened_has(const struct dns_opened *o, unsigned type, const uint8_t *addr);
/* What of the answer is to be opened, and until when. */
void dns_listed_collect(const struct dns *d, const struct dns_policy *p, unsigned type, const struct dns_answer *a, struct dns_opened *ret);
/* Has the runner opened all of it already, for as long as it will be used? */
bool dns_listed_is_open(struct dns_host *h, unsigned type, const struct dns_opened *want);
int dns_listed_request(struct dns *d, const struct gw_function *f, const struct dns_host *h, unsigned type, const struct dns_opened *want,
                       link_reply_fn *on_reply, void *arg, uint64_t *ret_id);
void dns_listed_opened(struct dns *d, struct dns_host *h, unsigned type, const struct dns_opened *o); /* the runner has */

/* Of what is open nothing is certain any more: queries ask the runner again, and the next turn does. */
void dns_listed_doubt(struct dns_policy *p);

void dns_refresh_init(struct dns *d);
void dns_refresh_forget(struct dns *d, const struct gw_function *f); /* it is gone */
void dns_refresh_turn(struct dns *d);                                /* what the timer does */
void dns_refresh_done(struct dns *d);

/* ---- dns_local.c ---- */

/* DNS_LOOPBACK and DNS_MESH. *ret is the caller's reference; NULL: no address. *ret_rcode: DNS_SERVFAIL without memory. */
void dns_local_answer(struct dns *d, const struct dns_client *c, const struct dns_verdict *v, const struct dns_question *q, uint32_t bridge,
                      unsigned *ret_rcode, struct dns_answer **ret);
