/* The header of the PROXY protocol: every beginning of a good one wants more, and nothing behind it matters. */
#include "fuzz_http.h"

#include "../../runner/gateway/http/proxy_header.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t parse(const uint8_t *data, size_t size, struct proxy_header *h)
{
    char *copy = exact_copy(data, size);
    ssize_t r = proxy_header_parse(copy, size, h);

    free(copy);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h, other;
    ssize_t r = parse(data, size, &h);

    assert(r == -EPROTO || r == -E2BIG || (r >= 0 && (size_t)r <= size && r <= (ssize_t)PROXY_HEADER_MAX));
    for (size_t n = 0; n < size && n <= PROXY_HEADER_MAX; n++) {
        ssize_t part = parse(data, n, &other);

        if (r >= 0 && n < (size_t)r)
            assert(part == 0);
        else if (r > 0)
            assert(part == r && other.known == h.known && other.tls == h.tls);
        else if (r == 0)
            assert(part == 0);
    }
    return 0;
}
