/* auth_header.c: what an Authorization field says. Pure; everything here comes from the client. */
#include "auth_private.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BASIC_MAX 512U /* characters of base64: more than user and password may have */

static int base64_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Canonical: padded, no bits behind the last byte. The length, or -1. */
static int base64_decode(const char *in, size_t len, unsigned char *out)
{
    size_t pad = len > 0 && in[len - 1] == '=' ? (len > 1 && in[len - 2] == '=' ? 2 : 1) : 0;
    uint32_t bits = 0;
    int n = 0;

    if (len == 0 || len % 4 != 0 || len > BASIC_MAX)
        return -1;
    for (size_t i = 0; i < len; i++) {
        int v = i < len - pad ? base64_value((unsigned char)in[i]) : 0;

        if (v < 0)
            return -1;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 != 3)
            continue;
        out[n++] = (unsigned char)(bits >> 16);
        out[n++] = (unsigned char)(bits >> 8);
        out[n++] = (unsigned char)bits;
        bits = 0;
    }
    n -= (int)pad;
    return n < 1 || (pad > 0 && out[n] != 0) ? -1 : n;
}

static enum auth_scheme parse_basic(const char *text, size_t len, struct auth_header *ret)
{
    unsigned char plain[BASIC_MAX / 4 * 3];
    enum auth_scheme r = AUTH_BROKEN;
    int n = base64_decode(text, len, plain);
    const unsigned char *colon = n > 0 ? memchr(plain, ':', (size_t)n) : NULL;
    size_t user = colon ? (size_t)(colon - plain) : 0, secret = colon ? (size_t)n - user - 1 : 0;
    bool good = colon && user <= AUTH_USER_MAX && secret <= PASSWORD_MAX;

    for (int i = 0; i < n; i++)
        good = good && plain[i] >= 0x20 && plain[i] != 0x7f;
    if (good) {
        memcpy(ret->user, plain, user);
        memcpy(ret->secret, colon + 1, secret);
        ret->secret_len = secret;
        r = AUTH_BASIC;
    }
    OPENSSL_cleanse(plain, sizeof(plain));
    return r;
}

/* token68 (RFC 9110 section 11.2) */
static enum auth_scheme parse_bearer(const char *text, size_t len, struct auth_header *ret)
{
    if (len == 0 || len > PASSWORD_MAX)
        return AUTH_BROKEN;
    for (size_t i = 0; i < len; i++)
        if (base64_value((unsigned char)text[i]) < 0 && (!text[i] || !strchr("-._~=", text[i])))
            return AUTH_BROKEN;
    snprintf(ret->secret, sizeof(ret->secret), "%.*s", (int)len, text);
    ret->secret_len = len;
    return AUTH_BEARER;
}

enum auth_scheme auth_header_parse(const char *value, size_t len, struct auth_header *ret)
{
    *ret = (struct auth_header){.scheme = AUTH_BROKEN};
    if (len == 0)
        ret->scheme = AUTH_NONE;
    else if (len > 6 && strncasecmp(value, "Basic ", 6) == 0)
        ret->scheme = parse_basic(value + 6, len - 6, ret);
    else if (len > 7 && strncasecmp(value, "Bearer ", 7) == 0)
        ret->scheme = parse_bearer(value + 7, len - 7, ret);
    return ret->scheme;
}

void auth_header_wipe(struct auth_header *h)
{
    OPENSSL_cleanse(h, sizeof(*h));
}

bool auth_token_shaped(const char *text, size_t len)
{
    return len == AUTH_TOKEN_LEN && memcmp(text, AUTH_TOKEN_PREFIX, sizeof(AUTH_TOKEN_PREFIX) - 1) == 0;
}
