/* dns_name.c: domain names on the wire and as text; see dns_message.h. The length bytes are below 64, so folding the case of the whole wire form touches letters alone. */
#include "dns_message.h"

#include <errno.h>
#include <string.h>

#define JUMPS_MAX 32U /* pointers in one name; real ones have one or two */

static uint8_t fold(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* A pointer must go to before the place where the part that it ends began: each jump gets nearer to the front, so there is no loop. */
int dns_name_read(const uint8_t *msg, size_t len, size_t *at, struct dns_name *ret)
{
    size_t pos = *at, start = *at, end = 0;
    unsigned n = 0, jumps = 0;

    for (;;) {
        unsigned c;

        if (pos >= len)
            return -EBADMSG;
        c = msg[pos];
        if (c >= 0xc0) {
            size_t target;

            if (pos + 1 >= len || ++jumps > JUMPS_MAX)
                return -EBADMSG;
            target = (size_t)(c & 0x3f) << 8 | msg[pos + 1];
            if (target >= start || target < DNS_HEAD)
                return -EBADMSG;
            if (!end)
                end = pos + 2;
            pos = start = target;
            continue;
        }
        if (c > 63 || n + 1 + c > DNS_NAME_MAX || len - pos < 1 + (size_t)c)
            return -EBADMSG;
        memcpy(ret->wire + n, msg + pos, 1 + c);
        n += 1 + c;
        pos += 1 + c;
        if (c == 0)
            break;
    }
    ret->len = (uint16_t)n;
    *at = end ? end : pos;
    return 0;
}

static bool equal_bytes(const uint8_t *a, const uint8_t *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (fold(a[i]) != fold(b[i]))
            return false;
    return true;
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
    return a->len == b->len && equal_bytes(a->wire, b->wire, a->len);
}

bool dns_name_within(const struct dns_name *name, const uint8_t *zone, size_t zone_len)
{
    size_t at = 0;

    while (at < name->len && name->len - at > zone_len)
        at += 1 + (size_t)name->wire[at];
    return at < name->len && name->len - at == zone_len && equal_bytes(name->wire + at, zone, zone_len);
}

uint32_t dns_name_hash(const struct dns_name *name)
{
    uint32_t h = 2166136261U;

    for (unsigned i = 0; i < name->len; i++)
        h = (h ^ fold(name->wire[i])) * 16777619U;
    return h;
}

static bool is_host_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

int dns_name_text(const struct dns_name *name, char ret[DNS_NAME_MAX + 1])
{
    size_t n = 0;

    for (unsigned at = 0; name->wire[at]; at += 1U + name->wire[at]) {
        if (n)
            ret[n++] = '.';
        for (unsigned i = 1; i <= name->wire[at]; i++) {
            uint8_t c = fold(name->wire[at + i]);

            if (!is_host_byte(c))
                return -EINVAL;
            ret[n++] = (char)c;
        }
    }
    ret[n] = '\0';
    return 0;
}

int dns_name_parse(const char *text, struct dns_name *ret)
{
    unsigned n = 0;

    while (*text) {
        size_t len = strcspn(text, ".");

        if (len == 0 || len > 63 || n + 1 + len + 1 > DNS_NAME_MAX)
            return -EINVAL;
        ret->wire[n++] = (uint8_t)len;
        memcpy(ret->wire + n, text, len);
        n += (unsigned)len;
        text += len;
        text += *text == '.';
    }
    ret->wire[n++] = 0;
    ret->len = (uint16_t)n;
    return 0;
}
