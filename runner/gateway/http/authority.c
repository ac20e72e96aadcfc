/* authority.c: the value of Host, and the authority of an absolute target (RFC 9110 section 7.2, RFC 3986 section 3.2): a host, perhaps a port; no userinfo. */
#include "message.h"

#include <string.h>

enum { REG_NAME = 1, HEX = 2, LITERAL = 4 };

/* unreserved and sub-delims of RFC 3986; '%' only before two hexadecimal digits; '.' and ':' within brackets. */
static const uint8_t kinds[256] = {
    ['0' ... '9'] = REG_NAME | HEX | LITERAL,
    ['a' ... 'f'] = REG_NAME | HEX | LITERAL,
    ['A' ... 'F'] = REG_NAME | HEX | LITERAL,
    ['g' ... 'z'] = REG_NAME,
    ['G' ... 'Z'] = REG_NAME,
    ['-'] = REG_NAME,
    ['.'] = REG_NAME | LITERAL,
    ['_'] = REG_NAME,
    ['~'] = REG_NAME,
    ['!'] = REG_NAME,
    ['$'] = REG_NAME,
    ['&'] = REG_NAME,
    ['\''] = REG_NAME,
    ['('] = REG_NAME,
    [')'] = REG_NAME,
    ['*'] = REG_NAME,
    ['+'] = REG_NAME,
    [','] = REG_NAME,
    [';'] = REG_NAME,
    ['='] = REG_NAME,
    ['%'] = REG_NAME,
    [':'] = LITERAL,
};

static bool is_kind(char c, unsigned kind)
{
    return kinds[(unsigned char)c] & kind;
}

/* How much of s is a host; 0: it has none, or a broken one. */
static size_t host_len(const char *s, size_t len)
{
    size_t i = 0;

    if (len > 0 && s[0] == '[') {
        for (i = 1; i < len && is_kind(s[i], LITERAL); i++)
            ;
        return i > 2 && i < len && s[i] == ']' ? i + 1 : 0;
    }
    for (; i < len && is_kind(s[i], REG_NAME); i++)
        if (s[i] == '%' && (len - i < 3 || !is_kind(s[i + 1], HEX) || !is_kind(s[i + 2], HEX)))
            return 0;
    return i;
}

bool authority_ok(const char *s, size_t len)
{
    size_t i = host_len(s, len);

    if (len > AUTHORITY_MAX || (i == 0 && len > 0))
        return false;
    if (i < len && s[i++] != ':')
        return false;
    if (len - i > 5)
        return false;
    for (; i < len; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return true;
}

const char *authority_port(const char *s, size_t len, size_t *ret_len)
{
    size_t i = len;

    while (i > 0 && s[i - 1] >= '0' && s[i - 1] <= '9')
        i--;
    *ret_len = len - i;
    return i > 0 && i < len && s[i - 1] == ':' ? s + i : NULL;
}
