#include "config_text.h"

#include "allow.h"
#include "clock.h"
#include "str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void config_format_duration(uint64_t ns, char *buf, size_t size)
{
    if (ns % NS_PER_SEC)
        snprintf(buf, size, "%llums", (unsigned long long)(ns / NS_PER_MS));
    else
        snprintf(buf, size, "%llus", (unsigned long long)(ns / NS_PER_SEC));
}

void config_format_size(uint64_t bytes, char *buf, size_t size)
{
    static const char units[] = {'G', 'M', 'K'};

    for (unsigned i = 0; i < sizeof(units); i++) {
        uint64_t factor = 1ULL << (30 - 10 * i);

        if (bytes && bytes % factor == 0) {
            snprintf(buf, size, "%llu%c", (unsigned long long)(bytes / factor), units[i]);
            return;
        }
    }
    snprintf(buf, size, "%llu", (unsigned long long)bytes);
}

void config_format_allow(uint64_t bits, char *buf, size_t size)
{
    cleanup_strbuf struct strbuf words = {0};

    sandbox_allow_format(bits, &words);
    snprintf(buf, size, "%s", words.data ? words.data : "");
}

static size_t host_length(const char *s)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    size_t n;

    if (*s != '[')
        return strspn(s, letters);
    n = strspn(s + 1, "0123456789abcdefABCDEF:.");
    return n > 1 && s[n + 1] == ']' ? n + 2 : 0;
}

int config_url_port(const char *url, uint32_t *ret_port)
{
    const bool secure = strncmp(url, "https://", 8) == 0;
    const char *host = url + (secure ? 8 : 7), *behind;
    uint64_t port = secure ? 443 : 80;
    size_t n;

    if (!secure && strncmp(url, "http://", 7) != 0)
        return -EINVAL;
    n = host_length(host);
    behind = host + n;
    if (n == 0 || (*behind && *behind != ':') || (*behind && (str_parse_uint(behind + 1, 65535, &port) < 0 || port == 0)))
        return -EINVAL;
    *ret_port = (uint32_t)port;
    return 0;
}

uint32_t config_https_port(const char *public_url, const char *tls_listen)
{
    const char *colon = strrchr(tls_listen, ':');
    uint64_t own = 0;
    uint32_t port = 0;

    if (strncmp(public_url, "https:", 6) == 0 && config_url_port(public_url, &port) == 0)
        return port;
    return colon && str_parse_uint(colon + 1, 65535, &own) == 0 ? (uint32_t)own : 0;
}
