/* proxy_header.c: see proxy_header.h. It comes from configured proxies only, and is held to its grammar all the same: what is read wrongly here gives a client another one's address. */
#include "proxy_header.h"

#include <errno.h>
#include <string.h>

#define V1_MAX      107U
#define V2_FIXED    16U
#define TLV_CRC32C  0x03
#define TLV_SSL     0x20
#define SSL_CLIENT  0x01 /* PP2_CLIENT_SSL */
#define SSL_MIN     5U
#define V2_LOCAL    0x20
#define V2_PROXY    0x21
#define FAMILY_NONE 0x00
#define FAMILY_TCP4 0x11
#define FAMILY_TCP6 0x21
#define FAMILY_UNIX 0x31

static const char v1_begin[] = "PROXY ";
static const char v2_begin[] = "\r\n\r\n\0\r\nQUIT\n";

/* ---- version 1 ---- */

/* The next word of a line, behind exactly one blank; NULL: none. */
static const char *next_word(const char **at, const char *end, size_t *ret_len)
{
    const char *word = *at, *blank = memchr(word, ' ', (size_t)(end - word));
    const char *stop = blank ? blank : end;

    if (stop == word)
        return NULL;
    *ret_len = (size_t)(stop - word);
    *at = blank ? blank + 1 : end;
    return word;
}

static bool port_ok(const char *s, size_t len)
{
    unsigned v = 0;

    if (len > 5 || (len > 1 && s[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    return v <= 65535;
}

static bool address_ok(const char *s, size_t len, bool v6, struct ip *ret)
{
    return !!memchr(s, ':', len) == v6 && ip_parse(s, len, ret) == 0;
}

/* "TCP4 FROM TO PORT PORT", without its CRLF. */
static int v1_fields(const char *at, const char *end, struct proxy_header *ret)
{
    const char *words[5] = {0};
    size_t lens[5] = {0};
    struct ip to;
    bool v6;

    for (size_t i = 0; i < 5; i++) {
        words[i] = next_word(&at, end, &lens[i]);
        if (!words[i])
            return -EPROTO;
        if (i == 0 && lens[0] == 7 && memcmp(words[0], "UNKNOWN", 7) == 0)
            return 0;
    }
    if (at != end || end[-1] == ' ' || lens[0] != 4 || memcmp(words[0], "TCP", 3) != 0 || (words[0][3] != '4' && words[0][3] != '6'))
        return -EPROTO;
    v6 = words[0][3] == '6';
    if (!address_ok(words[1], lens[1], v6, &ret->client) || !address_ok(words[2], lens[2], v6, &to) || !port_ok(words[3], lens[3]) || !port_ok(words[4], lens[4]))
        return -EPROTO;
    ret->known = true;
    return 0;
}

static ssize_t parse_v1(const char *s, size_t len, struct proxy_header *ret)
{
    size_t limit = len < V1_MAX ? len : V1_MAX, end;

    for (end = 0; end < limit && s[end] != '\r'; end++)
        if ((unsigned char)s[end] < 0x20 || (unsigned char)s[end] >= 0x7f)
            return -EPROTO;
    if (end + 1 >= V1_MAX)
        return -E2BIG;
    if (end + 1 >= len)
        return 0;
    if (s[end + 1] != '\n')
        return -EPROTO;
    return v1_fields(s + sizeof(v1_begin) - 1, s + end, ret) < 0 ? -EPROTO : (ssize_t)end + 2;
}

/* ---- version 2 ---- */

static size_t be16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

static uint32_t crc32c_byte(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    for (int i = 0; i < 8; i++)
        crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    return crc;
}

/* Of the whole header, the four bytes at `at` being zero. */
static uint32_t crc32c(const uint8_t *data, size_t len, size_t at)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++)
        crc = crc32c_byte(crc, i >= at && i < at + 4 ? 0 : data[i]);
    return ~crc;
}

static bool crc_ok(const uint8_t *data, size_t len, size_t at)
{
    return crc32c(data, len, at) == ((uint32_t)be16(data + at) << 16 | (uint32_t)be16(data + at + 2));
}

/* Type, length, value, until exactly the end. */
static int v2_tlvs(const uint8_t *data, size_t at, size_t len, struct proxy_header *ret)
{
    bool checked = false;

    while (at < len) {
        size_t size;
        uint8_t type;

        if (len - at < 3)
            return -EPROTO;
        type = data[at];
        size = be16(data + at + 1);
        at += 3;
        if (size > len - at)
            return -EPROTO;
        if (type == TLV_CRC32C && (checked || size != 4 || !crc_ok(data, len, at)))
            return -EPROTO;
        checked = checked || type == TLV_CRC32C;
        if (type == TLV_SSL && size >= SSL_MIN)
            ret->tls = data[at] & SSL_CLIENT;
        at += size;
    }
    return 0;
}

static int v2_block(const uint8_t *data, size_t len, struct proxy_header *ret)
{
    static const struct {
        uint8_t family, size;
    } sizes[] = {{FAMILY_NONE, 0}, {FAMILY_TCP4, 12}, {FAMILY_TCP6, 36}, {FAMILY_UNIX, 216}};
    const uint8_t *from = data + V2_FIXED;

    if (data[12] == V2_LOCAL) /* whatever it says: it is to be passed over */
        return 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (sizes[i].family != data[13])
            continue;
        if (len - V2_FIXED < sizes[i].size)
            return -EPROTO;
        if (data[13] == FAMILY_TCP6) {
            memcpy(ret->client.b, from, sizeof(ret->client.b));
        } else if (data[13] == FAMILY_TCP4) {
            memset(ret->client.b, 0, 10);
            memset(ret->client.b + 10, 0xff, 2);
            memcpy(ret->client.b + 12, from, 4);
        }
        ret->known = data[13] == FAMILY_TCP4 || data[13] == FAMILY_TCP6;
        return v2_tlvs(data, V2_FIXED + sizes[i].size, len, ret);
    }
    return -EPROTO;
}

static ssize_t parse_v2(const uint8_t *data, size_t len, struct proxy_header *ret)
{
    size_t whole;

    if (len > 12 && data[12] != V2_LOCAL && data[12] != V2_PROXY)
        return -EPROTO;
    if (len < V2_FIXED)
        return 0;
    whole = V2_FIXED + be16(data + 14);
    if (whole > PROXY_HEADER_MAX)
        return -E2BIG;
    if (len < whole)
        return 0;
    return v2_block(data, whole, ret) < 0 ? -EPROTO : (ssize_t)whole;
}

ssize_t proxy_header_parse(const void *data, size_t len, struct proxy_header *ret)
{
    static const struct {
        const char *begin;
        size_t len;
    } versions[] = {{v1_begin, sizeof(v1_begin) - 1}, {v2_begin, sizeof(v2_begin) - 1}};
    struct proxy_header header = {0};
    ssize_t r = -EPROTO;

    for (size_t i = 0; i < 2 && r == -EPROTO; i++) {
        size_t n = len < versions[i].len ? len : versions[i].len;

        if (memcmp(data, versions[i].begin, n) != 0)
            continue;
        if (n < versions[i].len)
            return 0;
        r = i == 0 ? parse_v1(data, len, &header) : parse_v2(data, len, &header);
    }
    if (r > 0)
        *ret = header;
    return r;
}
