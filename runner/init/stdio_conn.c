/* stdio_conn.c: a connection of the gateway: head, body, one request after the other, and what ends it. */
#include "stdio_server.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_SEC   UINT64_C(1000000000)
#define HEAD_TIME_NS (30 * NS_PER_SEC) /* for a head that has begun */
#define LINGER_NS    (5 * NS_PER_SEC)
#define LOCK_PATH    "/tmp/.lock"

static void begin(struct stdio_conn *c)
{
    c->state = STDIO_HEAD;
    c->end = STDIO_END_NONE;
    c->close = c->begun = c->chunked = c->ended = c->killed = c->again = false;
    c->group = (struct stdio_group){.dir_fd = -1, .events_fd = -1};
    c->in_fd = c->out_fd = c->body_fd = c->spool_fd = -1;
    c->exec_at = c->read_at = c->write_at = c->head_at = STDIO_NEVER;
    c->written = 0;
    c->status = 0;
    c->body = (struct stdio_body){0};
    c->head_len = c->plain_at = c->plain_end = c->over_at = 0;
    c->pre_at = c->pre_len = c->out_at = c->out_len = c->post_at = 0;
    c->post = NULL;
}

void stdio_conn_open(struct stdio *s, struct stdio_conn *c, int fd)
{
    begin(c);
    c->place = s->nlive++; /* stdio_loop.c has taken the first that is free */
    s->touched = s->nlive > s->touched ? s->nlive : s->touched;
    c->server = s;
    c->fd = fd;
    c->in_len = 0;
    c->since_ns = s->now_ns;
}

/* ---- memory ---- */

static_assert(offsetof(struct stdio_conn, in) % STDIO_PAGE + STDIO_TRIM <= STDIO_PAGE && offsetof(struct stdio_conn, out) % STDIO_PAGE + STDIO_TRIM <= STDIO_PAGE,
              "what is not trimmed is within one page");

static void drop_pages(char *from, char *to)
{
    const uintptr_t page = STDIO_PAGE, a = ((uintptr_t)from + page - 1) & ~(page - 1), b = (uintptr_t)to & ~(page - 1);

    if (a < b)
        (void)madvise(from + (a - (uintptr_t)from), b - a, MADV_DONTNEED);
}

/* What is free and all zeros is as it was at the start. */
void stdio_conns_trim(struct stdio *s)
{
    for (; s->touched > s->nlive && s->touched > STDIO_KEPT; s->touched--)
        drop_pages((char *)stdio_live(s, s->touched - 1), (char *)(stdio_live(s, s->touched - 1) + 1));
}

/* Memory that one large request used is not kept for all that follow. */
static void trim(struct stdio_conn *c)
{
    if (!c->wide || c->in_len > STDIO_TRIM)
        return;
    drop_pages(c->in + STDIO_TRIM, c->in + sizeof(c->in));
    drop_pages(c->out + STDIO_TRIM, c->out + sizeof(c->out));
    c->wide = false;
}

/* The last that is live takes its place. */
static void release(struct stdio *s, struct stdio_conn *c)
{
    const unsigned last = --s->nlive, own = s->order[c->place];

    s->order[c->place] = s->order[last];
    s->conns[s->order[c->place]].place = c->place;
    s->order[last] = (uint16_t)own;
    c->place = last;
    c->in_len = 0;
    c->state = STDIO_FREE;
    trim(c);
}

void stdio_conn_close(struct stdio *s, struct stdio_conn *c)
{
    if (c->state == STDIO_FREE)
        return;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (c->started) {
        stdio_run_kill(s, c, STDIO_END_GONE);
        return;
    }
    if (c->state == STDIO_BODY || c->state == STDIO_WAIT)
        s->inflight--;
    if (c->state == STDIO_RUN)
        stdio_run_over(s, c);
    stdio_files_close(s, c);
    release(s, c);
}

/* ---- what we answer ourselves ---- */

static bool is_get(const struct stdio_request *r)
{
    return stdio_text_is(r->method, "GET");
}

static bool method_known(const struct stdio_request *r)
{
    static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (stdio_text_is(r->method, known[i]))
            return true;
    return false;
}

static bool full(const struct stdio *s)
{
    return s->set.max_inflight && s->inflight >= s->set.max_inflight;
}

/* The lock file is the function's, which may take it away to say that it is not well. */
static bool healthy(const struct stdio *s)
{
    return !s->draining && (s->set.suppress_lock || access(LOCK_PATH, F_OK) == 0);
}

static bool answer_own(struct stdio *s, struct stdio_conn *c)
{
    const bool ready = stdio_text_is(c->req.path, "/_/ready");

    if (!is_get(&c->req) || (!ready && !stdio_text_is(c->req.path, "/_/health") && (!*s->health || !stdio_text_is(c->req.path, s->health))))
        return false;
    if (!healthy(s))
        stdio_answer(s, c, 503, s->draining ? "draining\n" : LOCK_PATH " is gone\n");
    else if (ready && full(s))
        stdio_answer(s, c, 429, "busy\n");
    else
        stdio_answer(s, c, 200, "OK");
    return true;
}

/* ---- a request ---- */

static void refuse_inflight(struct stdio *s, struct stdio_conn *c)
{
    char text[96] = "Concurrent request limit exceeded. Max concurrent requests: ";

    init_puts(init_putn(text, sizeof(text), s->set.max_inflight), sizeof(text), "\n");
    stdio_answer(s, c, 429, text);
}

static void give_up(struct stdio *s, struct stdio_conn *c, int err)
{
    s->inflight--;
    stdio_files_close(s, c);
    if (err == EFBIG)
        stdio_answer(
            s, c,
            413, "The request is larger than a quarter of the function's memory, which mode = serializing and marshal_request have to hold: raise [limits] memory.\n");
    else
        stdio_answer(s, c, 500, "The request cannot be held.\n");
}

static void collect(struct stdio *s, struct stdio_conn *c)
{
    int r = stdio_body_collect(s, c);

    if (r == 0 && c->body.done)
        r = stdio_body_finish(s, c);
    if (r < 0)
        give_up(s, c, -r);
    else if (c->body.done)
        stdio_run_start(s, c);
}

static void invoke(struct stdio *s, struct stdio_conn *c)
{
    int r;

    s->inflight++;
    c->number = ++s->numbers;
    c->since_ns = s->now_ns;
    c->head_at = s->now_ns + s->timeout_ns;
    c->read_at = s->set.read_timeout_ns ? s->now_ns + s->set.read_timeout_ns : STDIO_NEVER;
    c->write_at = s->set.write_timeout_ns ? s->now_ns + s->set.write_timeout_ns : STDIO_NEVER;
    if (c->req.expects && !c->body.done)
        (void)send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    if (s->set.mode != WATCHDOG_SERIALIZING && !s->set.marshal_request) {
        stdio_run_start(s, c);
        return;
    }
    c->state = STDIO_BODY;
    r = stdio_body_begin(s, c);
    if (r < 0)
        give_up(s, c, -r);
    else
        collect(s, c);
}

/* len bytes of the body, as they came, lie behind plain_end. */
static int take_body(struct stdio_conn *c, size_t len)
{
    size_t payload;
    const int64_t used = stdio_body_take(&c->body, c->in + c->plain_end, len, &payload);

    if (used < 0)
        return -EPROTO;
    c->in_len = c->plain_end + len;
    c->over_at = c->plain_end + (size_t)used;
    c->plain_end += payload;
    c->wide |= c->in_len > STDIO_TRIM;
    return 0;
}

static void refuse(struct stdio *s, struct stdio_conn *c, int status, const char *text)
{
    c->close = true;
    stdio_answer(s, c, status, text);
}

void stdio_conn_request(struct stdio *s, struct stdio_conn *c)
{
    int r = stdio_head_parse(c->in, c->in_len, &c->req);

    c->again = false;
    if (r == 0) {
        if (c->in_len > 0 && c->read_at == STDIO_NEVER)
            c->read_at = s->now_ns + HEAD_TIME_NS;
        return;
    }
    if (r < 0) {
        refuse(s, c, -r, "The request cannot be understood.\n");
        return;
    }
    c->head_len = c->plain_at = c->plain_end = (size_t)r;
    c->close = c->req.close || s->draining;
    stdio_body_init(&c->body, &c->req);
    if (take_body(c, c->in_len - c->head_len) < 0)
        refuse(s, c, 400, "The request's body is broken.\n");
    else if (answer_own(s, c))
        return;
    else if (!method_known(&c->req))
        stdio_answer(s, c, 405, "This function takes GET, POST, PUT, PATCH and DELETE.\n");
    else if (full(s))
        refuse_inflight(s, c);
    else
        invoke(s, c);
}

/* ---- input ---- */

static ssize_t receive(struct stdio_conn *c, size_t at)
{
    ssize_t n;

    if (at >= sizeof(c->in))
        return -EAGAIN;
    do
        n = recv(c->fd, c->in + at, sizeof(c->in) - at, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? -EAGAIN : -errno;
    return n > 0 ? n : -ECONNRESET;
}

static void on_body(struct stdio *s, struct stdio_conn *c)
{
    ssize_t n = receive(c, c->plain_end);

    if (n == -EAGAIN)
        return;
    if (n < 0) {
        stdio_conn_close(s, c);
    } else if (take_body(c, (size_t)n) < 0) {
        c->close = true;
        if (c->state == STDIO_BODY) {
            s->inflight--;
            stdio_answer(s, c, 400, "The request's body is broken.\n");
        } else {
            stdio_run_kill(s, c, STDIO_END_BROKEN);
        }
    } else if (c->state == STDIO_BODY) {
        collect(s, c);
    } else {
        stdio_body_feed(s, c);
    }
}

void stdio_conn_readable(struct stdio *s, struct stdio_conn *c)
{
    ssize_t n;

    switch (c->state) {
    case STDIO_HEAD:
        n = receive(c, c->in_len);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            stdio_conn_close(s, c);
            return;
        }
        c->in_len += (size_t)n;
        stdio_conn_request(s, c);
        return;
    case STDIO_BODY:
    case STDIO_RUN:
        if (!c->body.done)
            on_body(s, c);
        return;
    case STDIO_LINGER:
        n = receive(c, 0);
        if (n < 0 && n != -EAGAIN)
            stdio_conn_close(s, c);
        return;
    default:
        return;
    }
}

/* ---- the end of a request ---- */

void stdio_conn_over(struct stdio *s, struct stdio_conn *c)
{
    stdio_files_close(s, c);
    if (c->close || s->draining) {
        if (c->body.done || shutdown(c->fd, SHUT_WR) < 0) {
            stdio_conn_close(s, c);
            return;
        }
        c->state = STDIO_LINGER; /* a close with unread bytes would take the answer away from who has not read it yet */
        c->read_at = s->now_ns + LINGER_NS;
        return;
    }
    if (c->in_len > c->over_at)
        memmove(c->in, c->in + c->over_at, c->in_len - c->over_at);
    c->in_len -= c->over_at;
    trim(c);
    begin(c);
    c->since_ns = s->now_ns;
    c->again = c->in_len > 0;
}

/* ---- deadlines ---- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t stdio_conn_next(const struct stdio_conn *c)
{
    switch (c->state) {
    case STDIO_HEAD:
    case STDIO_LINGER:
        return c->read_at;
    case STDIO_BODY:
    case STDIO_WAIT:
        return sooner(c->head_at, c->body.done ? STDIO_NEVER : c->read_at);
    case STDIO_RUN:
        if (c->end != STDIO_END_NONE)
            return c->started ? STDIO_NEVER : c->write_at;
        return sooner(sooner(c->exec_at, c->write_at), sooner(c->begun ? STDIO_NEVER : c->head_at, c->body.done ? STDIO_NEVER : c->read_at));
    case STDIO_REPLY:
        return c->write_at;
    default:
        return STDIO_NEVER;
    }
}

void stdio_conn_deadline(struct stdio *s, struct stdio_conn *c)
{
    switch (c->state) {
    case STDIO_BODY:
    case STDIO_WAIT:
        s->inflight--;
        stdio_answer(s, c, 408, "The function's time for this request is over.\n");
        return;
    case STDIO_RUN:
        if (!c->started) { /* only the client's taking it is waited for */
            stdio_conn_close(s, c);
            return;
        }
        if (s->now_ns >= c->write_at)
            stdio_run_kill(s, c, STDIO_END_SLOW_ANSWER);
        else
            stdio_run_kill(s, c, !c->body.done && s->now_ns >= c->read_at ? STDIO_END_SLOW_BODY : STDIO_END_TIMEOUT);
        return;
    default:
        stdio_conn_close(s, c);
    }
}
