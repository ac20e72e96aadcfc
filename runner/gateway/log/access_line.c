/*
 * access_line.c: the lines of the access log. A value from outside can neither end its line nor its quotes: in text, what is no plain character becomes \xHH; in JSON \u00HH (bytes above 0x7f too, so that every line is
 * valid whatever the client sent).
 */
#include "access_log.h"

#include "clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define VALUE_MAX 1024U /* of one value; longer ones end with "..." */

static void put_escaped(struct strbuf *out, enum access_form form, const char *s, size_t len)
{
    size_t from = 0, most = len > VALUE_MAX ? VALUE_MAX : len;

    for (size_t i = 0; i < most; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            continue;
        strbuf_add(out, s + from, i - from);
        strbuf_printf(out, form == ACCESS_JSON ? "\\u%04x" : "\\x%02x", c);
        from = i + 1;
    }
    strbuf_add(out, s + from, most - from);
    if (most < len)
        strbuf_puts(out, "...");
}

/* Keys in the order in which they come; the first of a line is the time. */
static void put_text(struct strbuf *out, enum access_form form, const char *key, const char *s, size_t len)
{
    if (len == 0)
        return;
    strbuf_printf(out, form == ACCESS_JSON ? ",\"%s\":\"" : " %s=\"", key);
    put_escaped(out, form, s, len);
    strbuf_puts(out, "\"");
}

static void put_number(struct strbuf *out, enum access_form form, const char *key, uint64_t n)
{
    strbuf_printf(out, form == ACCESS_JSON ? ",\"%s\":%" PRIu64 : " %s=%" PRIu64, key, n);
}

void access_line_middle(struct strbuf *out, enum access_form form, const struct access_request *rq)
{
    put_text(out, form, "client", rq->client, rq->client_len);
    put_text(out, form, "method", rq->method, rq->method_len);
    put_text(out, form, "host", rq->host, rq->host_len);
    put_text(out, form, "target", rq->target, rq->target_len);
    put_text(out, form, "protocol", rq->protocol, rq->protocol_len);
    put_text(out, form, "request_id", rq->request_id, rq->request_id_len);
    put_text(out, form, "user_agent", rq->user_agent, rq->user_agent_len);
    put_text(out, form, "referer", rq->referer, rq->referer_len);
}

static void put_time(struct strbuf *out, enum access_form form, uint64_t real_ns)
{
    time_t seconds = (time_t)(real_ns / NS_PER_SEC);
    char text[32];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    strbuf_printf(out, form == ACCESS_JSON ? "{\"time\":\"%s.%03uZ\"" : "time=\"%s.%03uZ\"", text, (unsigned)(real_ns / NS_PER_MS % 1000));
}

void access_line(struct strbuf *out, enum access_form form, const char *middle, const struct access_end *e)
{
    put_time(out, form, e->real_ns);
    strbuf_puts(out, middle);
    if (e->function)
        put_text(out, form, "function", e->function, strlen(e->function));
    if (e->instance)
        put_text(out, form, "instance", e->instance, strlen(e->instance));
    put_number(out, form, "status", e->status);
    put_number(out, form, "request_bytes", e->request_bytes);
    put_number(out, form, "response_bytes", e->response_bytes);
    strbuf_printf(out, form == ACCESS_JSON ? ",\"duration_ms\":%.3f}\n" : " duration_ms=%.3f\n", (double)e->duration_ns / 1e6);
}
