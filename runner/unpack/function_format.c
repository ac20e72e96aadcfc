/*
 * function_format.c: values of function.ini from a spec, as its parsers (http_keys.c, network_keys.c, ...) read them: for an exported function, which is to be the same where it is imported. What is not said stays empty.
 */
#include "function_format.h"

#include "allow.h"
#include "clock.h"
#include "spec.h"
#include "str.h"

#include <arpa/inet.h>
#include <string.h>

static void add_word(struct strbuf *out, const char *word)
{
    if (out->len > 0)
        strbuf_puts(out, " ");
    strbuf_puts(out, word);
}

void function_format_mode(const struct spec *s, struct strbuf *out)
{
    if (s->mode == SPEC_MODE_STDIO)
        strbuf_puts(out, "stdio");
}

void function_format_access(const struct spec *s, struct strbuf *out)
{
    if (s->http.is_private)
        strbuf_puts(out, "private");
}

void function_format_egress(const struct spec *s, struct strbuf *out)
{
    static const char *const words[SPEC_EGRESS_COUNT] = {[SPEC_EGRESS_NO] = "no", [SPEC_EGRESS_INTERNET] = "", [SPEC_EGRESS_LAN] = "lan", [SPEC_EGRESS_LIST] = ""};

    strbuf_puts(out, words[s->egress]);
    for (uint32_t i = 0; s->egress == SPEC_EGRESS_LIST && i < s->ndests; i++) {
        const struct spec_dest *dest = &s->dests[i];

        add_word(out, "");
        strbuf_printf(out, strchr(dest->host, ':') ? "[%s]:%u" : "%s:%u", dest->host, dest->port);
    }
}

void function_format_services(const struct spec *s, struct strbuf *out)
{
    for (uint32_t i = 0; i < s->nservices; i++) {
        const struct in_addr addr = {s->services[i].addr};
        char text[INET_ADDRSTRLEN] = "";

        inet_ntop(AF_INET, &addr, text, sizeof(text));
        add_word(out, s->services[i].name);
        strbuf_printf(out, "=%s:%u", text, s->services[i].port);
    }
}

void function_format_hosts(const struct spec *s, struct strbuf *out)
{
    for (uint32_t i = 0; i < s->http.nhosts; i++)
        add_word(out, s->http.hosts[i]);
}

/* GET stands for HEAD too. */
static void add_methods(struct strbuf *out, uint32_t methods)
{
    for (unsigned m = 0; m < SPEC_METHOD_COUNT; m++)
        if (methods & 1U << m && !(m == SPEC_METHOD_HEAD && methods & 1U << SPEC_METHOD_GET))
            add_word(out, spec_method_name(m));
}

void function_format_paths(const struct spec *s, struct strbuf *out)
{
    for (uint32_t i = 0; i < s->http.npaths; i++) {
        if (s->http.paths[i].methods != SPEC_METHODS_ALL)
            add_methods(out, s->http.paths[i].methods);
        add_word(out, s->http.paths[i].path);
    }
}

void function_format_cors(const struct spec *s, struct strbuf *out)
{
    if (s->http.cors_any)
        strbuf_puts(out, "*");
    for (uint32_t i = 0; i < s->http.norigins; i++)
        add_word(out, s->http.origins[i]);
}

void function_format_cors_methods(const struct spec *s, struct strbuf *out)
{
    for (unsigned m = 0; m < SPEC_METHOD_COUNT; m++) /* here each stands for itself */
        if (s->http.cors_methods & 1U << m)
            add_word(out, spec_method_name(m));
}

void function_format_cors_headers(const struct spec *s, struct strbuf *out)
{
    strbuf_puts(out, s->http.cors_headers);
}

/* The largest unit's smallest number that makes this interval again. */
static void add_rate(const struct spec_rate *rate, struct strbuf *out)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"s", NS_PER_SEC}, {"m", 60 * NS_PER_SEC}, {"h", 3600 * NS_PER_SEC}, {"d", 86400 * NS_PER_SEC}};

    for (size_t i = 0; rate->interval_ns && i < sizeof(units) / sizeof(units[0]); i++) {
        uint64_t n = units[i].ns / rate->interval_ns;

        if (n == 0 || n > 1000000 || units[i].ns / n != rate->interval_ns)
            continue;
        strbuf_printf(out, "%llu/%s burst %llu", (unsigned long long)n, units[i].name, (unsigned long long)rate->burst);
        return;
    }
}

void function_format_rate(const struct spec *s, struct strbuf *out)
{
    add_rate(&s->http.rate, out);
}

void function_format_rate_client(const struct spec *s, struct strbuf *out)
{
    add_rate(&s->http.rate_client, out);
}

void function_format_secrets(const struct spec *s, struct strbuf *out)
{
    for (uint32_t i = 0; i < s->nsecrets; i++)
        add_word(out, s->secrets[i]);
}

void function_format_allow(const struct spec *s, struct strbuf *out)
{
    sandbox_allow_format(s->allow, out);
}

void function_format_devices(const struct spec *s, struct strbuf *out)
{
    for (uint32_t i = 0; i < s->ndevices; i++)
        add_word(out, s->devices[i].path);
}

/* ---- numbers ---- */

void function_format_size(uint64_t bytes, struct strbuf *out)
{
    static const char units[] = "KMG";
    unsigned unit = 0;

    while (bytes > 0 && bytes % 1024 == 0 && unit < 3) {
        bytes /= 1024;
        unit++;
    }
    strbuf_printf(out, "%llu", (unsigned long long)bytes);
    if (unit > 0)
        strbuf_add(out, &units[unit - 1], 1);
}

void function_format_duration(uint64_t ns, struct strbuf *out)
{
    if (ns % NS_PER_SEC == 0)
        strbuf_printf(out, "%llus", (unsigned long long)(ns / NS_PER_SEC));
    else if (ns % NS_PER_MS == 0)
        strbuf_printf(out, "%llums", (unsigned long long)(ns / NS_PER_MS));
    else
        strbuf_printf(out, "%llu.%06llums", (unsigned long long)(ns / NS_PER_MS), (unsigned long long)(ns % NS_PER_MS));
}
