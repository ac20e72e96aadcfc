/*
 * api_logs.c: GET /functions/FN/logs, and the last lines of a log for GET /functions/FN.
 *
 * A stream reads one or more ring logs ("readers"), whose descriptors come from the runner one after the other. A reader ends when its instance is gone
 * and all is read, or, without `follow`, where the log ended when it was opened: a function that writes faster than the client reads would otherwise
 * never let it go.
 *
 * One reader: the bytes as they are, half lines too, so that a progress bar moves. From the second one on, whole lines with the instance in front; the
 * half line of a reader waits until it is complete, is too long, or its instance ends. NULs vanish, everything else is passed through. Once more than
 * one instance was read, the prefix stays.
 *
 * Rings are polled: there is nothing to be woken by, and nobody pays for it but who follows. A tick reads a bounded piece of each ring, in turn; it
 * stops when the client is slow, and on_drain takes up from there. The exchange may report its end while it is written to, so a tick marks the stream
 * busy and looks afterwards.
 */
#include "api_private.h"

#include "clock.h"
#include "diag.h"
#include "fd.h"
#include "ringlog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_DEFAULT 100
#define LINES_MAX     100000
#define READERS_MAX   256U
#define PIECE_BYTES   16384U
#define HELD_MAX      8192U /* a longer line is broken */
#define POLL_MIN_NS   (10 * NS_PER_MS)
#define POLL_MAX_NS   (100 * NS_PER_MS)
#define LAST_BYTES    65536U

struct log_reader {
    struct log_reader *next;
    char name[NAME_INSTANCE_MAX + 1]; /* empty: the newest that died */
    int fd;
    bool asked, over;
    bool late;          /* started after the stream: read from its beginning */
    uint64_t pos, end;  /* end: what was there when it was opened */
    struct strbuf held; /* a line that is not complete */
    struct log_notes notes;
};

struct log_stream {
    struct api_call *call;
    struct log_reader *readers, *opening;
    unsigned nreaders, opened;
    unsigned lines;
    bool follow, single; /* single: one instance was asked for */
    bool begun, full, prefix, mid_line;
    bool busy, dead;
    uint64_t delay_ns;
    struct timer timer;
};

static void open_next(struct log_stream *s);

/* ---- readers ---- */

static struct log_reader *reader_add(struct log_stream *s, const char *name)
{
    struct log_reader **at = &s->readers, *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->fd = -1;
    r->late = s->begun;
    str_copy(r->name, sizeof(r->name), name);
    while (*at)
        at = &(*at)->next;
    *at = r;
    s->nreaders++;
    return r;
}

static void reader_remove(struct log_stream *s, struct log_reader *r)
{
    struct log_reader **at = &s->readers;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    s->nreaders--;
    if (s->opening == r)
        s->opening = NULL;
    fd_close(r->fd);
    strbuf_done(&r->held);
    free(r);
}

static bool stream_has(const struct log_stream *s, const char *name)
{
    for (const struct log_reader *r = s->readers; r; r = r->next)
        if (strcmp(r->name, name) == 0)
            return true;
    return false;
}

static struct gw_function *stream_function(const struct log_stream *s)
{
    return picture_function(worker_picture(s->call->worker), &s->call->id);
}

static bool instance_lives(const struct log_stream *s, const char *name)
{
    const struct gw_function *f = stream_function(s);

    for (const struct gw_instance *i = f ? f->instances : NULL; i; i = i->next)
        if (strcmp(i->rec.name, name) == 0)
            return i->rec.state != INSTANCE_GONE;
    return false;
}

/* Readers for instances that have none. */
static void add_instances(struct log_stream *s)
{
    const struct gw_function *f = stream_function(s);

    for (const struct gw_instance *i = f ? f->instances : NULL; i && s->nreaders < READERS_MAX; i = i->next)
        if (i->rec.state >= INSTANCE_STARTING && i->rec.state < INSTANCE_GONE && !stream_has(s, i->rec.name))
            reader_add(s, i->rec.name);
}

/* ---- output ---- */

static void put(struct log_stream *s, const void *data, size_t len)
{
    if (len > 0 && !s->dead && !exchange_write(s->call->ex, data, len))
        s->full = true;
}

static void add_line(struct strbuf *out, const struct log_reader *r, const char *line, size_t len)
{
    strbuf_puts(out, *r->name ? r->name : "-");
    strbuf_puts(out, " | ");
    strbuf_add(out, line, len);
    strbuf_puts(out, "\n");
}

static void add_held(struct strbuf *out, struct log_reader *r)
{
    if (r->held.len > 0)
        add_line(out, r, r->held.data, r->held.len);
    strbuf_done(&r->held);
}

/* Whole lines with the prefix; what is behind the last line feed is held. */
static void put_lines(struct log_stream *s, struct log_reader *r, const char *data, size_t len)
{
    cleanup_strbuf struct strbuf out = {0};

    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;

        strbuf_add(&r->held, data, n);
        if (end && r->held.len == 0)
            add_line(&out, r, "", 0);
        else if (end || r->held.len > HELD_MAX || r->held.failed)
            add_held(&out, r);
        n += end != NULL;
        data += n;
        len -= n;
    }
    put(s, out.data, out.len);
}

static void emit(struct log_stream *s, struct log_reader *r, char *data, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        if (data[i])
            data[n++] = data[i];
    if (n == 0)
        return;
    if (s->prefix) {
        put_lines(s, r, data, n);
    } else {
        s->mid_line = data[n - 1] != '\n';
        put(s, data, n);
    }
}

/* A line of ours, told from the function's by its brackets. */
static void note(struct log_stream *s, struct log_reader *r, const char *text)
{
    cleanup_strbuf struct strbuf out = {0};

    if (s->prefix)
        add_held(&out, r);
    else if (s->mid_line)
        strbuf_puts(&out, "\n");
    s->mid_line = false;
    if (s->prefix)
        add_line(&out, r, text, strlen(text));
    else
        strbuf_printf(&out, "%s\n", text);
    put(s, out.data, out.len);
}

/* ---- reading ---- */

static void reader_lost(struct log_stream *s, struct log_reader *r, uint64_t lost)
{
    char text[96];

    snprintf(text, sizeof(text), "[fnd: %llu bytes were overwritten before they were read]", (unsigned long long)lost);
    note(s, r, text);
}

static void reader_end(struct log_stream *s, struct log_reader *r)
{
    cleanup_strbuf struct strbuf out = {0};
    const char *text;
    size_t none = 0;

    while ((text = log_notes_next(&r->notes, r->fd, r->pos, true, &none)))
        note(s, r, text);
    r->over = true;
    if (s->prefix)
        add_held(&out, r);
    put(s, out.data, out.len);
}

/* One piece. Returns whether there was anything. */
static bool reader_pump(struct log_stream *s, struct log_reader *r)
{
    /* Asked before the ring is: the last words of an instance are there before it is gone. */
    bool lives = s->follow && (!worker_picture(s->call->worker)->synced || instance_lives(s, r->name));
    size_t want = PIECE_BYTES;
    char buf[PIECE_BYTES];
    const char *text;
    uint64_t lost = 0;
    int64_t n = 0;

    if (!s->follow && (r->pos >= r->end || r->end - r->pos < want))
        want = r->pos >= r->end ? 0 : r->end - r->pos;
    while ((text = log_notes_next(&r->notes, r->fd, r->pos, false, &want)))
        note(s, r, text);
    if (want > 0)
        n = ringlog_read(r->fd, &r->pos, buf, want, &lost);
    if (n < 0 || (size_t)n > want) {
        note(s, r, "[fnd: the log cannot be read]");
        reader_end(s, r);
        return true;
    }
    if (lost > 0)
        reader_lost(s, r, lost);
    if (n > 0)
        emit(s, r, buf, (size_t)n);
    else if (!lives)
        reader_end(s, r);
    return n > 0;
}

/* Each reader once, unless the client is slow; who was first is last the next time. */
static bool pump_all(struct log_stream *s)
{
    unsigned n = s->nreaders;
    bool progress = false;

    while (n-- > 0 && s->readers && !s->full && !s->dead) {
        struct log_reader *r = s->readers, **at = &s->readers;

        *at = r->next;
        while (*at)
            at = &(*at)->next;
        *at = r;
        r->next = NULL;
        if (r->fd >= 0 && !r->over)
            progress |= reader_pump(s, r);
    }
    return progress;
}

/* Readers that are through; one whose log cannot be read stays as long as its instance, or it would be asked for again and again. */
static void reap(struct log_stream *s)
{
    for (struct log_reader *r = s->readers, *next; r; r = next) {
        next = r->next;
        if (r->over && (!s->follow || !instance_lives(s, r->name)))
            reader_remove(s, r);
    }
}

static void stream_finish(struct log_stream *s)
{
    struct exchange *ex = s->call->ex;

    api_call_free(s->call);
    exchange_end(ex);
}

static bool stream_is_over(const struct log_stream *s)
{
    if (s->nreaders > 0)
        return false;
    return !s->follow || s->single || (worker_picture(s->call->worker)->synced && !stream_function(s));
}

static void tick(struct log_stream *s)
{
    bool progress;

    s->busy = true;
    progress = pump_all(s);
    s->busy = false;
    if (s->dead) {
        api_call_free(s->call);
        return;
    }
    reap(s);
    if (stream_is_over(s)) {
        stream_finish(s);
        return;
    }
    s->delay_ns = progress ? 0 : s->delay_ns ? s->delay_ns * 2 : POLL_MIN_NS;
    if (s->delay_ns > POLL_MAX_NS)
        s->delay_ns = POLL_MAX_NS;
    if (!s->full && loop_arm_in(worker_loop(s->call->worker), &s->timer, s->delay_ns) < 0)
        stream_finish(s);
}

static void on_timer(struct timer *t)
{
    struct log_stream *s = t->owner;

    if (s->follow && !s->single && worker_picture(s->call->worker)->synced)
        add_instances(s);
    open_next(s);
}

static void logs_drain(struct exchange *ex, void *arg)
{
    struct log_stream *s = ((struct api_call *)arg)->state;

    if (!s->full)
        return;
    s->full = false;
    if (!s->busy && loop_arm_in(worker_loop(s->call->worker), &s->timer, 0) < 0)
        stream_finish(s);
}

static void logs_abort(struct exchange *ex, void *arg)
{
    struct log_stream *s = ((struct api_call *)arg)->state;

    s->dead = true;
    if (!s->busy)
        api_call_free(s->call);
}

/* ---- opening ---- */

static int reader_opened(struct log_stream *s, struct log_reader *r, int fd)
{
    struct ringlog_head head;
    int e = ringlog_read_head(fd, &head);

    r->fd = fd; /* the reader's from now on, whatever comes */
    if (e == 0) {
        r->end = head.written;
        if (!r->late)
            e = ringlog_seek_lines(fd, s->lines, &r->pos);
        log_notes_begin(&r->notes, fd, r->pos, s->lines == 0 && !r->late);
    }
    if (e < 0)
        return e;
    s->opened++;
    if (s->opened > 1 && !s->prefix) {
        s->prefix = true;
        if (s->mid_line)
            put(s, "\n", 1);
        s->mid_line = false;
    }
    return 0;
}

/*
 * A log that cannot be opened ends a call that has not begun to answer, but for an instance that went in the meantime; otherwise the others go on.
 * Returns false when the call is gone.
 */
static bool reader_refused(struct log_stream *s, struct log_reader *r, const struct diag *d)
{
    r->over = true;
    if (!s->begun && (s->single || d->err != ENOENT)) {
        api_fail(s->call, d);
        return false;
    }
    /* Without the runner it is tried again as long as the instance is in the picture. */
    if (d->err == ECONNRESET || d->err == ENOTCONN || !s->begun)
        reader_remove(s, r);
    return true;
}

static void on_log(void *arg, const struct record_head *rec, int fd)
{
    struct api_call *c = arg;
    struct log_stream *s = c->state;
    struct log_reader *r = s->opening;
    struct diag d;

    if (rec->type != RECORD_REPLY)
        return;
    d = ((const struct record_reply *)rec)->diag;
    c->link_id = 0;
    s->opening = NULL;
    if (d.err == 0 && fd < 0)
        diag_set(&d, EIO, "the runner sent no log");
    if (d.err == 0) {
        int e;

        s->busy = true;
        e = reader_opened(s, r, fd);
        s->busy = false;
        if (s->dead) {
            api_call_free(c);
            return;
        }
        if (e < 0)
            diag_errno(&d, -e, "the log of %s cannot be read", *r->name ? r->name : c->name);
    } else {
        fd_close(fd);
    }
    if (d.err == 0 || reader_refused(s, r, &d))
        open_next(s);
}

/* All are open: the answer begins. */
static void stream_begin(struct log_stream *s)
{
    s->begun = true;
    exchange_begin(s->call->ex, 200, "text/plain; charset=utf-8");
    if (s->nreaders >= READERS_MAX) {
        static const char text[] = "[fnd: the logs of some instances only: there are too many]\n";

        put(s, text, sizeof(text) - 1);
    }
}

/* Opens the next reader, or goes on when there is none. The call may be gone afterwards. */
static void open_next(struct log_stream *s)
{
    struct record_target rec = {.head = RECORD_INIT(RECORD_LOG_OPEN, 0)};
    struct api_call *c = s->call;
    struct log_reader *r = s->readers;
    struct diag d = {0};
    int e;

    if (s->opening)
        return; /* its REPLY goes on from here */
    while (r && r->asked)
        r = r->next;
    if (!r) {
        if (!s->begun)
            stream_begin(s);
        tick(s);
        return;
    }
    rec.fn = c->id;
    memcpy(rec.instance, r->name, sizeof(rec.instance));
    r->asked = true;
    s->opening = r;
    e = link_request(worker_link(c->worker), &rec.head, -1, on_log, c, &c->link_id);
    if (e == 0)
        return;
    s->opening = NULL;
    diag_errno(&d, -e, "the runner cannot be asked for the log");
    if (reader_refused(s, r, &d))
        tick(s);
}

/* ---- the request ---- */

static void logs_free(struct api_call *c)
{
    struct log_stream *s = c->state;

    loop_disarm(&s->timer);
    while (s->readers)
        reader_remove(s, s->readers);
    free(s);
}

static int parse_params(struct log_stream *s, const struct query *q, const char **ret_instance, struct diag *d)
{
    const char *lines = query_get(q, "lines"), *follow = query_get(q, "follow"), *instance = query_get(q, "instance");
    uint64_t n = LINES_DEFAULT;

    if (lines && str_parse_uint(lines, LINES_MAX, &n) < 0)
        return diag_set(d, EINVAL, "lines=\"%.20s\" is not a number from 0 to %d", lines, LINES_MAX);
    if (follow && str_parse_bool(follow, &s->follow) < 0)
        return diag_set(d, EINVAL, "follow=\"%.20s\" is neither 1 nor 0", follow);
    if (instance && !name_instance_valid(instance))
        return diag_set(d, EINVAL, "instance=\"%.80s\" is not the name of an instance", instance);
    s->lines = (unsigned)n;
    *ret_instance = instance;
    return 0;
}

void api_logs(struct api_call *c)
{
    static const struct exchange_handler handler = {.on_drain = logs_drain, .on_abort = logs_abort};
    const struct gw_function *f = api_call_function(c);
    const char *instance = NULL;
    struct log_stream *s;
    struct diag d = {0};

    if (!f)
        return;
    c->id = f->rec.fn;
    s = calloc(1, sizeof(*s));
    if (!s) {
        api_fail_set(c, ENOMEM, "not enough memory");
        return;
    }
    *s = (struct log_stream){.call = c, .timer = {.on_expire = on_timer, .owner = s}};
    c->state = s;
    c->free_state = logs_free;
    if (parse_params(s, &c->query, &instance, &d) < 0) {
        api_fail(c, &d);
        return;
    }
    s->single = instance != NULL;
    s->follow &= strcmp(exchange_request(c->ex)->method, "HEAD") != 0; /* a head has an end */
    if (!instance)
        add_instances(s);
    if (!s->readers && !reader_add(s, instance ? instance : "")) {
        api_fail_set(c, ENOMEM, "not enough memory");
        return;
    }
    exchange_handle(c->ex, &handler, c);
    open_next(s);
}

/* ---- the last lines, for JSON ---- */

static int split_lines(const char *text, size_t len, json_t *list)
{
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) : len;

        if (json_array_append_new(list, api_json_text(text, n)) < 0)
            return -ENOMEM;
        n += end != NULL;
        text += n;
        len -= n;
    }
    return 0;
}

int api_last_lines(int fd, unsigned n, json_t **ret)
{
    cleanup_free char *text = malloc(LAST_BYTES);
    struct ringlog_head head;
    uint64_t pos = 0, lost;
    json_t *list;
    int64_t len;
    int r = text ? ringlog_read_head(fd, &head) : -ENOMEM;

    if (r == 0)
        r = ringlog_seek_lines(fd, n, &pos);
    if (r < 0)
        return r;
    if (head.written > LAST_BYTES && pos < head.written - LAST_BYTES)
        pos = head.written - LAST_BYTES; /* lines of a size that nobody reads: their end is what tells */
    len = ringlog_read(fd, &pos, text, LAST_BYTES, &lost);
    if (len < 0 || len > (int64_t)LAST_BYTES)
        return -EIO;
    list = json_array();
    if (!list || split_lines(text, (size_t)len, list) < 0) {
        json_decref(list);
        return -ENOMEM;
    }
    *ret = list;
    return 0;
}
