/*
 * http.h: connections of clients, and requests; private to the core of the gateway.
 *
 * Theory of operation. A client's connection (conn) carries at most one request (exchange) at a time; what was pipelined behind it waits in the connection's buffer or in the kernel. Every event, of the client's
 * socket, of the upstream connection, of a timer, of an API handler, ends in conn_run(), which moves the exchange on as far as it goes without waiting. States of an exchange:
 *
 *   HEAD     bytes are collected in conn->in until the head is whole
 *   WAIT     in a function's queue, until an instance can take it
 *   PROXY    two flows: request body up, response down
 *   TUNNEL   after 101: bytes both ways
 *   LOCAL    the gateway answers: errors, /healthz, the API
 *   OVER     exchange_finish() accounts for it, then the connection takes the next request, lingers or closes
 *
 * A connection that speaks HTTP/2 has a session instead of an exchange (h2/), and each of its streams is a conn with an exchange.
 *
 * Each flow reads only when all that it read before has gone out: that is the backpressure, and the bound of its memory (one buffer). Nobody frees a conn or an exchange while it may be on the stack: the
 * end of a conn is deferred to the end of the turn.
 */
#pragma once

#include "../gateway.h"
#include "../route/host_routes.h"
#include "../route/route.h"
#include "../upstream/upstream.h"
#include "buffer.h"
#include "clock.h"
#include "ipnet.h"
#include "message.h"
#include "pipe_pool.h"
#include "request_id.h"
#include "sock.h"
#include "str.h"
#include "told.h"

#include <netinet/in.h>

#define CONN_LINGER_NS     (2 * NS_PER_SEC)  /* without a byte */
#define CONN_LINGER_ALL_NS (30 * NS_PER_SEC) /* in all */
#define CONN_LINGER_BYTES  (64U * 1024 * 1024)
#define CONN_TURN_STEPS    200U           /* and pipelined requests are several steps each */
#define CONN_TURN_BYTES    (1024U * 1024) /* then others come first */
#define LOCAL_WAITING_MAX  (256U * 1024)  /* exchange_write() says stop */
#define NEVER              UINT64_MAX

enum conn_state { CONN_OPEN, CONN_LINGERING, CONN_DEAD };

struct conn {
    struct sock sock;
    struct worker *worker;
    struct conn *next, **link; /* of the worker */
    struct conn *next_again;
    struct client *peer;  /* counted; NULL where nobody counts. A stream borrows its connection's */
    struct timer timer;   /* may fire before deadline_ns: it is only ever moved forward when it has to be (no heap work on the path of a request) */
    uint64_t deadline_ns; /* what counts; NEVER: none */
    struct buffer *in;
    struct exchange *ex;
    struct h2_session *session; /* its bytes are frames of HTTP/2, and its requests are those of its streams; NULL: HTTP/1 */
    struct conn *of;            /* it is a stream of this connection: one request, no descriptor, in no list and in no count; NULL: a connection */
    enum conn_state state;
    enum listener_kind listener;
    bool begun;            /* a byte of a request has come */
    bool scheduled;        /* a deferred conn_run or free is under way */
    bool again;            /* is in worker->again */
    bool running;          /* conn_run is on the stack */
    bool proxy_header_due; /* the next bytes of the bare descriptor, before TLS and before HTTP */
    bool inner;            /* came from a bridge: a function */
    bool secure;           /* came by TLS, to this gateway */
    bool tls_due;          /* the TLS handshake is not over */
    bool proxied_tls;      /* ... or to the proxy that sent a PROXY header */
    bool has_address;
    uint32_t linger_left;
    uint64_t linger_end_ns;
    uint32_t queued_bytes; /* in the kernel when the stall timer fired last, + 1; 0: it has not */
    uid_t uid;
    pid_t pid;
    struct ip address;             /* the client's, or the proxy's that speaks for it */
    char client[INET6_ADDRSTRLEN]; /* the same as text; "" for a unix socket */
};

enum exchange_state { EXCHANGE_HEAD, EXCHANGE_WAIT, EXCHANGE_PROXY, EXCHANGE_TUNNEL, EXCHANGE_LOCAL, EXCHANGE_OVER };

/* One direction. `out` refers to head->data, to the reader's buffer, and to text here. */
struct flow {
    struct outq out;
    struct buffer *head;    /* a rewritten head */
    struct body body;       /* of what is read */
    bool chunked;           /* is written in chunks */
    bool begun;             /* the head is in `out` or has gone out */
    bool ended;             /* the last byte is in `out` or in `pipe`, or has gone out */
    bool bulk;              /* the last read was large: it is worth a pipe */
    bool pipe_in_chunk;     /* what is in the pipe is a chunk's data: its end follows */
    struct pipe_pair *pipe; /* goes out behind `out`; NULL: nothing */
    char size_line[20];
};

/* A request that the gateway answers itself. */
struct local {
    struct exchange_request request;
    char *text; /* what request points to */
    size_t text_size;
    const struct exchange_handler *handler;
    void *arg;
    struct strbuf out;
    size_t sent;
    uint64_t payload_bytes; /* of the answer's body */
    const char *payload;    /* decoded body that the handler has not taken yet */
    size_t payload_len;
    bool begun, complete, chunked, paused, full, body_told, feeding;
};

struct exchange {
    struct worker *worker;
    struct conn *conn;
    struct exchange *next_free;
    enum exchange_state state;
    bool keep_alive;    /* of the client's connection, after this */
    bool no_reuse;      /* of the upstream connection */
    bool sent_any;      /* a byte of the final response has been handed to the kernel */
    bool up_lost;       /* the function takes no more of the request; its answer may still come */
    bool up_sent;       /* a byte of the request has been handed to the kernel */
    bool up_bytes_lost; /* so has one of its body: it cannot be sent again */
    bool continue_sent;
    bool handed_over; /* the connection is somebody else's once the answer is out */
    bool interim_cut; /* of a 1xx only a part has gone out */
    uint8_t attempts;
    uint16_t status;
    uint64_t start_ns, up_progress_ns;
    uint64_t moved_ns;            /* when a byte went either way last, since the response began */
    struct account *account;      /* for the access log; NULL where it is off */
    char *reply_fields;           /* lines that every answer to it carries, or NULL; the exchange's */
    bool own_cors;                /* the function's own CORS fields are not sent on */
    bool hide_authorization;      /* it was for us */
    uint64_t max_body_bytes;      /* of this request */
    struct gw_function *function; /* a reference */
    struct upconn *up;
    struct waiter waiter;
    struct request rq;
    struct response rs;
    struct flow up_flow, down_flow;
    struct local local;
    const char *client;     /* its address as far as can be trusted, terminated; "" unknown */
    bool told_by_proxy;     /* `told` is there, and true */
    uint8_t request_id_len; /* 0: the head was refused */
    struct head head;       /* of the request; later of the response. It and what follows are set where they are used */
    struct told told;
    char told_client[INET6_ADDRSTRLEN];
    char request_id[REQUEST_ID_MAX];
};

/* ---- conn.c ---- */
/* Whoever accepted has counted it (shared_connection_enter); a connection that was made counts itself out at its end, one that failed does not. */
int conn_new(struct worker *w, int fd, struct listener_type type, const struct sockaddr_storage *peer);
void conn_run(struct conn *c);
void conn_schedule(struct conn *c); /* conn_run at the end of this turn */
void conn_yield(struct conn *c);    /* conn_run in the next turn */
void conn_close(struct conn *c);
void conn_abort(struct conn *c);  /* with a reset */
void conn_linger(struct conn *c); /* everything has been sent: what still comes is read and forgotten for a while, then the connection is closed */
void conn_set_deadline(struct conn *c, uint64_t deadline_ns);
/* The worker ends: no request after the one that is under way. late: one that has never asked will not either. */
void conn_stop(struct conn *c, bool late);
bool conn_drains(struct conn *c); /* has the client taken anything of what waits in the kernel since the last call? */
/* Of a stream of `of`, whose client is its client. It ends with its one request. NULL without memory. */
struct conn *conn_new_stream(struct conn *of, const struct sock_ops *ops, void *carrier);
/* Reads into conn->in: bytes, 0 at the end, -EAGAIN, -ENOBUFS when the buffer is full, -errno. */
ssize_t conn_fill(struct conn *c);
void conn_drop_buffer(struct conn *c); /* if it is empty */

/* ---- preface.c: whose connection it is, and what comes before HTTP ---- */
/* Sets address and c->deadline_ns (a span). -EUSERS, -EPERM: it is refused, and has been counted as such. */
int preface_begin(struct conn *c, struct listener_type type, const struct sockaddr_storage *peer);
void preface_on_timeout(const struct conn *c); /* no request has begun */
bool preface_run(struct conn *c);              /* while proxy_header_due: returns whether there is more to do at once */
bool conn_from_proxy(const struct conn *c);    /* trusted_proxies: its word about the client counts */

/* ---- handshake.c: TLS, between the bare connection and its first head ---- */
bool handshake_run(struct conn *c); /* while tls_due: returns whether there is more to do at once */

/* ---- https.c ---- */
void https_begin(struct exchange *ex);                      /* fields that every answer has */
bool https_redirect(struct exchange *ex, const char *data); /* true: it has been answered, with the way to https */
bool https_acme(struct exchange *ex, const char *data);     /* true: it was a challenge, and has been answered */

/* ---- request_start.c: a whole head ---- */
void exchange_start(struct exchange *ex);
void conn_refuse(struct conn *c, unsigned status, const char *why); /* answers a head that has no text; the caller schedules c */

/* ---- exchange.c ---- */
struct exchange *exchange_new(struct conn *c);
void exchange_finish(struct exchange *ex); /* accounts, releases, frees */
void exchange_abort(struct exchange *ex);  /* the client cannot be served: the connection is reset */
void exchange_become_local(struct exchange *ex);
int exchange_take_texts(struct exchange *ex, const char *data); /* copies what exchange_request() tells from the head */
/* Another line (without its CRLF) that every answer carries. -ENOMEM. */
int exchange_add_reply_field(struct exchange *ex, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int exchange_add_reply_methods(struct exchange *ex, const char *name, uint32_t methods); /* "Allow: GET, HEAD": bits by spec_method_name() */
void exchange_refuse(struct exchange *ex, const struct gw_function *f, int status, const char *code, unsigned retry_after, const char *text);
void local_run(struct exchange *ex);

/* ---- account.c ---- */
void account_begin(struct exchange *ex, const char *data); /* a head is whole, or refused */
void account_instance(struct exchange *ex, const struct gw_instance *inst);
void account_end(struct exchange *ex, unsigned status); /* where account is not NULL */

/* ---- gate.c ---- */
/* May the request come in, as far as the function's [http] goes? False: it has been answered. */
bool gate_admit(struct exchange *ex, struct gw_function *f, const char *data);

/* ---- proxy.c, flow_up.c, flow_down.c, tunnel.c ---- */
void proxy_start(struct exchange *ex, const char *data, size_t prefix_len);
void proxy_run(struct exchange *ex);
void proxy_on_connection(struct exchange *ex, struct upconn *u); /* a waiting request gets its instance */
void proxy_wait_failed(struct exchange *ex);                     /* ... or will never */
void proxy_on_timeout(struct exchange *ex);
void proxy_continue(struct exchange *ex); /* 100 to a client that waits for it, if it does */
void proxy_instance_gone(struct exchange *ex);
void proxy_cut(struct exchange *ex);
void proxy_broken(struct exchange *ex, const char *text);                             /* the response cannot be understood */
void proxy_fail(struct exchange *ex, int status, const char *code, const char *text); /* an error if nothing was sent, else a reset */
void proxy_release(struct exchange *ex, bool keep);
void proxy_stream_deadline(struct exchange *ex);    /* once the response has begun */
void proxy_up_failed(struct exchange *ex, int err); /* the connection to the function broke before the response began */

enum flow_result { FLOW_WAIT, FLOW_DONE, FLOW_YIELD, FLOW_GONE /* the exchange has been failed or aborted */ };
enum flow_result flow_up(struct exchange *ex);
enum flow_result flow_down(struct exchange *ex);
void flow_clear(struct worker *w, struct flow *f);
static inline bool flow_waits(const struct flow *f)
{
    return !outq_empty(&f->out) || f->pipe;
}

/*
 * Bodies of more than FLOW_SPLICE_MIN go through a pipe, while they come in large pieces and both sides are bare sockets. flow_fill_pipe: nothing may wait; at most `max` bytes, which must be nothing but payload;
 * bytes, 0 at the end, -EAGAIN, -ENOBUFS: read and copy, -errno. flow_put_pipe frames what has come, once f->body knows of it.
 */
#define FLOW_SPLICE_MIN (64U * 1024)
#define FLOW_BULK       (16U * 1024)
ssize_t flow_fill_pipe(struct worker *w, struct flow *f, struct sock *from, const struct sock *to, uint64_t max);
void flow_put_pipe(struct flow *f);
/* Bytes sent, -EAGAIN, -errno: until nothing waits or the socket is full. */
ssize_t flow_send(struct worker *w, struct flow *f, struct sock *to);
void flow_put(struct flow *f, const char *payload, size_t len); /* framed; ends it if f->body.done */
void tunnel_run(struct exchange *ex);
