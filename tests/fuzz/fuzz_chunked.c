/* The chunked coding: at once, in pieces, and with payload that is moved past the decoder, the same bytes come out and the same bytes are left. What comes out is coded anew and read once more. */
#include "fuzz_http.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct decoded {
    char *payload;
    size_t len, used;
    bool done, broken;
};

/* step 0: at once. moves: what is nothing but payload is not shown to the decoder. */
static struct decoded decode(const uint8_t *data, size_t size, size_t step, bool moves)
{
    struct decoded d = {.payload = exact_copy(data, size)};
    struct body b;

    body_init(&b, BODY_CHUNKED, 0);
    while (!b.done && d.used < size) {
        size_t n = step && size - d.used > step ? step : size - d.used, payload;
        uint64_t plain = moves ? body_plain(&b) : 0;
        char *piece;
        ssize_t r;

        if (plain > 0) {
            n = n < plain ? n : (size_t)plain;
            memcpy(d.payload + d.len, data + d.used, n);
            d.len += n;
            d.used += n;
            body_moved(&b, n);
            continue;
        }
        piece = exact_copy(data + d.used, n);
        r = body_take(&b, piece, n, &payload);
        assert(payload <= n);
        memcpy(d.payload + d.len, piece, payload);
        free(piece);
        d.len += payload;
        if (r < 0) {
            d.broken = true;
            break;
        }
        assert((size_t)r == n || b.done);
        d.used += (size_t)r;
    }
    assert(b.total == d.len);
    d.done = b.done;
    return d;
}

static void same(struct decoded *a, struct decoded b)
{
    assert(a->done == b.done && a->broken == b.broken);
    assert(a->len == b.len && memcmp(a->payload, b.payload, a->len) == 0);
    assert(a->broken || a->used == b.used);
    free(b.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct decoded whole = decode(data, size, 0, false);

    same(&whole, decode(data, size, 1, false));
    same(&whole, decode(data, size, 1, true));
    same(&whole, decode(data, size, size / 5 + 1, true));
    if (whole.done) {
        char *again = malloc(whole.len + 64);
        struct decoded second;
        int n;

        if (!again)
            abort();
        n = whole.len ? snprintf(again, 32, "%zX\r\n", whole.len) : 0;
        memcpy(again + n, whole.payload, whole.len);
        memcpy(again + n + whole.len, whole.len ? "\r\n0\r\n\r\n" : "0\r\n\r\n", whole.len ? 7 : 5);
        second = decode((const uint8_t *)again, (size_t)n + whole.len + (whole.len ? 7 : 5), 3, false);
        assert(second.done && second.len == whole.len);
        free(second.payload);
        free(again);
    }
    free(whole.payload);
    return 0;
}
