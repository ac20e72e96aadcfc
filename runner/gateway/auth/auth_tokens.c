/* auth_tokens.c: the table of tokens, as the runner tells it. It holds hashes; a text is looked up by its own. */
#include "auth_private.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int auth_sha256(const void *data, size_t len, uint8_t ret[TOKEN_HASH_BYTES])
{
    return EVP_Digest(data, len, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

static unsigned bucket_of(const uint8_t *hash)
{
    uint32_t v;

    memcpy(&v, hash, sizeof(v));
    return v % AUTH_BUCKETS;
}

static struct token **find_name(struct auth_tokens *t, const char *name)
{
    struct token **at = &t->list;

    while (*at && strcmp((*at)->rec.name, name) != 0)
        at = &(*at)->next;
    return at;
}

static void remove_at(struct auth_tokens *t, struct token **at)
{
    struct token *k = *at, **in = &t->buckets[bucket_of(k->rec.hash)];

    *at = k->next;
    while (*in != k)
        in = &(*in)->next_hash;
    *in = k->next_hash;
    t->count--;
    free(k);
}

static void add(struct auth_tokens *t, const struct record_token *rec)
{
    struct token *k = t->count < TOKENS_MAX ? calloc(1, sizeof(*k)) : NULL;
    unsigned b = bucket_of(rec->hash);

    if (!k)
        return; /* a token that is not known opens nothing */
    k->rec = *rec;
    k->heard = t->snapshot;
    k->next = t->list;
    k->next_hash = t->buckets[b];
    t->list = t->buckets[b] = k;
    t->count++;
}

static void drop_unheard(struct auth_tokens *t)
{
    for (struct token **at = &t->list; *at;) {
        if ((*at)->heard == t->snapshot)
            at = &(*at)->next;
        else
            remove_at(t, at);
    }
}

void auth_tokens_on_record(struct auth_tokens *t, const struct record_head *rec)
{
    const struct record_token *token = (const struct record_token *)rec;
    struct token **at;

    switch (rec->type) {
    case RECORD_WELCOME:
        t->snapshot++;
        break;
    case RECORD_SYNCED:
        drop_unheard(t);
        break;
    case RECORD_TOKEN:
        at = find_name(t, token->name);
        if (*at)
            remove_at(t, at);
        if (!token->gone)
            add(t, token);
        break;
    default:
        break;
    }
}

void auth_tokens_done(struct auth_tokens *t)
{
    while (t->list)
        remove_at(t, &t->list);
}

const struct record_token *auth_tokens_find(const struct auth_tokens *t, const char *text, size_t len)
{
    uint8_t hash[TOKEN_HASH_BYTES];

    if (!auth_token_shaped(text, len) || auth_sha256(text, len, hash) < 0)
        return NULL;
    for (const struct token *k = t->buckets[bucket_of(hash)]; k; k = k->next_hash)
        if (CRYPTO_memcmp(k->rec.hash, hash, sizeof(hash)) == 0)
            return &k->rec;
    return NULL;
}

int auth_token_make(char *buf, uint8_t hash[TOKEN_HASH_BYTES])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char random[33] = {0}; /* one more, so that it is taken apart in threes */
    char *at = buf + sizeof(AUTH_TOKEN_PREFIX) - 1;
    int r;

    if (getrandom(random, 32, 0) != 32)
        return -EIO;
    memcpy(buf, AUTH_TOKEN_PREFIX, sizeof(AUTH_TOKEN_PREFIX) - 1);
    for (size_t i = 0; i < sizeof(random); i += 3) {
        uint32_t bits = (uint32_t)random[i] << 16 | (uint32_t)random[i + 1] << 8 | random[i + 2];

        for (int shift = 18; shift >= 0; shift -= 6)
            *at++ = digits[bits >> shift & 63];
    }
    buf[AUTH_TOKEN_LEN] = '\0'; /* the last digit is of the byte too many */
    r = auth_sha256(buf, AUTH_TOKEN_LEN, hash);
    OPENSSL_cleanse(random, sizeof(random));
    return r;
}
