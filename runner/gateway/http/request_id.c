#include "request_id.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#define BYTES (REQUEST_ID_MADE / 2)

/* Token characters, and those that base64 and URIs need besides: nothing that ends a word in a log. */
static bool id_ok(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!char_is_token((unsigned char)s[i]) && (!s[i] || !strchr("/=:@", s[i])))
            return false;
    return len > 0 && len <= REQUEST_ID_MAX;
}

/* GRND_INSECURE never waits, and what it gives before the kernel's pool is ready is good enough for a name. */
static void refill(struct request_ids *ids)
{
    static_assert(sizeof(ids->random) % BYTES == 0, "whole ids");

    if (getrandom(ids->random, sizeof(ids->random), GRND_INSECURE) != (ssize_t)sizeof(ids->random))
        for (size_t i = 0; i < sizeof(ids->random); i++) /* not the same again, at least */
            ids->random[i] = (uint8_t)(ids->random[i] * 5 + i + 1);
    ids->left = sizeof(ids->random);
}

/* The eight digits of four bytes, a digit a byte, all at once. In what order they come does not matter: they are random. */
static uint64_t digits_of(uint32_t v)
{
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t x = v, letters;

    x = (x | x << 16) & 0x0000ffff0000ffffULL;
    x = (x | x << 8) & 0x00ff00ff00ff00ffULL;
    x = (x | x << 4) & ones * 15;
    letters = (x + ones * 6) >> 4 & ones;
    return x + ones * '0' + letters * ('a' - '0' - 10);
}

static unsigned make(struct request_ids *ids, char *out)
{
    const uint8_t *from;

    if (ids->left == 0)
        refill(ids);
    from = ids->random + sizeof(ids->random) - ids->left;
    ids->left -= BYTES;
    for (size_t i = 0; i < BYTES; i += sizeof(uint32_t)) {
        uint32_t v;
        uint64_t digits;

        memcpy(&v, from + i, sizeof(v));
        digits = digits_of(v);
        memcpy(out + 2 * i, &digits, sizeof(digits));
    }
    return REQUEST_ID_MADE;
}

unsigned request_id_choose(struct request_ids *ids, const struct head *h, const char *data, char out[REQUEST_ID_MAX])
{
    unsigned count;
    const struct field *f = head_field(h, FIELD_X_REQUEST_ID, &count);

    if (count != 1 || !id_ok(data + f->value, f->value_len))
        return make(ids, out);
    memcpy(out, data + f->value, f->value_len);
    return f->value_len;
}
