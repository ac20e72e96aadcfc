#include "config_text.h"

#include "clock.h"
#include "allow.h"
#include "str.h"

#include <stdio.h>

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
