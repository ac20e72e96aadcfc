/*
 * stdio_answer.c: the answer of one request: its head, and what is on its way: `pre` (a head, or the size line of a chunk), then `out` (what the process wrote), then `post`. More is read from the process only
 * when all of that is out: that is the backpressure, and the bound of memory.
 */
#include "stdio_server.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TYPE_MAX  256
#define SNIFF_MAX 512
#define TEXT_TYPE "text/plain; charset=utf-8"

static const struct {
    int status;
    const char *text;
} phrases[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

static void put(struct stdio_conn *c, const char *text)
{
    init_puts(c->pre, sizeof(c->pre), text);
}

static void put_field(struct stdio_conn *c, const char *name, const char *value)
{
    put(c, name);
    put(c, value);
    put(c, "\r\n");
}

static void head_begin(struct stdio_conn *c, int status, const char *type)
{
    const char *phrase = "";

    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
        if (phrases[i].status == status)
            phrase = phrases[i].text;
    c->pre[0] = '\0';
    put(c, "HTTP/1.1 ");
    init_putn(c->pre, sizeof(c->pre), (unsigned)status);
    put_field(c, " ", phrase);
    if (*type)
        put_field(c, "Content-Type: ", type);
    if (status == 405)
        put_field(c, "Allow: ", "GET, POST, PUT, PATCH, DELETE");
}

static void put_length(struct stdio_conn *c, uint64_t length)
{
    put(c, "Content-Length: ");
    init_putn(c->pre, sizeof(c->pre), length);
    put(c, "\r\n");
}

static void head_end(struct stdio_conn *c)
{
    c->close |= !c->body.done; /* what is left of the body would be taken for a request */
    if (c->close)
        put_field(c, "Connection: ", "close");
    put(c, "\r\n");
    c->pre_at = 0;
    c->pre_len = strlen(c->pre);
}

/* ---- the type of what a process wrote ---- */

static bool begins(const char *data, size_t len, const char *word)
{
    const size_t n = strlen(word);

    return len > n && strncasecmp(data, word, n) == 0 && (data[n] == ' ' || data[n] == '>' || data[n] == '\n');
}

/* As the classic watchdog's library does for an answer without a type, in short. */
static const char *sniff(const char *data, size_t len)
{
    size_t at = 0;

    len = len < SNIFF_MAX ? len : SNIFF_MAX;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)data[i] < 0x20 && !strchr("\t\n\f\r\x1b", data[i] ? data[i] : 1))
            return "application/octet-stream";
    while (at < len && strchr("\t\n\f\r ", data[at]))
        at++;
    return begins(data + at, len - at, "<!DOCTYPE HTML") || begins(data + at, len - at, "<html") ? "text/html; charset=utf-8" : TEXT_TYPE;
}

static const char *type_of(const struct stdio *s, const struct stdio_conn *c, char buf[TYPE_MAX])
{
    const struct stdio_text type = c->req.type;

    if (s->set.content_type)
        return s->set.content_type;
    if (type.len > 0 && type.len < TYPE_MAX) {
        memcpy(buf, type.at, type.len);
        buf[type.len] = '\0';
        return buf;
    }
    return sniff(c->out, c->spooled ? 0 : c->out_len);
}

/* ---- answers ---- */

void stdio_answer(struct stdio *s, struct stdio_conn *c, int status, const char *text)
{
    c->state = STDIO_REPLY;
    head_begin(c, status, TEXT_TYPE);
    put_length(c, strlen(text));
    head_end(c);
    if (!stdio_text_is(c->req.method, "HEAD")) /* whoever asked so takes a body for the next answer (RFC 9110 section 9.3.2) */
        put(c, text);
    c->pre_len = strlen(c->pre);
    c->out_at = c->out_len = c->post_at = 0;
    c->post = NULL;
    stdio_answer_flush(s, c);
}

/* Behind the head in `pre`, or a chunk of its own. */
void stdio_answer_piece(struct stdio_conn *c, size_t len)
{
    char line[24], hex[17];
    size_t at = sizeof(hex);

    c->out_at = c->post_at = 0;
    c->out_len = len;
    c->post = NULL;
    if (!c->chunked || len == 0)
        return;
    hex[--at] = '\0';
    for (size_t n = len; n; n >>= 4)
        hex[--at] = "0123456789abcdef"[n & 15];
    line[0] = '\0';
    init_puts(init_puts(line, sizeof(line), hex + at), sizeof(line), "\r\n");
    if (c->pre_at == c->pre_len)
        c->pre_at = c->pre_len = 0;
    memcpy(c->pre + c->pre_len, line, strlen(line));
    c->pre_len += strlen(line);
    c->post = "\r\n";
}

void stdio_answer_begin(struct stdio *s, struct stdio_conn *c)
{
    char type[TYPE_MAX];

    c->begun = true;
    c->chunked = !c->req.http10;
    head_begin(c, 200, type_of(s, c, type));
    if (c->chunked)
        put_field(c, "Transfer-Encoding: ", "chunked");
    /* Whether the whole body will have come by then is not known yet: at the end the connection is closed without having said so, which a client that still sends expects of an early answer. */
    if (c->close)
        put_field(c, "Connection: ", "close");
    put(c, "\r\n");
    c->pre_at = 0;
    c->pre_len = strlen(c->pre);
}

static const char *killed_text(const struct stdio_conn *c, int *ret_status)
{
    *ret_status = 500;
    switch (c->end) {
    case STDIO_END_TIMEOUT:
        *ret_status = 408;
        return "Killed: the function took longer than it may (exec_timeout).\n";
    case STDIO_END_SLOW_BODY:
        *ret_status = 408;
        return "Killed: the request took longer than it may (read_timeout).\n";
    case STDIO_END_LARGE:
        return "The function's output is larger than a quarter of its memory, which mode = serializing cannot hold: use streaming, or raise [limits] memory.\n";
    case STDIO_END_BROKEN:
        *ret_status = 400;
        return "The request's body is broken.\n";
    default:
        return "Killed.\n";
    }
}

/* The last of an answer that is under way. An answer that is not whole must not look as if it were: without a last chunk the gateway passes the break on. */
static void end_begun(struct stdio *s, struct stdio_conn *c)
{
    const bool failed = c->end != STDIO_END_NONE || (s->set.mode == WATCHDOG_CLASSIC && c->status != 0);

    c->state = STDIO_REPLY;
    c->close |= failed || !c->body.done || !c->chunked;
    c->out_at = c->out_len = c->post_at = 0;
    c->post = c->chunked && !failed ? "0\r\n\r\n" : NULL;
    stdio_answer_flush(s, c);
}

void stdio_answer_result(struct stdio *s, struct stdio_conn *c)
{
    char type[TYPE_MAX], result[64], seconds[32] = "";
    int status;

    if (c->begun) {
        end_begun(s, c);
        return;
    }
    if (c->end != STDIO_END_NONE) {
        const char *text = killed_text(c, &status);

        stdio_answer(s, c, status, text);
        return;
    }
    c->state = STDIO_REPLY;
    stdio_put_result(result, sizeof(result), c);
    if (*result)
        init_puts(result, sizeof(result), "\n");
    head_begin(c, *result ? 500 : 200, *result ? TEXT_TYPE : type_of(s, c, type));
    put_field(c, "X-Duration-Seconds: ", stdio_put_seconds(seconds, sizeof(seconds), s->now_ns - c->since_ns));
    put_length(c, strlen(result) + c->spooled + c->out_len);
    head_end(c);
    put(c, result);
    c->pre_len = strlen(c->pre);
    c->out_at = c->post_at = 0;
    c->post = NULL;
    stdio_answer_flush(s, c);
}

/* ---- on its way ---- */

bool stdio_answer_pending(const struct stdio_conn *c)
{
    if (!c->begun && c->state != STDIO_REPLY)
        return false; /* what is in `out` is held back */
    return c->pre_at < c->pre_len || c->out_at < c->out_len || (c->post && c->post[c->post_at]);
}

static size_t step(size_t *at, size_t end, size_t n)
{
    const size_t used = end - *at < n ? end - *at : n;

    *at += used;
    return n - used;
}

/* What was put aside comes before what is in `out`: then that is empty, because it was put aside too. */
static bool next_spooled(struct stdio_conn *c)
{
    ssize_t n;

    if (c->state != STDIO_REPLY || c->spool_at >= c->spooled)
        return false;
    n = pread(c->spool_fd, c->out, sizeof(c->out), (off_t)c->spool_at);
    if (n <= 0)
        return false;
    c->spool_at += (uint64_t)n;
    c->out_at = 0;
    c->out_len = (size_t)n;
    return true;
}

static bool write_some(struct stdio_conn *c)
{
    const size_t post_len = c->post ? strlen(c->post) : 0;
    const struct iovec v[] = {
        {c->pre + c->pre_at, c->pre_len - c->pre_at},
        {c->out + c->out_at, c->out_len - c->out_at},
        {(char *)(c->post ? c->post + c->post_at : ""), post_len - c->post_at},
    };
    ssize_t n = writev(c->fd, v, 3);
    size_t rest;

    if (n < 0)
        return false;
    rest = step(&c->pre_at, c->pre_len, (size_t)n);
    rest = step(&c->out_at, c->out_len, rest);
    step(&c->post_at, post_len, rest);
    return true;
}

void stdio_answer_flush(struct stdio *s, struct stdio_conn *c)
{
    if (c->fd < 0)
        return;
    while (stdio_answer_pending(c) || next_spooled(c)) {
        if (write_some(c))
            continue;
        if (errno != EAGAIN && errno != EINTR)
            stdio_conn_close(s, c);
        return;
    }
    if (c->begun && c->state == STDIO_RUN) { /* ready for the next piece */
        c->pre_at = c->pre_len = c->out_at = c->out_len = 0;
        return;
    }
    if (c->state == STDIO_REPLY)
        stdio_conn_over(s, c);
}
