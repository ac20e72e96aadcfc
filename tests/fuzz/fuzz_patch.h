/* fuzz_patch.h: an input is a list of patches to something well-formed: random bytes alone would seldom get past the first check. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct patches {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t patch_byte(struct patches *p)
{
    if (p->left == 0)
        return 0;
    p->left--;
    return *p->at++;
}

static inline uint32_t patch_number(struct patches *p)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++)
        v = v << 8 | patch_byte(p);
    return v;
}

/* One patch: where (16 bits, stretched over the whole), how much, and with what. */
static inline void patch_apply(struct patches *p, void *to, size_t size)
{
    size_t where = ((size_t)patch_byte(p) << 8 | patch_byte(p)) * size / 65536, len = patch_byte(p) % 9;
    unsigned char *bytes = to;

    if (len == 8) { /* a text without an end */
        memset(bytes + where, patch_byte(p), size - where < 300 ? size - where : 300);
        return;
    }
    for (size_t i = 0; i < len && where + i < size; i++)
        bytes[where + i] = patch_byte(p);
}
