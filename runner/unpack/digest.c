/*
 * digest.c: the content address of an image: SHA-256 (libcrypto) over fields in a form that cannot be read in two ways. A failure is remembered and comes out of digest_finish(). What is computed by a thread is copied into
 * its blocks: it may be gone before the thread comes to it.
 */
#include "digest_thread.h"
#include "unpack_internal.h"

#include "diag.h"
#include "fd.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct digest {
    EVP_MD_CTX *ctx;
    struct digest_thread *thread; /* NULL: none */
    struct digest_block *block;   /* of the thread's, not yet full; NULL */
    bool failed;
};

int digest_new(struct digest **ret, struct diag *d)
{
    struct digest *g = calloc(1, sizeof(*g));

    if (!g)
        return diag_set(d, ENOMEM, "out of memory");
    g->ctx = EVP_MD_CTX_new();
    if (!g->ctx || EVP_DigestInit_ex(g->ctx, EVP_sha256(), NULL) != 1) {
        digest_free(g);
        return diag_set(d, ENOMEM, "libcrypto has no SHA-256");
    }
    *ret = g;
    return 0;
}

void digest_by_thread(struct digest *g, struct digest_thread *t)
{
    g->thread = t;
}

/* All that it was given is in ctx then, which nobody else uses. */
static void settle(struct digest *g)
{
    if (!g->thread)
        return;
    if (g->block)
        digest_thread_give(g->thread, take_ptr(g->block));
    if (!digest_thread_wait(g->thread))
        g->failed = true;
}

void digest_free(struct digest *g)
{
    if (!g)
        return;
    settle(g);
    EVP_MD_CTX_free(g->ctx);
    free(g);
}

static void data_by_thread(struct digest *g, const char *data, size_t len)
{
    while (len > 0) {
        struct digest_block *b = g->block ? g->block : digest_thread_take(g->thread, g->ctx);
        size_t n = DIGEST_BLOCK - b->len < len ? DIGEST_BLOCK - b->len : len;

        memcpy(b->data + b->len, data, n);
        b->len += n;
        data += n;
        len -= n;
        g->block = b;
        if (b->len == DIGEST_BLOCK)
            digest_thread_give(g->thread, take_ptr(g->block));
    }
}

void digest_data(struct digest *g, const void *data, size_t len)
{
    if (g->thread)
        data_by_thread(g, data, len);
    else if (EVP_DigestUpdate(g->ctx, data, len) != 1)
        g->failed = true;
}

void digest_number(struct digest *g, uint64_t n)
{
    unsigned char le[8];

    for (size_t i = 0; i < sizeof(le); i++)
        le[i] = (unsigned char)(n >> (8 * i));
    digest_data(g, le, sizeof(le));
}

void digest_text(struct digest *g, const char *s)
{
    size_t len = strlen(s);

    digest_number(g, len);
    digest_data(g, s, len);
}

int digest_finish(struct digest *g, char ret_hex[65], struct diag *d)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    settle(g);
    if (EVP_DigestFinal_ex(g->ctx, sum, &len) != 1 || g->failed || len != 32)
        return diag_set(d, EIO, "SHA-256 failed");
    for (unsigned i = 0; i < len; i++) {
        ret_hex[2 * i] = hex[sum[i] >> 4];
        ret_hex[2 * i + 1] = hex[sum[i] & 15];
    }
    ret_hex[64] = '\0';
    return 0;
}
