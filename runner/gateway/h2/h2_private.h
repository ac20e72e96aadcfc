/* h2_private.h: a session and its streams; private to h2/. */
#pragma once

#include "h2.h"
#include "h2_message.h"

#include "../http/http.h"
#include "../worker.h"

/* ---- h2_budget.c: what a client may do so and so often within BUDGET_NS ---- */

#define H2_BUDGET_NS (10 * NS_PER_SEC)

struct h2_budget {
    uint64_t used_up_to_ns; /* moves on by H2_BUDGET_NS / most with each take, and never lies behind now */
};

/* most 0: no bound. False when there is no more. */
bool h2_budget_take(struct h2_budget *b, uint64_t now_ns, uint32_t most);
void h2_budget_refund(struct h2_budget *b, uint32_t times, uint32_t most);

/* ---- a stream ---- */

struct h2_stream {
    struct h2_session *session;
    struct h2_stream *next, **link; /* of the session */
    struct conn *conn;              /* NULL: there is none yet, or it is closed */
    int32_t id;

    /* The request's body. `first` to `last` has come and has not been read: never more than the stream's window. */
    struct buffer *first, *last;
    uint32_t in_bytes;
    struct buffer *trailers; /* lines */
    uint64_t piece_left;     /* of the chunk that is being read */
    char frame[20];          /* of the chunked coding, to be read next */
    uint8_t frame_at, frame_len;
    bool chunked;
    bool in_ended; /* END_STREAM has come */
    bool in_told;  /* ... and the last chunk is in `frame` or has been read */

    /* The answer. What is offered is only there during stream_send(). */
    struct h2_answer answer;
    const struct iovec *offer;
    unsigned offers;
    size_t offer_at, offer_used;
    struct h2_stream *next_blocked;
    uint64_t sent_bytes;
    unsigned interims; /* heads that nghttp2 has and has not written */
    bool offering;     /* stream_send() is on the stack */
    bool woken;        /* ... and nghttp2 asked for more than there was */
    bool begun;        /* the final head has been given to nghttp2 */
    bool deferred;     /* nghttp2 waits to be told of more */
    bool blocked;      /* in the list of those that wait for room in the session's buffer */
    bool end_sent;     /* END_STREAM has been written */
    bool reset_sent;   /* by us */
    bool closed;       /* nghttp2 has forgotten it */
};

struct h2_session {
    struct conn *conn;
    nghttp2_session *ng;
    struct h2_stream *streams;
    unsigned nstreams, nopen; /* all; those with a conn */
    struct h2_stream *blocked_first, *blocked_last;
    struct buffer *out;    /* frames that wait to be sent */
    uint64_t out_bytes;    /* sent in all */
    uint64_t out_moved_ns; /* when the client took some, or some came into an empty buffer */
    uint64_t turn_ns, turn_bytes;
    struct h2_block block; /* that is being read */
    struct h2_stream *collecting;
    uint64_t head_since_ns; /* 0: no header block has begun */
    uint64_t rest_since_ns; /* since when nothing is under way */
    struct h2_budget resets, idle_frames;
    uint32_t requests;
    bool settled;  /* the client's first SETTINGS have come */
    bool draining; /* has been told that no more is taken */
    bool drained;  /* ... and for certain: the last GOAWAY */
    bool flooded;  /* the client did what nobody does in good faith */
    bool broken;   /* the connection is of no more use */
    bool ending;   /* streams are closed without a word */
};

/* ---- h2_frames.c: nghttp2's callbacks ---- */
int h2_frames_new(struct h2_session *s);

/* ---- h2_conn.c ---- */
void h2_drain(struct h2_session *s);     /* no more requests after those that are on their way */
void h2_drain_end(struct h2_session *s); /* they have come */

void h2_pump(struct h2_session *s); /* has nghttp2 write what it may; not from within a callback */

/* ---- h2_out.c: the session's buffer ---- */
void h2_out_flush(struct h2_session *s);
size_t h2_out_room(struct h2_session *s, size_t wanted); /* flushes if there is less */
void h2_out_added(struct h2_session *s, size_t len);     /* behind out->end */
bool h2_out_empty(const struct h2_session *s);
void h2_out_wake(struct h2_session *s);      /* those that wait for room */
bool h2_out_turn_over(struct h2_session *s); /* others come first */
void h2_out_block(struct h2_session *s, struct h2_stream *st);

/* ---- h2_stream.c ---- */
struct h2_stream *h2_stream_new(struct h2_session *s, int32_t id);
void h2_stream_free(struct h2_stream *st);
int h2_stream_start(struct h2_stream *st, struct buffer *head, unsigned refused, const char *why); /* takes head; refused 0: a good one */
int h2_stream_data(struct h2_stream *st, const uint8_t *data, size_t len);
void h2_stream_in_end(struct h2_stream *st);
void h2_stream_closed(struct h2_stream *st); /* nghttp2 has forgotten it */
void h2_stream_reset(struct h2_stream *st, uint32_t code);
void h2_stream_wake(struct h2_stream *st);                                 /* it may send */
ssize_t h2_stream_read(struct h2_stream *st, size_t max, uint32_t *flags); /* DATA, behind a gap of H2_FRAME_HEAD bytes in the session's buffer */

#define H2_FRAME_HEAD 9U /* RFC 9113 section 4.1 */
