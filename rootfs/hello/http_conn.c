/* http_conn.c: HTTP/1.1 of one connection, from buffer to buffer: strict about where a request ends, because the next one begins there. It knows no sockets. */
#include "http_conn.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#define HEAD_ROOM 2048      /* an answer is begun when so much of `out` is free: head and page fit */
#define DRAIN_MAX (1 << 20) /* bytes read from a client after an error, so that it can read the answer before the connection is reset */

/* ---- output ---- */

static size_t out_room(const struct conn *c)
{
    return OUT_SIZE - c->out_end;
}

static void put(struct conn *c, const char *data, size_t len)
{
    memcpy(c->out + c->out_end, data, len);
    c->out_end += len;
}

static void put_text(struct conn *c, const char *text)
{
    put(c, text, strlen(text));
}

static void put_number(struct conn *c, uint64_t n, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits);

    do
        digits[--at] = "0123456789abcdef"[n % base];
    while (n /= base);
    put(c, digits + at, sizeof(digits) - at);
}

/* ---- answers ---- */

static void put_head(struct conn *c, const char *status, const char *type)
{
    put_text(c, "HTTP/1.1 ");
    put_text(c, status);
    if (type) {
        put_text(c, "\r\nContent-Type: ");
        put_text(c, type);
    }
    if (c->close)
        put_text(c, "\r\nConnection: close");
    else if (c->http10)
        put_text(c, "\r\nConnection: keep-alive");
}

static void put_length(struct conn *c, uint64_t length)
{
    put_text(c, "\r\nContent-Length: ");
    put_number(c, length, 10);
    put_text(c, "\r\n\r\n");
}

void http_answer(struct conn *c, const char *status, const char *text)
{
    put_head(c, status, "text/plain; charset=utf-8");
    put_length(c, strlen(text));
    if (!c->no_body)
        put_text(c, text);
}

/* For a request that cannot be understood: where the next one begins is not known, so the connection ends. */
static void refuse(struct conn *c, const char *status, const char *text)
{
    c->close = true;
    http_answer(c, status, text);
    c->left = DRAIN_MAX;
    c->state = DRAIN;
}

void http_echo(struct conn *c)
{
    put_head(c, "200 OK", "application/octet-stream");
    if (c->chunked && !c->http10)
        put_text(c, "\r\nTransfer-Encoding: chunked\r\n\r\n");
    else
        put_length(c, c->left);
    c->echo = !c->no_body;
}

void http_stream(struct conn *c, uint64_t length, http_more_fn *more)
{
    put_head(c, "200 OK", "text/plain; charset=utf-8");
    put_length(c, length);
    if (c->no_body)
        return;
    c->more = more;
    c->more_left = length;
    c->position = (struct http_position){0};
    c->state = STREAM;
}

size_t http_put(struct conn *c, const char *data, size_t len)
{
    size_t n = len < out_room(c) ? len : out_room(c);

    if (n > c->more_left)
        n = (size_t)c->more_left;
    put(c, data, n);
    c->more_left -= n;
    return n;
}

void http_head(struct conn *c, const char *status, const char *type, const char *more, uint64_t length)
{
    put_head(c, status, type);
    if (more && *more) {
        put_text(c, "\r\n");
        put(c, more, strlen(more) - 2);
    }
    if (length == HTTP_NO_LENGTH)
        put_text(c, "\r\n\r\n");
    else
        put_length(c, length);
}

void http_file(struct conn *c, int fd, uint64_t at, uint64_t length)
{
    if (c->no_body) {
        close(fd);
        return;
    }
    c->file_fd = fd;
    c->file_at = (off_t)at;
    c->file_left = length;
    c->state = SENDFILE;
}

struct http_position *http_position(struct conn *c)
{
    return &c->position;
}

/* The body was promised with its length: one that ends early ends the connection. */
static bool step_stream(struct conn *c)
{
    if (c->more_left == 0) {
        c->state = BODY;
        return true;
    }
    if (out_room(c) == 0)
        return false;
    if (!c->more(c) && out_room(c) > 0 && c->more_left > 0) {
        c->state = CLOSING;
        return true;
    }
    return true;
}

static bool step_file(struct conn *c)
{
    if (c->file_left > 0)
        return false;
    close(c->file_fd);
    c->state = BODY;
    return true;
}

/* ---- the request's head ---- */

bool http_is(const char *s, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

bool http_method_is(const struct conn *c, const char *method)
{
    size_t n = strlen(method);

    return c->head_len > n && memcmp(c->head, method, n) == 0 && c->head[n] == ' ';
}

/* The head was checked: each line has its CR LF, each but the first its colon. */
bool http_field(const struct conn *c, const char *name, const char **ret, size_t *ret_len)
{
    const char *end = c->head + c->head_len, *line = memchr(c->head, '\n', c->head_len);

    while (line && ++line < end) {
        const char *cr = memchr(line, '\r', (size_t)(end - line)), *colon = memchr(line, ':', (size_t)(cr - line));

        if (http_is(line, (size_t)(colon - line), name)) {
            for (colon++; colon < cr && (*colon == ' ' || *colon == '\t'); colon++)
                ;
            while (cr > colon && (cr[-1] == ' ' || cr[-1] == '\t'))
                cr--;
            *ret = colon;
            *ret_len = (size_t)(cr - colon);
            return true;
        }
        line = cr + 1;
    }
    return false;
}

static bool has_word(const char *list, size_t len, const char *word)
{
    for (const char *end = list + len; list < end;) {
        const char *comma = memchr(list, ',', (size_t)(end - list)), *stop = comma ? comma : end, *last = stop;

        while (list < last && (*list == ' ' || *list == '\t'))
            list++;
        while (last > list && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (http_is(list, (size_t)(last - list), word))
            return true;
        list = stop + 1;
    }
    return false;
}

static bool parse_length(const char *s, size_t len, uint64_t *ret)
{
    uint64_t n = 0;

    if (len == 0 || len > 18)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s[i] - '0');
    }
    *ret = n;
    return true;
}

/* One "Name: value". Returns NULL, or the status of a refusal. */
static const char *parse_field(struct conn *c, const char *line, size_t len, bool *has_length)
{
    const char *colon = memchr(line, ':', len), *value, *end = line + len;
    size_t name;

    if (!colon || colon == line || memchr(line, ' ', (size_t)(colon - line)) || memchr(line, '\t', (size_t)(colon - line)))
        return "400 Bad Request";
    name = (size_t)(colon - line);
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
        ;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    len = (size_t)(end - value);
    if (http_is(line, name, "Content-Length")) {
        if (*has_length || !parse_length(value, len, &c->left))
            return "400 Bad Request";
        *has_length = true;
    } else if (http_is(line, name, "Transfer-Encoding")) {
        if (c->chunked || !http_is(value, len, "chunked"))
            return "501 Not Implemented";
        c->chunked = true;
    } else if (http_is(line, name, "Connection")) {
        if (has_word(value, len, "close"))
            c->close = true;
        else if (c->http10 && has_word(value, len, "keep-alive"))
            c->close = false;
    } else if (http_is(line, name, "Expect")) {
        c->expects = http_is(value, len, "100-continue");
    }
    return NULL;
}

/* METHOD SP TARGET SP HTTP/1.x; the path without its query is what remains. */
static const char *parse_request_line(struct conn *c, const char *line, size_t len, const char **ret_path, size_t *ret_len)
{
    const char *end = line + len, *path = memchr(line, ' ', len), *version, *query;

    if (!path || path == line || *++path != '/')
        return "400 Bad Request";
    version = memchr(path, ' ', (size_t)(end - path));
    if (!version || end - version != 9 || memcmp(version, " HTTP/1.", 8) != 0 || (version[8] != '0' && version[8] != '1'))
        return "400 Bad Request";
    c->http10 = c->close = version[8] == '0';
    c->no_body = path - line == 5 && memcmp(line, "HEAD", 4) == 0;
    query = memchr(path, '?', (size_t)(version - path));
    *ret_path = path;
    *ret_len = (size_t)((query ? query : version) - path);
    return NULL;
}

static const char *parse_head(struct conn *c, const char *head, size_t len, const char **ret_path, size_t *ret_len)
{
    const char *end = head + len, *line = head, *status = NULL;
    bool has_length = false;

    c->http10 = c->close = c->no_body = c->echo = c->chunked = c->expects = false;
    c->chunk = SIZE_FIRST;
    c->left = 0;
    while (line < end && !status) {
        const char *cr = memchr(line, '\r', (size_t)(end - line));

        /* every line ends with CR LF: a lone CR or LF is how requests are smuggled */
        if (cr[1] != '\n' || memchr(line, '\n', (size_t)(cr - line)) || memchr(line, '\0', (size_t)(cr - line)))
            return "400 Bad Request";
        if (line == head)
            status = parse_request_line(c, line, (size_t)(cr - line), ret_path, ret_len);
        else
            status = parse_field(c, line, (size_t)(cr - line), &has_length);
        line = cr + 2;
    }
    if (!status && c->chunked && (has_length || c->http10))
        status = "400 Bad Request";
    return status;
}

static bool step_head(struct conn *c)
{
    const char *head, *blank, *path = NULL, *status;
    size_t len, path_len = 0;

    while (c->in_end - c->in_at >= 2 && memcmp(c->in + c->in_at, "\r\n", 2) == 0) /* RFC 9112 2.2 */
        c->in_at += 2;
    if (out_room(c) < HEAD_ROOM || c->in_at == c->in_end)
        return false;
    head = c->in + c->in_at;
    len = c->in_end - c->in_at;
    blank = memmem(head, len, "\r\n\r\n", 4);
    if (!blank) {
        if (len < IN_SIZE)
            return false;
        refuse(c, "431 Request Header Fields Too Large", "the request's head is too long\n");
        return true;
    }
    len = (size_t)(blank - head) + 2;
    c->in_at += len + 2;
    status = parse_head(c, head, len, &path, &path_len);
    if (http_stopping)
        c->close = true;
    if (status) {
        refuse(c, status, "this request is not understood\n");
        return true;
    }
    if (c->expects && !c->http10 && c->in_at == c->in_end && (c->chunked || c->left))
        put_text(c, "HTTP/1.1 100 Continue\r\n\r\n");
    c->state = BODY;
    c->head = head;
    c->head_len = len;
    http_handler(c, path, path_len);
    return true;
}

/* ---- the request's body ---- */

/* The framing around the chunks' data, byte by byte. False: this is no chunked body. */
static bool chunk_byte(struct conn *c, char byte)
{
    static const enum chunk after_cr[] = {[EXTENSION] = SIZE_LF, [TRAILER_FIRST] = LAST_LF, [TRAILER] = TRAILER_LF};
    const char *hex;

    switch (c->chunk) {
    case SIZE_FIRST:
    case SIZE:
        hex = byte ? strchr("0123456789abcdefABCDEF", byte) : NULL;
        if (hex) {
            unsigned digit = byte <= '9' ? (unsigned)(byte - '0') : (unsigned)((byte | 0x20) - 'a') + 10;

            if (c->left >> 58)
                return false;
            c->left = c->left * 16 + digit;
            c->chunk = SIZE;
            return true;
        }
        if (c->chunk == SIZE_FIRST || (byte != '\r' && byte != ';' && byte != ' ' && byte != '\t'))
            return false;
        c->chunk = byte == '\r' ? SIZE_LF : EXTENSION;
        return true;
    case EXTENSION:
    case TRAILER:
    case TRAILER_FIRST:
        if (byte == '\r')
            c->chunk = after_cr[c->chunk];
        else if (c->chunk == TRAILER_FIRST)
            c->chunk = TRAILER;
        return byte != '\n';
    case SIZE_LF:
        c->chunk = c->left ? DATA : TRAILER_FIRST;
        return byte == '\n';
    case DATA_CR:
        c->chunk = DATA_LF;
        return byte == '\r';
    case DATA_LF:
        c->chunk = SIZE_FIRST;
        return byte == '\n';
    case TRAILER_LF:
        c->chunk = TRAILER_FIRST;
        return byte == '\n';
    case LAST_LF:
        c->chunk = COMPLETE;
        return byte == '\n';
    default:
        return false;
    }
}

/* Takes as much of the data as there is and as the echo has room for. */
static bool take_data(struct conn *c)
{
    size_t n = c->in_end - c->in_at, frame = c->chunked ? 16 : 0; /* "ffff\r\n" ... "\r\n" */

    if (n > c->left)
        n = (size_t)c->left;
    if (c->echo) {
        size_t room = out_room(c) > frame ? out_room(c) - frame : 0;

        n = n < room ? n : room;
    }
    if (n == 0)
        return false;
    if (c->echo && c->chunked) {
        put_number(c, n, 16);
        put_text(c, "\r\n");
    }
    if (c->echo)
        put(c, c->in + c->in_at, n);
    if (c->echo && c->chunked)
        put_text(c, "\r\n");
    c->in_at += n;
    c->left -= n;
    return true;
}

static bool step_chunked(struct conn *c)
{
    if (c->chunk == DATA) {
        if (!take_data(c))
            return false;
        if (c->left == 0)
            c->chunk = DATA_CR;
        return true;
    }
    if (c->in_at == c->in_end)
        return false;
    if (!chunk_byte(c, c->in[c->in_at++])) {
        c->state = CLOSING; /* the answer has begun: all that can still be said is that it is not whole */
        c->out_at = c->out_end = 0;
    }
    return true;
}

static bool step_body(struct conn *c)
{
    if (c->chunked && c->chunk != COMPLETE)
        return step_chunked(c);
    if (!c->chunked && c->left)
        return take_data(c);
    if (c->chunked && c->echo) {
        if (out_room(c) < 5)
            return false;
        put_text(c, "0\r\n\r\n");
    }
    c->state = c->close ? CLOSING : HEAD;
    return true;
}

static bool step_drain(struct conn *c)
{
    size_t n = c->in_end - c->in_at;

    c->in_at = c->in_end;
    if (n >= c->left)
        c->state = CLOSING;
    else
        c->left -= n;
    return n > 0;
}

bool conn_step(struct conn *c)
{
    switch (c->state) {
    case HEAD:
        return step_head(c);
    case STREAM:
        return step_stream(c);
    case SENDFILE:
        return step_file(c);
    case BODY:
        return step_body(c);
    case DRAIN:
        return step_drain(c);
    default:
        return false;
    }
}
