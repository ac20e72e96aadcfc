/* error_page.c: the errors that people see (DESIGN section 7), and the names of statuses. */
#include "route.h"

#include "str.h"

#include <string.h>

struct status_row {
    unsigned status;
    const char *text;
};

static const struct status_row statuses[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *status_text(unsigned status)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i].status == status)
            return statuses[i].text;
    return "Unknown";
}

/* A JSON string; bytes above 0x7f that are no UTF-8 would break the document, so they all become '?': our messages are ASCII. */
static void put_json(struct strbuf *out, const char *s)
{
    strbuf_puts(out, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            strbuf_printf(out, "\\%c", c);
        else if (c < 0x20)
            strbuf_printf(out, "\\u%04x", c);
        else
            strbuf_printf(out, "%c", c < 0x7f ? c : '?');
    }
    strbuf_puts(out, "\"");
}

void error_page(struct strbuf *out, bool json, const char *code, const char *message, const char *function)
{
    if (!json) {
        if (function)
            strbuf_printf(out, "%s: ", function);
        strbuf_printf(out, "%s\n", message);
        return;
    }
    strbuf_puts(out, "{\"error\": ");
    put_json(out, code);
    strbuf_puts(out, ", \"message\": ");
    put_json(out, message);
    strbuf_puts(out, ", \"function\": ");
    if (function)
        put_json(out, function);
    else
        strbuf_puts(out, "null");
    strbuf_puts(out, "}\n");
}
