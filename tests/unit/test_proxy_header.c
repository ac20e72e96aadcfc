/* PROXY headers: every prefix wants more, nothing is read behind the end, what is not exactly the protocol is refused. */
#include "check.h"

#include "../../runner/gateway/http/proxy_header.h"
#include "http_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SIG     "\r\n\r\n\0\r\nQUIT\n"
#define TCP4    "\xc0\0\x02\x01\x7f\0\0\1\x10\x00\x00\x50"
#define TCP6    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x10\x00\x00\x50"
#define TEXT(s) s, sizeof(s) - 1

static ssize_t parse(const void *data, size_t len, struct proxy_header *ret)
{
    struct guard g = guard_new(len + 1);
    ssize_t r = proxy_header_parse(guard_put(&g, data, len), len, ret);

    guard_done(&g);
    return r;
}

static const struct {
    const char *text;
    size_t len;
    const char *client; /* "": none */
    bool tls;
} good[] = {
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 4096 80\r\n"), "192.0.2.1", false},
    {TEXT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n"), "255.255.255.255", false},
    {TEXT("PROXY TCP6 2001:db8::9 ::1 4096 80\r\n"), "2001:db8::9", false},
    {TEXT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false},
    {TEXT("PROXY UNKNOWN\r\n"), "", false},
    {TEXT("PROXY UNKNOWN ffff::1 what ever 1 2 3\r\n"), "", false},
    {TEXT(SIG "\x21\x11\0\x0c" TCP4), "192.0.2.1", false},
    {TEXT(SIG "\x21\x21\0\x24" TCP6), "2001:db8::9", false},
    {TEXT(SIG "\x21\x11\0\x12" TCP4 "\x04\0\x03"
              "abc"),
     "192.0.2.1", false},
    {TEXT(SIG "\x21\x11\0\x0f" TCP4 "\x04\0\0"), "192.0.2.1", false},
    {TEXT(SIG "\x21\x11\0\x14" TCP4 "\x20\0\x05\x01\0\0\0\0"), "192.0.2.1", true},
    {TEXT(SIG "\x21\x11\0\x14" TCP4 "\x20\0\x05\x06\0\0\0\0"), "192.0.2.1", false},
    {TEXT(SIG "\x20\0\0\0"), "", false},
    {TEXT(SIG "\x20\x11\0\x0c" TCP4), "", false},
    {TEXT(SIG "\x20\x77\0\x05"
              "12345"),
     "", false},
    {TEXT(SIG "\x21\0\0\0"), "", false},
    {TEXT(SIG "\x21\0\0\x04\x04\0\x01x"), "", false},
};

static void good_headers(void **state)
{
    char unix_socket[16 + 216] = SIG "\x21\x31\0\xd8", buf[INET6_ADDRSTRLEN];
    struct proxy_header h;

    for (size_t i = 0; i < COUNT(good); i++) {
        char more[256];

        for (size_t n = 0; n < good[i].len; n++)
            assert_int_equal(parse(good[i].text, n, &h), 0);
        memcpy(more, good[i].text, good[i].len);
        memcpy(more + good[i].len, "\x16\x03\x01", 3);
        assert_int_equal(parse(more, good[i].len + 3, &h), good[i].len);
        assert_int_equal(parse(good[i].text, good[i].len, &h), good[i].len);
        assert_int_equal(h.known, good[i].client[0] != '\0');
        if (h.known)
            assert_string_equal(ip_format(&h.client, buf), good[i].client);
        assert_int_equal(h.tls, good[i].tls);
    }
    assert_int_equal(parse(unix_socket, sizeof(unix_socket), &h), sizeof(unix_socket));
    assert_false(h.known);
}

static void bad_headers(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
        {TEXT("G")},
        {TEXT("GET / HTTP/1.1\r\n")},
        {TEXT("\x16\x03\x01")},
        {TEXT("proxy TCP4 ")},
        {TEXT("PROXY\t")},
        {TEXT("PROXY \r\n")},
        {TEXT("PROXY TCP4\r\n")},
        {TEXT("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n")},
        {TEXT("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2x\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n")},
        {TEXT("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n")},
        {TEXT("PROXY TCP4 ::1 ::1 1 2\r\n")},
        {TEXT("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n")},
        {TEXT("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n")},
        {TEXT("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n")},
        {TEXT("PROXY UNKNOWNX\r\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n")},
        {TEXT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx")},
        {TEXT("PROXY TCP4 1.2.3.4\0")},
        {TEXT("PROXY UNKNOWN \x80\r\n")},
        {TEXT("\r\n\r\n\0\r\nQUIT\r")},
        {TEXT("\r\n\r\n\1")},
        {TEXT(SIG "\x11\x11\0\x0c" TCP4)},
        {TEXT(SIG "\x22")},
        {TEXT(SIG "\x21\x12\0\x0c" TCP4)},
        {TEXT(SIG "\x21\x41\0\x0c" TCP4)},
        {TEXT(SIG "\x21\x11\0\x0b"
                  "12345678901")},
        {TEXT(SIG "\x21\x21\0\x0c" TCP4)},
        {TEXT(SIG "\x21\x31\0\x0c" TCP4)},
        {TEXT(SIG "\x21\x11\0\x0e" TCP4 "\x04\0")},
        {TEXT(SIG "\x21\x11\0\x10" TCP4 "\x04\0\x02"
                  "a")},
        {TEXT(SIG "\x21\x11\0\x13" TCP4 "\x03\0\x04\0\0\0\0")},
        {TEXT(SIG "\x21\x11\0\x12" TCP4 "\x03\0\x03\0\0\0")},
    };
    static const char huge[] = SIG "\x21\x11\xff\xff";
    struct proxy_header h;
    char line[256];

    for (size_t i = 0; i < COUNT(bad); i++)
        if (parse(bad[i].text, bad[i].len, &h) != -EPROTO)
            fail_msg("case %zu: %.60s", i, bad[i].text);
    assert_int_equal(parse(huge, sizeof(huge) - 1, &h), -E2BIG);
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(line, 105, &h), 0);
    assert_int_equal(parse(line, 107, &h), -E2BIG);
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(parse(line, 107, &h), 107);
}

/* CRC32c of the header with its own four bytes zero, reckoned elsewhere (the check value of the polynomial for "123456789" is e3069283). */
static uint32_t reference(const unsigned char *s, size_t len)
{
    uint32_t table[256], crc = UINT32_MAX;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = table[i] & 1 ? table[i] >> 1 ^ 0x82f63b78 : table[i] >> 1;
    }
    for (size_t i = 0; i < len; i++)
        crc = table[(crc ^ s[i]) & 255] ^ crc >> 8;
    return crc ^ UINT32_MAX;
}

static void checksums(void **state)
{
    char text[] = SIG "\x21\x11\0\x17" TCP4 "\x04\0\x01x"
                      "\x03\0\x04\0\0\0\0";
    size_t len = sizeof(text) - 1;
    struct proxy_header h;
    uint32_t crc;

    assert_int_equal(reference((const unsigned char *)"123456789", 9), 0xe3069283);
    crc = htonl(reference((unsigned char *)text, len));
    memcpy(text + len - 4, &crc, 4);
    assert_int_equal(parse(text, len, &h), len);
    for (size_t i = 16; i < len; i++) /* any bit of it matters */
        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ 1 << bit);
            assert_true(parse(text, len, &h) != (ssize_t)len || (i >= 31 && i <= 35)); /* a type or length that hides the sum from us */
            text[i] = (char)(text[i] ^ 1 << bit);
        }
}

/* Anything at all behind a good beginning: no crash, and never more than there is. */
static void garbage(void **state)
{
    unsigned seed = 1;

    for (int round = 0; round < 20000; round++) {
        unsigned char data[200];
        struct proxy_header h;
        size_t len;
        ssize_t r;

        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
        len = data[199] % sizeof(data);
        if (round % 3 == 0)
            memcpy(data, SIG "\x21\x11\0", 15);
        else if (round % 3 == 1)
            memcpy(data, "PROXY TCP4 ", 11);
        r = parse(data, len, &h);
        assert_true(r == 0 || r == -EPROTO || r == -E2BIG || (r > 0 && (size_t)r <= len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good_headers), cmocka_unit_test(bad_headers), cmocka_unit_test(checksums), cmocka_unit_test(garbage)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
